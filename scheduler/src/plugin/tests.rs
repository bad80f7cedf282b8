use super::*;
use crate::decision::Decision;
use crate::filter::Wanted;
use crate::profile::Profile;
use crate::snapshot::{NodeInfo, Snapshot};
use gantry_proto::scheduler::v1::plugin_server::{Plugin, PluginServer};
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// Short, because one test waits for it to pass.
const DEADLINE: Duration = Duration::from_millis(50);
/// For answers that are waited for, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a program behaves.
#[derive(Clone, Copy)]
enum Manner {
    /// Rejects the node "old", and likes "new".
    Judges,
    Hangs,
    Refuses,
    /// Tells of a node that nobody asked about.
    Dreams,
    Exaggerates,
}

struct Program {
    manner: Manner,
    calls: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl Plugin for Program {
    async fn filter(&self, request: Request<FilterRequest>) -> Result<Response<FilterReply>, Status> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let request = request.into_inner();
        let node = match self.manner {
            Manner::Hangs => std::future::pending().await,
            Manner::Refuses => return Err(Status::internal("out of order")),
            Manner::Dreams => "dream",
            Manner::Judges | Manner::Exaggerates => "old",
        };
        let known = request.nodes.iter().any(|node| node.metadata.is_some());
        let reason = if known {
            "node(s) are too old, as they say"
        } else {
            "node(s) are too old"
        };
        Ok(Response::new(FilterReply {
            rejected: [(node.to_string(), reason.to_string())].into(),
            unresolvable: vec![node.to_string()],
        }))
    }

    async fn score(&self, _: Request<ScoreRequest>) -> Result<Response<ScoreReply>, Status> {
        let score = match self.manner {
            Manner::Exaggerates => 1_000,
            _ => 100,
        };
        let scores = [("new".to_string(), score)].into();
        Ok(Response::new(ScoreReply { scores }))
    }
}

/// A program in this process, and what it has been asked so far.
async fn program(manner: Manner, change: impl FnOnce(&mut AddedPlugin)) -> (Arc<Added>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let calls = Arc::new(AtomicUsize::new(0));
    let service = PluginServer::new(Program {
        manner,
        calls: calls.clone(),
    });
    let server = Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let mut plugin = AddedPlugin {
        name: "Age".into(),
        address,
        deadline: PATIENCE,
        filters: true,
        ..AddedPlugin::default()
    };
    change(&mut plugin);
    (Arc::new(Added::new(plugin).unwrap()), calls)
}

fn question(names: &[&str]) -> Question {
    Question {
        pod: Pod::default(),
        names: names.iter().map(|name| Arc::from(*name)).collect(),
        nodes: Arc::new(|name| {
            let node = json!({"metadata": {"name": name}});
            gantry_proto::json::decode_value::<Node>(&node)
                .ok()
                .map(|decoded| decoded.object)
        }),
    }
}

fn nodes(names: &[&str]) -> Snapshot {
    let mut snapshot = Snapshot::new();
    for name in names {
        let node = json!({
            "metadata": {"name": name},
            "status": {"allocatable": {"cpu": "4", "memory": "4Gi", "pods": "10"}},
        });
        let mut info = NodeInfo::default();
        info.set_node(&gantry_proto::json::decode_value(&node).unwrap().object);
        snapshot.put(info);
    }
    snapshot.settle();
    snapshot
}

fn decide(snapshot: &Snapshot, verdict: &Verdict) -> String {
    let (pod, profile) = (Pod::default(), Profile::default());
    let wanted = Wanted::of(&pod, snapshot, &profile);
    match verdict::decide(&wanted, snapshot, 0, verdict, 0) {
        Decision::Bind { node } => node.to_string(),
        Decision::Unschedulable(why) => why.message(),
    }
}

