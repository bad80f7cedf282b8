use super::*;
use crate::profile::Profile;
use crate::snapshot::NodeInfo;
use gantry_proto::core::v1::{Node, Pod};
use gantry_proto::json;
use serde_json::{Value, json};

fn key(name: &str) -> Key {
    Key::new("default", name)
}

fn pod(name: &str, more: Value) -> Pod {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
    });
    merge(&mut pod, more);
    json::decode_value(&pod).unwrap().object
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn pending(name: &str, more: Value) -> Arc<Pending> {
    let pod = pod(name, more);
    Arc::new(Pending::of(&pod, &Surroundings::default(), &Profile::default()))
}

fn node(more: Value) -> Arc<NodeInfo> {
    let mut node = json!({
        "metadata": {"name": "n"},
        "status": {"allocatable": {"cpu": "4", "memory": "4Gi", "pods": "110"}},
    });
    merge(&mut node, more);
    let node: Node = json::decode_value(&node).unwrap().object;
    let mut info = NodeInfo::default();
    info.set_node(&node);
    Arc::new(info)
}

fn info(name: &str, more: Value) -> Arc<crate::pods::PodInfo> {
    Arc::new(crate::pods::PodInfo::of(&pod(name, more)))
}

/// A queue in which one pod was refused by one rule.
struct Refused {
    queue: Queue,
    now: Instant,
}

fn refused(plugin: Plugin, more: Value) -> Refused {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.add(&key("a"), pending("a", more), now);
    assert!(queue.pop(now).is_some());
    queue.refuse(&key("a"), PluginSet::of(&[plugin]), &Surroundings::default(), now);
    Refused { queue, now }
}

impl Refused {
    fn wakes_by(mut self, event: Event) -> bool {
        self.queue.happened(event, &Surroundings::default(), self.now);
        self.queue.pop(self.now).is_some()
    }
}

#[test]
fn higher_priority_first_then_in_order_of_arrival() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    for (name, priority) in [("a", 0), ("b", 0), ("c", 5)] {
        queue.add(
            &key(name),
            pending(name, json!({"spec": {"priority": priority}})),
            now,
        );
    }
    let order: Vec<_> = std::iter::from_fn(|| queue.pop(now))
        .map(|key| key.name)
        .collect();
    assert_eq!(order, ["c", "a", "b"]);
}

#[test]
fn a_pod_that_was_refused_goes_behind_those_that_waited_meanwhile() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    for name in ["a", "b"] {
        queue.add(&key(name), pending(name, json!({})), now);
    }
    queue.pop(now);
    queue.refuse(
        &key("a"),
        PluginSet::of(&[Plugin::NodeName]),
        &Surroundings::default(),
        now,
    );
    queue.happened(Event::NodeAdded(node(json!({}))), &Surroundings::default(), now);
    let later = now + LAST_BACKOFF;
    let order: Vec<_> = std::iter::from_fn(|| queue.pop(later))
        .map(|key| key.name)
        .collect();
    assert_eq!(order, ["b", "a"]);
}

#[test]
fn a_refused_pod_waits_for_what_could_help() {
    let Refused { mut queue, now } = refused(Plugin::NodeResourcesFit, json!({}));
    assert_eq!(queue.pop(now + LAST_BACKOFF), None, "nothing happened");
    assert_eq!(queue.depths(0).unschedulable, 1);
    let small = node(json!({"status": {"allocatable": {"cpu": "500m"}}}));
    queue.happened(Event::NodeAdded(small), &Surroundings::default(), now);
    assert_eq!(queue.pop(now + LAST_BACKOFF), None, "it is too small");
    queue.happened(Event::NodeAdded(node(json!({}))), &Surroundings::default(), now);
    assert_eq!(queue.depths(0).backoff, 1);
    assert_eq!(queue.pop(now), Some(key("a")), "there is nothing else to do");
}

