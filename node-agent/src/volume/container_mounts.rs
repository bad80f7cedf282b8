//! What is mounted into a container: its volumes, its hosts file and the file for its last words.

use crate::pod::environment::expand;
use crate::pod::identity::hostname;
use crate::runtime::container_config::termination_message_path;
use crate::volume::{mounts, place};
use gantry_proto::core::v1::{Container, Pod, VolumeMount};
use k8s_cri::v1 as cri;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
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
        let path = pod_dir
            .join("containers")
            .join(&container.name)
            .join(attempt.to_string());
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
    let wanted = volume.join(sub_path);
    if !wanted.exists() {
        fs::create_dir_all(&wanted).map_err(text)?;
    }
    let found = wanted.canonicalize().map_err(text)?;
    if !found.starts_with(&volume) {
        return Err(format!("{sub_path:?} leads out of the volume"));
    }
    let parent = target.parent().unwrap_or(target);
    if found.is_dir() {
        fs::create_dir_all(target).map_err(text)?;
    } else {
        fs::create_dir_all(parent).map_err(text)?;
        if !target.exists() {
            fs::write(target, b"").map_err(text)?;
        }
    }
    mounts::bind(&found, target).map_err(text)
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
