//! Installing the subscriber: the log layer and the trace layer, each with its own filter.

use std::path::PathBuf;

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
use crate::ring::IntoRing;
use crate::trace::{CauseSampler, TimedIds};

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
    /// The authorities that an `https` endpoint's certificate may be signed by, in PEM [default: the system's]
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_CERTIFICATE",
        value_name = "FILE",
        global = true
    )]
    pub otlp_certificate: Option<PathBuf>,
    /// Which share of new traces is recorded, from 0 to 1. A trace that another process began keeps the
    /// decision of that process.
    #[arg(long, env = "GANTRY_TRACE_RATIO", default_value_t = 1.0, value_parser = parse_ratio, global = true)]
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
    crate::trace::set_tracer(telemetry.provider.tracer("gantry"));
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
        drop(exporter);
    }
}

impl Default for Args {
    fn default() -> Self {
        Args {
            log_level: "info".into(),
            log_format: LogFormat::Text,
            otlp_endpoint: None,
            otlp_certificate: None,
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
        .with_id_generator(TimedIds::default())
        .with_resource(resource(service))
        .with_span_processor(IntoRing { service });
    let mut exporter = None;
    if let Some(endpoint) = endpoint {
        let certificate = args.otlp_certificate.as_deref();
        let certificate = certificate.filter(|path| !path.as_os_str().is_empty());
        let (started, processor) = Exporter::start(endpoint, certificate)?;
        provider = provider.with_span_processor(processor);
        exporter = Some(started);
    }
    let provider = provider.build();
    let traces = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("gantry"))
        // A name says where a span is made; file, line and module would be most of its bytes.
        .with_location(false)
        .with_target(false)
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

/// Reads a share from 0 to 1, as [`Args::trace_ratio`] is given.
pub fn parse_ratio(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err("must be a number from 0 to 1".into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use opentelemetry_sdk::trace::IdGenerator as _;
    use tracing::info_span;

    use super::*;
    use crate::trace;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Runs `work` under a subscriber of its own. Returns the lines that it logged.
    fn logged(args: Args, work: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let (subscriber, telemetry) = subscriber("test", &args, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, work);
        telemetry.shutdown();
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_text_line_inside_a_sampled_span_names_trace_and_span() {
        let mut traceparent = None;
        let text = logged(Args::default(), || {
            info_span!("apply", gantry.root = true, name = "web").in_scope(|| {
                traceparent = trace::current_traceparent();
                tracing::info!(object = "pods/default/web", revision = 7, "stored");
                tracing::debug!("hidden");
            });
            info_span!("heartbeat").in_scope(|| tracing::warn!("late"));
        });
        let traceparent = traceparent.unwrap();
        let (trace, span) = (&traceparent[3..35], &traceparent[36..52]);
        let expected = [
            format!(
                "  INFO gantry_telemetry::init::tests: apply{{gantry.root=true name=\"web\"}}: stored \
                 object=\"pods/default/web\" revision=7 trace_id={trace} span_id={span}"
            ),
            "  WARN gantry_telemetry::init::tests: heartbeat: late".to_owned(),
        ];
        let lines: Vec<_> = text.lines().map(|line| line.split_once('Z').unwrap().1).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_json_line_is_one_object_whose_own_fields_cannot_be_replaced() {
        let mut traceparent = None;
        let args = Args {
            log_format: LogFormat::Json,
            ..Args::default()
        };
        let text = logged(args, || {
            info_span!("apply", gantry.root = true, name = "web").in_scope(|| {
                traceparent = trace::current_traceparent();
                tracing::info!(
                    object = "pods/default/web",
                    revision = 7,
                    level = "forged",
                    "stored\n{}",
                    "twice"
                );
            });
        });
        let traceparent = traceparent.unwrap();
        let mut line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(line["timestamp"].take().is_string());
        let expected = serde_json::json!({
            "timestamp": null, "level": "INFO", "target": "gantry_telemetry::init::tests",
            "message": "stored\ntwice", "object": "pods/default/web", "revision": 7,
            "spans": [{"name": "apply", "fields": {"gantry.root": true, "name": "web"}}],
            "trace_id": traceparent[3..35], "span_id": traceparent[36..52],
        });
        assert_eq!(line, expected);
        assert_eq!(text.matches('\n').count(), 1);
    }

    #[test]
    fn work_for_a_cause_of_long_ago_begins_a_trace_of_its_own() {
        let trace_after = |seconds: u64| {
            let mut began = String::new();
            let mut continued = String::new();
            logged(Args::default(), || {
                #[allow(clippy::disallowed_methods, reason = "a test runs now")]
                let now = std::time::SystemTime::now();
                let random = TimedIds::default().new_trace_id();
                let id = trace::timed(random, now - std::time::Duration::from_secs(seconds));
                began = id.to_string();
                let span = info_span!("restart");
                trace::continue_from(&span, &format!("00-{id}-00f067aa0ba902b7-01"));
                continued = trace::cause_of(&span).unwrap().trace_id().to_owned();
            });
            (began, continued)
        };
        let (began, continued) = trace_after(60);
        assert_eq!(began, continued);
        let (began, continued) = trace_after(3600);
        assert_ne!(began, continued);
    }

    #[test]
    fn no_trace_begins_when_the_ratio_is_zero() {
        logged(
            Args {
                trace_ratio: 0.0,
                ..Args::default()
            },
            || {
                info_span!("apply", gantry.root = true).in_scope(|| {
                    assert_eq!(trace::current_traceparent(), None);
                    info_span!("child").in_scope(|| assert_eq!(trace::current_traceparent(), None));
                });
            },
        );
    }

    #[test]
    fn bad_arguments_are_refused_with_the_argument_that_is_wrong() {
        let check = |args: Args, part: &str| {
            let Err(error) = subscriber("test", &args, io::sink) else {
                panic!("accepted {args:?}")
            };
            assert!(format!("{error:#}").contains(part), "{error:#}");
        };
        check(
            Args {
                log_level: "gantry=loud".into(),
                ..Args::default()
            },
            "--log-level \"gantry=loud\"",
        );
        let endpoint = Some("http://not an address".to_owned());
        check(
            Args {
                otlp_endpoint: endpoint,
                ..Args::default()
            },
            "--otlp-endpoint",
        );
        check(
            Args {
                otlp_endpoint: Some("https://localhost:4317".to_owned()),
                otlp_certificate: Some("/nowhere/ca.crt".into()),
                ..Args::default()
            },
            "--otlp-certificate /nowhere/ca.crt",
        );
        for ratio in ["-0.1", "1.1", "NaN", "half"] {
            assert!(parse_ratio(ratio).is_err(), "{ratio}");
        }
    }
}
