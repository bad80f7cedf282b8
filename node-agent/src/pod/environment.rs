//! A container's environment: values, references, and `$(VAR)` in them and in commands.

use crate::pod::resources::Amounts;
use crate::pod::{identity, resources};
use gantry_proto::core::v1::{
    ConfigMap, Container, EnvVar, EnvVarSource, Pod, ResourceFieldSelector, Secret,
};
use gantry_proto::meta::v1::Quantity;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What references are resolved from.
#[derive(Default)]
pub struct Sources {
    pub config_maps: BTreeMap<String, Arc<ConfigMap>>,
    pub secrets: BTreeMap<String, Arc<Secret>>,
    /// The variables that tell of Services.
    pub service_links: BTreeMap<String, String>,
    pub host_ip: String,
    pub pod_ips: Vec<String>,
    pub allocatable: Amounts,
    pub allocatable_storage: i64,
}

/// Why an environment cannot be made, in the kubelet's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EnvironmentError(pub String);

fn failed<T>(message: String) -> Result<T, EnvironmentError> {
    Err(EnvironmentError(message))
}

/// The variables in the order in which the container gets them. Later ones win over earlier ones of the same
/// name, and `env` wins over `envFrom`, which wins over Services.
pub fn environment(
    pod: &Pod,
    container: &Container,
    sources: &Sources,
) -> Result<Vec<(String, String)>, EnvironmentError> {
    let mut result: BTreeMap<String, String> = BTreeMap::new();
    let mut order = Vec::new();
    for (name, value) in from_sources(pod, container, sources)? {
        set(&mut result, &mut order, name, value);
    }
    for variable in &container.env {
        if let Some(value) = value(pod, container, variable, sources, &result)? {
            set(&mut result, &mut order, variable.name.clone(), value);
        }
    }
    for (name, value) in &sources.service_links {
        if !result.contains_key(name) {
            set(&mut result, &mut order, name.clone(), value.clone());
        }
    }
    Ok(order
        .into_iter()
        .filter_map(|name| result.remove_entry(&name))
        .collect())
}

fn set(result: &mut BTreeMap<String, String>, order: &mut Vec<String>, name: String, value: String) {
    if !result.contains_key(&name) {
        order.push(name.clone());
    }
    result.insert(name, value);
}

fn from_sources(
    pod: &Pod,
    container: &Container,
    sources: &Sources,
) -> Result<Vec<(String, String)>, EnvironmentError> {
    let namespace = &pod.metadata().namespace;
    let mut all = Vec::new();
    for source in &container.env_from {
        let mut add = |key: &String, value: String| all.push((format!("{}{key}", source.prefix), value));
        if let Some(reference) = &source.config_map_ref {
            let name = &reference.local_object_reference().name;
            match sources.config_maps.get(name) {
                Some(map) => map.data.iter().for_each(|(key, value)| add(key, value.clone())),
                None if reference.optional == Some(true) => {}
                None => return failed(format!("configmap \"{name}\" not found")),
            }
        }
        if let Some(reference) = &source.secret_ref {
            let name = &reference.local_object_reference().name;
            match sources.secrets.get(name) {
                Some(secret) => {
                    for (key, value) in &secret.data {
                        add(key, text(value, namespace, name, key)?);
                    }
                }
                None if reference.optional == Some(true) => {}
                None => return failed(format!("secret \"{name}\" not found")),
            }
        }
    }
    Ok(all)
}

fn text(value: &[u8], namespace: &str, secret: &str, key: &str) -> Result<String, EnvironmentError> {
    match String::from_utf8(value.to_vec()) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => failed(format!(
            "key {key} in Secret {namespace}/{secret} is not text and cannot be an environment variable"
        )),
    }
}

