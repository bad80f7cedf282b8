//! The smallest strategic merge patch that makes the apiserver's status ours.

use gantry_proto::core::v1::PodStatus;
use serde_json::{Map, Value, json};

/// `None` when there is nothing to write. `uid` guards against a pod of the same name.
pub fn status_patch(uid: &str, before: &PodStatus, now: &PodStatus) -> Option<Value> {
    if before == now {
        return None;
    }
    let (before, now) = (fields(before), fields(now));
    let mut changes = Map::new();
    for (name, value) in &now {
        if before.get(name) != Some(value) {
            changes.insert(name.clone(), changed(name, value, before.get(name)));
        }
    }
    for name in before.keys().filter(|name| !now.contains_key(*name)) {
        changes.insert(name.clone(), Value::Null);
    }
    (!changes.is_empty()).then(|| json!({"metadata": {"uid": uid}, "status": changes}))
}

fn fields(status: &PodStatus) -> Map<String, Value> {
    match serde_json::to_value(status) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

fn changed(name: &str, value: &Value, before: Option<&Value>) -> Value {
    match (name, value) {
        ("conditions", Value::Array(conditions)) => {
            let before = before.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            conditions
                .iter()
                .filter(|condition| !before.contains(condition))
                .map(explicit)
                .collect()
        }
        // Merged by address: without this an old address would stay.
        ("podIPs" | "hostIPs", Value::Array(ips)) if before.is_some() => ips
            .iter()
            .cloned()
            .chain([json!({"$patch": "replace"})])
            .collect(),
        _ => value.clone(),
    }
}

/// A condition is merged by its type: what it says no longer must be taken away by name.
fn explicit(condition: &Value) -> Value {
    let mut condition = condition.clone();
    if let Value::Object(fields) = &mut condition {
        for name in ["reason", "message"] {
            fields.entry(name).or_insert(Value::Null);
        }
    }
    condition
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_proto::core::v1::{PodCondition, PodIp};

    fn status(ready: &str, reason: &str, ip: &str) -> PodStatus {
        let condition = PodCondition {
            r#type: "Ready".into(),
            status: ready.into(),
            reason: reason.into(),
            ..PodCondition::default()
        };
        PodStatus {
            phase: "Running".into(),
            conditions: vec![condition],
            pod_ip: ip.into(),
            pod_ips: vec![PodIp { ip: ip.into() }],
            ..PodStatus::default()
        }
    }

    #[test]
    fn an_equal_status_is_not_written() {
        assert_eq!(
            status_patch("u", &status("True", "", "1"), &status("True", "", "1")),
            None
        );
    }

    #[test]
    fn only_what_changed_is_written_and_what_vanished_is_taken_away() {
        let patch = status_patch("u", &status("False", "Why", "1"), &status("True", "", "1")).unwrap();
        assert_eq!(patch["metadata"], json!({"uid": "u"}));
        let status_fields = patch["status"].as_object().unwrap();
        assert_eq!(status_fields.len(), 1, "{patch}");
        assert_eq!(patch["status"]["conditions"][0]["status"], "True");
        assert_eq!(patch["status"]["conditions"][0]["reason"], Value::Null);
        let mut gone = status("True", "", "1");
        gone.message = "was".into();
        let patch = status_patch("u", &gone, &status("True", "", "1")).unwrap();
        assert_eq!(patch["status"], json!({"message": null}));
    }

    #[test]
    fn a_new_address_replaces_the_old_one() {
        let patch = status_patch("u", &status("True", "", "1"), &status("True", "", "2")).unwrap();
        assert_eq!(
            patch["status"]["podIPs"],
            json!([{"ip": "2"}, {"$patch": "replace"}])
        );
    }
}
