//! Addresses and node ports of Services: chosen at random, never given twice.
//!
//! Each address and each port has a record in the store; that of an address is an IPAddress object, which everybody
//! sees. A Service and the records of what it takes are written in one transaction that compares that the records are
//! not there, so any number of apiservers may allocate, and nothing leaks when one dies: `repair` is for what people
//! did to the records. (The transaction's keys belong to different resources, so no watch ever sees half of a
//! revision.)

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::SystemTime;

use gantry_proto::core::v1::Service;
use gantry_proto::json::DecodeError;
use gantry_proto::meta::v1::{Status, StatusCause, Time};
use gantry_proto::networking::v1::{IpAddress, ParentReference};
use gantry_proto::status::Reason;
use gantry_proto::{Kind as _, KindInfo, envelope};
use gantry_store::{Compare, KeyValue, Op, Txn};
use prost::Message as _;
use rand::Rng;

use crate::strategy::{self, Object};

mod ranges;
mod service;
pub mod repair;
pub mod service_cidr;

pub use ranges::{Cidr, Ranges, parse_cidr, parse_port_range};
pub use service::held;

/// The records of node ports, of which Kubernetes keeps a bitmap that is not served either
/// (`/registry/ranges/servicenodeports`): a key for each is what several servers can take at once.
pub const PORT_PREFIX: &str = "/registry/gantry.dev/nodeports/";

/// Who made an IPAddress, and which addresses it counts among (k8s.io/api/networking/v1, well_known_labels.go).
pub const MANAGED_BY: (&str, &str) = ("ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io");
const FAMILY: (&str, &str) = ("ipaddress.kubernetes.io/ip-family", "IPv4");

/// Something that a Service holds and nobody else may have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holding {
    Address(Ipv4Addr),
    Port(u16),
}

impl Holding {
    /// The key of its record.
    pub fn key(&self) -> String {
        match self {
            Holding::Address(address) => format!("{}{address}", IpAddress::INFO.storage_prefix),
            Holding::Port(port) => format!("{PORT_PREFIX}{port}"),
        }
    }

    fn name(&self) -> String {
        match self {
            Holding::Address(address) => address.to_string(),
            Holding::Port(port) => port.to_string(),
        }
    }
}

/// What a write takes from the ranges and gives back.
#[derive(Clone, Debug, Default)]
pub struct Allocation {
    take: Vec<Claim>,
    release: Vec<Holding>,
}

#[derive(Clone, Debug)]
struct Claim {
    holding: Holding,
    record: bytes::Bytes,
    /// What the user is told if it is taken, where the user chose it.
    refusal: Option<StatusCause>,
}

impl Allocation {
    /// Makes the transaction take and release what the allocation says.
    pub fn join(&self, txn: &mut Txn) {
        for claim in &self.take {
            let key = claim.holding.key();
            txn.compare.push(Compare::ModRevision {
                key: key.clone(),
                revision: 0,
            });
            txn.read_on_failure.push(key.clone());
            txn.success.push(Op::Put {
                key,
                value: claim.record.clone(),
                lease: None,
            });
        }
        let released = self
            .release
            .iter()
            .map(|holding| Op::Delete { key: holding.key() });
        txn.success.extend(released);
    }

    /// Refuses the request if something that its user chose is taken. `found` are the claims' records, as the
    /// failed transaction read them.
    pub fn refuse_taken(
        &self,
        info: &KindInfo,
        name: &str,
        found: impl Iterator<Item = Option<KeyValue>>,
    ) -> Result<(), Status> {
        let taken = self.take.iter().zip(found).filter(|(_, record)| record.is_some());
        let refusals: Vec<StatusCause> = taken.filter_map(|(claim, _)| claim.refusal.clone()).collect();
        if refusals.is_empty() {
            Ok(())
        } else {
            Err(Status::invalid(info, name, refusals))
        }
    }
}

/// Whether the object takes anything.
pub fn concerns(object: &dyn Object) -> bool {
    object.info().message == Service::INFO.message
}

