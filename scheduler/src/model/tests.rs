use super::*;
use crate::counting::{Counter as _, Place, Question, Recount, Who};
use crate::pods::PodTerm;
use crate::resources::CPU;
use gantry_proto::json;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

fn pod(uid: &str, node: &str, phase: &str) -> Pod {
    let value = json!({
        "metadata": {"name": "p", "namespace": "d", "uid": uid},
        "spec": {"nodeName": node, "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
        "status": {"phase": phase},
    });
    json::decode_value(&value).unwrap().object
}

fn taken(model: &Model, name: &str) -> i64 {
    let node = model.snapshot().get(name).map(|node| &**node);
    node.or(model.absent.get(name))
        .map_or(0, |info| info.requested.get(CPU))
}

fn assume(model: &mut Model, pod: &Pod, node: &str) {
    model.assume(Arc::new(PodInfo::of(pod)), node.into());
}

#[test]
fn a_pod_counts_once_from_assumption_to_its_end() {
    let (mut model, key) = (Model::default(), Key::new("d", "p"));
    assume(&mut model, &pod("1", "", "Pending"), "n");
    assert_eq!(taken(&model, "n"), 1000);
    let behind = model.observe(&key, Some(&pod("1", "", "Pending")));
    assert_eq!(behind, Seen::Nothing, "the cache is behind");
    assert_eq!(taken(&model, "n"), 1000);
    assert!(matches!(
        model.observe(&key, Some(&pod("1", "n", "Pending"))),
        Seen::Came(_)
    ));
    assert_eq!(
        model.observe(&key, Some(&pod("1", "n", "Running"))),
        Seen::Nothing
    );
    assert_eq!(taken(&model, "n"), 1000);
    assert!(matches!(
        model.observe(&key, Some(&pod("1", "n", "Succeeded"))),
        Seen::Went(_)
    ));
    assert_eq!(taken(&model, "n"), 0);
}

#[test]
fn a_failed_binding_gives_the_room_back_but_only_to_its_own_pod() {
    let (mut model, key) = (Model::default(), Key::new("d", "p"));
    assume(&mut model, &pod("2", "", "Pending"), "n");
    assert!(model.forget(&key, "1").is_none());
    assert_eq!(taken(&model, "n"), 1000);
    assert!(model.forget(&key, "2").is_some());
    assert_eq!(taken(&model, "n"), 0);
}

#[test]
fn another_pod_of_the_same_name_takes_the_place_of_the_first() {
    let (mut model, key) = (Model::default(), Key::new("d", "p"));
    model.observe(&key, Some(&pod("1", "a", "Running")));
    model.observe(&key, Some(&pod("2", "b", "Running")));
    assert_eq!((taken(&model, "a"), taken(&model, "b")), (0, 1000));
    assert!(matches!(model.observe(&key, None), Seen::Went(_)));
    assert_eq!(taken(&model, "b"), 0);
}

/// Two schedulers decide about the same pod: the other's binding is written first, and this one's is refused.
#[test]
fn a_pod_that_another_scheduler_bound_counts_where_it_is_bound() {
    let (mut model, key) = (Model::default(), Key::new("d", "p"));
    assume(&mut model, &pod("1", "", "Pending"), "mine");
    // Both orders in which the watch and the refusal come.
    for seen_first in [true, false] {
        if seen_first {
            model.observe(&key, Some(&pod("1", "theirs", "Pending")));
        }
        model.forget(&key, "1");
        model.observe(&key, Some(&pod("1", "theirs", "Pending")));
        assert_eq!((taken(&model, "mine"), taken(&model, "theirs")), (0, 1000));
        assert_eq!(model.pods(), (1, 0));
        model.observe(&key, None);
        assume(&mut model, &pod("1", "", "Pending"), "mine");
    }
}

#[test]
fn a_nomination_lasts_until_the_status_that_showed_it_shows_it_no_more() {
    let (mut model, key) = (Model::default(), Key::new("d", "p"));
    let shown = |node: &str| {
        let mut pod = pod("1", "", "Pending");
        pod.status_mut().nominated_node_name = node.into();
        pod
    };
    let nominated = |model: &Model| model.nomination(&key).map(ToString::to_string);
    model.nominate(Arc::new(PodInfo::of(&shown(""))), "n".into());
    model.observe(&key, Some(&shown("")));
    assert_eq!(nominated(&model).as_deref(), Some("n"), "it is not written yet");
    model.observe(&key, Some(&shown("n")));
    assert_eq!(model.absent["n"].nominated.len(), 1);
    model.observe(&key, Some(&shown("")));
    assert_eq!(nominated(&model), None);
    model.observe(&key, Some(&shown("m")));
    assert_eq!(
        nominated(&model).as_deref(),
        Some("m"),
        "another scheduler said so"
    );
    assume(&mut model, &shown("m"), "m");
    assert_eq!(nominated(&model), None, "it is there itself");
}

#[test]
fn a_node_that_goes_and_comes_back_has_its_pods() {
    let mut model = Model::default();
    let node: Node = json::decode_value(&json!({"metadata": {"name": "n"}}))
        .unwrap()
        .object;
    model.set_node(&node);
    model.observe(&Key::new("d", "p"), Some(&pod("1", "n", "Running")));
    model.remove_node("n");
    assert_eq!((model.snapshot().len(), taken(&model, "n")), (0, 1000));
    model.set_node(&node);
    assert_eq!((model.snapshot().len(), taken(&model, "n")), (1, 1000));
}

#[test]
fn what_nobody_has_any_more_is_forgotten() {
    let mut model = Model::default();
    let host: Question = questions().pop().unwrap();
    for number in 0..SPARE + 100 {
        let name = format!("n{number}");
        let node = json!({"metadata": {"name": name, "labels": {"host": name}}});
        let node: Node = json::decode_value(&node).unwrap().object;
        model.set_node(&node);
        model.index.over(&model.snapshot, |_, _| {}).tally(&host);
        let mut pod = pod(&name, &name, "Running");
        pod.metadata_mut().labels = [("unique".to_string(), name.clone())].into();
        let key = Key::new("d", name.as_str());
        pod.metadata_mut().name.clone_from(&name);
        model.observe(&key, Some(&pod));
        model.observe(&key, None);
        model.remove_node(&name);
        model.settle();
    }
    assert!(model.index.most_domains() <= SPARE + 2);
    assert!(model.labels.len() <= SPARE + 2);
}

/// Random nodes, namespaces and pods come, change and go; after each step what is kept up to date is what counting
/// anew gives, for every question that was ever asked and for every pod that could come.
#[test]
fn what_is_kept_up_to_date_is_what_counting_anew_gives() {
    for seed in 0..30 {
        let mut random = Random(StdRng::seed_from_u64(seed));
        let mut model = Model::default();
        let asked = questions();
        for step in 0..120 {
            random.step(&mut model);
            let told = format!("seed {seed}, step {step}");
            for question in &asked {
                if random.below(3) == 0 {
                    check(&mut model, question, &told);
                }
            }
            check_said(&mut model, &random.pod("x", ""), &told);
        }
    }
}

fn check(model: &mut Model, question: &Question, told: &str) {
    let anew = Recount::new(&model.snapshot).tally(question);
    let placed = &model.placed;
    let kept = model
        .index
        .over(&model.snapshot, |namespace, tell| {
            placed
                .iter()
                .filter(|(key, _)| namespace.is_empty() || key.namespace == namespace)
                .for_each(|(_, placed)| tell(&placed.info, &placed.node));
        })
        .tally(question);
    assert_eq!(
        kept.counts.by_value(&kept.topology),
        anew.counts.by_value(&anew.topology),
        "{told}: {question:?}"
    );
    assert_eq!(
        (kept.total(), kept.least()),
        (anew.total(), anew.least()),
        "{told}"
    );
}

fn check_said(model: &mut Model, pod: &Pod, told: &str) {
    let info = PodInfo::of(pod);
    let labels = model
        .snapshot
        .surroundings
        .namespace_labels(&info.key.namespace)
        .clone();
    let sorted = |said: Vec<(crate::counting::Carried, crate::domains::Tally)>| {
        let mut said: Vec<_> = said
            .iter()
            .map(|(carried, tally)| {
                let pods: Vec<_> = tally.counts.by_value(&tally.topology).into_iter().collect();
                let pods: Vec<_> = pods.into_iter().map(|(value, (pods, _))| (value, pods)).collect();
                let pods: Vec<_> = pods.into_iter().filter(|(_, pods)| *pods != 0).collect();
                (*carried, tally.topology.key().clone(), pods)
            })
            .filter(|(_, _, pods)| !pods.is_empty())
            .collect();
        said.sort();
        said
    };
    let anew = sorted(Recount::new(&model.snapshot).said_of(&info, &labels));
    let kept = model
        .index
        .over(&model.snapshot, |_, _| {})
        .said_of(&info, &labels);
    assert_eq!(sorted(kept), anew, "{told}");
}

fn questions() -> Vec<Question> {
    let mut questions = Vec::new();
    let selection = |value: Value| Selection::of(Some(&serde_json::from_value(value).unwrap()));
    let web = selection(json!({"matchLabels": {"app": "web"}}));
    let not_db =
        selection(json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["db"]}]}));
    let by_team = PodTerm {
        namespaces: Vec::new(),
        namespace_selection: selection(json!({"matchLabels": {"team": "a"}})),
        selection: web.clone(),
    };
    let terms = [
        PodTerm::within("one", web),
        PodTerm::within("two", not_db),
        by_team,
    ];
    let in_a: gantry_proto::core::v1::PodSpec =
        serde_json::from_value(json!({"nodeSelector": {"zone": "a"}})).unwrap();
    let places = [
        Place::default(),
        Place {
            keys: vec!["zone".into(), "host".into()],
            nodes: crate::labels::RequiredNodes::of(&in_a),
            tolerations: None,
        },
        Place {
            tolerations: Some(Vec::new()),
            ..Place::default()
        },
    ];
    for topology_key in ["zone", "host"] {
        for term in &terms {
            for (place, terminating) in places.iter().zip([true, false, false]) {
                questions.push(Question {
                    who: Who::Selected {
                        terms: vec![term.clone()],
                        terminating,
                    },
                    place: place.clone(),
                    topology_key: topology_key.into(),
                });
            }
        }
    }
    questions
}

