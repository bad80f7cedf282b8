//! What is wrong between the Services and the records of what they hold, and what puts it right
//! (pkg/registry/core/service/ipallocator/controller/repairip.go, portallocator/controller/repair.go).
//!
//! The server itself writes a Service and its records in one transaction. What differs is what people did to the
//! IPAddresses, what a restored backup lacks, and what older servers wrote.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use gantry_proto::Key;
use gantry_proto::core::v1::Service;
use gantry_proto::networking::v1::IpAddress;

use super::{Cidr, Holding, MANAGED_BY, Ranges, held, is_of};

/// How long an address may have no Service: somebody else may be about to make it (repairip.go, gracePeriod).
const GRACE: Duration = Duration::from_secs(60);

/// An object and the revision that wrote it.
#[derive(Clone, Copy, Debug)]
pub struct At<'a, T> {
    pub object: &'a T,
    pub revision: i64,
}

/// What there is, each by its key in the store or its address.
#[derive(Debug, Default)]
pub struct Observed<'a> {
    pub services: BTreeMap<Key, At<'a, Service>>,
    pub addresses: BTreeMap<Ipv4Addr, At<'a, IpAddress>>,
    pub ports: BTreeMap<u16, At<'a, IpAddress>>,
}

/// What a Warning is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    Service(Key),
    Address(Ipv4Addr),
}

/// A Warning that tells people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub about: About,
    pub reason: &'static str,
    pub message: String,
}

/// A write that puts one record right. It is done only while the record and the Service are as they were seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fix {
    /// The record becomes this Service's.
    Record {
        holding: Holding,
        /// The record's present revision; 0 where there is none.
        revision: i64,
        service: Key,
        service_revision: i64,
    },
    /// The record goes, because this Service is not there, or does not have what it says.
    Forget {
        holding: Holding,
        revision: i64,
        service: Option<Key>,
        /// 0 where it is not there.
        service_revision: i64,
    },
}

/// Something that is wrong. Where it can be put right it is told only once it has been: until then it may be that the
/// Services and the records were seen at different times.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    pub warning: Option<Warning>,
    pub fix: Option<Fix>,
}

/// Everything that is wrong.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Repairs(pub Vec<Finding>);

/// Compares the Services with the records. `networks` are those of all ServiceCIDRs, also of those from which nothing
/// is given at present.
pub fn repairs(observed: &Observed<'_>, ranges: &Ranges, networks: &[Cidr], now: SystemTime) -> Repairs {
    let mut repairs = Repairs::default();
    for (key, service) in &observed.services {
        for holding in held(service.object) {
            match holding {
                Holding::Address(address) => repairs.check_address(observed, networks, key, service, address),
                Holding::Port(port) => repairs.check_port(observed, ranges, key, service, port),
            }
        }
    }
    for (address, record) in &observed.addresses {
        repairs.check_holder_of_address(observed, *address, record, now);
    }
    for (port, record) in &observed.ports {
        repairs.check_holder_of_port(observed, *port, record);
    }
    repairs
}

impl Repairs {
    fn check_address(
        &mut self,
        observed: &Observed<'_>,
        networks: &[Cidr],
        key: &Key,
        service: &At<'_, Service>,
        address: Ipv4Addr,
    ) {
        if !networks.iter().any(|network| network.contains(address)) {
            return self.of_service(
                key,
                "ClusterIPOutOfRange",
                format!(
                    "Cluster IP [IPv4]: {address} is not within any configured Service CIDR; please recreate service"
                ),
                None,
            );
        }
        let record = |revision| Fix::Record {
            holding: Holding::Address(address),
            revision,
            service: key.clone(),
            service_revision: service.revision,
        };
        let Some(present) = observed.addresses.get(&address) else {
            return self.of_service(
                key,
                "ClusterIPNotAllocated",
                format!("Cluster IP [IPv4]: {address} is not allocated; repairing"),
                Some(record(0)),
            );
        };
        if is_of(present.object, service.object) {
            if !is_labelled(present.object) {
                self.0.push(Finding {
                    warning: None,
                    fix: Some(record(present.revision)),
                });
            }
            return;
        }
        let other = parent(present.object).and_then(|parent| observed.services.get(&parent));
        if other.is_some_and(|other| held(other.object).contains(&Holding::Address(address))) {
            return self.of_service(
                key,
                "ClusterIPAlreadyAllocated",
                format!(
                    "Cluster IP [IPv4]:{address} was assigned to multiple services; please recreate service"
                ),
                None,
            );
        }
        self.of_service(
            key,
            "ClusterIPNotAllocated",
            format!(
                "the ClusterIP [IPv4]: {address} for Service {}/{} has a wrong reference; repairing",
                key.namespace, key.name
            ),
            Some(record(present.revision)),
        );
    }

