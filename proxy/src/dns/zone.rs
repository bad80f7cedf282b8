//! What the cluster's domain holds.

use crate::service::ServiceView;
use anyhow::Context as _;
use gantry_proto::Key;
use hickory_proto::rr::Name;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct Zone {
    /// Lower case and absolute.
    pub domain: Name,
    /// Where we answer.
    pub server: Ipv4Addr,
    /// False until the first list of Services is in: then a missing name is not known to be missing.
    pub complete: bool,
    /// Rises with each change.
    pub serial: u32,
    services_by_namespace: BTreeMap<String, BTreeMap<String, Arc<ServiceView>>>,
    owners_by_address: BTreeMap<Ipv4Addr, BTreeSet<Key>>,
}

impl Zone {
    pub fn new(domain: &str, server: Ipv4Addr) -> anyhow::Result<Zone> {
        let name = Name::from_ascii(domain).with_context(|| format!("{domain:?} is not a domain name"))?;
        let mut domain = name.to_lowercase();
        domain.set_fqdn(true);
        Ok(Zone {
            domain,
            server,
            complete: false,
            serial: 1,
            services_by_namespace: BTreeMap::new(),
            owners_by_address: BTreeMap::new(),
        })
    }

    /// Puts a Service's present state in the place of its former one; `None` for one that is gone.
    pub fn replace(&mut self, key: &Key, view: Option<Arc<ServiceView>>) {
        self.serial = self.serial.wrapping_add(1);
        let services = self
            .services_by_namespace
            .entry(key.namespace.clone())
            .or_default();
        let new_addresses = view.as_deref().map(addresses).unwrap_or_default();
        let old = match view {
            Some(view) => services.insert(key.name.clone(), view),
            None => services.remove(&key.name),
        };
        if services.is_empty() {
            self.services_by_namespace.remove(&key.namespace);
        }
        for address in old
            .as_deref()
            .map(addresses)
            .unwrap_or_default()
            .difference(&new_addresses)
        {
            if let Some(owners) = self.owners_by_address.get_mut(address) {
                owners.remove(key);
                if owners.is_empty() {
                    self.owners_by_address.remove(address);
                }
            }
        }
        for address in new_addresses {
            self.owners_by_address
                .entry(address)
                .or_default()
                .insert(key.clone());
        }
    }

    pub fn service(&self, namespace: &str, name: &str) -> Option<&ServiceView> {
        self.services_by_namespace
            .get(namespace)?
            .get(name)
            .map(Arc::as_ref)
    }

    /// Whether a namespace has a Service. Others hold no names.
    pub fn has_namespace(&self, namespace: &str) -> bool {
        self.services_by_namespace.contains_key(namespace)
    }

    /// The Services that an address has a name from.
    pub fn owners(&self, address: Ipv4Addr) -> impl Iterator<Item = (&Key, &ServiceView)> {
        let owners = self.owners_by_address.get(&address).into_iter().flatten();
        owners.filter_map(|key| Some((key, self.service(&key.namespace, &key.name)?)))
    }
}

/// A Service gives names to its own addresses, or, when it has none, to its endpoints.
fn addresses(view: &ServiceView) -> BTreeSet<Ipv4Addr> {
    match view.headless {
        true => view.hosts.iter().map(|host| host.address).collect(),
        false => view.cluster_ips.iter().copied().collect(),
    }
}