#[test]
fn a_pod_backs_off_while_others_are_active_and_then_in_order_of_priority() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    let nowhere = PluginSet::of(&[Plugin::NodeName]);
    for (name, priority) in [("low", 1), ("high", 2)] {
        queue.add(
            &key(name),
            pending(name, json!({"spec": {"priority": priority}})),
            now,
        );
    }
    while let Some(key) = queue.pop(now) {
        queue.refuse(&key, nowhere, &Surroundings::default(), now);
    }
    queue.happened(Event::NodeAdded(node(json!({}))), &Surroundings::default(), now);
    queue.add(&key("new"), pending("new", json!({})), now);
    let order: Vec<_> = std::iter::from_fn(|| queue.pop(now))
        .map(|key| key.name)
        .collect();
    assert_eq!(order, ["new", "high", "low"]);
}

#[test]
fn a_backoff_ends_with_its_window() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.add(&key("a"), pending("a", json!({})), now);
    queue.pop(now);
    queue.refuse(
        &key("a"),
        PluginSet::of(&[Plugin::Added]),
        &Surroundings::default(),
        now,
    );
    queue.happened(Event::Anything, &Surroundings::default(), now);
    let due = queue.next_due().unwrap();
    assert_eq!(due, now + FIRST_BACKOFF + BACKOFF_WINDOW);
    queue.promote(due);
    assert_eq!(
        queue.next_due(),
        None,
        "or whoever waits for it would never sleep"
    );
    assert_eq!(queue.depths(0).active, 1);
}

#[test]
fn a_pod_that_failed_by_an_error_rests_whatever_happens() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.add(&key("a"), pending("a", json!({})), now);
    queue.pop(now);
    queue.assigned(&key("a"));
    queue.fail(&key("a"), now);
    queue.happened(Event::Anything, &Surroundings::default(), now);
    assert_eq!(queue.pop(now), None);
    assert_eq!(queue.next_due(), Some(now + FIRST_BACKOFF));
    assert_eq!(queue.pop(now + FIRST_BACKOFF), Some(key("a")));
}

#[test]
fn what_happens_during_a_decision_is_not_missed() {
    let check = |happened: &[Event], expected: bool| {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(&key("a"), pending("a", json!({})), now);
        queue.pop(now);
        for event in happened {
            queue.happened(event.clone(), &Surroundings::default(), now);
        }
        let by = PluginSet::of(&[Plugin::NodeResourcesFit]);
        queue.refuse(&key("a"), by, &Surroundings::default(), now);
        assert_eq!(queue.depths(0).backoff == 1, expected, "{happened:?}");
        assert!(queue.events.is_empty(), "nobody needs them any more");
    };
    check(&[], false);
    check(&[Event::PodCame(info("b", json!({})))], false);
    check(
        &[
            Event::PodCame(info("b", json!({}))),
            Event::PodWent(info("b", json!({}))),
        ],
        true,
    );
    let many = vec![Event::PodCame(info("b", json!({}))); EVENTS + 1];
    check(&many, true);
}

#[test]
fn a_pod_that_takes_the_name_of_one_that_is_being_bound_is_not_lost() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.add(&key("a"), pending("a", json!({})), now);
    queue.pop(now);
    queue.assigned(&key("a"));
    queue.bound(&key("a"), now);
    assert_eq!(queue.pop(now), None, "it has its node");
    queue.add(&key("a"), pending("a", json!({})), now);
    queue.pop(now);
    queue.assigned(&key("a"));
    let another = pending("a", json!({"metadata": {"uid": "another"}}));
    queue.add(&key("a"), another, now);
    queue.bound(&key("a"), now);
    assert_eq!(queue.pop(now), Some(key("a")));
}

#[test]
fn a_pod_that_nothing_woke_is_tried_again_all_the_same() {
    let Refused { mut queue, now } = refused(Plugin::NodeAffinity, json!({}));
    assert_eq!(queue.next_due(), Some(now + LONGEST_PARK));
    assert_eq!(queue.pop(now + LONGEST_PARK), Some(key("a")));
}

