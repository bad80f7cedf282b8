//! What pods ask for and nodes have, as whole numbers.

use gantry_proto::core::v1::{Container, ContainerStatus, Pod, PodStatus};
use gantry_proto::meta::v1::Quantity;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Amounts by resource name: cpu in thousandths, everything else in units (bytes, devices, pods). What nearly every
/// pod asks for has a field, because decisions read nothing more often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    pub milli_cpu: i64,
    pub memory: i64,
    pub ephemeral_storage: i64,
    pub pods: i64,
    /// Extended resources, huge pages and the like, by name. None is zero.
    scalars: Vec<(Arc<str>, i64)>,
}

pub const CPU: &str = "cpu";
pub const MEMORY: &str = "memory";
pub const EPHEMERAL_STORAGE: &str = "ephemeral-storage";
pub const PODS: &str = "pods";
/// What a container without requests counts as where nodes are compared, as in kube-scheduler: 100m and 200 MiB.
const DEFAULT_MILLI_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 << 20;

impl Resources {
    pub fn of_quantities(quantities: &BTreeMap<String, Quantity>) -> Resources {
        let mut resources = Resources::default();
        for (name, quantity) in quantities {
            let amount = match name.as_str() {
                CPU => quantity.milli_value(),
                _ => quantity.value(),
            };
            resources.set(name, amount);
        }
        resources
    }

    pub fn get(&self, name: &str) -> i64 {
        match name {
            CPU => self.milli_cpu,
            MEMORY => self.memory,
            EPHEMERAL_STORAGE => self.ephemeral_storage,
            PODS => self.pods,
            _ => self.scalar_index(name).map_or(0, |index| self.scalars[index].1),
        }
    }

    pub fn set(&mut self, name: &str, amount: i64) {
        match name {
            CPU => self.milli_cpu = amount,
            MEMORY => self.memory = amount,
            EPHEMERAL_STORAGE => self.ephemeral_storage = amount,
            PODS => self.pods = amount,
            _ => match (self.scalar_index(name), amount) {
                (Ok(index), 0) => drop(self.scalars.remove(index)),
                (Ok(index), _) => self.scalars[index].1 = amount,
                (Err(_), 0) => {}
                (Err(index), _) => self.scalars.insert(index, (name.into(), amount)),
            },
        }
    }

    /// All that is not zero, those with a field of their own first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        let usual = [
            (PODS, self.pods),
            (CPU, self.milli_cpu),
            (MEMORY, self.memory),
            (EPHEMERAL_STORAGE, self.ephemeral_storage),
        ];
        usual
            .into_iter()
            .filter(|(_, amount)| *amount != 0)
            .chain(self.scalars())
    }

    /// Extended resources, huge pages and the like.
    pub fn scalars(&self) -> impl Iterator<Item = (&str, i64)> {
        self.scalars.iter().map(|(name, amount)| (&**name, *amount))
    }

    pub fn add(&mut self, other: &Resources) {
        self.combine(other, i64::saturating_add);
    }

    pub fn subtract(&mut self, other: &Resources) {
        self.combine(other, i64::saturating_sub);
    }

    /// The larger of each amount.
    fn raise(&mut self, other: &Resources) {
        self.combine(other, i64::max);
    }

    /// `operation` must leave an amount as it is where the other is zero, or keep it at least zero.
    fn combine(&mut self, other: &Resources, operation: impl Fn(i64, i64) -> i64) {
        self.milli_cpu = operation(self.milli_cpu, other.milli_cpu);
        self.memory = operation(self.memory, other.memory);
        self.ephemeral_storage = operation(self.ephemeral_storage, other.ephemeral_storage);
        self.pods = operation(self.pods, other.pods);
        for (name, amount) in &other.scalars {
            match self.scalar_index(name) {
                Ok(index) => {
                    let combined = operation(self.scalars[index].1, *amount);
                    self.set(name, combined);
                }
                Err(index) => self.scalars.insert(index, (name.clone(), operation(0, *amount))),
            }
        }
    }

    fn scalar_index(&self, name: &str) -> Result<usize, usize> {
        self.scalars.binary_search_by(|(other, _)| (**other).cmp(name))
    }
}

/// What a pod needs at once (KEP-753): its containers together with its sidecars, or the init container that needs
/// most beside the sidecars started before it, whichever is more; what it asks for as a whole (KEP-2837) stands above
/// that; plus overhead. Of a pod that is being resized it is the most of what it had, has and wants (KEP-1287). One
/// pod is counted too. (component-helpers/resource `PodRequests`.)
pub fn pod_requests(pod: &Pod) -> Resources {
    let mut requests = sum(pod, Missing::default());
    requests.pods = 1;
    requests
}

