//! Where a container sees its volumes.

use super::field::{Errors, Path};
use super::volume::{ByName, validate_descending};
use gantry_proto::core::v1::{Container, VolumeDevice, VolumeMount};
use std::collections::BTreeSet;

const PROPAGATIONS: &[&str] = &["Bidirectional", "HostToContainer", "None"];
const RECURSIVE_READ_ONLY: &[&str] = &["Disabled", "Enabled", "IfPossible"];

pub fn validate(container: &Container, volumes: &ByName, list: &Path, errors: &mut Errors) {
    let devices = &container.volume_devices;
    let mut paths = BTreeSet::new();
    for (i, mount) in container.volume_mounts.iter().enumerate() {
        let path = list.index(i);
        let (name, mount_path) = (path.child("name"), path.child("mountPath"));
        if mount.name.is_empty() {
            errors.required(&name, "");
        }
        if !volumes.contains_key(mount.name.as_str()) {
            errors.not_found(&name, &mount.name, "");
        }
        if mount.mount_path.is_empty() {
            errors.required(&mount_path, "");
        }
        if !paths.insert(&mount.mount_path) {
            errors.invalid(&mount_path, &mount.mount_path, "must be unique");
        }
        if devices.iter().any(|device| device.name == mount.name) {
            errors.invalid(&name, &mount.name, "must not already exist in volumeDevices");
        }
        if devices
            .iter()
            .any(|device| device.device_path == mount.mount_path)
        {
            let detail = "must not already exist as a path in volumeDevices";
            errors.invalid(&mount_path, &mount.mount_path, detail);
        }
        // Kubernetes names the list, not the item, for what follows.
        validate_sub_path(mount, list, &path, errors);
        validate_propagation(mount, container, list, errors);
        validate_recursive_read_only(mount, list, errors);
    }
}

fn validate_sub_path(mount: &VolumeMount, list: &Path, path: &Path, errors: &mut Errors) {
    if !mount.sub_path.is_empty() {
        validate_descending(&mount.sub_path, &list.child("subPath"), errors);
    }
    if !mount.sub_path_expr.is_empty() {
        if !mount.sub_path.is_empty() {
            let detail = "subPathExpr and subPath are mutually exclusive";
            errors.invalid(&path.child("subPathExpr"), &mount.sub_path_expr, detail);
        }
        validate_descending(&mount.sub_path_expr, &list.child("subPathExpr"), errors);
    }
}

fn validate_propagation(mount: &VolumeMount, container: &Container, list: &Path, errors: &mut Errors) {
    let Some(propagation) = mount.mount_propagation.as_deref() else {
        return;
    };
    let path = list.child("mountPropagation");
    if !PROPAGATIONS.contains(&propagation) {
        errors.not_supported(&path, propagation, PROPAGATIONS);
    }
    if propagation == "Bidirectional" && container.security_context().privileged != Some(true) {
        errors.forbidden(
            &path,
            "Bidirectional mount propagation is available only to privileged containers",
        );
    }
}

fn validate_recursive_read_only(mount: &VolumeMount, list: &Path, errors: &mut Errors) {
    let path = list.child("recursiveReadOnly");
    match mount.recursive_read_only.as_deref() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if !mount.read_only {
                errors.forbidden(&path, "may only be specified when readOnly is true");
            }
            if mount
                .mount_propagation
                .as_deref()
                .is_some_and(|propagation| propagation != "None")
            {
                errors.forbidden(
                    &path,
                    "may only be specified when mountPropagation is None or not specified",
                );
            }
        }
        Some(other) => errors.not_supported(&path, other, RECURSIVE_READ_ONLY),
    }
}

/// Block devices of a claim.
pub fn validate_devices(container: &Container, volumes: &ByName, list: &Path, errors: &mut Errors) {
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for (i, device) in container.volume_devices.iter().enumerate() {
        let path = list.index(i);
        validate_device_name(device, volumes, &mut names, &path.child("name"), errors);
        let device_path = path.child("devicePath");
        if device.device_path.is_empty() {
            errors.required(&device_path, "");
        }
        if paths.contains(&device.device_path) {
            errors.invalid(&device_path, &device.device_path, "must be unique");
        }
        if device.device_path.split('/').any(|part| part == "..") {
            errors.invalid(
                &device_path,
                &device.device_path,
                "can not contain backsteps ('..')",
            );
        } else {
            paths.insert(&device.device_path);
        }
        if container
            .volume_mounts
            .iter()
            .any(|mount| mount.name == device.name)
        {
            errors.invalid(
                &path.child("name"),
                &device.name,
                "must not already exist in volumeMounts",
            );
        }
        if container
            .volume_mounts
            .iter()
            .any(|mount| mount.mount_path == device.device_path)
        {
            let detail = "must not already exist as a path in volumeMounts";
            errors.invalid(&device_path, &device.device_path, detail);
        }
    }
}

fn validate_device_name<'a>(
    device: &'a VolumeDevice,
    volumes: &ByName,
    names: &mut BTreeSet<&'a String>,
    path: &Path,
    errors: &mut Errors,
) {
    if device.name.is_empty() {
        errors.required(path, "");
    }
    if !device.name.is_empty() && !names.insert(&device.name) {
        errors.invalid(path, &device.name, "must be unique");
    }
    match volumes.get(device.name.as_str()) {
        None => errors.not_found(path, &device.name, ""),
        Some(source) if source.persistent_volume_claim.is_none() && source.ephemeral.is_none() => {
            let detail =
                "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
            errors.invalid(path, &device.name, detail);
        }
        Some(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use gantry_proto::core::v1::VolumeSource;
    use serde_json::json;

    #[test]
    fn mounts_are_of_volumes_that_exist_and_each_has_its_own_path() {
        let container: Container = serde_json::from_value(json!({"volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "x", "mountPath": "/data"},
            {"name": "data", "mountPath": "", "subPath": "../up"},
            {"name": "data", "mountPath": "/b", "mountPropagation": "Bidirectional", "recursiveReadOnly": "Enabled"},
        ]}))
        .expect("container");
        let source = VolumeSource::default();
        let volumes = ByName::from([("data", &source)]);
        let mut errors = Errors::new();
        validate(&container, &volumes, &Path::new("volumeMounts"), &mut errors);
        assert_eq!(
            lines(errors.into_causes()),
            [
                "volumeMounts[1].name: Not found: \"x\"",
                "volumeMounts[1].mountPath: Invalid value: \"/data\": must be unique",
                "volumeMounts[2].mountPath: Required value",
                "volumeMounts.subPath: Invalid value: \"../up\": must not contain '..'",
                "volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to \
                 privileged containers",
                "volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is true",
                "volumeMounts.recursiveReadOnly: Forbidden: may only be specified when mountPropagation is None or \
                 not specified",
            ]
        );
    }
}
