//! Resource names and amounts.

use super::field::{Errors, NOT_NEGATIVE, Path};
use super::names;
use gantry_proto::core::v1::{Container, PodSpec, ResourceClaim, ResourceRequirements};
use gantry_proto::meta::v1::Quantity;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

pub type Resources = BTreeMap<String, Quantity>;

const HUGE_PAGES: &str = "hugepages-";
const CONTAINER_RESOURCES: &[&str] = &["cpu", "ephemeral-storage", "memory"];
const STANDARD_RESOURCES: &[&str] = &[
    "configmaps",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
    "storage",
];
/// Resources that are counted, not measured.
const COUNTED_RESOURCES: &[&str] = &[
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];

/// Canonical form, rounded up to thousandths (SetDefaults_ResourceList). What is no quantity stays as it is,
/// for validation to refuse.
pub fn set_defaults(resources: &mut Resources) {
    for quantity in resources.values_mut() {
        let Ok(mut parsed) = Quantity::parse(&quantity.string) else {
            continue;
        };
        let in_milli = Quantity::from_milli(parsed.milli_value(), parsed.format());
        if parsed.compare(&in_milli) != Ordering::Equal && parsed.milli_value() != i64::MAX {
            parsed = in_milli;
        }
        *quantity = parsed;
    }
}

/// A container's requests and limits.
pub fn validate_container(
    resources: &ResourceRequirements,
    claims: &BTreeSet<&str>,
    path: &Path,
    errors: &mut Errors,
) {
    validate_requirements(resources, validate_container_name, path, errors);
    validate_claims(&resources.claims, claims, &path.child("claims"), errors);
}

/// Requests and limits of a whole pod (KEP-2837).
pub fn validate_pod(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let Some(resources) = &spec.resources else { return };
    if !resources.claims.is_empty() {
        errors.forbidden(
            &path.child("claims"),
            "claims may not be set for Resources at pod-level",
        );
    }
    validate_requirements(resources, validate_pod_name, path, errors);
    let requests = path.child("requests");
    for (name, needed) in aggregate_requests(spec) {
        if let Some(quantity) = resources.requests.get(&name)
            && needed.compare(quantity) == Ordering::Greater
        {
            let detail = format!("must be greater than or equal to aggregate container requests of {needed}");
            errors.invalid(&requests.key(&name), quantity.to_string(), detail);
        }
    }
    let containers = path.child("containers");
    for (i, container) in spec.containers.iter().enumerate() {
        for (name, limit) in &container.resources().limits {
            if let Some(quantity) = resources.limits.get(name)
                && limit.compare(quantity) == Ordering::Greater
            {
                let detail = format!("must be less than or equal to pod limits of {quantity}");
                let container = containers.index(i);
                errors.invalid(&container.key(name).child("limits"), limit.to_string(), detail);
            }
        }
    }
}

/// An amount of a resource: not negative, and whole where the resource is counted.
pub fn validate_quantity(name: &str, quantity: &Quantity, path: &Path, errors: &mut Errors) {
    if let Err(error) = Quantity::parse(&quantity.string) {
        errors.invalid(path, quantity.to_string(), error.to_string());
        return;
    }
    if quantity.is_negative() {
        errors.invalid(path, quantity.to_string(), NOT_NEGATIVE);
    }
    if is_counted(name) && quantity.milli_value() % 1000 != 0 {
        errors.invalid(path, quantity.to_string(), "must be an integer");
    }
}

/// What the pod needs at once: its containers and sidecars together, or one init container beside the sidecars
/// that were started before it, whichever is more.
pub fn aggregate_requests(spec: &PodSpec) -> Resources {
    let mut running = Resources::new();
    for container in &spec.containers {
        add(&mut running, &container.resources().requests);
    }
    let mut sidecars = Resources::new();
    let mut starting = Resources::new();
    for container in &spec.init_containers {
        let mut now = sidecars.clone();
        add(&mut now, &container.resources().requests);
        raise(&mut starting, &now);
        if is_sidecar(container) {
            add(&mut running, &container.resources().requests);
            sidecars = now;
        }
    }
    raise(&mut running, &starting);
    running
}