struct Random(StdRng);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0.random_range(0..bound)
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    fn step(&mut self, model: &mut Model) {
        let node = self.one_of(&["n1", "n2", "n3", "n4"]);
        let name = self.one_of(&["p1", "p2", "p3", "p4", "p5", "p6"]);
        match self.below(11) {
            10 => model.count_anew(),
            0 => drop(model.remove_node(node)),
            1..4 => {
                let node = self.node(node);
                model.set_node(&node);
            }
            4 => {
                let pod = self.pod(name, "");
                model.observe(&gantry_proto::Kind::key(&pod), None);
            }
            5 => {
                let pod = self.pod(name, "");
                assume(model, &pod, node);
            }
            6 => {
                let value =
                    json!({"metadata": {"name": "one", "labels": {"team": self.one_of(&["a", "b"])}}});
                let namespace: Namespace = json::decode_value(&value).unwrap().object;
                model.set_namespace("one", Some(&namespace));
            }
            _ => {
                let pod = self.pod(name, node);
                model.observe(&gantry_proto::Kind::key(&pod), Some(&pod));
            }
        }
    }

    fn node(&mut self, name: &str) -> Node {
        let mut labels = json!({"host": name});
        if self.below(4) > 0 {
            labels["zone"] = json!(self.one_of(&["a", "b", "c"]));
        }
        let taints = match self.below(3) {
            0 => json!([{"key": "gpu", "effect": "NoSchedule"}]),
            _ => json!([]),
        };
        let value = json!({"metadata": {"name": name, "labels": labels}, "spec": {"taints": taints}});
        json::decode_value(&value).unwrap().object
    }

    fn pod(&mut self, name: &str, node: &str) -> Pod {
        let namespace = self.one_of(&["one", "two"]);
        let mut value = json!({
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": format!("{namespace}-{name}-{}", self.below(2)),
                "labels": {"app": self.one_of(&["web", "db"])},
            },
            "spec": {"nodeName": node, "affinity": {}},
        });
        if self.below(4) == 0 {
            value["metadata"]["deletionTimestamp"] = json!("2026-11-20T00:00:00Z");
        }
        let term = json!({
            "topologyKey": self.one_of(&["zone", "host"]),
            "labelSelector": {"matchLabels": {"app": self.one_of(&["web", "db"])}},
        });
        let kind = self.one_of(&["podAffinity", "podAntiAffinity"]);
        match self.below(3) {
            0 => {
                value["spec"]["affinity"][kind] =
                    json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]})
            }
            1 => {
                value["spec"]["affinity"][kind] = json!({"preferredDuringSchedulingIgnoredDuringExecution":
                    [{"weight": 1 + self.below(2), "podAffinityTerm": term}]});
            }
            _ => {}
        }
        json::decode_value(&value).unwrap().object
    }
}
