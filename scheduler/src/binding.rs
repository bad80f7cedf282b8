//! What follows a decision: the binding, or the pod's condition that says why there is none.

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
}

pub async fn bind(client: Client, recorder: Recorder, pod: Arc<Entry<Pod>>, node: Arc<str>) -> Outcome {
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
            recorder.about(&pod.object, EventType::Normal, "Scheduled", message);
            Outcome::Bound { key }
        }
        Some(error) => {
            if !error.is_not_found() && !error.is_conflict() {
                tracing::warn!(object = format_args!("pods/{key}"), revision, %node, %error, "the pod was not bound");
            }
            Outcome::Failed { key, uid }
        }
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

/// Writes the condition that says why the pod is pending, unless it is there already.
pub async fn report_unschedulable(client: Client, pod: Arc<Entry<Pod>>, message: String) {
    let present = pod
        .status()
        .conditions
        .iter()
        .find(|condition| condition.r#type == "PodScheduled");
    if present.is_some_and(|c| c.status == "False" && c.message == message) {
        return;
    }
    let since = match present.filter(|c| c.status == "False") {
        Some(condition) => condition.last_transition_time.unwrap_or_default(),
        None => Time::from_system(now()),
    };
    let condition = json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
        "lastTransitionTime": since,
    });
    let patch = json!({
        "metadata": {"uid": pod.metadata().uid},
        "status": {"conditions": [condition]},
    });
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

/// Conditions carry people's time; nothing is decided by it.
#[allow(clippy::disallowed_methods, reason = "a condition says since when it holds")]
fn now() -> SystemTime {
    SystemTime::now()
}
