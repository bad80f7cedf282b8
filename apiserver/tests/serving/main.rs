//! The server as its clients see it: in this process, on a real etcd, over TLS.

mod cluster;
mod objects;
mod watches;
mod access;
mod services;
