//! A collector that accepts connections and never answers.

use std::time::{Duration, Instant};

use gantry_telemetry::{Args, SHUTDOWN_LIMIT, init};

/// More than the queue holds.
const SPANS: usize = 20_000;

/// On a single-threaded runtime, where blocking on work of that runtime would be a deadlock.
#[tokio::test(flavor = "current_thread")]
async fn a_silent_collector_slows_neither_the_process_nor_its_end() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = silent.local_addr().unwrap().to_string();
    let telemetry = init(
        "gantry-test",
        &Args {
            otlp_endpoint: Some(endpoint),
            ..Args::default()
        },
    )
    .unwrap();

    let start = Instant::now();
    for _ in 0..SPANS {
        drop(tracing::info_span!("work", gantry.root = true));
    }
    // 100 microseconds per span is far more than recording or dropping it takes, and far less than waiting.
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());

    let start = Instant::now();
    telemetry.shutdown();
    assert!(
        start.elapsed() < SHUTDOWN_LIMIT + Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
}
