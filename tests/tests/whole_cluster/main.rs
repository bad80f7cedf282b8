//! Whole clusters on real etcd and real containerd, used as people use them. They need root, and take
//! turns.

mod sample;
mod session;
mod local_cluster;
mod rolling_update;
mod recovery;
mod disruption;
mod leaders;
mod trace;
mod causes;
mod bad_input;
mod foreign_clients;
