//! The Service `kubernetes` in `default`, by which pods find the apiservers (pkg/controlplane/controller/
//! kubernetesservice and pkg/controlplane/reconcilers/lease.go).
//!
//! Each server keeps a key with its address, attached to a store lease, so that a server that dies leaves by itself;
//! and each makes the Service's EndpointSlice and Endpoints say what these keys say.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow};
use gantry_proto::core::v1::{
    self as core, EndpointAddress, EndpointSubset, Endpoints, Service, ServicePort,
};
use gantry_proto::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use gantry_proto::meta::v1::{ObjectMeta, Status};
use gantry_proto::status::Reason;
use gantry_proto::{Key, Kind};
use gantry_store::{Error, LeaseId, Op, Range, Txn};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Creation, Endpoint as Part, Proposal, Registry, Update, Writer};
use crate::strategy::Object;

const NAMESPACE: &str = "default";
const NAME: &str = "kubernetes";
const PORT_NAME: &str = "https";
const SERVICE_PORT: i32 = 443;
/// The addresses of the servers that live.
const PREFIX: &str = "/registry/gantry.dev/apiservers/";
/// Kubernetes' --apiserver-count reconciler: how often, and after how long a silent server is given up.
const INTERVAL: Duration = Duration::from_secs(10);
const TTL_SECONDS: i64 = 15;
/// How long a server may take to sign off when it ends.
const SIGN_OFF_LIMIT: Duration = Duration::from_secs(2);
/// More servers than anybody runs.
const MAX_SERVERS: usize = 100;

/// Where pods reach a server that listens on `listen`: there, or, if that is not one address of the network, at the
/// address from which this machine reaches others.
pub fn reachable_at(listen: SocketAddr, advertise: Option<Ipv4Addr>) -> anyhow::Result<SocketAddrV4> {
    let chosen = advertise.or(match listen {
        SocketAddr::V4(listen) if is_of_a_network(*listen.ip()) => Some(*listen.ip()),
        _ => None,
    });
    let address = match chosen {
        Some(address) => address,
        None => outgoing().context("finding this machine's address")?,
    };
    Ok(SocketAddrV4::new(address, listen.port()))
}

fn is_of_a_network(address: Ipv4Addr) -> bool {
    !address.is_unspecified() && !address.is_loopback() && !address.is_link_local()
}

/// The address that the routes give to packets for elsewhere. Nothing is sent.
fn outgoing() -> anyhow::Result<Ipv4Addr> {
    let elsewhere = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 1), 9);
    let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(elsewhere)?;
    match socket.local_addr()? {
        SocketAddr::V4(address) if is_of_a_network(*address.ip()) => Ok(*address.ip()),
        other => Err(anyhow!("{other} cannot be reached by others")),
    }
}

