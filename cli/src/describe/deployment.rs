use super::Related;
use super::containers::describe_template;
use super::text::{Text, time};
use crate::cluster::Object;
use crate::failure::Failure;
use crate::rollout::{revisions, same_template};
use crate::tables::selector;
use gantry_proto::apps::v1::{Deployment, ReplicaSet};
use std::time::SystemTime;

pub fn describe(object: &Object, related: &Related, _: SystemTime, text: &mut Text) -> Result<(), Failure> {
    let deployment: Deployment = object.decode()?;
    let (spec, status) = (deployment.spec(), deployment.status());
    text.line(0, format_args!("Name:\t{}", object.metadata.name));
    text.line(0, format_args!("Namespace:\t{}", object.metadata.namespace));
    text.line(
        0,
        format_args!(
            "CreationTimestamp:\t{}",
            time(object.metadata.creation_timestamp.as_ref())
        ),
    );
    text.labels(0, "Labels", &object.metadata.labels);
    text.annotations(0, "Annotations", &object.metadata.annotations);
    text.line(0, format_args!("Selector:\t{}", selector(spec.selector.as_ref())));
    text.line(
        0,
        format_args!(
            "Replicas:\t{} desired | {} updated | {} total | {} available | {} unavailable",
            spec.replicas.unwrap_or_default(),
            status.updated_replicas,
            status.replicas,
            status.available_replicas,
            status.unavailable_replicas
        ),
    );
    text.line(0, format_args!("StrategyType:\t{}", spec.strategy().r#type));
    text.line(0, format_args!("MinReadySeconds:\t{}", spec.min_ready_seconds));
    if let Some(rolling) = &spec.strategy().rolling_update {
        let (unavailable, surge) = (rolling.max_unavailable(), rolling.max_surge());
        text.line(
            0,
            format_args!("RollingUpdateStrategy:\t{unavailable} max unavailable, {surge} max surge"),
        );
    }
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
    let revisions = revisions(&deployment, &related.replica_sets);
    let is_new = |replica_set: &ReplicaSet| same_template(replica_set.spec().template(), spec.template());
    let (new, old): (Vec<&ReplicaSet>, Vec<&ReplicaSet>) = revisions
        .values()
        .copied()
        .partition(|replica_set| is_new(replica_set));
    text.line(0, format_args!("OldReplicaSets:\t{}", replica_sets(&old)));
    text.line(0, format_args!("NewReplicaSet:\t{}", replica_sets(&new)));
    Ok(())
}

fn replica_sets(replica_sets: &[&ReplicaSet]) -> String {
    let shown = |replica_set: &&ReplicaSet| {
        let desired = replica_set.spec().replicas.unwrap_or_default();
        let name = &replica_set.metadata().name;
        format!(
            "{name} ({}/{desired} replicas created)",
            replica_set.status().replicas
        )
    };
    crate::tables::or_none(&replica_sets.iter().map(shown).collect::<Vec<_>>().join(", "))
}