/// The cpu and memory that a pod counts as where nodes are compared: as [`pod_requests`], and a container that does
/// not say what it needs still counts as something, or pods without requests would all go to one node
/// (framework/types.go `CalculateResource`).
pub fn counted_requests(pod: &Pod, requests: &Resources) -> Counted {
    let of_pod = &pod.spec().resources().requests;
    let as_a_whole = of_pod.keys().any(|name| is_pod_level(name));
    let missing = Missing {
        cpu: !as_a_whole || requests.milli_cpu == 0,
        memory: !as_a_whole || requests.memory == 0,
    };
    let counted = sum(pod, missing);
    Counted {
        milli_cpu: counted.milli_cpu,
        memory: counted.memory,
    }
}

/// What pods count as where nodes are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub milli_cpu: i64,
    pub memory: i64,
}

impl Counted {
    pub fn get(&self, name: &str) -> i64 {
        match name {
            CPU => self.milli_cpu,
            MEMORY => self.memory,
            _ => 0,
        }
    }
}

/// What a container that does not ask for it counts as, rather than nothing.
#[derive(Clone, Copy, Default)]
struct Missing {
    cpu: bool,
    memory: bool,
}

fn sum(pod: &Pod, missing: Missing) -> Resources {
    let (spec, status) = (pod.spec(), pod.status());
    let requests_of = |container: &Container, statuses: &[ContainerStatus]| {
        let mut requests = effective(container, statuses, status);
        let asked = &container.resources().requests;
        if missing.cpu && !asked.contains_key(CPU) {
            requests.milli_cpu += DEFAULT_MILLI_CPU;
        }
        if missing.memory && !asked.contains_key(MEMORY) {
            requests.memory += DEFAULT_MEMORY;
        }
        requests
    };
    let mut running = Resources::default();
    for container in &spec.containers {
        running.add(&requests_of(container, &status.container_statuses));
    }
    let (mut sidecars, mut starting) = (Resources::default(), Resources::default());
    for container in &spec.init_containers {
        let is_sidecar = container.restart_policy.as_deref() == Some("Always");
        let statuses = match is_sidecar {
            true => status.init_container_statuses.as_slice(),
            false => &[],
        };
        let requests = requests_of(container, statuses);
        let mut now = sidecars.clone();
        now.add(&requests);
        starting.raise(&now);
        if is_sidecar {
            sidecars.add(&requests);
        }
    }
    running.add(&sidecars);
    running.raise(&starting);
    for (name, quantity) in &spec.resources().requests {
        if is_pod_level(name) {
            let single = BTreeMap::from([(name.clone(), quantity.clone())]);
            running.set(name, Resources::of_quantities(&single).get(name));
        }
    }
    running.add(&Resources::of_quantities(&spec.overhead));
    running
}

