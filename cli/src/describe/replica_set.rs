use super::Related;
use super::containers::describe_template;
use super::text::{Text, controller};
use crate::cluster::Object;
use crate::failure::Failure;
use crate::tables::selector;
use gantry_proto::apps::v1::ReplicaSet;
use gantry_proto::core::v1::Pod;
use std::time::SystemTime;

pub fn describe(object: &Object, related: &Related, _: SystemTime, text: &mut Text) -> Result<(), Failure> {
    let replica_set: ReplicaSet = object.decode()?;
    let (spec, status) = (replica_set.spec(), replica_set.status());
    text.line(0, format_args!("Name:\t{}", object.metadata.name));
    text.line(0, format_args!("Namespace:\t{}", object.metadata.namespace));
    text.line(0, format_args!("Selector:\t{}", selector(spec.selector.as_ref())));
    text.labels(0, "Labels", &object.metadata.labels);
    text.annotations(0, "Annotations", &object.metadata.annotations);
    if let Some(controller) = controller(&object.metadata) {
        text.line(0, format_args!("Controlled By:\t{controller}"));
    }
    let desired = spec.replicas.unwrap_or_default();
    text.line(
        0,
        format_args!("Replicas:\t{} current / {desired} desired", status.replicas),
    );
    let owned = |pod: &&Pod| {
        let owners = &pod.metadata().owner_references;
        owners
            .iter()
            .any(|owner| owner.controller == Some(true) && owner.uid == object.metadata.uid)
    };
    let count = |phase: &str| {
        related
            .pods
            .iter()
            .filter(owned)
            .filter(|pod| pod.status().phase == phase)
            .count()
    };
    text.line(
        0,
        format_args!(
            "Pods Status:\t{} Running / {} Waiting / {} Succeeded / {} Failed",
            count("Running"),
            count("Pending"),
            count("Succeeded"),
            count("Failed")
        ),
    );
    describe_template(spec.template(), text);
    if !status.conditions.is_empty() {
        text.line(0, format_args!("Conditions:"));
        text.line(1, format_args!("Type\tStatus\tReason"));
        text.line(1, format_args!("----\t------\t------"));
        for condition in &status.conditions {
            let (kind, status, reason) = (&condition.r#type, &condition.status, &condition.reason);
            text.line(1, format_args!("{kind} \t{status}\t{reason}"));
        }
    }
    Ok(())
}
