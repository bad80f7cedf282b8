//! The file as it is written.

use super::problems::Problems;
use super::{API_VERSION, ConfigurationError, KIND};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_ignored::Path;
use serde_json::Value;
use serde_saphyr::{Error as YamlError, Options};
use std::time::Duration;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Document {
    #[serde(rename = "apiVersion")]
    pub(super) _api_version: String,
    #[serde(rename = "kind")]
    pub(super) _kind: String,
    pub(super) parallelism: Option<i32>,
    pub(super) leader_election: LeaderElection,
    pub(super) client_connection: Option<Value>,
    pub(super) enable_profiling: Option<bool>,
    pub(super) enable_contention_profiling: Option<bool>,
    pub(super) percentage_of_nodes_to_score: Option<i32>,
    pub(super) pod_initial_backoff_seconds: Option<i64>,
    pub(super) pod_max_backoff_seconds: Option<i64>,
    #[serde(deserialize_with = "nothing_for_null")]
    pub(super) profiles: Vec<WrittenProfile>,
    #[serde(deserialize_with = "nothing_for_null")]
    pub(super) extenders: Vec<Value>,
    pub(super) delay_cache_until_active: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct LeaderElection {
    pub(super) leader_elect: Option<bool>,
    pub(super) lease_duration: Option<String>,
    pub(super) renew_deadline: Option<String>,
    pub(super) retry_period: Option<String>,
    pub(super) resource_lock: Option<String>,
    pub(super) resource_name: Option<String>,
    pub(super) resource_namespace: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WrittenProfile {
    pub(super) scheduler_name: Option<String>,
    pub(super) percentage_of_nodes_to_score: Option<i32>,
    pub(super) plugins: Option<Plugins>,
    #[serde(deserialize_with = "nothing_for_null")]
    pub(super) plugin_config: Vec<PluginConfig>,
}

/// By extension point.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Plugins {
    pub(super) pre_enqueue: WrittenSet,
    pub(super) queue_sort: WrittenSet,
    pub(super) pre_filter: WrittenSet,
    pub(super) filter: WrittenSet,
    pub(super) post_filter: WrittenSet,
    pub(super) pre_score: WrittenSet,
    pub(super) score: WrittenSet,
    pub(super) reserve: WrittenSet,
    pub(super) permit: WrittenSet,
    pub(super) pre_bind: WrittenSet,
    pub(super) bind: WrittenSet,
    pub(super) post_bind: WrittenSet,
    pub(super) multi_point: WrittenSet,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WrittenSet {
    #[serde(deserialize_with = "nothing_for_null")]
    pub(super) enabled: Vec<WrittenPlugin>,
    #[serde(deserialize_with = "nothing_for_null")]
    pub(super) disabled: Vec<WrittenPlugin>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WrittenPlugin {
    pub(super) name: String,
    pub(super) weight: Option<i32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PluginConfig {
    pub(super) name: String,
    pub(super) args: Value,
}

fn nothing_for_null<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Document {
    pub(super) fn read(text: &str) -> Result<(Document, Problems), ConfigurationError> {
        let value = yaml(text)?;
        check_kind(&value, KIND)?;
        let (document, unknown) = strictly::<Document>(&value)?;
        refuse(unknown)?;
        Ok((document, Problems::default()))
    }
}

/// Reads YAML, in which no key may be set twice, in the words of Kubernetes' reader.
fn yaml(text: &str) -> Result<Value, ConfigurationError> {
    let mut options = Options::default();
    options.legacy_octal_numbers = true;
    options.strict_booleans = false;
    options.with_snippet = false;
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        ConfigurationError(match &error {
            YamlError::DuplicateMappingKey { key: Some(key), .. } => {
                format!("strict decoding error: yaml: unmarshal errors:\n  line {line}: key {key:?} already set in map")
            }
            other => format!("yaml: {other}"),
        })
    })
}

/// The kind must be this one; of arguments it may be left out.
fn check_kind(value: &Value, expected: &str) -> Result<(), ConfigurationError> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    let (kind, version) = (text("kind"), text("apiVersion"));
    let shown = || value.to_string();
    if kind.is_empty() {
        return Err(ConfigurationError(format!(
            "Object 'Kind' is missing in '{}'",
            shown()
        )));
    }
    if version.is_empty() {
        return Err(ConfigurationError(format!(
            "Object 'apiVersion' is missing in '{}'",
            shown()
        )));
    }
    if kind != expected || version != API_VERSION {
        return Err(ConfigurationError(format!(
            "no kind \"{kind}\" is registered for version \"{version}\" in the scheduler's configuration, which is \
             {API_VERSION}, kind {expected}"
        )));
    }
    Ok(())
}

/// Reads a value, and tells of the fields that nobody knows.
fn strictly<T: DeserializeOwned>(value: &Value) -> Result<(T, Vec<String>), ConfigurationError> {
    let mut unknown = Vec::new();
    let mut on_unknown = |path: Path| unknown.push(format!("unknown field \"{}\"", place(&path)));
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
    match T::deserialize(serde_ignored::Deserializer::new(tracked, &mut on_unknown)) {
        Ok(read) => Ok((read, unknown)),
        Err(error) => Err(ConfigurationError(match track.path().to_string().as_str() {
            "." => error.to_string(),
            path => format!("{path}: {error}"),
        })),
    }
}

fn refuse(unknown: Vec<String>) -> Result<(), ConfigurationError> {
    match unknown.is_empty() {
        true => Ok(()),
        false => Err(ConfigurationError(format!(
            "strict decoding error: {}",
            unknown.join(", ")
        ))),
    }
}

/// A plug-in's arguments; the defaults where there are none.
pub(super) fn arguments<T: DeserializeOwned + Default>(
    plugin: &str,
    kind: &str,
    args: &Value,
) -> Result<T, ConfigurationError> {
    let Value::Object(map) = args else {
        return match args {
            Value::Null => Ok(T::default()),
            _ => Err(ConfigurationError(format!(
                "decoding args for plugin {plugin}: args must be an object"
            ))),
        };
    };
    let wrapped = |error: ConfigurationError| {
        ConfigurationError(format!("decoding args for plugin {plugin}: {}", error.0))
    };
    let mut rest = map.clone();
    let written = rest.remove("kind");
    let version = rest.remove("apiVersion");
    if let Some(written) = written.as_ref().and_then(Value::as_str)
        && written != kind
    {
        let group = API_VERSION.split('/').next().unwrap_or_default();
        return Err(ConfigurationError(format!(
            "args for plugin {plugin} were not of type {kind}.{group}, got {written}.{group}"
        )));
    }
    if let Some(version) = version.as_ref().and_then(Value::as_str)
        && version != API_VERSION
    {
        return Err(wrapped(ConfigurationError(format!(
            "no kind \"{kind}\" is registered for version \"{version}\""
        ))));
    }
    let (read, unknown) = strictly::<T>(&Value::Object(rest)).map_err(wrapped)?;
    refuse(unknown).map_err(wrapped)?;
    Ok(read)
}

/// In Kubernetes' words, such as `profiles[0].plugins.score`.
fn place(path: &Path) -> String {
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", place(parent)),
        Path::Map { parent, key } => match place(parent) {
            parent if parent.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            place(parent)
        }
    }
}

/// A duration as Go writes it, such as `1m30s`, `1.5s` or `100ms`; `None` for a negative one and for nonsense.
pub(super) fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut sum) = (text.strip_prefix('+').unwrap_or(text), Duration::ZERO);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit = &rest[digits..];
        let end = unit
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(unit.len());
        let seconds = match &unit[..end] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        sum = sum.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &unit[end..];
    }
    Some(sum)
}
