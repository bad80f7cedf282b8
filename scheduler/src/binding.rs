//! What follows a decision: the binding, or the pod's condition that says why there is none.

use crate::scheduling::Answered;
use gantry_client::{Client, Entry, Error, EventType, PatchType, Recorder};
use gantry_proto::core::v1::{Binding, ObjectReference, Pod};
use gantry_proto::meta::v1::{ObjectMeta, Time};
use gantry_proto::{Key, Kind as _};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Pauses between reads that find out whether a binding whose reply was lost has happened, doubled up to the longest.
/// Until one is answered the pod keeps its place on the node: given back too early, it would be taken twice.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(3);

/// How a binding ended.
pub enum Outcome {
    Bound {
        key: Key,
    },
    /// The pod is not bound to the node that was chosen.
    Failed {
        key: Key,
        uid: String,
    },
    /// It has been written why a pod has no node.
    Reported,
    /// A pod's victims have been told to go. Where that failed for some, it has to be decided about anew.
    Evicted {
        preemptor: Key,
        all: bool,
    },
    /// Programs have judged the nodes that a pod fits.
    Consulted(Box<Answered>),
}

/// Why a pod is pending, as its condition says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: &'static str,
    pub message: String,
    pub nomination: Nomination,
}

/// It fits nowhere.
pub const UNSCHEDULABLE: &str = "Unschedulable";
/// The decision could not be made.
pub const SCHEDULER_ERROR: &str = "SchedulerError";

/// What becomes of the node that a pending pod is nominated to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nomination {
    Keep,
    /// Room is made for it there.
    Set(Arc<str>),
    /// It would not fit there any more.
    Clear,
}

impl Nomination {
    /// The status field's new value, where it is another than the present one.
    fn change(&self, present: &str) -> Option<serde_json::Value> {
        match self {
            Nomination::Set(node) if **node != *present => Some((**node).into()),
            Nomination::Clear if !present.is_empty() => Some(serde_json::Value::Null),
            _ => None,
        }
    }
}

pub async fn bind(
    client: Client,
    recorder: Option<Recorder>,
    pod: Arc<Entry<Pod>>,
    node: Arc<str>,
) -> Outcome {
    let (key, uid, revision) = (pod.key(), pod.metadata().uid.clone(), pod.revision);
    let binding = Binding {
        metadata: Some(ObjectMeta {
            name: key.name.clone(),
            namespace: key.namespace.clone(),
            uid: uid.clone(),
            ..ObjectMeta::default()
        }),
        target: Some(ObjectReference {
            kind: "Node".into(),
            name: node.to_string(),
            ..ObjectReference::default()
        }),
    };
    let error = match client.bind(&binding).await {
        Ok(()) => None,
        Err(Error::Ambiguous(_)) if is_bound(&client, &key, &uid, &node).await => None,
        Err(error) => Some(error),
    };
    match error {
        None => {
            tracing::debug!(object = format_args!("pods/{key}"), revision, node = %node, "bound");
            let message = format!("Successfully assigned {key} to {node}");
            if let Some(recorder) = recorder {
                recorder.about(&pod.object, EventType::Normal, "Scheduled", message);
            }
            Outcome::Bound { key }
        }
        Some(error) => {
            if !error.is_not_found() {
                tracing::warn!(object = format_args!("pods/{key}"), revision, %node, %error, "the pod was not bound");
                tell_of_failure(client, recorder, pod, &error).await;
            }
            Outcome::Failed { key, uid }
        }
    }
}

/// Says that a binding was refused, in kube-scheduler's words. Where another scheduler was first, the pod has its node,
/// and its condition stays as it is.
async fn tell_of_failure(client: Client, recorder: Option<Recorder>, pod: Arc<Entry<Pod>>, error: &Error) {
    let message = format!("running Bind plugin \"DefaultBinder\": {error}");
    if let Some(recorder) = recorder {
        recorder.about(
            &pod.object,
            EventType::Warning,
            "FailedScheduling",
            message.clone(),
        );
    }
    if matches!(error, Error::Status(_)) && !error.is_conflict() {
        let refusal = Refusal {
            reason: SCHEDULER_ERROR,
            message,
            nomination: Nomination::Keep,
        };
        report_refusal(client, pod, refusal).await;
    }
}

