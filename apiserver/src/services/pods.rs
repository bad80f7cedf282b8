//! `gantry.api.v1.Pods`: what a node does for a pod.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use gantry_proto::api::v1::pods_server::Pods;
use gantry_proto::api::v1::{LogsReply, LogsRequest};
use gantry_proto::core::v1::Pod;
use gantry_proto::meta::v1::Status;
use gantry_proto::{Key, Kind as _};
use prost::Message as _;
use tonic::{Request, Response};

use super::{counted, open, refuse};
use crate::metrics::{self, Metrics};
use crate::node_streams::NodeStreams;
use crate::registry::{Registry, bad_request};
use crate::request::{Attributes, Caller, Verb};

#[derive(Clone)]
pub struct PodsService {
    pub registry: Arc<Registry>,
    pub nodes: Arc<NodeStreams>,
    pub metrics: Metrics,
}

impl PodsService {
    /// The node that has the pod, and the request with its container settled.
    async fn resolve(
        &self,
        caller: &Caller,
        mut request: LogsRequest,
    ) -> Result<(String, LogsRequest), Status> {
        let attributes = Attributes {
            verb: Verb::Get,
            kind: Pod::INFO,
            subresource: "log",
            namespace: &request.namespace,
            name: &request.pod,
            fixed_fields: &[],
        };
        self.registry.authorize(caller, &attributes).await?;
        let cache = self.registry.cache::<Pod>()?;
        let key = Key::new(&request.namespace, &request.pod);
        let pod = self.registry.read(cache, &key).await?;
        let pod = Pod::decode(&*pod.raw).map_err(|error| bad_request(error.to_string()))?;
        request.container = container_of(&pod, &request.container)?;
        if pod.spec().node_name.is_empty() {
            return Err(bad_request(format!(
                "pod {} does not have a host assigned",
                request.pod
            )));
        }
        Ok((pod.spec().node_name.clone(), request))
    }
}

/// The container that a log is of, in Kubernetes' words where there is none
/// (pkg/registry/core/pod/strategy.go, LogLocation).
fn container_of(pod: &Pod, wanted: &str) -> Result<String, Status> {
    let spec = pod.spec();
    let regular: Vec<&str> = spec
        .containers
        .iter()
        .map(|container| container.name.as_str())
        .collect();
    let init: Vec<&str> = spec
        .init_containers
        .iter()
        .map(|container| container.name.as_str())
        .collect();
    let name = &pod.metadata().name;
    if !wanted.is_empty() {
        let ephemeral = spec
            .ephemeral_containers
            .iter()
            .map(|container| container.ephemeral_container_common());
        let mut ephemeral = ephemeral.map(|container| container.name.as_str());
        let known =
            regular.contains(&wanted) || init.contains(&wanted) || ephemeral.any(|name| name == wanted);
        if known {
            return Ok(wanted.to_owned());
        }
        return Err(bad_request(format!(
            "container {wanted} is not valid for pod {name}"
        )));
    }
    match regular.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => Err(bad_request(format!(
            "a container name must be specified for pod {name}"
        ))),
        _ => {
            let mut choices = format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                regular.join(" ")
            );
            if !init.is_empty() {
                choices.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            Err(bad_request(choices))
        }
    }
}

#[tonic::async_trait]
impl Pods for PodsService {
    type LogsStream = Pin<Box<dyn Stream<Item = Result<LogsReply, tonic::Status>> + Send>>;

    async fn logs(&self, request: Request<LogsRequest>) -> Result<Response<Self::LogsStream>, tonic::Status> {
        let (caller, request) = open(request);
        let (namespace, pod) = (&request.namespace, &request.pod);
        let asked = metrics::Request::new(Verb::Get, Some(Pod::INFO), "log", namespace, pod);
        counted(&self.metrics, asked, 200, async {
            let (node, request) = self.resolve(&caller, request).await.map_err(refuse)?;
            let mut agent = self.nodes.agent(&self.registry, &node).await.map_err(refuse)?;
            let reply = agent.logs(request).await?;
            Ok(Response::new(Box::pin(reply.into_inner()) as Self::LogsStream))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use gantry_proto::json;

    use super::*;

    #[test]
    fn a_container_is_found_or_its_absence_explained() {
        let check = |containers: &str, wanted: &str, expected: Result<&str, &str>| {
            let pod = format!(r#"{{"metadata": {{"name": "p"}}, "spec": {containers}}}"#);
            let pod: Pod = json::decode(pod.as_bytes()).unwrap().object;
            let found = container_of(&pod, wanted).map_err(|status| status.message);
            assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned));
        };
        let one = r#"{"containers": [{"name": "a"}], "initContainers": [{"name": "i"}]}"#;
        let two = r#"{"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]}"#;
        check(one, "", Ok("a"));
        check(one, "i", Ok("i"));
        check(one, "x", Err("container x is not valid for pod p"));
        check(two, "b", Ok("b"));
        check(
            two,
            "",
            Err(
                "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]",
            ),
        );
    }
}
