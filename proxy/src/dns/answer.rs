//! What a question about the cluster's domain is answered.

use super::Zone;
use crate::service::{Host, Protocol, ServiceView};
use gantry_proto::Key;
use hickory_proto::op::Query;
use hickory_proto::rr::rdata::{A, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use std::net::Ipv4Addr;

/// How long an answer may be kept: CoreDNS' default for cluster names.
pub const TTL_SECONDS: u32 = 5;
/// The version of the specification that the answers follow.
const SCHEMA_VERSION: &str = "1.1.0";

#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Records {
        answers: Vec<Record>,
        additionals: Vec<Record>,
    },
    /// The name exists, without records of the type asked for.
    NoData,
    /// The name does not exist.
    NoName,
    /// The name stands for another, which is to be looked up.
    Alias { alias: Box<Record>, target: Name },
    /// Another server knows.
    Elsewhere,
    /// The Services are not known yet.
    Unknown,
}

/// Answers one question. `turn` moves the endpoints' order on, from question to question.
pub fn answer(zone: &Zone, question: &Query, turn: usize) -> Answer {
    if question.query_class() != DNSClass::IN {
        return Answer::Elsewhere;
    }
    let name = question.name().to_lowercase();
    if !zone.domain.zone_of(&name) {
        return reverse(zone, question, &name);
    }
    if !zone.complete {
        return Answer::Unknown;
    }
    let Some(labels) = labels_below(&zone.domain, &name) else {
        return Answer::NoName;
    };
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let asked = Asked {
        zone,
        name: question.name(),
        kind: question.query_type(),
        turn,
    };
    match labels[..] {
        [] => asked.apex(),
        ["svc"] | ["dns"] => Answer::NoData,
        ["dns", "ns"] => asked.one(RecordType::A, RData::A(A(zone.server))),
        ["dns-version"] => asked.one(
            RecordType::TXT,
            RData::TXT(TXT::new(vec![SCHEMA_VERSION.to_owned()])),
        ),
        ["svc", namespace] if zone.has_namespace(namespace) => Answer::NoData,
        ["svc", namespace, service, ref below @ ..] => match zone.service(namespace, service) {
            Some(view) => asked.service(&Key::new(namespace, service), view, below),
            None => Answer::NoName,
        },
        _ => Answer::NoName,
    }
}

/// Says who is in charge of the domain, and how long a missing name may be remembered as missing.
pub fn authority(zone: &Zone) -> Option<Record> {
    let (server, person) = (
        below(&zone.domain, ["ns", "dns"])?,
        below(&zone.domain, ["hostmaster"])?,
    );
    let soa = SOA::new(server, person, zone.serial, 7200, 1800, 86400, TTL_SECONDS);
    Some(Record::from_rdata(
        zone.domain.clone(),
        TTL_SECONDS,
        RData::SOA(soa),
    ))
}

struct Asked<'a> {
    zone: &'a Zone,
    /// As it was spelt, because some resolvers compare the case too.
    name: &'a Name,
    kind: RecordType,
    turn: usize,
}

