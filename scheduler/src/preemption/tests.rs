use super::*;
use crate::preemption::budgets::budget;
use gantry_proto::Key;
use gantry_proto::meta::v1::Time;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// A node that has room for so much; a pod takes what its name says after the dash.
struct Room {
    free: i64,
    wanted: i64,
    /// What nobody's going changes.
    objection: Option<&'static str>,
}

fn size(pod: &PodInfo) -> i64 {
    let (_, size) = pod.key.name.rsplit_once('-').unwrap_or_default();
    size.parse().unwrap_or(0)
}

impl Experiment for Room {
    fn remove(&mut self, pod: &PodInfo) {
        self.free += size(pod);
    }

    fn add(&mut self, pod: &PodInfo) {
        self.free -= size(pod);
    }

    fn fits(&self) -> bool {
        self.objections().is_empty()
    }

    fn objections(&self) -> Vec<String> {
        let lacks = (self.free < self.wanted).then_some("Insufficient cpu");
        self.objection
            .into_iter()
            .chain(lacks)
            .map(String::from)
            .collect()
    }
}

/// `name-size`, what app it is of, how important it is, and the second in which it started.
fn pod(name: &str, app: &str, priority: i32, started: i64) -> Arc<PodInfo> {
    Arc::new(PodInfo {
        key: Key::new("default", name),
        uid: name.into(),
        labels: Arc::new([("app".to_string(), app.to_string())].into()),
        priority,
        started: Some(Time {
            seconds: started,
            nanos: 0,
        }),
        ..PodInfo::default()
    })
}

fn names(pods: &[Arc<PodInfo>]) -> String {
    let names: Vec<&str> = pods.iter().map(|pod| pod.key.name.as_ref()).collect();
    names.join(" ")
}

/// On a node whose room is `room`, for a pod of priority 10 that wants 4.
#[track_caller]
fn check_node(room: i64, pods: &[Arc<PodInfo>], budgets: &[Budget], expected: Result<(&str, usize), &str>) {
    let mut node = Room {
        free: room - pods.iter().map(|pod| size(pod)).sum::<i64>(),
        wanted: 4,
        objection: None,
    };
    let told = victims(&mut node, pods, 10, budgets);
    let told = told.map(|victims| (names(&victims.pods), victims.violations));
    let expected = expected.map(|(names, violations)| (names.to_string(), violations));
    assert_eq!(told, expected.map_err(|reason| vec![reason.to_string()]));
}

#[test]
fn nobody_goes_whose_staying_leaves_room_enough() {
    let (low, high) = (pod("low-3", "a", 1, 5), pod("high-3", "a", 2, 5));
    check_node(8, &[low.clone(), high.clone()], &[], Ok(("low-3", 0)));
    check_node(6, &[low.clone(), high.clone()], &[], Ok(("high-3 low-3", 0)));
    // The one that has run longer is more important.
    let older = pod("older-3", "a", 1, 4);
    check_node(8, &[low.clone(), older], &[], Ok(("low-3", 0)));
    // One that has not started is the least important.
    let mut new = PodInfo::clone(&pod("new-3", "a", 1, 0));
    new.started = None;
    check_node(8, &[Arc::new(new), low.clone()], &[], Ok(("new-3", 0)));
    check_node(
        8,
        &[pod("equal-3", "a", 10, 5), low.clone()],
        &[],
        Ok(("low-3", 0)),
    );
    check_node(3, &[low], &[], Err("Insufficient cpu"));
    check_node(8, &[pod("equal-8", "a", 10, 5)], &[], Err(NO_VICTIMS_TEXT));
}

const NO_VICTIMS_TEXT: &str = "No preemption victims found for incoming pod";

#[test]
fn a_budget_is_broken_only_where_nothing_else_helps() {
    let (kept, other) = (pod("kept-4", "kept", 1, 5), pod("other-4", "other", 5, 5));
    let budgets = [budget("default", "kept", 0, &[])];
    // The other one is more important, and goes all the same.
    check_node(8, &[kept.clone(), other.clone()], &budgets, Ok(("other-4", 0)));
    check_node(4, std::slice::from_ref(&kept), &budgets, Ok(("kept-4", 1)));
    check_node(8, &[kept.clone(), other.clone()], &[], Ok(("kept-4", 0)));
    let small = pod("small-1", "other", 5, 5);
    check_node(5, &[kept, small], &budgets, Ok(("kept-4", 1)));
}

fn lost(pods: Vec<Arc<PodInfo>>, violations: usize) -> Victims {
    Victims { pods, violations }
}

