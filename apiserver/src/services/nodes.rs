//! `gantry.api.v1.Nodes`: what a node does for itself.

use std::sync::Arc;

use futures::StreamExt as _;
use gantry_proto::Kind as _;
use gantry_proto::api::v1::nodes_server::Nodes;
use gantry_proto::api::v1::{ImportImageReply, ImportImageRequest};
use gantry_proto::core::v1::Node;
use tonic::{Request, Response, Streaming};

use super::{caller, counted, refuse};
use crate::audit::Asked;
use crate::metrics::{self, Metrics};
use crate::node_streams::NodeStreams;
use crate::registry::{Registry, bad_request};
use crate::request::{Attributes, Verb};

#[derive(Clone)]
pub struct NodesService {
    pub registry: Arc<Registry>,
    pub nodes: Arc<NodeStreams>,
    pub metrics: Metrics,
}

impl NodesService {
    async fn import(
        &self,
        request: Request<Streaming<ImportImageRequest>>,
    ) -> Result<Response<ImportImageReply>, tonic::Status> {
        let caller = caller(&request);
        let mut archive = request.into_inner();
        let first = archive.message().await?;
        let first =
            first.ok_or_else(|| refuse(bad_request("the request has no message that names the node")))?;
        if first.node.is_empty() {
            return Err(refuse(bad_request("the first message must name the node")));
        }
        caller.trail.received(|| {
            Some(Asked {
                subresource: "proxy".into(),
                name: first.node.clone(),
                ..Asked::of(Verb::Create, Node::INFO)
            })
        });
        let attributes = Attributes {
            verb: Verb::Create,
            kind: Node::INFO,
            subresource: "proxy",
            namespace: "",
            name: &first.node,
            fixed_fields: &[],
        };
        self.registry
            .authorize(&caller, &attributes)
            .await
            .map_err(refuse)?;
        let mut agent = self
            .nodes
            .agent(&self.registry, &first.node)
            .await
            .map_err(refuse)?;
        // A broken upload ends the call to the node too: dropping the stream's end would look like its completion.
        let (broken, upload_broken) = tokio::sync::oneshot::channel::<tonic::Status>();
        let rest = archive.scan(Some(broken), |broken, message| {
            let next = match message {
                Ok(message) => Some(message),
                Err(status) => {
                    if let Some(broken) = broken.take() {
                        // Whoever would listen is gone only if the call is over.
                        let _ = broken.send(status);
                    }
                    None
                }
            };
            futures::future::ready(next)
        });
        let upload = futures::stream::once(async { first }).chain(rest);
        tokio::select! {
            biased;
            Ok(status) = upload_broken => Err(status),
            reply = agent.import_image(upload) => reply,
        }
    }
}

#[tonic::async_trait]
impl Nodes for NodesService {
    async fn import_image(
        &self,
        request: Request<Streaming<ImportImageRequest>>,
    ) -> Result<Response<ImportImageReply>, tonic::Status> {
        let asked = metrics::Request::new(Verb::Create, Some(Node::INFO), "proxy", "", "");
        counted(&self.metrics, asked, 201, self.import(request)).await
    }
}
