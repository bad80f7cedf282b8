//! Whose an object is: the controller reference, and how a controller claims what its selector matches
//! (Kubernetes' pkg/controller/controller_ref_manager.go).

use crate::action::{Action, Target};
use gantry_proto::Kind;
use gantry_proto::meta::v1::{ObjectMeta, OwnerReference};
use gantry_proto::selector::Selector;
use serde_json::{Value, json};

/// What a controller may do with an object that it sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is the controller's own.
    Owned,
    /// It is nobody's and matches: it should become the controller's.
    Adopt,
    /// It is the controller's but matches no longer: it should be let go.
    Release,
    /// It is somebody else's, or concerns nobody.
    Foreign,
}

/// Decides about one object. `selector` is `None` when the controller's selector cannot be read: then nothing
/// matches, and nothing is released either.
pub fn claim(owner: &ObjectMeta, selector: Option<&Selector>, child: &ObjectMeta) -> Claim {
    let matches = selector.is_some_and(|selector| selector.matches(&child.labels));
    match controller_of(child) {
        Some(reference) if reference.uid != owner.uid => Claim::Foreign,
        Some(_) if matches || selector.is_none() => Claim::Owned,
        Some(_) if owner.deletion_timestamp.is_some() => Claim::Foreign,
        Some(_) => Claim::Release,
        None if !matches || owner.deletion_timestamp.is_some() || child.deletion_timestamp.is_some() => {
            Claim::Foreign
        }
        None => Claim::Adopt,
    }
}

/// The one owner reference that manages the object.
pub fn controller_of(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata
        .owner_references
        .iter()
        .find(|reference| reference.controller == Some(true))
}

/// The reference by which children name `owner` as their controller.
pub fn controller_reference<K: Kind>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::API_VERSION.into(),
        kind: K::KIND.into(),
        name: owner.metadata().name.clone(),
        uid: owner.metadata().uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

pub fn adopt<O: Kind, C: Kind>(owner: &O, child: &C) -> Action {
    let mut references = child.metadata().owner_references.clone();
    references.push(controller_reference(owner));
    Action::Adopt {
        target: Target::of(child),
        owner: Target::of(owner),
        patch: owners_patch(child.metadata(), &references),
    }
}

pub fn release<O: Kind, C: Kind>(owner: &O, child: &C) -> Action {
    let mut references = child.metadata().owner_references.clone();
    references.retain(|reference| reference.uid != owner.metadata().uid);
    Action::Patch {
        target: Target::of(child),
        subresource: None,
        patch: owners_patch(child.metadata(), &references),
        says: None,
    }
}

/// Replaces the owner references of the object as it was read, and of no other version of it.
pub fn owners_patch(read: &ObjectMeta, references: &[OwnerReference]) -> Value {
    json!({"metadata": {
        "uid": read.uid,
        "resourceVersion": read.resource_version,
        "ownerReferences": references,
    }})
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_proto::meta::v1::Time;

    fn child(labels: &[(&str, &str)], controller: Option<&str>) -> ObjectMeta {
        ObjectMeta {
            labels: labels
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect(),
            owner_references: controller
                .map(|uid| OwnerReference {
                    uid: uid.into(),
                    controller: Some(true),
                    ..OwnerReference::default()
                })
                .into_iter()
                .collect(),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn a_controller_claims_its_own_and_orphans_and_nothing_else() {
        let selector = Selector::from_map(&[("app".to_string(), "web".to_string())].into());
        let owner = ObjectMeta {
            uid: "mine".into(),
            ..ObjectMeta::default()
        };
        let check = |child: &ObjectMeta, expected: Claim| {
            assert_eq!(claim(&owner, Some(&selector), child), expected, "{child:?}");
        };
        check(&child(&[("app", "web")], Some("mine")), Claim::Owned);
        check(&child(&[("app", "db")], Some("mine")), Claim::Release);
        check(&child(&[("app", "web")], None), Claim::Adopt);
        check(&child(&[("app", "db")], None), Claim::Foreign);
        check(&child(&[("app", "web")], Some("other")), Claim::Foreign);
        let ending = ObjectMeta {
            deletion_timestamp: Some(Time::default()),
            ..child(&[("app", "web")], None)
        };
        check(&ending, Claim::Foreign);
    }

    #[test]
    fn an_owner_that_is_being_deleted_neither_adopts_nor_releases() {
        let selector = Selector::from_map(&[("app".to_string(), "web".to_string())].into());
        let owner = ObjectMeta {
            uid: "mine".into(),
            deletion_timestamp: Some(Time::default()),
            ..ObjectMeta::default()
        };
        assert_eq!(
            claim(&owner, Some(&selector), &child(&[("app", "web")], None)),
            Claim::Foreign
        );
        assert_eq!(
            claim(&owner, Some(&selector), &child(&[("app", "db")], Some("mine"))),
            Claim::Foreign
        );
        assert_eq!(
            claim(&owner, Some(&selector), &child(&[("app", "web")], Some("mine"))),
            Claim::Owned
        );
    }
}
