//! The one list of kinds, and what is true of each.

use crate::json::{self, DecodeError, Fields};
use crate::meta::v1::ObjectMeta;
use crate::{apps, coordination, core, discovery, networking, policy, scheduling};
use bytes::Bytes;
use prost::Message;
use std::fmt;

/// A kind of object: a message with metadata, stored under a key of its own.
pub trait Kind: Message + Fields + Default + Clone + PartialEq + Send + Sync + 'static {
    const INFO: &'static KindInfo;
    /// Such as `Deployment`.
    const KIND: &'static str;
    /// Such as `apps/v1`, or `v1` for the core group.
    const API_VERSION: &'static str;

    fn metadata(&self) -> &ObjectMeta;
    fn metadata_mut(&mut self) -> &mut ObjectMeta;

    fn key(&self) -> Key {
        Key::new(&self.metadata().namespace, &self.metadata().name)
    }
}

/// What is true of a kind, for code that is generic over all of them.
#[derive(Debug)]
pub struct KindInfo {
    /// Empty for the core group.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    /// The plural name, as requests and URLs use it.
    pub resource: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub namespaced: bool,
    /// What precedes `<namespace>/<name>` or `<name>` in the store, with its final slash. Kubernetes' own.
    pub storage_prefix: &'static str,
    pub subresources: &'static [Subresource],
    /// False for a kind that is only ever sent, such as Binding.
    pub stored: bool,
    /// The message's full name.
    pub message: &'static str,
    /// The wire form of an object given as a JSON value, and what was wrong but not fatal.
    pub encode_json: fn(&serde_json::Value) -> Result<Encoded, DecodeError>,
    /// The JSON form of an object in wire form, with apiVersion and kind.
    pub decode_json: fn(&[u8]) -> Result<serde_json::Value, prost::DecodeError>,
}

/// An object in wire form, and what was wrong with its JSON but not fatal.
pub type Encoded = (Bytes, Vec<String>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subresource {
    Status,
    Scale,
    Binding,
    Eviction,
    Log,
}

impl Subresource {
    pub fn name(self) -> &'static str {
        match self {
            Subresource::Status => "status",
            Subresource::Scale => "scale",
            Subresource::Binding => "binding",
            Subresource::Eviction => "eviction",
            Subresource::Log => "log",
        }
    }
}

impl KindInfo {
    /// Such as `apps/v1`, or `v1` for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Such as `deployments.apps`, or `pods` for the core group: how messages name the resource.
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() {
            self.resource.to_string()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }

    /// The store key of an object.
    pub fn storage_key(&self, key: &Key) -> String {
        if self.namespaced {
            format!("{}{}/{}", self.storage_prefix, key.namespace, key.name)
        } else {
            format!("{}{}", self.storage_prefix, key.name)
        }
    }

    /// The kind that a request's `resource` names: `pods`, `deployments.apps` or `deployments.v1.apps`.
    pub fn of_resource(name: &str) -> Option<&'static KindInfo> {
        KINDS.iter().copied().find(|info| {
            name == info.resource
                || name
                    .strip_prefix(info.resource)
                    .and_then(|rest| rest.strip_prefix('.'))
                    .is_some_and(|rest| {
                        rest == info.group && !rest.is_empty()
                            || rest.strip_prefix(info.version).and_then(|r| r.strip_prefix('.'))
                                == Some(info.group)
                            || info.group.is_empty() && rest == info.version
                    })
        })
    }

    /// The kind of an object with this apiVersion and kind.
    pub fn of_object(api_version: &str, kind: &str) -> Option<&'static KindInfo> {
        KINDS
            .iter()
            .copied()
            .find(|info| info.kind == kind && info.api_version() == api_version)
    }

    /// The kind whose message has this full name.
    pub fn of_message(message: &str) -> Option<&'static KindInfo> {
        KINDS.iter().copied().find(|info| info.message == message)
    }

    pub fn has(&self, subresource: Subresource) -> bool {
        self.subresources.contains(&subresource)
    }
}

