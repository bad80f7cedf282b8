//! What wakes the allocation of pod ranges. There is one key, for all nodes.

use super::{Given, Ranges, allocate, reconcile};
use crate::action::Action;
use crate::cluster::{Cluster, Watches};
use crate::driver::Controller;
use crate::memory::Memory;
use crate::wakes::Wakes;
use gantry_proto::core::v1::Node;
use std::sync::{Arc, Mutex, PoisonError};

pub struct NodeIpamController {
    ranges: Ranges,
    /// What this process has given out to nodes that are still there.
    given: Mutex<Given>,
}

impl NodeIpamController {
    pub fn new(ranges: Ranges) -> NodeIpamController {
        NodeIpamController {
            ranges,
            given: Mutex::default(),
        }
    }
}

/// The one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AllNodes;

impl std::fmt::Display for AllNodes {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("all nodes")
    }
}

impl Controller for NodeIpamController {
    type Key = AllNodes;
    const NAME: &'static str = "node_ipam";
    const COMPONENT: &'static str = "cidrAllocator";
    const RESOURCE: &'static str = "";

    fn watch(self: &Arc<Self>, watches: &mut Watches, wakes: &Wakes<AllNodes>) {
        let wake = wakes.clone();
        watches.nodes.add(move |change| {
            let lacks = |node: &Node| node.spec().pod_cidr.is_empty();
            // The range of a node that is gone may be what another one waits for.
            if change.new.as_ref().is_none_or(|node| lacks(&node.object)) {
                wake.wake(AllNodes, change.cause.as_ref());
            }
        });
    }

    async fn decide(
        &self,
        cluster: &Cluster,
        _key: &AllNodes,
        _memory: &Memory,
    ) -> Result<Option<Vec<Action>>, gantry_client::Error> {
        let nodes = cluster.nodes.snapshot();
        let nodes: Vec<&Node> = nodes.values().map(|entry| &entry.object).collect();
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.retain(|uid, _| nodes.iter().any(|node| node.metadata().uid == *uid));
        let actions = reconcile(&nodes, &self.ranges, &given);
        let allocated = allocate(&nodes, &self.ranges, &given);
        given.extend(
            allocated
                .into_iter()
                .filter_map(|(target, cidr)| Some((target.uid, cidr?))),
        );
        Ok(Some(actions))
    }
}
