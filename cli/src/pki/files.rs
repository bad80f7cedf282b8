//! The folder that holds a cluster's certificates: what is missing in it is made, what is there is kept.

use super::issue::{self, Authority, Pair};
use super::plan::{Leaf, Signer};
use crate::kubeconfig::{self, Identity};
use anyhow::{Context as _, Result, bail};
use rcgen::KeyPair;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Who may read a file.
#[derive(Clone, Copy)]
enum Access {
    Owner,
    Everyone,
}

/// What to do where a certificate authority is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authorities {
    /// Make both, and the service account key: a new cluster.
    Make,
    /// Fail: a node joins a cluster that exists.
    Require,
}

/// What a run did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Paths below the folder.
    pub made: Vec<String>,
    pub kept: Vec<String>,
    /// What the user should know about what was kept.
    pub warnings: Vec<String>,
}

/// Makes what is missing of the certificate authorities, the service account key and `leaves`.
///
/// Fails, without replacing anything, when a certificate is there but its key is not, or when a file that is
/// needed cannot be read.
pub fn complete(
    folder: &Path,
    authorities: Authorities,
    leaves: &[Leaf],
    servers: &[String],
    now: SystemTime,
) -> Result<Report> {
    let folder = Folder {
        path: folder.into(),
        now,
    };
    let mut report = Report::default();
    if authorities == Authorities::Make {
        service_account_key(&folder, &mut report)?;
    }
    for signer in Signer::ALL {
        let mine: Vec<&Leaf> = leaves.iter().filter(|leaf| leaf.signer == signer).collect();
        if authorities == Authorities::Require {
            if mine.is_empty() {
                continue;
            }
            let key = folder.shown(&format!("{}.key", signer.path()));
            if !Path::new(&key).exists() {
                bail!(
                    "{key} does not exist: make the cluster's certificates first, with `gantry init --dir {}`",
                    folder.path.display()
                );
            }
        }
        let pair = authority(&folder, signer, &mut report)?;
        let issuer = issue::load_authority(&pair).with_context(|| folder.shown(signer.path()))?;
        for leaf in mine {
            let leaf_pair = certificate(&folder, leaf, &issuer, &mut report)?;
            if let Some(path) = &leaf.kubeconfig {
                let identity = Identity {
                    user: &leaf.common_name,
                    certificate: &leaf_pair.certificate,
                    key: &leaf_pair.key,
                };
                let text = kubeconfig::new(servers, &pair.certificate, &identity)?;
                folder.make(path, &text, Access::Owner, &mut report)?;
            }
        }
    }
    Ok(report)
}

struct Folder {
    path: PathBuf,
    now: SystemTime,
}

impl Folder {
    fn shown(&self, path: &str) -> String {
        self.path.join(path).display().to_string()
    }

    fn read(&self, path: &str) -> Result<Option<String>> {
        match fs::read_to_string(self.path.join(path)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", self.shown(path))),
        }
    }

