//! What a pod refers to.

use gantry_proto::core::v1::{Container, EnvFromSource, EnvVar, Pod, Volume};

/// A kind of object that a pod refers to by name in its own namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Referent {
    Secret,
    ConfigMap,
}

/// Whether the pod uses the secret or config map of this name: in a volume, in a container's environment, or to
/// pull its images.
pub fn refers_to(pod: &Pod, referent: Referent, name: &str) -> bool {
    let spec = pod.spec();
    let pulls =
        || referent == Referent::Secret && spec.image_pull_secrets.iter().any(|secret| secret.name == name);
    let containers = || spec.init_containers.iter().chain(&spec.containers);
    pulls()
        || containers().any(|container| in_container(container, referent, name))
        || spec.ephemeral_containers.iter().any(|container| {
            let common = container.ephemeral_container_common();
            in_environment(&common.env, &common.env_from, referent, name)
        })
        || spec
            .volumes
            .iter()
            .any(|volume| in_volume(volume, referent, name))
}

fn in_container(container: &Container, referent: Referent, name: &str) -> bool {
    in_environment(&container.env, &container.env_from, referent, name)
}

fn in_environment(env: &[EnvVar], env_from: &[EnvFromSource], referent: Referent, name: &str) -> bool {
    let variable = |variable: &EnvVar| {
        let source = variable.value_from();
        match referent {
            Referent::Secret => {
                let key = source.secret_key_ref.as_ref();
                key.is_some_and(|key| key.local_object_reference().name == name)
            }
            Referent::ConfigMap => {
                let key = source.config_map_key_ref.as_ref();
                key.is_some_and(|key| key.local_object_reference().name == name)
            }
        }
    };
    let all = |source: &EnvFromSource| match referent {
        Referent::Secret => {
            let secret = source.secret_ref.as_ref();
            secret.is_some_and(|secret| secret.local_object_reference().name == name)
        }
        Referent::ConfigMap => {
            let map = source.config_map_ref.as_ref();
            map.is_some_and(|map| map.local_object_reference().name == name)
        }
    };
    env.iter().any(variable) || env_from.iter().any(all)
}

fn in_volume(volume: &Volume, referent: Referent, name: &str) -> bool {
    let source = volume.volume_source();
    let projected = source.projected.iter().flat_map(|projected| &projected.sources);
    match referent {
        Referent::Secret => {
            let mut parts = projected.filter_map(|part| part.secret.as_ref());
            source
                .secret
                .as_ref()
                .is_some_and(|secret| secret.secret_name == name)
                || parts.any(|secret| secret.local_object_reference().name == name)
                || source.csi.as_ref().is_some_and(|csi| {
                    let secret = csi.node_publish_secret_ref.as_ref();
                    secret.is_some_and(|secret| secret.name == name)
                })
        }
        Referent::ConfigMap => {
            let mut parts = projected.filter_map(|part| part.config_map.as_ref());
            let own = source.config_map.as_ref();
            own.is_some_and(|map| map.local_object_reference().name == name)
                || parts.any(|map| map.local_object_reference().name == name)
        }
    }
}
