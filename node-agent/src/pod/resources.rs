//! Quality of service, cgroup values and OOM scores, as the kubelet computes them.

use crate::pod::identity::is_sidecar;
use gantry_proto::core::v1::{Container, PodSpec, ResourceRequirements};
use gantry_proto::meta::v1::Quantity;
use std::collections::BTreeMap;

/// The CFS period in microseconds: the kernel's and the kubelet's default.
pub const CPU_PERIOD: i64 = 100_000;
/// The kernel's least and largest share values, and the shares of one CPU.
const LEAST_SHARES: i64 = 2;
const MOST_SHARES: i64 = 262_144;
const SHARES_PER_CPU: i64 = 1024;
/// The smallest quota the kernel takes, in microseconds.
const LEAST_QUOTA: i64 = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl Qos {
    pub fn as_str(self) -> &'static str {
        match self {
            Qos::Guaranteed => "Guaranteed",
            Qos::Burstable => "Burstable",
            Qos::BestEffort => "BestEffort",
        }
    }

    /// The cgroup between the node's and the pod's. Guaranteed pods are directly below the node's.
    pub fn cgroup(self) -> Option<&'static str> {
        match self {
            Qos::Guaranteed => None,
            Qos::Burstable => Some("burstable"),
            Qos::BestEffort => Some("besteffort"),
        }
    }
}

/// CPU in thousandths, memory in bytes; `None` where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    pub cpu: Option<i64>,
    pub memory: Option<i64>,
}

pub fn limits(resources: &ResourceRequirements) -> Amounts {
    amounts(&resources.limits)
}

/// A limit without a request is the request too.
pub fn requests(resources: &ResourceRequirements) -> Amounts {
    let (requests, limits) = (amounts(&resources.requests), amounts(&resources.limits));
    Amounts {
        cpu: requests.cpu.or(limits.cpu),
        memory: requests.memory.or(limits.memory),
    }
}

fn amounts(quantities: &BTreeMap<String, Quantity>) -> Amounts {
    let of =
        |name: &str, value: fn(&Quantity) -> i64| quantities.get(name).map(value).filter(|value| *value != 0);
    Amounts {
        cpu: of("cpu", Quantity::milli_value),
        memory: of("memory", Quantity::value),
    }
}

pub fn qos_class(spec: &PodSpec) -> Qos {
    let all: Vec<(Amounts, Amounts)> = spec
        .init_containers
        .iter()
        .chain(&spec.containers)
        .map(|container| (requests(container.resources()), limits(container.resources())))
        .collect();
    let nothing = Amounts::default();
    if all
        .iter()
        .all(|(requests, limits)| *requests == nothing && *limits == nothing)
    {
        return Qos::BestEffort;
    }
    let is_guaranteed = all
        .iter()
        .all(|(requests, limits)| limits.cpu.is_some() && limits.memory.is_some() && requests == limits);
    if is_guaranteed {
        Qos::Guaranteed
    } else {
        Qos::Burstable
    }
}

pub fn cpu_shares(milli: Option<i64>) -> i64 {
    milli.map_or(LEAST_SHARES, |milli| {
        (milli.saturating_mul(SHARES_PER_CPU) / 1000).clamp(LEAST_SHARES, MOST_SHARES)
    })
}

/// Microseconds of CPU time per [`CPU_PERIOD`]; 0 for no limit.
pub fn cpu_quota(milli: Option<i64>) -> i64 {
    milli.map_or(0, |milli| {
        (milli.saturating_mul(CPU_PERIOD) / 1000).max(LEAST_QUOTA)
    })
}

/// How readily the kernel kills the container for want of memory: the kubelet's formula, but never below 0,
/// because a lower score needs CAP_SYS_RESOURCE, which the agent must not depend on.
pub fn oom_score_adjustment(spec: &PodSpec, container: &Container, node_memory: i64) -> i64 {
    match qos_class(spec) {
        Qos::Guaranteed => 0,
        Qos::BestEffort => 1000,
        Qos::Burstable => {
            let request = requests(container.resources()).memory.unwrap_or(0);
            (1000 - request.saturating_mul(1000) / node_memory.max(1)).clamp(3, 999)
        }
    }
}

