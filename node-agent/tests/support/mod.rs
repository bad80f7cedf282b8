//! What the node agent's tests run in: namespaces of their own, a containerd of their own, an apiserver in
//! memory, certificates.

pub mod api;
pub mod archive;
pub mod certificates;
pub mod machine;
