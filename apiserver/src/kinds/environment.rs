//! Environment variables and what they take their values from, the downward API included.

use super::field::{Errors, Path};
use super::names;
use super::volume::validate_no_backsteps;
use gantry_proto::core::v1::{
    ConfigMapKeySelector, EnvFromSource, EnvVar, FileKeySelector, ObjectFieldSelector, ResourceFieldSelector,
};
use gantry_proto::meta::v1::Quantity;

/// Fields that an environment variable can show.
const VARIABLE_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields that a file of a downward API volume can show.
pub const VOLUME_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];
/// Fields of a pod that have a name in the downward API at all.
const KNOWN_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.phase",
    "status.podIP",
    "status.podIPs",
];
const RESOURCE_FIELDS: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const SIZE_DIVISORS: &[&str] = &[
    "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei",
];

pub fn validate(variables: &[EnvVar], path: &Path, errors: &mut Errors) {
    for (i, variable) in variables.iter().enumerate() {
        let path = path.index(i);
        if variable.name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            errors.invalid_each(
                &path.child("name"),
                &variable.name,
                names::environment_variable(&variable.name),
            );
        }
        validate_source(variable, &path.child("valueFrom"), errors);
    }
}

fn validate_source(variable: &EnvVar, path: &Path, errors: &mut Errors) {
    let Some(source) = &variable.value_from else {
        return;
    };
    let mut sources = 0;
    if let Some(field) = &source.field_ref {
        sources += 1;
        validate_object_field(field, VARIABLE_FIELDS, &path.child("fieldRef"), errors);
    }
    if let Some(resource) = &source.resource_field_ref {
        sources += 1;
        validate_resource_field(resource, false, &path.child("resourceFieldRef"), errors);
    }
    if let Some(key) = &source.config_map_key_ref {
        sources += 1;
        validate_key(key, &path.child("configMapKeyRef"), errors);
    }
    if let Some(key) = &source.secret_key_ref {
        sources += 1;
        let key = ConfigMapKeySelector {
            local_object_reference: key.local_object_reference.clone(),
            key: key.key.clone(),
            optional: key.optional,
        };
        validate_key(&key, &path.child("secretKeyRef"), errors);
    }
    if let Some(key) = &source.file_key_ref {
        sources += 1;
        validate_file_key(key, &path.child("fileKeyRef"), errors);
    }
    let detail = match sources {
        0 => {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        }
        _ if !variable.value.is_empty() => "may not be specified when `value` is not empty",
        1 => return,
        _ => "may not have more than one field specified at a time",
    };
    errors.invalid(path, "", detail);
}

pub fn validate_from(sources: &[EnvFromSource], list: &Path, errors: &mut Errors) {
    for (i, source) in sources.iter().enumerate() {
        let path = list.index(i);
        if !source.prefix.is_empty() {
            errors.invalid_each(
                &path.child("prefix"),
                &source.prefix,
                names::environment_variable(&source.prefix),
            );
        }
        let config_map = source
            .config_map_ref
            .as_ref()
            .map(|source| source.local_object_reference());
        let secret = source
            .secret_ref
            .as_ref()
            .map(|source| source.local_object_reference());
        for (field, reference) in [("configMapRef", config_map), ("secretRef", secret)] {
            let Some(reference) = reference else { continue };
            let field = path.child(field);
            if reference.name.is_empty() {
                errors.required(&field.child("name"), "");
            } else {
                errors.invalid_each(
                    &field.child("name"),
                    &reference.name,
                    names::dns_subdomain(&reference.name),
                );
            }
        }
        match (config_map, secret) {
            (None, None) => errors.invalid(list, "", "must specify one of: `configMapRef` or `secretRef`"),
            (Some(_), Some(_)) => {
                errors.invalid(list, "", "may not have more than one field specified at a time")
            }
            _ => {}
        }
    }
}

/// A field of the pod itself, such as `metadata.labels['app']`.
pub fn validate_object_field(
    field: &ObjectFieldSelector,
    allowed: &[&str],
    path: &Path,
    errors: &mut Errors,
) {
    if field.api_version.is_empty() {
        errors.required(&path.child("apiVersion"), "");
        return;
    }
    if field.field_path.is_empty() {
        errors.required(&path.child("fieldPath"), "");
        return;
    }
    let name = field.field_path.as_str();
    let unconvertible = if field.api_version != "v1" {
        Some(format!("unsupported pod version: {}", field.api_version))
    } else {
        match subscript(name) {
            Some(("metadata.annotations" | "metadata.labels", _)) => None,
            Some(_) => Some(format!("field label does not support subscript: {name}")),
            None if name == "spec.host" || KNOWN_FIELDS.contains(&name) => None,
            None => Some(format!("field label not supported: {name}")),
        }
    };
    if let Some(why) = unconvertible {
        errors.invalid(
            &path.child("fieldPath"),
            name,
            format!("error converting fieldPath: {why}"),
        );
        return;
    }
    // What v1's first clients called the node's name.
    let name = if name == "spec.host" {
        "spec.nodeName"
    } else {
        name
    };
    match subscript(name) {
        Some(("metadata.annotations", key)) => {
            let key = key.to_lowercase();
            errors.invalid_each(path, &key, names::qualified(&key));
        }
        Some((_, key)) => errors.invalid_each(path, key, names::qualified(key)),
        None if !allowed.contains(&name) => errors.not_supported(&path.child("fieldPath"), name, allowed),
        None => {}
    }
}