#[test]
fn the_node_is_taken_where_the_least_is_lost() {
    let check = |left: Victims, right: Victims| {
        for order in [
            [("left", &left), ("right", &right)],
            [("right", &right), ("left", &left)],
        ] {
            let candidates = order.map(|(name, victims)| (Arc::from(name), victims.clone()));
            let (node, _) = choice::best(candidates.into()).unwrap();
            assert_eq!(&*node, "left", "{left:?} {right:?}");
        }
    };
    let of = |priority, started| pod("p-1", "a", priority, started);
    check(lost(vec![of(9, 1), of(9, 1)], 0), lost(vec![of(1, 1)], 1));
    check(lost(vec![of(4, 1), of(4, 1)], 0), lost(vec![of(5, 1)], 0));
    check(
        lost(vec![of(5, 1), of(1, 1)], 0),
        lost(vec![of(5, 1), of(2, 1)], 0),
    );
    check(lost(vec![of(-5, 1)], 0), lost(vec![of(-5, 1), of(-5, 1)], 0));
    check(lost(vec![of(5, 9)], 0), lost(vec![of(5, 1)], 0));
    // Only the most important are asked when they started.
    check(
        lost(vec![of(5, 9), of(1, 0)], 0),
        lost(vec![of(5, 8), of(1, 8)], 0),
    );
    assert!(choice::best(Vec::new()).is_none());
}

struct Node {
    room: i64,
    pods: Vec<Arc<PodInfo>>,
    objection: Option<&'static str>,
}

/// n0, n1 and so on.
fn names_of(nodes: usize) -> Vec<Arc<str>> {
    (0..nodes).map(|number| Arc::from(format!("n{number}"))).collect()
}

fn run(preemptor: &Preemptor, nodes: &[Node], all: usize, budgets: &[Budget], start: usize) -> Outcome {
    let names = names_of(nodes.len());
    preempt(
        preemptor,
        budgets,
        profile::Preemption::default(),
        all,
        nodes.len(),
        start,
        |number| {
            let node = &nodes[number];
            Candidate {
                name: &names[number],
                pods: &node.pods,
                suppose: move || Room {
                    free: node.room - node.pods.iter().map(|pod| size(pod)).sum::<i64>(),
                    wanted: 4,
                    objection: node.objection,
                },
            }
        },
    )
}

const PREEMPTOR: Preemptor = Preemptor {
    priority: 10,
    is_modest: false,
    nominated: None,
};

#[test]
fn it_is_said_why_nobody_is_preempted() {
    let node = |room, objection| Node {
        room,
        pods: vec![pod("low-2", "a", 1, 1)],
        objection,
    };
    let check = |nodes: &[Node], all, expected: &str| {
        assert_eq!(run(&PREEMPTOR, nodes, all, &[], 0).message(), expected);
    };
    check(
        &[],
        2,
        "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.",
    );
    check(
        &[node(3, None), node(3, None), node(9, Some("node(s) were odd"))],
        4,
        "preemption: 0/4 nodes are available: 1 Preemption is not helpful for scheduling, 1 node(s) were odd, \
         2 Insufficient cpu.",
    );
    check(&[node(4, None)], 4, "");
    let modest = Preemptor {
        is_modest: true,
        ..PREEMPTOR
    };
    let told = run(&modest, &[node(4, None)], 1, &[], 0).message();
    assert_eq!(told, "preemption: not eligible due to preemptionPolicy=Never.");
}

#[test]
fn a_pod_waits_for_the_victims_it_has() {
    let going = |is_preempted, priority| {
        vec![Arc::new(PodInfo {
            is_preempted,
            ..PodInfo::clone(&pod("going-4", "a", priority, 1))
        })]
    };
    let check = |pods: Vec<Arc<PodInfo>>, is_lost: bool, waits: bool| {
        let nominated = Some(Nominated { is_lost, pods: &pods });
        let told = not_eligible(&Preemptor {
            nominated,
            ..PREEMPTOR
        });
        let expected = waits.then_some("not eligible due to a terminating pod on the nominated node.");
        assert_eq!(told, expected, "{pods:?} {is_lost}");
    };
    check(going(true, 1), false, true);
    check(going(true, 1), true, false);
    check(going(false, 1), false, false);
    check(going(true, 10), false, false);
}

