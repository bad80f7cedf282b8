//! What an object calls itself must be what its request calls it.

use gantry_proto::meta::v1::{ObjectMeta, Status};
use gantry_proto::{Key, KindInfo};

use super::bad_request;

/// Refuses an object that calls itself something else than the request does
/// (apiserver/pkg/endpoints/handlers/rest.go, checkName).
pub(super) fn check_name(key: &Key, metadata: &ObjectMeta) -> Result<(), Status> {
    let name = &key.name;
    if metadata.name.is_empty() {
        return Err(bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )));
    }
    if metadata.name != *name {
        return Err(bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({name})",
            metadata.name
        )));
    }
    Ok(())
}

/// Settles the namespace of an object from the request's and its own
/// (apiserver/pkg/registry/rest/meta.go, EnsureObjectNamespaceMatchesRequestNamespace).
pub fn settle_namespace(info: &KindInfo, namespace: &str, metadata: &mut ObjectMeta) -> Result<(), Status> {
    if !info.namespaced {
        metadata.namespace.clear();
        return Ok(());
    }
    if metadata.namespace.is_empty() {
        namespace.clone_into(&mut metadata.namespace);
    }
    if namespace.is_empty() || metadata.namespace == namespace {
        return Ok(());
    }
    Err(bad_request(
        "the namespace of the provided object does not match the namespace sent on the request",
    ))
}

#[cfg(test)]
mod tests {
    use gantry_proto::Kind as _;
    use gantry_proto::core::v1::{ConfigMap, Node};

    use super::*;

    #[test]
    fn an_object_is_what_its_request_calls_it() {
        let check = |info: &KindInfo, namespace: &str, name: &str, expected: Result<&str, &str>| {
            let mut metadata = ObjectMeta {
                namespace: namespace.into(),
                name: name.into(),
                ..ObjectMeta::default()
            };
            let found = settle_namespace(info, "ns", &mut metadata)
                .and_then(|()| check_name(&Key::new("ns", "m"), &metadata))
                .map(|()| metadata.namespace.as_str())
                .map_err(|status| status.message);
            assert_eq!(found, expected.map_err(str::to_owned));
        };
        check(ConfigMap::INFO, "", "m", Ok("ns"));
        check(ConfigMap::INFO, "ns", "m", Ok("ns"));
        check(Node::INFO, "other", "m", Ok(""));
        check(
            ConfigMap::INFO,
            "other",
            "m",
            Err("the namespace of the provided object does not match the namespace sent on the request"),
        );
        check(
            ConfigMap::INFO,
            "",
            "n",
            Err("the name of the object (n) does not match the name on the URL (m)"),
        );
        check(
            ConfigMap::INFO,
            "",
            "",
            Err("the name of the object (m based on URL) was undeterminable: name must be provided"),
        );
    }
}
