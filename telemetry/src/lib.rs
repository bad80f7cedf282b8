//! What every Gantry process does besides its own work: logs, traces, metrics, health and shutdown.
//!
//! A binary flattens [`Args`] into its command line, calls [`init`] once, keeps the [`Telemetry`] until its
//! work is done and then calls [`Telemetry::shutdown`], which flushes the last spans.

mod init;
mod log;
mod export;
pub mod trace;
pub mod ring;
pub mod metrics;
pub mod exemplar;
pub mod health;
pub mod connections;
pub mod serve;
pub mod shutdown;

pub use export::SHUTDOWN_LIMIT;
pub use init::{Args, LogFormat, Telemetry, init, parse_ratio};
