//! Accepting TLS connections within limits, and HTTP/1.1 or HTTP/2 on each: the one accept loop of every server.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{error, io};

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// After `accept` fails, usually for lack of file descriptors, the next try waits for this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What a client says first is at least this long: HTTP/2's preface (RFC 9113, section 3.4). Requests by HTTP/1.1
/// with a Host header are longer.
const PREFACE_BYTES: usize = 24;

/// What a listener allows its peers.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time. More wait in the kernel's backlog.
    pub connections: usize,
    /// A peer that has not finished its TLS handshake by then is cut off, and so is one that then says nothing, or
    /// does not finish the headers of an HTTP/1.1 request, for as long.
    pub handshake: Duration,
    /// After this a connection ends as soon as its replies are sent; `None` for no end.
    pub lifetime: Option<Duration>,
    /// How long replies that are under way may take when the process or the connection ends.
    pub drain: Duration,
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    pub address: SocketAddr,
    /// What it showed and TLS verified.
    pub certificates: Option<&'a [CertificateDer<'a>]>,
}

/// Serves connections until `shutdown`, and then until replies are sent or the time is up.
///
/// `service` makes a connection's service for its peer; `None` ends the connection. `tune` may change how HTTP is
/// spoken.
pub async fn serve<S, B>(
    listener: TcpListener,
    tls: ServerConfig,
    limits: Limits,
    tune: impl Fn(&mut auto::Builder<TokioExecutor>),
    service: impl Fn(Peer<'_>) -> Option<S> + Clone + Send + 'static,
    shutdown: CancellationToken,
) where
    S: tower::Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn error::Error + Send + Sync>> + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn error::Error + Send + Sync>>,
{
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let builder = builder(limits, tune);
    let places = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, stream) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accepted => accepted,
        };
        match stream {
            Ok((stream, address)) => {
                let (acceptor, builder) = (acceptor.clone(), builder.clone());
                let (service, shutdown) = (service.clone(), shutdown.clone());
                connections.spawn(async move {
                    connection((stream, address), acceptor, &builder, limits, service, shutdown).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    connections.close();
    // Whoever still waits after this is cut off by the end of the process.
    let _ = timeout(limits.drain, connections.wait()).await;
}

fn builder(limits: Limits, tune: impl Fn(&mut auto::Builder<TokioExecutor>)) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.handshake);
    builder.http2().timer(TokioTimer::new());
    tune(&mut builder);
    builder
}

async fn connection<S, B>(
    (stream, address): (TcpStream, SocketAddr),
    acceptor: TlsAcceptor,
    builder: &auto::Builder<TokioExecutor>,
    limits: Limits,
    service: impl Fn(Peer<'_>) -> Option<S>,
    shutdown: CancellationToken,
) where
    S: tower::Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn error::Error + Send + Sync>> + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn error::Error + Send + Sync>>,
{
    // Small replies must not wait for the peer's acknowledgement of earlier ones.
    let _ = stream.set_nodelay(true);
    let handshake = timeout(limits.handshake, acceptor.accept(stream));
    let stream = match shutdown.run_until_cancelled(handshake).await {
        Some(Ok(Ok(stream))) => stream,
        // A failed handshake is the peer's affair: a port scan, a probe without TLS, another CA's certificate.
        Some(Ok(Err(error))) => return tracing::debug!(%error, "TLS handshake failed"),
        Some(Err(_)) => return tracing::debug!("TLS handshake took too long"),
        None => return,
    };
    let peer = Peer {
        address,
        certificates: stream.get_ref().1.peer_certificates(),
    };
    let Some(service) = service(peer) else {
        return;
    };
    let stream = Prompt::new(stream, limits.handshake);
    let serving = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut serving = std::pin::pin!(serving);
    let end = async {
        match limits.lifetime {
            Some(lifetime) => drop(timeout(lifetime, shutdown.cancelled()).await),
            None => shutdown.cancelled().await,
        }
    };
    let ended = tokio::select! {
        result = &mut serving => result,
        () = end => {
            // A reply that is under way may still be finished.
            serving.as_mut().graceful_shutdown();
            timeout(limits.drain, serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// A stream whose peer must begin to speak within a time. The HTTP library looks for the protocol in the first
/// bytes and would wait for them without end, so that idle peers could take all places.
struct Prompt<T> {
    stream: T,
    received: usize,
    /// Gone once the peer has spoken.
    limit: Option<Pin<Box<Sleep>>>,
}

impl<T> Prompt<T> {
    fn new(stream: T, limit: Duration) -> Prompt<T> {
        Prompt {
            stream,
            received: 0,
            limit: Some(Box::pin(tokio::time::sleep(limit))),
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Prompt<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Some(limit) = &mut self.limit {
            if read.is_pending() && limit.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.received += buffer.filled().len() - before;
            if self.received >= PREFACE_BYTES {
                self.limit = None;
            }
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Prompt<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
