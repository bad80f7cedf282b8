//! Making keys and signing certificates. ECDSA P-256 throughout: every TLS stack has it, and a handshake
//! costs a fraction of RSA's.

use super::plan::{Leaf, Signer, Usage};
use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// As kubeadm's.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(10 * 365 * DAY.as_secs());
/// As kubeadm's.
const LEAF_LIFETIME: Duration = Duration::from_secs(365 * DAY.as_secs());
/// How far a machine's clock may be behind ours and still accept a certificate that was made just now.
const BACKDATED: Duration = Duration::from_secs(60 * 60);

/// A certificate and its key, in PEM.
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// What signs leaves.
pub type Authority = Issuer<'static, KeyPair>;

pub fn new_key() -> Result<KeyPair> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).context("generating an ECDSA key")
}

/// A new certificate authority, valid from an hour before `now` for ten years.
pub fn new_authority(signer: Signer, key: &KeyPair, now: SystemTime) -> Result<String> {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name(signer.common_name(), "");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + AUTHORITY_LIFETIME).into();
    let certificate = params
        .self_signed(key)
        .with_context(|| format!("signing {}", signer.common_name()))?;
    Ok(certificate.pem())
}

/// An authority that exists already.
pub fn load_authority(pair: &Pair) -> Result<Authority> {
    let key = KeyPair::from_pem(&pair.key).context("reading the key of the certificate authority")?;
    Issuer::from_ca_cert_pem(&pair.certificate, key).context("reading the certificate authority")
}

/// The certificate of `leaf`, valid from an hour before `now` for a year.
pub fn new_leaf(leaf: &Leaf, key: &KeyPair, authority: &Authority, now: SystemTime) -> Result<String> {
    let mut params = CertificateParams::new(leaf.names.clone())
        .with_context(|| format!("names of {}: {:?}", leaf.path, leaf.names))?;
    params.distinguished_name = distinguished_name(&leaf.common_name, leaf.organization);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match leaf.usage {
        Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
        Usage::Both => vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ],
    };
    params.use_authority_key_identifier_extension = true;
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + LEAF_LIFETIME).into();
    let certificate = params
        .signed_by(key, authority)
        .with_context(|| format!("signing the certificate of {}", leaf.path))?;
    Ok(certificate.pem())
}

fn distinguished_name(common_name: &str, organization: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if !organization.is_empty() {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common_name);
    name
}