/// Whether a pod as a whole can request the resource.
pub fn is_of_pods(name: &str) -> bool {
    name == "cpu" || name == "memory" || name.starts_with(HUGE_PAGES)
}

pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn add(total: &mut Resources, more: &Resources) {
    for (name, quantity) in more {
        let sum = total
            .get(name)
            .map_or_else(|| quantity.clone(), |sum| sum.add(quantity));
        total.insert(name.clone(), sum);
    }
}

fn raise(total: &mut Resources, least: &Resources) {
    for (name, quantity) in least {
        if total
            .get(name)
            .is_none_or(|now| now.compare(quantity) == Ordering::Less)
        {
            total.insert(name.clone(), quantity.clone());
        }
    }
}

fn validate_requirements(
    resources: &ResourceRequirements,
    validate_name: fn(&str, &Path, &mut Errors),
    path: &Path,
    errors: &mut Errors,
) {
    let (limits, requests) = (path.child("limits"), path.child("requests"));
    for (name, quantity) in &resources.limits {
        let path = limits.key(name);
        validate_name(name, &path, errors);
        validate_quantity(name, quantity, &path, errors);
        validate_huge_pages(name, quantity, &path, errors);
    }
    for (name, quantity) in &resources.requests {
        let path = requests.key(name);
        validate_name(name, &path, errors);
        validate_quantity(name, quantity, &path, errors);
        validate_against_limit(
            name,
            quantity,
            resources.limits.get(name),
            &limits,
            &requests,
            errors,
        );
        validate_huge_pages(name, quantity, &path, errors);
    }
    let mut names = resources.limits.keys().chain(resources.requests.keys());
    let computes = names.clone().any(|name| name == "cpu" || name == "memory");
    if !computes && names.any(|name| name.starts_with(HUGE_PAGES)) {
        errors.forbidden(path, "HugePages require cpu or memory");
    }
}

fn validate_against_limit(
    name: &str,
    quantity: &Quantity,
    limit: Option<&Quantity>,
    limits: &Path,
    requests: &Path,
    errors: &mut Errors,
) {
    let overcommits = is_native(name) && !name.starts_with(HUGE_PAGES);
    match limit {
        Some(limit) if quantity.compare(limit) != Ordering::Equal && !overcommits => {
            errors.invalid(
                requests,
                quantity.to_string(),
                format!("must be equal to {name} limit of {limit}"),
            );
        }
        Some(limit) if quantity.compare(limit) == Ordering::Greater => {
            let detail = format!("must be less than or equal to {name} limit of {limit}");
            errors.invalid(requests, quantity.to_string(), detail);
        }
        None if !overcommits => errors.required(limits, "Limit must be set for non overcommitable resources"),
        _ => {}
    }
}

fn validate_huge_pages(name: &str, quantity: &Quantity, path: &Path, errors: &mut Errors) {
    let Some(size) = name.strip_prefix(HUGE_PAGES) else {
        return;
    };
    let size = Quantity::parse(size).map_or(0, |size| size.value());
    if size <= 0 || quantity.value() % size != 0 {
        let detail = format!("{quantity} is not positive integer multiple of {name}");
        errors.invalid(path, quantity.to_string(), detail);
    }
}

fn validate_name(name: &str, path: &Path, errors: &mut Errors) -> bool {
    let messages = names::qualified(name);
    if !messages.is_empty() {
        errors.invalid_each(path, name, messages);
        return false;
    }
    let is_huge_pages = name.starts_with(HUGE_PAGES) || name.starts_with("requests.hugepages-");
    if !name.contains('/') && !STANDARD_RESOURCES.contains(&name) && !is_huge_pages {
        errors.invalid(path, name, "must be a standard resource type or fully qualified");
        return false;
    }
    true
}