impl Ranges {
    /// Fills in what the Service is to get, and says what that takes and releases. `taken` is what others surely
    /// have; the transaction decides. `old` is absent for a new Service.
    pub fn allocate(
        &self,
        new: &mut dyn Object,
        old: Option<&dyn Object>,
        taken: &BTreeSet<Holding>,
        now: SystemTime,
        rng: &mut impl Rng,
    ) -> Result<Allocation, Status> {
        let old = old.and_then(strategy::typed::<Service>);
        let Some(service) = strategy::typed_mut::<Service>(new) else {
            return Ok(Allocation::default());
        };
        let chosen_by_user = held(service);
        service::choose(service, self, taken, rng).map_err(|what| full(&what))?;
        let (before, after) = (old.map(held).unwrap_or_default(), held(service));
        let mut refusals = Vec::new();
        let mut allocation = Allocation::default();
        for holding in after.difference(&before) {
            let refusal = chosen_by_user
                .contains(holding)
                .then(|| service::taken_cause(service, holding));
            if refusal.is_some() && !self.contain(holding) {
                refusals.push(service::out_of_range_cause(service, holding, self));
            }
            allocation.take.push(Claim {
                holding: holding.clone(),
                record: record(service, holding, &uid(rng), now),
                refusal,
            });
        }
        allocation.release = before.difference(&after).cloned().collect();
        if refusals.is_empty() {
            return Ok(allocation);
        }
        Err(Status::invalid(Service::INFO, &service.metadata().name, refusals))
    }

    /// Fills in what a dry run shows of what the Service would get, and refuses what it could not have. `taken` is
    /// what others have.
    pub fn pretend(&self, new: &mut dyn Object, taken: &BTreeSet<Holding>) -> Result<(), Status> {
        let Some(service) = strategy::typed_mut::<Service>(new) else {
            return Ok(());
        };
        let causes: Vec<StatusCause> = held(service)
            .iter()
            .filter_map(|holding| match holding {
                holding if !self.contain(holding) => {
                    Some(service::out_of_range_cause(service, holding, self))
                }
                holding if taken.contains(holding) => Some(service::taken_cause(service, holding)),
                _ => None,
            })
            .collect();
        if !causes.is_empty() {
            return Err(Status::invalid(Service::INFO, &service.metadata().name, causes));
        }
        let network = self.networks.first().map(|network| network.network_address());
        service::pretend(service, network);
        Ok(())
    }
}

/// What the object's end releases. `is_others` says whether a record is surely another object's.
pub fn release(object: &dyn Object, is_others: impl Fn(&Service, &Holding) -> bool) -> Allocation {
    let Some(service) = strategy::typed::<Service>(object) else {
        return Allocation::default();
    };
    let mut held = held(service);
    held.retain(|holding| !is_others(service, holding));
    Allocation {
        take: Vec::new(),
        release: held.into_iter().collect(),
    }
}

/// Nothing is left to give.
pub fn full(what: &str) -> Status {
    Status::failure(
        Reason::InternalError,
        format!("Internal error occurred: failed to allocate a {what}: range is full"),
    )
}

/// The record that a Service holds an address or a port, as the store has it: an IPAddress, for ports too.
pub fn record(service: &Service, holding: &Holding, uid: &str, now: SystemTime) -> bytes::Bytes {
    let mut address = IpAddress::default();
    let metadata = address.metadata_mut();
    metadata.name = holding.name();
    metadata.uid = uid.to_owned();
    metadata.creation_timestamp = Some(Time::from_system(now));
    if let Holding::Address(_) = holding {
        metadata.labels = labels();
    }
    *address.spec_mut().parent_ref_mut() = ParentReference {
        group: String::new(),
        resource: "services".into(),
        namespace: service.metadata().namespace.clone(),
        name: service.metadata().name.clone(),
    };
    let kind = match holding {
        Holding::Address(_) => IpAddress::INFO,
        Holding::Port(_) => &NODE_PORT,
    };
    envelope::seal(kind, address.encode_to_vec().into(), "")
}

/// The labels of addresses that Services hold.
fn labels() -> BTreeMap<String, String> {
    [MANAGED_BY, FAMILY]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// Whether a record names this Service.
pub fn is_of(address: &IpAddress, service: &Service) -> bool {
    let parent = address.spec().parent_ref();
    parent.group.is_empty()
        && parent.resource == "services"
        && parent.namespace == service.metadata().namespace
        && parent.name == service.metadata().name
}

/// A record's uid.
pub fn uid(rng: &mut impl Rng) -> String {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// The kind of the records of ports, which is stored and not served.
static NODE_PORT: KindInfo = KindInfo {
    group: "gantry.dev",
    version: "v1",
    kind: "NodePort",
    resource: "nodeports",
    singular: "nodeport",
    short_names: &[],
    categories: &[],
    namespaced: false,
    storage_prefix: PORT_PREFIX,
    subresources: &[],
    stored: true,
    message: "gantry.networking.v1.IPAddress",
    encode_json: |_| {
        Err(DecodeError {
            path: String::new(),
            message: "this kind is not served".into(),
        })
    },
    decode_json: |_| Ok(serde_json::Value::Null),
};
