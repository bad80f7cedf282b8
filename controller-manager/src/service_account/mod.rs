//! The `default` ServiceAccount of every namespace, which pods use that name no other.

pub mod controller;

use crate::action::Action;
use gantry_proto::core::v1::{Namespace, ServiceAccount};
use gantry_proto::meta::v1::ObjectMeta;

pub const DEFAULT: &str = "default";

pub fn reconcile(namespace: &Namespace, present: Option<&ServiceAccount>) -> Vec<Action> {
    if present.is_some() || namespace.metadata().deletion_timestamp.is_some() {
        return Vec::new();
    }
    let account = ServiceAccount {
        metadata: Some(ObjectMeta {
            name: DEFAULT.into(),
            namespace: namespace.metadata().name.clone(),
            ..ObjectMeta::default()
        }),
        ..ServiceAccount::default()
    };
    vec![Action::Create {
        object: account.into(),
        says: None,
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_proto::meta::v1::Time;

    #[test]
    fn a_namespace_that_stays_gets_its_account_once() {
        let mut namespace = Namespace::default();
        namespace.metadata_mut().name = "team".into();
        let actions = reconcile(&namespace, None);
        assert_eq!(actions.len(), 1);
        assert!(
            matches!(&actions[0], Action::Create { object, .. } if object.metadata().namespace == "team")
        );
        assert_eq!(reconcile(&namespace, Some(&ServiceAccount::default())), []);
        namespace.metadata_mut().deletion_timestamp = Some(Time::default());
        assert_eq!(reconcile(&namespace, None), []);
    }
}
