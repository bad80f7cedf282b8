//! The Node object: what this machine has, and how it is.

pub mod machine;
pub mod object;
pub mod heartbeat;

/// The machine's architecture as Go, and so Kubernetes and OCI, name it.
pub fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm",
        "powerpc64" => "ppc64le",
        other => other,
    }
}
