//! What is mounted into a container: its volumes, its hosts file and the file for its last words.

use crate::pod::environment::expand;
use crate::pod::identity::hostname;
use crate::runtime::container_config::termination_message_path;
use crate::volume::{mounts, place};
use gantry_proto::core::v1::{Container, Pod, VolumeMount};
use k8s_cri::v1 as cri;
use nix::fcntl::OFlag;
use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

/// Makes the files that the container needs and returns its mounts. The error is a message for the user.
pub fn container_mounts(
    pod: &Pod,
    container: &Container,
    attempt: u32,
    pod_dir: &Path,
    pod_ips: &[String],
    cluster_domain: &str,
    environment: &[(String, String)],
) -> Result<Vec<cri::Mount>, String> {
    let mut all = Vec::new();
    for (position, mount) in container.volume_mounts.iter().enumerate() {
        let source = source(pod, container, mount, position, pod_dir, environment)?;
        all.push(cri::Mount {
            container_path: absolute(&mount.mount_path),
            host_path: source.to_string_lossy().into_owned(),
            readonly: mount.read_only,
            propagation: match mount.mount_propagation.as_deref() {
                Some("HostToContainer") => cri::MountPropagation::PropagationHostToContainer,
                Some("Bidirectional") => cri::MountPropagation::PropagationBidirectional,
                _ => cri::MountPropagation::PropagationPrivate,
            } as i32,
            ..cri::Mount::default()
        });
    }
    let is_free = |path: &str, all: &[cri::Mount]| all.iter().all(|mount| mount.container_path != path);
    let text = |error: std::io::Error| error.to_string();
    if is_free("/etc/hosts", &all) {
        let path = pod_dir.join("etc-hosts");
        let is_same = |old: &String, new: &str| old == new;
        let content = hosts(pod, pod_ips, cluster_domain);
        if !fs::read_to_string(&path).is_ok_and(|old| is_same(&old, &content)) {
            fs::create_dir_all(pod_dir)
                .and_then(|()| fs::write(&path, content))
                .map_err(text)?;
        }
        all.push(plain("/etc/hosts", &path));
    }
    let message_path = termination_message_path(container);
    if is_free(message_path, &all) {
        let path = message_file(pod_dir, &container.name, attempt);
        let folder = path.parent().unwrap_or(pod_dir);
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, b""))
            .map_err(text)?;
        // The container may run as any user.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).map_err(text)?;
        all.push(plain(message_path, &path));
    }
    Ok(all)
}

/// Where a run of a container leaves its last words.
pub fn message_file(pod_dir: &Path, container: &str, attempt: u32) -> PathBuf {
    pod_dir
        .join("containers")
        .join(container)
        .join(attempt.to_string())
}

fn plain(container_path: &str, host_path: &Path) -> cri::Mount {
    cri::Mount {
        container_path: container_path.into(),
        host_path: host_path.to_string_lossy().into_owned(),
        ..cri::Mount::default()
    }
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') {
        path.to_string()
    } else {
        format!("/{path}")
    }
}

fn source(
    pod: &Pod,
    container: &Container,
    mount: &VolumeMount,
    position: usize,
    pod_dir: &Path,
    environment: &[(String, String)],
) -> Result<PathBuf, String> {
    let volume = pod.spec().volumes.iter().find(|volume| volume.name == mount.name);
    let place = volume.and_then(|volume| place(pod_dir, volume));
    let place = place.ok_or_else(|| {
        format!(
            "cannot find volume \"{}\" to mount into container \"{}\"",
            mount.name, container.name
        )
    })?;
    let lookup = |name: &str| {
        environment
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
    };
    let sub_path = match mount.sub_path_expr.as_str() {
        "" => mount.sub_path.clone(),
        expression => expand(expression, &lookup),
    };
    if sub_path.is_empty() {
        return Ok(place);
    }
    let failed = |why: String| {
        format!(
            "failed to prepare subPath for volumeMount \"{}\" of container \"{}\": {why}",
            mount.name, container.name
        )
    };
    let target = pod_dir
        .join("volume-subpaths")
        .join(&mount.name)
        .join(&container.name)
        .join(position.to_string());
    bind_sub_path(&place, &sub_path, &target).map_err(failed)?;
    Ok(target)
}

