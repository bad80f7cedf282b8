//! The servers that know all other domains.

use super::reply::Transport;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Servers that resolv.conf may name (resolv.conf(5), MAXNS).
const MAX_SERVERS: usize = 3;
const TRIES: usize = 2;
/// One try.
const TRY_LIMIT: Duration = Duration::from_millis(1500);
/// All tries: a resolver's own patience is 5 seconds, after which nobody waits for the answer.
const LIMIT: Duration = Duration::from_millis(4500);
/// resolv.conf changes when the host joins another network.
const REREAD_AFTER: Duration = Duration::from_secs(5);
/// The longest UDP message that anybody sends.
const MAX_MESSAGE_BYTES: usize = u16::MAX as usize;

#[derive(Clone)]
pub struct Upstreams {
    shared: Arc<Shared>,
}

struct Shared {
    resolv_conf: PathBuf,
    /// Our own address: asking ourselves would never end.
    own: Ipv4Addr,
    read: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
}

impl Upstreams {
    pub fn new(resolv_conf: PathBuf, own: Ipv4Addr) -> Upstreams {
        Upstreams {
            shared: Arc::new(Shared {
                resolv_conf,
                own,
                read: Mutex::default(),
            }),
        }
    }

    /// The reply of the first server that gives one; `None` when none does in time.
    pub async fn ask(&self, request: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let servers = self.servers(Instant::now());
        let tries = async {
            for server in servers.iter().cycle().take(servers.len() * TRIES) {
                let asked = async {
                    match transport {
                        Transport::Udp => by_udp(*server, request).await,
                        Transport::Tcp => by_tcp(*server, request).await,
                    }
                };
                match timeout(TRY_LIMIT, asked).await {
                    Ok(Ok(reply)) => return Some(reply),
                    Ok(Err(error)) => tracing::debug!(%server, %error, "DNS server cannot be asked"),
                    Err(_) => tracing::debug!(%server, "DNS server does not answer"),
                }
            }
            None
        };
        timeout(LIMIT, tries).await.ok().flatten()
    }

    fn servers(&self, now: Instant) -> Vec<SocketAddr> {
        let mut read = self.shared.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, servers)) = read
            .as_ref()
            .filter(|(at, _)| now.duration_since(*at) < REREAD_AFTER)
        {
            return servers.clone();
        }
        let text = std::fs::read_to_string(&self.shared.resolv_conf).unwrap_or_default();
        let servers = servers(&text, self.shared.own);
        *read = Some((now, servers.clone()));
        servers
    }
}

/// The name servers of a resolv.conf, without ourselves.
fn servers(resolv_conf: &str, own: Ipv4Addr) -> Vec<SocketAddr> {
    let lines = resolv_conf
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"));
    let addresses = lines.filter_map(|rest| rest.split_whitespace().next()?.parse::<IpAddr>().ok());
    addresses
        .filter(|address| *address != own)
        .take(MAX_SERVERS)
        .map(|address| (address, 53).into())
        .collect()
}

async fn by_udp(server: SocketAddr, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    // Only this server's packets arrive then.
    socket.connect(server).await?;
    socket.send(request).await?;
    let mut buffer = vec![0; MAX_MESSAGE_BYTES];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if is_reply_to(request, &buffer[..length]) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn by_tcp(server: SocketAddr, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(request.len()).map_err(std::io::Error::other)?;
    stream
        .write_all(&[&length.to_be_bytes(), request].concat())
        .await?;
    let length = stream.read_u16().await?;
    let mut reply = vec![0; usize::from(length)];
    stream.read_exact(&mut reply).await?;
    match is_reply_to(request, &reply) {
        true => Ok(reply),
        false => Err(std::io::ErrorKind::InvalidData.into()),
    }
}

/// Whether the identifier is the request's, and the message a reply.
fn is_reply_to(request: &[u8], reply: &[u8]) -> bool {
    const RESPONSE_BIT: u8 = 0x80;
    request.get(..2) == reply.get(..2) && reply.get(2).is_some_and(|flags| flags & RESPONSE_BIT != 0)
}
