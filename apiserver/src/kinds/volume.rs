//! Volumes and their sources.

use super::field::{Errors, Path};
use super::names;
use super::projected;
use gantry_proto::core::v1::{
    ConfigMapVolumeSource, HostPathVolumeSource, KeyToPath, SecretVolumeSource, Volume, VolumeSource,
};
use gantry_proto::meta::v1::ObjectMeta;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

const HOST_PATH_TYPES: &[&str] = &[
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];
pub const FILE_MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// The volumes that containers can mount, by name.
pub type ByName<'a> = BTreeMap<&'a str, &'a VolumeSource>;

/// Returns the volumes with which nothing is wrong.
pub fn validate<'a>(
    volumes: &'a [Volume],
    pod: Option<&ObjectMeta>,
    list: &Path,
    errors: &mut Errors,
) -> ByName<'a> {
    let mut by_name = ByName::new();
    let pod_name = pod.map(|pod| pod.name.as_str()).filter(|name| !name.is_empty());
    let made_claims: BTreeSet<String> = volumes
        .iter()
        .filter(|volume| volume.volume_source().ephemeral.is_some())
        .filter_map(|volume| pod_name.map(|pod| format!("{pod}-{}", volume.name)))
        .collect();
    for (i, volume) in volumes.iter().enumerate() {
        let (path, source) = (list.index(i), volume.volume_source());
        let before = errors.len();
        validate_source(source, &path, errors);
        let name = path.child("name");
        if volume.name.is_empty() {
            errors.required(&name, "");
        } else {
            errors.invalid_each(&name, &volume.name, names::dns_label(&volume.name));
        }
        if by_name.contains_key(volume.name.as_str()) {
            errors.duplicate(&name, &volume.name);
        }
        if errors.len() == before {
            by_name.insert(&volume.name, source);
        }
        if let Some(claim) = &source.persistent_volume_claim
            && made_claims.contains(&claim.claim_name)
        {
            let detail = "must not reference a PVC that gets created for an ephemeral volume";
            errors.invalid(
                &path.child("persistentVolumeClaim.claimName"),
                &claim.claim_name,
                detail,
            );
        }
    }
    by_name
}

/// The sources that a volume has, in the order in which Kubernetes looks for them. There should be one.
pub fn present(source: &VolumeSource) -> Vec<&'static str> {
    [
        ("emptyDir", source.empty_dir.is_some()),
        ("hostPath", source.host_path.is_some()),
        ("gitRepo", source.git_repo.is_some()),
        ("gcePersistentDisk", source.gce_persistent_disk.is_some()),
        ("awsElasticBlockStore", source.aws_elastic_block_store.is_some()),
        ("secret", source.secret.is_some()),
        ("nfs", source.nfs.is_some()),
        ("iscsi", source.iscsi.is_some()),
        ("glusterfs", source.glusterfs.is_some()),
        ("flocker", source.flocker.is_some()),
        ("persistentVolumeClaim", source.persistent_volume_claim.is_some()),
        ("rbd", source.rbd.is_some()),
        ("cinder", source.cinder.is_some()),
        ("cephfs", source.cephfs.is_some()),
        ("quobyte", source.quobyte.is_some()),
        ("downwardAPI", source.downward_api.is_some()),
        ("fc", source.fc.is_some()),
        ("flexVolume", source.flex_volume.is_some()),
        ("configMap", source.config_map.is_some()),
        ("azureFile", source.azure_file.is_some()),
        ("vsphereVolume", source.vsphere_volume.is_some()),
        ("photonPersistentDisk", source.photon_persistent_disk.is_some()),
        ("portworxVolume", source.portworx_volume.is_some()),
        ("azureDisk", source.azure_disk.is_some()),
        ("storageos", source.storageos.is_some()),
        ("projected", source.projected.is_some()),
        ("scaleIO", source.scale_io.is_some()),
        ("csi", source.csi.is_some()),
        ("ephemeral", source.ephemeral.is_some()),
        ("image", source.image.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, present)| present.then_some(name))
    .collect()
}

