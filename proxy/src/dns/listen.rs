//! The sockets.

use super::Resolver;
use super::reply::Transport;
use super::resolver::Step;
use anyhow::Context as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Questions that other servers are asked at a time. Each takes a buffer of 64 KiB: 64 MiB at most.
const MAX_INQUIRIES: usize = 1024;
/// One per pod that has lost its way to UDP, and some more.
const MAX_CONNECTIONS: usize = 256;
/// A connection that says nothing for so long frees its place.
const IDLE_LIMIT: Duration = Duration::from_secs(10);
/// The longest request by UDP: a question takes some hundred bytes.
const MAX_REQUEST_BYTES: usize = 4096;
/// After a socket's error, usually for lack of file descriptors, the next try waits for this.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

pub struct Listeners {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Listeners {
    pub async fn bind(address: SocketAddr) -> anyhow::Result<Listeners> {
        let tcp = TcpListener::bind(address)
            .await
            .with_context(|| format!("listening on {address} by TCP"))?;
        // With port 0, both get the same.
        let address = tcp.local_addr().context("reading the own address")?;
        let udp = UdpSocket::bind(address)
            .await
            .with_context(|| format!("listening on {address} by UDP"))?;
        Ok(Listeners { udp, tcp })
    }

    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Answers until `shutdown`.
    pub async fn serve(self, resolver: Resolver, shutdown: CancellationToken) {
        let inquiries = Arc::new(Semaphore::new(MAX_INQUIRIES));
        let serving = async {
            tokio::join!(
                serve_udp(Arc::new(self.udp), resolver.clone(), inquiries.clone()),
                serve_tcp(self.tcp, resolver, inquiries, shutdown.clone())
            )
        };
        let _ = shutdown.run_until_cancelled(serving).await;
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, resolver: Resolver, inquiries: Arc<Semaphore>) {
    let mut buffer = vec![0; MAX_REQUEST_BYTES];
    loop {
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::warn!(%error, "receiving a DNS request failed");
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        let request = &buffer[..length];
        // A reply that cannot be sent is asked for again.
        match resolver.step(request, Transport::Udp) {
            Step::Ignore => {}
            Step::Reply(reply) => drop(socket.send_to(&reply, client).await),
            Step::Ask(inquiry) => match inquiries.clone().try_acquire_owned() {
                Ok(place) => {
                    let (socket, resolver, request) = (socket.clone(), resolver.clone(), request.to_vec());
                    tokio::spawn(async move {
                        if let Some(reply) = resolver.ask(&request, inquiry, Transport::Udp).await {
                            let _ = socket.send_to(&reply, client).await;
                        }
                        drop(place);
                    });
                }
                Err(_) => {
                    if let Some(reply) = resolver.refuse(&inquiry, Transport::Udp) {
                        let _ = socket.send_to(&reply, client).await;
                    }
                }
            },
        }
    }
}

async fn serve_tcp(
    listener: TcpListener,
    resolver: Resolver,
    inquiries: Arc<Semaphore>,
    shutdown: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // A semaphore that nobody closes always gives a place in the end.
        let place = places.clone().acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let (resolver, inquiries, shutdown) = (resolver.clone(), inquiries.clone(), shutdown.clone());
                tokio::spawn(async move {
                    let _ = shutdown
                        .run_until_cancelled(serve_connection(stream, resolver, inquiries))
                        .await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a DNS connection failed");
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }
}

/// One question after the other (RFC 7766 lets a server choose the order).
async fn serve_connection(mut stream: TcpStream, resolver: Resolver, inquiries: Arc<Semaphore>) {
    while let Ok(Ok(request)) = timeout(IDLE_LIMIT, read(&mut stream)).await {
        let reply = match resolver.step(&request, Transport::Tcp) {
            Step::Ignore => None,
            Step::Reply(reply) => Some(reply),
            Step::Ask(inquiry) => match inquiries.try_acquire() {
                Ok(_place) => resolver.ask(&request, inquiry, Transport::Tcp).await,
                Err(_) => resolver.refuse(&inquiry, Transport::Tcp),
            },
        };
        let Some(reply) = reply else { return };
        let length = u16::try_from(reply.len()).unwrap_or_default();
        let bytes = [&length.to_be_bytes(), reply.as_slice()].concat();
        if !matches!(timeout(IDLE_LIMIT, stream.write_all(&bytes)).await, Ok(Ok(()))) {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut request = vec![0; usize::from(length)];
    stream.read_exact(&mut request).await?;
    Ok(request)
}

#[cfg(test)]
mod tests;
