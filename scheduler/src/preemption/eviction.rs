//! Makes room: says of each victim why it goes, deletes it with the grace that it has, and tells it.

use gantry_client::{Client, Entry, Error, EventType, PatchType, Recorder};
use gantry_proto::core::v1::Pod;
use gantry_proto::meta::v1::{DeleteOptions, Preconditions, Time};
use gantry_proto::{Key, Kind as _};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Victims that are written about at once: a node rarely has more that must go, and each is two writes.
const AT_ONCE: usize = 16;
/// A write that could not be done is tried so often, after pauses that double: 1.5 seconds in all. The pod is decided
/// about again then.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Who goes from where.
pub struct Eviction {
    pub node: Arc<str>,
    pub victims: Vec<Arc<Entry<Pod>>>,
    /// Pods of lower priority that are nominated to the node and may not fit there any more.
    pub displaced: Vec<Arc<Entry<Pod>>>,
}

/// Returns whether all of it is done; a victim that is gone already counts.
pub async fn evict(
    client: Client,
    recorder: Option<Recorder>,
    preemptor: Arc<Entry<Pod>>,
    eviction: Eviction,
) -> bool {
    for pod in &eviction.displaced {
        let patch = json!({"metadata": {"uid": pod.metadata().uid}, "status": {"nominatedNodeName": null}});
        if let Err(error) = until_done(|| patch_status(&client, pod, &patch)).await {
            let object = format_args!("pods/{}", pod.key());
            // Not critical: it finds out for itself that it does not fit.
            tracing::warn!(object, revision = pod.revision, %error, "the nomination of a lesser pod was not taken back");
        }
    }
    let (mut going, mut all_done) = (JoinSet::new(), true);
    for victim in eviction.victims {
        // Its grace has begun.
        if victim.metadata().deletion_timestamp.is_some() {
            continue;
        }
        if going.len() >= AT_ONCE
            && let Some(done) = going.join_next().await
        {
            all_done &= matches!(done, Ok(true));
        }
        let (client, recorder, preemptor) = (client.clone(), recorder.clone(), preemptor.clone());
        let node = eviction.node.clone();
        going.spawn(async move { preempt(&client, recorder.as_ref(), &preemptor, &victim, &node).await });
    }
    while let Some(done) = going.join_next().await {
        all_done &= matches!(done, Ok(true));
    }
    all_done
}

async fn preempt(
    client: &Client,
    recorder: Option<&Recorder>,
    preemptor: &Pod,
    victim: &Entry<Pod>,
    node: &str,
) -> bool {
    let patch = target_patch(preemptor, victim, Time::from_system(crate::binding::now()));
    let options = DeleteOptions {
        preconditions: Some(Preconditions {
            uid: Some(victim.metadata().uid.clone()),
            ..Preconditions::default()
        }),
        ..DeleteOptions::default()
    };
    let key = victim.key();
    let told = until_done(|| patch_status(client, victim, &patch)).await;
    let deleted = match told {
        Ok(true) => until_done(|| delete(client, &key, options.clone())).await,
        gone_or_not_told => gone_or_not_told,
    };
    let (object, revision) = (format_args!("pods/{key}"), victim.revision);
    match deleted {
        Ok(true) => {
            tracing::info!(object, revision, node, preemptor = %preemptor.key(), "preempted");
            let message = preempted_message(preemptor, node);
            if let Some(recorder) = recorder {
                recorder.about(&victim.object, EventType::Normal, "Preempted", message);
            }
            true
        }
        Ok(false) => true,
        Err(error) => {
            tracing::warn!(object, revision, %error, "the victim was not evicted");
            false
        }
    }
}

/// kube-scheduler's words.
fn preempted_message(preemptor: &Pod, node: &str) -> String {
    format!("Preempted by pod {} on node {node}", preemptor.metadata().uid)
}

/// What is said of a victim in its status. An earlier disruption is overwritten.
fn target_patch(preemptor: &Pod, victim: &Pod, now: Time) -> Value {
    let present = victim
        .status()
        .conditions
        .iter()
        .find(|condition| condition.r#type == "DisruptionTarget");
    let since = present
        .filter(|condition| condition.status == "True")
        .and_then(|condition| condition.last_transition_time)
        .unwrap_or(now);
    let mut condition = json!({
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "PreemptionByScheduler",
        "message": format!(
            "{}: preempting to accommodate a higher priority pod",
            preemptor.spec().scheduler_name
        ),
        "lastTransitionTime": since,
    });
    if victim.metadata().generation > 0 {
        condition["observedGeneration"] = victim.metadata().generation.into();
    }
    json!({"metadata": {"uid": victim.metadata().uid}, "status": {"conditions": [condition]}})
}

async fn patch_status(client: &Client, pod: &Entry<Pod>, patch: &Value) -> Result<(), Error> {
    client
        .patch::<Pod>(&pod.key(), Some("status"), PatchType::StrategicMerge, patch)
        .await
        .map(drop)
}

async fn delete(client: &Client, key: &Key, options: DeleteOptions) -> Result<(), Error> {
    client.delete::<Pod>(key, options).await
}

/// Returns false where the pod is gone, or another one has its name.
async fn until_done<F: Future<Output = Result<(), Error>>>(attempt: impl Fn() -> F) -> Result<bool, Error> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..ATTEMPTS {
        match attempt().await {
            Ok(()) => return Ok(true),
            Err(error) if error.is_fenced_off() => return Err(error),
            Err(error) if error.is_not_found() || error.is_conflict() => return Ok(false),
            // Doing it twice changes nothing: it may have been done.
            Err(Error::Ambiguous(_) | Error::Unavailable(_)) => tokio::time::sleep(pause).await,
            Err(error) => return Err(error),
        }
        pause *= 2;
    }
    attempt().await.map(|()| true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_proto::json;

    #[test]
    fn a_victim_is_told_by_whom_and_why() {
        let pod = |value: Value| -> Pod { json::decode_value(&value).unwrap().object };
        let preemptor = pod(json!({
            "metadata": {"name": "big", "uid": "u-1"},
            "spec": {"schedulerName": "mine"},
        }));
        let victim = pod(json!({"metadata": {"name": "small", "uid": "u-2", "generation": 3}}));
        let now = Time { seconds: 0, nanos: 0 };
        let expected = json!({
            "metadata": {"uid": "u-2"},
            "status": {"conditions": [{
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "PreemptionByScheduler",
                "message": "mine: preempting to accommodate a higher priority pod",
                "lastTransitionTime": "1970-01-01T00:00:00Z",
                "observedGeneration": 3,
            }]},
        });
        assert_eq!(target_patch(&preemptor, &victim, now), expected);
        assert_eq!(
            preempted_message(&preemptor, "n1"),
            "Preempted by pod u-1 on node n1"
        );
    }
}
