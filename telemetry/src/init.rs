//! Installing the subscriber: the log layer and the trace layer, each with its own filter.

use anyhow::Context as _;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterFn};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};

use crate::export::{Exporter, SHUTDOWN_LIMIT};
use crate::log;
use crate::trace::CauseSampler;

/// The command line arguments of every Gantry process; flatten them with `#[command(flatten)]`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Which log lines are written, e.g. `info` or `info,gantry_apiserver=debug`.
    #[arg(long, env = "GANTRY_LOG", default_value = "info", global = true)]
    pub log_level: String,
    /// How a log line is written.
    #[arg(long, value_enum, default_value = "text", global = true)]
    pub log_format: LogFormat,
    /// OTLP gRPC endpoint that receives traces, e.g. `http://localhost:4317`. Without it no span is exported.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", global = true)]
    pub otlp_endpoint: Option<String>,
    /// Which share of new traces is recorded, from 0 to 1. A trace that another process began keeps the
    /// decision of that process.
    #[arg(long, default_value_t = 1.0, value_parser = parse_ratio, global = true)]
    pub trace_ratio: f64,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// Keeps the exporter alive. Call [`Telemetry::shutdown`] last, so that the final spans leave the process.
#[must_use = "spans that are still queued are lost unless shutdown is called"]
pub struct Telemetry {
    provider: SdkTracerProvider,
    exporter: Option<Exporter>,
}

/// Installs the process's subscriber: log lines on stderr, spans to the OTLP endpoint if there is one.
///
/// `service` becomes the trace resource's `service.name`. Fails when the log filter or the endpoint cannot be
/// parsed, or when a subscriber is already installed. An unreachable endpoint is not an error.
pub fn init(service: &'static str, args: &Args) -> anyhow::Result<Telemetry> {
    let (subscriber, telemetry) = subscriber(service, args, std::io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).context("installing the tracing subscriber")?;
    Ok(telemetry)
}

impl Telemetry {
    /// Sends the spans that are still queued and stops exporting, within [`SHUTDOWN_LIMIT`] even when the
    /// collector does not answer. Blocks the calling thread; the exporter has threads of its own, so that
    /// calling it on a runtime's only thread cannot deadlock.
    pub fn shutdown(self) {
        let Some(exporter) = self.exporter else { return };
        let provider = self.provider;
        let (done, finished) = std::sync::mpsc::sync_channel(1);
        // The provider joins its worker thread without a limit, hence a thread that may be abandoned.
        let flusher = std::thread::Builder::new()
            .name("telemetry-flush".into())
            .spawn(move || {
                let outcome = provider.shutdown_with_timeout(SHUTDOWN_LIMIT);
                // The receiver may have given up already, then nobody is left to care.
                let _ = done.send(outcome.is_ok());
            });
        let flushed = flusher.is_ok() && finished.recv_timeout(SHUTDOWN_LIMIT).unwrap_or(false);
        if !flushed {
            tracing::warn!("the trace collector did not take the last spans within {SHUTDOWN_LIMIT:?}");
        }
        exporter.stop();
    }
}

impl Default for Args {
    fn default() -> Self {
        Args {
            log_level: "info".into(),
            log_format: LogFormat::Text,
            otlp_endpoint: None,
            trace_ratio: 1.0,
        }
    }
}

fn subscriber<W>(
    service: &'static str,
    args: &Args,
    writer: W,
) -> anyhow::Result<(impl Subscriber + Send + Sync + use<W>, Telemetry)>
where
    W: for<'w> tracing_subscriber::fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&args.log_level)
        .with_context(|| format!("--log-level {:?} is not a filter", args.log_level))?;
    let endpoint = args
        .otlp_endpoint
        .as_deref()
        .filter(|endpoint| !endpoint.is_empty());
    let mut provider = SdkTracerProvider::builder()
        .with_sampler(CauseSampler::new(args.trace_ratio))
        .with_resource(resource(service));
    let mut exporter = None;
    if let Some(endpoint) = endpoint {
        let (started, processor) = Exporter::start(endpoint)?;
        provider = provider.with_span_processor(processor);
        exporter = Some(started);
    }
    let provider = provider.build();
    let traces = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("gantry"))
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(own_spans());
    let subscriber = tracing_subscriber::registry()
        .with(traces)
        .with(log::layer::<_, W>(args.log_format, writer).with_filter(filter));
    Ok((subscriber, Telemetry { provider, exporter }))
}

/// Spans of the transport libraries say how a request travelled, not why, and there are many of them.
const LIBRARIES: [&str; 8] = [
    "h2",
    "hyper",
    "hyper_util",
    "tonic",
    "tower",
    "rustls",
    "opentelemetry",
    "opentelemetry_sdk",
];

fn own_spans() -> FilterFn {
    FilterFn::new(is_own as fn(&Metadata<'_>) -> bool).with_max_level_hint(Level::INFO)
}

fn is_own(metadata: &Metadata<'_>) -> bool {
    let library = metadata.target().split("::").next().unwrap_or_default();
    *metadata.level() <= Level::INFO && !LIBRARIES.contains(&library)
}

fn resource(service: &'static str) -> Resource {
    let read = |path: &str| {
        std::fs::read_to_string(path)
            .map(|text| text.trim().to_owned())
            .ok()
    };
    let host = read("/proc/sys/kernel/hostname").unwrap_or_else(|| "unknown".into());
    // The kernel makes a fresh version 4 UUID for every read, which is what the convention asks for.
    let instance =
        read("/proc/sys/kernel/random/uuid").unwrap_or_else(|| format!("{host}/{}", std::process::id()));
    Resource::builder_empty()
        .with_service_name(service)
        .with_attributes([
            KeyValue::new("service.instance.id", instance),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("host.name", host),
        ])
        .build()
}

fn parse_ratio(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err("must be a number from 0 to 1".into()),
    }
}
