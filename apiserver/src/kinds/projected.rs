//! Projected and downward API volumes.

use super::environment::{VOLUME_FIELDS, validate_object_field, validate_resource_field};
use super::field::{Errors, Path};
use super::volume::{validate_item, validate_local_path, validate_mode};
use gantry_proto::core::v1::{
    DownwardApiVolumeFile, DownwardApiVolumeSource, KeyToPath, ProjectedVolumeSource,
    ServiceAccountTokenProjection, VolumeProjection,
};
use std::collections::BTreeSet;

const TOKEN_LEAST_SECONDS: i64 = 10 * 60;
const TOKEN_MOST_SECONDS: i64 = 1 << 32;

pub fn validate_downward(volume: &DownwardApiVolumeSource, path: &Path, errors: &mut Errors) {
    validate_mode(volume.default_mode, &path.child("defaultMode"), errors);
    for file in &volume.items {
        validate_file(file, path, errors);
    }
}

pub fn validate(volume: &ProjectedVolumeSource, path: &Path, errors: &mut Errors) {
    validate_mode(volume.default_mode, &path.child("defaultMode"), errors);
    let mut taken = BTreeSet::new();
    let list = path.child("sources");
    for (i, source) in volume.sources.iter().enumerate() {
        validate_projection(source, path, &list.index(i), &mut taken, errors);
    }
}

fn validate_projection<'a>(
    source: &'a VolumeProjection,
    volume: &Path,
    path: &Path,
    taken: &mut BTreeSet<&'a str>,
    errors: &mut Errors,
) {
    let mut sources = 0;
    if let Some(secret) = &source.secret {
        sources += 1;
        let name = &secret.local_object_reference().name;
        validate_keys(name, &secret.items, volume, &path.child("secret"), taken, errors);
    }
    if let Some(config_map) = &source.config_map {
        sources += 1;
        let name = &config_map.local_object_reference().name;
        validate_keys(
            name,
            &config_map.items,
            volume,
            &path.child("configMap"),
            taken,
            errors,
        );
    }
    if let Some(downward) = &source.downward_api {
        sources += 1;
        for file in &downward.items {
            validate_file(file, &path.child("downwardAPI"), errors);
            take(&file.path, &file.path, volume, taken, errors);
        }
    }
    if let Some(token) = &source.service_account_token {
        sources += 1;
        validate_token(token, volume, &path.child("serviceAccountToken"), errors);
    }
    sources +=
        usize::from(source.cluster_trust_bundle.is_some()) + usize::from(source.pod_certificate.is_some());
    if sources > 1 {
        errors.forbidden(path, "may not specify more than 1 volume type per source");
    }
}

fn validate_keys<'a>(
    name: &str,
    items: &'a [KeyToPath],
    volume: &Path,
    path: &Path,
    taken: &mut BTreeSet<&'a str>,
    errors: &mut Errors,
) {
    if name.is_empty() {
        errors.required(&path.child("name"), "");
    }
    let list = path.child("items");
    for (i, item) in items.iter().enumerate() {
        validate_item(item, &list.index(i), errors);
        take(&item.path, name, volume, taken, errors);
    }
}

fn take<'a>(file: &'a str, shown: &str, volume: &Path, taken: &mut BTreeSet<&'a str>, errors: &mut Errors) {
    if !file.is_empty() && !taken.insert(file) {
        errors.invalid(volume, shown, "conflicting duplicate paths");
    }
}

fn validate_token(token: &ServiceAccountTokenProjection, volume: &Path, path: &Path, errors: &mut Errors) {
    let seconds = token.expiration_seconds.unwrap_or_default();
    let expiration = path.child("expirationSeconds");
    if seconds < TOKEN_LEAST_SECONDS {
        errors.invalid(
            &expiration,
            seconds,
            "may not specify a duration less than 10 minutes",
        );
    }
    if seconds > TOKEN_MOST_SECONDS {
        errors.invalid(
            &expiration,
            seconds,
            "may not specify a duration larger than 2^32 seconds",
        );
    }
    if token.path.is_empty() {
        errors.required(&volume.child("path"), "");
    } else {
        validate_local_path(&token.path, &volume.child("path"), errors);
    }
}

fn validate_file(file: &DownwardApiVolumeFile, path: &Path, errors: &mut Errors) {
    if file.path.is_empty() {
        errors.required(&path.child("path"), "");
    }
    validate_local_path(&file.path, &path.child("path"), errors);
    match (&file.field_ref, &file.resource_field_ref) {
        (Some(field), resource) => {
            validate_object_field(field, VOLUME_FIELDS, &path.child("fieldRef"), errors);
            if resource.is_some() {
                let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.invalid(path, "resource", detail);
            }
        }
        (None, Some(resource)) => {
            validate_resource_field(resource, true, &path.child("resourceFieldRef"), errors)
        }
        (None, None) => errors.required(path, "one of fieldRef and resourceFieldRef is required"),
    }
    validate_mode(file.mode, &path.child("mode"), errors);
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::json;

    #[test]
    fn each_file_comes_from_one_place() {
        let volume: ProjectedVolumeSource = serde_json::from_value(json!({"sources": [
            {"configMap": {"name": "c", "items": [{"key": "k", "path": "a"}]}},
            {"secret": {"name": "s", "items": [{"key": "k", "path": "a"}]}},
            {"downwardAPI": {"items": [{"path": "labels"}]}},
            {"serviceAccountToken": {"expirationSeconds": 60, "path": "token"}, "configMap": {"name": "c"}},
        ]}))
        .expect("projected");
        let mut errors = Errors::new();
        validate(&volume, &Path::new("projected"), &mut errors);
        assert_eq!(
            lines(errors.into_causes()),
            [
                "projected: Invalid value: \"s\": conflicting duplicate paths",
                "projected.sources[2].downwardAPI: Required value: one of fieldRef and resourceFieldRef is required",
                "projected.sources[3].serviceAccountToken.expirationSeconds: Invalid value: 60: may not specify a \
                 duration less than 10 minutes",
                "projected.sources[3]: Forbidden: may not specify more than 1 volume type per source",
            ]
        );
    }
}
