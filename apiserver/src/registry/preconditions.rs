//! What must be true of an object for a request to be carried out on it. Which words a refusal has depends on where
//! Kubernetes makes the comparison.

use gantry_proto::meta::v1::{ObjectMeta, Preconditions, Status, StatusDetails};
use gantry_proto::status::Reason;
use gantry_proto::{Key, KindInfo};

/// A precondition that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unmet<'a> {
    /// `UID` or `ResourceVersion`.
    field: &'static str,
    wanted: &'a str,
    found: &'a str,
}

fn unmet<'a>(metadata: &'a ObjectMeta, preconditions: &'a Preconditions) -> Option<Unmet<'a>> {
    let checks = [
        ("UID", &preconditions.uid, &metadata.uid),
        (
            "ResourceVersion",
            &preconditions.resource_version,
            &metadata.resource_version,
        ),
    ];
    checks.into_iter().find_map(|(field, wanted, found)| {
        let wanted = wanted.as_ref().filter(|wanted| *wanted != found)?;
        Some(Unmet { field, wanted, found })
    })
}

impl Unmet<'_> {
    fn in_short(&self) -> String {
        let Unmet { field, wanted, found } = self;
        format!("Precondition failed: {field} in precondition: {wanted}, {field} in object meta: {found}")
    }

    fn at_length(&self) -> String {
        let Unmet { field, wanted, found } = self;
        let perhaps = match *field {
            "UID" => "deleted and then recreated",
            _ => "modified",
        };
        format!(
            "the {field} in the precondition ({wanted}) does not match the {field} in record ({found}). The object \
             might have been {perhaps}"
        )
    }
}

/// Of a deletion (apiserver/pkg/registry/rest/delete.go). The conflict is about the kind, not its resource.
pub(super) fn check_deletion(
    info: &KindInfo,
    metadata: &ObjectMeta,
    preconditions: &Preconditions,
) -> Result<(), Status> {
    let Some(unmet) = unmet(metadata, preconditions) else {
        return Ok(());
    };
    let qualified = match info.group {
        "" => info.kind.to_owned(),
        group => format!("{}.{group}", info.kind),
    };
    let name = &metadata.name;
    let message = format!(
        "Operation cannot be fulfilled on {qualified} \"{name}\": {}",
        unmet.at_length()
    );
    let mut status = Status::failure(Reason::Conflict, message);
    status.details = Some(StatusDetails {
        name: name.clone(),
        group: info.group.into(),
        kind: info.kind.into(),
        ..StatusDetails::default()
    });
    Err(status)
}

/// Of a namespace's deletion (pkg/registry/core/namespace/storage).
pub(super) fn check_namespace_deletion(
    info: &KindInfo,
    metadata: &ObjectMeta,
    preconditions: &Preconditions,
) -> Result<(), Status> {
    match unmet(metadata, preconditions) {
        None => Ok(()),
        Some(unmet) => Err(Status::conflict(info, &metadata.name, &unmet.in_short())),
    }
}

/// Of an update and of a binding, which compare in the store (apiserver/pkg/storage/interfaces.go). An object that is
/// not there has neither a uid nor a version.
pub(super) fn check_stored(
    info: &KindInfo,
    key: &Key,
    metadata: &ObjectMeta,
    preconditions: &Preconditions,
) -> Result<(), Status> {
    match unmet(metadata, preconditions) {
        None => Ok(()),
        Some(unmet) => {
            let why = format!(
                "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: {}",
                info.storage_key(key),
                unmet.in_short()
            );
            Err(Status::conflict(info, &key.name, &why))
        }
    }
}

#[cfg(test)]
mod tests {
    use gantry_proto::Kind as _;
    use gantry_proto::apps::v1::Deployment;

    use super::*;

    #[test]
    fn a_refusal_reads_as_where_kubernetes_compares() {
        let metadata = ObjectMeta {
            name: "web".into(),
            uid: "u1".into(),
            resource_version: "7".into(),
            ..ObjectMeta::default()
        };
        let check = |uid: Option<&str>, version: Option<&str>, expected: [&str; 3]| {
            let preconditions = Preconditions {
                uid: uid.map(str::to_owned),
                resource_version: version.map(str::to_owned),
            };
            let key = Key::new("default", "web");
            let found = [
                check_deletion(Deployment::INFO, &metadata, &preconditions),
                check_namespace_deletion(Deployment::INFO, &metadata, &preconditions),
                check_stored(Deployment::INFO, &key, &metadata, &preconditions),
            ];
            let found = found.map(|result| result.map_or_else(|status| status.message, |()| String::new()));
            let prefixes = [
                "Operation cannot be fulfilled on Deployment.apps \"web\": ",
                "Operation cannot be fulfilled on deployments.apps \"web\": ",
                "Operation cannot be fulfilled on deployments.apps \"web\": StorageError: invalid object, Code: 4, \
                 Key: /registry/deployments/default/web, ResourceVersion: 0, AdditionalErrorMsg: ",
            ];
            for ((found, prefix), expected) in found.iter().zip(prefixes).zip(expected) {
                let whole = match expected {
                    "" => String::new(),
                    expected => format!("{prefix}{expected}"),
                };
                assert_eq!(*found, whole);
            }
        };
        check(None, None, ["", "", ""]);
        check(Some("u1"), Some("7"), ["", "", ""]);
        let short = "Precondition failed: UID in precondition: u2, UID in object meta: u1";
        check(
            Some("u2"),
            Some("6"),
            [
                "the UID in the precondition (u2) does not match the UID in record (u1). The object might have been \
                 deleted and then recreated",
                short,
                short,
            ],
        );
        let short =
            "Precondition failed: ResourceVersion in precondition: 6, ResourceVersion in object meta: 7";
        check(
            Some("u1"),
            Some("6"),
            [
                "the ResourceVersion in the precondition (6) does not match the ResourceVersion in record (7). The \
                 object might have been modified",
                short,
                short,
            ],
        );
    }
}
