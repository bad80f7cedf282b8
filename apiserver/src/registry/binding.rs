//! Binding a pod to a node, once.

use std::time::SystemTime;

use gantry_proto::core::v1::{Binding, Pod, PodCondition};
use gantry_proto::meta::v1::{Preconditions, Status, StatusCause, Time};
use gantry_proto::{Key, Kind as _};
use prost::Message as _;

use super::current::{Current, Intent};
use super::{Registry, Writer, Written, bad_request, preconditions};
use crate::strategy;

impl Registry {
    /// Returns the binding with the uid and the new resourceVersion of the pod.
    pub async fn bind(
        &self,
        key: &Key,
        mut binding: Binding,
        writer: &Writer,
        dry_run: bool,
        now: SystemTime,
    ) -> Result<Written, Status> {
        check(&binding, &key.name)?;
        let cache = self.cache::<Pod>()?;
        let decide = |current: &Current| {
            let mut new = current.object.clone();
            let pod = strategy::typed_mut::<Pod>(&mut *new).ok_or_else(super::no_such_resource)?;
            assign(key, pod, &binding, now)?;
            Ok(Intent::put(new))
        };
        let mut written = self
            .modify(cache, key, "bind", dry_run, writer.fence.as_ref(), decide)
            .await?;
        let pod = gantry_proto::wire::metadata(&written.raw).map_err(super::internal)?;
        let metadata = binding.metadata_mut();
        (metadata.name, metadata.namespace) = (pod.name, pod.namespace);
        (metadata.uid, metadata.resource_version) = (pod.uid, pod.resource_version);
        written.raw = binding.encode_to_vec().into();
        written.message = Binding::INFO.message;
        Ok(written)
    }
}

fn check(binding: &Binding, pod: &str) -> Result<(), Status> {
    let name = &Binding::metadata(binding).name;
    if name != pod {
        return Err(bad_request("name in URL does not match name in Binding object"));
    }
    let target = binding.target();
    let mut causes = Vec::new();
    if !target.kind.is_empty() && target.kind != "Node" {
        causes.push(StatusCause {
            reason: "FieldValueNotSupported".into(),
            message: format!(
                "Unsupported value: \"{}\": supported values: \"Node\", \"<empty>\"",
                target.kind
            ),
            field: "target.kind".into(),
        });
    }
    if target.name.is_empty() {
        causes.push(StatusCause {
            reason: "FieldValueRequired".into(),
            message: "Required value".into(),
            field: "target.name".into(),
        });
    }
    if causes.is_empty() {
        Ok(())
    } else {
        Err(Status::invalid(Binding::INFO, pod, causes))
    }
}

/// Puts the pod on the node (pkg/registry/core/pod/storage, setPodNodeAndMetadata).
fn assign(key: &Key, pod: &mut Pod, binding: &Binding, now: SystemTime) -> Result<(), Status> {
    let node = &binding.target().name;
    let name = Pod::metadata(pod).name.clone();
    let wanted = Binding::metadata(binding);
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let conditions = Preconditions {
        uid: given(&wanted.uid),
        resource_version: given(&wanted.resource_version),
    };
    preconditions::check_stored(Pod::INFO, key, Pod::metadata(pod), &conditions)?;
    let refusal = if Pod::metadata(pod).deletion_timestamp.is_some() {
        Some(format!(
            "pod {name} is being deleted, cannot be assigned to a host"
        ))
    } else if !pod.spec().node_name.is_empty() {
        Some(format!(
            "pod {name} is already assigned to node \"{}\"",
            pod.spec().node_name
        ))
    } else if !pod.spec().scheduling_gates.is_empty() {
        Some(format!("pod {name} has non-empty .spec.schedulingGates"))
    } else {
        None
    };
    if let Some(why) = refusal {
        let mut status = Status::conflict(Pod::INFO, &name, &why);
        // Kubernetes names the subresource here.
        status.message = format!("Operation cannot be fulfilled on pods/binding \"{name}\": {why}");
        return Err(status);
    }
    pod.spec_mut().node_name.clone_from(node);
    let metadata = Pod::metadata_mut(pod);
    metadata.annotations.extend(wanted.annotations.clone());
    metadata.labels.extend(wanted.labels.clone());
    let status = pod.status_mut();
    status.nominated_node_name.clear();
    set_scheduled(&mut status.conditions, now);
    Ok(())
}

fn set_scheduled(conditions: &mut Vec<PodCondition>, now: SystemTime) {
    let scheduled = PodCondition {
        r#type: "PodScheduled".into(),
        status: "True".into(),
        last_transition_time: Some(Time::from_system(now)),
        ..PodCondition::default()
    };
    match conditions
        .iter_mut()
        .find(|condition| condition.r#type == "PodScheduled")
    {
        Some(condition) if condition.status == "True" => {}
        Some(condition) => *condition = scheduled,
        None => conditions.push(scheduled),
    }
}

#[cfg(test)]
mod tests {
    use gantry_proto::json;
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_pod_is_bound_once() {
        let check = |pod: &str, node: &str, expected: Result<(), &str>| {
            let mut pod: Pod = json::decode(pod.as_bytes()).unwrap().object;
            let mut binding = Binding::default();
            binding.target_mut().name = node.into();
            let key = Key::new("default", "p");
            let found = assign(&key, &mut pod, &binding, UNIX_EPOCH).map_err(|status| status.message);
            assert_eq!(found, expected.map_err(str::to_owned));
            if expected.is_ok() {
                assert_eq!(pod.spec().node_name, node);
                let condition = &pod.status().conditions[0];
                assert_eq!(
                    (condition.r#type.as_str(), condition.status.as_str()),
                    ("PodScheduled", "True")
                );
                assert_eq!(pod.status().conditions.len(), 1);
            }
        };
        check(r#"{"metadata": {"name": "p"}}"#, "n1", Ok(()));
        check(
            r#"{"metadata": {"name": "p"}, "status": {"conditions": [{"type": "PodScheduled", "status": "False"}]}}"#,
            "n1",
            Ok(()),
        );
        check(
            r#"{"metadata": {"name": "p"}, "spec": {"nodeName": "n1"}}"#,
            "n1",
            Err(
                "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n1\"",
            ),
        );
        check(
            r#"{"metadata": {"name": "p"}, "spec": {"nodeName": "n2"}}"#,
            "n1",
            Err(
                "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n2\"",
            ),
        );
        check(
            r#"{"metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"}}"#,
            "n1",
            Err(
                "Operation cannot be fulfilled on pods/binding \"p\": pod p is being deleted, cannot be assigned to a host",
            ),
        );
        check(
            r#"{"metadata": {"name": "p"}, "spec": {"schedulingGates": [{"name": "g"}]}}"#,
            "n1",
            Err(
                "Operation cannot be fulfilled on pods/binding \"p\": pod p has non-empty .spec.schedulingGates",
            ),
        );
    }
}
