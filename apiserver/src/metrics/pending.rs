//! A request from its start until it is counted.

use std::time::{Duration, Instant};

use super::{Metrics, Request};

/// What a request is counted under whose client has gone before its answer: "client closed request", to which gRPC's
/// gateways turn CANCELLED. No client ever sees it.
const CLIENT_GONE: i32 = 499;

/// Counts its request when it is answered, or else when it is dropped: whoever loses patience with a slow server must
/// not be missing where it is told how slow the server is.
#[derive(Debug)]
pub struct Pending<'a> {
    metrics: &'a Metrics,
    request: &'a Request,
    start: Instant,
    waited: Duration,
    is_answered: bool,
}

impl<'a> Pending<'a> {
    pub fn new(metrics: &'a Metrics, request: &'a Request) -> Pending<'a> {
        Pending {
            metrics,
            request,
            start: super::now(),
            waited: Duration::ZERO,
            is_answered: false,
        }
    }

    /// It has waited for its seat before.
    pub fn after(mut self, waited: Duration) -> Pending<'a> {
        self.waited = waited;
        self
    }

    pub fn answered(mut self, code: i32) {
        self.is_answered = true;
        self.count(code);
    }

    fn count(&self, code: i32) {
        let took = self.start.elapsed();
        self.metrics
            .answered(self.request, code, (took + self.waited, self.waited));
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.count(CLIENT_GONE);
        }
    }
}

#[cfg(test)]
mod tests {
    use gantry_telemetry::metrics::Registry;

    use super::*;
    use crate::request::Verb;

    #[tokio::test]
    async fn a_request_is_counted_once_answered_or_not() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry);
        let request = Request::of(Verb::Get, "pods", "", "default", "web");
        metrics.pending(&request).answered(200);
        let impatient = async {
            let _pending = metrics.pending(&request);
            std::future::pending::<()>().await;
        };
        // As the connection does with a request that its client has reset.
        assert!(futures::poll!(Box::pin(impatient)).is_pending());
        let text = gantry_telemetry::metrics::encode(&registry);
        let labels = "verb=\"GET\",dry_run=\"\",group=\"\",version=\"v1\",resource=\"pods\",subresource=\"\",scope=\"resource\",component=\"apiserver\"";
        for line in [
            format!("apiserver_request_total{{{labels},code=\"200\"}} 1"),
            format!("apiserver_request_total{{{labels},code=\"499\"}} 1"),
            format!("apiserver_request_duration_seconds_count{{{labels}}} 2"),
        ] {
            assert!(text.contains(&line), "{line} is not in {text}");
        }
    }
}
