//! ServiceCIDRs (pkg/apis/networking): the ranges that addresses of Services are taken from.

use super::field::{Errors, IMMUTABLE, Json, Path};
use super::{Rules, Target, ip, metadata, names, unsupported};
use gantry_proto::meta::v1::StatusCause;
use gantry_proto::networking::v1::ServiceCidr;
use serde_json::json;

const PATH: Path = Path::new("spec.cidrs");

pub struct ServiceCidrs;

impl Rules for ServiceCidrs {
    type Object = ServiceCidr;

    fn prepare_for_create(&self, range: &mut ServiceCidr) {
        metadata::clear_for_create(range.metadata_mut(), 0);
        range.status = None;
    }

    fn prepare_for_update(&self, new: &mut ServiceCidr, old: &ServiceCidr, target: Target) {
        if target == Target::Status {
            metadata::reset_for_status(new.metadata_mut(), old.metadata());
            new.spec.clone_from(&old.spec);
        } else {
            metadata::keep_for_update(new.metadata_mut(), old.metadata());
            new.status.clone_from(&old.status);
        }
    }

    fn validate(&self, range: &ServiceCidr) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        metadata::validate_strictly(range.metadata(), false, names::dns_subdomain, &mut errors);
        validate_cidrs(&range.spec().cidrs, &mut errors);
        errors.into_causes()
    }

    fn validate_update(&self, new: &ServiceCidr, old: &ServiceCidr, target: Target) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        metadata::validate_update_strictly(new.metadata(), old.metadata(), &mut errors);
        if target != Target::Status {
            validate_changes(&new.spec().cidrs, &old.spec().cidrs, &mut errors);
        }
        errors.into_causes()
    }

    fn warnings(&self, new: &ServiceCidr, old: Option<&ServiceCidr>) -> Vec<String> {
        let mut warnings = Vec::new();
        if old.is_none_or(|old| old.spec().cidrs != new.spec().cidrs) {
            unsupported::service_cidr(new, &mut warnings);
        }
        warnings
    }
}

fn validate_cidrs(cidrs: &[String], errors: &mut Errors) {
    if cidrs.is_empty() {
        errors.required(&PATH, "at least one CIDR required");
        return;
    }
    if cidrs.len() > 2 {
        // The name is that of Go's internal type.
        errors.invalid(
            &PATH,
            Json::of(&json!({"CIDRs": cidrs})),
            "may only hold up to 2 values",
        );
        return;
    }
    for (i, cidr) in cidrs.iter().enumerate() {
        ip::validate_canonical_cidr(cidr, &PATH.index(i), errors);
    }
    if let [first, second] = cidrs
        && ip::family_of_cidr(first).is_some_and(|family| ip::family_of_cidr(second) == Some(family))
    {
        let detail =
            "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.invalid(&PATH, Json::of(cidrs), detail);
    }
}

/// Nothing changes, but that a range of the other family may be added.
fn validate_changes(new: &[String], old: &[String], errors: &mut Errors) {
    match (new.len(), old.len()) {
        (count, before) if count == before => {
            for (i, (new, _)) in new
                .iter()
                .zip(old)
                .enumerate()
                .filter(|(_, (new, old))| new != old)
            {
                errors.invalid(&PATH.index(i), new, IMMUTABLE);
            }
        }
        (2, 1) => {
            if new[0] != old[0] {
                errors.invalid(&PATH.index(0), &new[0], IMMUTABLE);
            }
            validate_cidrs(new, errors);
        }
        _ => errors.invalid(&PATH, Json::of(new), IMMUTABLE),
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;

    fn range(cidrs: &[&str]) -> ServiceCidr {
        serde_json::from_value(json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": cidrs}}))
            .expect("range")
    }

    #[test]
    fn there_is_one_range_of_each_family_at_most() {
        let check = |cidrs: &[&str], expected: &[&str]| {
            assert_eq!(lines(ServiceCidrs.validate(&range(cidrs))), expected);
        };
        check(&["10.96.0.0/16"], &[]);
        check(&["10.96.0.0/16", "2001:db8::/112"], &[]);
        check(&[], &["spec.cidrs: Required value: at least one CIDR required"]);
        check(
            &["10.96.0.0/16", "10.97.0.0/16"],
            &[
                "spec.cidrs: Invalid value: [\"10.96.0.0/16\",\"10.97.0.0/16\"]: may specify no more than one IP for \
                 each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
            ],
        );
        check(
            &["a", "b", "c"],
            &["spec.cidrs: Invalid value: {\"CIDRs\":[\"a\",\"b\",\"c\"]}: may only hold up to 2 values"],
        );
        check(
            &["10.96.0.1/16"],
            &[
                "spec.cidrs[0]: Invalid value: \"10.96.0.1/16\": must not have bits set beyond the prefix length",
            ],
        );
    }

    #[test]
    fn ranges_never_change_but_a_second_family_may_come() {
        let check = |old: &[&str], new: &[&str], expected: &[&str]| {
            let causes = ServiceCidrs.validate_update(&range(new), &range(old), Target::Main);
            assert_eq!(lines(causes), expected);
        };
        let v4 = &["10.96.0.0/16"];
        check(v4, v4, &[]);
        check(v4, &["10.96.0.0/16", "2001:db8::/112"], &[]);
        check(
            v4,
            &["10.97.0.0/16"],
            &["spec.cidrs[0]: Invalid value: \"10.97.0.0/16\": field is immutable"],
        );
        check(v4, &[], &["spec.cidrs: Invalid value: []: field is immutable"]);
    }

    #[test]
    fn the_status_endpoint_changes_the_status_alone() {
        let old = range(&["10.96.0.0/16"]);
        let mut new = range(&["10.97.0.0/16"]);
        new.metadata_mut().labels.insert("a".into(), "b".into());
        new.status_mut().conditions.push(Default::default());
        ServiceCidrs.prepare_for_update(&mut new, &old, Target::Status);
        assert_eq!(
            (new.spec.as_ref(), new.metadata().labels.len()),
            (old.spec.as_ref(), 0)
        );
        assert_eq!(new.status().conditions.len(), 1);
        ServiceCidrs.prepare_for_update(&mut new, &old, Target::Main);
        assert_eq!(new.status, old.status);
    }
}
