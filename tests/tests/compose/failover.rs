//! Parts are killed while the sample is asked: no request fails, but for those to a dead node's pods.

use crate::administrator::Administrator;
use crate::requests::{Attempt, Requests};
use crate::sample::{NODES, address, name, node_of, ready_pods};
use crate::{SLOW, every_service_is_healthy};
use gantry_tests::cluster::{condition, items};
use gantry_tests::docker::Engine;
use gantry_tests::eventually;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How soon a change is carried out to its end again after a part of the control plane was lost.
const WHOLE_AGAIN: Duration = Duration::from_secs(15);
const ETCD_AWAY: Duration = Duration::from_secs(20);
/// How soon a lost node's pods run elsewhere.
const ELSEWHERE: Duration = Duration::from_secs(30);
/// How soon after a node is known to be lost nothing is sent to its pods any more.
const DROPPED: Duration = Duration::from_secs(5);

/// What is changed to see whether the control plane does its work.
const CANARY: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: canary}
spec:
  replicas: 1
  selector: {matchLabels: {app: canary}}
  template:
    metadata: {labels: {app: canary}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - {name: canary, image: 'hello:1', readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}}
";

pub fn no_request_fails_without_one_of_the_control_plane(engine: &Engine, administrator: &Administrator) {
    administrator.apply(engine, CANARY);
    works(administrator, 1, Instant::now(), SLOW);

    let ready_since = readiness(administrator);
    let to = address(administrator);
    let requests = NODES.map(|node| Requests::start(engine.network_of(node), to));
    // One is lost, and the other serves: clients have to find it, and the lost one comes back.
    for (part, replicas) in [("apiserver-1", 2), ("apiserver-2", 3)] {
        let killed = kill(engine, part);
        works(administrator, replicas, killed, WHOLE_AGAIN);
        engine.must_compose(&["start", part]);
        every_service_is_healthy(engine);
    }
    for (component, replicas) in [("controller-manager", 4), ("scheduler", 5)] {
        let leader = leader(administrator, component);
        let killed = kill(engine, &leader);
        works(administrator, replicas, killed, WHOLE_AGAIN);
        let next = self::leader(administrator, component);
        assert_ne!(leader, next, "the other leads");
        engine.must_compose(&["start", &leader]);
    }
    let killed = kill(engine, "etcd");
    eventually("etcd has been away for its time", SLOW, || {
        let away = killed.elapsed();
        (away >= ETCD_AWAY).then_some(()).ok_or(format!("{away:?}"))
    });
    engine.must_compose(&["start", "etcd"]);
    works(administrator, 6, answers_again(engine), WHOLE_AGAIN);
    every_service_is_healthy(engine);

    assert_eq!(
        ready_since,
        readiness(administrator),
        "no node was taken for lost because nobody could hear it"
    );
    let mut made = 0;
    for (node, attempts) in NODES.iter().zip(requests.map(Requests::stop)) {
        let failed: Vec<&Attempt> = attempts
            .iter()
            .filter(|attempt| attempt.outcome.is_err())
            .collect();
        assert!(
            failed.is_empty(),
            "of {} requests of {node} failed {failed:?}",
            attempts.len()
        );
        made += attempts.len();
    }
    println!("{made} requests, none failed");
}

pub fn a_killed_nodes_pods_run_elsewhere(engine: &Engine, administrator: &Administrator) {
    let pods = eventually("three pods are ready", SLOW, || {
        let pods = ready_pods(administrator)?;
        (pods.len() == 3)
            .then_some(pods.clone())
            .ok_or(format!("{} are", pods.len()))
    });
    // The node with the fewest of them, so that others go on answering.
    let on = |node: &str| pods.iter().filter(|pod| node_of(pod) == node).count();
    let lost = NODES
        .into_iter()
        .filter(|node| on(node) > 0)
        .min_by_key(|node| on(node));
    let Some(lost) = lost else {
        panic!("no pod is on a node: {pods:?}")
    };
    let dead: Vec<String> = pods.iter().filter(|pod| node_of(pod) == lost).map(name).collect();
    let to = address(administrator);
    let others = NODES.into_iter().filter(|node| *node != lost);
    let requests: Vec<(&str, Requests)> = others
        .map(|node| (node, Requests::start(engine.network_of(node), to)))
        .collect();
    eventually("requests are under way", SLOW, || {
        let count = requests
            .iter()
            .map(|(_, requests)| requests.count())
            .min()
            .unwrap_or(0);
        (count >= 12).then_some(()).ok_or(format!("{count} were made"))
    });

    let killed = kill(engine, lost);
    let not_ready = eventually("the node is known to be lost", ELSEWHERE, || {
        let node = administrator.json(&["get", "node", lost])?;
        let ready = condition(&node, "Ready");
        (ready != "True")
            .then(Instant::now)
            .ok_or(format!("Ready is {ready}"))
    });
    println!("{lost} was known to be lost after {:?}", not_ready - killed);
    eventually(
        "three pods are ready elsewhere",
        ELSEWHERE.saturating_sub(killed.elapsed()),
        || {
            let ready = ready_pods(administrator)?;
            let elsewhere = ready.iter().filter(|pod| node_of(pod) != lost).count();
            (elsewhere == 3).then_some(()).ok_or(format!("{elsewhere} are"))
        },
    );
    println!("its pods ran elsewhere after {:?}", killed.elapsed());
    for (node, requests) in requests {
        let attempts = requests.stop();
        // A connection that was never answered is tracked for two minutes, with where it went.
        let tracked = [
            "exec",
            "-T",
            node,
            "conntrack",
            "-L",
            "-p",
            "tcp",
            "--state",
            "SYN_SENT",
        ];
        let made = Made {
            node,
            killed,
            attempts,
            unanswered: engine.compose(&tracked).stdout,
        };
        only_the_dead_did_not_answer(&made, &dead, pods.len(), not_ready + DROPPED);
    }
    engine.must_compose(&["start", lost]);
    eventually("the node is back", SLOW, || {
        let node = administrator.json(&["get", "node", lost])?;
        let ready = condition(&node, "Ready");
        (ready == "True").then_some(()).ok_or(format!("Ready is {ready}"))
    });
}

