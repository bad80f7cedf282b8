//! A Service's cluster addresses and their families (ValidateServiceClusterIPsRelatedFields).

use super::field::{Errors, Json, Path};
use super::ip;
use super::service::{NONE, is_headless};
use gantry_proto::core::v1::ServiceSpec;
use std::collections::BTreeSet;

const FAMILIES: &[&str] = &["IPv4", "IPv6"];
const SINGLE_STACK: &str = "SingleStack";
const REQUIRE_DUAL_STACK: &str = "RequireDualStack";
const POLICIES: &[&str] = &["PreferDualStack", REQUIRE_DUAL_STACK, SINGLE_STACK];

/// Fills in the families and the policy as a cluster does that has IPv4 alone (initIPFamilyFields).
pub fn set_families(spec: &mut ServiceSpec, old: Option<&ServiceSpec>) {
    if spec.r#type == "ExternalName" {
        return;
    }
    let is_free = has_no_address_of_ours(spec);
    if spec.ip_family_policy.is_none() {
        let before = old.and_then(|old| old.ip_family_policy.clone());
        let usual = if is_free { REQUIRE_DUAL_STACK } else { SINGLE_STACK };
        spec.ip_family_policy = Some(before.unwrap_or_else(|| usual.into()));
    }
    let is_single = spec.ip_family_policy.as_deref() == Some(SINGLE_STACK);
    if is_single && old.is_some_and(|old| old.ip_families == spec.ip_families) {
        spec.ip_families.truncate(1);
    }
    if !is_headless(spec) {
        let missing = spec.cluster_ips.iter().skip(spec.ip_families.len());
        let family = |address: &String| if ip::is_v6(address) { "IPv6" } else { "IPv4" }.to_string();
        let missing: Vec<String> = missing.map(family).collect();
        spec.ip_families.extend(missing);
    }
    if spec.ip_families.is_empty() {
        spec.ip_families.push("IPv4".into());
    }
    if is_free && !is_single && spec.ip_families.len() == 1 {
        let other = if spec.ip_families[0] == "IPv4" {
            "IPv6"
        } else {
            "IPv4"
        };
        spec.ip_families.push(other.into());
    }
}

/// A headless Service whose endpoints somebody else writes may be of any family.
fn has_no_address_of_ours(spec: &ServiceSpec) -> bool {
    spec.cluster_ip == NONE && spec.selector.is_empty()
}

pub fn validate(spec: &ServiceSpec, old: Option<&ServiceSpec>, errors: &mut Errors) {
    if spec.r#type == "ExternalName" {
        return;
    }
    let path = Path::new("spec.clusterIPs");
    match (spec.cluster_ip.is_empty(), spec.cluster_ips.first()) {
        (false, None) => errors.required(&path, ""),
        (false, Some(first)) if *first != spec.cluster_ip => {
            errors.invalid(
                &path,
                Json::of(&spec.cluster_ips),
                "first value must match `clusterIP`",
            );
        }
        (true, Some(_)) => {
            let detail = "must be empty when `clusterIP` is not specified";
            errors.invalid(&path, Json::of(&spec.cluster_ips), detail);
        }
        _ => {}
    }
    validate_families(spec, errors);
    let kept = old.map(|old| old.cluster_ips.as_slice()).unwrap_or_default();
    if validate_each(&spec.cluster_ips, kept, &path, errors) {
        validate_together(spec, &path, errors);
    }
    validate_configured(spec, &path, errors);
}

/// Refuses what a cluster of IPv4 alone cannot give.
fn validate_configured(spec: &ServiceSpec, addresses: &Path, errors: &mut Errors) {
    let policy = Path::new("spec.ipFamilyPolicy");
    if spec.ip_family_policy.as_deref() == Some(SINGLE_STACK) {
        for (count, what) in [
            (spec.cluster_ips.len(), "cluster IPs"),
            (spec.ip_families.len(), "IP families"),
        ] {
            if count == 2 {
                let detail = format!(
                    "must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
                );
                errors.invalid(&policy, SINGLE_STACK, detail);
            }
        }
    }
    if has_no_address_of_ours(spec) {
        return;
    }
    if spec.ip_family_policy.as_deref() == Some(REQUIRE_DUAL_STACK) {
        let detail = "this cluster is not configured for dual-stack services";
        errors.invalid(&policy, REQUIRE_DUAL_STACK, detail);
    }
    let families = Path::new("spec.ipFamilies");
    for (i, family) in spec.ip_families.iter().enumerate() {
        if family != "IPv6" {
            continue;
        }
        if spec.cluster_ips.get(i).is_some_and(|address| ip::is_v6(address)) {
            let detail = "IPv6 is not configured on this cluster";
            errors.invalid(&addresses.index(i), Json::of(&spec.cluster_ips), detail);
        } else {
            errors.invalid(&families.index(i), family, "not configured on this cluster");
        }
    }
}

