use super::*;
use crate::pod::identity::container_hash;
use crate::pod::memory::{Ended, StartFailure};
use crate::pod::observed::{Exit, Instance, Sandbox, State};
use crate::pod::wish::wish;
use gantry_proto::core::v1::ContainerStatus;
use serde_json::{Value, json};
use std::time::{Duration, UNIX_EPOCH};

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

struct Case {
    pod: Pod,
    observed: Observed,
    memory: Memory,
    before: PodStatus,
    busy: BTreeMap<Subject, Busy>,
    now: u64,
}

fn case(spec: Value) -> Case {
    let value = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec});
    let pod = gantry_proto::json::decode_value::<Pod>(&value).unwrap().object;
    let sandbox = Sandbox {
        id: "s".into(),
        attempt: 0,
        ready: true,
        created_at: at(1),
        ips: vec!["10.244.0.5".into()],
    };
    let observed = Observed {
        sandboxes: vec![sandbox],
        ..Observed::default()
    };
    Case {
        pod,
        observed,
        memory: Memory::default(),
        before: PodStatus::default(),
        busy: BTreeMap::new(),
        now: 1000,
    }
}

fn one() -> Case {
    case(json!({"restartPolicy": "Always", "containers": [{"name": "c", "image": "i:1"}]}))
}

fn exited(code: i32) -> State {
    State::Exited(Exit {
        started_at: Some(at(900)),
        finished_at: at(995),
        code,
        reason: String::new(),
        message: "last words".into(),
    })
}

fn running() -> State {
    State::Running { started_at: at(900) }
}

impl Case {
    fn run(mut self, name: &str, state: State) -> Case {
        let spec = crate::pod::identity::find_container(self.pod.spec(), name)
            .cloned()
            .unwrap_or_default();
        let runs = self.observed.containers.entry(name.to_string()).or_default();
        let attempt = runs.len() as u32;
        let run = Instance {
            id: format!("{name}{attempt}"),
            name: name.into(),
            sandbox_id: "s".into(),
            attempt,
            hash: container_hash(&spec),
            image: "docker.io/library/i:1".into(),
            image_id: "sha256:x".into(),
            created_at: at(850),
            state,
            log_path: String::new(),
        };
        runs.insert(0, run);
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Case)) -> Case {
        change(&mut self);
        self
    }

    fn status(&self) -> PodStatus {
        let now = at(self.now);
        let wish = wish(&self.pod, None, &self.observed, &self.memory, now);
        status(&Facts {
            pod: &self.pod,
            before: &self.before,
            observed: &self.observed,
            memory: &self.memory,
            wish,
            busy: &self.busy,
            host_ip: "192.0.2.1",
            now,
        })
    }
}

/// `Running c=running(0)+` : phase, then each container's state, restarts, and whether it is ready.
fn summary(status: &PodStatus) -> String {
    let all = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses);
    let containers: Vec<String> = all.map(container).collect();
    format!("{} {}", status.phase, containers.join(" "))
}

fn container(status: &ContainerStatus) -> String {
    let state = status.state();
    let word = if let Some(waiting) = &state.waiting {
        waiting.reason.clone()
    } else if let Some(ended) = &state.terminated {
        format!("{}:{}", ended.reason, ended.exit_code)
    } else {
        "running".to_string()
    };
    let ready = if status.ready { "+" } else { "-" };
    format!("{}={word}({}){ready}", status.name, status.restart_count)
}

#[track_caller]
fn check(case: Case, expected: &str) {
    assert_eq!(summary(&case.status()), expected);
}

#[test]
fn the_phase_and_states_follow_the_containers() {
    check(one(), "Pending c=ContainerCreating(0)-");
    check(one().run("c", running()), "Running c=running(0)+");
    check(one().run("c", State::Created), "Pending c=ContainerCreating(0)-");
    check(one().run("c", exited(1)), "Running c=Error:1(0)-");
    check(
        one().run("c", exited(1)).run("c", running()),
        "Running c=running(1)+",
    );
    for (policy, code, expected) in [
        ("", 0, "Running c=Completed:0(0)-"),
        ("Always", 0, "Running c=Completed:0(0)-"),
        ("Never", 0, "Succeeded c=Completed:0(0)-"),
        ("Never", 1, "Failed c=Error:1(0)-"),
        ("OnFailure", 0, "Succeeded c=Completed:0(0)-"),
        ("OnFailure", 1, "Running c=Error:1(0)-"),
    ] {
        let spec = json!({"restartPolicy": policy, "containers": [{"name": "c"}]});
        check(case(spec).run("c", exited(code)), expected);
    }
}