    /// Writes a file that is not there, whole or not at all. One that is there is kept.
    fn make(&self, path: &str, text: &str, access: Access, report: &mut Report) -> Result<()> {
        let target = self.path.join(path);
        let write = || -> std::io::Result<()> {
            let parent = target.parent().unwrap_or(&self.path);
            fs::create_dir_all(parent)?;
            let mode = match access {
                Access::Owner => 0o600,
                Access::Everyone => 0o644,
            };
            let unfinished = target.with_extension(format!("new-{}", std::process::id()));
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(mode)
                .open(&unfinished)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            // Unlike a rename, a link never replaces what another run has made in the meantime.
            let linked = fs::hard_link(&unfinished, &target);
            fs::remove_file(&unfinished)?;
            linked
        };
        match write() {
            Ok(()) => report.made.push(path.into()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => report.kept.push(path.into()),
            Err(error) => return Err(error).with_context(|| format!("writing {}", self.shown(path))),
        }
        Ok(())
    }

    /// The key at `path`.key, made if neither it nor its certificate exists.
    fn key(&self, path: &str, report: &mut Report) -> Result<KeyPair> {
        let key_path = format!("{path}.key");
        if let Some(text) = self.read(&key_path)? {
            report.kept.push(key_path.clone());
            return KeyPair::from_pem(&text).with_context(|| format!("reading {}", self.shown(&key_path)));
        }
        let certificate = self.shown(&format!("{path}.crt"));
        if Path::new(&certificate).exists() {
            bail!(
                "{certificate} exists, but its key {} does not: restore the key, or delete the certificate to \
                   have both made anew",
                self.shown(&key_path)
            );
        }
        let key = issue::new_key()?;
        self.make(&key_path, &key.serialize_pem(), Access::Owner, report)?;
        Ok(key)
    }
}

fn authority(folder: &Folder, signer: Signer, report: &mut Report) -> Result<Pair> {
    let path = format!("{}.crt", signer.path());
    let key = folder.key(signer.path(), report)?;
    let certificate = match folder.read(&path)? {
        Some(certificate) => {
            report.kept.push(path);
            certificate
        }
        None => {
            let certificate = issue::new_authority(signer, &key, folder.now)?;
            folder.make(&path, &certificate, Access::Everyone, report)?;
            certificate
        }
    };
    Ok(Pair {
        certificate,
        key: key.serialize_pem(),
    })
}

fn certificate(folder: &Folder, leaf: &Leaf, authority: &Authority, report: &mut Report) -> Result<Pair> {
    let path = format!("{}.crt", leaf.path);
    let key = folder.key(&leaf.path, report)?;
    let certificate = match folder.read(&path)? {
        Some(certificate) => {
            let missing = missing_names(&certificate, &leaf.names).with_context(|| folder.shown(&path))?;
            if !missing.is_empty() {
                report.warnings.push(format!(
                    "{} is kept, but is not valid for {}: delete it and run again to have a new one made",
                    folder.shown(&path),
                    missing.join(", ")
                ));
            }
            report.kept.push(path);
            certificate
        }
        None => {
            let certificate = issue::new_leaf(leaf, &key, authority, folder.now)?;
            folder.make(&path, &certificate, Access::Everyone, report)?;
            certificate
        }
    };
    Ok(Pair {
        certificate,
        key: key.serialize_pem(),
    })
}

/// The key pair that signs service account tokens, and the public half that checks them.
fn service_account_key(folder: &Folder, report: &mut Report) -> Result<()> {
    let key = folder.key("service-account", report)?;
    folder.make(
        "service-account.pub",
        &key.public_key_pem(),
        Access::Everyone,
        report,
    )
}

/// Which of `names` a certificate is not valid for.
fn missing_names(certificate: &str, names: &[String]) -> Result<Vec<String>> {
    let present = names_of(certificate)?;
    Ok(names
        .iter()
        .filter(|name| !present.contains(name))
        .cloned()
        .collect())
}

/// The subject alternative names of a certificate in PEM, addresses as text.
pub fn names_of(certificate: &str) -> Result<Vec<String>> {
    use x509_parser::extensions::GeneralName;
    let (_, pem) =
        x509_parser::pem::parse_x509_pem(certificate.as_bytes()).context("not a certificate in PEM")?;
    let parsed = pem.parse_x509().context("not an X.509 certificate")?;
    let Some(extension) = parsed
        .subject_alternative_name()
        .context("subject alternative names")?
    else {
        return Ok(Vec::new());
    };
    let name = |name: &GeneralName| match name {
        GeneralName::DNSName(name) => Some(name.to_string()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes)
                .ok()
                .map(|b| std::net::Ipv4Addr::from(b).to_string()),
            16 => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|b| std::net::Ipv6Addr::from(b).to_string()),
            _ => None,
        },
        _ => None,
    };
    Ok(extension.value.general_names.iter().filter_map(name).collect())
}
