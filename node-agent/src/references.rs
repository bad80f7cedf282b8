//! The ConfigMaps and Secrets that pods refer to, fetched one by one, as a node may.
//!
//! What was fetched last is kept: while the apiserver is away, a container restarts with what it had.

use gantry_client::{Client, Error};
use gantry_proto::core::v1::{ConfigMap, Container, Pod, Secret};
use gantry_proto::status::Reason;
use gantry_proto::{Key, Kind};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// 110 pods with some objects each; then the oldest knowledge is given up wholesale.
const REMEMBERED: usize = 1_000;

/// Names of the objects that a pod refers to.
#[derive(Debug, Default, PartialEq)]
pub struct Names {
    pub config_maps: BTreeSet<String>,
    pub secrets: BTreeSet<String>,
}

pub fn of_volumes(pod: &Pod) -> Names {
    let mut names = Names::default();
    for volume in &pod.spec().volumes {
        let source = volume.volume_source();
        names.config_maps.extend(
            source
                .config_map
                .iter()
                .map(|m| m.local_object_reference().name.clone()),
        );
        names
            .secrets
            .extend(source.secret.iter().map(|secret| secret.secret_name.clone()));
        for projection in source.projected.iter().flat_map(|projected| &projected.sources) {
            names.config_maps.extend(
                projection
                    .config_map
                    .iter()
                    .map(|m| m.local_object_reference().name.clone()),
            );
            names.secrets.extend(
                projection
                    .secret
                    .iter()
                    .map(|s| s.local_object_reference().name.clone()),
            );
        }
    }
    names
}

pub fn of_environment(container: &Container) -> Names {
    let mut names = Names::default();
    for source in &container.env_from {
        names.config_maps.extend(
            source
                .config_map_ref
                .iter()
                .map(|r| r.local_object_reference().name.clone()),
        );
        names.secrets.extend(
            source
                .secret_ref
                .iter()
                .map(|r| r.local_object_reference().name.clone()),
        );
    }
    for from in container
        .env
        .iter()
        .filter_map(|variable| variable.value_from.as_ref())
    {
        names.config_maps.extend(
            from.config_map_key_ref
                .iter()
                .map(|r| r.local_object_reference().name.clone()),
        );
        names.secrets.extend(
            from.secret_key_ref
                .iter()
                .map(|r| r.local_object_reference().name.clone()),
        );
    }
    names
}

/// Objects by name; those that do not exist are left out.
#[derive(Default)]
pub struct Fetched {
    pub config_maps: BTreeMap<String, Arc<ConfigMap>>,
    pub secrets: BTreeMap<String, Arc<Secret>>,
}

pub struct References {
    client: Client,
    config_maps: Mutex<HashMap<Key, Arc<ConfigMap>>>,
    secrets: Mutex<HashMap<Key, Arc<Secret>>>,
}

impl References {
    pub fn new(client: Client) -> References {
        References {
            client,
            config_maps: Mutex::default(),
            secrets: Mutex::default(),
        }
    }

    pub async fn fetch(&self, namespace: &str, names: Names) -> Result<Fetched, Error> {
        let mut fetched = Fetched::default();
        for name in names.config_maps {
            if let Some(map) = self.get(&self.config_maps, Key::new(namespace, &name)).await? {
                fetched.config_maps.insert(name, map);
            }
        }
        for name in names.secrets {
            if let Some(secret) = self.get(&self.secrets, Key::new(namespace, &name)).await? {
                fetched.secrets.insert(name, secret);
            }
        }
        Ok(fetched)
    }

    pub async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Arc<Secret>>, Error> {
        self.get(&self.secrets, Key::new(namespace, name)).await
    }

    async fn get<K: Kind>(
        &self,
        known: &Mutex<HashMap<Key, Arc<K>>>,
        key: Key,
    ) -> Result<Option<Arc<K>>, Error> {
        let lock = || known.lock().unwrap_or_else(PoisonError::into_inner);
        match self.client.get::<K>(&key).await {
            Ok(object) => {
                let object = Arc::new(object);
                let mut known = lock();
                if known.len() >= REMEMBERED && !known.contains_key(&key) {
                    known.clear();
                }
                known.insert(key, object.clone());
                Ok(Some(object))
            }
            Err(error) if error.is_not_found() => {
                lock().remove(&key);
                Ok(None)
            }
            Err(error) if is_refusal(&error) => Err(error),
            Err(error) => match lock().get(&key) {
                Some(object) => Ok(Some(object.clone())),
                None => Err(error),
            },
        }
    }
}

/// Whether the apiserver decided; otherwise it, or its store, is away.
fn is_refusal(error: &Error) -> bool {
    matches!(
        error.reason(),
        Reason::Forbidden | Reason::Unauthorized | Reason::Invalid | Reason::BadRequest
    )
}