#[tokio::test]
async fn what_a_program_rejects_gets_no_pod_and_what_it_likes_does() {
    let (added, _) = program(Manner::Judges, |plugin| plugin.score_weight = Some(1_000)).await;
    let names = ["other", "new", "old"];
    let verdict = consult(&[added], question(&names)).await.unwrap();
    assert_eq!(decide(&nodes(&names), &verdict), "new");
    assert!(
        verdict
            .rejection("old")
            .is_some_and(|rejection| !rejection.resolvable)
    );
    // A node that has come since was not asked about.
    assert_eq!(
        decide(&nodes(&["old", "unknown"]), &verdict),
        "0/2 nodes are available: 1 node(s) are too old."
    );
}

#[tokio::test]
async fn nodes_themselves_are_sent_only_to_whom_wants_them() {
    for (wants_nodes, expected) in [
        (false, "node(s) are too old"),
        (true, "node(s) are too old, as they say"),
    ] {
        let (added, _) = program(Manner::Judges, |plugin| plugin.wants_nodes = wants_nodes).await;
        let verdict = consult(&[added], question(&["old"])).await.unwrap();
        assert_eq!(
            verdict.rejection("old").map(|rejection| &*rejection.reason),
            Some(expected)
        );
    }
}

#[tokio::test]
async fn a_program_that_hangs_is_given_up_at_its_deadline_and_then_not_asked() {
    let (added, calls) = program(Manner::Hangs, |plugin| plugin.deadline = DEADLINE).await;
    let ask = async || {
        consult(std::slice::from_ref(&added), question(&["old"]))
            .await
            .unwrap_err()
            .to_string()
    };
    for _ in 0..3 {
        assert_eq!(ask().await, "plugin \"Age\" did not answer within 50ms");
    }
    for _ in 0..10 {
        assert_eq!(
            ask().await,
            "plugin \"Age\" is not asked for a while, because its last calls failed"
        );
    }
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn an_answer_that_cannot_be_used_is_a_failure() {
    let check = async |manner, expected: &str| {
        let (added, _) = program(manner, |plugin| plugin.score_weight = Some(1)).await;
        let failure = consult(&[added], question(&["old", "new", "other"]))
            .await
            .unwrap_err();
        assert_eq!(failure.to_string(), expected);
    };
    check(Manner::Refuses, "plugin \"Age\" failed: out of order").await;
    check(
        Manner::Dreams,
        "plugin \"Age\" told of node \"dream\", about which it was not asked",
    )
    .await;
    check(
        Manner::Exaggerates,
        "plugin \"Age\" returns an invalid score 1000, it should in the range of [0, 100] after normalizing",
    )
    .await;
}

#[tokio::test]
async fn a_program_that_may_be_passed_over_is() {
    for manner in [Manner::Refuses, Manner::Dreams, Manner::Exaggerates] {
        let (added, _) = program(manner, |plugin| {
            plugin.is_ignorable = true;
            plugin.score_weight = Some(1);
        })
        .await;
        let verdict = consult(&[added], question(&["new"])).await.unwrap();
        assert_eq!(decide(&nodes(&["new"]), &verdict), "new");
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_is_a_failure() {
    let plugin = AddedPlugin {
        name: "Age".into(),
        // Nobody listens on the discard port.
        address: "http://127.0.0.1:9".into(),
        deadline: PATIENCE,
        filters: true,
        ..AddedPlugin::default()
    };
    let added = Arc::new(Added::new(plugin).unwrap());
    let failure = consult(&[added], question(&["old"])).await.unwrap_err();
    assert!(matches!(failure, Failure::Failed { .. }), "{failure}");
}

#[test]
fn reasons_are_few_and_short() {
    let mut verdict = Verdict::new(Vec::new());
    let rejected = (0..100).map(|number| {
        (
            format!("n{number:02}"),
            format!("{number:02} {}", "x".repeat(1_000)),
        )
    });
    verdict.reject(
        "Age",
        FilterReply {
            rejected: rejected.collect(),
            unresolvable: Vec::new(),
        },
    );
    let reason = |node: &str| verdict.rejection(node).unwrap().reason.clone();
    assert_eq!(reason("n00").len(), 204);
    assert_eq!(&*reason("n99"), "node(s) were rejected by plugin \"Age\"");
}
