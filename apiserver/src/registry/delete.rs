//! Deleting an object: at once, after a grace period, or when whoever holds it lets it go.

use std::time::SystemTime;

use gantry_proto::core::v1::{Event, Namespace};
use gantry_proto::meta::v1::{DeleteOptions, Status, StatusCause, StatusDetails};
use gantry_proto::status::Reason;
use gantry_proto::{Key, Kind as _, KindInfo};

use super::current::{Current, Intent};
use super::fate::{self, Fate, Manner};
use super::{Registry, Writer, Written, preconditions, system};
use crate::cache::Cache;
use crate::strategy;

const POLICIES: [&str; 3] = ["Foreground", "Background", "Orphan"];

/// The option that removes what cannot be read, in Kubernetes behind a gate that is closed.
const FORCE: &str = "ignoreStoreReadErrorWithClusterBreakingPotential";

/// A deletion.
pub struct Deletion {
    pub key: Key,
    pub options: DeleteOptions,
    pub writer: Writer,
    pub now: SystemTime,
}

impl Registry {
    /// Returns the object as it is now if it stays for a while, and else its last state.
    pub async fn delete(&self, cache: &Cache, deletion: Deletion) -> Result<Written, Status> {
        let Deletion {
            key,
            options,
            writer,
            now,
        } = deletion;
        let options = checked(options)?;
        let decide = |current: &Current| self.decide_deletion(cache, current, &options, now);
        let fence = writer.fence.as_ref();
        let mut written = self
            .modify(cache, &key, "delete", is_dry(&options), fence, decide)
            .await?;
        if forces(&options) {
            written
                .warnings
                .push(format!("{FORCE}: accepted, but not acted on yet"));
        }
        Ok(written)
    }

    fn decide_deletion(
        &self,
        cache: &Cache,
        current: &Current,
        options: &DeleteOptions,
        now: SystemTime,
    ) -> Result<Intent, Status> {
        let (info, old) = (cache.kind(), &*current.object);
        let conditions = options.preconditions.clone().unwrap_or_default();
        let fate = if let Some(namespace) = strategy::typed::<Namespace>(old) {
            preconditions::check_namespace_deletion(info, old.metadata(), &conditions)?;
            if system::NAMESPACES_THAT_STAY.contains(&old.metadata().name.as_str()) {
                return Err(Status::forbidden(
                    info,
                    &old.metadata().name,
                    "this namespace may not be deleted",
                ));
            }
            fate::fate_of_namespace(namespace, options, now)
        } else {
            preconditions::check_deletion(info, old.metadata(), &conditions)?;
            let strategy = cache.strategy();
            let manner = Manner {
                grace_seconds: strategy.graceful_seconds(old, options.grace_period_seconds),
                // Events are gone before a collector would look at them.
                has_dependents: info.message != Event::INFO.message,
            };
            fate::fate(old.metadata(), options, manner, now)
        };
        Ok(match fate {
            Fate::Unchanged => Intent::Nothing,
            Fate::Remove => Intent::Remove {
                allocation: self.release(old),
            },
            Fate::Stay(metadata) => {
                let mut new = old.boxed_clone();
                *new.metadata_mut() = *metadata;
                if let Some(namespace) = strategy::typed_mut::<Namespace>(&mut *new) {
                    namespace.status_mut().phase = "Terminating".into();
                }
                Intent::put(new)
            }
        })
    }
}

pub(super) fn is_dry(options: &DeleteOptions) -> bool {
    options.dry_run.iter().any(|mode| mode == "All")
}

fn forces(options: &DeleteOptions) -> bool {
    options.ignore_store_read_error_with_cluster_breaking_potential == Some(true)
}

/// What a collection's deletion refuses besides (apiserver/pkg/endpoints/handlers/delete.go).
pub(super) fn checked_for_many(options: DeleteOptions) -> Result<DeleteOptions, Status> {
    let options = checked(options)?;
    if !forces(&options) {
        return Ok(options);
    }
    let detail = "is not allowed with DELETECOLLECTION, try again after removing the option";
    Err(invalid(vec![StatusCause {
        reason: "FieldValueInvalid".into(),
        message: format!("Invalid value: true: {detail}"),
        field: FORCE.into(),
    }]))
}

/// The options as they are meant, or what is wrong with them
/// (apimachinery/pkg/apis/meta/v1/validation, ValidateDeleteOptions).
pub(super) fn checked(mut options: DeleteOptions) -> Result<DeleteOptions, Status> {
    let causes = complaints(&options);
    if !causes.is_empty() {
        return Err(invalid(causes));
    }
    // A negative grace period is taken to be a second (apiserver/pkg/registry/rest/delete.go).
    options.grace_period_seconds = options
        .grace_period_seconds
        .map(|seconds| if seconds < 0 { 1 } else { seconds });
    Ok(options)
}

