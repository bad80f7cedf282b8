//! Every resource, in its three forms: the message (gRPC and storage), Kubernetes' JSON, and the descriptor
//! that generic code works over. `proto/` is the single source of truth; nothing here names a kind but the
//! one list in [`kinds`].

mod generated;
pub mod any;
pub mod kinds;
pub mod json;
pub mod quantity;
pub mod int_or_string;
pub mod selector;
pub mod time;
pub mod envelope;
pub mod wire;
pub mod patch;
pub mod schema;
pub mod status;

pub use generated::*;
pub use kinds::{Key, Kind, KindInfo};