fn validate_source(source: &VolumeSource, path: &Path, errors: &mut Errors) {
    let present = present(source);
    let Some((first, more)) = present.split_first() else {
        errors.required(path, "must specify a volume type");
        return;
    };
    validate_first(source, &path.child(first), errors);
    for name in more {
        errors.forbidden(&path.child(name), "may not specify more than 1 volume type");
    }
}

/// Checks the first source that is there. Sources that no node here can mount are only counted.
fn validate_first(source: &VolumeSource, path: &Path, errors: &mut Errors) {
    if let Some(empty_dir) = &source.empty_dir {
        if empty_dir
            .size_limit
            .as_ref()
            .is_some_and(|limit| limit.compare(&Default::default()) == Ordering::Less)
        {
            errors.forbidden(
                &path.child("sizeLimit"),
                "SizeLimit field must be a valid resource quantity",
            );
        }
    } else if let Some(host_path) = &source.host_path {
        validate_host_path(host_path, path, errors);
    } else if let Some(secret) = &source.secret {
        validate_secret(secret, path, errors);
    } else if let Some(nfs) = &source.nfs {
        if nfs.server.is_empty() {
            errors.required(&path.child("server"), "");
        }
        if nfs.path.is_empty() {
            errors.required(&path.child("path"), "");
        }
        if !nfs.path.starts_with('/') {
            errors.invalid(&path.child("path"), &nfs.path, "must be an absolute path");
        }
    } else if let Some(claim) = &source.persistent_volume_claim {
        if claim.claim_name.is_empty() {
            errors.required(&path.child("claimName"), "");
        }
    } else if let Some(downward) = &source.downward_api {
        projected::validate_downward(downward, path, errors);
    } else if let Some(config_map) = &source.config_map {
        validate_config_map(config_map, path, errors);
    } else if let Some(projection) = &source.projected {
        projected::validate(projection, path, errors);
    } else if let Some(ephemeral) = &source.ephemeral
        && ephemeral.volume_claim_template.is_none()
    {
        errors.required(&path.child("volumeClaimTemplate"), "");
    }
}

fn validate_host_path(host_path: &HostPathVolumeSource, path: &Path, errors: &mut Errors) {
    if host_path.path.is_empty() {
        errors.required(&path.child("path"), "");
        return;
    }
    validate_no_backsteps(&host_path.path, &path.child("path"), errors);
    if let Some(kind) = host_path
        .r#type
        .as_deref()
        .filter(|kind| !HOST_PATH_TYPES.contains(kind))
    {
        errors.not_supported(&path.child("type"), kind, HOST_PATH_TYPES);
    }
}

fn validate_secret(secret: &SecretVolumeSource, path: &Path, errors: &mut Errors) {
    if secret.secret_name.is_empty() {
        errors.required(&path.child("secretName"), "");
    }
    validate_mode(secret.default_mode, &path.child("defaultMode"), errors);
    validate_items(&secret.items, &path.child("items"), errors);
}

fn validate_config_map(config_map: &ConfigMapVolumeSource, path: &Path, errors: &mut Errors) {
    if config_map.local_object_reference().name.is_empty() {
        errors.required(&path.child("name"), "");
    }
    validate_mode(config_map.default_mode, &path.child("defaultMode"), errors);
    validate_items(&config_map.items, &path.child("items"), errors);
}

fn validate_items(items: &[KeyToPath], path: &Path, errors: &mut Errors) {
    for (i, item) in items.iter().enumerate() {
        validate_item(item, &path.index(i), errors);
    }
}

pub fn validate_item(item: &KeyToPath, path: &Path, errors: &mut Errors) {
    if item.key.is_empty() {
        errors.required(&path.child("key"), "");
    }
    if item.path.is_empty() {
        errors.required(&path.child("path"), "");
    }
    validate_local_path(&item.path, &path.child("path"), errors);
    validate_mode(item.mode, &path.child("mode"), errors);
}