/// Endpoints take turns: of as many requests as there are endpoints no more than the dead ones fail, and none that
/// began after the proxies had to know.
fn only_the_dead_did_not_answer(made: &Made, dead: &[String], endpoints: usize, dropped: Instant) {
    let failures = made.failures();
    println!(
        "from {} failed {} of {} requests, {} pods were dead: {failures:?}",
        made.node,
        failures.len(),
        made.attempts.len(),
        dead.len()
    );
    for turn in made.attempts.windows(endpoints) {
        let failed = turn.iter().filter(|attempt| attempt.outcome.is_err()).count();
        assert!(
            failed <= dead.len(),
            "{failed} of {turn:?} failed, and dead are {dead:?}"
        );
    }
    let mut afterwards = made
        .attempts
        .iter()
        .filter(|attempt| attempt.began > dropped)
        .peekable();
    assert!(afterwards.peek().is_some(), "no request was made afterwards");
    let late = afterwards.filter(|attempt| attempt.outcome.is_err()).count();
    let limit = dropped - made.killed;
    assert_eq!(
        late, 0,
        "requests from {} were sent to a dead pod after {limit:?}: {}",
        made.node, made.unanswered
    );
}

/// The requests of one node since another was killed.
struct Made {
    node: &'static str,
    killed: Instant,
    attempts: Vec<Attempt>,
    unanswered: String,
}

impl Made {
    /// When those began that failed, counted from the kill, and why they did.
    fn failures(&self) -> Vec<(Duration, &String)> {
        let failed = |attempt: &'_ Attempt| attempt.began.saturating_duration_since(self.killed);
        self.attempts
            .iter()
            .filter_map(|attempt| Some((failed(attempt), attempt.outcome.as_ref().err()?)))
            .collect()
    }
}

/// Whether each node is Ready, and since when.
fn readiness(administrator: &Administrator) -> BTreeMap<String, Value> {
    let nodes = eventually("the nodes can be read", SLOW, || {
        administrator.json(&["get", "nodes"])
    });
    let condition = |node: &Value| {
        let conditions = node["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let ready = conditions
            .into_iter()
            .find(|condition| condition["type"] == "Ready");
        let ready = ready.unwrap_or_default();
        Value::from(vec![ready["status"].clone(), ready["lastTransitionTime"].clone()])
    };
    items(&nodes)
        .iter()
        .map(|node| (name(node), condition(node)))
        .collect()
}

/// SIGKILL to all of a service's container; when that was done.
fn kill(engine: &Engine, service: &str) -> Instant {
    engine.must_docker(&["kill", &engine.container(service)]);
    Instant::now()
}

/// When etcd is back: a slow disk holds up its start, which is not what is measured.
#[track_caller]
fn answers_again(engine: &Engine) -> Instant {
    let asked = [
        "exec",
        "-T",
        "etcd",
        "curl",
        "-fsS",
        "http://127.0.0.1:2381/health",
    ];
    eventually("etcd answers again", SLOW, || {
        let answered = engine.compose(&asked);
        answered.ok.then(Instant::now).ok_or(answered.stderr)
    })
}

/// A change is accepted, and the controllers, the scheduler and the nodes carry it out.
#[track_caller]
fn works(administrator: &Administrator, replicas: u64, since: Instant, within: Duration) {
    let wish = format!("--replicas={replicas}");
    let left = || within.saturating_sub(since.elapsed());
    eventually("a change is accepted", left(), || {
        administrator.gantry(&["scale", "deployment/canary", &wish])
    });
    println!("a change was accepted after {:?}", since.elapsed());
    eventually("the change is carried out", left(), || {
        let deployment = administrator.json(&["get", "deployment", "canary"])?;
        let status = &deployment["status"];
        let done = status["observedGeneration"] == deployment["metadata"]["generation"]
            && status["readyReplicas"].as_u64() == Some(replicas)
            && status["replicas"].as_u64() == Some(replicas);
        done.then_some(())
            .ok_or(format!("{replicas} are wanted: {status}"))
    });
    println!(
        "the change to {replicas} was carried out after {:?}",
        since.elapsed()
    );
}

/// The service that leads, by the Lease for which the two of a component compete.
#[track_caller]
fn leader(administrator: &Administrator, component: &str) -> String {
    let lease = format!("gantry-{component}");
    let services = ["1", "2"].map(|number| format!("{component}-{number}"));
    eventually("the Lease has a holder", SLOW, || {
        let lease = administrator.json(&["get", "lease", &lease, "-n", "kube-system"])?;
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
        let service = services.iter().find(|service| holder.contains(*service));
        service
            .cloned()
            .ok_or(format!("no service is the holder {holder:?} of {lease}"))
    })
}
