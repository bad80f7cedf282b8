//! Volumes: what is put where, and taken away again.

pub mod atomic_writer;
pub mod payload;
pub mod host_path;
pub mod mounts;
pub mod container_mounts;

use crate::pod::environment::Sources;
use crate::volume::atomic_writer::Payload;
use gantry_proto::core::v1::{EmptyDirVolumeSource, Pod, Volume};
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Why a volume could not be set up, in the words of a FailedMount event.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume \"{volume}\" : {why}")]
pub struct VolumeError {
    pub volume: String,
    pub why: String,
}

/// Where a volume's files are, for mounting them into containers.
pub fn place(pod_dir: &Path, volume: &Volume) -> Option<PathBuf> {
    let source = volume.volume_source();
    if let Some(host_path) = &source.host_path {
        return Some(PathBuf::from(&host_path.path));
    }
    let kind = if source.empty_dir.is_some() {
        "empty-dir"
    } else if source.config_map.is_some() {
        "config-map"
    } else if source.secret.is_some() {
        "secret"
    } else if source.downward_api.is_some() {
        "downward-api"
    } else if source.projected.is_some() {
        "projected"
    } else {
        return None;
    };
    Some(pod_dir.join("volumes").join(kind).join(&volume.name))
}

/// Makes all volumes of a pod, or brings those that follow API objects up to date. Doing it again changes
/// nothing that is right.
pub fn set_up(pod: &Pod, pod_dir: &Path, sources: &Sources, now: SystemTime) -> Result<(), VolumeError> {
    for volume in &pod.spec().volumes {
        set_up_one(pod, pod_dir, volume, sources, now).map_err(|why| VolumeError {
            volume: volume.name.clone(),
            why,
        })?;
    }
    Ok(())
}

fn set_up_one(
    pod: &Pod,
    pod_dir: &Path,
    volume: &Volume,
    sources: &Sources,
    now: SystemTime,
) -> Result<(), String> {
    let source = volume.volume_source();
    let Some(place) = place(pod_dir, volume) else {
        return Err("this type of volume is not supported by the node agent yet".into());
    };
    if let Some(host_path) = &source.host_path {
        return host_path::check(&host_path.path, host_path.r#type.as_deref().unwrap_or_default());
    }
    let group = pod
        .spec()
        .security_context()
        .fs_group
        .and_then(|group| u32::try_from(group).ok());
    let text = |error: std::io::Error| format!("{}: {error}", place.display());
    if let Some(empty_dir) = &source.empty_dir {
        return set_up_empty_dir(&place, empty_dir, group);
    }
    std::fs::create_dir_all(&place).map_err(text)?;
    if payload::holds_secrets(source) {
        mounts::tmpfs(&place, None, 0o755).map_err(text)?;
    }
    let files: Payload = payload::payload(pod, source, sources)?;
    let files = match group {
        Some(group) => files.readable_by(group),
        None => files,
    };
    open_to_group(&place, group, 0o755).map_err(text)?;
    atomic_writer::write(&place, &files, now).map_err(text)
}

/// Whoever uses the folder may change its mode and owner, so it is set up once.
fn set_up_empty_dir(
    place: &Path,
    empty_dir: &EmptyDirVolumeSource,
    group: Option<u32>,
) -> Result<(), String> {
    let text = |error: std::io::Error| format!("{}: {error}", place.display());
    match empty_dir.medium.as_str() {
        "Memory" => {
            std::fs::create_dir_all(place).map_err(text)?;
            let size = empty_dir
                .size_limit
                .as_ref()
                .map(|limit| limit.value())
                .filter(|bytes| *bytes > 0);
            if mounts::tmpfs(place, size, 0o777).map_err(text)? {
                open_to_group(place, group, 0o777).map_err(text)?;
            }
            Ok(())
        }
        "" | "HugePages" if place.exists() => Ok(()),
        "" | "HugePages" => {
            // No volume has such a name. A folder has its place only when its mode is right.
            let new = place.with_extension("new");
            std::fs::create_dir_all(&new).map_err(text)?;
            open_to_group(&new, group, 0o777).map_err(text)?;
            std::fs::rename(&new, place).map_err(text)
        }
        other => Err(format!("unknown storage medium {other:?}")),
    }
}

fn open_to_group(place: &Path, group: Option<u32>, mode: u32) -> std::io::Result<()> {
    let set_group_id = if group.is_some() { 0o2070 } else { 0 };
    if group.is_some() {
        chown(place, None, group)?;
    }
    std::fs::set_permissions(place, Permissions::from_mode(mode | set_group_id))
}

/// Whether any volume follows API objects that may change.
pub fn is_live(pod: &Pod) -> bool {
    pod.spec()
        .volumes
        .iter()
        .map(Volume::volume_source)
        .any(|source| {
            source.config_map.is_some()
                || source.secret.is_some()
                || source.projected.is_some()
                || source.downward_api.is_some()
        })
}

/// Unmounts and removes all that was made for a pod. Nothing outside is touched: while anything is still
/// mounted below, nothing is removed.
pub fn tear_down(pod_dir: &Path) -> std::io::Result<()> {
    mounts::unmount_below(pod_dir)?;
    match std::fs::remove_dir_all(pod_dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_empty_dir_keeps_the_mode_that_its_user_gave_it() {
        let pod_dir = std::env::temp_dir().join(format!("gantry-empty-dir-{}", std::process::id()));
        let value =
            json!({"metadata": {"name": "p"}, "spec": {"volumes": [{"name": "data", "emptyDir": {}}]}});
        let pod = gantry_proto::json::decode_value::<Pod>(&value).unwrap().object;
        let place = place(&pod_dir, &pod.spec().volumes[0]).unwrap();
        let mode = || place.metadata().unwrap().permissions().mode() & 0o7777;
        let refresh = || set_up(&pod, &pod_dir, &Sources::default(), SystemTime::UNIX_EPOCH).unwrap();
        refresh();
        assert_eq!(mode(), 0o777);
        std::fs::set_permissions(&place, Permissions::from_mode(0o700)).unwrap();
        refresh();
        assert_eq!(mode(), 0o700);
        std::fs::remove_dir_all(&pod_dir).unwrap();
    }
}