#[test]
fn a_container_is_not_running_before_its_post_start_hook_has_ended() {
    let hook = json!({"postStart": {"exec": {"command": ["true"]}}});
    let new = || case(json!({"containers": [{"name": "c", "lifecycle": hook}]})).run("c", running());
    let starting = |case: &mut Case| case.busy = [(Subject::Container("c".into()), Busy::Starting)].into();
    check(new().with(starting), "Pending c=ContainerCreating(0)-");
    check(new(), "Running c=running(0)+");
}

#[test]
fn init_containers_hold_the_phase_at_pending() {
    let spec = |policy: &str| json!({"restartPolicy": policy, "initContainers": [{"name": "i"}], "containers": [{"name": "c"}]});
    let new = || case(spec("Always"));
    check(new(), "Pending i=PodInitializing(0)- c=PodInitializing(0)-");
    check(
        new().run("i", running()),
        "Pending i=running(0)- c=PodInitializing(0)-",
    );
    check(
        new().run("i", exited(0)),
        "Pending i=Completed:0(0)+ c=PodInitializing(0)-",
    );
    check(
        new().run("i", exited(0)).run("c", running()),
        "Running i=Completed:0(0)+ c=running(0)+",
    );
    check(
        case(spec("Never")).run("i", exited(3)),
        "Failed i=Error:3(0)- c=PodInitializing(0)-",
    );
}

#[test]
fn waiting_says_why() {
    let back_off = |case: &mut Case| case.memory.container_mut("c").restarts.advance(at(990), at(990));
    let crashed = one().run("c", exited(1)).with(back_off);
    let status = crashed.status();
    assert_eq!(summary(&status), "Running c=CrashLoopBackOff(0)-");
    let waiting = status.container_statuses[0].state().waiting.clone().unwrap();
    assert_eq!(
        waiting.message,
        "back-off 10s restarting failed container=c pod=p_n(u)"
    );
    let last = status.container_statuses[0]
        .last_state()
        .terminated
        .clone()
        .unwrap();
    assert_eq!(
        (last.exit_code, last.message.as_str(), last.container_id.as_str()),
        (1, "last words", "containerd://c0")
    );

    let failed = |reason: &'static str| {
        one().with(|case| {
            let failure = StartFailure {
                reason,
                message: "why".into(),
                failed_at: at(1000),
                retry_at: at(1010),
            };
            case.memory.container_mut("c").start_failure = Some(failure);
        })
    };
    check(
        failed("CreateContainerConfigError"),
        "Pending c=CreateContainerConfigError(0)-",
    );
    check(failed("ErrImagePull"), "Pending c=ErrImagePull(0)-");
    let later = failed("ErrImagePull").with(|case| case.now = 1003).status();
    assert_eq!(summary(&later), "Pending c=ImagePullBackOff(0)-");
    let message = later.container_statuses[0]
        .state()
        .waiting
        .clone()
        .unwrap()
        .message;
    assert_eq!(message, "Back-off pulling image \"i:1\": ErrImagePull: why");
}

