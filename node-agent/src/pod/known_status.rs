//! The status that the apiserver has, as far as this agent knows: what the next status is compared with.
//!
//! The agent is not alone in writing it. The node controller says that a pod is not ready while its node is
//! silent, and nobody but the node can take that back.

use gantry_proto::core::v1::{Pod, PodStatus};

pub struct KnownStatus {
    status: PodStatus,
    revision: i64,
}

impl KnownStatus {
    pub fn new(pod: &Pod, revision: i64) -> KnownStatus {
        KnownStatus {
            status: pod.status().clone(),
            revision,
        }
    }

    pub fn get(&self) -> &PodStatus {
        &self.status
    }

    /// The pod as it was watched. A version older than the last write of ours is no news.
    pub fn watched(&mut self, pod: &Pod, revision: i64) {
        if revision > self.revision {
            *self = KnownStatus::new(pod, revision);
        }
    }

    /// `stored` is the apiserver's reply to a write that said `said`. Returns whether that stands; if not,
    /// somebody else's word got between.
    pub fn written(&mut self, said: PodStatus, stored: &Pod) -> bool {
        let revision = stored.metadata().resource_version.parse().unwrap_or(0);
        self.revision = self.revision.max(revision);
        let stands = stands(&said, stored.status());
        self.status = if stands { said } else { stored.status().clone() };
        stands
    }
}

/// Compared by phase and conditions: those others write too. The rest may be stored in other words.
fn stands(said: &PodStatus, stored: &PodStatus) -> bool {
    said.phase == stored.phase
        && said.conditions.iter().all(|condition| {
            let found = stored.conditions.iter().find(|c| c.r#type == condition.r#type);
            found.is_some_and(|found| found.status == condition.status)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(revision: i64, ready: &str) -> Pod {
        let value = json!({"metadata": {"name": "p", "resourceVersion": revision.to_string()},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}});
        gantry_proto::json::decode_value::<Pod>(&value).unwrap().object
    }

    fn ready(known: &KnownStatus) -> &str {
        &known.get().conditions[0].status
    }

    #[test]
    fn what_another_wrote_is_known_and_a_late_watch_is_not_believed() {
        let mut known = KnownStatus::new(&pod(1, "False"), 1);
        assert!(known.written(pod(0, "True").status().clone(), &pod(5, "True")));
        for (revision, watched, expected) in [
            (1, "False", "True"),
            (5, "True", "True"),
            (7, "False", "False"),
            (6, "True", "False"),
        ] {
            known.watched(&pod(revision, watched), revision);
            assert_eq!(ready(&known), expected, "{revision}");
        }
    }

    #[test]
    fn a_write_that_another_one_overtook_does_not_stand() {
        let mut known = KnownStatus::new(&pod(1, "True"), 1);
        // The patch left the condition alone, because it was thought to be True already.
        assert!(!known.written(pod(0, "True").status().clone(), &pod(5, "False")));
        assert_eq!(ready(&known), "False");
    }
}