impl Asked<'_> {
    fn apex(&self) -> Answer {
        match self.kind {
            RecordType::SOA => records(authority(self.zone).into_iter().collect()),
            RecordType::NS => {
                let server = below(&self.zone.domain, ["ns", "dns"]);
                records(
                    server
                        .into_iter()
                        .map(|server| self.record(RData::NS(NS(server))))
                        .collect(),
                )
            }
            _ => Answer::NoData,
        }
    }

    fn service(&self, key: &Key, view: &ServiceView, below_service: &[&str]) -> Answer {
        if let Some(target) = &view.external_name {
            return self.external(target, below_service);
        }
        let hosts = || view.hosts.iter();
        match *below_service {
            [] if view.headless && view.hosts.is_empty() => Answer::NoName,
            [] if view.headless => match self.kind {
                RecordType::SRV => self.services_of_hosts(key, hosts(), |_| true),
                _ => self.addresses(self.rotated(&view.hosts).map(|host| host.address)),
            },
            [] => match self.kind {
                RecordType::SRV => self.services(key, view, |_| true),
                _ => self.addresses(view.cluster_ips.iter().copied()),
            },
            [endpoint] => self.host(key, hosts().filter(|host| label(host) == endpoint).collect()),
            [protocol, port] => {
                let (Some(protocol), Some(port)) = (protocol.strip_prefix('_'), port.strip_prefix('_'))
                else {
                    return Answer::NoName;
                };
                let asked = |(name, of, _): &PortName| name == port && of.to_string() == protocol;
                match view.headless {
                    true => self.services_of_hosts(key, hosts(), asked),
                    false => self.services(key, view, asked),
                }
            }
            _ => Answer::NoName,
        }
    }

    fn external(&self, target: &str, below_service: &[&str]) -> Answer {
        if !below_service.is_empty() {
            return Answer::NoName;
        }
        let Ok(mut target) = Name::from_ascii(target) else {
            return Answer::NoData;
        };
        target.set_fqdn(true);
        let alias = Box::new(self.record(RData::CNAME(CNAME(target.clone()))));
        Answer::Alias { alias, target }
    }

    /// One endpoint by its name. Several endpoints may share a hostname.
    fn host(&self, key: &Key, hosts: Vec<&Host>) -> Answer {
        match (hosts.is_empty(), self.kind) {
            (true, _) => Answer::NoName,
            (false, RecordType::SRV) => self.services_of_hosts(key, hosts.into_iter(), |_| true),
            (false, _) => self.addresses(hosts.iter().map(|host| host.address)),
        }
    }

    fn addresses(&self, addresses: impl Iterator<Item = Ipv4Addr>) -> Answer {
        match self.kind {
            RecordType::A => records(
                addresses
                    .map(|address| self.record(RData::A(A(address))))
                    .collect(),
            ),
            _ => Answer::NoData,
        }
    }

    fn services(&self, key: &Key, view: &ServiceView, asked: impl Fn(&PortName) -> bool) -> Answer {
        let ports = view
            .ports
            .iter()
            .map(|port| (port.name.clone(), port.protocol, port.number));
        let ports: Vec<_> = ports.filter(|port| asked(port)).collect();
        let Some(target) = self.name_of(key, None) else {
            return Answer::NoName;
        };
        let targets = ports.iter().map(|(_, _, port)| (*port, target.clone()));
        self.service_records(
            targets.collect(),
            view.cluster_ips.iter().map(|ip| (target.clone(), *ip)).collect(),
        )
    }

    fn services_of_hosts<'h>(
        &self,
        key: &Key,
        hosts: impl Iterator<Item = &'h Host>,
        asked: impl Fn(&PortName) -> bool,
    ) -> Answer {
        let mut targets = Vec::new();
        let mut addresses = Vec::new();
        for host in hosts {
            let ports = host
                .ports
                .iter()
                .filter(|port| asked(port))
                .map(|(_, _, port)| *port);
            if let Some(name) = self.name_of(key, Some(host)) {
                let before = targets.len();
                targets.extend(ports.map(|port| (port, name.clone())));
                addresses.extend((targets.len() > before).then_some((name, host.address)));
            }
        }
        self.service_records(targets, addresses)
    }

    fn service_records(&self, targets: Vec<(u16, Name)>, addresses: Vec<(Name, Ipv4Addr)>) -> Answer {
        if targets.is_empty() {
            return Answer::NoName;
        }
        if self.kind != RecordType::SRV {
            return Answer::NoData;
        }
        // CoreDNS' weights: the records share 100.
        let weight = (100 / targets.len()).max(1) as u16;
        let service = |(port, target)| self.record(RData::SRV(SRV::new(0, weight, port, target)));
        let address = |(name, address)| Record::from_rdata(name, TTL_SECONDS, RData::A(A(address)));
        Answer::Records {
            answers: targets.into_iter().map(service).collect(),
            additionals: addresses.into_iter().map(address).collect(),
        }
    }

    fn one(&self, kind: RecordType, data: RData) -> Answer {
        if self.kind == kind {
            records(vec![self.record(data)])
        } else {
            Answer::NoData
        }
    }

    fn record(&self, data: RData) -> Record {
        Record::from_rdata(self.name.clone(), TTL_SECONDS, data)
    }

    fn rotated<'h>(&self, hosts: &'h [Host]) -> impl Iterator<Item = &'h Host> + use<'h> {
        let first = self.turn % hosts.len().max(1);
        hosts[first..].iter().chain(&hosts[..first])
    }

    fn name_of(&self, key: &Key, host: Option<&Host>) -> Option<Name> {
        name_of(self.zone, key, host)
    }
}

type PortName = (String, Protocol, u16);

fn records(answers: Vec<Record>) -> Answer {
    match answers.is_empty() {
        true => Answer::NoData,
        false => Answer::Records {
            answers,
            additionals: Vec::new(),
        },
    }
}

/// Which name an address has. Addresses of no Service are somebody else's.
fn reverse(zone: &Zone, question: &Query, name: &Name) -> Answer {
    let Some(address) = address_of(name) else {
        return Answer::Elsewhere;
    };
    let names: Vec<Name> = zone
        .owners(address)
        .flat_map(|(key, view)| match view.headless {
            false => vec![name_of(zone, key, None)],
            true => view
                .hosts
                .iter()
                .filter(|host| host.address == address)
                .map(|host| name_of(zone, key, Some(host)))
                .collect(),
        })
        .flatten()
        .collect();
    match (names.is_empty(), question.query_type()) {
        (true, _) => Answer::Elsewhere,
        (false, RecordType::PTR) => {
            let record =
                |target| Record::from_rdata(question.name().clone(), TTL_SECONDS, RData::PTR(PTR(target)));
            records(names.into_iter().map(record).collect())
        }
        (false, _) => Answer::NoData,
    }
}

fn address_of(name: &Name) -> Option<Ipv4Addr> {
    let text = name.to_ascii();
    let octets = text.strip_suffix(".in-addr.arpa.")?;
    let reversed: Vec<&str> = octets.rsplit('.').collect();
    reversed.join(".").parse().ok()
}

/// The labels before the domain, the last first.
fn labels_below(domain: &Name, name: &Name) -> Option<Vec<String>> {
    let count = usize::from(name.num_labels()) - usize::from(domain.num_labels());
    let labels = name
        .iter()
        .take(count)
        .map(|label| String::from_utf8(label.to_vec()).ok());
    let mut labels: Vec<String> = labels.collect::<Option<_>>()?;
    labels.reverse();
    Some(labels)
}

fn name_of(zone: &Zone, key: &Key, host: Option<&Host>) -> Option<Name> {
    let service = below(&zone.domain, [key.name.as_str(), &key.namespace, "svc"])?;
    match host {
        Some(host) => below(&service, [label(host).as_str()]),
        None => Some(service),
    }
}

/// An endpoint's own label: its hostname, or its address with dashes.
fn label(host: &Host) -> String {
    host.hostname.as_ref().map_or_else(
        || host.address.to_string().replace('.', "-"),
        |name| name.to_lowercase(),
    )
}

fn below<const N: usize>(domain: &Name, labels: [&str; N]) -> Option<Name> {
    let mut name = domain.clone();
    for label in labels.iter().rev() {
        name = name.prepend_label(*label).ok()?;
    }
    Some(name)
}

#[cfg(test)]
mod tests;
