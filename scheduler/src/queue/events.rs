//! What happens in the cluster, as far as a pod that fits nowhere may wait for it.

use crate::pods::PodInfo;
use crate::snapshot::NodeInfo;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub enum Event {
    NodeAdded(Arc<NodeInfo>),
    NodeChanged {
        before: Arc<NodeInfo>,
        after: Arc<NodeInfo>,
    },
    NodeRemoved(Arc<NodeInfo>),
    /// A pod takes room now.
    PodCame(Arc<PodInfo>),
    PodChanged {
        before: Arc<PodInfo>,
        after: Arc<PodInfo>,
    },
    /// It takes none any more, or is not nominated any more.
    PodWent(Arc<PodInfo>),
    /// Something of which it is not known whom it helps.
    Anything,
}

impl Event {
    /// As kube-scheduler's metrics name it.
    pub fn label(&self) -> &'static str {
        match self {
            Event::NodeAdded(_) => "NodeAdd",
            Event::NodeChanged { before, after } => match () {
                () if before.allocatable != after.allocatable => "NodeUpdateNodeAllocatable",
                () if before.labels != after.labels => "NodeUpdateNodeLabel",
                () => "NodeUpdateNodeTaint",
            },
            Event::NodeRemoved(_) => "NodeDelete",
            Event::PodCame(_) => "AssignedPodAdd",
            Event::PodChanged { before, after } => match before.labels == after.labels {
                true => "AssignedPodUpdatePodScaleDown",
                false => "AssignedPodUpdatePodLabel",
            },
            Event::PodWent(_) => "AssignedPodDelete",
            Event::Anything => "ForceActivate",
        }
    }
}
