//! The files of volumes that are made from API objects.

use crate::pod::environment::{Sources, field_value, resource_value};
use crate::volume::atomic_writer::Payload;
use gantry_proto::core::v1::{DownwardApiVolumeFile, KeyToPath, Pod, VolumeProjection, VolumeSource};
use std::collections::BTreeMap;

const DEFAULT_MODE: i32 = 0o644;

pub fn payload(pod: &Pod, source: &VolumeSource, sources: &Sources) -> Result<Payload, String> {
    let mut payload = Payload::default();
    if let Some(map) = &source.config_map {
        let mode = map.default_mode.unwrap_or(DEFAULT_MODE);
        let name = &map.local_object_reference().name;
        config_map(
            &mut payload,
            name,
            &map.items,
            map.optional == Some(true),
            mode,
            sources,
        )?;
    }
    if let Some(secret) = &source.secret {
        let mode = secret.default_mode.unwrap_or(DEFAULT_MODE);
        self::secret(
            &mut payload,
            &secret.secret_name,
            &secret.items,
            secret.optional == Some(true),
            mode,
            sources,
        )?;
    }
    if let Some(downward) = &source.downward_api {
        downward_api(
            &mut payload,
            pod,
            &downward.items,
            downward.default_mode.unwrap_or(DEFAULT_MODE),
            sources,
        )?;
    }
    if let Some(projected) = &source.projected {
        let mode = projected.default_mode.unwrap_or(DEFAULT_MODE);
        for projection in &projected.sources {
            project(&mut payload, pod, projection, mode, sources)?;
        }
    }
    Ok(payload)
}

/// Such files are kept in memory only.
pub fn holds_secrets(source: &VolumeSource) -> bool {
    source.secret.is_some() || source.projected.is_some()
}

fn project(
    payload: &mut Payload,
    pod: &Pod,
    projection: &VolumeProjection,
    mode: i32,
    sources: &Sources,
) -> Result<(), String> {
    if let Some(map) = &projection.config_map {
        let name = &map.local_object_reference().name;
        config_map(
            payload,
            name,
            &map.items,
            map.optional == Some(true),
            mode,
            sources,
        )?;
    } else if let Some(secret) = &projection.secret {
        let name = &secret.local_object_reference().name;
        self::secret(
            payload,
            name,
            &secret.items,
            secret.optional == Some(true),
            mode,
            sources,
        )?;
    } else if let Some(downward) = &projection.downward_api {
        downward_api(payload, pod, &downward.items, mode, sources)?;
    } else {
        return Err("this source of a projected volume is not supported by the node agent yet".into());
    }
    Ok(())
}

fn config_map(
    payload: &mut Payload,
    name: &str,
    items: &[KeyToPath],
    is_optional: bool,
    mode: i32,
    sources: &Sources,
) -> Result<(), String> {
    let Some(map) = sources.config_maps.get(name) else {
        return if is_optional {
            Ok(())
        } else {
            Err(format!("configmap \"{name}\" not found"))
        };
    };
    let text = map
        .data
        .iter()
        .map(|(key, value)| (key.clone(), value.clone().into_bytes()));
    let data: BTreeMap<String, Vec<u8>> = text.chain(map.binary_data.clone()).collect();
    add(payload, &data, items, is_optional, mode, "config")
}

fn secret(
    payload: &mut Payload,
    name: &str,
    items: &[KeyToPath],
    is_optional: bool,
    mode: i32,
    sources: &Sources,
) -> Result<(), String> {
    match sources.secrets.get(name) {
        Some(secret) => add(payload, &secret.data, items, is_optional, mode, "secret"),
        None if is_optional => Ok(()),
        None => Err(format!("secret \"{name}\" not found")),
    }
}

