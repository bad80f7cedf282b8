//! Pods.

use super::field::{Errors, Path};
use super::{
    Rules, Target, container, label_keys, metadata, names, pod_defaults, pod_spec, pod_status, pod_update,
    pod_warnings, quality, semantic,
};
use gantry_proto::core::v1::{Pod, PodCondition, PodSpec, PodStatus, Toleration};
use gantry_proto::meta::v1::StatusCause;

/// What ServiceAccount admission gives a pod that names none.
const DEFAULT_SERVICE_ACCOUNT: &str = "default";

pub struct Pods;

impl Rules for Pods {
    type Object = Pod;

    fn set_defaults(&self, pod: &mut Pod) {
        pod_defaults::set_pod_defaults(pod);
    }

    fn prepare_for_create(&self, pod: &mut Pod) {
        metadata::clear_for_create(pod.metadata_mut(), 1);
        let created = pod.metadata().creation_timestamp;
        let spec = pod.spec_mut();
        if spec.service_account_name.is_empty() {
            spec.service_account_name = DEFAULT_SERVICE_ACCOUNT.into();
            spec.service_account = DEFAULT_SERVICE_ACCOUNT.into();
        }
        let mut status = PodStatus {
            phase: "Pending".into(),
            qos_class: quality::class(spec).into(),
            ..PodStatus::default()
        };
        if !spec.scheduling_gates.is_empty() {
            status.conditions.push(PodCondition {
                r#type: "PodScheduled".into(),
                status: "False".into(),
                last_transition_time: created,
                reason: "SchedulingGated".into(),
                message: "Scheduling is blocked due to non-empty scheduling gates".into(),
                ..PodCondition::default()
            });
        }
        pod.status = Some(status);
        label_keys::merge(pod);
    }

    fn admit(&self, pod: &mut Pod) {
        add_default_tolerations(pod.spec_mut());
    }

    fn prepare_for_update(&self, new: &mut Pod, old: &Pod, target: Target) {
        if target == Target::Status {
            metadata::keep_for_status(new.metadata_mut(), old.metadata());
            let owners = &old.metadata().owner_references;
            new.metadata_mut().owner_references.clone_from(owners);
            new.spec.clone_from(&old.spec);
            pod_status::keep(new.status_mut(), old.status());
        } else {
            metadata::keep_for_update(new.metadata_mut(), old.metadata());
            new.status.clone_from(&old.status);
        }
    }

    fn generation_changes(&self, new: &Pod, old: &Pod) -> bool {
        !semantic::equal(new.spec(), old.spec())
    }

    fn validate(&self, pod: &Pod) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        validate(pod, &mut errors);
        let (spec, path) = (pod.spec(), Path::new("spec"));
        if !spec.ephemeral_containers.is_empty() {
            errors.forbidden(&path.child("ephemeralContainers"), "cannot be set on create");
        }
        if !spec.node_name.is_empty() && !spec.scheduling_gates.is_empty() {
            errors.forbidden(
                &path.child("nodeName"),
                "cannot be set until all schedulingGates have been cleared",
            );
        }
        errors.into_causes()
    }

    fn validate_update(&self, new: &Pod, old: &Pod, target: Target) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        metadata::validate_update_strictly(new.metadata(), old.metadata(), &mut errors);
        if target == Target::Status {
            pod_status::validate(new, old, &mut errors);
        } else {
            validate(new, &mut errors);
            pod_update::validate(new.spec(), old.spec(), &mut errors);
        }
        errors.into_causes()
    }

    fn warnings(&self, new: &Pod, old: Option<&Pod>) -> Vec<String> {
        // An update can change next to nothing of a pod's spec.
        if old.is_some() {
            return Vec::new();
        }
        let mut warnings: Vec<String> =
            pod_warnings::name_is_no_label(new.metadata(), "used in the Pod's hostname")
                .into_iter()
                .collect();
        pod_warnings::collect(new.spec(), new.metadata(), &Path::new(""), &mut warnings);
        warnings
    }

    fn fields(&self, pod: &Pod) -> Vec<(&'static str, String)> {
        let (spec, status) = (pod.spec(), pod.status());
        vec![
            ("spec.nodeName", spec.node_name.clone()),
            ("spec.restartPolicy", spec.restart_policy.clone()),
            ("spec.schedulerName", spec.scheduler_name.clone()),
            ("spec.serviceAccountName", spec.service_account_name.clone()),
            ("spec.hostNetwork", spec.host_network.to_string()),
            ("status.phase", status.phase.clone()),
            ("status.podIP", status.pod_ip.clone()),
            ("status.nominatedNodeName", status.nominated_node_name.clone()),
        ]
    }

    fn graceful_seconds(&self, pod: &Pod, requested: Option<i64>) -> Option<i64> {
        let spec = pod.spec();
        let finished = ["Succeeded", "Failed"].contains(&pod.status().phase.as_str());
        if spec.node_name.is_empty() || finished {
            return Some(0);
        }
        let seconds = requested.or(spec.termination_grace_period_seconds).unwrap_or(0);
        Some(if seconds < 0 { 1 } else { seconds })
    }
}

