//! Connections: TLS, who is at the other end, and HTTP on top.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use gantry_telemetry::trace::ServerLayer;
use http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Layer as _, service_fn, util::ServiceExt as _};

use crate::authentication::{self, User};

/// Two connections for each of 2000 nodes, and some. More wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 4096;
/// A peer that has not finished its TLS handshake, or the headers of a request by HTTP/1.1, by then is cut off.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// A peer that is gone is noticed within this time, its watches freed.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// A component has a watch per kind and its calls on one connection.
const MAX_STREAMS: u32 = 1000;
/// What a client may send ahead: a whole request of the largest size.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// What waits to be sent on a stream before the response is asked for more.
const SEND_BUFFER_BYTES: usize = 1 << 20;
/// How long requests that are under way may take when the process ends.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// After `accept` fails, usually for lack of file descriptors, the next try waits for this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` until `shutdown`, and then until requests are done or the time is up. Every request carries its
/// [`User`].
pub async fn serve(listener: TcpListener, tls: ServerConfig, router: Router, shutdown: CancellationToken) {
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
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
            Ok((stream, _)) => {
                let connection = connection(stream, acceptor.clone(), router.clone(), shutdown.clone());
                connections.spawn(async move {
                    connection.await;
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
    let _ = timeout(DRAIN_LIMIT, connections.wait()).await;
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, router: Router, shutdown: CancellationToken) {
    // Small replies must not wait for the peer's acknowledgement of earlier ones.
    let _ = stream.set_nodelay(true);
    let handshake = timeout(HANDSHAKE_LIMIT, acceptor.accept(stream));
    let stream = match shutdown.run_until_cancelled(handshake).await {
        Some(Ok(Ok(stream))) => stream,
        // A failed handshake is the peer's affair: a port scan, or a certificate of another CA.
        Some(Ok(Err(error))) => return tracing::debug!(%error, "TLS handshake failed"),
        Some(Err(_)) => return tracing::debug!("TLS handshake took too long"),
        None => return,
    };
    let user = match stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first())
    {
        None => User::anonymous(),
        Some(certificate) => match authentication::user_of(certificate) {
            Ok(user) => user,
            Err(error) => return tracing::warn!(%error, "a client's certificate names no user"),
        },
    };
    let user = Arc::new(user);
    let with_user = service_fn(move |mut request: Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(user.clone());
        router.clone().oneshot(request.map(Body::new))
    });
    let service = TowerToHyperService::new(ServerLayer.layer(with_user));
    let builder = builder();
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        result = &mut serving => result,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            timeout(DRAIN_LIMIT, serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE_LIMIT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_concurrent_streams(MAX_STREAMS);
    builder
}