fn add(
    payload: &mut Payload,
    data: &BTreeMap<String, Vec<u8>>,
    items: &[KeyToPath],
    is_optional: bool,
    mode: i32,
    kind: &str,
) -> Result<(), String> {
    if items.is_empty() {
        return data
            .iter()
            .try_for_each(|(key, bytes)| payload.add(key, bytes.clone(), bits(mode)));
    }
    for item in items {
        match data.get(&item.key) {
            Some(bytes) => payload.add(&item.path, bytes.clone(), bits(item.mode.unwrap_or(mode)))?,
            None if is_optional => {}
            None => return Err(format!("references non-existent {kind} key: {}", item.key)),
        }
    }
    Ok(())
}

fn downward_api(
    payload: &mut Payload,
    pod: &Pod,
    items: &[DownwardApiVolumeFile],
    mode: i32,
    sources: &Sources,
) -> Result<(), String> {
    for item in items {
        let text = if let Some(field) = &item.field_ref {
            field_value(pod, &field.field_path, sources)
        } else if let Some(resource) = &item.resource_field_ref {
            let container = pod.spec().containers.first().cloned().unwrap_or_default();
            resource_value(pod, &container, resource, sources)
        } else {
            continue;
        };
        let text = text.map_err(|error| error.to_string())?;
        payload.add(&item.path, text.into_bytes(), bits(item.mode.unwrap_or(mode)))?;
    }
    Ok(())
}

fn bits(mode: i32) -> u32 {
    u32::try_from(mode).unwrap_or(0o644) & 0o7777
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_proto::core::v1::{ConfigMap, Secret};
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn check(source: Value, expected: Result<&str, &str>) {
        let mut map = ConfigMap::default();
        map.data.insert("a".into(), "1".into());
        map.binary_data.insert("b".into(), vec![0]);
        let mut secret = Secret::default();
        secret.data.insert("t".into(), b"s".to_vec());
        let sources = Sources {
            config_maps: [("m".to_string(), Arc::new(map))].into(),
            secrets: [("s".to_string(), Arc::new(secret))].into(),
            ..Sources::default()
        };
        let pod = json!({"metadata": {"name": "p", "labels": {"x": "y"}}});
        let pod = gantry_proto::json::decode_value::<Pod>(&pod).unwrap().object;
        let decoded: VolumeSource = serde_json::from_value(source.clone()).unwrap();
        let outcome = payload(&pod, &decoded, &sources).map(|payload| {
            let files = payload.files.iter().map(|(path, file)| {
                format!(
                    "{path}:{:o}={}",
                    file.mode,
                    String::from_utf8_lossy(&file.bytes).replace('\0', "0")
                )
            });
            files.collect::<Vec<_>>().join(" ")
        });
        assert_eq!(outcome.as_deref().map_err(String::as_str), expected, "{source}");
    }

    #[test]
    fn files_follow_from_items_modes_and_what_is_optional() {
        check(json!({"configMap": {"name": "m"}}), Ok("a:644=1 b:644=0"));
        let items = json!([{"key": "a", "path": "x/y", "mode": 0o400}]);
        check(
            json!({"configMap": {"name": "m", "items": items}}),
            Ok("x/y:400=1"),
        );
        let missing = json!([{"key": "z", "path": "z"}]);
        check(
            json!({"configMap": {"name": "m", "items": missing}}),
            Err("references non-existent config key: z"),
        );
        check(
            json!({"configMap": {"name": "m", "items": missing, "optional": true}}),
            Ok(""),
        );
        check(
            json!({"configMap": {"name": "x"}}),
            Err("configmap \"x\" not found"),
        );
        check(json!({"configMap": {"name": "x", "optional": true}}), Ok(""));
        check(
            json!({"secret": {"secretName": "s", "defaultMode": 0o400}}),
            Ok("t:400=s"),
        );
        check(
            json!({"secret": {"secretName": "x"}}),
            Err("secret \"x\" not found"),
        );
        let labels = json!({"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}});
        check(json!({"downwardAPI": {"items": [labels]}}), Ok("l:644=x=\"y\""));
        let projections = json!([{"configMap": {"name": "m"}}, {"secret": {"name": "s"}}]);
        check(
            json!({"projected": {"sources": projections}}),
            Ok("a:644=1 b:644=0 t:644=s"),
        );
    }
}