/// `a['b']` as `(a, b)`.
fn subscript(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?
        .split_once("['")
        .filter(|(field, _)| !field.is_empty())
}

/// A container's request or limit. A volume has to name the container; a variable may mean its own.
pub fn validate_resource_field(
    resource: &ResourceFieldSelector,
    in_volume: bool,
    path: &Path,
    errors: &mut Errors,
) {
    let name = resource.resource.as_str();
    let of_huge_pages = name.starts_with("requests.hugepages-") || name.starts_with("limits.hugepages-");
    if in_volume && resource.container_name.is_empty() {
        errors.required(&path.child("containerName"), "");
    } else if name.is_empty() {
        errors.required(&path.child("resource"), "");
    } else if !RESOURCE_FIELDS.contains(&name) && !of_huge_pages {
        errors.not_supported(&path.child("resource"), name, RESOURCE_FIELDS);
    }
    let Some(divisor) = resource.divisor.as_ref().filter(|divisor| !divisor.is_zero()) else {
        return;
    };
    let divisor =
        Quantity::parse(&divisor.string).map_or_else(|_| divisor.string.clone(), |parsed| parsed.string);
    let sizes = "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei";
    let (allowed, values, what): (&[&str], _, _) = match name {
        "limits.cpu" | "requests.cpu" => (&["1m", "1"], "1m and 1", "cpu resource"),
        "limits.memory" | "requests.memory" => (SIZE_DIVISORS, sizes, "memory resource"),
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => {
            (SIZE_DIVISORS, sizes, "local ephemeral storage resource")
        }
        _ if of_huge_pages => (SIZE_DIVISORS, sizes, "hugepages resource"),
        _ => return,
    };
    if !allowed.contains(&divisor.as_str()) {
        let detail = format!("only divisor's values {values} are supported with the {what}");
        errors.invalid(&path.child("divisor"), name, detail);
    }
}

fn validate_key(key: &ConfigMapKeySelector, path: &Path, errors: &mut Errors) {
    let name = &key.local_object_reference().name;
    errors.invalid_each(&path.child("name"), name, names::dns_subdomain(name));
    if key.key.is_empty() {
        errors.required(&path.child("key"), "");
    } else {
        errors.invalid_each(&path.child("key"), &key.key, names::config_key(&key.key));
    }
}

fn validate_file_key(key: &FileKeySelector, path: &Path, errors: &mut Errors) {
    if key.key.is_empty() {
        errors.required(&path.child("key"), "");
    } else {
        errors.invalid_each(
            &path.child("key"),
            &key.key,
            names::environment_variable(&key.key),
        );
    }
    if key.volume_name.is_empty() {
        errors.required(&path.child("volumeName"), "");
    } else {
        errors.invalid_each(
            &path.child("volumeName"),
            &key.volume_name,
            names::dns_label(&key.volume_name),
        );
    }
    if key.path.is_empty() {
        errors.required(&path.child("path"), "");
    } else {
        validate_no_backsteps(&key.path, &path.child("path"), errors);
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::json;

    fn check(value: serde_json::Value, expected: &[&str]) {
        let variables: Vec<EnvVar> = serde_json::from_value(value).expect("variables");
        let mut errors = Errors::new();
        validate(&variables, &Path::new("env"), &mut errors);
        assert_eq!(lines(errors.into_causes()), expected);
    }

    #[test]
    fn a_variable_has_a_name_and_one_source() {
        check(
            json!([{"name": "A", "value": "1"}, {"name": "a.b-c d"}, {"name": "1"}]),
            &[],
        );
        check(
            json!([{"value": "1"}, {"name": "a=b"}]),
            &[
                "env[0].name: Required value",
                "env[1].name: Invalid value: \"a=b\": a valid environment variable name must consist only of \
                 printable ASCII characters other than '='",
            ],
        );
        check(
            json!([{"name": "A", "valueFrom": {}}]),
            &[
                "env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, \
               `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
            ],
        );
        check(
            json!([{"name": "A", "value": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": ""}}}]),
            &[
                "env[0].valueFrom.secretKeyRef.key: Required value",
                "env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
            ],
        );
    }

    #[test]
    fn fields_are_those_of_the_downward_api() {
        let field = |path: &str| json!([{"name": "A", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}]);
        check(field("status.podIP"), &[]);
        check(field("metadata.labels['app']"), &[]);
        check(
            field("metadata.labels"),
            &[
                "env[0].valueFrom.fieldRef.fieldPath: Unsupported value: \"metadata.labels\": supported values: \
               \"metadata.name\", \"metadata.namespace\", \"metadata.uid\", \"spec.nodeName\", \
               \"spec.serviceAccountName\", \"status.hostIP\", \"status.hostIPs\", \"status.podIP\", \
               \"status.podIPs\"",
            ],
        );
        check(
            field("spec.x"),
            &[
                "env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.x\": error converting fieldPath: field \
               label not supported: spec.x",
            ],
        );
    }

    #[test]
    fn resources_have_divisors_of_their_own() {
        let resource = |name: &str, divisor: &str| json!([{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": name, "divisor": divisor}}}]);
        check(resource("limits.memory", "1Mi"), &[]);
        check(resource("limits.cpu", "0"), &[]);
        check(
            resource("limits.cpu", "10m"),
            &[
                "env[0].valueFrom.resourceFieldRef.divisor: Invalid value: \"limits.cpu\": only divisor's values 1m and \
               1 are supported with the cpu resource",
            ],
        );
    }
}