impl Registry {
    /// Keeps the Service, and this server among its endpoints, until `shutdown`.
    pub async fn keep_kubernetes_service(self: Arc<Self>, own: SocketAddrV4, shutdown: CancellationToken) {
        let mut presence = Presence::default();
        // The Service's namespace is one of them.
        if shutdown
            .run_until_cancelled(self.ensure_system_namespaces())
            .await
            .is_none()
        {
            return;
        }
        loop {
            let turn = self.kubernetes_service_turn(own, &mut presence);
            match shutdown.run_until_cancelled(turn).await {
                None => break,
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::warn!(error = %format!("{error:#}"), "the Service kubernetes is not kept up to date");
                }
            }
            let pause = shutdown.run_until_cancelled(tokio::time::sleep(INTERVAL));
            if pause.await.is_none() {
                break;
            }
        }
        if timeout(SIGN_OFF_LIMIT, self.sign_off(own, presence))
            .await
            .is_err()
        {
            tracing::debug!("signing off took too long; the store forgets this server by itself");
        }
    }

    async fn kubernetes_service_turn(
        &self,
        own: SocketAddrV4,
        presence: &mut Presence,
    ) -> anyhow::Result<()> {
        self.ensure_kubernetes_service(own.port()).await?;
        presence
            .keep(self, *own.ip())
            .await
            .context("telling the other servers that this one is here")?;
        let living = self.living_servers().await?;
        if !living.contains(&own.ip().to_string()) {
            // Another server of this address, our predecessor perhaps, has signed off: tell again.
            *presence = Presence::default();
        }
        self.tell(living, own.port()).await
    }

    async fn sign_off(&self, own: SocketAddrV4, presence: Presence) {
        let Some(lease) = presence.lease else { return };
        let signed_off = async {
            self.store.revoke_lease(lease).await?;
            self.tell(self.living_servers().await?, own.port()).await
        };
        if let Err(error) = signed_off.await {
            tracing::debug!(%error, "the store forgets this server by itself");
        }
    }

    async fn ensure_kubernetes_service(&self, port: u16) -> anyhow::Result<()> {
        let cache = self.cache::<Service>().map_err(worded)?;
        if cache
            .synced()
            .await
            .map_err(worded)?
            .objects
            .get(&key())
            .is_some()
        {
            return Ok(());
        }
        let address = self.network().first_address();
        match self.create_own(service(address, port)).await {
            Err(status) if status.reason_code() != Reason::AlreadyExists => Err(worded(status)),
            _ => Ok(()),
        }
    }

    /// The addresses of the servers that live.
    async fn living_servers(&self) -> anyhow::Result<BTreeSet<String>> {
        let range = Range {
            prefix: PREFIX,
            limit: MAX_SERVERS,
            ..Range::default()
        };
        let page = self
            .store
            .list(range)
            .await
            .context("reading which servers live")?;
        let addresses = page.kvs.iter().filter_map(|kv| kv.key.strip_prefix(PREFIX));
        Ok(addresses.map(str::to_owned).collect())
    }

    /// Makes the EndpointSlice and the Endpoints show these servers.
    async fn tell(&self, servers: BTreeSet<String>, port: u16) -> anyhow::Result<()> {
        let wanted = endpoints(&servers, port);
        self.keep(wanted, |present, wanted| {
            let is_new = present.subsets != wanted.subsets;
            present.subsets = wanted.subsets;
            is_new
        })
        .await?;
        self.keep(slice(servers, port), |present, wanted| {
            let is_new = present.endpoints != wanted.endpoints || present.ports != wanted.ports;
            (present.endpoints, present.ports) = (wanted.endpoints, wanted.ports);
            is_new
        })
        .await
    }

    /// Creates the Service's object of a kind, or updates it where `take_over` says that it changed something.
    async fn keep<K: Kind>(&self, wanted: K, take_over: impl Fn(&mut K, K) -> bool) -> anyhow::Result<()> {
        let cache = self.cache::<K>().map_err(worded)?;
        let Some(entry) = cache.get(&key()) else {
            return self.create_own(wanted).await.map(drop).map_err(worded);
        };
        let mut object = K::decode(&*entry.raw)?;
        if !take_over(&mut object, wanted) {
            return Ok(());
        }
        #[allow(clippy::disallowed_methods, reason = "the server itself writes now")]
        let update = Update {
            key: key(),
            endpoint: Part::Main,
            proposal: Proposal::Object(Box::new(object)),
            writer: Writer::server(),
            dry_run: false,
            now: SystemTime::now(),
        };
        self.update(cache, update).await.map(drop).map_err(worded)
    }

    async fn create_own<K: Kind>(&self, object: K) -> Result<(), Status> {
        #[allow(clippy::disallowed_methods, reason = "the server itself writes now")]
        let creation = Creation {
            object: Box::new(object) as Box<dyn Object>,
            writer: Writer::server(),
            dry_run: false,
            now: SystemTime::now(),
        };
        self.create(self.cache::<K>()?, creation).await.map(drop)
    }
}

