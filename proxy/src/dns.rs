//! Cluster DNS, answered on the node from what the node knows (github.com/kubernetes/dns, specification 1.1.0).

mod zone;
mod answer;
mod reply;
mod upstream;
mod resolver;
mod listen;

pub use answer::{Answer, TTL_SECONDS, answer};
pub use listen::Listeners;
pub use resolver::Resolver;
pub use upstream::Upstreams;
pub use zone::Zone;