/// `None` for an optional reference to something that is not there.
fn value(
    pod: &Pod,
    container: &Container,
    variable: &EnvVar,
    sources: &Sources,
    before: &BTreeMap<String, String>,
) -> Result<Option<String>, EnvironmentError> {
    let Some(from) = &variable.value_from else {
        let lookup = |name: &str| {
            before
                .get(name)
                .or_else(|| sources.service_links.get(name))
                .cloned()
        };
        return Ok(Some(expand(&variable.value, &lookup)));
    };
    if let Some(field) = &from.field_ref {
        return field_value(pod, &field.field_path, sources).map(Some);
    }
    if let Some(resource) = &from.resource_field_ref {
        return resource_value(pod, container, resource, sources).map(Some);
    }
    key_value(pod, from, sources)
}

fn key_value(pod: &Pod, from: &EnvVarSource, sources: &Sources) -> Result<Option<String>, EnvironmentError> {
    let namespace = &pod.metadata().namespace;
    if let Some(reference) = &from.config_map_key_ref {
        let (name, key) = (&reference.local_object_reference().name, &reference.key);
        let is_optional = reference.optional == Some(true);
        return match sources.config_maps.get(name) {
            None if is_optional => Ok(None),
            None => failed(format!("configmap \"{name}\" not found")),
            Some(map) => match map.data.get(key) {
                Some(value) => Ok(Some(value.clone())),
                None if is_optional => Ok(None),
                None => failed(format!("couldn't find key {key} in ConfigMap {namespace}/{name}")),
            },
        };
    }
    if let Some(reference) = &from.secret_key_ref {
        let (name, key) = (&reference.local_object_reference().name, &reference.key);
        let is_optional = reference.optional == Some(true);
        return match sources.secrets.get(name) {
            None if is_optional => Ok(None),
            None => failed(format!("secret \"{name}\" not found")),
            Some(secret) => match secret.data.get(key) {
                Some(value) => text(value, namespace, name, key).map(Some),
                None if is_optional => Ok(None),
                None => failed(format!("couldn't find key {key} in Secret {namespace}/{name}")),
            },
        };
    }
    failed("this source of an environment variable is not supported by the node agent yet".into())
}

