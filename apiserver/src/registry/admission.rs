//! What a request for a new object must pass, and what it is given, before the object's own rules are asked: what
//! Kubernetes does in admission plug-ins.

use gantry_proto::core::v1::Namespace;
use gantry_proto::meta::v1::{ObjectMeta, Status, StatusCause, StatusDetails};
use gantry_proto::{Key, Kind as _, KindInfo};
use gantry_store::{Compare, KeyValue, Txn};

use super::Registry;

/// The refusal of a plug-in. An object whose name is still to be generated is called by what its name will begin with
/// (apiserver/pkg/admission/errors.go, NewForbidden).
pub(super) fn forbidden(info: &KindInfo, metadata: &ObjectMeta, why: &str) -> Status {
    let names = [metadata.name.as_str(), metadata.generate_name.as_str(), "Unknown"];
    let name = names
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or_default();
    Status::forbidden(info, name, why)
}

/// A namespace that takes new objects, at this revision. A write into it compares that it is still so, because the
/// cache may be behind, and what is created while the namespace ends would be left over.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    store_key: String,
    revision: i64,
}

impl Standing {
    /// Makes the transaction depend on the namespace, which is the last that it reads when it fails.
    pub fn join(&self, txn: &mut Txn) {
        txn.compare.push(Compare::ModRevision {
            key: self.store_key.clone(),
            revision: self.revision,
        });
        txn.read_on_failure.push(self.store_key.clone());
    }

    /// Whether the namespace was written since, or is gone.
    pub fn has_moved(&self, found: Option<&KeyValue>) -> bool {
        found.is_none_or(|kv| kv.mod_revision != self.revision)
    }
}

impl Registry {
    /// Refuses to create something in a namespace that is not there or on its way out
    /// (apiserver/pkg/admission/plugin/namespace/lifecycle). `None` for what is in no namespace.
    pub(super) async fn check_namespace(
        &self,
        info: &'static KindInfo,
        metadata: &ObjectMeta,
    ) -> Result<Option<Standing>, Status> {
        if !info.namespaced {
            return Ok(None);
        }
        let key = Key::cluster(&metadata.namespace);
        let cached = self.cache::<Namespace>()?.get(&key);
        match cached.filter(|entry| !entry.is_going) {
            Some(entry) => Ok(Some(Standing {
                store_key: Namespace::INFO.storage_key(&key),
                revision: entry.revision,
            })),
            // Another server may have made it a moment ago.
            None => self.look_at_namespace(info, metadata).await.map(Some),
        }
    }

    /// The same, as the store has the namespace.
    pub(super) async fn look_at_namespace(
        &self,
        info: &'static KindInfo,
        metadata: &ObjectMeta,
    ) -> Result<Standing, Status> {
        let key = Key::cluster(&metadata.namespace);
        let namespace = self.current(self.cache::<Namespace>()?, &key).await?;
        if namespace.object.metadata().deletion_timestamp.is_some() {
            return Err(terminating(info, metadata));
        }
        Ok(Standing {
            store_key: Namespace::INFO.storage_key(&key),
            revision: namespace.revision,
        })
    }
}

fn terminating(info: &KindInfo, metadata: &ObjectMeta) -> Status {
    let namespace = &metadata.namespace;
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut status = forbidden(info, metadata, &why);
    let details = status.details.get_or_insert_with(StatusDetails::default);
    details.causes.push(StatusCause {
        reason: "NamespaceTerminating".into(),
        message: format!("namespace {namespace} is being terminated"),
        field: "metadata.namespace".into(),
    });
    status
}

#[cfg(test)]
mod tests {
    use gantry_proto::core::v1::Pod;

    use super::*;

    #[test]
    fn an_object_without_a_name_is_called_by_what_it_will_begin_with() {
        let check = |name: &str, generate_name: &str, expected: &str| {
            let metadata = ObjectMeta {
                name: name.into(),
                generate_name: generate_name.into(),
                ..ObjectMeta::default()
            };
            assert_eq!(forbidden(Pod::INFO, &metadata, "no").message, expected);
        };
        check("web", "", "pods \"web\" is forbidden: no");
        check("", "web-", "pods \"web-\" is forbidden: no");
        check("", "", "pods \"Unknown\" is forbidden: no");
    }
}
