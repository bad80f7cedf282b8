//! A program that adds two rules to the scheduler: a pod with the annotation `example.dev/tier` runs only on nodes whose
//! label of the same name has the same value, and nodes with a higher number in the label `example.dev/rank` are better.
//!
//! Run it with `cargo run --example rank -- 127.0.0.1:7070`, and enable it with this configuration
//! (docs/scheduler-configuration.md):
//!
//! ```yaml
//! apiVersion: kubescheduler.config.k8s.io/v1
//! kind: KubeSchedulerConfiguration
//! profiles:
//! - plugins:
//!     multiPoint: {enabled: [{name: Rank, weight: 5}]}
//!   pluginConfig:
//!   - name: Rank
//!     args: {address: "http://127.0.0.1:7070", timeout: 200ms, sendNodes: true}
//! ```

use gantry_proto::core::v1::Node;
use gantry_proto::scheduler::v1::plugin_server::{Plugin, PluginServer};
use gantry_proto::scheduler::v1::{FilterReply, FilterRequest, ScoreReply, ScoreRequest};
use std::net::SocketAddr;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

const TIER: &str = "example.dev/tier";
const RANK: &str = "example.dev/rank";

struct Rank;

#[tonic::async_trait]
impl Plugin for Rank {
    async fn filter(&self, request: Request<FilterRequest>) -> Result<Response<FilterReply>, Status> {
        let request = request.into_inner();
        let pod = request.pod.unwrap_or_default();
        let mut reply = FilterReply::default();
        if let Some(tier) = pod.metadata().annotations.get(TIER) {
            let others = request.nodes.iter().filter(|node| label(node, TIER) != tier);
            for node in others {
                let name = node.metadata().name.clone();
                reply
                    .rejected
                    .insert(name.clone(), format!("node(s) are not of tier {tier}"));
                // Evicting pods does not change a label.
                reply.unresolvable.push(name);
            }
        }
        Ok(Response::new(reply))
    }

    async fn score(&self, request: Request<ScoreRequest>) -> Result<Response<ScoreReply>, Status> {
        let nodes = request.into_inner().nodes;
        let score = |node: &Node| {
            (
                node.metadata().name.clone(),
                label(node, RANK).parse().unwrap_or(0).clamp(0, 100),
            )
        };
        let scores = nodes.iter().map(score).collect();
        Ok(Response::new(ScoreReply { scores }))
    }
}

fn label<'n>(node: &'n Node, key: &str) -> &'n str {
    node.metadata().labels.get(key).map_or("", String::as_str)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address: SocketAddr = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:7070".into())
        .parse()?;
    println!("serving gantry.scheduler.v1.Plugin on {address}");
    Server::builder()
        .add_service(PluginServer::new(Rank))
        .serve(address)
        .await?;
    Ok(())
}
