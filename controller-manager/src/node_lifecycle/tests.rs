use super::*;
use gantry_proto::core::v1::{PodCondition, Taint};

const GRACE: Duration = Duration::from_secs(40);

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)
}

fn node(ready: Option<&str>, taints: &[(&str, &str)]) -> Node {
    let mut node = Node::default();
    node.metadata_mut().name = "n1".into();
    node.metadata_mut().uid = "uid".into();
    node.status_mut()
        .conditions
        .extend(ready.map(|status| NodeCondition {
            r#type: "Ready".into(),
            status: status.into(),
            ..NodeCondition::default()
        }));
    node.spec_mut().taints = taints
        .iter()
        .map(|(key, effect)| Taint {
            key: key.to_string(),
            effect: effect.to_string(),
            ..Taint::default()
        })
        .collect();
    node
}

fn decide(node: &Node, silence_seconds: u64, evictions: Evictions, pods: &[Pod]) -> Vec<Action> {
    reconcile(&View {
        node,
        pods: pods.iter().collect(),
        silence: Duration::from_secs(silence_seconds),
        grace: GRACE,
        evictions,
        now: now(),
    })
}

fn patches(actions: &[Action]) -> Vec<(&Action, &serde_json::Value)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Patch { patch, .. } => Some((action, patch)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_node_is_lost_only_after_the_grace_period() {
    let check = |node: &Node, silence: u64, expected: &[(&str, &str, &str)]| {
        let actions = decide(node, silence, Evictions::Allowed, &[]);
        let told: Vec<(String, String, String)> = patches(&actions)
            .iter()
            .flat_map(|(_, patch)| {
                patch["status"]["conditions"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default()
            })
            .map(|condition| {
                let text = |name: &str| condition[name].as_str().unwrap_or_default().to_string();
                (text("type"), text("status"), text("message"))
            })
            .collect();
        let told: Vec<_> = told.iter().map(|(a, b, c)| (&**a, &**b, &**c)).collect();
        assert_eq!(told, expected, "{silence}");
    };
    let stopped = "Kubelet stopped posting node status.";
    let never = "Kubelet never posted node status.";
    let others = |ready: &'static str| {
        [
            ("Ready", "Unknown", ready),
            ("MemoryPressure", "Unknown", never),
            ("DiskPressure", "Unknown", never),
            ("PIDPressure", "Unknown", never),
        ]
    };
    check(&node(Some("True"), &[]), 0, &[]);
    check(&node(Some("True"), &[]), 40, &[]);
    check(&node(Some("True"), &[]), 41, &others(stopped));
    check(
        &node(
            Some("False"),
            &[(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")],
        ),
        41,
        &others(stopped),
    );
    let new = node(None, &[(NOT_READY, "NoSchedule")]);
    check(&new, 41, &[]);
    check(&new, 61, &others(never));
}

#[test]
fn taints_follow_the_conditions() {
    let check = |node: &Node, evictions: Evictions, expected: Option<&[(&str, &str)]>| {
        let actions = decide(node, 0, evictions, &[]);
        let written: Option<Vec<(String, String)>> = patches(&actions).first().map(|(_, patch)| {
            let taints = patch["spec"]["taints"].as_array().cloned().unwrap_or_default();
            let text =
                |taint: &serde_json::Value, name: &str| taint[name].as_str().unwrap_or_default().to_string();
            taints
                .iter()
                .map(|taint| (text(taint, "key"), text(taint, "effect")))
                .collect()
        });
        let written: Option<Vec<(&str, &str)>> = written
            .as_ref()
            .map(|taints| taints.iter().map(|(key, effect)| (&**key, &**effect)).collect());
        assert_eq!(written.as_deref(), expected);
    };
    use Evictions::{Allowed, Held, Lifted};
    let both = |key: &'static str| [(key, "NoSchedule"), (key, "NoExecute")];
    check(&node(Some("True"), &[]), Allowed, None);
    check(&node(Some("False"), &[]), Allowed, Some(&both(NOT_READY)));
    check(&node(Some("Unknown"), &[]), Allowed, Some(&both(UNREACHABLE)));
    check(&node(Some("Unknown"), &both(UNREACHABLE)), Allowed, None);
    check(&node(Some("True"), &both(UNREACHABLE)), Allowed, Some(&[]));
    check(
        &node(Some("Unknown"), &both(NOT_READY)),
        Allowed,
        Some(&both(UNREACHABLE)),
    );
    // Most nodes at once: new pods stay away, old ones stay where they may.
    let no_schedule = [(UNREACHABLE, "NoSchedule")];
    check(&node(Some("Unknown"), &[]), Held, Some(&no_schedule));
    check(&node(Some("Unknown"), &both(UNREACHABLE)), Held, None);
    check(&node(Some("Unknown"), &[]), Lifted, Some(&no_schedule));
    check(
        &node(Some("Unknown"), &both(UNREACHABLE)),
        Lifted,
        Some(&no_schedule),
    );
    check(&node(None, &[]), Allowed, Some(&[(NOT_READY, "NoSchedule")]));
    // Somebody's own taints are none of our business.
    check(&node(Some("True"), &[("dedicated", "NoExecute")]), Allowed, None);
    let mut cordoned = node(Some("True"), &[("dedicated", "NoExecute")]);
    cordoned.spec_mut().unschedulable = true;
    let expected = [
        ("dedicated", "NoExecute"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ];
    check(&cordoned, Allowed, Some(&expected));
}

#[test]
fn a_trace_begins_where_a_node_is_lost_or_turns_and_nowhere_else() {
    let check = |ready: Option<&str>, taints: &[(&str, &str)], silence: u64, expected: &[&str]| {
        let actions = decide(&node(ready, taints), silence, Evictions::Allowed, &[]);
        let begun: Vec<&str> = actions
            .iter()
            .filter_map(|action| match action {
                Action::Begin { what } => Some(*what),
                _ => None,
            })
            .collect();
        assert_eq!(begun, expected, "{ready:?} {taints:?} {silence}");
    };
    let both = |key: &'static str| [(key, "NoSchedule"), (key, "NoExecute")];
    check(Some("True"), &[], 0, &[]);
    check(Some("True"), &[], 41, &[NODE_LOST]);
    // What follows continues the loss.
    check(Some("Unknown"), &[], 41, &[]);
    check(Some("Unknown"), &[], 0, &[]);
    check(Some("Unknown"), &both(UNREACHABLE), 0, &[]);
    check(Some("True"), &both(UNREACHABLE), 0, &[NODE_READY]);
    check(Some("True"), &[(NOT_READY, "NoSchedule")], 0, &[NODE_READY]);
    check(Some("False"), &[], 0, &[NODE_NOT_READY]);
    check(Some("False"), &[(NOT_READY, "NoSchedule")], 0, &[]);
    check(Some("False"), &both(NOT_READY), 0, &[]);
    // Other taints come and go by somebody's wish, or with a report that is no turn.
    check(
        Some("True"),
        &[("node.kubernetes.io/unschedulable", "NoSchedule")],
        0,
        &[],
    );
    check(None, &[], 0, &[]);
}

#[test]
fn pods_of_a_lost_node_stop_being_ready() {
    let mut pod = Pod::default();
    pod.status_mut().conditions = vec![PodCondition {
        r#type: "Ready".into(),
        status: "True".into(),
        ..PodCondition::default()
    }];
    let marked = |node: &Node, pod: &Pod| {
        let actions = decide(node, 0, Evictions::Allowed, std::slice::from_ref(pod));
        patches(&actions)
            .iter()
            .any(|(_, patch)| patch["status"]["conditions"][0]["status"] == "False")
    };
    assert!(marked(&node(Some("Unknown"), &[]), &pod));
    // A node that reports speaks for its own pods.
    assert!(!marked(&node(Some("False"), &[]), &pod));
    assert!(!marked(&node(Some("True"), &[]), &pod));
    pod.status_mut().conditions[0].status = "False".into();
    assert!(!marked(&node(Some("Unknown"), &[]), &pod));
}

#[test]
fn a_disruption_of_most_nodes_stops_evictions_and_one_of_all_lifts_them() {
    use Evictions::{Allowed, Held, Lifted};
    let check = |unready: usize, total: usize, expected: Evictions| {
        let nodes: Vec<Node> = (0..total)
            .map(|index| node(Some(if index < unready { "Unknown" } else { "True" }), &[]))
            .collect();
        assert_eq!(evictions(nodes.iter()), expected, "{unready} of {total}");
    };
    check(0, 3, Allowed);
    check(1, 3, Allowed);
    check(2, 3, Allowed);
    check(3, 3, Lifted);
    check(1, 1, Lifted);
    check(3, 5, Held);
    check(2, 5, Allowed);
    check(60, 100, Allowed);
}
