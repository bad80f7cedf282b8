//! What pods ask for and nodes have, as whole numbers.

use gantry_proto::core::v1::{Container, PodSpec};
use gantry_proto::meta::v1::Quantity;
use std::collections::BTreeMap;

/// Amounts by resource name: cpu in thousandths, everything else in units (bytes, devices, pods).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources(BTreeMap<String, i64>);

pub const CPU: &str = "cpu";
pub const MEMORY: &str = "memory";
pub const PODS: &str = "pods";
/// What a container without requests counts as where nodes are compared, as in kube-scheduler: 100m and 200 MiB.
const DEFAULT_MILLI_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 << 20;

impl Resources {
    pub fn of_quantities(quantities: &BTreeMap<String, Quantity>) -> Resources {
        let amount = |name: &str, quantity: &Quantity| match name {
            CPU => quantity.milli_value(),
            _ => quantity.value(),
        };
        Resources(
            quantities
                .iter()
                .map(|(name, quantity)| (name.clone(), amount(name, quantity)))
                .collect(),
        )
    }

    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    pub fn set(&mut self, name: &str, amount: i64) {
        self.0.insert(name.into(), amount);
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    pub fn add(&mut self, other: &Resources) {
        for (name, amount) in &other.0 {
            let sum = self.get(name).saturating_add(*amount);
            self.0.insert(name.clone(), sum);
        }
    }

    pub fn subtract(&mut self, other: &Resources) {
        for (name, amount) in &other.0 {
            let difference = self.get(name).saturating_sub(*amount);
            self.0.insert(name.clone(), difference);
        }
    }

    /// The larger of each amount.
    fn raise(&mut self, other: &Resources) {
        for (name, amount) in &other.0 {
            let larger = self.get(name).max(*amount);
            self.0.insert(name.clone(), larger);
        }
    }
}

/// What a pod needs at once (KEP-753): its containers together with its sidecars, or the init container
/// that needs most beside the sidecars started before it, whichever is more; plus overhead. One pod is
/// counted too.
pub fn pod_requests(spec: &PodSpec) -> Resources {
    sum(spec, |container| {
        Resources::of_quantities(&container.resources().requests)
    })
}

/// What a pod counts as where nodes are compared: as [`pod_requests`], and a container that does not say what it needs
/// still counts as something, or pods without requests would all go to one node.
pub fn counted_requests(spec: &PodSpec) -> Resources {
    sum(spec, |container| {
        let mut requests = Resources::of_quantities(&container.resources().requests);
        for (name, default) in [(CPU, DEFAULT_MILLI_CPU), (MEMORY, DEFAULT_MEMORY)] {
            requests.0.entry(name.into()).or_insert(default);
        }
        requests
    })
}

fn sum(spec: &PodSpec, requests_of: impl Fn(&Container) -> Resources) -> Resources {
    let mut running = Resources::default();
    for container in &spec.containers {
        running.add(&requests_of(container));
    }
    let (mut sidecars, mut starting) = (Resources::default(), Resources::default());
    for container in &spec.init_containers {
        let requests = requests_of(container);
        let mut now = sidecars.clone();
        now.add(&requests);
        starting.raise(&now);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars.add(&requests);
        }
    }
    running.add(&sidecars);
    running.raise(&starting);
    // Requests of the pod as a whole stand above those of its containers (KEP-2837).
    for (name, amount) in Resources::of_quantities(&spec.resources().requests).iter() {
        running.set(name, amount);
    }
    running.add(&Resources::of_quantities(&spec.overhead));
    running.set(PODS, 1);
    running
}

/// An amount as people write it.
pub fn display(name: &str, amount: i64) -> String {
    const UNITS: &[(i64, &str)] = &[(1 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")];
    match name {
        CPU if amount % 1000 == 0 => format!("{}", amount / 1000),
        CPU => format!("{amount}m"),
        MEMORY | "ephemeral-storage" => {
            let unit = UNITS.iter().find(|(size, _)| amount != 0 && amount % size == 0);
            let unit = unit.or_else(|| UNITS.iter().find(|(size, _)| amount.abs() >= 10 * size));
            unit.map_or_else(
                || amount.to_string(),
                |(size, suffix)| format!("{}{suffix}", amount / size),
            )
        }
        _ => amount.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_proto::core::v1::ResourceRequirements;

    fn container(cpu: &str, sidecar: bool) -> Container {
        let quantity = Quantity::parse(cpu).unwrap_or_default();
        let resources = ResourceRequirements {
            requests: [("cpu".to_string(), quantity)].into(),
            ..Default::default()
        };
        Container {
            resources: Some(resources),
            restart_policy: sidecar.then(|| "Always".to_string()),
            ..Default::default()
        }
    }

    #[test]
    fn a_pod_needs_its_containers_or_its_largest_start_whichever_is_more() {
        let check = |app: &[&str], init: &[(&str, bool)], milli_cpu: i64| {
            let spec = PodSpec {
                containers: app.iter().map(|cpu| container(cpu, false)).collect(),
                init_containers: init
                    .iter()
                    .map(|(cpu, sidecar)| container(cpu, *sidecar))
                    .collect(),
                ..Default::default()
            };
            let requests = pod_requests(&spec);
            assert_eq!(
                (requests.get(CPU), requests.get(PODS)),
                (milli_cpu, 1),
                "{app:?} {init:?}"
            );
        };
        check(&["100m", "0.2"], &[], 300);
        check(&["100m"], &[("1", false)], 1000);
        check(&["100m"], &[("50m", true), ("1", false)], 1050);
        check(&["1"], &[("500m", true), ("100m", false)], 1500);
    }

    #[test]
    fn amounts_read_as_people_write_them() {
        for (name, amount, text) in [
            (CPU, 2000, "2"),
            (CPU, 1500, "1500m"),
            (MEMORY, 1 << 30, "1Gi"),
            (MEMORY, 0, "0"),
            ("x.dev/gpu", 2, "2"),
        ] {
            assert_eq!(display(name, amount), text);
        }
    }
}
