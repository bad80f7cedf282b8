//! What a Deployment's rollout has come to, which revisions there are, and how one is gone back to. Decisions
//! only; the messages are kubectl's (polymorphichelpers).

use gantry_proto::apps::v1::{Deployment, ReplicaSet};
use gantry_proto::core::v1::PodTemplateSpec;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// On a ReplicaSet: which revision of its Deployment it is.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
pub const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";
const TEMPLATE_HASH: &str = "pod-template-hash";
/// Annotations that belong to a Deployment or to a ReplicaSet itself, and are not copied between them.
const OWN_ANNOTATIONS: &[&str] = &[
    crate::last_applied::ANNOTATION,
    REVISION,
    "deployment.kubernetes.io/revision-history",
    "deployment.kubernetes.io/desired-replicas",
    "deployment.kubernetes.io/max-replicas",
    "deprecated.deployment.rollback.to",
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    Waiting(String),
    Done(String),
    Failed(String),
}

/// How far a rollout is. `revision` is the one that is waited for; 0 for the latest.
pub fn progress(deployment: &Deployment, revision: i64) -> Progress {
    let (spec, status) = (deployment.spec(), deployment.status());
    let name = &deployment.metadata().name;
    let waiting = |what: String| {
        Progress::Waiting(format!(
            "Waiting for deployment \"{name}\" rollout to finish: {what}"
        ))
    };
    if revision > 0 {
        match revision_of(&deployment.metadata().annotations) {
            None => return Progress::Failed(format!("cannot get the revision of deployment \"{name}\"")),
            Some(running) if running != revision => {
                return Progress::Failed(format!(
                    "desired revision ({revision}) is different from the running revision ({running})"
                ));
            }
            Some(_) => {}
        }
    }
    if deployment.metadata().generation > status.observed_generation {
        return Progress::Waiting("Waiting for deployment spec update to be observed...".into());
    }
    let progressing = status
        .conditions
        .iter()
        .find(|condition| condition.r#type == "Progressing");
    if progressing.is_some_and(|condition| condition.reason == "ProgressDeadlineExceeded") {
        return Progress::Failed(format!("deployment \"{name}\" exceeded its progress deadline"));
    }
    let (updated, available) = (status.updated_replicas, status.available_replicas);
    if let Some(replicas) = spec.replicas.filter(|replicas| updated < *replicas) {
        return waiting(format!(
            "{updated} out of {replicas} new replicas have been updated..."
        ));
    }
    if status.replicas > updated {
        return waiting(format!(
            "{} old replicas are pending termination...",
            status.replicas - updated
        ));
    }
    if available < updated {
        return waiting(format!(
            "{available} of {updated} updated replicas are available..."
        ));
    }
    Progress::Done(format!("deployment \"{name}\" successfully rolled out"))
}

/// A Deployment's ReplicaSets by revision, lowest first.
pub fn revisions<'a>(deployment: &Deployment, all: &'a [ReplicaSet]) -> BTreeMap<i64, &'a ReplicaSet> {
    let uid = &deployment.metadata().uid;
    let mine = all.iter().filter(|replica_set| {
        let owners = &replica_set.metadata().owner_references;
        owners
            .iter()
            .any(|owner| owner.controller == Some(true) && owner.uid == *uid)
    });
    mine.filter_map(|replica_set| Some((revision_of(&replica_set.metadata().annotations)?, replica_set)))
        .collect()
}

/// The ReplicaSet to go back to: that of revision `to`, or of the one before the latest where it is 0.
pub fn target<'a>(
    deployment: &Deployment,
    revisions: &BTreeMap<i64, &'a ReplicaSet>,
    to: i64,
) -> Result<&'a ReplicaSet, String> {
    let name = &deployment.metadata().name;
    if deployment.spec().paused {
        return Err(
            "you cannot rollback a paused deployment; resume it first with 'gantry rollout resume' and try \
                    again"
                .into(),
        );
    }
    match to {
        0 => revisions
            .values()
            .rev()
            .nth(1)
            .copied()
            .ok_or_else(|| format!("no rollout history found for deployment \"{name}\"")),
        revision => {
            let known: Vec<String> = revisions.keys().map(i64::to_string).collect();
            let missing = || {
                format!(
                    "unable to find specified revision {revision} in history (there is: {})",
                    known.join(", ")
                )
            };
            revisions.get(&revision).copied().ok_or_else(missing)
        }
    }
}

/// The strategic merge patch that gives a Deployment the template and annotations of `target`; `None` where it
/// has that template already.
pub fn undo(deployment: &Deployment, target: &ReplicaSet) -> Option<Value> {
    if same_template(target.spec().template(), deployment.spec().template()) {
        return None;
    }
    let mut value = rendered(target.spec().template());
    value["$patch"] = "replace".into();
    let own = |key: &str| OWN_ANNOTATIONS.contains(&key);
    let kept = deployment
        .metadata()
        .annotations
        .iter()
        .filter(|(key, _)| own(key));
    let restored = target.metadata().annotations.iter().filter(|(key, _)| !own(key));
    let mut annotations: serde_json::Map<String, Value> = kept
        .chain(restored)
        .map(|(key, value)| (key.clone(), value.clone().into()))
        .collect();
    annotations.insert("$patch".into(), "replace".into());
    Some(json!({"metadata": {"annotations": annotations}, "spec": {"template": value}}))
}

