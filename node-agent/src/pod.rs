//! What should happen to a pod on this node, decided without doing any of it.
//!
//! Everything below is pure: the pod as the apiserver has it, what the runtime was seen to have, what this
//! agent remembers and the time go in; a plan or a status comes out. A pod's life:
//!
//! ```text
//!   Run ──────────────▶ Finish            containers ended for good: sandbox stopped, logs kept
//!    │                     │
//!    ├──▶ Delete ◀─────────┘              deletionTimestamp: stop, clean, final status, delete from the API
//!    └──▶ Forget                          gone from the API: stop and clean
//! ```

pub mod observed;
pub mod memory;
pub mod back_off;
pub mod wish;
pub mod plan;
pub mod death;
pub mod garbage;
pub mod status;
pub mod status_patch;
pub mod known_status;
pub mod probe;
pub mod resources;
pub mod environment;
pub mod service_links;
pub mod identity;