fn validate_families(spec: &ServiceSpec, errors: &mut Errors) {
    let list = Path::new("spec.ipFamilies");
    let mut seen = BTreeSet::new();
    for (i, family) in spec.ip_families.iter().enumerate() {
        if !FAMILIES.contains(&family.as_str()) {
            errors.not_supported(&list.index(i), family, FAMILIES);
        }
        if !seen.insert(family) {
            errors.duplicate(&list.index(i), family);
        }
    }
    if let Some(policy) = spec
        .ip_family_policy
        .as_deref()
        .filter(|policy| !POLICIES.contains(policy))
    {
        errors.not_supported(&Path::new("spec.ipFamilyPolicy"), policy, POLICIES);
    }
}

/// Returns whether every address can be read.
fn validate_each(addresses: &[String], kept: &[String], path: &Path, errors: &mut Errors) -> bool {
    let mut readable = true;
    for (i, address) in addresses.iter().enumerate() {
        if i == 0 && address == NONE {
            if addresses.len() > 1 {
                readable = false;
                errors.invalid(
                    path,
                    Json::of(addresses),
                    "'None' must be the first and only value",
                );
            }
            continue;
        }
        readable &= ip::validate(address, kept, &path.index(i), errors);
    }
    if addresses.len() > 2 {
        errors.invalid(path, Json::of(addresses), "may only hold up to 2 values");
    }
    readable
}

fn validate_together(spec: &ServiceSpec, path: &Path, errors: &mut Errors) {
    let addresses = &spec.cluster_ips;
    if addresses.len() > 1 && !ip::is_dual_stack(addresses.iter().map(String::as_str)) {
        errors.invalid(
            path,
            Json::of(addresses),
            "may specify no more than one IP for each IP family",
        );
    }
    if is_headless(spec) {
        return;
    }
    for (i, (address, family)) in addresses.iter().zip(&spec.ip_families).enumerate() {
        let fits = ip::is_v6(address) == (family == "IPv6");
        if FAMILIES.contains(&family.as_str()) && !fits {
            let detail = format!("expected an {family} value as indicated by `ipFamilies[{i}]`");
            errors.invalid(&path.index(i), address, detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::{Value, json};

    fn check(value: Value, expected: &[&str]) {
        let mut spec: ServiceSpec = serde_json::from_value(value).expect("spec");
        set_families(&mut spec, None);
        let mut errors = Errors::new();
        validate(&spec, None, &mut errors);
        assert_eq!(lines(errors.into_causes()), expected);
    }

    #[test]
    fn both_forms_of_the_address_say_the_same() {
        check(
            json!({"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"]}),
            &[],
        );
        check(json!({"clusterIP": "None", "clusterIPs": ["None"]}), &[]);
        check(
            json!({"clusterIP": "10.96.0.1"}),
            &["spec.clusterIPs: Required value"],
        );
        check(
            json!({"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.2"]}),
            &["spec.clusterIPs: Invalid value: [\"10.96.0.2\"]: first value must match `clusterIP`"],
        );
        check(
            json!({"clusterIPs": ["10.96.0.2"]}),
            &[
                "spec.clusterIPs: Invalid value: [\"10.96.0.2\"]: must be empty when `clusterIP` is not specified",
            ],
        );
    }

    #[test]
    fn addresses_are_of_their_families() {
        check(
            json!({"clusterIP": "2001:db8::1", "clusterIPs": ["2001:db8::1"], "ipFamilies": ["IPv4"]}),
            &[
                "spec.clusterIPs[0]: Invalid value: \"2001:db8::1\": expected an IPv4 value as indicated by \
               `ipFamilies[0]`",
            ],
        );
        check(
            json!({"ipFamilies": ["IPv5", "IPv5"], "ipFamilyPolicy": "Both"}),
            &[
                "spec.ipFamilies[0]: Unsupported value: \"IPv5\": supported values: \"IPv4\", \"IPv6\"",
                "spec.ipFamilies[1]: Unsupported value: \"IPv5\": supported values: \"IPv4\", \"IPv6\"",
                "spec.ipFamilies[1]: Duplicate value: \"IPv5\"",
                "spec.ipFamilyPolicy: Unsupported value: \"Both\": supported values: \"PreferDualStack\", \
                 \"RequireDualStack\", \"SingleStack\"",
            ],
        );
        check(
            json!({"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "10.96.0.2"],
                   "ipFamilies": ["IPv4", "IPv4"], "ipFamilyPolicy": "PreferDualStack"}),
            &[
                "spec.ipFamilies[1]: Duplicate value: \"IPv4\"",
                "spec.clusterIPs: Invalid value: [\"10.96.0.1\",\"10.96.0.2\"]: may specify no more than one IP for \
                 each IP family",
            ],
        );
    }
}