/// The value of a pod's field, by its path (the downward API).
pub fn field_value(pod: &Pod, path: &str, sources: &Sources) -> Result<String, EnvironmentError> {
    let (metadata, spec) = (pod.metadata(), pod.spec());
    if let Some((map, key)) = subscript(path) {
        let value = match map {
            "metadata.labels" => metadata.labels.get(key),
            "metadata.annotations" => metadata.annotations.get(key),
            _ => return failed(format!("unsupported fieldPath: {path}")),
        };
        return Ok(value.cloned().unwrap_or_default());
    }
    let lines = |map: &BTreeMap<String, String>| {
        map.iter()
            .map(|(key, value)| format!("{key}={value:?}"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    Ok(match path {
        "metadata.name" => metadata.name.clone(),
        "metadata.namespace" => metadata.namespace.clone(),
        "metadata.uid" => metadata.uid.clone(),
        "metadata.labels" => lines(&metadata.labels),
        "metadata.annotations" => lines(&metadata.annotations),
        "spec.nodeName" => spec.node_name.clone(),
        "spec.serviceAccountName" => spec.service_account_name.clone(),
        "status.hostIP" => sources.host_ip.clone(),
        "status.hostIPs" => sources.host_ip.clone(),
        "status.podIP" => sources.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => sources.pod_ips.join(","),
        _ => return failed(format!("unsupported fieldPath: {path}")),
    })
}

/// `metadata.labels['app']` as (`metadata.labels`, `app`).
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once('[')?;
    let key = rest.strip_suffix(']')?;
    Some((map, key.trim_matches(['\'', '"'])))
}

/// A request or limit in units of the divisor, rounded up. What has no limit has the node's allocatable.
pub fn resource_value(
    pod: &Pod,
    container: &Container,
    selector: &ResourceFieldSelector,
    sources: &Sources,
) -> Result<String, EnvironmentError> {
    let named = match selector.container_name.as_str() {
        "" => container,
        name => match identity::find_container(pod.spec(), name) {
            Some(container) => container,
            None => return failed(format!("container {name} not found")),
        },
    };
    let requests = resources::requests(named.resources());
    let limits = resources::limits(named.resources());
    let divisor = selector
        .divisor
        .clone()
        .filter(|divisor| !divisor.string.is_empty());
    let scaled = |value: i64, of: fn(&Quantity) -> i64, unit: i64| {
        let divisor = divisor
            .as_ref()
            .map(of)
            .filter(|divisor| *divisor > 0)
            .unwrap_or(unit);
        (value / divisor + i64::from(value % divisor > 0)).to_string()
    };
    let cpu = |milli: i64| scaled(milli, Quantity::milli_value, 1000);
    let bytes = |bytes: i64| scaled(bytes, Quantity::value, 1);
    let named_bytes = |list: &BTreeMap<String, Quantity>, name: &str| list.get(name).map(Quantity::value);
    let (all, allocatable) = (named.resources(), sources.allocatable);
    Ok(match selector.resource.as_str() {
        "limits.cpu" => cpu(limits.cpu.or(allocatable.cpu).unwrap_or(0)),
        "limits.memory" => bytes(limits.memory.or(allocatable.memory).unwrap_or(0)),
        "limits.ephemeral-storage" => {
            let own = named_bytes(&all.limits, "ephemeral-storage").filter(|bytes| *bytes != 0);
            bytes(own.unwrap_or(sources.allocatable_storage))
        }
        "requests.cpu" => cpu(requests.cpu.unwrap_or(0)),
        "requests.memory" => bytes(requests.memory.unwrap_or(0)),
        other => match other.split_once('.') {
            Some(("limits", name)) if is_of_bytes(name) => bytes(named_bytes(&all.limits, name).unwrap_or(0)),
            Some(("requests", name)) if is_of_bytes(name) => {
                bytes(named_bytes(&all.requests, name).unwrap_or(0))
            }
            _ => return failed(format!("unsupported container resource : {other}")),
        },
    })
}

fn is_of_bytes(resource: &str) -> bool {
    resource == "ephemeral-storage" || resource.starts_with("hugepages-")
}

/// Replaces `$(NAME)`; `$$` stands for `$`; what is not known stays as it is (Kubernetes' expansion).
pub fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        result.push_str(&rest[..dollar]);
        let after = &rest[dollar + 1..];
        if let Some(escaped) = after.strip_prefix('$') {
            result.push('$');
            rest = escaped;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match lookup(name) {
                Some(value) => result.push_str(&value),
                None => result.push_str(&format!("$({name})")),
            }
            rest = tail;
        } else {
            result.push('$');
            rest = after;
        }
    }
    result + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_in_text_are_replaced_and_dollars_escaped() {
        let lookup = |name: &str| match name {
            "A" => Some("1".to_string()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        for (text, expected) in [
            ("plain", "plain"),
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$(B)", "$(B)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$(A", "$(A"),
            ("$A ${A}", "$A ${A}"),
            ("a$", "a$"),
            ("[$(EMPTY)]", "[]"),
            ("$(€)$(A)", "$(€)1"),
        ] {
            assert_eq!(expand(text, &lookup), expected, "{text}");
        }
    }

    fn pod_from(json: serde_json::Value) -> Pod {
        gantry_proto::json::decode_value::<Pod>(&json).unwrap().object
    }

    fn sources() -> Sources {
        let map = ConfigMap {
            data: [("k".to_string(), "v".to_string())].into(),
            ..ConfigMap::default()
        };
        let secret = Secret {
            data: [("t".to_string(), b"s".to_vec()), ("b".to_string(), vec![0xff])].into(),
            ..Secret::default()
        };
        Sources {
            config_maps: [("m".to_string(), Arc::new(map))].into(),
            secrets: [("s".to_string(), Arc::new(secret))].into(),
            service_links: [("WEB_SERVICE_HOST".to_string(), "10.96.0.2".to_string())].into(),
            host_ip: "192.0.2.1".into(),
            pod_ips: vec!["10.244.0.5".into()],
            allocatable: Amounts {
                cpu: Some(2000),
                memory: Some(1 << 30),
            },
            allocatable_storage: 5 << 30,
        }
    }

    fn check(env: serde_json::Value, expected: Result<&str, &str>) {
        let pod = pod_from(serde_json::json!({
            "metadata": {"name": "p", "namespace": "n", "labels": {"app": "web"}},
            "spec": {"nodeName": "node-a", "containers": [{"name": "c", "env": env,
                "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}, "requests": {"cpu": "100m"}}}]},
        }));
        let outcome = environment(&pod, &pod.spec().containers[0], &sources());
        let outcome = outcome.map(|all| {
            all.into_iter()
                .find(|(name, _)| name == "X")
                .map(|(_, value)| value)
        });
        match expected {
            Ok("(absent)") => assert_eq!(outcome, Ok(None), "{env}"),
            Ok(value) => assert_eq!(outcome, Ok(Some(value.to_string())), "{env}"),
            Err(message) => assert_eq!(outcome, Err(EnvironmentError(message.to_string())), "{env}"),
        }
    }

    #[test]
    fn every_kind_of_reference_is_resolved_or_refused_in_the_kubelets_words() {
        use serde_json::json;
        let field = |path: &str| json!([{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}}]);
        let resource = |name: &str, divisor: &str| json!([{"name": "X", "valueFrom": {"resourceFieldRef": {"resource": name, "divisor": divisor}}}]);
        let key = |kind: &str, name: &str, key: &str, optional: bool| json!([{"name": "X", "valueFrom": {kind: {"name": name, "key": key, "optional": optional}}}]);
        check(json!([{"name": "X", "value": "a"}]), Ok("a"));
        check(
            json!([{"name": "A", "value": "1"}, {"name": "X", "value": "$(A)$(WEB_SERVICE_HOST)"}]),
            Ok("110.96.0.2"),
        );
        check(
            json!([{"name": "X", "value": "$(LATER)"}, {"name": "LATER", "value": "1"}]),
            Ok("$(LATER)"),
        );
        check(field("metadata.name"), Ok("p"));
        check(field("metadata.labels['app']"), Ok("web"));
        check(field("spec.nodeName"), Ok("node-a"));
        check(field("status.podIP"), Ok("10.244.0.5"));
        check(field("status.hostIP"), Ok("192.0.2.1"));
        check(field("status.phase"), Err("unsupported fieldPath: status.phase"));
        check(resource("limits.cpu", "0"), Ok("2"));
        check(resource("limits.cpu", "1m"), Ok("1500"));
        check(resource("limits.memory", "1Mi"), Ok("64"));
        check(resource("requests.memory", "1Mi"), Ok("64"));
        check(resource("limits.ephemeral-storage", "1Gi"), Ok("5"));
        check(resource("requests.ephemeral-storage", "1"), Ok("0"));
        check(
            resource("limits.pods", "1"),
            Err("unsupported container resource : limits.pods"),
        );
        check(key("configMapKeyRef", "m", "k", false), Ok("v"));
        check(
            key("configMapKeyRef", "m", "x", false),
            Err("couldn't find key x in ConfigMap n/m"),
        );
        check(key("configMapKeyRef", "m", "x", true), Ok("(absent)"));
        check(
            key("configMapKeyRef", "x", "k", false),
            Err("configmap \"x\" not found"),
        );
        check(key("secretKeyRef", "s", "t", false), Ok("s"));
        check(
            key("secretKeyRef", "x", "t", false),
            Err("secret \"x\" not found"),
        );
        check(key("secretKeyRef", "x", "t", true), Ok("(absent)"));
    }
}