fn conditions(status: &PodStatus) -> String {
    let word = |c: &gantry_proto::core::v1::PodCondition| {
        let reason = if c.reason.is_empty() {
            String::new()
        } else {
            format!("({})", c.reason)
        };
        format!("{}={}{reason}", c.r#type, c.status)
    };
    status.conditions.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn conditions_say_how_far_the_pod_is() {
    assert_eq!(
        conditions(&one().with(|case| case.observed.sandboxes.clear()).status()),
        "PodReadyToStartContainers=False Initialized=True Ready=False(ContainersNotReady) \
         ContainersReady=False(ContainersNotReady) PodScheduled=True"
    );
    assert_eq!(
        conditions(&one().run("c", running()).status()),
        "PodReadyToStartContainers=True Initialized=True Ready=True ContainersReady=True PodScheduled=True"
    );
    let init = json!({"initContainers": [{"name": "i"}], "containers": [{"name": "c"}]});
    let status = case(init).run("i", running()).status();
    assert!(conditions(&status).contains("Initialized=False(ContainersNotInitialized)"));
    let message = &status.conditions[1].message;
    assert_eq!(message, "containers with incomplete status: [i]");
    let done = json!({"restartPolicy": "Never", "containers": [{"name": "c"}]});
    assert_eq!(
        conditions(&case(done).run("c", exited(0)).status()),
        "PodReadyToStartContainers=True Initialized=True(PodCompleted) Ready=False(PodCompleted) \
         ContainersReady=False(PodCompleted) PodScheduled=True"
    );
}

#[test]
fn a_condition_keeps_its_time_while_it_does_not_change() {
    let first = one().run("c", running()).with(|case| case.now = 1000).status();
    let second = one()
        .run("c", running())
        .with(|case| (case.now, case.before) = (2000, first.clone()))
        .status();
    assert_eq!(first, second);
    let third = one()
        .run("c", exited(1))
        .with(|case| (case.now, case.before) = (3000, second.clone()))
        .status();
    let since = |status: &PodStatus, name: &str| {
        let condition = status
            .conditions
            .iter()
            .find(|condition| condition.r#type == name)
            .unwrap();
        condition.last_transition_time.as_ref().unwrap().seconds
    };
    assert_eq!(
        (since(&third, "Ready"), since(&third, "Initialized")),
        (3000, 1000)
    );
}

#[test]
fn a_phase_never_goes_backwards() {
    for (before, expected) in [
        ("Succeeded", "Succeeded"),
        ("Failed", "Failed"),
        ("Running", "Running"),
        ("Pending", "Pending"),
    ] {
        let status = one().with(|case| case.before.phase = before.into()).status();
        assert_eq!(status.phase, expected);
    }
}

#[test]
fn a_pod_past_its_deadline_has_failed_with_the_reason_once_nothing_of_it_runs() {
    let ended = || Ended {
        reason: "DeadlineExceeded".into(),
        message: "too long".into(),
    };
    let check = |state: State, expected: (&str, &str, &str)| {
        let status = one()
            .run("c", state)
            .with(|case| (case.memory.ended, case.before.phase) = (Some(ended()), "Running".into()))
            .status();
        let found = (
            status.phase.as_str(),
            status.reason.as_str(),
            status.message.as_str(),
        );
        assert_eq!(found, expected);
    };
    check(running(), ("Running", "", ""));
    check(exited(0), ("Failed", "DeadlineExceeded", "too long"));
}

#[test]
fn a_pod_has_succeeded_when_its_sidecars_have_ended_too() {
    let spec = json!({"restartPolicy": "Never", "initContainers": [{"name": "side", "restartPolicy": "Always"}],
        "containers": [{"name": "c"}]});
    let done = |side: State| {
        case(spec.clone())
            .run("side", side)
            .run("c", exited(0))
            .with(|case| case.before.phase = "Running".into())
            .status()
            .phase
    };
    assert_eq!(done(running()), "Running");
    assert_eq!(done(exited(143)), "Succeeded");
}

#[test]
fn addresses_are_the_sandboxs_or_the_hosts() {
    let status = one().status();
    assert_eq!(
        (status.pod_ip.as_str(), status.host_ip.as_str()),
        ("10.244.0.5", "192.0.2.1")
    );
    let host = case(json!({"hostNetwork": true, "containers": [{"name": "c"}]})).status();
    assert_eq!(host.pod_ip, "192.0.2.1");
    let lost = one()
        .with(|case| (case.before, case.observed.sandboxes) = (status.clone(), Vec::new()))
        .status();
    assert_eq!(lost.pod_ip, "10.244.0.5");
}

#[test]
fn a_readiness_gate_that_nobody_opened_keeps_the_pod_from_being_ready() {
    let spec = json!({"readinessGates": [{"conditionType": "x/y"}], "containers": [{"name": "c"}]});
    let status = case(spec).run("c", running()).status();
    let ready = status
        .conditions
        .iter()
        .find(|condition| condition.r#type == "Ready")
        .unwrap();
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_str()),
        ("False", "ReadinessGatesNotReady")
    );
    assert_eq!(
        ready.message,
        "corresponding condition of pod readiness gate \"x/y\" does not exist."
    );
}
