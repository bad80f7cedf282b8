//! Who a connection belongs to: the subject of its client certificate.

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Whoever shows no certificate.
pub const ANONYMOUS: &str = "system:anonymous";
/// The group of whoever shows no certificate.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The group of everybody with a certificate.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group that may do everything.
pub const MASTERS: &str = "system:masters";

/// A user as Kubernetes has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub groups: Vec<String>,
}

impl User {
    pub fn anonymous() -> User {
        User {
            name: ANONYMOUS.into(),
            groups: vec![UNAUTHENTICATED.into()],
        }
    }

    /// The apiserver itself (Kubernetes' user of its loopback client).
    pub fn server() -> User {
        User {
            name: "system:apiserver".into(),
            groups: vec![MASTERS.into(), AUTHENTICATED.into()],
        }
    }

    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidSubject {
    #[error("the client certificate cannot be parsed: {0}")]
    Certificate(String),
    #[error("the client certificate's subject has no common name")]
    NoCommonName,
}

/// The user that a certificate names: its common name, and its organisations as groups. The TLS handshake has
/// verified it against the client CA.
pub fn user_of(certificate: &CertificateDer<'_>) -> Result<User, InvalidSubject> {
    let (_, certificate) = X509Certificate::from_der(certificate)
        .map_err(|error| InvalidSubject::Certificate(error.to_string()))?;
    let subject = certificate.subject();
    let name = subject
        .iter_common_name()
        .find_map(|name| name.as_str().ok())
        .filter(|name| !name.is_empty())
        .ok_or(InvalidSubject::NoCommonName)?;
    let organisations = subject.iter_organization().filter_map(|name| name.as_str().ok());
    let mut groups: Vec<String> = organisations.map(str::to_owned).collect();
    groups.push(AUTHENTICATED.into());
    Ok(User {
        name: name.to_owned(),
        groups,
    })
}