fn validate_container_name(name: &str, path: &Path, errors: &mut Errors) {
    validate_name(name, path, errors);
    if !name.contains('/') {
        if !CONTAINER_RESOURCES.contains(&name) && !name.starts_with(HUGE_PAGES) {
            errors.invalid(path, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.invalid(path, name, "doesn't follow extended resource name standard");
    }
}

fn validate_pod_name(name: &str, path: &Path, errors: &mut Errors) {
    if validate_name(name, path, errors) && !is_of_pods(name) {
        errors.not_supported(path, name, &["cpu", HUGE_PAGES, "memory"]);
    }
}

fn validate_claims(claims: &[ResourceClaim], pod_claims: &BTreeSet<&str>, path: &Path, errors: &mut Errors) {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for (i, claim) in claims.iter().enumerate() {
        let path = path.index(i);
        if claim.name.is_empty() {
            errors.required(&path, "");
            continue;
        }
        let mut key = claim.name.clone();
        if !claim.request.is_empty() {
            errors.invalid_each(
                &path.child("request"),
                &claim.request,
                names::dns_label(&claim.request),
            );
            key = format!("{}/{}", claim.name, claim.request);
        }
        let whole_and_part = claim.request.is_empty()
            && seen
                .iter()
                .any(|other| other.split_once('/').is_some_and(|(name, _)| name == claim.name));
        if seen.contains(&claim.name) || seen.contains(&key) || whole_and_part {
            errors.duplicate(&path, &claim.name);
        }
        seen.insert(key);
        if !pod_claims.contains(claim.name.as_str()) {
            let known: Vec<&str> = pod_claims.iter().copied().collect();
            let which = if known.is_empty() {
                " which is empty".into()
            } else {
                format!(": {}", known.join(", "))
            };
            errors.not_found(
                &path,
                &claim.name,
                &format!("must be one of the names in pod.spec.resourceClaims{which}"),
            );
        }
    }
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether it is a resource of somebody else's, such as a device.
pub fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::qualified(&format!("requests.{name}")).is_empty()
}

fn is_counted(name: &str) -> bool {
    COUNTED_RESOURCES.contains(&name) || is_extended(name)
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::json;

    fn check(value: serde_json::Value, expected: &[&str]) {
        let resources: ResourceRequirements = serde_json::from_value(value).expect("resources");
        let mut errors = Errors::new();
        validate_container(&resources, &BTreeSet::new(), &Path::new("resources"), &mut errors);
        assert_eq!(lines(errors.into_causes()), expected);
    }

    #[test]
    fn requests_stay_within_limits() {
        check(
            json!({"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "0.5"}}),
            &[],
        );
        check(
            json!({"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"cpu": "500m", "memory": "1Gi"}}),
            &[
                "resources.requests: Invalid value: \"1\": must be less than or equal to cpu limit of 500m",
                "resources.requests: Invalid value: \"2Gi\": must be less than or equal to memory limit of 1Gi",
            ],
        );
        check(
            json!({"requests": {"example.com/gpu": "1"}}),
            &["resources.limits: Required value: Limit must be set for non overcommitable resources"],
        );
        check(
            json!({"requests": {"example.com/gpu": "1"}, "limits": {"example.com/gpu": "2"}}),
            &["resources.requests: Invalid value: \"1\": must be equal to example.com/gpu limit of 2"],
        );
    }

    #[test]
    fn names_and_amounts_are_checked() {
        check(
            json!({"limits": {"cores": "1"}}),
            &[
                "resources.limits[cores]: Invalid value: \"cores\": must be a standard resource type or fully \
                 qualified",
                "resources.limits[cores]: Invalid value: \"cores\": must be a standard resource for containers",
            ],
        );
        check(
            json!({"limits": {"cpu": "-1", "example.com/gpu": "1500m"}}),
            &[
                "resources.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
                "resources.limits[example.com/gpu]: Invalid value: \"1500m\": must be an integer",
            ],
        );
        check(
            json!({"limits": {"hugepages-2Mi": "3Mi"}, "requests": {}}),
            &[
                "resources.limits[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of \
                 hugepages-2Mi",
                "resources: Forbidden: HugePages require cpu or memory",
            ],
        );
    }

    #[test]
    fn amounts_are_canonical_in_thousandths() {
        let mut resources: Resources = [
            ("cpu", "0.5"),
            ("memory", "1024Mi"),
            ("x", "0.0001"),
            ("bad", "lots"),
        ]
        .map(|(name, text)| (name.to_string(), Quantity { string: text.into() }))
        .into();
        set_defaults(&mut resources);
        let texts: Vec<&str> = resources
            .values()
            .map(|quantity| quantity.string.as_str())
            .collect();
        assert_eq!(texts, ["lots", "500m", "1Gi", "1m"]);
    }
}
