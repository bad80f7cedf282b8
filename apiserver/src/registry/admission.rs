//! What a request for a new object must pass, and what it is given, before the object's own rules are asked: what
//! Kubernetes does in admission plug-ins.

use gantry_proto::core::v1::Namespace;
use gantry_proto::meta::v1::{ObjectMeta, Status, StatusCause, StatusDetails};
use gantry_proto::{Key, KindInfo};

use super::Registry;
use crate::strategy::Object;

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

impl Registry {
    /// Refuses to create something in a namespace that is not there or on its way out
    /// (apiserver/pkg/admission/plugin/namespace/lifecycle).
    pub(super) async fn check_namespace(
        &self,
        info: &'static KindInfo,
        object: &dyn Object,
    ) -> Result<(), Status> {
        if !info.namespaced {
            return Ok(());
        }
        let key = Key::cluster(&object.metadata().namespace);
        let namespaces = self.cache::<Namespace>()?;
        if namespaces.get(&key).is_some_and(|entry| !entry.is_going) {
            return Ok(());
        }
        // Another server may have made it a moment ago.
        let namespace = self.current(namespaces, &key).await?;
        if namespace.object.metadata().deletion_timestamp.is_none() {
            return Ok(());
        }
        let why = format!(
            "unable to create new content in namespace {} because it is being terminated",
            key.name
        );
        let mut status = forbidden(info, object.metadata(), &why);
        let details = status.details.get_or_insert_with(StatusDetails::default);
        details.causes.push(StatusCause {
            reason: "NamespaceTerminating".into(),
            message: format!("namespace {} is being terminated", key.name),
            field: "metadata.namespace".into(),
        });
        Err(status)
    }
}

#[cfg(test)]
mod tests {
    use gantry_proto::Kind as _;
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
