use super::*;
use crate::pod::memory::{Failure, StartFailure};
use crate::pod::observed::{Exit, Sandbox};
use crate::pod::probe::{Probes, Schedule};
use crate::pod::wish::wish;
use gantry_proto::core::v1::Probe;
use std::time::UNIX_EPOCH;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// A pod on a node at second 1000: spec, what is seen of it, what is remembered.
struct Case {
    pod: Pod,
    observed: Observed,
    memory: Memory,
    busy: BTreeMap<Subject, Busy>,
    gone: bool,
    status_written: bool,
}

const NOW: u64 = 1000;

fn case(spec: serde_json::Value) -> Case {
    let value = serde_json::json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec});
    let pod = gantry_proto::json::decode_value::<Pod>(&value).unwrap().object;
    let memory = Memory {
        volumes: Volumes::Ready,
        ..Memory::default()
    };
    Case {
        pod,
        observed: Observed::default(),
        memory,
        busy: BTreeMap::new(),
        gone: false,
        status_written: true,
    }
}

fn one() -> Case {
    case(serde_json::json!({"restartPolicy": "Always", "containers": [{"name": "c"}]}))
}

fn running() -> State {
    State::Running { started_at: at(900) }
}

fn exited(code: i32, finished: u64) -> State {
    State::Exited(Exit {
        started_at: Some(at(900)),
        finished_at: at(finished),
        code,
        reason: String::new(),
        message: String::new(),
    })
}

impl Case {
    fn sandbox(mut self, attempt: u32, ready: bool) -> Case {
        let sandbox = Sandbox {
            id: format!("s{attempt}"),
            attempt,
            ready,
            created_at: at(800),
            ips: Vec::new(),
        };
        self.observed.sandboxes.insert(0, sandbox);
        self
    }

    /// The newest run of a container, in the newest sandbox.
    fn run(mut self, name: &str, state: State) -> Case {
        let sandbox_id = self.observed.sandboxes[0].id.clone();
        let spec = crate::pod::identity::find_container(self.pod.spec(), name)
            .cloned()
            .unwrap_or_default();
        let runs = self.observed.containers.entry(name.to_string()).or_default();
        let attempt = runs.len() as u32;
        let run = Instance {
            id: format!("{name}{attempt}"),
            name: name.into(),
            sandbox_id,
            attempt,
            hash: container_hash(&spec),
            image: String::new(),
            image_id: String::new(),
            created_at: at(850),
            state,
            log_path: String::new(),
        };
        runs.insert(0, run);
        self
    }

    fn busy(mut self, subject: Subject, busy: Busy) -> Case {
        self.busy.insert(subject, busy);
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Case)) -> Case {
        change(&mut self);
        self
    }

    fn deleted(self, grace: u64) -> Case {
        self.with(|case| {
            let time = gantry_proto::meta::v1::Time::from_system(at(NOW + grace));
            case.pod.metadata_mut().deletion_timestamp = Some(time);
        })
    }

    fn plan(&self) -> Plan {
        let gone = self.gone.then(|| at(NOW));
        let wish = wish(&self.pod, gone, &self.observed, &self.memory, at(NOW));
        let view = View {
            pod: &self.pod,
            wish,
            observed: &self.observed,
            memory: &self.memory,
            busy: &self.busy,
            status_written: self.status_written,
        };
        plan(&view, at(NOW))
    }

    #[track_caller]
    fn check(self, expected: &str) {
        let plan = self.plan();
        let words: Vec<String> = plan.steps.iter().map(word).collect();
        let wake = plan
            .wake_at
            .map(|at| format!("wake {}", at.duration_since(UNIX_EPOCH).unwrap().as_secs()));
        let found: Vec<String> = words.into_iter().chain(wake).collect();
        assert_eq!(found.join("; "), expected);
    }
}