/// Which object of a kind. The namespace is empty for kinds without.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Key {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// Of a kind without namespaces.
    pub fn cluster(name: impl Into<String>) -> Self {
        Key::new("", name)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

const NO_NAMES: &[&str] = &[];

/// The lower case of an ASCII literal, at compile time.
macro_rules! const_lower {
    ($text:literal) => {{
        const LENGTH: usize = $text.len();
        const BYTES: [u8; LENGTH] = {
            let mut bytes = [0; LENGTH];
            let mut i = 0;
            while i < LENGTH {
                bytes[i] = $text.as_bytes()[i].to_ascii_lowercase();
                i += 1;
            }
            bytes
        };
        match std::str::from_utf8(&BYTES) {
            Ok(text) => text,
            Err(_) => panic!("a kind's name is ASCII"),
        }
    }};
}

macro_rules! kinds {
    ($($path:path {
        group: $group:literal, version: $version:literal, kind: $kind:literal, resource: $resource:literal,
        short: $short:expr, namespaced: $namespaced:literal, prefix: $prefix:literal
        $(, subresources: [$($sub:ident),*])? $(, categories: $categories:expr)? $(, stored: $stored:literal)?
    })*) => {
        /// Every kind that is there.
        pub static KINDS: &[&KindInfo] = &[$(<$path as Kind>::INFO),*];

        $(impl Kind for $path {
            const KIND: &'static str = $kind;
            const API_VERSION: &'static str =
                if $group.is_empty() { $version } else { concat!($group, "/", $version) };
            const INFO: &'static KindInfo = &KindInfo {
                group: $group,
                version: $version,
                kind: $kind,
                resource: $resource,
                singular: const_lower!($kind),
                short_names: $short,
                categories: kinds!(@or $($categories)?, NO_NAMES),
                namespaced: $namespaced,
                storage_prefix: $prefix,
                subresources: &[$($(Subresource::$sub),*)?],
                stored: kinds!(@or $($stored)?, true),
                message: <$path as Fields>::MESSAGE,
                encode_json: encode_json::<$path>,
                decode_json: decode_json::<$path>,
            };

            fn metadata(&self) -> &ObjectMeta {
                self.metadata.as_ref().unwrap_or_else(|| ObjectMeta::empty())
            }
            fn metadata_mut(&mut self) -> &mut ObjectMeta {
                self.metadata.get_or_insert_default()
            }
        })*
    };
    (@or $value:expr, $default:expr) => { $value };
    (@or , $default:expr) => { $default };
}

