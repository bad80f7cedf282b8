//! The ServiceCIDR that says which network the server's flag names
//! (pkg/controlplane/controller/defaultservicecidr/default_servicecidr_controller.go). Those that people add are the
//! controller-manager's.

use std::time::SystemTime;

use gantry_proto::meta::v1::{Condition, ObjectMeta, Time};
use gantry_proto::networking::v1::{ServiceCidr, ServiceCidrSpec};

use super::Cidr;

pub const NAME: &str = "kubernetes";
/// Keeps a ServiceCIDR while addresses are taken from it.
const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const READY: &str = "Ready";

/// What is to be done about the default ServiceCIDR.
#[derive(Debug, PartialEq)]
pub enum Step {
    Nothing,
    /// Its status becomes this.
    Ready(Box<ServiceCidr>),
    /// Only people can put this right.
    Warn {
        reason: String,
        message: String,
    },
}

/// A ServiceCIDR for the network of the flag.
pub fn new(network: Cidr) -> ServiceCidr {
    ServiceCidr {
        metadata: Some(ObjectMeta {
            name: NAME.into(),
            finalizers: vec![FINALIZER.into()],
            ..ObjectMeta::default()
        }),
        spec: Some(ServiceCidrSpec {
            cidrs: vec![network.to_string()],
        }),
        ..ServiceCidr::default()
    }
}

/// What the present default needs, when the flag names `network`.
pub fn step(present: &ServiceCidr, network: Cidr, now: SystemTime) -> Step {
    if present.metadata().deletion_timestamp.is_some() {
        return Step::Nothing;
    }
    let wanted = network.to_string();
    if present.spec().cidrs != [wanted.as_str()] {
        return Step::Warn {
            reason: "KubernetesDefaultServiceCIDRInconsistent".into(),
            message: format!(
                "The default ServiceCIDR [{}] does not match the controller flag configurations [{wanted}]",
                present.spec().cidrs.join(" ")
            ),
        };
    }
    match ready(present) {
        Some(condition) if condition.status == "True" => Step::Nothing,
        Some(condition) if condition.status == "False" => Step::Warn {
            reason: condition.reason.clone(),
            message: format!("Configuration matches, but {}", condition.message),
        },
        _ => {
            let mut wanted = present.clone();
            let conditions = &mut wanted.status_mut().conditions;
            conditions.retain(|condition| condition.r#type != READY);
            conditions.push(Condition {
                r#type: READY.into(),
                status: "True".into(),
                message: "Kubernetes default Service CIDR is ready".into(),
                last_transition_time: Some(Time::from_system(now)),
                ..Condition::default()
            });
            Step::Ready(Box::new(wanted))
        }
    }
}

/// The networks from which addresses are given: those of ServiceCIDRs that are ready and stay, and that of the flag
/// while its ServiceCIDR is not there or nobody has said yet whether it is ready.
pub fn given_from<'a>(all: impl Iterator<Item = &'a ServiceCidr>, network: Cidr) -> Vec<Cidr> {
    let mut networks = Vec::new();
    let mut has_default = false;
    for cidr in all {
        let is_default = cidr.metadata().name == NAME;
        has_default |= is_default;
        let is_ready = ready(cidr).map_or(is_default, |condition| condition.status == "True");
        if is_ready && cidr.metadata().deletion_timestamp.is_none() {
            networks.extend(networks_of(cidr));
        }
    }
    if !has_default {
        networks.push(network);
    }
    networks
}

/// The networks that a ServiceCIDR names.
pub fn networks_of(cidr: &ServiceCidr) -> impl Iterator<Item = Cidr> {
    cidr.spec().cidrs.iter().filter_map(|text| Cidr::of_object(text))
}

fn ready(cidr: &ServiceCidr) -> Option<&Condition> {
    let mut conditions = cidr.status().conditions.iter();
    conditions.find(|condition| condition.r#type == READY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocation::parse_cidr;

    fn cidr(name: &str, network: &str, ready: Option<&str>, going: bool) -> ServiceCidr {
        let mut cidr = new(parse_cidr(network).unwrap());
        cidr.metadata_mut().name = name.into();
        cidr.metadata_mut().deletion_timestamp = going.then(Time::default);
        cidr.status_mut().conditions = ready
            .map(|status| Condition {
                r#type: READY.into(),
                status: status.into(),
                reason: "Because".into(),
                message: "it rains".into(),
                ..Condition::default()
            })
            .into_iter()
            .collect();
        cidr
    }

    #[test]
    fn addresses_are_given_from_networks_that_are_ready_and_stay() {
        let check = |all: &[ServiceCidr], expected: &[&str]| {
            let found = given_from(all.iter(), parse_cidr("10.96.0.0/16").unwrap());
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected);
        };
        check(&[], &["10.96.0.0/16"]);
        let default = |ready, going| cidr(NAME, "10.96.0.0/16", ready, going);
        check(&[default(None, false)], &["10.96.0.0/16"]);
        check(&[default(Some("True"), true)], &[]);
        check(&[default(Some("False"), false)], &[]);
        check(
            &[
                default(Some("True"), false),
                cidr("more", "10.1.0.0/24", Some("True"), false),
                cidr("new", "10.2.0.0/24", None, false),
                cidr("old", "10.3.0.0/24", Some("True"), true),
            ],
            &["10.96.0.0/16", "10.1.0.0/24"],
        );
    }

    #[test]
    fn the_default_becomes_ready_once_and_is_never_overruled() {
        let check = |present: &ServiceCidr, expected: Result<&str, &str>| {
            let network = parse_cidr("10.96.0.0/16").unwrap();
            let found = match step(present, network, SystemTime::UNIX_EPOCH) {
                Step::Nothing => Ok("".to_owned()),
                Step::Ready(cidr) => Ok(cidr.status().conditions[0].message.clone()),
                Step::Warn { reason, message } => Err(format!("{reason}: {message}")),
            };
            assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned));
        };
        let default = |ready| cidr(NAME, "10.96.0.0/16", ready, false);
        check(&default(None), Ok("Kubernetes default Service CIDR is ready"));
        check(
            &default(Some("Unknown")),
            Ok("Kubernetes default Service CIDR is ready"),
        );
        check(&default(Some("True")), Ok(""));
        check(
            &default(Some("False")),
            Err("Because: Configuration matches, but it rains"),
        );
        check(&cidr(NAME, "10.96.0.0/16", None, true), Ok(""));
        check(
            &cidr(NAME, "10.0.0.0/16", None, false),
            Err(
                "KubernetesDefaultServiceCIDRInconsistent: The default ServiceCIDR [10.0.0.0/16] does not match the controller flag configurations [10.96.0.0/16]",
            ),
        );
    }
}
