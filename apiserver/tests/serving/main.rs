//! The server as its clients see it: in this process, on a real etcd, over TLS.

#![allow(clippy::result_large_err, reason = "the refusal is what a test looks at")]

mod cluster;
mod objects;
mod watches;
mod lists;
mod limits;
mod several;
mod access;
mod services;
mod faults;
mod audit;
mod counted;
mod deletion;
mod delete_collection;
mod eviction;
mod priority;
mod patches;
mod dry_run;
mod requests;