/// Binds a part of a volume to a place that the pod cannot change afterwards, so that a link which the pod
/// puts into the volume never leads out of it.
fn bind_sub_path(volume: &Path, sub_path: &str, target: &Path) -> Result<(), String> {
    let is_plain = |part: Component| matches!(part, Component::Normal(_) | Component::CurDir);
    if !Path::new(sub_path).components().all(is_plain) {
        return Err(format!("{sub_path:?} is not a path below the volume"));
    }
    let text = |error: std::io::Error| error.to_string();
    let volume = volume.canonicalize().map_err(text)?;
    let found = find_or_make(&volume, sub_path)?;
    // Held open, so that nothing can be put in its place between the look at where it is and the mount.
    let held = fs::OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).bits())
        .open(&found)
        .map_err(text)?;
    let handle = PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()));
    if !fs::read_link(&handle).map_err(text)?.starts_with(&volume) {
        return Err(leads_out(sub_path));
    }
    let parent = target.parent().unwrap_or(target);
    if held.metadata().map_err(text)?.is_dir() {
        fs::create_dir_all(target).map_err(text)?;
    } else {
        fs::create_dir_all(parent).map_err(text)?;
        if !target.exists() {
            fs::write(target, b"").map_err(text)?;
        }
    }
    mounts::bind(&handle, target).map_err(text)
}

fn leads_out(sub_path: &str) -> String {
    format!("{sub_path:?} leads out of the volume")
}

/// Follows a path below the volume part by part, and makes folders where there is nothing: with the volume's
/// own mode, because the container may run as any user, and never through a link that leads out.
fn find_or_make(volume: &Path, sub_path: &str) -> Result<PathBuf, String> {
    let text = |error: std::io::Error| error.to_string();
    let mode = volume.metadata().map_err(text)?.permissions().mode() & 0o777;
    let mut found = volume.to_path_buf();
    for part in Path::new(sub_path).components() {
        let next = found.join(part);
        match next.symlink_metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                fs::create_dir(&next).map_err(text)?;
                fs::set_permissions(&next, fs::Permissions::from_mode(mode)).map_err(text)?;
            }
            Err(error) => return Err(text(error)),
            Ok(_) => {}
        }
        found = next.canonicalize().map_err(text)?;
        if !found.starts_with(volume) {
            return Err(leads_out(sub_path));
        }
    }
    Ok(found)
}

/// The pod's /etc/hosts; a pod on the host's network has the host's.
fn hosts(pod: &Pod, pod_ips: &[String], cluster_domain: &str) -> String {
    let spec = pod.spec();
    let mut text = if spec.host_network {
        let host = fs::read_to_string("/etc/hosts").unwrap_or_default();
        format!("# Kubernetes-managed hosts file (host network).\n{host}")
    } else {
        "# Kubernetes-managed hosts file.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n"
            .to_string()
    };
    if !spec.host_network {
        let name = hostname(pod);
        for ip in pod_ips {
            match spec.subdomain.as_str() {
                "" => text += &format!("{ip}\t{name}\n"),
                sub => {
                    let namespace = &pod.metadata().namespace;
                    text += &format!("{ip}\t{name}.{sub}.{namespace}.svc.{cluster_domain}\t{name}\n");
                }
            }
        }
    }
    if !spec.host_aliases.is_empty() {
        text += "\n# Entries added by HostAliases.\n";
        for alias in &spec.host_aliases {
            text += &format!("{}\t{}\n", alias.ip, alias.hostnames.join("\t"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_sub_path_is_made_with_the_volumes_mode_and_nothing_is_made_outside() {
        let root = std::env::temp_dir().join(format!("gantry-sub-path-{}", std::process::id()));
        let (volume, outside) = (root.join("volume"), root.join("outside"));
        fs::create_dir_all(&volume).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::set_permissions(&volume, fs::Permissions::from_mode(0o777)).unwrap();
        symlink(&outside, volume.join("escape")).unwrap();
        symlink("a", volume.join("inside")).unwrap();
        let volume = volume.canonicalize().unwrap();

        assert_eq!(find_or_make(&volume, "a/b"), Ok(volume.join("a/b")));
        let mode = volume.join("a/b").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o777);
        assert_eq!(find_or_make(&volume, "./inside/b"), Ok(volume.join("a/b")));
        assert_eq!(
            find_or_make(&volume, "escape/b"),
            Err("\"escape/b\" leads out of the volume".to_string())
        );
        assert!(!outside.join("b").exists());
        fs::remove_dir_all(&root).unwrap();
    }
}