    fn check_port(
        &mut self,
        observed: &Observed<'_>,
        ranges: &Ranges,
        key: &Key,
        service: &At<'_, Service>,
        port: u16,
    ) {
        if !ranges.contain(&Holding::Port(port)) {
            return self.of_service(
                key,
                "PortOutOfRange",
                format!(
                    "Port {port} is not within the port range {}; please recreate service",
                    ranges.shown_ports()
                ),
                None,
            );
        }
        let present = observed.ports.get(&port);
        if let Some(present) = present {
            if is_of(present.object, service.object) {
                return;
            }
            let other = parent(present.object).and_then(|parent| observed.services.get(&parent));
            if other.is_some_and(|other| held(other.object).contains(&Holding::Port(port))) {
                return self.of_service(
                    key,
                    "PortAlreadyAllocated",
                    format!("Port {port} was assigned to multiple services; please recreate service"),
                    None,
                );
            }
        }
        let record = Fix::Record {
            holding: Holding::Port(port),
            revision: present.map_or(0, |present| present.revision),
            service: key.clone(),
            service_revision: service.revision,
        };
        self.of_service(
            key,
            "PortNotAllocated",
            format!("Port {port} is not allocated; repairing"),
            Some(record),
        );
    }

    fn check_holder_of_address(
        &mut self,
        observed: &Observed<'_>,
        address: Ipv4Addr,
        record: &At<'_, IpAddress>,
        now: SystemTime,
    ) {
        if !is_managed(record.object) {
            return;
        }
        let forget = |service: Option<Key>, service_revision| Fix::Forget {
            holding: Holding::Address(address),
            revision: record.revision,
            service,
            service_revision,
        };
        let Some(parent) = parent(record.object) else {
            let shown = record.object.spec().parent_ref();
            let message = format!(
                "IPAddress {address} appears to have been modified, not referencing a Service &ParentReference{{\
                 Group:{},Resource:{},Namespace:{},Name:{},}}: cleaning up",
                shown.group, shown.resource, shown.namespace, shown.name
            );
            return self.of_address(address, "IPAddressNotAllocated", message, forget(None, 0));
        };
        let service = observed.services.get(&parent);
        let age = record.object.metadata().creation_timestamp.as_ref();
        let age = age.map_or(Duration::MAX, |created| created.elapsed_at(now));
        let (reason, message) = match service {
            Some(service) if held(service.object).contains(&Holding::Address(address)) => return,
            _ if age < GRACE => return,
            Some(_) => (
                "IPAddressWrongReference",
                format!(
                    "IPAddress: {address} for Service {}/{} has a wrong reference; cleaning up",
                    parent.namespace, parent.name
                ),
            ),
            None => (
                "IPAddressNotAllocated",
                format!(
                    "IPAddress: {address} for Service {}/{} appears to have leaked: cleaning up",
                    parent.namespace, parent.name
                ),
            ),
        };
        let service_revision = service.map_or(0, |service| service.revision);
        self.of_address(address, reason, message, forget(Some(parent), service_revision));
    }

    fn check_holder_of_port(&mut self, observed: &Observed<'_>, port: u16, record: &At<'_, IpAddress>) {
        let parent = parent(record.object);
        let service = parent.as_ref().and_then(|parent| observed.services.get(parent));
        if service.is_some_and(|service| held(service.object).contains(&Holding::Port(port))) {
            return;
        }
        let forget = Fix::Forget {
            holding: Holding::Port(port),
            revision: record.revision,
            service_revision: service.map_or(0, |service| service.revision),
            service: parent,
        };
        self.0.push(Finding {
            warning: None,
            fix: Some(forget),
        });
    }

    fn of_service(&mut self, key: &Key, reason: &'static str, message: String, fix: Option<Fix>) {
        let warning = Warning {
            about: About::Service(key.clone()),
            reason,
            message,
        };
        self.0.push(Finding {
            warning: Some(warning),
            fix,
        });
    }