/// What a container takes while its requests are being changed.
fn effective(container: &Container, statuses: &[ContainerStatus], status: &PodStatus) -> Resources {
    let mut wanted = Resources::of_quantities(&container.resources().requests);
    let found = statuses.iter().find(|status| status.name == container.name);
    let Some((found, actual)) = found.and_then(|found| Some((found, found.resources.as_ref()?))) else {
        return wanted;
    };
    let resize = status
        .conditions
        .iter()
        .find(|condition| condition.r#type == "PodResizePending");
    if resize.is_some_and(|condition| condition.reason == "Infeasible") {
        wanted = Resources::default();
    }
    wanted.raise(&Resources::of_quantities(&actual.requests));
    wanted.raise(&Resources::of_quantities(&found.allocated_resources));
    wanted
}

/// What a pod as a whole can ask for.
fn is_pod_level(name: &str) -> bool {
    matches!(name, CPU | MEMORY) || name.starts_with("hugepages-")
}

/// Whether a name is one that a cluster's operator made up: with a domain that is not Kubernetes' own
/// (v1helper.IsExtendedResourceName).
pub fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

/// Whether nothing is assumed of a pod that does not ask for it (schedutil.IsScalarResourceName).
pub fn is_scalar(name: &str) -> bool {
    is_extended(name)
        || name.starts_with("hugepages-")
        || name.contains("kubernetes.io/")
        || name.starts_with("attachable-volumes-")
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
    use gantry_proto::json;
    use serde_json::{Value, json};

    fn pod(value: &Value) -> Pod {
        json::decode_value(value).map(|d| d.object).unwrap_or_default()
    }

    fn container(name: &str, cpu: &str, sidecar: bool) -> Value {
        let mut container = json!({"name": name, "resources": {"requests": {"cpu": cpu}}});
        if sidecar {
            container["restartPolicy"] = json!("Always");
        }
        container
    }

    #[test]
    fn a_pod_needs_its_containers_or_its_largest_start_whichever_is_more() {
        let check = |app: &[&str], init: &[(&str, bool)], more: Value, milli_cpu: i64| {
            let mut spec = json!({
                "containers": app.iter().map(|cpu| container("c", cpu, false)).collect::<Vec<_>>(),
                "initContainers": init.iter().map(|(cpu, s)| container("i", cpu, *s)).collect::<Vec<_>>(),
            });
            for (name, value) in more.as_object().into_iter().flatten() {
                spec[name] = value.clone();
            }
            let requests = pod_requests(&pod(&json!({"spec": spec})));
            assert_eq!((requests.get(CPU), requests.get(PODS)), (milli_cpu, 1), "{spec}");
        };
        check(&["100m", "0.2"], &[], json!({}), 300);
        check(&["100m"], &[("1", false)], json!({}), 1000);
        check(&["100m"], &[("50m", true), ("1", false)], json!({}), 1050);
        check(&["1"], &[("500m", true), ("100m", false)], json!({}), 1500);
        // A sidecar that starts after a large init container does not run beside it.
        check(&["100m"], &[("1", false), ("200m", true)], json!({}), 1000);
        check(
            &["100m"],
            &[("1", false)],
            json!({"overhead": {"cpu": "50m"}}),
            1050,
        );
        let whole = json!({"resources": {"requests": {"cpu": "2"}}, "overhead": {"cpu": "50m"}});
        check(&["100m"], &[("3", false)], whole, 2050);
        let not_as_a_whole = json!({"resources": {"requests": {"example.com/gpu": "2"}}});
        check(&["100m"], &[], not_as_a_whole, 100);
    }

    #[test]
    fn a_pod_that_is_resized_counts_as_the_most_of_what_it_has_and_wants() {
        let check = |reason: &str, milli_cpu: i64| {
            let requests = pod_requests(&pod(&json!({
                "spec": {"containers": [container("c", "2", false)]},
                "status": {
                    "containerStatuses": [{"name": "c", "allocatedResources": {"cpu": "500m"},
                        "resources": {"requests": {"cpu": "1"}}}],
                    "conditions": [{"type": "PodResizePending", "status": "True", "reason": reason}],
                },
            })));
            assert_eq!(requests.get(CPU), milli_cpu, "{reason}");
        };
        check("Deferred", 2000);
        check("Infeasible", 1000);
    }

    #[test]
    fn a_container_that_asks_for_nothing_counts_as_something_where_nodes_are_compared() {
        let check = |spec: Value, milli_cpu: i64, memory: i64| {
            let pod = pod(&json!({"spec": spec}));
            let counted = counted_requests(&pod, &pod_requests(&pod));
            assert_eq!((counted.milli_cpu, counted.memory), (milli_cpu, memory), "{spec}");
        };
        check(json!({"containers": [{"name": "a"}]}), 100, 200 << 20);
        check(
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            200,
            400 << 20,
        );
        check(json!({"containers": [container("a", "0", false)]}), 0, 200 << 20);
        let whole = json!({"containers": [{"name": "a"}], "resources": {"requests": {"cpu": "1"}}});
        check(whole, 1000, 200 << 20);
    }

    #[test]
    fn a_resource_that_is_given_back_leaves_nothing_behind() {
        let quantity = |text| Quantity::parse(text).unwrap_or_default();
        let gpus = Resources::of_quantities(&[("example.com/gpu".to_string(), quantity("2"))].into());
        let mut taken = Resources::default();
        taken.add(&gpus);
        assert_eq!(taken.iter().collect::<Vec<_>>(), [("example.com/gpu", 2)]);
        taken.subtract(&gpus);
        assert_eq!(taken, Resources::default());
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

    #[test]
    fn resources_with_a_foreign_domain_are_extended() {
        for (name, extended, scalar) in [
            ("example.com/gpu", true, true),
            ("kubernetes.io/batch", false, true),
            ("hugepages-2Mi", false, true),
            ("cpu", false, false),
            ("requests.example.com/gpu", false, false),
        ] {
            assert_eq!((is_extended(name), is_scalar(name)), (extended, scalar), "{name}");
        }
    }
}
