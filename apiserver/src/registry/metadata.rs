//! What the server does to every object's metadata, whatever the kind.

use std::collections::HashSet;
use std::time::SystemTime;

use gantry_proto::meta::v1::{ObjectMeta, Time};
use prost::Message as _;

/// Fills in what the server gives a new object.
pub(super) fn begin(metadata: &mut ObjectMeta, uid: String, now: SystemTime) {
    metadata.uid = uid;
    metadata.creation_timestamp = Some(Time::from_system(now));
    metadata.resource_version.clear();
    metadata.managed_fields.clear();
}

/// Removes owners that are there twice, and tells so (apiserver/pkg/endpoints/handlers/rest.go,
/// dedupOwnerReferencesAndAddWarning). `seen` says where Kubernetes notices.
pub(super) fn remove_double_owners(metadata: &mut ObjectMeta, seen: &str) -> Option<String> {
    // A client may send tens of thousands.
    let mut known = HashSet::new();
    let mut doubles = Vec::new();
    metadata.owner_references.retain(|owner| {
        let is_new = known.insert(owner.encode_to_vec());
        if !is_new {
            doubles.push(owner.uid.clone());
        }
        is_new
    });
    if doubles.is_empty() {
        return None;
    }
    Some(format!(
        ".metadata.ownerReferences contains duplicate entries{seen}; API server dedups owner references in 1.20+, and \
         may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
        doubles.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use gantry_proto::meta::v1::OwnerReference;

    use super::*;

    #[test]
    fn an_owner_counts_once() {
        let owner = |uid: &str, name: &str| OwnerReference {
            uid: uid.into(),
            name: name.into(),
            ..OwnerReference::default()
        };
        let mut metadata = ObjectMeta {
            owner_references: vec![owner("1", "a"), owner("1", "b"), owner("1", "a"), owner("2", "c")],
            ..ObjectMeta::default()
        };
        let warning = remove_double_owners(&mut metadata, "").unwrap();
        assert!(warning.ends_with("duplicate UID(s) observed: 1"), "{warning}");
        assert_eq!(metadata.owner_references.len(), 3);
        assert_eq!(remove_double_owners(&mut metadata, ""), None);
    }
}
