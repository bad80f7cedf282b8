//! Sending spans to the collector without ever holding up the process.
//!
//! Spans wait in one bounded queue; when it is full, new spans are dropped. One thread takes batches from the
//! queue and hands them to a runtime of our own, so that neither a busy nor a stopped runtime of the process
//! keeps spans from leaving.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::runtime::{Builder, Handle, Runtime};

/// Spans that wait for the collector. At about 1 KB each, at most 4 MB are held.
const QUEUE_SPANS: usize = 4096;
/// Spans in one message: 512 of about 1 KB stay far below the 4 MiB that a gRPC receiver takes by default.
const BATCH_SPANS: usize = 512;
/// How long a span may wait for its batch to fill: short enough to watch a rollout in the trace viewer.
const BATCH_DELAY: Duration = Duration::from_secs(1);
/// One export with its retries. The queue outlasts it at 800 spans per second.
const EXPORT_LIMIT: Duration = Duration::from_secs(5);
/// How long the process's end may be held up by the last spans.
pub const SHUTDOWN_LIMIT: Duration = Duration::from_secs(3);
/// Where Debian and its relatives keep the authorities that a machine trusts.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// A collector that is away is worth one log line in this time, not one for each batch.
const FAILURE_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The runtime that drives the connection to the collector. Dropping it abandons what is under way, without
/// waiting, so that it may be dropped inside another runtime, also where starting a process fails.
pub(crate) struct Exporter {
    /// Taken by `drop` only.
    runtime: Option<Runtime>,
}

impl Exporter {
    /// Prepares the connection without making it. Fails when `endpoint` is not a URL, or when it is an `https` one
    /// and the authorities in `certificate` (the system's, if `None`) cannot be read.
    pub(crate) fn start(
        endpoint: &str,
        certificate: Option<&Path>,
    ) -> anyhow::Result<(Exporter, BatchSpanProcessor)> {
        let endpoint = if endpoint.contains("://") {
            endpoint.to_owned()
        } else {
            format!("http://{endpoint}")
        };
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("telemetry")
            .enable_all()
            .build()
            .context("starting the export runtime")?;
        let handle = runtime.handle().clone();
        let started = Exporter {
            runtime: Some(runtime),
        };
        let otlp = {
            // The channel spawns its driver on the runtime that is entered while it is built.
            let _entered = handle.enter();
            let mut builder = OtlpExporter::builder()
                .with_tonic()
                .with_endpoint(&endpoint)
                .with_timeout(EXPORT_LIMIT);
            if endpoint.starts_with("https://") {
                let authorities = authorities(certificate.unwrap_or(Path::new(SYSTEM_AUTHORITIES)))?;
                builder = builder.with_tls_config(ClientTlsConfig::new().ca_certificate(authorities));
            }
            builder
                .build()
                .with_context(|| format!("--otlp-endpoint {endpoint:?}"))?
        };
        let exporter = OnRuntime {
            handle,
            otlp: Arc::new(otlp),
            endpoint,
            failures: Mutex::default(),
        };
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE_SPANS)
            .with_max_export_batch_size(BATCH_SPANS)
            .with_scheduled_delay(BATCH_DELAY)
            .build();
        let processor = BatchSpanProcessor::builder(exporter)
            .with_batch_config(config)
            .build();
        Ok((started, processor))
    }
}

/// Reads certificates here, where a mistake can still be told: the connection would only fail, again and again.
fn authorities(path: &Path) -> anyhow::Result<Certificate> {
    let read = || -> anyhow::Result<Vec<u8>> {
        let pem = std::fs::read(path)?;
        let first = CertificateDer::pem_slice_iter(&pem).next();
        first.context("it holds no certificate")??;
        Ok(pem)
    };
    let pem = read().with_context(|| {
        let path = path.display();
        format!(
            "--otlp-certificate {path}: an https endpoint needs the authorities that sign its certificate"
        )
    })?;
    Ok(Certificate::from_pem(pem))
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Runs each export on the telemetry runtime and reports failures at a bearable rate.
#[derive(Debug)]
struct OnRuntime {
    handle: Handle,
    otlp: Arc<OtlpExporter>,
    endpoint: String,
    failures: Mutex<Failures>,
}

#[derive(Debug, Default)]
struct Failures {
    logged_at: Option<Instant>,
    spans_since: usize,
}

impl Failures {
    /// Counts a failed batch. Returns how many spans were lost since the last log line when it is time for
    /// another one.
    fn record(&mut self, spans: usize, now: Instant) -> Option<usize> {
        self.spans_since += spans;
        let due = self
            .logged_at
            .is_none_or(|logged| now.duration_since(logged) >= FAILURE_LOG_INTERVAL);
        due.then(|| {
            self.logged_at = Some(now);
            std::mem::take(&mut self.spans_since)
        })
    }
}

impl SpanExporter for OnRuntime {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let otlp = self.otlp.clone();
        let export = self.handle.spawn(async move {
            let limited = tokio::time::timeout(EXPORT_LIMIT, otlp.export(batch)).await;
            limited.unwrap_or(Err(OTelSdkError::Timeout(EXPORT_LIMIT)))
        });
        let outcome = export.await.unwrap_or_else(|error| {
            Err(OTelSdkError::InternalFailure(format!(
                "the export was abandoned: {error}"
            )))
        });
        if let Err(error) = &outcome {
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(lost) = failures.record(spans, Instant::now()) {
                tracing::warn!(%error, address = self.endpoint, count = lost, "spans could not be exported");
            }
        }
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.otlp.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        if let Some(otlp) = Arc::get_mut(&mut self.otlp) {
            otlp.set_resource(resource);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_that_stays_away_is_logged_once_per_interval_with_the_number_of_lost_spans() {
        let mut failures = Failures::default();
        let start = Instant::now();
        let steps = [
            (0, 5, Some(5)),
            (1, 7, None),
            (59, 7, None),
            (60, 1, Some(15)),
            (61, 2, None),
        ];
        for (second, spans, logged) in steps {
            assert_eq!(
                failures.record(spans, start + Duration::from_secs(second)),
                logged,
                "{second} s"
            );
        }
    }
}