fn seconds(time: &SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn word(step: &Step) -> String {
    match step {
        Step::SetUpVolumes => "volumes".into(),
        Step::CreateSandbox { attempt, replaces } if replaces.is_empty() => format!("sandbox {attempt}"),
        Step::CreateSandbox { attempt, replaces } => format!("sandbox {attempt} for {}", replaces.join(" ")),
        Step::Start {
            container,
            attempt,
            sandbox_id,
            ..
        } => format!("start {container} {attempt} in {sandbox_id}"),
        Step::Stop { id, stop_by, why, .. } => format!("stop {id} by {} {why:?}", seconds(stop_by)),
        Step::Remove { id, .. } => format!("remove {id}"),
        Step::Abort { container } => format!("abort {container}"),
        Step::StopSandboxes { ids } => format!("stop sandbox {}", ids.join(" ")),
        Step::Release => "release".into(),
        Step::CleanUp { sandbox_ids } => format!("clean {}", sandbox_ids.join(" ")).trim_end().to_string(),
        Step::Delete => "delete".into(),
        Step::Exit => "exit".into(),
    }
}

#[test]
fn a_new_pod_gets_volumes_and_sandbox_side_by_side_and_then_its_containers() {
    one()
        .with(|case| case.memory.volumes = Volumes::Pending)
        .check("volumes; sandbox 0");
    let both = |case: Case| {
        case.busy(Subject::Volumes, Busy::Doing)
            .busy(Subject::Sandbox, Busy::Doing)
    };
    both(one().with(|case| case.memory.volumes = Volumes::Pending)).check("");
    one()
        .with(|case| case.memory.volumes = Volumes::Pending)
        .sandbox(0, true)
        .check("volumes");
    one().sandbox(0, true).check("start c 0 in s0");
    one()
        .sandbox(0, true)
        .busy(Subject::Container("c".into()), Busy::Starting)
        .check("");
    one().sandbox(0, true).run("c", running()).check("");
    let two = serde_json::json!({"containers": [{"name": "a"}, {"name": "b"}]});
    case(two)
        .sandbox(0, true)
        .check("start a 0 in s0; start b 0 in s0");
}

#[test]
fn what_failed_is_tried_again_in_time() {
    let failure = |retry| Failure {
        message: String::new(),
        failures: 1,
        retry_at: at(retry),
    };
    one()
        .with(|case| case.memory.sandbox_failure = Some(failure(1005)))
        .check("wake 1005");
    one()
        .with(|case| case.memory.sandbox_failure = Some(failure(1000)))
        .check("sandbox 0");
    one()
        .sandbox(0, true)
        .with(|case| case.memory.volumes = Volumes::Failed(failure(1003)))
        .check("wake 1003");
    let start = |retry| StartFailure {
        reason: "ErrImagePull",
        message: String::new(),
        failed_at: at(990),
        retry_at: at(retry),
    };
    let failed = |retry| {
        one()
            .sandbox(0, true)
            .with(|case| case.memory.container_mut("c").start_failure = Some(start(retry)))
    };
    failed(1010).check("wake 1010");
    failed(1000).check("start c 0 in s0");
}

#[test]
fn a_container_that_ended_restarts_by_its_policy_and_waits_when_it_fails_often() {
    for (policy, code, expected) in [
        ("Always", 0, "start c 1 in s0"),
        ("Always", 1, "start c 1 in s0"),
        ("OnFailure", 1, "start c 1 in s0"),
        ("OnFailure", 0, "stop sandbox s0"),
        ("Never", 1, "stop sandbox s0"),
    ] {
        let spec = serde_json::json!({"restartPolicy": policy, "containers": [{"name": "c"}]});
        case(spec)
            .sandbox(0, true)
            .run("c", exited(code, 999))
            .check(expected);
    }
    let often = |times: usize| {
        one().sandbox(0, true).run("c", exited(1, 999)).with(|case| {
            let restarts = &mut case.memory.container_mut("c").restarts;
            (0..times as u64).for_each(|number| restarts.advance(at(980 + number), at(980 + number)));
        })
    };
    often(1).check("wake 1009");
    often(2).check("wake 1019");
    often(9).check("wake 1299");
}

#[test]
fn init_containers_run_one_after_the_other() {
    let spec = |policy: &str| serde_json::json!({"restartPolicy": policy, "initContainers": [{"name": "a"}, {"name": "b"}], "containers": [{"name": "c"}]});
    let new = || case(spec("Always")).sandbox(0, true);
    new().check("start a 0 in s0");
    new().run("a", running()).check("");
    new().run("a", exited(0, 990)).check("start b 0 in s0");
    new().run("a", exited(1, 990)).check("start a 1 in s0");
    new()
        .run("a", exited(0, 990))
        .run("b", exited(0, 991))
        .check("start c 0 in s0");
    case(spec("Never"))
        .sandbox(0, true)
        .run("a", exited(1, 990))
        .check("stop sandbox s0");
    // Its work is not done again while the sandbox lives, even if its record is gone.
    new().run("c", running()).check("");
    // In a new sandbox it is.
    new()
        .run("a", exited(0, 990))
        .run("b", exited(0, 991))
        .run("c", exited(0, 992))
        .sandbox(1, true)
        .check("start a 1 in s1");
}

#[test]
fn a_sidecar_starts_before_the_others_and_keeps_running() {
    let spec = serde_json::json!({"initContainers": [{"name": "side", "restartPolicy": "Always",
        "startupProbe": {"exec": {"command": ["true"]}}}], "containers": [{"name": "c"}]});
    let started =
        |case: &mut Case| case.memory.container_mut("side").probes = Some(Probes::new("side0", true, true));
    let new = || case(spec.clone()).sandbox(0, true);
    new().check("start side 0 in s0");
    new().run("side", running()).check("");
    new()
        .run("side", running())
        .with(started)
        .check("start c 0 in s0");
    new()
        .run("side", exited(1, 990))
        .run("c", running())
        .check("start side 1 in s0");
    new()
        .run("side", running())
        .run("c", running())
        .deleted(30)
        .check("stop c0 by 1030 PodEnds");
    new()
        .run("side", running())
        .run("c", exited(0, 999))
        .deleted(30)
        .check("stop side0 by 1030 PodEnds");
}

#[test]
fn sidecars_start_in_order_each_after_its_post_start_hook_and_end_in_reverse() {
    let hook = serde_json::json!({"postStart": {"exec": {"command": ["true"]}}});
    let spec = serde_json::json!({"initContainers": [{"name": "a", "restartPolicy": "Always", "lifecycle": hook},
        {"name": "b", "restartPolicy": "Always"}], "containers": [{"name": "c"}]});
    let a = || case(spec.clone()).sandbox(0, true).run("a", running());
    a().busy(Subject::Container("a".into()), Busy::Starting).check("");
    a().check("start b 0 in s0");
    let both = || a().run("b", running());
    both().deleted(30).check("stop b0 by 1030 PodEnds");
    both()
        .busy(
            Subject::Container("b".into()),
            Busy::Stopping { stop_by: at(1030) },
        )
        .deleted(30)
        .check("");
    a().run("b", exited(0, 999))
        .deleted(30)
        .check("stop a0 by 1030 PodEnds");
}

#[test]
fn the_grace_period_counts_from_when_the_deletion_was_seen_whatever_the_apiservers_clock_says() {
    let skewed = |case: &mut Case| {
        case.pod.metadata_mut().deletion_grace_period_seconds = Some(10);
        case.memory.deleting_since = Some(at(995));
    };
    for skew in [0, 500] {
        one()
            .sandbox(0, true)
            .run("c", running())
            .deleted(skew)
            .with(skewed)
            .check("stop c0 by 1005 PodEnds");
    }
}

#[test]
fn a_grace_period_beyond_all_time_is_a_long_one() {
    let spec = serde_json::json!({"terminationGracePeriodSeconds": i64::MAX, "containers": [{"name": "c"}]});
    case(spec)
        .sandbox(0, true)
        .run("c", State::Unknown)
        .check("stop c0 by 31537000 LostTrack");
}

#[test]
fn a_lost_sandbox_is_replaced_and_its_containers_start_again() {
    one()
        .sandbox(0, false)
        .run("c", exited(137, 999))
        .check("sandbox 1 for s0");
    one()
        .sandbox(0, false)
        .run("c", exited(137, 999))
        .sandbox(1, true)
        .check("start c 1 in s1");
    let once = serde_json::json!({"restartPolicy": "Never", "containers": [{"name": "c"}]});
    case(once)
        .sandbox(0, false)
        .run("c", exited(137, 999))
        .check("release");
}

#[test]
fn a_container_that_no_longer_fits_or_is_not_alive_is_stopped() {
    let changed = |case: &mut Case| case.observed.containers.get_mut("c").unwrap()[0].hash = "old".into();
    one()
        .sandbox(0, true)
        .run("c", running())
        .with(changed)
        .check("stop c0 by 1030 DefinitionChanged");
    one()
        .sandbox(0, true)
        .run("c", State::Unknown)
        .check("stop c0 by 1030 LostTrack");
    one().sandbox(0, true).run("c", State::Created).check("remove c0");
    one()
        .sandbox(0, true)
        .run("c", State::Created)
        .busy(Subject::Container("c".into()), Busy::Starting)
        .check("");
    let sick = |case: &mut Case| {
        let mut probes = Probes::new("c0", true, true);
        let once = Schedule::of(&Probe {
            failure_threshold: 1,
            ..Probe::default()
        });
        probes.verdict_mut(ProbeKind::Liveness).take(false, &once);
        case.memory.container_mut("c").probes = Some(probes);
    };
    one()
        .sandbox(0, true)
        .run("c", running())
        .with(sick)
        .check("stop c0 by 1030 Probe(Liveness)");
    let own_grace = serde_json::json!({"containers": [{"name": "c", "livenessProbe": {"terminationGracePeriodSeconds": 5}}]});
    case(own_grace)
        .sandbox(0, true)
        .run("c", running())
        .with(sick)
        .check("stop c0 by 1005 Probe(Liveness)");
}

#[test]
fn deletion_stops_cleans_and_deletes_in_this_order() {
    let live = || one().sandbox(0, true).run("c", running()).deleted(10);
    let name = || Subject::Container("c".into());
    live().check("stop c0 by 1010 PodEnds");
    live()
        .busy(name(), Busy::Stopping { stop_by: at(1010) })
        .check("");
    // A shorter grace period replaces the longer one.
    live()
        .busy(name(), Busy::Stopping { stop_by: at(1030) })
        .check("stop c0 by 1010 PodEnds");
    let ended = || one().sandbox(0, true).run("c", exited(0, 999)).deleted(10);
    ended().check("stop sandbox s0");
    ended().busy(Subject::Sandbox, Busy::Doing).check("");
    let stopped = || one().sandbox(0, false).run("c", exited(0, 999)).deleted(10);
    stopped().check("clean s0");
    stopped().with(|case| case.status_written = false).check("");
    stopped().busy(Subject::Volumes, Busy::Doing).check("");
    one().deleted(10).check("clean");
    one()
        .deleted(10)
        .with(|case| case.memory.clean = true)
        .check("delete");
    // A finalizer may hold the pod: deleting it once is enough.
    one()
        .deleted(10)
        .with(|case| (case.memory.clean, case.memory.deleted) = (true, true))
        .check("");
}

#[test]
fn a_start_under_way_is_given_up_when_the_pod_ends() {
    one()
        .sandbox(0, true)
        .busy(Subject::Container("c".into()), Busy::Starting)
        .deleted(10)
        .check("abort c");
    one().busy(Subject::Sandbox, Busy::Doing).deleted(10).check("");
}

#[test]
fn a_pod_that_the_api_forgot_is_ended_without_asking() {
    let gone = |case: &mut Case| (case.gone, case.status_written) = (true, false);
    one()
        .sandbox(0, true)
        .run("c", running())
        .with(gone)
        .check("stop c0 by 1030 PodEnds");
    one()
        .sandbox(0, false)
        .run("c", exited(0, 999))
        .with(gone)
        .check("clean s0");
    one()
        .with(gone)
        .with(|case| case.memory.clean = true)
        .check("exit");
}

#[test]
fn a_pod_that_is_over_keeps_its_containers_and_gives_up_its_volumes() {
    let over = |case: &mut Case| case.pod.status_mut().phase = "Failed".into();
    one()
        .sandbox(0, true)
        .run("c", running())
        .with(over)
        .check("stop c0 by 1030 PodEnds");
    one()
        .sandbox(0, false)
        .run("c", exited(1, 999))
        .with(over)
        .check("release");
    let released = |case: &mut Case| case.memory.released = true;
    one()
        .sandbox(0, false)
        .run("c", exited(1, 999))
        .with(over)
        .with(released)
        .check("");
    let past = |case: &mut Case| {
        case.pod.spec_mut().active_deadline_seconds = Some(5);
        case.pod.status_mut().start_time = Some(gantry_proto::meta::v1::Time::from_system(at(990)));
        case.memory.ended = crate::pod::wish::past_deadline(&case.pod, at(NOW));
    };
    one()
        .sandbox(0, true)
        .run("c", running())
        .with(past)
        .check("stop c0 by 1030 PodEnds");
}