#[test]
fn ways_into_the_queue_and_attempts_are_counted() {
    let Refused { mut queue, now } = refused(Plugin::Added, json!({}));
    assert_eq!(queue.attempts(&key("a")), Some((1, now)));
    queue.happened(Event::Anything, &Surroundings::default(), now);
    queue.pop(now);
    assert_eq!(queue.attempts(&key("a")), Some((2, now)));
    let incoming = queue.take_incoming();
    for (part, event) in [
        (Part::Active, "UnschedulablePodAdd"),
        (Part::Unschedulable, "ScheduleAttemptFailure"),
        (Part::Backoff, "ForceActivate"),
        (Part::Active, "PopFromBackoffQ"),
    ] {
        assert_eq!(incoming.of(part, event), 1, "{part:?} {event}");
    }
    assert_eq!(queue.take_incoming(), Incoming::default());
    assert_eq!(queue.depths(2).gated, 2);
}

#[test]
fn backoff_doubles_up_to_the_longest() {
    let queue = Queue::default();
    for (failures, seconds) in [(1, 1), (2, 2), (4, 8), (5, 10), (99, 10)] {
        assert_eq!(queue.backoff_after(failures).as_secs(), seconds);
    }
}

/// The rows are the cases of the plug-ins' isSchedulableAfter... tests.
#[test]
fn each_rule_knows_what_helps_it() {
    let check = |plugin: Plugin, waiting: Value, event: Event, expected: bool| {
        let told = format!("{plugin:?} {waiting} {event:?}");
        assert_eq!(refused(plugin, waiting).wakes_by(event), expected, "{told}");
    };
    let added = |more: Value| Event::NodeAdded(node(more));
    let changed = |before: Value, after: Value| Event::NodeChanged {
        before: node(before),
        after: node(after),
    };
    let cordoned = json!({"spec": {"unschedulable": true}});
    let tainted = json!({"spec": {"taints": [{"key": "gpu", "effect": "NoSchedule"}]}});
    let labelled = |value: &str| json!({"metadata": {"labels": {"zone": value}}});

    check(Plugin::NodeUnschedulable, json!({}), added(json!({})), true);
    check(
        Plugin::NodeUnschedulable,
        json!({}),
        added(cordoned.clone()),
        false,
    );
    check(
        Plugin::NodeUnschedulable,
        json!({}),
        changed(cordoned.clone(), json!({})),
        true,
    );
    check(
        Plugin::NodeUnschedulable,
        json!({}),
        changed(json!({}), cordoned),
        false,
    );

    check(Plugin::TaintToleration, json!({}), added(tainted.clone()), false);
    check(
        Plugin::TaintToleration,
        json!({}),
        changed(tainted.clone(), json!({})),
        true,
    );
    check(
        Plugin::TaintToleration,
        json!({}),
        changed(json!({}), labelled("a")),
        false,
    );

    let in_a = json!({"spec": {"nodeSelector": {"zone": "a"}}});
    check(Plugin::NodeAffinity, in_a.clone(), added(labelled("a")), true);
    check(Plugin::NodeAffinity, in_a.clone(), added(labelled("b")), false);
    check(
        Plugin::NodeAffinity,
        in_a.clone(),
        changed(labelled("b"), labelled("a")),
        true,
    );
    check(
        Plugin::NodeAffinity,
        in_a.clone(),
        changed(labelled("a"), labelled("a")),
        false,
    );
    check(
        Plugin::NodeAffinity,
        in_a,
        Event::PodWent(info("b", json!({}))),
        false,
    );

    let port = |number: i32| json!({"spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": number}]}]}});
    check(
        Plugin::NodePorts,
        port(80),
        Event::PodWent(info("b", port(80))),
        true,
    );
    check(
        Plugin::NodePorts,
        port(80),
        Event::PodWent(info("b", port(81))),
        false,
    );
    check(
        Plugin::NodePorts,
        port(80),
        changed(json!({}), labelled("a")),
        false,
    );

    let cpu = |amount: &str| json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": amount}}}]}});
    let has = |amount: &str| json!({"status": {"allocatable": {"cpu": amount}}});
    check(
        Plugin::NodeResourcesFit,
        cpu("2"),
        changed(has("1"), has("2")),
        true,
    );
    check(
        Plugin::NodeResourcesFit,
        cpu("2"),
        changed(has("3"), has("2")),
        false,
    );
    check(
        Plugin::NodeResourcesFit,
        cpu("8"),
        changed(has("1"), has("2")),
        false,
    );
    check(
        Plugin::NodeResourcesFit,
        cpu("2"),
        Event::PodWent(info("b", json!({}))),
        true,
    );
    let resized = |before: &str, after: &str| Event::PodChanged {
        before: info("b", cpu(before)),
        after: info("b", cpu(after)),
    };
    check(Plugin::NodeResourcesFit, cpu("2"), resized("2", "1"), true);
    check(Plugin::NodeResourcesFit, cpu("2"), resized("1", "2"), false);

    let web = json!({"metadata": {"labels": {"app": "web"}}});
    let spread = json!({"spec": {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]}});
    check(
        Plugin::PodTopologySpread,
        spread.clone(),
        Event::PodCame(info("b", web.clone())),
        true,
    );
    check(
        Plugin::PodTopologySpread,
        spread.clone(),
        Event::PodCame(info("b", json!({}))),
        false,
    );
    check(
        Plugin::PodTopologySpread,
        spread.clone(),
        Event::PodWent(info("b", web.clone())),
        true,
    );
    check(
        Plugin::PodTopologySpread,
        spread.clone(),
        added(labelled("a")),
        true,
    );
    check(Plugin::PodTopologySpread, spread.clone(), added(json!({})), false);
    check(
        Plugin::PodTopologySpread,
        spread.clone(),
        changed(labelled("a"), labelled("b")),
        true,
    );
    check(
        Plugin::PodTopologySpread,
        spread.clone(),
        changed(labelled("a"), labelled("a")),
        false,
    );
    check(
        Plugin::PodTopologySpread,
        spread,
        Event::NodeRemoved(node(labelled("a"))),
        true,
    );

    let affinity = |kind: &str| {
        json!({"spec": {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution":
        [{"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}}]}}}})
    };
    check(
        Plugin::InterPodAffinity,
        affinity("podAffinity"),
        Event::PodCame(info("b", web.clone())),
        true,
    );
    check(
        Plugin::InterPodAffinity,
        affinity("podAffinity"),
        Event::PodCame(info("b", json!({}))),
        false,
    );
    check(
        Plugin::InterPodAffinity,
        affinity("podAffinity"),
        Event::PodWent(info("b", web.clone())),
        false,
    );
    check(
        Plugin::InterPodAffinity,
        affinity("podAntiAffinity"),
        Event::PodWent(info("b", web.clone())),
        true,
    );
    check(
        Plugin::InterPodAffinity,
        web,
        Event::PodWent(info("b", affinity("podAntiAffinity"))),
        true,
    );
    check(
        Plugin::InterPodAffinity,
        affinity("podAffinity"),
        changed(json!({}), labelled("a")),
        true,
    );
    check(
        Plugin::InterPodAffinity,
        affinity("podAffinity"),
        changed(labelled("a"), labelled("a")),
        false,
    );
}

#[test]
fn a_change_of_the_pod_itself_may_help_it() {
    let check = |plugin: Plugin, more: Value, expected: bool| {
        let Refused { mut queue, now } = refused(plugin, json!({}));
        queue.add(&key("a"), pending("a", more.clone()), now);
        assert_eq!(queue.pop(now).is_some(), expected, "{plugin:?} {more}");
    };
    let tolerating = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
    let labelled = json!({"metadata": {"labels": {"app": "web"}}});
    check(Plugin::TaintToleration, tolerating.clone(), true);
    check(Plugin::TaintToleration, labelled.clone(), false);
    check(Plugin::NodeUnschedulable, tolerating, true);
    check(Plugin::InterPodAffinity, labelled, true);
    check(
        Plugin::NodeResourcesFit,
        json!({"spec": {"containers": [{"name": "c"}]}}),
        true,
    );
}
