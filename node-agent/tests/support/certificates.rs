//! A certificate authority, and what it signs.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::fs;
use std::path::Path;

/// Writes `ca.crt`, and for each name `NAME.crt` and `NAME.key`.
pub fn write(folder: &Path, subjects: &[(&str, &str, &str)]) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "test-ca");
    let ca = params.self_signed(&key).unwrap();
    fs::write(folder.join("ca.crt"), ca.pem()).unwrap();
    let issuer = Issuer::new(params, key);
    for (file, name, organization) in subjects {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(vec!["localhost".to_string(), "127.0.0.1".to_string()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, *name);
        params
            .distinguished_name
            .push(DnType::OrganizationName, *organization);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        fs::write(folder.join(format!("{file}.crt")), certificate.pem()).unwrap();
        fs::write(folder.join(format!("{file}.key")), key.serialize_pem()).unwrap();
    }
}
