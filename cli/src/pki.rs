//! The cluster's certificates: who signs, what each party's certificate says, and which file holds it.
//!
//! `plan` lists everything a cluster needs; [`files::complete`] makes what is not there yet. Nothing that exists is
//! ever replaced: a second run completes a folder that a first one left.

pub mod plan;
pub mod files;
pub mod issue;

pub use files::{Authorities, Report, complete};
pub use plan::{Cluster, Node};

#[cfg(test)]
mod tests;