async fn is_bound(client: &Client, key: &Key, uid: &str, node: &str) -> bool {
    let mut pause = FIRST_PAUSE;
    loop {
        match client.get::<Pod>(key).await {
            Ok(pod) => return pod.metadata().uid == uid && pod.spec().node_name == node,
            Err(error) if error.is_not_found() => return false,
            Err(error) => {
                tracing::debug!(object = format_args!("pods/{key}"), %error, "cannot tell yet whether the pod is bound");
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// Writes the condition that says why the pod is pending and the node that it is nominated to, unless both are there
/// already.
pub async fn report_refusal(client: Client, pod: Arc<Entry<Pod>>, refusal: Refusal) {
    let Some(status) = refused_status(&pod, &refusal, Time::from_system(now())) else {
        return;
    };
    let patch = json!({"metadata": {"uid": pod.metadata().uid}, "status": status});
    let written = client
        .patch::<Pod>(&pod.key(), Some("status"), PatchType::StrategicMerge, &patch)
        .await;
    if let Err(error) = written
        && !error.is_not_found()
        && !error.is_conflict()
    {
        let (object, revision) = (format_args!("pods/{}", pod.key()), pod.revision);
        tracing::warn!(object, revision, %error, "the pod's condition was not written");
    }
}

/// What of a pending pod's status has to be written; `None` where all of it is there.
fn refused_status(pod: &Pod, refusal: &Refusal, now: Time) -> Option<serde_json::Value> {
    let Refusal {
        reason,
        message,
        nomination,
    } = refusal;
    let present = pod
        .status()
        .conditions
        .iter()
        .find(|condition| condition.r#type == "PodScheduled");
    let change = nomination.change(&pod.status().nominated_node_name);
    let is_told =
        present.is_some_and(|c| c.status == "False" && c.reason == *reason && c.message == *message);
    if is_told && change.is_none() {
        return None;
    }
    let since = match present.filter(|c| c.status == "False") {
        Some(condition) => condition.last_transition_time.unwrap_or_default(),
        None => now,
    };
    let mut condition = json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": reason,
        "message": message,
        "lastTransitionTime": since,
    });
    if pod.metadata().generation > 0 {
        condition["observedGeneration"] = pod.metadata().generation.into();
    }
    let mut status = json!({"conditions": [condition]});
    if let Some(change) = change {
        status["nominatedNodeName"] = change;
    }
    Some(status)
}

/// Conditions carry people's time; nothing is decided by it.
#[allow(clippy::disallowed_methods, reason = "a condition says since when it holds")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn a_pending_pod_is_told_why_and_what_it_is_nominated_to_once() {
        let pod = |status: Value| -> Pod {
            let value = json!({"metadata": {"name": "p", "generation": 2}, "status": status});
            gantry_proto::json::decode_value(&value).unwrap().object
        };
        let condition = |message: &str, since: &str| {
            json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
                "lastTransitionTime": since, "observedGeneration": 2})
        };
        let (then, now) = ("2026-11-20T00:00:00Z", "1970-01-01T00:00:00Z");
        let check = |status: Value, nomination: Nomination, expected: Value| {
            let refusal = Refusal {
                reason: UNSCHEDULABLE,
                message: "full".into(),
                nomination,
            };
            let told = refused_status(&pod(status), &refusal, Time { seconds: 0, nanos: 0 });
            assert_eq!(told.unwrap_or_default(), expected, "{refusal:?}");
        };
        let told = json!({"conditions": [condition("full", then)]});
        check(
            json!({}),
            Nomination::Keep,
            json!({"conditions": [condition("full", now)]}),
        );
        check(told.clone(), Nomination::Keep, Value::Null);
        check(told.clone(), Nomination::Clear, Value::Null);
        check(
            json!({"conditions": [condition("other", then)]}),
            Nomination::Keep,
            told.clone(),
        );
        check(
            told.clone(),
            Nomination::Set("n1".into()),
            json!({"conditions": [condition("full", then)], "nominatedNodeName": "n1"}),
        );
        let nominated = json!({"conditions": [condition("full", then)], "nominatedNodeName": "n1"});
        check(nominated.clone(), Nomination::Set("n1".into()), Value::Null);
        check(
            nominated,
            Nomination::Clear,
            json!({"conditions": [condition("full", then)], "nominatedNodeName": null}),
        );
    }
}
