use super::Name;
use super::data::{self, Data, Refusals, Sources};
use crate::go_text;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use x509_parser::pem::Pem;

/// Create a secret
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    secret_type: Type,
}

#[derive(clap::Subcommand, Debug)]
enum Type {
    /// From files, folders or values
    Generic {
        #[command(flatten)]
        name: Name,
        #[command(flatten)]
        sources: Sources,
        /// The secret's type [default: Opaque]
        #[arg(long = "type", default_value = "")]
        secret_type: String,
    },
    /// From a certificate and its key
    Tls {
        #[command(flatten)]
        name: Name,
        /// The certificate, in PEM
        #[arg(long, value_name = "FILE")]
        cert: Option<PathBuf>,
        /// Its key, in PEM
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
    /// From what a registry of images asks for
    #[command(name = "docker-registry")]
    DockerRegistry {
        #[command(flatten)]
        name: Name,
        /// Who asks
        #[arg(long, default_value = "")]
        docker_username: String,
        /// By which password
        #[arg(long, default_value = "")]
        docker_password: String,
        /// Whose mail
        #[arg(long, default_value = "")]
        docker_email: String,
        /// Where
        #[arg(long, default_value = "https://index.docker.io/v1/")]
        docker_server: String,
        /// A file such as ~/.docker/config.json in place of all that, as .dockerconfigjson=FILE
        #[arg(long, value_name = "[KEY=]FILE", value_delimiter = ',')]
        from_file: Vec<String>,
    },
}

const REFUSALS: Refusals = Refusals {
    invalid: |key, why| format!("\"{key}\" is not valid key name for a Secret {why}"),
    duplicate: |key| format!("cannot add key {key}, another key by that name already exists"),
    env_file_is_folder: "env secret file cannot be a directory",
};

pub fn describe(arguments: Arguments) -> Result<Value, String> {
    let variable = |name: &str| std::env::var(name).ok();
    match arguments.secret_type {
        Type::Generic {
            name,
            sources,
            secret_type,
        } => Ok(secret(&name, &secret_type, sources.read(&REFUSALS, variable)?)),
        Type::Tls { name, cert, key } => {
            let (Some(cert), Some(key)) = (cert, key) else {
                return Err("key and cert must be specified".into());
            };
            let (cert, key) = (read(&cert)?, read(&key)?);
            check_pair(&cert, &key)?;
            let data = Data::from([("tls.crt".into(), cert), ("tls.key".into(), key)]);
            Ok(secret(&name, "kubernetes.io/tls", data))
        }
        Type::DockerRegistry {
            name,
            docker_username,
            docker_password,
            docker_email,
            docker_server,
            from_file,
        } => {
            let data = match from_file.is_empty() {
                false => Sources::of_files(from_file).read(&REFUSALS, variable)?,
                true if docker_username.is_empty()
                    || docker_password.is_empty()
                    || docker_server.is_empty() =>
                {
                    return Err(
                        "either --from-file or the combination of --docker-username, --docker-password and \
                         --docker-server is required"
                            .into(),
                    );
                }
                true => {
                    let auth = STANDARD.encode(format!("{docker_username}:{docker_password}"));
                    // In Go's order of fields, so that the secret is kubectl's byte for byte.
                    let fields = [
                        ("username", docker_username),
                        ("password", docker_password),
                        ("email", docker_email),
                        ("auth", auth),
                    ];
                    let written = |text: &str| go_text::json(&text.into());
                    let entry: Vec<String> = fields
                        .iter()
                        .filter(|(_, value)| !value.is_empty())
                        .map(|(name, value)| format!("{}:{}", written(name), written(value)))
                        .collect();
                    let server = written(&docker_server);
                    let config = format!("{{\"auths\":{{{server}:{{{}}}}}}}", entry.join(","));
                    Data::from([(".dockerconfigjson".into(), config.into_bytes())])
                }
            };
            Ok(secret(&name, "kubernetes.io/dockerconfigjson", data))
        }
    }
}

fn secret(name: &Name, secret_type: &str, values: Data) -> Value {
    let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name.name}});
    let encoded: Map<String, Value> = values
        .into_iter()
        .map(|(key, bytes)| (key, STANDARD.encode(bytes).into()))
        .collect();
    if !encoded.is_empty() {
        secret["data"] = encoded.into();
    }
    if !secret_type.is_empty() {
        secret["type"] = secret_type.into();
    }
    secret
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let words = |text: String| {
        text.split_once(": ")
            .map_or(text.clone(), |(_, why)| why.to_string())
    };
    data::read(path)
        .map_err(|text| format!("Cannot read file {0}, open {0}: {1}", path.display(), words(text)))
}

/// Refuses what Go's tls.X509KeyPair refuses, as far as the key's form can be read here.
fn check_pair(cert: &[u8], key: &[u8]) -> Result<(), String> {
    let blocks = |bytes: &[u8]| {
        Pem::iter_from_buffer(bytes)
            .filter_map(Result::ok)
            .collect::<Vec<_>>()
    };
    let Some(certificate) = blocks(cert).into_iter().find(|pem| pem.label == "CERTIFICATE") else {
        return Err("tls: failed to find any PEM data in certificate input".into());
    };
    if !blocks(key).iter().any(|pem| pem.label.ends_with("PRIVATE KEY")) {
        return Err("tls: failed to find any PEM data in key input".into());
    }
    let parsed = certificate
        .parse_x509()
        .map_err(|error| format!("x509: malformed certificate: {error}"))?;
    let pair = std::str::from_utf8(key)
        .ok()
        .and_then(|text| KeyPair::from_pem(text).ok());
    match pair {
        Some(pair) if pair.subject_public_key_info() != parsed.public_key().raw => {
            Err("tls: private key does not match public key".into())
        }
        _ => Ok(()),
    }
}
