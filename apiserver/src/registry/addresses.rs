//! What Services take from the cluster's addresses and node ports: which ranges there are now, and keeping the records
//! of what is taken in agreement with the Services.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use gantry_proto::core::v1::{Event, EventSource, ObjectReference, Service};
use gantry_proto::meta::v1::{ObjectMeta, Status, Time};
use gantry_proto::networking::v1::{IpAddress, ServiceCidr};
use gantry_proto::status::Reason;
use gantry_proto::{Key, Kind, envelope};
use gantry_store::{Compare, Error, Op, Range, Txn, TxnOutcome};
use prost::Message as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Creation, Endpoint, Proposal, Registry, Update, Writer, internal, metadata};
use crate::allocation::repair::{About, At, Fix, Observed, Warning, repairs};
use crate::allocation::service_cidr::{self, Step};
use crate::allocation::{self, Allocation, Cidr, Holding, PORT_PREFIX, Ranges};
use crate::cache::{Cache, Selection, State};
use crate::strategy::Object;

/// How often the default ServiceCIDR is looked at (Kubernetes' default ServiceCIDR controller).
const INTERVAL: Duration = Duration::from_secs(10);
/// How often Services and records are compared (Kubernetes' ServiceClusterIPInterval and ServiceNodePortInterval). The
/// first time is at the start.
const REPAIR_INTERVAL: Duration = Duration::from_secs(180);
/// How often chance may fail before what others have is looked up.
const BLIND_ATTEMPTS: usize = 2;

const ADDRESSES_COMPONENT: &str = "ipallocator-repair-controller";
const PORTS_COMPONENT: &str = "portallocator-repair-controller";
const CIDR_COMPONENT: &str = "kubernetes-service-cidr-controller";

impl Registry {
    /// From what Services are given addresses and ports at this moment.
    fn ranges_now(&self) -> Result<Ranges, Status> {
        let network = self.network();
        let cidrs = all::<ServiceCidr>(&self.cache::<ServiceCidr>()?.present());
        let cidrs = cidrs.iter().map(|(cidr, _)| cidr);
        Ok(Ranges {
            networks: service_cidr::given_from(cidrs, network),
            ports: self.ranges.ports.clone(),
        })
    }

    /// The network that the server's flag names.
    pub(super) fn network(&self) -> Cidr {
        self.ranges.networks[0]
    }

    /// What the object takes and releases, with the choices written into it. Only Services take anything.
    ///
    /// `attempt` counts how often chance has failed: after twice the ranges are nearly full, and what others have
    /// is looked up.
    #[allow(clippy::disallowed_methods, reason = "where a request meets chance")]
    pub(super) fn allocate(
        &self,
        new: &mut dyn Object,
        old: Option<&dyn Object>,
        attempt: usize,
    ) -> Result<Allocation, Status> {
        if !allocation::concerns(new) {
            return Ok(Allocation::default());
        }
        let taken = if attempt < BLIND_ATTEMPTS {
            BTreeSet::new()
        } else {
            self.holdings()?
        };
        self.ranges_now()?
            .allocate(new, old, &taken, SystemTime::now(), &mut rand::rng())
    }

    /// Fills in what a dry run shows of what the new object would get.
    pub(super) fn pretend_to_allocate(&self, new: &mut dyn Object) -> Result<(), Status> {
        if !allocation::concerns(new) {
            return Ok(());
        }
        self.ranges_now()?.pretend(new, &self.holdings()?)
    }

    /// What the object's end releases. An address whose record has come to name somebody else stays theirs; the cache
    /// may be behind, so only a record that is younger than the Service's last change says so.
    pub(super) fn release(&self, object: &dyn Object) -> Allocation {
        allocation::release(object, |service, holding| {
            let Holding::Address(address) = holding else {
                return false;
            };
            let cache = self.cache::<IpAddress>().ok();
            let entry = cache.and_then(|cache| cache.get(&Key::cluster(address.to_string())));
            let written: i64 = service.metadata().resource_version.parse().unwrap_or(i64::MAX);
            let younger = entry.filter(|entry| entry.revision > written);
            let record = younger.and_then(|entry| IpAddress::decode(&*entry.raw).ok());
            record.is_some_and(|record| !allocation::is_of(&record, service))
        })
    }

    /// What is taken, as far as the caches know.
    fn holdings(&self) -> Result<BTreeSet<Holding>, Status> {
        let services = all::<Service>(&self.cache::<Service>()?.present());
        let mut taken: BTreeSet<Holding> = services
            .iter()
            .flat_map(|(service, _)| allocation::held(service))
            .collect();
        let addresses = self.cache::<IpAddress>()?.present();
        let everything = Selection::all("");
        let names = addresses.objects.select(&everything, None);
        taken.extend(
            names
                .filter_map(|entry| entry.key.name.parse().ok())
                .map(Holding::Address),
        );
        Ok(taken)
    }