/// What must be true of a pod at any time.
fn validate(pod: &Pod, errors: &mut Errors) {
    let (metadata, spec, path) = (pod.metadata(), pod.spec(), Path::new("spec"));
    metadata::validate_strictly(metadata, true, names::dns_subdomain, errors);
    let annotations = Path::new("metadata.annotations");
    pod_spec::validate_annotations(&metadata.annotations, spec, &annotations, errors);
    pod_spec::validate(spec, Some(metadata), &path, errors);
    if spec.service_account_name.is_empty() {
        refuse_tokens(pod, errors);
    }
    container::validate_images(&spec.containers, &path.child("containers"), errors);
    container::validate_images(&spec.init_containers, &path.child("initContainers"), errors);
}

fn refuse_tokens(pod: &Pod, errors: &mut Errors) {
    let volumes = Path::new("spec.volumes");
    for (i, volume) in pod.spec().volumes.iter().enumerate() {
        let volume_path = volumes.index(i);
        let sources = volume_path.child("projected.sources");
        for (j, source) in volume.volume_source().projected().sources.iter().enumerate() {
            if source.service_account_token.is_some() {
                let detail = "must not be specified when serviceAccountName is not set";
                errors.forbidden(&sources.index(j).child("serviceAccountToken"), detail);
            }
        }
    }
}

/// The taints of a node that is lost, and for how many seconds a pod stays there when it does not say
/// (plugin/pkg/admission/defaulttolerationseconds).
const LOST_NODE_TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
const LOST_NODE_SECONDS: i64 = 300;

