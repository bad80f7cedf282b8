//! Plug-ins that somebody added: where they are reached and what they may cost.

use super::ConfigurationError;
use super::document;
use super::problems::{Path, Problems};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// How long a call may take where nothing else is said, and at most. A pod waits as long, others do not.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(1);
const LONGEST_DEADLINE: Duration = Duration::from_secs(30);

/// A program that serves gantry.scheduler.v1.Plugin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AddedPlugin {
    /// As it is enabled, and told of in events.
    pub name: String,
    /// `http://HOST:PORT` or, with [`AddedPlugin::tls`], `https://HOST:PORT`.
    pub address: String,
    pub tls: Option<Tls>,
    /// How long one call may take.
    pub deadline: Duration,
    /// Pods are scheduled without it while it does not answer.
    pub is_ignorable: bool,
    /// It is sent the nodes and not only their names.
    pub wants_nodes: bool,
    pub filters: bool,
    /// What its scores are multiplied with, where it scores.
    pub score_weight: Option<i64>,
}

/// Certificates as files in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Those that sign the program's.
    pub ca: PathBuf,
    /// The scheduler's own, where the program asks for one.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The name in the program's certificate, where it is not that of the address.
    pub server_name: Option<String>,
}

/// `args` of the plug-in's pluginConfig. The names of TLS fields are those of Kubernetes' extenders.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Arguments {
    address: String,
    tls_config: Option<TlsArguments>,
    timeout: Option<String>,
    ignorable: bool,
    send_nodes: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TlsArguments {
    ca_file: String,
    cert_file: String,
    key_file: String,
    server_name: String,
}

impl AddedPlugin {
    pub(super) fn read(
        name: &str,
        args: &serde_json::Value,
        path: &Path,
        problems: &mut Problems,
    ) -> Result<AddedPlugin, ConfigurationError> {
        let arguments: Arguments = document::arguments(name, &format!("{name}Args"), args)?;
        let scheme = match &arguments.tls_config {
            Some(_) => "https://",
            None => "http://",
        };
        let address = arguments.address.as_str();
        let rest = address.strip_prefix(scheme);
        if address.is_empty() {
            problems.required(&path.child("address"), "");
        } else if rest.is_none_or(|rest| !is_host_and_port(rest)) {
            let why = format!("must be {scheme}HOST:PORT");
            problems.invalid_text(&path.child("address"), address, &why);
        }
        let deadline = match arguments.timeout.as_deref() {
            None => DEFAULT_DEADLINE,
            Some(text) => {
                let deadline = document::duration(text).unwrap_or_default();
                if deadline.is_zero() || deadline > LONGEST_DEADLINE {
                    let why = format!(
                        "must be a duration such as 500ms, more than zero and at most {}s",
                        LONGEST_DEADLINE.as_secs()
                    );
                    problems.invalid_text(&path.child("timeout"), text, &why);
                }
                deadline
            }
        };
        let tls = arguments
            .tls_config
            .map(|tls| tls.check(&path.child("tlsConfig"), problems));
        Ok(AddedPlugin {
            name: name.into(),
            address: address.into(),
            tls,
            deadline,
            is_ignorable: arguments.ignorable,
            wants_nodes: arguments.send_nodes,
            filters: false,
            score_weight: None,
        })
    }
}

impl TlsArguments {
    fn check(self, path: &Path, problems: &mut Problems) -> Tls {
        if self.ca_file.is_empty() {
            problems.required(&path.child("caFile"), "");
        }
        for (given, other, name) in [
            (&self.cert_file, &self.key_file, "keyFile"),
            (&self.key_file, &self.cert_file, "certFile"),
        ] {
            if !given.is_empty() && other.is_empty() {
                problems.required(&path.child(name), "a certificate and its key belong together");
            }
        }
        let client = (!self.cert_file.is_empty()).then(|| (self.cert_file.into(), self.key_file.into()));
        Tls {
            ca: self.ca_file.into(),
            client,
            server_name: Some(self.server_name).filter(|name| !name.is_empty()),
        }
    }
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok())
}