    /// Keeps the default ServiceCIDR, and the records in agreement with the Services, until `shutdown`.
    pub async fn keep_addresses(self: Arc<Self>, shutdown: CancellationToken) {
        let _ = shutdown.run_until_cancelled(self.keep_addresses_for_ever()).await;
    }

    async fn keep_addresses_for_ever(&self) {
        let mut next_repair = Instant::now();
        loop {
            if let Err(status) = self.keep_default_cidr().await {
                tracing::warn!(
                    error = status.message,
                    "the default ServiceCIDR is not kept up to date"
                );
            }
            if Instant::now() >= next_repair {
                match self.repair().await {
                    Ok(()) => next_repair = Instant::now() + REPAIR_INTERVAL,
                    Err(status) => tracing::warn!(
                        error = status.message,
                        "the records of addresses and ports were not compared with the Services"
                    ),
                }
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    async fn keep_default_cidr(&self) -> Result<(), Status> {
        let cache = self.cache::<ServiceCidr>()?;
        let key = Key::cluster(service_cidr::NAME);
        let mut state = cache.consistent().await?;
        if state.objects.get(&key).is_none() {
            self.create_if_absent(cache, service_cidr::new(self.network()))
                .await?;
            state = cache.consistent().await?;
        }
        let Some(entry) = state.objects.get(&key) else {
            return Ok(());
        };
        let present = ServiceCidr::decode(&*entry.raw).map_err(internal)?;
        let now = now();
        match service_cidr::step(&present, self.network(), now) {
            Step::Nothing => Ok(()),
            Step::Ready(cidr) => {
                let update = Update {
                    key,
                    endpoint: Endpoint::Status,
                    proposal: Proposal::Object(cidr),
                    writer: Writer::server(),
                    dry_run: false,
                    now,
                };
                self.update(cache, update).await.map(drop)
            }
            Step::Warn { reason, message } => {
                let about = reference(&present);
                self.warn(about, CIDR_COMPONENT, &reason, &message, now).await
            }
        }
    }

    async fn create_if_absent<K: Kind>(&self, cache: &Cache, object: K) -> Result<(), Status> {
        let creation = Creation {
            object: Box::new(object),
            writer: Writer::server(),
            dry_run: false,
            now: now(),
        };
        match self.create(cache, creation).await {
            Err(status) if status.reason_code() != Reason::AlreadyExists => Err(status),
            _ => Ok(()),
        }
    }

    /// Compares the Services with the records once, and puts right what differs.
    async fn repair(&self) -> Result<(), Status> {
        let ports = self.ports().await?;
        let (services, addresses) = (self.cache::<Service>()?, self.cache::<IpAddress>()?);
        let cidrs = all::<ServiceCidr>(&*self.cache::<ServiceCidr>()?.consistent().await?);
        let addresses = all::<IpAddress>(&*addresses.consistent().await?);
        let services = all::<Service>(&*services.consistent().await?);
        let observed = Observed {
            services: services
                .iter()
                .map(|(object, revision)| (object.key(), at(object, *revision)))
                .collect(),
            addresses: addresses
                .iter()
                .filter_map(|(object, revision)| {
                    let address: Ipv4Addr = object.metadata().name.parse().ok()?;
                    Some((address, at(object, *revision)))
                })
                .collect(),
            ports: ports
                .iter()
                .map(|(port, object, revision)| (*port, at(object, *revision)))
                .collect(),
        };
        let mut networks: Vec<Cidr> = cidrs
            .iter()
            .flat_map(|(cidr, _)| service_cidr::networks_of(cidr))
            .collect();
        networks.push(self.network());
        let now = now();
        let found = repairs(&observed, &self.ranges, &networks, now);
        for finding in &found.0 {
            let stands = match &finding.fix {
                Some(fix) => self.fix(&observed, fix, now).await?,
                None => true,
            };
            if stands && let Some(warning) = &finding.warning {
                self.warn_of(&observed, warning, now).await?;
            }
        }
        Ok(())
    }

    /// The records of ports, with their revisions.
    async fn ports(&self) -> Result<Vec<(u16, IpAddress, i64)>, Status> {
        let range = Range {
            prefix: PORT_PREFIX,
            ..Range::default()
        };
        let page = self.store.list(range).await.map_err(internal)?;
        let port = |kv: &gantry_store::KeyValue| {
            let port = kv.key.strip_prefix(PORT_PREFIX)?.parse().ok()?;
            let raw = envelope::open(kv.value.clone()).ok()?.raw;
            Some((port, IpAddress::decode(&*raw).ok()?, kv.mod_revision))
        };
        Ok(page.kvs.iter().filter_map(port).collect())
    }

    /// Whether it was done. Does nothing if the record or the Service has changed since: then the next comparison tells.
    async fn fix(&self, observed: &Observed<'_>, fix: &Fix, now: SystemTime) -> Result<bool, Status> {
        #[allow(clippy::disallowed_methods, reason = "a uid that no other object has")]
        let uid = allocation::uid(&mut rand::rng());
        let (holding, revision, service, service_revision, op) = match fix {
            Fix::Record {
                holding,
                revision,
                service,
                service_revision,
            } => {
                let Some(object) = observed.services.get(service) else {
                    return Ok(false);
                };
                let put = Op::Put {
                    key: holding.key(),
                    value: allocation::record(object.object, holding, &uid, now),
                    lease: None,
                };
                (holding, *revision, Some(service), *service_revision, put)
            }
            Fix::Forget {
                holding,
                revision,
                service,
                service_revision,
            } => {
                let delete = Op::Delete { key: holding.key() };
                (holding, *revision, service.as_ref(), *service_revision, delete)
            }
        };
        let mut txn = Txn {
            compare: vec![Compare::ModRevision {
                key: holding.key(),
                revision,
            }],
            success: vec![op],
            read_on_failure: Vec::new(),
        };
        if let Some(service) = service {
            txn.compare.push(Compare::ModRevision {
                key: Service::INFO.storage_key(service),
                revision: service_revision,
            });
        }
        match self.store.txn(txn).await {
            Ok(TxnOutcome::Committed { .. }) => {
                tracing::info!(
                    key = holding.key(),
                    revision,
                    "a record of what a Service holds was put right"
                );
                Ok(true)
            }
            // Whether it was done, the next comparison tells.
            Ok(TxnOutcome::CompareFailed { .. }) | Err(Error::Ambiguous(_)) => Ok(false),
            Err(error) => Err(internal(error)),
        }
    }

    async fn warn_of(
        &self,
        observed: &Observed<'_>,
        warning: &Warning,
        now: SystemTime,
    ) -> Result<(), Status> {
        let about = match &warning.about {
            About::Service(key) => observed.services.get(key).map(|at| reference(at.object)),
            About::Address(address) => observed.addresses.get(address).map(|at| reference(at.object)),
        };
        let component = if warning.reason.starts_with("Port") {
            PORTS_COMPONENT
        } else {
            ADDRESSES_COMPONENT
        };
        match about {
            Some(about) => {
                self.warn(about, component, warning.reason, &warning.message, now)
                    .await
            }
            None => Ok(()),
        }
    }

    /// An Event, once for as long as Events are kept: its name is that of what it says.
    async fn warn(
        &self,
        about: ObjectReference,
        component: &str,
        reason: &str,
        message: &str,
        now: SystemTime,
    ) -> Result<(), Status> {
        let mut hasher = DefaultHasher::new();
        (&about.uid, reason, message).hash(&mut hasher);
        let time = Time::from_system(now);
        let namespace = if about.namespace.is_empty() {
            "default".to_owned()
        } else {
            about.namespace.clone()
        };
        let mut event = Event {
            metadata: Some(ObjectMeta {
                name: format!("{}.{:016x}", about.name, hasher.finish()),
                namespace,
                ..ObjectMeta::default()
            }),
            involved_object: Some(about),
            reason: reason.into(),
            message: message.into(),
            source: Some(EventSource {
                component: component.into(),
                ..EventSource::default()
            }),
            first_timestamp: Some(time),
            last_timestamp: Some(time),
            count: 1,
            r#type: "Warning".into(),
            reporting_component: component.into(),
            ..Event::default()
        };
        metadata::begin(event.metadata_mut(), uuid::Uuid::new_v4().to_string(), now);
        match self.insert(self.cache::<Event>()?, &mut event, None).await {
            Err(status) if status.reason_code() != Reason::AlreadyExists => Err(status),
            _ => Ok(()),
        }
    }
}

/// Every object of a state that decodes, with its revision.
fn all<K: Kind>(state: &State) -> Vec<(K, i64)> {
    let everything = Selection::all("");
    let entries = state.objects.select(&everything, None);
    entries
        .filter_map(|entry| Some((K::decode(&*entry.raw).ok()?, entry.revision)))
        .collect()
}

fn at<T>(object: &T, revision: i64) -> At<'_, T> {
    At { object, revision }
}

fn reference<K: Kind>(object: &K) -> ObjectReference {
    let metadata = object.metadata();
    ObjectReference {
        kind: K::INFO.kind.into(),
        api_version: K::INFO.api_version(),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

#[allow(clippy::disallowed_methods, reason = "the server itself writes now")]
fn now() -> SystemTime {
    SystemTime::now()
}
