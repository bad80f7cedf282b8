//! Carrying the current span to a server.

use std::task::{Context, Poll};

use http::HeaderValue;
use tower::{Layer, Service};

use super::TRACEPARENT;

/// A tower layer for clients: adds the `traceparent` header of the current span, if it is sampled.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientLayer;

/// See [`ClientLayer`].
#[derive(Clone, Debug)]
pub struct Client<S> {
    inner: S,
}

impl<S> Layer<S> for ClientLayer {
    type Service = Client<S>;

    fn layer(&self, inner: S) -> Client<S> {
        Client { inner }
    }
}

impl<S, B> Service<http::Request<B>> for Client<S>
where
    S: Service<http::Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<B>) -> S::Future {
        let cause = super::current_cause();
        if let Some(header) = cause.and_then(|cause| HeaderValue::from_str(cause.as_str()).ok()) {
            request.headers_mut().insert(TRACEPARENT, header);
        }
        self.inner.call(request)
    }
}
