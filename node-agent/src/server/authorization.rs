//! Who may have logs read and images imported.

use gantry_telemetry::serve::PeerCertificate;
use tonic::{Request, Status};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The name in the certificate that the apiserver shows to nodes, and the group whose members may do all.
const CLIENT: &str = "kube-apiserver-kubelet-client";
const MASTERS: &str = "system:masters";

/// A node's own certificate is signed by the same authority, so being signed is not enough.
pub fn apiserver_only<T>(request: &Request<T>) -> Result<(), Status> {
    let shown = request.extensions().get::<PeerCertificate>();
    let Some(certificate) = shown.and_then(|shown| shown.0.as_ref()) else {
        return Err(Status::unauthenticated("a client certificate is required"));
    };
    match subject(certificate) {
        Some((name, groups)) if name == CLIENT || groups.iter().any(|group| group == MASTERS) => Ok(()),
        Some((name, _)) => Err(Status::permission_denied(format!(
            "{name} may not use the node agent; the apiserver may"
        ))),
        None => Err(Status::unauthenticated("the client certificate has no subject")),
    }
}

/// The certificate's common name and organisations.
fn subject(der: &[u8]) -> Option<(String, Vec<String>)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let name = certificate
        .subject()
        .iter_common_name()
        .next()?
        .as_str()
        .ok()?
        .to_string();
    let groups = certificate
        .subject()
        .iter_organization()
        .filter_map(|group| group.as_str().ok());
    Some((name, groups.map(str::to_string).collect()))
}