/// The patch that makes all pods anew, at `time` (RFC 3339).
pub fn restart(time: &str) -> Value {
    json!({"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: time}}}}})
}

pub fn revision_of(annotations: &BTreeMap<String, String>) -> Option<i64> {
    annotations.get(REVISION)?.parse().ok()
}

/// The template of a revision as the history shows it: with its hash, and with what caused it.
pub fn recorded_template(replica_set: &ReplicaSet) -> PodTemplateSpec {
    let mut template = replica_set.spec().template().clone();
    if let Some(cause) = replica_set.metadata().annotations.get(CHANGE_CAUSE) {
        let metadata = template.metadata.get_or_insert_default();
        metadata.annotations.insert(CHANGE_CAUSE.into(), cause.clone());
    }
    template
}

/// Without the label by which the controller tells a template's pods from others.
fn bare_template(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if let Some(metadata) = &mut template.metadata {
        metadata.labels.remove(TEMPLATE_HASH);
    }
    template
}

/// Whether two templates are the same but for that label. They are compared as JSON, where a part that is absent
/// and one that is empty are the same.
pub fn same_template(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    rendered(a) == rendered(b)
}

fn rendered(template: &PodTemplateSpec) -> Value {
    // A template has no keys that are not strings, so rendering does not fail.
    serde_json::to_value(bare_template(template)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_proto::json;

    fn deployment(value: Value) -> Deployment {
        let mut full = json!({"metadata": {"name": "web", "uid": "u1", "generation": 2}});
        for (key, field) in value.as_object().unwrap() {
            full[key] = field.clone();
        }
        json::decode_value::<Deployment>(&full).unwrap().object
    }

    fn replica_set(name: &str, revision: &str, image: &str) -> ReplicaSet {
        let value = json!({
            "metadata": {"name": name, "annotations": {REVISION: revision, "note": name},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "u1",
                    "controller": true}]},
            "spec": {"template": {"metadata": {"labels": {"app": "web", TEMPLATE_HASH: name}},
                "spec": {"containers": [{"name": "web", "image": image}]}}},
        });
        json::decode_value::<ReplicaSet>(&value).unwrap().object
    }

    #[test]
    fn progress_is_told_in_kubectls_words() {
        let check = |spec: Value, status: Value, expected: Progress| {
            assert_eq!(
                progress(&deployment(json!({"spec": spec, "status": status})), 0),
                expected
            );
        };
        let waiting = |text: &str| Progress::Waiting(text.into());
        check(
            json!({"replicas": 3}),
            json!({"observedGeneration": 1}),
            waiting("Waiting for deployment spec update to be observed..."),
        );
        check(
            json!({"replicas": 3}),
            json!({"observedGeneration": 2, "updatedReplicas": 1, "replicas": 4}),
            waiting(
                "Waiting for deployment \"web\" rollout to finish: 1 out of 3 new replicas have been updated...",
            ),
        );
        check(
            json!({"replicas": 3}),
            json!({"observedGeneration": 2, "updatedReplicas": 3, "replicas": 4}),
            waiting(
                "Waiting for deployment \"web\" rollout to finish: 1 old replicas are pending termination...",
            ),
        );
        check(
            json!({"replicas": 3}),
            json!({"observedGeneration": 2, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 2}),
            waiting(
                "Waiting for deployment \"web\" rollout to finish: 2 of 3 updated replicas are available...",
            ),
        );
        check(
            json!({"replicas": 3}),
            json!({"observedGeneration": 2, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 3}),
            Progress::Done("deployment \"web\" successfully rolled out".into()),
        );
        check(
            json!({"replicas": 3}),
            json!({"observedGeneration": 2, "conditions": [{"type": "Progressing", "status": "False",
                "reason": "ProgressDeadlineExceeded"}]}),
            Progress::Failed("deployment \"web\" exceeded its progress deadline".into()),
        );
    }

    #[test]
    fn undo_goes_back_to_the_revision_before_or_to_the_one_that_is_named() {
        let all = [
            replica_set("a", "1", "web:1"),
            replica_set("b", "2", "web:2"),
            replica_set("c", "10", "web:3"),
        ];
        let web = deployment(json!({}));
        let revisions = revisions(&web, &all);
        let name = |to| target(&web, &revisions, to).map(|found| found.metadata().name.as_str());
        assert_eq!(name(0), Ok("b"));
        assert_eq!(name(1), Ok("a"));
        assert_eq!(
            name(7).unwrap_err(),
            "unable to find specified revision 7 in history (there is: 1, 2, 10)"
        );
        let paused = deployment(json!({"spec": {"paused": true}}));
        assert!(
            target(&paused, &revisions, 0)
                .unwrap_err()
                .starts_with("you cannot rollback a paused deployment")
        );
    }

    #[test]
    fn undo_replaces_template_and_annotations_but_keeps_the_deployments_own() {
        let old = replica_set("a", "1", "web:1");
        let template = |image: &str| json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": image}]}});
        let web = deployment(json!({
            "metadata": {"name": "web", "uid": "u1", "annotations": {REVISION: "2", "gone": "x"}},
            "spec": {"template": template("web:2")},
        }));
        let patch = undo(&web, &old).unwrap();
        assert_eq!(
            patch["metadata"]["annotations"],
            json!({"$patch": "replace", REVISION: "2", "note": "a"})
        );
        assert_eq!(patch["spec"]["template"]["$patch"], "replace");
        assert_eq!(
            patch["spec"]["template"]["spec"]["containers"][0]["image"],
            "web:1"
        );
        assert_eq!(
            patch["spec"]["template"]["metadata"]["labels"],
            json!({"app": "web"})
        );
        let mut with_empty_parts = template("web:1");
        with_empty_parts["spec"]["containers"][0]["resources"] = json!({});
        for same in [template("web:1"), with_empty_parts] {
            assert_eq!(undo(&deployment(json!({"spec": {"template": same}})), &old), None);
        }
    }
}
