//! Secrets.

use super::config_map::{IMMUTABLE_WHEN_SET, MAX_BYTES};
use super::field::{Errors, IMMUTABLE, Path};
use super::{Rules, Target, metadata, names, unsupported};
use gantry_proto::core::v1::Secret;
use gantry_proto::meta::v1::StatusCause;

/// The annotation that says whose token it is.
const SERVICE_ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";

pub struct Secrets;

impl Rules for Secrets {
    type Object = Secret;

    fn set_defaults(&self, secret: &mut Secret) {
        if secret.r#type.is_empty() {
            secret.r#type = "Opaque".into();
        }
        // stringData is for writing only: it replaces keys of data and is never stored.
        for (key, text) in std::mem::take(&mut secret.string_data) {
            secret.data.insert(key, text.into_bytes());
        }
    }

    fn validate(&self, secret: &Secret) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        validate(secret, &mut errors);
        errors.into_causes()
    }

    fn validate_update(&self, new: &Secret, old: &Secret, _target: Target) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        metadata::validate_update_strictly(new.metadata(), old.metadata(), &mut errors);
        if new.r#type != old.r#type {
            errors.invalid(&Path::new("type"), &new.r#type, IMMUTABLE);
        }
        if old.immutable == Some(true) {
            if new.immutable != Some(true) {
                errors.forbidden(&Path::new("immutable"), IMMUTABLE_WHEN_SET);
            }
            if new.data != old.data {
                errors.forbidden(&Path::new("data"), IMMUTABLE_WHEN_SET);
            }
        }
        validate(new, &mut errors);
        errors.into_causes()
    }

    fn warnings(&self, new: &Secret, old: Option<&Secret>) -> Vec<String> {
        let has_pem = |key: &str| {
            let text = new
                .data
                .get(key)
                .map(|bytes| String::from_utf8_lossy(bytes))
                .unwrap_or_default();
            text.contains("-----BEGIN ")
        };
        if new.r#type != "kubernetes.io/tls" {
            let mut warnings = Vec::new();
            if old.is_none() {
                unsupported::secret(new, &mut warnings);
            }
            warnings
        } else if !has_pem("tls.crt") {
            vec!["tls: failed to find any PEM data in certificate input".into()]
        } else if !has_pem("tls.key") {
            vec!["tls: failed to find any PEM data in key input".into()]
        } else {
            Vec::new()
        }
    }

    fn fields(&self, secret: &Secret) -> Vec<(&'static str, String)> {
        vec![("type", secret.r#type.clone())]
    }
}

fn validate(secret: &Secret, errors: &mut Errors) {
    metadata::validate_strictly(secret.metadata(), true, names::dns_subdomain, errors);
    let data = Path::new("data");
    for key in secret.data.keys() {
        errors.invalid_each(&data.key(key), key, names::config_key(key));
    }
    if secret.data.values().map(Vec::len).sum::<usize>() > MAX_BYTES {
        errors.too_long(&data, MAX_BYTES);
    }
    validate_type(secret, &data, errors);
}

/// The keys that each well-known type needs.
fn validate_type(secret: &Secret, data: &Path, errors: &mut Errors) {
    let has = |key: &str| secret.data.contains_key(key);
    match secret.r#type.as_str() {
        "kubernetes.io/service-account-token" if !names_account(secret) => {
            errors.required(&Path::new("metadata.annotations").key(SERVICE_ACCOUNT_NAME), "");
        }
        "kubernetes.io/dockercfg" => validate_json(secret, &data.key(".dockercfg"), ".dockercfg", errors),
        "kubernetes.io/dockerconfigjson" => {
            validate_json(
                secret,
                &data.key(".dockerconfigjson"),
                ".dockerconfigjson",
                errors,
            );
        }
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            errors.required(&data.key("username"), "");
            errors.required(&data.key("password"), "");
        }
        "kubernetes.io/ssh-auth" if secret.data.get("ssh-privatekey").is_none_or(Vec::is_empty) => {
            errors.required(&data.key("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"].into_iter().filter(|key| !has(key)) {
                errors.required(&data.key(key), "");
            }
        }
        _ => {}
    }
}

fn names_account(secret: &Secret) -> bool {
    secret
        .metadata()
        .annotations
        .get(SERVICE_ACCOUNT_NAME)
        .is_some_and(|name| !name.is_empty())
}

/// A Docker configuration: a JSON object, whose text no error may show.
fn validate_json(secret: &Secret, path: &Path, key: &str, errors: &mut Errors) {
    let Some(bytes) = secret.data.get(key) else {
        errors.required(path, "");
        return;
    };
    if let Err(error) = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(bytes) {
        // Only where and what kind, in case the parser quotes its input.
        let (line, column) = (error.line(), error.column());
        let detail = format!("not a JSON object: error at line {line} column {column}");
        errors.invalid(path, "<secret contents redacted>", detail);
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::json;

    fn secret(value: serde_json::Value) -> Secret {
        let mut secret: Secret = serde_json::from_value(value).expect("secret");
        secret.metadata_mut().name = "a".into();
        secret.metadata_mut().namespace = "b".into();
        Secrets.set_defaults(&mut secret);
        secret
    }

    fn check(value: serde_json::Value, expected: &[&str]) {
        assert_eq!(lines(Secrets.validate(&secret(value))), expected);
    }

    #[test]
    fn string_data_goes_into_data_and_is_not_kept() {
        let secret = secret(json!({"data": {"a": "MQ=="}, "stringData": {"a": "2", "b": "3"}}));
        assert_eq!(secret.r#type, "Opaque");
        assert!(secret.string_data.is_empty());
        assert_eq!(secret.data["a"], b"2");
        assert_eq!(secret.data["b"], b"3");
        assert_eq!(Secrets.fields(&secret), [("type", "Opaque".to_string())]);
    }

    #[test]
    fn well_known_types_have_their_keys() {
        check(json!({"stringData": {"x": "y"}}), &[]);
        check(
            json!({"stringData": {"x y": ""}}),
            &[&format!(
                "data[x y]: Invalid value: \"x y\": {}",
                names::config_key("x y")[0]
            )],
        );
        check(
            json!({"type": "kubernetes.io/tls", "stringData": {"tls.crt": ""}}),
            &["data[tls.key]: Required value"],
        );
        check(
            json!({"type": "kubernetes.io/basic-auth"}),
            &["data[username]: Required value", "data[password]: Required value"],
        );
        check(
            json!({"type": "kubernetes.io/basic-auth", "stringData": {"username": "u"}}),
            &[],
        );
        check(
            json!({"type": "kubernetes.io/ssh-auth"}),
            &["data[ssh-privatekey]: Required value"],
        );
        check(
            json!({"type": "kubernetes.io/dockerconfigjson"}),
            &["data[.dockerconfigjson]: Required value"],
        );
        check(
            json!({"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": "[]"}}),
            &[
                "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": not a JSON object: error at \
               line 1 column 0",
            ],
        );
        check(
            json!({"type": "kubernetes.io/service-account-token"}),
            &["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
        );
    }

    #[test]
    fn the_type_never_changes_and_an_immutable_secret_stays_as_it_is() {
        let old = secret(json!({"immutable": true, "stringData": {"a": "1"}}));
        let new = secret(json!({"immutable": true, "type": "x/y", "stringData": {"a": "2"}}));
        assert_eq!(
            lines(Secrets.validate_update(&new, &old, Target::Main)),
            [
                "type: Invalid value: \"x/y\": field is immutable",
                "data: Forbidden: field is immutable when `immutable` is set"
            ]
        );
    }
}