fn complaints(options: &DeleteOptions) -> Vec<StatusCause> {
    let mut causes = Vec::new();
    if let Some(policy) = options.propagation_policy.as_deref() {
        if options.orphan_dependents.is_some() {
            let detail = "orphanDependents and deletionPropagation cannot be both set";
            causes.push(StatusCause {
                reason: "FieldValueInvalid".into(),
                message: format!("Invalid value: {policy:?}: {detail}"),
                field: "propagationPolicy".into(),
            });
        }
        if !POLICIES.contains(&policy) {
            causes.push(StatusCause {
                reason: "FieldValueNotSupported".into(),
                message: format!(
                    "Unsupported value: {policy:?}: supported values: \"Foreground\", \"Background\", \"Orphan\", \
                     \"nil\""
                ),
                field: "propagationPolicy".into(),
            });
        }
    }
    // A misspelt dry run must not delete.
    if options.dry_run.iter().any(|mode| mode != "All") {
        causes.push(StatusCause {
            reason: "FieldValueNotSupported".into(),
            message: format!(
                "Unsupported value: {}: supported values: \"All\"",
                serde_json::to_string(&options.dry_run).unwrap_or_default()
            ),
            field: "dryRun".into(),
        });
    }
    if forces(options) {
        let others = [
            ("dryRun", !options.dry_run.is_empty()),
            ("propagationPolicy", options.propagation_policy.is_some()),
            ("orphanDependents", options.orphan_dependents.is_some()),
            ("gracePeriodSeconds", options.grace_period_seconds.is_some()),
            ("preconditions", options.preconditions.is_some()),
        ];
        causes.extend(
            others
                .iter()
                .filter(|(_, is_set)| *is_set)
                .map(|(other, _)| StatusCause {
                    reason: "FieldValueInvalid".into(),
                    message: format!("Invalid value: true: cannot be set together with .{other}"),
                    field: FORCE.into(),
                }),
        );
    }
    causes
}

fn invalid(causes: Vec<StatusCause>) -> Status {
    let texts: Vec<String> = causes
        .iter()
        .map(|cause| format!("{}: {}", cause.field, cause.message))
        .collect();
    let all = match &texts[..] {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    let message = format!("DeleteOptions.meta.k8s.io \"\" is invalid: {all}");
    let mut status = Status::failure(Reason::Invalid, message);
    status.details = Some(StatusDetails {
        group: "meta.k8s.io".into(),
        kind: "DeleteOptions".into(),
        causes,
        ..StatusDetails::default()
    });
    status
}

/// Whether the kind has the verb deletecollection. Whole namespaces are only deleted one by one.
pub fn deletes_collections(info: &KindInfo) -> bool {
    info.stored && info.message != Namespace::INFO.message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_contradict_each_other_are_refused_in_kubernetes_words() {
        let check = |policy: Option<&str>, orphan: Option<bool>, dry_run: &[&str], expected: &str| {
            let options = DeleteOptions {
                propagation_policy: policy.map(str::to_owned),
                orphan_dependents: orphan,
                dry_run: dry_run.iter().map(|mode| (*mode).to_owned()).collect(),
                ..DeleteOptions::default()
            };
            let found = checked(options).map_or_else(|status| status.message, |_| String::new());
            assert_eq!(found, expected);
        };
        let forced = |grace_period_seconds| DeleteOptions {
            grace_period_seconds,
            ignore_store_read_error_with_cluster_breaking_potential: Some(true),
            ..DeleteOptions::default()
        };
        assert!(checked(forced(None)).is_ok());
        assert_eq!(
            checked(forced(Some(0))).unwrap_err().message,
            "DeleteOptions.meta.k8s.io \"\" is invalid: ignoreStoreReadErrorWithClusterBreakingPotential: Invalid value: \
             true: cannot be set together with .gracePeriodSeconds"
        );
        assert_eq!(
            checked_for_many(forced(None)).unwrap_err().message,
            "DeleteOptions.meta.k8s.io \"\" is invalid: ignoreStoreReadErrorWithClusterBreakingPotential: Invalid value: \
             true: is not allowed with DELETECOLLECTION, try again after removing the option"
        );
        check(Some("Foreground"), None, &["All"], "");
        check(None, Some(true), &[], "");
        check(
            Some("foreground"),
            None,
            &[],
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"foreground\": supported \
             values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"",
        );
        check(
            Some("Orphan"),
            Some(true),
            &["all"],
            "DeleteOptions.meta.k8s.io \"\" is invalid: [propagationPolicy: Invalid value: \"Orphan\": \
             orphanDependents and deletionPropagation cannot be both set, dryRun: Unsupported value: [\"all\"]: \
             supported values: \"All\"]",
        );
    }
}
