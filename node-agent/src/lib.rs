//! The node agent: runs the pods that are bound to one node, and says how they are.

mod clock;
mod config;
pub mod pod;
pub mod runtime;
pub mod image;
pub mod volume;
pub mod network;
pub mod node;
mod metrics;
mod references;
mod leftovers;
mod worker;
mod agent;
pub mod server;
mod cleanup;

pub use agent::run;
pub use cleanup::cleanup;
pub use config::{Command, Config};
pub use network::cni_timer::run as cni_timer;