#[test]
fn the_search_ends_when_there_are_candidates_enough() {
    let nodes: Vec<Node> = (0..300)
        .map(|_| Node {
            room: 4,
            pods: vec![pod("low-4", "a", 1, 1)],
            objection: None,
        })
        .collect();
    let (names, mut tried) = (names_of(nodes.len()), 0);
    let outcome = preempt(
        &PREEMPTOR,
        &[],
        profile::Preemption::default(),
        300,
        300,
        290,
        |number| {
            tried += 1;
            Candidate {
                name: &names[number],
                pods: &nodes[number].pods,
                suppose: || Room {
                    free: 0,
                    wanted: 4,
                    objection: None,
                },
            }
        },
    );
    assert_eq!(tried, 100);
    assert!(matches!(outcome, Outcome::Evict { node, .. } if &*node == "n290"));
    let wanted = |percentage, absolute, potential| {
        let arguments = profile::Preemption {
            min_candidate_nodes_percentage: percentage,
            min_candidate_nodes_absolute: absolute,
        };
        candidates_wanted(arguments, potential)
    };
    assert_eq!(wanted(10, 100, 5_000), 500);
    assert_eq!(wanted(10, 100, 50), 50);
    assert_eq!(wanted(0, 1, 50), 1);
}

/// Many small clusters by chance; what must hold of a preemption holds in each.
#[test]
fn whatever_the_cluster_victims_are_lesser_few_and_within_budgets_where_that_can_be() {
    for seed in 0..2_000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let apps = ["a", "b", "c"];
        let budgets: Vec<Budget> = apps
            .iter()
            .filter_map(|app| {
                let allowed = rng.random_range(0..3);
                rng.random_bool(0.5).then(|| budget("default", app, allowed, &[]))
            })
            .collect();
        let nodes: Vec<Node> = (0..rng.random_range(1..6))
            .map(|_| {
                let pods: Vec<Arc<PodInfo>> = (0..rng.random_range(0..7))
                    .map(|number| {
                        let size = rng.random_range(1..5);
                        let app = apps[rng.random_range(0..apps.len())];
                        pod(
                            &format!("p{number}-{size}"),
                            app,
                            rng.random_range(5..12),
                            rng.random_range(0..9),
                        )
                    })
                    .collect();
                Node {
                    // Full, or nearly, so that it does not fit as it is.
                    room: pods.iter().map(|pod| size(pod)).sum::<i64>() + rng.random_range(0..4),
                    pods,
                    objection: None,
                }
            })
            .collect();
        let start = rng.random_range(0..nodes.len());
        holds(
            &nodes,
            &budgets,
            run(&PREEMPTOR, &nodes, nodes.len(), &budgets, start),
            seed,
        );
    }
}

fn holds(nodes: &[Node], budgets: &[Budget], outcome: Outcome, seed: u64) {
    let lesser = |node: &Node| -> Vec<Arc<PodInfo>> {
        let lesser = node.pods.iter().filter(|pod| pod.priority < PREEMPTOR.priority);
        lesser.cloned().collect()
    };
    let sum = |pods: &[Arc<PodInfo>]| pods.iter().map(|pod| size(pod)).sum::<i64>();
    let fits_without = |node: &Node, gone: i64| node.room - sum(&node.pods) + gone >= 4;
    let Outcome::Evict { node, victims } = outcome else {
        let helpful = nodes
            .iter()
            .any(|node| fits_without(node, sum(&lesser(node))) && !lesser(node).is_empty());
        assert!(!helpful, "seed {seed}: there was a node to preempt on");
        return;
    };
    let node = &nodes[node[1..].parse::<usize>().unwrap()];
    assert!(!victims.pods.is_empty(), "seed {seed}: somebody goes");
    for victim in &victims.pods {
        assert!(
            victim.priority < PREEMPTOR.priority,
            "seed {seed}: {victim:?} is as important"
        );
        assert!(node.pods.contains(victim), "seed {seed}: {victim:?} is elsewhere");
        let others = sum(&victims.pods) - size(victim);
        assert!(
            !fits_without(node, others),
            "seed {seed}: {victim:?} could have stayed"
        );
    }
    assert!(
        fits_without(node, sum(&victims.pods)),
        "seed {seed}: the pod does not fit"
    );
    // Where the pods that no budget keeps are enough, on any node, no budget is broken.
    let unkept = |node: &Node| {
        let mut lesser = lesser(node);
        lesser.sort_by_key(|pod| {
            (
                std::cmp::Reverse(pod.priority),
                pod.started.as_ref().map(|time| time.seconds),
                pod.key.clone(),
            )
        });
        let (_, others) = budgets::split(&lesser, budgets);
        !others.is_empty() && fits_without(node, sum(&others))
    };
    if nodes.iter().any(unkept) {
        assert_eq!(
            victims.violations, 0,
            "seed {seed}: a budget is broken without need"
        );
    }
}
