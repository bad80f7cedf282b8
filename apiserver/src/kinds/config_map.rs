//! ConfigMaps.

use super::field::{Errors, Path};
use super::{Rules, Target, metadata, names};
use gantry_proto::core::v1::ConfigMap;
use gantry_proto::meta::v1::StatusCause;

/// 1 MiB of values, as for Secrets: what etcd takes in one request.
pub(super) const MAX_BYTES: usize = 1 << 20;
pub(super) const IMMUTABLE_WHEN_SET: &str = "field is immutable when `immutable` is set";

pub struct ConfigMaps;

impl Rules for ConfigMaps {
    type Object = ConfigMap;

    fn validate(&self, config_map: &ConfigMap) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        validate(config_map, &mut errors);
        errors.into_causes()
    }

    fn validate_update(&self, new: &ConfigMap, old: &ConfigMap, _target: Target) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        metadata::validate_update_strictly(new.metadata(), old.metadata(), &mut errors);
        if old.immutable == Some(true) {
            let unchanged = [
                ("immutable", new.immutable == Some(true)),
                ("data", new.data == old.data),
                ("binaryData", new.binary_data == old.binary_data),
            ];
            for (field, _) in unchanged.into_iter().filter(|(_, same)| !same) {
                errors.forbidden(&Path::new(field), IMMUTABLE_WHEN_SET);
            }
        }
        validate(new, &mut errors);
        errors.into_causes()
    }
}

fn validate(config_map: &ConfigMap, errors: &mut Errors) {
    metadata::validate_strictly(config_map.metadata(), true, names::dns_subdomain, errors);
    let data = Path::new("data");
    for key in config_map.data.keys() {
        errors.invalid_each(&data.key(key), key, names::config_key(key));
        if config_map.binary_data.contains_key(key) {
            errors.invalid(&data.key(key), key, "duplicate of key present in binaryData");
        }
    }
    let binary_data = Path::new("binaryData");
    for key in config_map.binary_data.keys() {
        errors.invalid_each(&binary_data.key(key), key, names::config_key(key));
    }
    let texts: usize = config_map.data.values().map(String::len).sum();
    let binaries: usize = config_map.binary_data.values().map(Vec::len).sum();
    if texts + binaries > MAX_BYTES {
        // How Kubernetes writes the path of the object as a whole.
        errors.too_long(&Path::new("[]"), MAX_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::json;

    fn config_map(value: serde_json::Value) -> ConfigMap {
        let mut map: ConfigMap = serde_json::from_value(value).expect("config map");
        map.metadata_mut().name = "a".into();
        map.metadata_mut().namespace = "b".into();
        map
    }

    fn check(value: serde_json::Value, expected: &[&str]) {
        assert_eq!(lines(ConfigMaps.validate(&config_map(value))), expected);
    }

    #[test]
    fn keys_are_file_names_of_one_value_each() {
        check(json!({"data": {"a.conf": "x"}, "binaryData": {"b": "AAE="}}), &[]);
        check(
            json!({"data": {"..": "x"}}),
            &["data[..]: Invalid value: \"..\": must not be '..'"],
        );
        check(
            json!({"data": {"a": "x"}, "binaryData": {"a": "AAE="}}),
            &["data[a]: Invalid value: \"a\": duplicate of key present in binaryData"],
        );
        check(
            json!({"data": {"a": "x".repeat((1 << 20) + 1)}}),
            &["[]: Too long: may not be more than 1048576 bytes"],
        );
    }

    #[test]
    fn an_immutable_config_map_stays_as_it_is() {
        let old = config_map(json!({"immutable": true, "data": {"a": "1"}}));
        let new = config_map(json!({"data": {"a": "2"}, "binaryData": {"b": "AA=="}}));
        assert_eq!(
            lines(ConfigMaps.validate_update(&new, &old, Target::Main)),
            [
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set",
                "binaryData: Forbidden: field is immutable when `immutable` is set",
            ]
        );
        assert!(ConfigMaps.validate_update(&old, &old, Target::Main).is_empty());
    }
}
