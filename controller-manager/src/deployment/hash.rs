//! The pod-template-hash: what tells the ReplicaSets of one Deployment apart.

use crate::child_names::ALPHABET;
use gantry_proto::core::v1::PodTemplateSpec;
use prost::Message;

pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// The hash of a template, in the alphabet of generated names. Kubernetes hashes a Go-specific rendering of the
/// template, which nobody else can reproduce; ours hashes the wire form, which is deterministic. Whether a
/// ReplicaSet belongs to a template is decided by comparing templates, never by this hash, so ReplicaSets that
/// a Kubernetes made are recognised.
pub fn pod_template_hash(template: &PodTemplateSpec, collision_count: Option<i32>) -> String {
    let mut hash = 0x811c_9dc5_u32;
    let mut write = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    };
    write(&template.encode_to_vec());
    if let Some(count) = collision_count {
        write(&count.to_le_bytes());
    }
    hash.to_string()
        .bytes()
        .map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()]))
        .collect()
}

/// Whether two templates are the same but for the hash label, which the controller itself adds.
pub fn same_template(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    let labels = |template: &PodTemplateSpec| {
        let mut labels = template.metadata().labels.clone();
        labels.remove(POD_TEMPLATE_HASH);
        labels
    };
    if a.spec() != b.spec() || labels(a) != labels(b) {
        return false;
    }
    let mut left = a.metadata().clone();
    let mut right = b.metadata().clone();
    left.labels.clear();
    right.labels.clear();
    left == right
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
        assert_eq!(pod_template_hash(&template("web:1"), None), "GOLDEN1");
        assert_eq!(pod_template_hash(&template("web:2"), None), "GOLDEN2");
        assert_eq!(pod_template_hash(&template("web:1"), Some(1)), "GOLDEN3");
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
    }
}