fn add_default_tolerations(spec: &mut PodSpec) {
    for key in LOST_NODE_TAINTS {
        let tolerated = spec.tolerations.iter().any(|toleration| {
            (toleration.key == key || toleration.key.is_empty())
                && (toleration.effect == "NoExecute" || toleration.effect.is_empty())
        });
        if !tolerated {
            spec.tolerations.push(Toleration {
                key: key.into(),
                operator: "Exists".into(),
                effect: "NoExecute".into(),
                toleration_seconds: Some(LOST_NODE_SECONDS),
                ..Toleration::default()
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::{Value, json};

    fn minimal() -> Value {
        json!({
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"containers": [{"name": "web", "image": "nginx"}]},
        })
    }

    fn pod(value: Value) -> Pod {
        let mut pod: Pod = serde_json::from_value(value).expect("pod");
        Pods.set_defaults(&mut pod);
        Pods.prepare_for_create(&mut pod);
        Pods.admit(&mut pod);
        pod
    }

    #[test]
    fn a_pod_stays_five_minutes_on_a_lost_node_unless_it_says_otherwise() {
        let tolerations = |given: Value| {
            let mut object = minimal();
            object["spec"]["tolerations"] = given;
            let pod = pod(object);
            let shown = pod.spec().tolerations.iter();
            shown
                .map(|t| (t.key.clone(), t.toleration_seconds))
                .collect::<Vec<_>>()
        };
        let (not_ready, unreachable) = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable");
        let owned = |key: &str, seconds| (key.to_owned(), seconds);
        assert_eq!(
            tolerations(json!([])),
            [owned(not_ready, Some(300)), owned(unreachable, Some(300))]
        );
        let own = json!([{"key": unreachable, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]);
        assert_eq!(
            tolerations(own),
            [owned(unreachable, Some(5)), owned(not_ready, Some(300))]
        );
        assert_eq!(tolerations(json!([{"operator": "Exists"}])), [owned("", None)]);
    }

    fn check(pointer: &str, value: Value, expected: &[&str]) {
        let mut object = minimal();
        let (parent, field) = pointer.rsplit_once('/').expect("pointer");
        let parent = object.pointer_mut(parent).expect("parent");
        match field.parse::<usize>() {
            Ok(i) => parent[i] = value,
            Err(_) => parent[field] = value,
        }
        assert_eq!(lines(Pods.validate(&pod(object))), expected);
    }

    #[test]
    fn a_minimal_pod_is_right_pending_and_of_the_default_account() {
        let pod = pod(minimal());
        assert!(Pods.validate(&pod).is_empty());
        assert!(Pods.warnings(&pod, None).is_empty());
        assert_eq!(pod.status().phase, "Pending");
        assert_eq!(pod.status().qos_class, "BestEffort");
        assert_eq!(pod.spec().service_account_name, "default");
        assert_eq!(pod.metadata().generation, 1);
        assert!(
            Pods.fields(&pod)
                .contains(&("spec.hostNetwork", "false".to_string()))
        );
    }

    #[test]
    fn what_users_get_wrong_is_said_in_kubernetes_words() {
        check(
            "/spec/restartPolicy",
            json!("Maybe"),
            &[
                "spec.restartPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"OnFailure\", \"Never\"",
            ],
        );
        check(
            "/spec/containers/0",
            json!({"name": "Web", "image": " nginx"}),
            &[
                "spec.containers[0].name: Invalid value: \"Web\": a lowercase RFC 1123 label must consist of lower case \
             alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  \
             or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
                "spec.containers[0].image: Invalid value: \" nginx\": must not have leading or trailing whitespace",
            ],
        );
        check(
            "/spec/containers/0",
            json!({"name": "web", "image": "nginx", "ports": [{"containerPort": 70000}],
                   "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                   "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "500m"}}}),
            &[
                "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, \
                 inclusive",
                "spec.containers[0].volumeMounts[0].name: Not found: \"data\"",
                "spec.containers[0].resources.requests: Invalid value: \"1\": must be less than or equal to cpu limit \
                 of 500m",
            ],
        );
        check(
            "/spec/ephemeralContainers",
            json!([{"name": "debug", "image": "x"}]),
            &["spec.ephemeralContainers: Forbidden: cannot be set on create"],
        );
        check(
            "/metadata/name",
            Value::Null,
            &["metadata.name: Required value: name or generateName is required"],
        );
    }

    #[test]
    fn a_pod_on_a_node_takes_its_time_to_go() {
        let mut pod = pod(minimal());
        assert_eq!(Pods.graceful_seconds(&pod, Some(60)), Some(0), "not bound");
        pod.spec_mut().node_name = "n".into();
        for (requested, seconds) in [(None, 30), (Some(60), 60), (Some(0), 0), (Some(-5), 1)] {
            assert_eq!(
                Pods.graceful_seconds(&pod, requested),
                Some(seconds),
                "{requested:?}"
            );
        }
        pod.status_mut().phase = "Succeeded".into();
        assert_eq!(Pods.graceful_seconds(&pod, None), Some(0), "finished");
    }

    #[test]
    fn each_endpoint_writes_its_own_part() {
        let old = pod(minimal());
        let mut new = old.clone();
        new.spec_mut().containers[0].image = "nginx:2".into();
        new.status_mut().phase = "Running".into();
        let (mut main, mut status) = (new.clone(), new);
        Pods.prepare_for_update(&mut main, &old, Target::Main);
        assert_eq!(main.status().phase, "Pending");
        assert!(Pods.validate_update(&main, &old, Target::Main).is_empty());
        assert!(Pods.generation_changes(&main, &old));
        Pods.prepare_for_update(&mut status, &old, Target::Status);
        assert_eq!(status.spec(), old.spec());
        assert!(Pods.validate_update(&status, &old, Target::Status).is_empty());
    }

    #[test]
    fn a_gated_pod_is_held_back_from_the_moment_it_is_created() {
        let mut object = minimal();
        object["metadata"]["creationTimestamp"] = json!("2026-01-02T03:04:05Z");
        object["spec"]["schedulingGates"] = json!([{"name": "a.b/c"}]);
        let pod = pod(object);
        let condition = &pod.status().conditions[0];
        assert_eq!(condition.reason, "SchedulingGated");
        assert_eq!(condition.last_transition_time, pod.metadata().creation_timestamp);
        assert!(
            Pods.warnings(&pod, None).is_empty(),
            "the scheduler holds it back"
        );
    }

    #[test]
    fn what_is_not_acted_on_is_warned_of() {
        let mut object = minimal();
        object["spec"]["hostUsers"] = json!(false);
        assert_eq!(
            Pods.warnings(&pod(object), None),
            ["spec.hostUsers: accepted and stored, but not acted on yet"]
        );
        let mut object = minimal();
        object["metadata"]["name"] = json!("web.1");
        assert_eq!(
            Pods.warnings(&pod(object), None),
            [
                "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label \
              is recommended: [must not contain dots]"
            ]
        );
    }
}
