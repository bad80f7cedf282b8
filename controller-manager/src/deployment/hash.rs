//! The pod-template-hash: what tells the ReplicaSets of one Deployment apart.

use crate::child_names::ALPHABET;
use gantry_proto::core::v1::PodTemplateSpec;
use serde_json::Value;

pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// The hash of a template, in the alphabet of generated names. Kubernetes hashes a Go-specific rendering of the
/// template, which nobody else can reproduce; ours hashes its JSON, which is deterministic. Whether a
/// ReplicaSet belongs to a template is decided by comparing templates, never by this hash, so ReplicaSets that
/// a Kubernetes made are recognised.
pub fn pod_template_hash(template: &PodTemplateSpec, collision_count: Option<i32>) -> String {
    let mut hash = 0x811c_9dc5_u32;
    let mut write = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    };
    // Straight to text, in the order of the fields: serializing fails only for maps with keys that are not strings.
    write(&serde_json::to_vec(template).unwrap_or_default());
    if let Some(count) = collision_count {
        write(&count.to_le_bytes());
    }
    hash.to_string()
        .bytes()
        .map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()]))
        .collect()
}

/// Whether two templates are the same but for the hash label, which the controller itself adds. They are
/// compared as JSON: one that has been through a patch has empty messages where another has none.
pub fn same_template(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    let without_hash = |template: &PodTemplateSpec| {
        let mut template = template.clone();
        template.metadata_mut().labels.remove(POD_TEMPLATE_HASH);
        template
    };
    let (a, b) = (without_hash(a), without_hash(b));
    a == b || rendered(&a) == rendered(&b)
}

fn rendered(template: &PodTemplateSpec) -> Value {
    // Serializing to a Value fails only for maps with keys that are not strings.
    serde_json::to_value(template).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_proto::core::v1::{Container, PodSpec};
    use gantry_proto::meta::v1::ObjectMeta;

    fn template(image: &str) -> PodTemplateSpec {
        PodTemplateSpec {
            metadata: Some(ObjectMeta {
                labels: [("app".to_string(), "web".to_string())].into(),
                ..ObjectMeta::default()
            }),
            spec: Some(PodSpec {
                containers: vec![Container {
                    name: "web".into(),
                    image: image.into(),
                    ..Container::default()
                }],
                ..PodSpec::default()
            }),
        }
    }

    #[test]
    fn the_hash_of_a_template_never_changes() {
        // A change here would rename every ReplicaSet to come, and restart nothing: but it must be on purpose.
        let hash = |image: &str, count: Option<i32>| pod_template_hash(&template(image), count);
        assert_eq!(
            [hash("web:1", None), hash("web:2", None), hash("web:1", Some(1))],
            ["cb5d95cc5", "859687bffd", "978c477db"]
        );
    }

    #[test]
    fn the_hash_label_is_no_difference_and_everything_else_is() {
        let mut labelled = template("web:1");
        labelled
            .metadata_mut()
            .labels
            .insert(POD_TEMPLATE_HASH.into(), "abc".into());
        assert!(same_template(&template("web:1"), &labelled));
        assert!(!same_template(&template("web:1"), &template("web:2")));
        let mut annotated = template("web:1");
        annotated
            .metadata_mut()
            .annotations
            .insert("a".into(), "b".into());
        assert!(!same_template(&template("web:1"), &annotated));
        let mut without_metadata = template("web:1");
        without_metadata.metadata = None;
        assert!(!same_template(&template("web:1"), &without_metadata));
        // What a JSON patch makes of the same template.
        let patched: PodTemplateSpec = serde_json::from_value(rendered(&template("web:1"))).unwrap();
        assert_ne!(patched, template("web:1"));
        assert!(same_template(&template("web:1"), &patched));
        assert_eq!(
            pod_template_hash(&patched, None),
            pod_template_hash(&template("web:1"), None)
        );
    }
}
