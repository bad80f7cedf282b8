//! Which containers ended by themselves. Nobody asked for that, so a trace begins there.

use crate::pod::identity::{is_in_post_start, is_sidecar};
use crate::pod::memory::Memory;
use crate::pod::observed::{Exit, Instance, Observed};
use crate::pod::plan::{Busy, Subject};
use crate::pod::wish::Wish;
use gantry_proto::core::v1::{Container, ContainerStatus, Pod, PodStatus};
use std::collections::BTreeMap;

/// All that the question depends on.
pub struct View<'a> {
    pub pod: &'a Pod,
    pub wish: Wish,
    pub observed: &'a Observed,
    pub memory: &'a Memory,
    pub busy: &'a BTreeMap<Subject, Busy>,
    /// The status that the apiserver has: what it tells already is no news, also not after a restart of the agent.
    pub known: &'a PodStatus,
}

/// The containers whose last run ended, though nobody stopped it, in a way that restarts it or fails the pod.
pub fn deaths<'a>(view: &View<'a>) -> Vec<(&'a Instance, &'a Exit)> {
    if matches!(view.wish, Wish::Delete { .. } | Wish::Forget { .. }) || view.memory.ended.is_some() {
        return Vec::new();
    }
    let spec = view.pod.spec();
    let init = spec
        .init_containers
        .iter()
        .map(|container| (container, is_sidecar(container)));
    let always = spec.restart_policy == "Always" || spec.restart_policy.is_empty();
    let others = spec.containers.iter().map(|container| (container, always));
    init.chain(others)
        .filter_map(|(container, always)| death(view, container, always))
        .collect()
}

/// `always` for a container that is to run without end.
fn death<'a>(view: &View<'a>, container: &Container, always: bool) -> Option<(&'a Instance, &'a Exit)> {
    let latest = view.observed.latest(&container.name)?;
    let exit = latest.exit()?;
    // A run that never started is a failed start, which belongs to whatever asked for it.
    exit.started_at?;
    let memory = view.memory.container(&container.name);
    let is_ours = memory.stopped.as_ref() == Some(&latest.id)
        || memory.start_failure.is_some()
        || is_in_post_start(container, view.busy);
    let is_noted = memory.died.as_ref() == Some(&latest.id) || is_told(view.known, latest);
    (!is_ours && !is_noted && (always || exit.code != 0)).then_some((latest, exit))
}

fn is_told(known: &PodStatus, instance: &Instance) -> bool {
    let ended = |status: &ContainerStatus| {
        let states = [
            status.state().terminated.as_ref(),
            status.last_state().terminated.as_ref(),
        ];
        states
            .into_iter()
            .flatten()
            .any(|terminated| terminated.container_id.ends_with(&instance.id))
    };
    known
        .init_container_statuses
        .iter()
        .chain(&known.container_statuses)
        .any(ended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::observed::State;
    use serde_json::{Value, json};
    use std::time::{Duration, UNIX_EPOCH};

    struct Case {
        policy: &'static str,
        code: i32,
        started: bool,
        wish: Wish,
        known: Value,
        memory: fn(&mut Memory),
    }

    impl Default for Case {
        fn default() -> Case {
            Case {
                policy: "Always",
                code: 137,
                started: true,
                wish: Wish::Run,
                known: json!({}),
                memory: |_| (),
            }
        }
    }

    fn check(what: &str, case: Case, expected: bool) {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"restartPolicy": case.policy,
            "containers": [{"name": "c", "image": "i"}]}, "status": case.known});
        let pod = gantry_proto::json::decode_value::<Pod>(&pod).unwrap().object;
        let instance = Instance {
            id: "id".into(),
            name: "c".into(),
            sandbox_id: "s".into(),
            attempt: 0,
            hash: String::new(),
            image: String::new(),
            image_id: String::new(),
            created_at: UNIX_EPOCH,
            state: State::Exited(Exit {
                started_at: case.started.then_some(UNIX_EPOCH),
                finished_at: UNIX_EPOCH + Duration::from_secs(1),
                code: case.code,
                reason: "Error".into(),
                message: String::new(),
            }),
            log_path: String::new(),
        };
        let observed = Observed {
            containers: [("c".to_string(), vec![instance])].into(),
            ..Observed::default()
        };
        let mut memory = Memory::default();
        (case.memory)(&mut memory);
        let view = View {
            pod: &pod,
            wish: case.wish,
            observed: &observed,
            memory: &memory,
            busy: &BTreeMap::new(),
            known: pod.status(),
        };
        assert_eq!(!deaths(&view).is_empty(), expected, "{what}");
    }

    #[test]
    fn a_container_died_when_it_ended_by_itself_and_that_is_news() {
        let terminated = |state: &str| {
            let ended = json!({"terminated": {"exitCode": 137, "containerID": "containerd://id"}});
            json!({"containerStatuses": [{"name": "c", state: ended}]})
        };
        let default = Case::default;
        check("killed", default(), true);
        check("ended well, to run for ever", Case { code: 0, ..default() }, true);
        let job = |code| Case {
            policy: "OnFailure",
            code,
            ..default()
        };
        check("a job that failed", job(1), true);
        check("a job that is done", job(0), false);
        check(
            "failing its pod",
            Case {
                policy: "Never",
                ..default()
            },
            true,
        );
        check(
            "never started",
            Case {
                started: false,
                ..default()
            },
            false,
        );
        check(
            "told as ended",
            Case {
                known: terminated("state"),
                ..default()
            },
            false,
        );
        check(
            "told as the run before",
            Case {
                known: terminated("lastState"),
                ..default()
            },
            false,
        );
        let stopped = |memory: &mut Memory| memory.container_mut("c").stopped = Some("id".into());
        check(
            "stopped by us",
            Case {
                memory: stopped,
                ..default()
            },
            false,
        );
        let noted = |memory: &mut Memory| memory.container_mut("c").died = Some("id".into());
        check(
            "noted",
            Case {
                memory: noted,
                ..default()
            },
            false,
        );
        let before = |memory: &mut Memory| memory.container_mut("c").died = Some("other".into());
        check(
            "as the run before did",
            Case {
                memory: before,
                ..default()
            },
            true,
        );
        let stop_by = UNIX_EPOCH;
        check(
            "of a deleted pod",
            Case {
                wish: Wish::Delete { stop_by },
                ..default()
            },
            false,
        );
        check(
            "of a finished pod",
            Case {
                wish: Wish::Finish { stop_by },
                ..default()
            },
            true,
        );
    }
}
