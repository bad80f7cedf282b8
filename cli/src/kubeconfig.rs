//! Kubeconfig files: which cluster, as whom, in which namespace. Kept as values, so that what other tools put
//! into a file survives our writing it.

use crate::yaml;
use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The cluster extension that lists every apiserver, where there are several.
pub const ENDPOINTS_EXTENSION: &str = "gantry.dev/endpoints";

/// Where the file is looked for, in this order, when `--kubeconfig` is not given: `$GANTRY_CONFIG`,
/// `~/.gantry/config`, and what `make up` leaves for the whole machine.
pub fn find(flag: Option<&Path>, variable: Option<&str>, home: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = flag {
        return Ok(path.into());
    }
    if let Some(path) = variable.filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    let mut candidates: Vec<PathBuf> = home.map(|home| home.join(".gantry/config")).into_iter().collect();
    candidates.push("/etc/gantry/admin.conf".into());
    if let Some(found) = candidates.iter().find(|path| path.exists()) {
        return Ok(found.clone());
    }
    let looked: Vec<String> = candidates.iter().map(|path| path.display().to_string()).collect();
    bail!(
        "no cluster configured: there is no {}. Give --kubeconfig FILE or set GANTRY_CONFIG (`gantry init` makes \
         such a file: DIR/admin/kubeconfig)",
        looked.join(" and no ")
    )
}

/// As whom a new kubeconfig's user is known.
pub struct Identity<'a> {
    pub user: &'a str,
    pub certificate: &'a str,
    pub key: &'a str,
}

/// A kubeconfig with everything embedded, so that it can be copied alone.
pub fn new(servers: &[String], ca: &str, identity: &Identity) -> Result<String> {
    let Some(server) = servers.first() else {
        bail!("no apiserver to put into the kubeconfig: give --server")
    };
    let mut cluster = json!({"server": server, "certificate-authority-data": STANDARD.encode(ca)});
    if servers.len() > 1 {
        cluster["extensions"] = json!([{"name": ENDPOINTS_EXTENSION, "extension": {"servers": servers}}]);
    }
    let context = format!("{}@gantry", identity.user);
    Ok(yaml::print(&json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "gantry", "cluster": cluster}],
        "users": [{"name": identity.user, "user": {
            "client-certificate-data": STANDARD.encode(identity.certificate),
            "client-key-data": STANDARD.encode(identity.key),
        }}],
        "contexts": [{"name": context, "context": {"cluster": "gantry", "user": identity.user}}],
        "current-context": context,
        "preferences": {},
    })))
}

/// A kubeconfig that has been read.
pub struct File {
    pub path: PathBuf,
    pub value: Value,
}

impl File {
    pub fn read(path: &Path) -> Result<File> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let documents = yaml::documents(&text)
            .with_context(|| format!("error loading config file \"{}\"", path.display()))?;
        let value = documents.values.into_iter().next().unwrap_or_else(|| json!({}));
        Ok(File {
            path: path.into(),
            value,
        })
    }

    /// Replaces the file in one step, readable by its owner only.
    pub fn write(&self) -> Result<()> {
        let unfinished = self.path.with_extension(format!("new-{}", std::process::id()));
        let write = || -> std::io::Result<()> {
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&unfinished)?;
            file.write_all(yaml::print(&self.value).as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&unfinished, &self.path)
        };
        write().with_context(|| format!("writing {}", self.path.display()))
    }

    pub fn current_context(&self) -> &str {
        self.value["current-context"].as_str().unwrap_or_default()
    }

    /// The names of all contexts.
    pub fn contexts(&self) -> Vec<&str> {
        let contexts = self.value["contexts"].as_array().into_iter().flatten();
        contexts.filter_map(|context| context["name"].as_str()).collect()
    }

    /// The namespace of the current context; `default` where it has none.
    pub fn namespace(&self) -> &str {
        let context = self.named("contexts", "context", self.current_context());
        context
            .and_then(|c| c["namespace"].as_str())
            .filter(|n| !n.is_empty())
            .unwrap_or("default")
    }

    /// Every apiserver of the first cluster, the preferred one first.
    pub fn servers(&self) -> Vec<String> {
        let cluster = &self.value["clusters"][0]["cluster"];
        let extensions = cluster["extensions"].as_array().into_iter().flatten();
        let endpoints = extensions.filter(|extension| extension["name"] == ENDPOINTS_EXTENSION);
        let listed = endpoints
            .flat_map(|extension| extension["extension"]["servers"].as_array())
            .flatten();
        let listed: Vec<String> = listed
            .filter_map(|server| server.as_str().map(String::from))
            .collect();
        match &cluster["server"] {
            Value::String(server) if listed.is_empty() => vec![server.clone()],
            _ => listed,
        }
    }

    /// Makes `name` the current context. Fails where there is none of that name.
    pub fn use_context(&mut self, name: &str) -> Result<()> {
        if self.named("contexts", "context", name).is_none() {
            bail!("no context exists with the name: \"{name}\"");
        }
        self.value["current-context"] = name.into();
        Ok(())
    }

    /// The namespace that commands use when none is given.
    pub fn set_namespace(&mut self, context: &str, namespace: &str) -> Result<()> {
        let contexts = self.value["contexts"].as_array_mut();
        let entry = contexts
            .into_iter()
            .flatten()
            .find(|entry| entry["name"] == context);
        match entry {
            Some(entry) => entry["context"]["namespace"] = namespace.into(),
            None => bail!("no context exists with the name: \"{context}\""),
        }
        Ok(())
    }

    fn named(&self, list: &str, inner: &str, name: &str) -> Option<&Value> {
        let entries = self.value[list].as_array()?;
        entries
            .iter()
            .find(|entry| entry["name"] == name)
            .map(|entry| &entry[inner])
    }
}

/// The file as it may be shown: without certificates and keys.
pub fn redacted(value: &Value) -> Value {
    const PUBLIC_DATA: &[&str] = &[
        "certificate-authority-data",
        "client-certificate-data",
        "client-key-data",
    ];
    match value {
        Value::Object(map) => {
            let hide = |key: &str, inner: &Value| match key {
                key if PUBLIC_DATA.contains(&key) => "DATA+OMITTED".into(),
                "token" | "password" => "REDACTED".into(),
                _ => redacted(inner),
            };
            Value::Object(
                map.iter()
                    .map(|(key, inner)| (key.clone(), hide(key, inner)))
                    .collect(),
            )
        }
        Value::Array(list) => Value::Array(list.iter().map(redacted).collect()),
        other => other.clone(),
    }
}