    fn of_address(&mut self, address: Ipv4Addr, reason: &'static str, message: String, fix: Fix) {
        let warning = Warning {
            about: About::Address(address),
            reason,
            message,
        };
        self.0.push(Finding {
            warning: Some(warning),
            fix: Some(fix),
        });
    }
}

/// The Service that a record names, if it names one.
fn parent(record: &IpAddress) -> Option<Key> {
    let parent = record.spec().parent_ref();
    let is_service = parent.group.is_empty() && parent.resource == "services";
    is_service.then(|| Key::new(&parent.namespace, &parent.name))
}

fn is_managed(record: &IpAddress) -> bool {
    let (key, value) = MANAGED_BY;
    record.metadata().labels.get(key).is_some_and(|own| own == value)
}

fn is_labelled(record: &IpAddress) -> bool {
    super::labels()
        .iter()
        .all(|(key, value)| record.metadata().labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use gantry_proto::{Kind as _, json};

    use super::*;
    use crate::allocation::parse_cidr;

    const AGE: Duration = Duration::from_secs(1000);

    fn service(name: &str, address: &str, port: i32) -> Service {
        let spec = format!(
            r#"{{"type": "NodePort", "clusterIP": "{address}", "clusterIPs": ["{address}"],
                 "ports": [{{"port": 80, "protocol": "TCP", "nodePort": {port}}}]}}"#
        );
        json::decode(
            format!(r#"{{"metadata": {{"name": "{name}", "namespace": "n"}}, "spec": {spec}}}"#).as_bytes(),
        )
        .unwrap()
        .object
    }

    fn record(of: &str, created: u64) -> IpAddress {
        let mut record = IpAddress::default();
        let metadata = record.metadata_mut();
        metadata.labels = super::super::labels();
        metadata.creation_timestamp = Some((SystemTime::UNIX_EPOCH + Duration::from_secs(created)).into());
        let parent = record.spec_mut().parent_ref_mut();
        parent.resource = "services".into();
        parent.namespace = "n".into();
        parent.name = of.into();
        record
    }

    /// Services by name, address and port; records of addresses by last octet and holder; records of ports.
    fn check(
        services: &[(&str, &str, i32)],
        addresses: &[(u8, IpAddress)],
        ports: &[(u16, &str)],
        warnings: &[&str],
        fixes: &[&str],
    ) {
        let services: Vec<Service> = services
            .iter()
            .map(|(name, address, port)| service(name, address, *port))
            .collect();
        let held: Vec<(u16, IpAddress)> = ports
            .iter()
            .map(|(port, holder)| (*port, record(holder, 0)))
            .collect();
        let observed = Observed {
            services: services
                .iter()
                .map(|object| (object.key(), At { object, revision: 7 }))
                .collect(),
            addresses: addresses
                .iter()
                .map(|(last, object)| (Ipv4Addr::new(10, 96, 0, *last), At { object, revision: 8 }))
                .collect(),
            ports: held
                .iter()
                .map(|(port, object)| (*port, At { object, revision: 9 }))
                .collect(),
        };
        let networks = vec![parse_cidr("10.96.0.0/24").unwrap()];
        let ranges = Ranges {
            networks: networks.clone(),
            ports: 30000..=30100,
        };
        let found = repairs(&observed, &ranges, &networks, SystemTime::UNIX_EPOCH + AGE);
        let warnings_found = found.0.iter().filter_map(|finding| finding.warning.as_ref());
        let told: Vec<String> = warnings_found
            .map(|warning| format!("{}: {}", warning.reason, warning.message))
            .collect();
        let written: Vec<String> = found
            .0
            .iter()
            .filter_map(|finding| finding.fix.as_ref())
            .map(shown)
            .collect();
        assert_eq!(
            (told.as_slice(), written.as_slice()),
            (
                warnings
                    .iter()
                    .map(|text| (*text).to_owned())
                    .collect::<Vec<_>>()
                    .as_slice(),
                fixes
                    .iter()
                    .map(|text| (*text).to_owned())
                    .collect::<Vec<_>>()
                    .as_slice(),
            )
        );
    }

    fn shown(fix: &Fix) -> String {
        match fix {
            Fix::Record {
                holding,
                revision,
                service,
                service_revision,
            } => format!(
                "{} at {revision} for {} at {service_revision}",
                holding.name(),
                service.name
            ),
            Fix::Forget {
                holding,
                revision,
                service,
                service_revision,
            } => format!(
                "forget {} at {revision}, {} at {service_revision}",
                holding.name(),
                service.as_ref().map_or("-", |service| &service.name)
            ),
        }
    }

    #[test]
    fn services_and_records_that_agree_need_nothing() {
        check(
            &[("a", "10.96.0.9", 30009)],
            &[(9, record("a", 0)), (1, record("somebody-coming", 999))],
            &[(30009, "a")],
            &[],
            &[],
        );
    }

    #[test]
    fn what_a_service_has_is_recorded_again() {
        check(
            &[("a", "10.96.0.9", 30009)],
            &[],
            &[],
            &[
                "ClusterIPNotAllocated: Cluster IP [IPv4]: 10.96.0.9 is not allocated; repairing",
                "PortNotAllocated: Port 30009 is not allocated; repairing",
            ],
            &["10.96.0.9 at 0 for a at 7", "30009 at 0 for a at 7"],
        );
        let mut bare = record("a", 0);
        bare.metadata_mut().labels.clear();
        check(
            &[("a", "10.96.0.9", 30009)],
            &[(9, bare)],
            &[(30009, "a")],
            &[],
            &["10.96.0.9 at 8 for a at 7"],
        );
        check(
            &[("a", "10.96.0.9", 30009)],
            &[(9, record("gone", 990))],
            &[(30009, "gone")],
            &[
                "ClusterIPNotAllocated: the ClusterIP [IPv4]: 10.96.0.9 for Service n/a has a wrong reference; repairing",
                "PortNotAllocated: Port 30009 is not allocated; repairing",
            ],
            &[
                "10.96.0.9 at 8 for a at 7",
                "30009 at 9 for a at 7",
                "forget 30009 at 9, gone at 0",
            ],
        );
    }

    #[test]
    fn what_two_services_have_is_told_to_the_one_without_the_record() {
        check(
            &[("a", "10.96.0.9", 30009), ("b", "10.96.0.9", 30009)],
            &[(9, record("b", 0))],
            &[(30009, "b")],
            &[
                "ClusterIPAlreadyAllocated: Cluster IP [IPv4]:10.96.0.9 was assigned to multiple services; please recreate service",
                "PortAlreadyAllocated: Port 30009 was assigned to multiple services; please recreate service",
            ],
            &[],
        );
    }

    #[test]
    fn what_no_service_has_any_more_is_forgotten() {
        let mut foreign = record("a", 0);
        foreign.spec_mut().parent_ref_mut().resource = "gateways".into();
        let mut unmanaged = foreign.clone();
        unmanaged.metadata_mut().labels.clear();
        check(
            &[],
            &[(9, record("gone", 900)), (10, foreign), (11, unmanaged)],
            &[(30009, "gone")],
            &[
                "IPAddressNotAllocated: IPAddress: 10.96.0.9 for Service n/gone appears to have leaked: cleaning up",
                "IPAddressNotAllocated: IPAddress 10.96.0.10 appears to have been modified, not referencing a Service &ParentReference{Group:,Resource:gateways,Namespace:n,Name:a,}: cleaning up",
            ],
            &[
                "forget 10.96.0.9 at 8, gone at 0",
                "forget 10.96.0.10 at 8, - at 0",
                "forget 30009 at 9, gone at 0",
            ],
        );
        check(
            &[("a", "10.96.0.9", 30009)],
            &[(9, record("a", 0)), (10, record("a", 0))],
            &[(30009, "a"), (30010, "a")],
            &[
                "IPAddressWrongReference: IPAddress: 10.96.0.10 for Service n/a has a wrong reference; cleaning up",
            ],
            &["forget 10.96.0.10 at 8, a at 7", "forget 30010 at 9, a at 7"],
        );
    }

    #[test]
    fn what_is_out_of_range_is_told() {
        check(
            &[("a", "10.1.0.9", 20000)],
            &[(9, record("a", 990))],
            &[(20000, "a")],
            &[
                "ClusterIPOutOfRange: Cluster IP [IPv4]: 10.1.0.9 is not within any configured Service CIDR; please recreate service",
                "PortOutOfRange: Port 20000 is not within the port range 30000-30100; please recreate service",
            ],
            &[],
        );
    }
}
