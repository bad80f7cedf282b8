//! ServiceCIDRs: ranges of service addresses that people add, and that go only when no address needs them any more
//! (Kubernetes' pkg/controller/servicecidrs). The apiserver's allocator takes addresses from those that are Ready.
//!
//! ```text
//! new -> finalizer, Ready=True
//! deleted -> an address is in this range alone?  yes -> Ready=False Terminating, until none is
//!                                                no  -> 10 s later, when every apiserver knows, the finalizer goes
//! ```

pub mod controller;
mod prefix;

use crate::action::{Action, Target};
use crate::conditions;
use gantry_proto::meta::v1::Condition;
use gantry_proto::networking::v1::{IpAddress, ServiceCidr};
use prefix::Prefix;
use serde_json::json;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// On addresses that the apiserver took for Services.
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const ALLOCATOR: &str = "ipallocator.k8s.io";
/// Until then an apiserver may not know of the deletion, and take an address from the range; Kubernetes'
/// deletionGracePeriod.
const GRACE: Duration = Duration::from_secs(10);

/// All that a decision about one range looks at.
pub struct View<'a> {
    pub range: &'a ServiceCidr,
    /// The others.
    pub others: Vec<&'a ServiceCidr>,
    /// Needed where the range is being deleted.
    pub addresses: Vec<&'a IpAddress>,
    pub now: SystemTime,
}

pub fn reconcile(view: &View) -> Vec<Action> {
    let finalizers = &view.range.metadata().finalizers;
    let is_held = finalizers.iter().any(|name| name == FINALIZER);
    let Some(deleted) = &view.range.metadata().deletion_timestamp else {
        let mut with_ours = finalizers.clone();
        with_ours.push(FINALIZER.into());
        if !is_held {
            // The status follows when the cache has seen this.
            return vec![finalizers_patch(view, &with_ours)];
        }
        let ready = condition("True", "", "Kubernetes Service CIDR is ready");
        return status(view, ready).into_iter().collect();
    };
    if !is_held {
        return Vec::new();
    }
    if is_needed(view) {
        let message = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new \
                       ServiceCIDR";
        return status(view, condition("False", "Terminating", message))
            .into_iter()
            .collect();
    }
    match GRACE.checked_sub(deleted.elapsed_at(view.now)) {
        Some(left) if !left.is_zero() => vec![Action::WakeAfter(left)],
        _ => {
            let without_ours = finalizers.iter().filter(|name| *name != FINALIZER);
            vec![finalizers_patch(view, &without_ours.cloned().collect::<Vec<_>>())]
        }
    }
}

/// Whether the address counts for its ranges: one that somebody else keeps does not.
pub fn is_allocated(address: &IpAddress) -> bool {
    let manager = address.metadata().labels.get(MANAGED_BY);
    manager.is_some_and(|manager| manager == ALLOCATOR)
}

/// Whether a Service could have its address from the range.
pub fn offers(range: &ServiceCidr, address: &IpAddress) -> bool {
    let Ok(ip) = address.metadata().name.parse::<IpAddr>() else {
        return false;
    };
    prefixes(range).any(|prefix| prefix.offers(ip))
}

fn prefixes(range: &ServiceCidr) -> impl Iterator<Item = Prefix> {
    range.spec().cidrs.iter().filter_map(|cidr| cidr.parse().ok())
}

/// Whether an address would be in no range without this one. Others that are being deleted help nobody: two of them
/// must not each rely on the other.
fn is_needed(view: &View) -> bool {
    let stays = |range: &&&ServiceCidr| range.metadata().deletion_timestamp.is_none();
    let others: Vec<&ServiceCidr> = view.others.iter().filter(stays).copied().collect();
    let is_covered = |prefix: Prefix| {
        others
            .iter()
            .any(|other| prefixes(other).any(|one| one.covers(prefix)))
    };
    if prefixes(view.range).all(is_covered) {
        return false;
    }
    let allocated = view.addresses.iter().filter(|address| is_allocated(address));
    let mut own = allocated.filter(|address| offers(view.range, address));
    own.any(|address| !others.iter().any(|other| offers(other, address)))
}

fn condition(status: &str, reason: &str, message: &str) -> Condition {
    Condition {
        r#type: "Ready".into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        ..Condition::default()
    }
}

fn status(view: &View, condition: Condition) -> Option<Action> {
    let mut range = view.range.clone();
    conditions::set(&mut range.status_mut().conditions, condition, view.now);
    (range.status() != view.range.status()).then(|| Action::UpdateStatus { object: range.into() })
}

