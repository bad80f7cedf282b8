//! What a component's calls to the apiserver came to, under the names of Kubernetes' client library.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use super::Registry;

/// Seconds; client-go's.
const BUCKETS: [f64; 12] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    code: &'static str,
    method: &'static str,
    host: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Question {
    verb: &'static str,
    host: String,
}

/// Registers the metrics, and returns what counts a call: by its HTTP method, the apiserver's host and port, the HTTP
/// code of the answer or `<error>` for none, and the time until the answer began. So a series more comes only with an
/// apiserver.
pub fn observer(
    registry: &Registry,
) -> impl Fn(&'static str, &str, &'static str, Duration) + Send + Sync + 'static {
    let answers: Family<Answer, Counter> = Family::default();
    let durations: Family<Question, Histogram, fn() -> Histogram> =
        Family::new_with_constructor(|| Histogram::new(BUCKETS));
    registry.register(
        "rest_client_requests",
        "Number of HTTP requests, partitioned by status code, method, and host",
        answers.clone(),
    );
    registry.register(
        "rest_client_request_duration_seconds",
        "Request latency in seconds. Broken down by verb, and host",
        durations.clone(),
    );
    move |method, host, code, took| {
        let host = host.to_owned();
        let question = Question {
            verb: method,
            host: host.clone(),
        };
        answers.get_or_create(&Answer { code, method, host }).inc();
        durations.get_or_create(&question).observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_and_labels_are_those_of_kubernetes_client_library() {
        let registry = Registry::new();
        let observe = observer(&registry);
        observe("POST", "10.0.0.1:6443", "409", Duration::from_millis(20));
        let text = crate::metrics::encode(&registry);
        for line in [
            "rest_client_requests_total{code=\"409\",method=\"POST\",host=\"10.0.0.1:6443\"} 1",
            "rest_client_request_duration_seconds_count{verb=\"POST\",host=\"10.0.0.1:6443\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
