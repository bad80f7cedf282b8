//! The cluster as a component sees it: typed calls to the apiserver, caches that follow it by list and
//! watch, the gate that holds a writer until its cache has seen its write, and the queue of keys to look at.

mod client;
mod cache;
mod config;
mod connection;
mod observed;
mod error;
mod queue;
mod recorder;
pub mod election;

pub use cache::{Cache, CacheBuilder, Change, Entry, Snapshot};
pub use client::{Client, List, ListOptions, PatchType};
pub use config::{Config, ConfigError, Observer};
pub use connection::{Connection, Service};
pub use election::{Candidate, Term};
pub use error::{CallError, Error};
pub use queue::WorkQueue;
pub use recorder::{EventType, Recorder};

use gantry_proto::meta::v1::ObjectMeta;

/// The store revision of an object's last write: its resourceVersion. 0 for an object that was never read.
pub fn revision(metadata: &ObjectMeta) -> i64 {
    metadata.resource_version.parse().unwrap_or(0)
}