/// What tells the other servers that this one lives.
#[derive(Default)]
struct Presence {
    lease: Option<LeaseId>,
}

impl Presence {
    async fn keep(&mut self, registry: &Registry, address: Ipv4Addr) -> Result<(), Error> {
        if let Some(lease) = self.lease {
            match registry.store.keep_alive(lease).await {
                Err(Error::LeaseNotFound) => self.lease = None,
                result => return result,
            }
        }
        let lease = registry.store.grant_lease(TTL_SECONDS).await?;
        let put = Op::Put {
            key: format!("{PREFIX}{address}"),
            value: bytes::Bytes::new(),
            lease: Some(lease),
        };
        registry
            .store
            .txn(Txn {
                success: vec![put],
                ..Txn::default()
            })
            .await?;
        self.lease = Some(lease);
        Ok(())
    }
}

fn key() -> Key {
    Key::new(NAMESPACE, NAME)
}

fn worded(status: Status) -> anyhow::Error {
    anyhow!(status.message)
}

fn metadata<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> ObjectMeta {
    let labels = labels.into_iter();
    ObjectMeta {
        name: NAME.into(),
        namespace: NAMESPACE.into(),
        labels: labels
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        ..ObjectMeta::default()
    }
}

fn service(address: Ipv4Addr, port: u16) -> Service {
    let mut service = Service {
        metadata: Some(metadata([("component", "apiserver"), ("provider", "kubernetes")])),
        ..Service::default()
    };
    let spec = service.spec_mut();
    spec.cluster_ip = address.to_string();
    spec.ports.push(ServicePort {
        name: PORT_NAME.into(),
        protocol: "TCP".into(),
        port: SERVICE_PORT,
        target_port: Some(i32::from(port).into()),
        ..ServicePort::default()
    });
    service
}

fn slice(addresses: BTreeSet<String>, port: u16) -> EndpointSlice {
    let endpoint = |address| Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(true),
            ..EndpointConditions::default()
        }),
        ..Endpoint::default()
    };
    EndpointSlice {
        metadata: Some(metadata([("kubernetes.io/service-name", NAME)])),
        address_type: "IPv4".into(),
        endpoints: addresses.into_iter().map(endpoint).collect(),
        ports: vec![EndpointPort {
            name: Some(PORT_NAME.into()),
            protocol: Some("TCP".into()),
            port: Some(i32::from(port)),
            ..EndpointPort::default()
        }],
    }
}

/// The older form, which is not mirrored: the slice is there already.
fn endpoints(addresses: &BTreeSet<String>, port: u16) -> Endpoints {
    let address = |ip: &String| EndpointAddress {
        ip: ip.clone(),
        ..EndpointAddress::default()
    };
    Endpoints {
        metadata: Some(metadata([("endpointslice.kubernetes.io/skip-mirror", "true")])),
        subsets: vec![EndpointSubset {
            addresses: addresses.iter().map(address).collect(),
            ports: vec![core::EndpointPort {
                name: PORT_NAME.into(),
                port: i32::from(port),
                protocol: "TCP".into(),
                ..core::EndpointPort::default()
            }],
            ..EndpointSubset::default()
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_reached_where_it_listens_unless_that_is_no_address_of_a_network() {
        let check = |listen: &str, advertise: Option<[u8; 4]>, expected: &str| {
            let found = reachable_at(listen.parse().unwrap(), advertise.map(Ipv4Addr::from)).unwrap();
            assert_eq!(found.to_string(), expected);
        };
        check("10.0.0.1:6443", None, "10.0.0.1:6443");
        check("10.0.0.1:6443", Some([10, 0, 0, 2]), "10.0.0.2:6443");
        check("0.0.0.0:6443", Some([10, 0, 0, 2]), "10.0.0.2:6443");
        for address in ["0.0.0.0", "127.0.0.1", "169.254.0.1"] {
            assert!(!is_of_a_network(address.parse().unwrap()), "{address}");
        }
    }
}
