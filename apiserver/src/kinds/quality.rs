//! A pod's quality of service class (pkg/apis/core/helper/qos).

use super::resources::Resources;
use gantry_proto::core::v1::PodSpec;
use gantry_proto::meta::v1::Quantity;
use std::cmp::Ordering;
use std::collections::BTreeMap;

const COUNTED: &[&str] = &["cpu", "memory"];

/// Guaranteed where every container's cpu and memory are limited to what they request, BestEffort where nothing
/// is requested or limited, else Burstable.
pub fn class(spec: &PodSpec) -> &'static str {
    let (mut requests, mut limits) = (BTreeMap::new(), BTreeMap::new());
    let mut all_limited = true;
    if let Some(resources) = &spec.resources {
        add(&mut requests, &resources.requests);
        let limited = add(&mut limits, &resources.limits);
        all_limited = resources.limits.is_empty() || limited == COUNTED.len();
    } else {
        for container in spec.containers.iter().chain(&spec.init_containers) {
            add(&mut requests, &container.resources().requests);
            all_limited &= add(&mut limits, &container.resources().limits) == COUNTED.len();
        }
    }
    if requests.is_empty() && limits.is_empty() {
        return "BestEffort";
    }
    let equal = requests.len() == limits.len()
        && requests.iter().all(|(name, amount): (&&str, &Quantity)| {
            limits
                .get(name)
                .is_some_and(|limit| limit.compare(amount) == Ordering::Equal)
        });
    if all_limited && equal {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

/// Returns how many of the resources that count are more than zero.
fn add(total: &mut BTreeMap<&'static str, Quantity>, more: &Resources) -> usize {
    let mut found = 0;
    for name in COUNTED.iter().copied() {
        let Some(amount) = more
            .get(name)
            .filter(|amount| !amount.is_zero() && !amount.is_negative())
        else {
            continue;
        };
        found += 1;
        let sum = total
            .get(name)
            .map_or_else(|| amount.clone(), |sum| sum.add(amount));
        total.insert(name, sum);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(containers: serde_json::Value, expected: &str) {
        let resources = containers.as_array().expect("list").iter();
        let containers: Vec<_> = resources
            .map(|resources| json!({"resources": resources}))
            .collect();
        let spec: PodSpec = serde_json::from_value(json!({"containers": containers})).expect("spec");
        assert_eq!(class(&spec), expected);
    }

    #[test]
    fn the_class_follows_requests_and_limits() {
        let both = json!({"cpu": "1", "memory": "1Gi"});
        check(json!([{}]), "BestEffort");
        check(json!([{"requests": both, "limits": both}]), "Guaranteed");
        check(
            json!([{"requests": {"cpu": "1000m", "memory": "1Gi"}, "limits": both}]),
            "Guaranteed",
        );
        check(json!([{"requests": both}]), "Burstable");
        check(json!([{"requests": both, "limits": both}, {}]), "Burstable");
        check(
            json!([{"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}]),
            "Burstable",
        );
        check(json!([{"requests": {"cpu": "0"}}]), "BestEffort");
    }
}
