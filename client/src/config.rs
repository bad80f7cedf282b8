//! Where the apiservers are and who calls: a kubeconfig file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The cluster's extension that lists all apiservers, where there are several. Other clients use `server`.
const ENDPOINTS_EXTENSION: &str = "gantry.dev/endpoints";

/// Everything that a [`crate::Client`] needs.
#[derive(Clone, Debug)]
pub struct Config {
    /// `https://host:port`, tried in turn.
    pub servers: Vec<String>,
    /// PEM of the certificates that sign the apiservers'.
    pub ca: Vec<u8>,
    /// PEM of the client's certificate and key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// The name to expect in the apiserver's certificate, where it is not the URL's host.
    pub tls_server_name: Option<String>,
    /// The namespace of the current context.
    pub namespace: Option<String>,
    /// Gives the W3C traceparent that a call carries.
    pub trace_parent: fn() -> Option<String>,
    /// Is told what each call came to.
    pub observer: Observer,
}

/// Is told of a call the HTTP method that it would have in Kubernetes' API, the apiserver's host and port, the HTTP code
/// of the answer (`<error>` for none), and the time until the answer began. It must be quick.
#[derive(Clone, Default)]
pub struct Observer(Option<Arc<Observe>>);

type Observe = dyn Fn(&'static str, &str, &'static str, Duration) + Send + Sync;

impl Observer {
    pub(crate) fn observe(&self, method: &'static str, host: &str, code: &'static str, took: Duration) {
        if let Some(observe) = &self.0 {
            observe(method, host, code, took);
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_some() {
            "Observer(..)"
        } else {
            "Observer"
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is not a kubeconfig: {why}")]
    Format { path: PathBuf, why: String },
    #[error("{server}: {why}")]
    Server { server: String, why: String },
}

impl Config {
    /// The current context of a kubeconfig file. Paths in it are relative to its folder.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_path_buf(),
            source,
        })?;
        let format = |why: String| ConfigError::Format {
            path: path.to_path_buf(),
            why,
        };
        let value: serde_json::Value = serde_saphyr::from_str(&text).map_err(|e| format(e.to_string()))?;
        let file: File = serde_json::from_value(value).map_err(|e| format(e.to_string()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let context = find(&file.contexts, &file.current_context, "context").map_err(format)?;
        let cluster = find(&file.clusters, &context.context.cluster, "cluster").map_err(format)?;
        let user = find(&file.users, &context.context.user, "user").map_err(format)?;
        let bytes = |data: &Option<String>, file: &Option<PathBuf>| read(data, file, folder);
        let certificate = bytes(&user.user.client_certificate_data, &user.user.client_certificate)?;
        let key = bytes(&user.user.client_key_data, &user.user.client_key)?;
        let ca = bytes(
            &cluster.cluster.certificate_authority_data,
            &cluster.cluster.certificate_authority,
        )?;
        Ok(Config {
            servers: cluster.cluster.servers(),
            ca: ca.unwrap_or_default(),
            identity: certificate.zip(key),
            tls_server_name: cluster.cluster.tls_server_name.clone(),
            namespace: context.context.namespace.clone(),
            trace_parent: || None,
            observer: Observer::default(),
        })
    }

    /// With the source of the traceparent that each call carries.
    pub fn with_trace(mut self, trace_parent: fn() -> Option<String>) -> Config {
        self.trace_parent = trace_parent;
        self
    }

    /// With somebody who is told what each call came to.
    pub fn with_observer(
        mut self,
        observe: impl Fn(&'static str, &str, &'static str, Duration) + Send + Sync + 'static,
    ) -> Config {
        self.observer = Observer(Some(Arc::new(observe)));
        self
    }
}

fn find<'a, T: Named>(list: &'a [T], name: &str, what: &str) -> Result<&'a T, String> {
    list.iter()
        .find(|item| item.name() == name)
        .ok_or_else(|| format!("it has no {what} \"{name}\""))
}

fn read(
    data: &Option<String>,
    file: &Option<PathBuf>,
    folder: &Path,
) -> Result<Option<Vec<u8>>, ConfigError> {
    if let Some(data) = data {
        let path = folder.to_path_buf();
        let decoded = STANDARD.decode(data.trim()).map_err(|e| ConfigError::Format {
            path,
            why: e.to_string(),
        })?;
        return Ok(Some(decoded));
    }
    let Some(file) = file else { return Ok(None) };
    let path = folder.join(file);
    std::fs::read(&path)
        .map(Some)
        .map_err(|source| ConfigError::Read { path, source })
}

trait Named {
    fn name(&self) -> &str;
}

macro_rules! named {
    ($($type:ident { $field:ident: $inner:ident })*) => {
        $(
            #[derive(Deserialize)]
            struct $type {
                name: String,
                $field: $inner,
            }
            impl Named for $type {
                fn name(&self) -> &str {
                    &self.name
                }
            }
        )*
    };
}

named! {
    NamedContext { context: Context }
    NamedCluster { cluster: Cluster }
    NamedUser { user: User }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    current_context: String,
    contexts: Vec<NamedContext>,
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    user: String,
    namespace: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    tls_server_name: Option<String>,
    #[serde(default)]
    extensions: Vec<Extension>,
}

#[derive(Deserialize)]
struct Extension {
    name: String,
    extension: serde_json::Value,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct User {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
}

impl Cluster {
    fn servers(&self) -> Vec<String> {
        let listed = self.extensions.iter().find(|e| e.name == ENDPOINTS_EXTENSION);
        let listed = listed
            .and_then(|e| e.extension.get("servers")?.as_array().cloned())
            .unwrap_or_default();
        let listed: Vec<String> = listed
            .iter()
            .filter_map(|v| v.as_str().map(str::to_string))
            .collect();
        if listed.is_empty() {
            vec![self.server.clone()]
        } else {
            listed
        }
    }
}
