//! Namespaces.

use super::field::{Errors, Path};
use super::{Rules, Target, metadata, names};
use gantry_proto::core::v1::{Namespace, NamespaceStatus};
use gantry_proto::meta::v1::StatusCause;

/// The finalizer that the namespace controller takes away once the namespace is empty.
const FINALIZER: &str = "kubernetes";
/// The label by which selectors find a namespace by name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub struct Namespaces;

impl Rules for Namespaces {
    type Object = Namespace;

    fn set_defaults(&self, namespace: &mut Namespace) {
        let metadata = namespace.metadata_mut();
        if !metadata.name.is_empty() {
            metadata.labels.insert(NAME_LABEL.into(), metadata.name.clone());
        }
        let status = namespace.status_mut();
        if status.phase.is_empty() {
            status.phase = "Active".into();
        }
    }

    fn prepare_for_create(&self, namespace: &mut Namespace) {
        metadata::clear_for_create(namespace.metadata_mut(), 0);
        namespace.status = Some(NamespaceStatus {
            phase: "Active".into(),
            ..NamespaceStatus::default()
        });
        let finalizers = &mut namespace.spec_mut().finalizers;
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            finalizers.push(FINALIZER.into());
        }
    }

    fn prepare_for_update(&self, new: &mut Namespace, old: &Namespace, target: Target) {
        match target {
            Target::Status => {
                metadata::keep_for_status(new.metadata_mut(), old.metadata());
                new.spec.clone_from(&old.spec);
            }
            Target::Main | Target::Scale => {
                metadata::keep_for_update(new.metadata_mut(), old.metadata());
                new.spec_mut().finalizers.clone_from(&old.spec().finalizers);
                new.status.clone_from(&old.status);
            }
        }
    }

    fn validate(&self, namespace: &Namespace) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        validate(namespace, &mut errors);
        errors.into_causes()
    }

    fn validate_update(&self, new: &Namespace, old: &Namespace, target: Target) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        metadata::validate_update(new.metadata(), old.metadata(), &mut errors);
        if target != Target::Status {
            validate(new, &mut errors);
        }
        metadata::validate_update_strictly(new.metadata(), old.metadata(), &mut errors);
        if target == Target::Status {
            validate_phase(new, &mut errors);
        }
        errors.into_causes()
    }

    fn fields(&self, namespace: &Namespace) -> Vec<(&'static str, String)> {
        vec![
            ("status.phase", namespace.status().phase.clone()),
            ("name", namespace.metadata().name.clone()),
        ]
    }
}

fn validate(namespace: &Namespace, errors: &mut Errors) {
    metadata::validate_strictly(namespace.metadata(), false, names::dns_label, errors);
    let path = Path::new("spec.finalizers");
    for finalizer in &namespace.spec().finalizers {
        errors.invalid_each(&path, finalizer, names::qualified(finalizer));
        metadata::validate_known_finalizer(finalizer, &path, errors);
    }
}

fn validate_phase(namespace: &Namespace, errors: &mut Errors) {
    let (expected, detail) = match namespace.metadata().deletion_timestamp {
        None => ("Active", "may only be 'Active' if `deletionTimestamp` is empty"),
        Some(_) => (
            "Terminating",
            "may only be 'Terminating' if `deletionTimestamp` is not empty",
        ),
    };
    let phase = &namespace.status().phase;
    if phase != expected {
        errors.invalid(&Path::new("status.Phase"), phase, detail);
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use gantry_proto::meta::v1::Time;

    fn namespace(name: &str) -> Namespace {
        let mut namespace = Namespace::default();
        namespace.metadata_mut().name = name.into();
        Namespaces.set_defaults(&mut namespace);
        Namespaces.prepare_for_create(&mut namespace);
        namespace
    }

    #[test]
    fn a_new_namespace_is_active_labelled_and_guarded() {
        let namespace = namespace("a");
        assert_eq!(namespace.status().phase, "Active");
        assert_eq!(namespace.spec().finalizers, ["kubernetes"]);
        assert_eq!(namespace.metadata().labels[NAME_LABEL], "a");
        assert!(Namespaces.validate(&namespace).is_empty());
        assert_eq!(
            Namespaces.fields(&namespace),
            [("status.phase", "Active".to_string()), ("name", "a".to_string())]
        );
    }

    #[test]
    fn names_are_labels_and_finalizers_are_known_or_qualified() {
        let mut wrong = namespace("a.b");
        wrong.spec_mut().finalizers.push("mine".into());
        assert_eq!(
            lines(Namespaces.validate(&wrong)),
            [
                "metadata.name: Invalid value: \"a.b\": must not contain dots",
                "spec.finalizers: Invalid value: \"mine\": name is neither a standard finalizer name nor is it fully \
                 qualified",
            ]
        );
    }

    #[test]
    fn the_phase_follows_the_deletion_timestamp() {
        let old = namespace("a");
        let mut new = old.clone();
        new.status_mut().phase = "Terminating".into();
        assert_eq!(
            lines(Namespaces.validate_update(&new, &old, Target::Status)),
            [
                "status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"
            ]
        );
        let mut dying = old.clone();
        dying.metadata_mut().deletion_timestamp = Some(Time { seconds: 1, nanos: 0 });
        new.metadata_mut().deletion_timestamp = Some(Time { seconds: 1, nanos: 0 });
        assert!(
            Namespaces
                .validate_update(&new, &dying, Target::Status)
                .is_empty()
        );
    }

    #[test]
    fn an_ordinary_update_leaves_finalizers_and_status_alone() {
        let old = namespace("a");
        let mut new = old.clone();
        new.spec_mut().finalizers.clear();
        new.status_mut().phase = "Gone".into();
        Namespaces.prepare_for_update(&mut new, &old, Target::Main);
        assert_eq!(new, old);
    }
}
