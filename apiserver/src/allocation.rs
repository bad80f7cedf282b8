//! Addresses and node ports of Services: chosen at random, never given twice.
//!
//! Each address and each port has a record in the store. A Service and the records of what it takes are written in
//! one transaction that compares that the records are not there, so any number of apiservers may allocate, nothing
//! leaks when one dies, and there is nothing to repair. (The transaction's keys belong to different resources, so
//! no watch ever sees half of a revision.)

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use gantry_proto::core::v1::Service;
use gantry_proto::json::DecodeError;
use gantry_proto::meta::v1::{Status, StatusCause};
use gantry_proto::networking::v1::{IpAddress, ParentReference};
use gantry_proto::status::Reason;
use gantry_proto::{Kind as _, KindInfo, envelope};
use gantry_store::{Compare, KeyValue, Op, Txn};
use prost::Message as _;
use rand::Rng;

use crate::strategy::{self, Object};

mod ranges;
mod service;

pub use ranges::{Ranges, parse_cidr, parse_port_range};
pub use service::held;

const ADDRESS_PREFIX: &str = "/registry/ipaddresses/";
const PORT_PREFIX: &str = "/registry/gantry.dev/nodeports/";

/// Something that a Service holds and nobody else may have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holding {
    Address(Ipv4Addr),
    Port(u16),
}

impl Holding {
    fn key(&self) -> String {
        match self {
            Holding::Address(address) => format!("{ADDRESS_PREFIX}{address}"),
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
        rng: &mut impl Rng,
    ) -> Result<Allocation, Status> {
        let old = old.and_then(strategy::typed::<Service>);
        let Some(service) = strategy::typed_mut::<Service>(new) else {
            return Ok(Allocation::default());
        };
        let chosen_by_user = held(service);
        service::choose(service, self, taken, rng).map_err(full)?;
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
                record: record(service, holding),
                refusal,
            });
        }
        allocation.release = before.difference(&after).cloned().collect();
        if refusals.is_empty() {
            return Ok(allocation);
        }
        Err(Status::invalid(Service::INFO, &service.metadata().name, refusals))
    }

    /// What the object's end releases.
    pub fn release(&self, object: &dyn Object) -> Allocation {
        Allocation {
            take: Vec::new(),
            release: strategy::typed::<Service>(object)
                .map(held)
                .unwrap_or_default()
                .into_iter()
                .collect(),
        }
    }
}

/// Nothing is left to give.
pub fn full(what: &str) -> Status {
    Status::failure(
        Reason::InternalError,
        format!("Internal error occurred: failed to allocate a {what}: range is full"),
    )
}

/// Who holds an address or a port. Kubernetes' IPAddress, for ports too.
fn record(service: &Service, holding: &Holding) -> bytes::Bytes {
    let mut address = IpAddress::default();
    address.metadata_mut().name = holding.name();
    *address.spec_mut().parent_ref_mut() = ParentReference {
        group: String::new(),
        resource: "services".into(),
        namespace: service.metadata().namespace.clone(),
        name: service.metadata().name.clone(),
    };
    let kind = match holding {
        Holding::Address(_) => &IP_ADDRESS,
        Holding::Port(_) => &NODE_PORT,
    };
    envelope::seal(kind, address.encode_to_vec().into(), "")
}

static IP_ADDRESS: KindInfo = record_kind(
    "networking.k8s.io",
    "v1",
    "IPAddress",
    "ipaddresses",
    ADDRESS_PREFIX,
);
static NODE_PORT: KindInfo = record_kind("gantry.dev", "v1", "NodePort", "nodeports", PORT_PREFIX);

/// A kind that is stored and not served.
const fn record_kind(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    resource: &'static str,
    storage_prefix: &'static str,
) -> KindInfo {
    KindInfo {
        group,
        version,
        kind,
        resource,
        singular: resource,
        short_names: &[],
        categories: &[],
        namespaced: false,
        storage_prefix,
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
    }
}