/// What a pod's containers have together at its most demanding moment: those that run side by side, or an init
/// container beside the sidecars before it. A sum of limits is there only if each container has one.
pub fn pod_sum(spec: &PodSpec, of: fn(&ResourceRequirements) -> Amounts, needs_all: bool) -> Amounts {
    let sum = |value: fn(&Amounts) -> Option<i64>| -> Option<i64> {
        let own = |container: &Container| value(&of(container.resources()));
        let all: Vec<Option<i64>> = spec
            .init_containers
            .iter()
            .chain(&spec.containers)
            .map(own)
            .collect();
        let is_known = match needs_all {
            true => all.iter().all(Option::is_some),
            false => all.iter().any(Option::is_some),
        };
        let (mut sidecars, mut most) = (0, 0);
        for container in &spec.init_containers {
            let amount = own(container).unwrap_or(0);
            most = most.max(amount.saturating_add(sidecars));
            if is_sidecar(container) {
                sidecars = amount.saturating_add(sidecars);
            }
        }
        let amounts = spec.containers.iter().filter_map(own);
        let together = amounts.fold(0, i64::saturating_add);
        is_known.then_some(most.max(together.saturating_add(sidecars)))
    };
    Amounts {
        cpu: sum(|amounts| amounts.cpu),
        memory: sum(|amounts| amounts.memory),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> Container {
        let map = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(name, text)| (name.to_string(), Quantity::parse(text).unwrap()))
                .collect()
        };
        let resources = ResourceRequirements {
            requests: map(requests),
            limits: map(limits),
            ..ResourceRequirements::default()
        };
        Container {
            resources: Some(resources),
            ..Container::default()
        }
    }

    fn pod(containers: Vec<Container>) -> PodSpec {
        PodSpec {
            containers,
            ..PodSpec::default()
        }
    }

    #[test]
    fn the_class_follows_from_requests_and_limits() {
        let both = [("cpu", "100m"), ("memory", "64Mi")];
        let check = |containers: Vec<Container>, expected| assert_eq!(qos_class(&pod(containers)), expected);
        check(vec![container(&[], &[])], Qos::BestEffort);
        check(vec![container(&both, &both)], Qos::Guaranteed);
        check(vec![container(&[], &both)], Qos::Guaranteed);
        check(vec![container(&both, &[])], Qos::Burstable);
        check(vec![container(&both, &both), container(&[], &[])], Qos::Burstable);
        check(vec![container(&[("cpu", "1")], &both)], Qos::Burstable);
    }

    #[test]
    fn shares_and_quota_follow_cpu() {
        for (milli, shares, quota) in [
            (None, 2, 0),
            (Some(1), 2, 1000),
            (Some(100), 102, 10_000),
            (Some(1500), 1536, 150_000),
            (Some(i64::MAX), 262_144, i64::MAX / 1000),
        ] {
            assert_eq!(
                (cpu_shares(milli), cpu_quota(milli)),
                (shares, quota),
                "{milli:?}"
            );
        }
    }

    #[test]
    fn a_pods_limit_holds_its_most_demanding_moment() {
        let limit = |memory: &str| container(&[], &[("memory", memory)]);
        let sidecar = |memory: &str| Container {
            restart_policy: Some("Always".into()),
            ..limit(memory)
        };
        let sum = |inits: Vec<Container>, containers: Vec<Container>| {
            let spec = PodSpec {
                init_containers: inits,
                ..pod(containers)
            };
            pod_sum(&spec, limits, true).memory
        };
        assert_eq!(sum(vec![], vec![limit("1"), limit("2")]), Some(3));
        assert_eq!(sum(vec![limit("9")], vec![limit("1"), limit("2")]), Some(9));
        assert_eq!(
            sum(vec![sidecar("4"), limit("9"), sidecar("5")], vec![limit("1")]),
            Some(13)
        );
        assert_eq!(sum(vec![sidecar("4")], vec![limit("1")]), Some(5));
        assert_eq!(sum(vec![container(&[], &[])], vec![limit("1")]), None);
        let most = || limit(&i64::MAX.to_string());
        assert_eq!(sum(vec![most()], vec![most(), most()]), Some(i64::MAX));
    }

    #[test]
    fn an_oom_score_is_never_negative() {
        let node = 1 << 30;
        let score = |c: Container| oom_score_adjustment(&pod(vec![c.clone()]), &c, node);
        let both = [("cpu", "1"), ("memory", "64Mi")];
        assert_eq!(score(container(&[], &[])), 1000);
        assert_eq!(score(container(&both, &both)), 0);
        assert_eq!(score(container(&[("memory", "512Mi")], &[])), 500);
        assert_eq!(score(container(&[("memory", "2Gi")], &[])), 3);
        assert_eq!(score(container(&[("cpu", "1")], &[])), 999);
    }
}