pub fn validate_mode(mode: Option<i32>, path: &Path, errors: &mut Errors) {
    if let Some(mode) = mode.filter(|mode| !(0..=0o777).contains(mode)) {
        errors.invalid(path, mode, FILE_MODE);
    }
}

/// A path inside a volume that does not collide with the names that the volume's writer uses itself.
pub fn validate_local_path(value: &str, path: &Path, errors: &mut Errors) {
    validate_descending(value, path, errors);
    if value.starts_with("..") && !value.starts_with("../") {
        errors.invalid(path, value, "must not start with '..'");
    }
}

pub fn validate_descending(value: &str, path: &Path, errors: &mut Errors) {
    if value.starts_with('/') {
        errors.invalid(path, value, "must be a relative path");
    }
    validate_no_backsteps(value, path, errors);
}

pub fn validate_no_backsteps(value: &str, path: &Path, errors: &mut Errors) {
    if value.split('/').any(|part| part == "..") {
        errors.invalid(path, value, "must not contain '..'");
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::json;

    fn check(value: serde_json::Value, expected: &[&str]) {
        let volumes: Vec<Volume> = serde_json::from_value(value).expect("volumes");
        let mut errors = Errors::new();
        validate(&volumes, None, &Path::new("spec.volumes"), &mut errors);
        assert_eq!(lines(errors.into_causes()), expected);
    }

    #[test]
    fn a_volume_has_a_name_of_its_own_and_one_source() {
        check(
            json!([{"name": "a", "emptyDir": {}}, {"name": "b", "hostPath": {"path": "/x"}}]),
            &[],
        );
        check(
            json!([{"name": "a", "emptyDir": {}}, {"name": "a", "emptyDir": {}}, {"emptyDir": {}}, {"name": "b"}]),
            &[
                "spec.volumes[1].name: Duplicate value: \"a\"",
                "spec.volumes[2].name: Required value",
                "spec.volumes[3]: Required value: must specify a volume type",
            ],
        );
        check(
            json!([{"name": "a", "emptyDir": {}, "secret": {"secretName": "s"}}]),
            &["spec.volumes[0].secret: Forbidden: may not specify more than 1 volume type"],
        );
    }

    #[test]
    fn files_stay_inside_the_volume() {
        check(
            json!([{"name": "a", "configMap": {"defaultMode": 512, "items": [
                {"key": "", "path": "/abs"}, {"key": "k", "path": "a/../b"}, {"key": "k", "path": "..x", "mode": -1},
            ]}}]),
            &[
                "spec.volumes[0].configMap.name: Required value",
                "spec.volumes[0].configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 \
                 (octal), both inclusive",
                "spec.volumes[0].configMap.items[0].key: Required value",
                "spec.volumes[0].configMap.items[0].path: Invalid value: \"/abs\": must be a relative path",
                "spec.volumes[0].configMap.items[1].path: Invalid value: \"a/../b\": must not contain '..'",
                "spec.volumes[0].configMap.items[2].path: Invalid value: \"..x\": must not start with '..'",
                "spec.volumes[0].configMap.items[2].mode: Invalid value: -1: must be a number between 0 and 0777 \
                 (octal), both inclusive",
            ],
        );
        check(
            json!([{"name": "a", "hostPath": {"path": "/a/..", "type": "Pipe"}}]),
            &[
                "spec.volumes[0].hostPath.path: Invalid value: \"/a/..\": must not contain '..'",
                "spec.volumes[0].hostPath.type: Unsupported value: \"Pipe\": supported values: \"\", \"BlockDevice\", \
                 \"CharDevice\", \"Directory\", \"DirectoryOrCreate\", \"File\", \"FileOrCreate\", \"Socket\"",
            ],
        );
    }
}
