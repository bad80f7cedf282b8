use super::containers::Place;
use super::text::Text;
use gantry_proto::core::v1::{Volume, VolumeProjection, VolumeSource};

pub fn describe(volumes: &[Volume], place: &Place, text: &mut Text) {
    if volumes.is_empty() {
        return text.line(0, format_args!("{}Volumes:\t<none>", place.indent));
    }
    text.line(0, format_args!("{}Volumes:", place.indent));
    for volume in volumes {
        text.line(1, format_args!("{}{}:", place.name_indent, volume.name));
        source(volume.volume_source(), text);
    }
}

fn source(source: &VolumeSource, text: &mut Text) {
    let mut field = |name: &str, value: &str| text.line(2, format_args!("{name}:\t{value}"));
    let optional = |optional: Option<bool>| optional.unwrap_or(false).to_string();
    if let Some(host_path) = &source.host_path {
        field("Type", "HostPath (bare host directory volume)");
        field("Path", &host_path.path);
        field("HostPathType", host_path.r#type.as_deref().unwrap_or("<none>"));
    } else if let Some(empty_dir) = &source.empty_dir {
        field(
            "Type",
            "EmptyDir (a temporary directory that shares a pod's lifetime)",
        );
        field("Medium", &empty_dir.medium);
        field(
            "SizeLimit",
            empty_dir
                .size_limit
                .as_ref()
                .map_or("<unset>", |limit| &limit.string),
        );
    } else if let Some(secret) = &source.secret {
        field("Type", "Secret (a volume populated by a Secret)");
        field("SecretName", &secret.secret_name);
        field("Optional", &optional(secret.optional));
    } else if let Some(config_map) = &source.config_map {
        field("Type", "ConfigMap (a volume populated by a ConfigMap)");
        field("Name", &config_map.local_object_reference().name);
        field("Optional", &optional(config_map.optional));
    } else if let Some(projected) = &source.projected {
        field(
            "Type",
            "Projected (a volume that contains injected data from multiple sources)",
        );
        projected
            .sources
            .iter()
            .for_each(|source| projection(source, text));
    } else if let Some(claim) = &source.persistent_volume_claim {
        field(
            "Type",
            "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)",
        );
        field("ClaimName", &claim.claim_name);
        field("ReadOnly", &claim.read_only.to_string());
    } else if source.downward_api.is_some() {
        field(
            "Type",
            "DownwardAPI (a volume populated by information about the pod)",
        );
    } else if let Some(image) = &source.image {
        field("Type", "Image (a container image or OCI artifact)");
        field("Reference", &image.reference);
        field("PullPolicy", &image.pull_policy);
    } else {
        text.line(1, format_args!("<unknown>"));
    }
}

fn projection(source: &VolumeProjection, text: &mut Text) {
    let mut named = |title: &str, name: &str, optional: Option<bool>| {
        text.line(2, format_args!("{title}:\t{name}"));
        text.line(2, format_args!("Optional:\t{}", optional.unwrap_or(false)));
    };
    if let Some(secret) = &source.secret {
        named(
            "SecretName",
            &secret.local_object_reference().name,
            secret.optional,
        );
    } else if let Some(config_map) = &source.config_map {
        named(
            "ConfigMapName",
            &config_map.local_object_reference().name,
            config_map.optional,
        );
    } else if source.downward_api.is_some() {
        text.line(2, format_args!("DownwardAPI:\ttrue"));
    } else if let Some(token) = &source.service_account_token {
        let seconds = token.expiration_seconds.unwrap_or_default();
        text.line(2, format_args!("TokenExpirationSeconds:\t{seconds}"));
    }
}