kinds! {
    core::v1::Namespace {
        group: "", version: "v1", kind: "Namespace", resource: "namespaces", short: &["ns"], namespaced: false,
        prefix: "/registry/namespaces/", subresources: [Status]
    }
    core::v1::Node {
        group: "", version: "v1", kind: "Node", resource: "nodes", short: &["no"], namespaced: false,
        prefix: "/registry/minions/", subresources: [Status]
    }
    core::v1::Pod {
        group: "", version: "v1", kind: "Pod", resource: "pods", short: &["po"], namespaced: true,
        prefix: "/registry/pods/", subresources: [Status, Binding, Eviction, Log], categories: &["all"]
    }
    core::v1::Binding {
        group: "", version: "v1", kind: "Binding", resource: "bindings", short: NO_NAMES, namespaced: true,
        prefix: "", stored: false
    }
    core::v1::Service {
        group: "", version: "v1", kind: "Service", resource: "services", short: &["svc"], namespaced: true,
        prefix: "/registry/services/specs/", subresources: [Status], categories: &["all"]
    }
    discovery::v1::EndpointSlice {
        group: "discovery.k8s.io", version: "v1", kind: "EndpointSlice", resource: "endpointslices",
        short: NO_NAMES, namespaced: true, prefix: "/registry/endpointslices/"
    }
    core::v1::Endpoints {
        group: "", version: "v1", kind: "Endpoints", resource: "endpoints", short: &["ep"], namespaced: true,
        prefix: "/registry/services/endpoints/"
    }
    core::v1::PodTemplate {
        group: "", version: "v1", kind: "PodTemplate", resource: "podtemplates", short: NO_NAMES, namespaced: true,
        prefix: "/registry/podtemplates/"
    }
    core::v1::ConfigMap {
        group: "", version: "v1", kind: "ConfigMap", resource: "configmaps", short: &["cm"], namespaced: true,
        prefix: "/registry/configmaps/"
    }
    core::v1::Secret {
        group: "", version: "v1", kind: "Secret", resource: "secrets", short: NO_NAMES, namespaced: true,
        prefix: "/registry/secrets/"
    }
    core::v1::ServiceAccount {
        group: "", version: "v1", kind: "ServiceAccount", resource: "serviceaccounts", short: &["sa"],
        namespaced: true, prefix: "/registry/serviceaccounts/"
    }
    core::v1::Event {
        group: "", version: "v1", kind: "Event", resource: "events", short: &["ev"], namespaced: true,
        prefix: "/registry/events/"
    }
    coordination::v1::Lease {
        group: "coordination.k8s.io", version: "v1", kind: "Lease", resource: "leases", short: NO_NAMES,
        namespaced: true, prefix: "/registry/leases/"
    }
    networking::v1::IpAddress {
        group: "networking.k8s.io", version: "v1", kind: "IPAddress", resource: "ipaddresses", short: &["ip"],
        namespaced: false, prefix: "/registry/ipaddresses/"
    }
    networking::v1::ServiceCidr {
        group: "networking.k8s.io", version: "v1", kind: "ServiceCIDR", resource: "servicecidrs", short: NO_NAMES,
        namespaced: false, prefix: "/registry/servicecidrs/", subresources: [Status]
    }
    policy::v1::Eviction {
        group: "policy", version: "v1", kind: "Eviction", resource: "evictions", short: NO_NAMES, namespaced: true,
        prefix: "", stored: false
    }
    policy::v1::PodDisruptionBudget {
        group: "policy", version: "v1", kind: "PodDisruptionBudget", resource: "poddisruptionbudgets",
        short: &["pdb"], namespaced: true, prefix: "/registry/poddisruptionbudgets/", subresources: [Status]
    }
    scheduling::v1::PriorityClass {
        group: "scheduling.k8s.io", version: "v1", kind: "PriorityClass", resource: "priorityclasses",
        short: &["pc"], namespaced: false, prefix: "/registry/priorityclasses/"
    }
    apps::v1::ControllerRevision {
        group: "apps", version: "v1", kind: "ControllerRevision", resource: "controllerrevisions",
        short: NO_NAMES, namespaced: true, prefix: "/registry/controllerrevisions/"
    }
    apps::v1::Deployment {
        group: "apps", version: "v1", kind: "Deployment", resource: "deployments", short: &["deploy"],
        namespaced: true, prefix: "/registry/deployments/", subresources: [Status, Scale], categories: &["all"]
    }
    apps::v1::ReplicaSet {
        group: "apps", version: "v1", kind: "ReplicaSet", resource: "replicasets", short: &["rs"],
        namespaced: true, prefix: "/registry/replicasets/", subresources: [Status, Scale], categories: &["all"]
    }
}

fn encode_json<K: Kind>(value: &serde_json::Value) -> Result<Encoded, DecodeError> {
    let decoded = json::decode_value::<K>(value)?;
    Ok((decoded.object.encode_to_vec().into(), decoded.complaints))
}

fn decode_json<K: Kind>(bytes: &[u8]) -> Result<serde_json::Value, prost::DecodeError> {
    K::decode(bytes).map(|object| json::to_value(&object))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apps;

    #[test]
    fn the_core_group_has_no_name_in_api_versions() {
        assert_eq!(
            (
                core::v1::Pod::API_VERSION,
                core::v1::Pod::INFO.api_version().as_str()
            ),
            ("v1", "v1")
        );
        assert_eq!(apps::v1::Deployment::API_VERSION, "apps/v1");
        for info in KINDS {
            assert_eq!(
                KindInfo::of_object(&info.api_version(), info.kind)
                    .unwrap()
                    .message,
                info.message
            );
            assert_eq!(
                KindInfo::of_resource(&info.group_resource()).unwrap().message,
                info.message
            );
        }
    }
}