fn finalizers_patch(view: &View, finalizers: &[String]) -> Action {
    Action::Patch {
        target: Target::of(view.range),
        subresource: None,
        patch: json!({"metadata": {
            "uid": view.range.metadata().uid,
            "resourceVersion": view.range.metadata().resource_version,
            "finalizers": finalizers,
        }}),
        says: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Object;
    use gantry_proto::meta::v1::Time;

    fn range(name: &str, cidrs: &[&str]) -> ServiceCidr {
        let mut range = ServiceCidr::default();
        range.metadata_mut().name = name.into();
        range.metadata_mut().finalizers = vec!["example.com/other".into(), FINALIZER.into()];
        range.spec_mut().cidrs = cidrs.iter().map(|cidr| cidr.to_string()).collect();
        range
    }

    fn deleted(range: ServiceCidr) -> ServiceCidr {
        let mut range = range;
        range.metadata_mut().deletion_timestamp = Some(Time {
            seconds: 100,
            nanos: 0,
        });
        range
    }

    fn address(name: &str, manager: &str) -> IpAddress {
        let mut address = IpAddress::default();
        address.metadata_mut().name = name.into();
        address
            .metadata_mut()
            .labels
            .insert(MANAGED_BY.into(), manager.into());
        address
    }

    fn words(range: &ServiceCidr, others: &[ServiceCidr], addresses: &[IpAddress], now: u64) -> String {
        let actions = reconcile(&View {
            range,
            others: others.iter().collect(),
            addresses: addresses.iter().collect(),
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(now),
        });
        let word = |action: &Action| match action {
            Action::UpdateStatus {
                object: Object::ServiceCidr(range),
            } => {
                let condition = &range.status().conditions[0];
                format!("{} {} {}", condition.r#type, condition.status, condition.reason)
            }
            Action::Patch { patch, .. } => patch["metadata"]["finalizers"].to_string(),
            Action::WakeAfter(delay) => format!("again in {}", delay.as_secs()),
            other => panic!("{other:?}"),
        };
        actions.iter().map(word).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_new_range_is_held_and_then_ready() {
        let mut new = range("new", &["10.1.0.0/24"]);
        new.metadata_mut().finalizers.clear();
        let held = "[\"networking.k8s.io/service-cidr-finalizer\"]";
        assert_eq!(words(&new, &[], &[], 0), held);
        let mut new = range("new", &["10.1.0.0/24"]);
        assert_eq!(words(&new, &[], &[], 0), "Ready True ");
        new.status_mut().conditions = vec![condition("True", "", "Kubernetes Service CIDR is ready")];
        assert_eq!(words(&new, &[], &[], 0), "");
    }

    #[test]
    fn a_range_goes_when_no_address_is_in_it_alone() {
        let check = |others: &[ServiceCidr], addresses: &[IpAddress], expected: &str| {
            let going = deleted(range("going", &["10.1.0.0/24"]));
            assert_eq!(words(&going, others, addresses, 200), expected);
        };
        let (free, held) = ("[\"example.com/other\"]", "Ready False Terminating");
        let own = |name: &str| address(name, ALLOCATOR);
        check(&[], &[], free);
        check(&[], &[own("10.1.0.7")], held);
        check(&[], &[own("10.2.0.7"), own("2001:db8::7")], free);
        check(&[], &[address("10.1.0.7", "somebody")], free);
        // Nobody gets the first and the last.
        check(&[], &[own("10.1.0.0"), own("10.1.0.255")], free);
        check(&[range("larger", &["10.1.0.0/16"])], &[own("10.1.0.7")], free);
        check(&[range("same", &["10.1.0.0/24"])], &[own("10.1.0.7")], free);
        check(&[range("smaller", &["10.1.0.0/28"])], &[own("10.1.0.7")], free);
        check(&[range("smaller", &["10.1.0.0/28"])], &[own("10.1.0.77")], held);
        check(
            &[deleted(range("larger", &["10.1.0.0/16"]))],
            &[own("10.1.0.7")],
            held,
        );
    }

    #[test]
    fn apiservers_are_given_time_to_learn_of_the_deletion() {
        let going = deleted(range("going", &["10.1.0.0/24"]));
        assert_eq!(words(&going, &[], &[], 104), "again in 6");
        assert_eq!(words(&going, &[], &[], 110), "[\"example.com/other\"]");
        let mut gone = going;
        gone.metadata_mut().finalizers.clear();
        assert_eq!(words(&gone, &[], &[], 110), "");
    }
}
