//! Who is at the other end of a connection, and how much HTTP/2 it may do.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures::future::Either;
use gantry_telemetry::connections::{self, Limits, Peer};
use gantry_telemetry::trace::ServerLayer;
use http::Request;
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::{Layer as _, service_fn, util::ServiceExt as _};

use crate::audit::{self, Auditor, Trail};
use crate::authentication::{self, User};
use crate::request::Sender;

const LIMITS: Limits = Limits {
    // Two for each of 2000 nodes, and some.
    connections: 4096,
    handshake: Duration::from_secs(10),
    lifetime: None,
    drain: Duration::from_secs(5),
};
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

/// Serves `router` until `shutdown`, and then until requests are done or the time is up. Every request carries its
/// [`Sender`], and is recorded where there is an auditor.
pub async fn serve(
    listener: TcpListener,
    tls: ServerConfig,
    router: Router,
    auditor: Option<Arc<Auditor>>,
    shutdown: CancellationToken,
) {
    let service = move |peer: Peer<'_>| {
        let user = match peer.certificates.and_then(|chain| chain.first()) {
            None => User::anonymous(),
            Some(certificate) => match authentication::user_of(certificate) {
                Ok(user) => user,
                Err(error) => {
                    tracing::warn!(%error, "a client's certificate names no user");
                    return None;
                }
            },
        };
        let (user, router, auditor) = (Arc::new(user), router.clone(), auditor.clone());
        let address = peer.address;
        let with_user = service_fn(move |request: Request<hyper::body::Incoming>| {
            let (user, router) = (user.clone(), router.clone());
            let mut request = request.map(Body::new);
            match &auditor {
                Some(auditor) => {
                    let served = audit::serve::serve(auditor.clone(), address, user, request, router);
                    Either::Left(served)
                }
                None => {
                    let trail = Trail::default();
                    request.extensions_mut().insert(Sender { user, trail });
                    Either::Right(router.oneshot(request))
                }
            }
        });
        Some(ServerLayer.layer(with_user))
    };
    connections::serve(listener, tls, LIMITS, tune, service, shutdown).await;
}

fn tune(builder: &mut auto::Builder<TokioExecutor>) {
    builder
        .http2()
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_concurrent_streams(MAX_STREAMS);
}
