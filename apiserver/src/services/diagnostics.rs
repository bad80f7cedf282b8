//! `gantry.api.v1.Diagnostics`: questions that the leading scheduler answers.

use std::sync::Arc;

use gantry_proto::api::v1::diagnostics_server::Diagnostics;
use gantry_proto::api::v1::{WhyReply, WhyRequest};
use gantry_proto::coordination::v1::Lease;
use gantry_proto::core::v1::Pod;
use gantry_proto::meta::v1::Status;
use gantry_proto::scheduler::v1::explain_client::ExplainClient;
use gantry_proto::status::Reason;
use gantry_proto::{Key, Kind as _, KindInfo};
use prost::Message as _;
use tonic::{Request, Response};

use super::{counted, open, refuse};
use crate::metrics::{self, Metrics};
use crate::node_streams::{Connection, NodeStreams};
use crate::registry::{Registry, bad_request};
use crate::request::{Attributes, Caller, Verb};

const LEASE_NAMESPACE: &str = "kube-system";
const LEASE_NAME: &str = "gantry-scheduler";

#[derive(Clone)]
pub struct DiagnosticsService {
    pub registry: Arc<Registry>,
    pub nodes: Arc<NodeStreams>,
    pub metrics: Metrics,
}

impl DiagnosticsService {
    async fn scheduler(
        &self,
        caller: &Caller,
        request: &WhyRequest,
    ) -> Result<ExplainClient<Connection>, Status> {
        if KindInfo::of_resource(&request.resource).is_none_or(|info| info.message != Pod::INFO.message) {
            return Err(bad_request("only pods can be explained"));
        }
        let attributes = Attributes {
            verb: Verb::Get,
            kind: Pod::INFO,
            subresource: "",
            namespace: &request.namespace,
            name: &request.name,
            fixed_fields: &[],
        };
        self.registry.authorize(caller, &attributes).await?;
        // Says NotFound before anybody is asked.
        let pods = self.registry.cache::<Pod>()?;
        self.registry
            .read(pods, &Key::new(&request.namespace, &request.name))
            .await?;
        let leases = self.registry.cache::<Lease>()?;
        let lease = self
            .registry
            .read(leases, &Key::new(LEASE_NAMESPACE, LEASE_NAME))
            .await;
        let lease = lease.map_err(|status| match status.reason_code() {
            Reason::NotFound => unavailable("no scheduler has taken the lead yet: its Lease is missing"),
            _ => status,
        })?;
        let lease = Lease::decode(&*lease.raw).map_err(|error| bad_request(error.to_string()))?;
        let holder = lease.spec().holder_identity.clone().unwrap_or_default();
        let (host, port) = address_of(&holder)
            .ok_or_else(|| unavailable(&format!("no scheduler leads: the Lease's holder is {holder:?}")))?;
        let connection = self.nodes.connect(&host, port, &host).await?;
        Ok(ExplainClient::new(connection))
    }
}

/// The host and port of `NAME@HOST:PORT`.
fn address_of(holder: &str) -> Option<(String, u16)> {
    let (_, address) = holder.rsplit_once('@')?;
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().ok()?;
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

fn unavailable(why: &str) -> Status {
    Status::failure(
        Reason::ServiceUnavailable,
        format!("the server is currently unable to handle the request: {why}"),
    )
}

#[tonic::async_trait]
impl Diagnostics for DiagnosticsService {
    async fn why(&self, request: Request<WhyRequest>) -> Result<Response<WhyReply>, tonic::Status> {
        let (caller, request) = open(request);
        let (resource, namespace, name) = (&request.resource, &request.namespace, &request.name);
        let asked = metrics::Request::of(Verb::Get, resource, "why", namespace, name);
        counted(&self.metrics, asked, 200, async {
            let mut scheduler = self.scheduler(&caller, &request).await.map_err(refuse)?;
            scheduler.why(request).await
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::address_of;

    #[test]
    fn the_leader_is_found_by_its_lease() {
        let check = |holder, expected: Option<(&str, u16)>| {
            assert_eq!(
                address_of(holder),
                expected.map(|(host, port)| (host.to_owned(), port)),
                "{holder}"
            );
        };
        check("n1@10.0.0.1:10259", Some(("10.0.0.1", 10259)));
        check("n1_4711@scheduler.local:1", Some(("scheduler.local", 1)));
        check("n1@[fd00::1]:10259", Some(("fd00::1", 10259)));
        check("n1", None);
        check("n1@host", None);
        check("n1@:5", None);
        check("", None);
    }
}
