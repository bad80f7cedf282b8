//! Deleting an object: at once, after a grace period, or when whoever holds it lets it go.

use std::time::SystemTime;

use gantry_proto::core::v1::Namespace;
use gantry_proto::meta::v1::{DeleteOptions, Status, StatusCause};
use gantry_proto::{Key, KindInfo};

use super::current::{Current, Intent};
use super::metadata::{self, Fate};
use super::{Registry, Writer, Written, is_namespace, system};
use crate::cache::Cache;
use crate::strategy;

const POLICIES: [&str; 3] = ["Foreground", "Background", "Orphan"];

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
            mut options,
            writer,
            now,
        } = deletion;
        let info = cache.kind();
        check_options(info, &key.name, &options)?;
        // A negative grace period is taken to be a second (apiserver/pkg/registry/rest/delete.go).
        options.grace_period_seconds = options
            .grace_period_seconds
            .map(|seconds| if seconds < 0 { 1 } else { seconds });
        if is_namespace(info) && system::NAMESPACES_THAT_STAY.contains(&key.name.as_str()) {
            return Err(Status::forbidden(
                info,
                &key.name,
                "this namespace may not be deleted",
            ));
        }
        let dry_run = options.dry_run.iter().any(|mode| mode == "All");
        let decide = |current: &Current| {
            if let Some(preconditions) = &options.preconditions {
                metadata::check_preconditions(info, current.object.metadata(), preconditions)?;
            }
            Ok(self.decide_deletion(cache, current, &options, now))
        };
        self.modify(cache, &key, "delete", dry_run, writer.fence.as_ref(), decide)
            .await
    }

    fn decide_deletion(
        &self,
        cache: &Cache,
        current: &Current,
        options: &DeleteOptions,
        now: SystemTime,
    ) -> Intent {
        let old = &*current.object;
        let namespace = strategy::typed::<Namespace>(old);
        let held = namespace.is_some_and(|namespace| !namespace.spec().finalizers.is_empty());
        let grace = cache
            .strategy()
            .graceful_seconds(old, options.grace_period_seconds);
        match metadata::fate(old.metadata(), options, grace, held, now) {
            Fate::Unchanged => Intent::Nothing,
            Fate::Remove => Intent::Remove {
                allocation: self.ranges.release(old),
            },
            Fate::Stay(metadata) => {
                let mut new = old.boxed_clone();
                *new.metadata_mut() = *metadata;
                if let Some(namespace) = strategy::typed_mut::<Namespace>(&mut *new) {
                    gantry_proto::Kind::metadata_mut(namespace).deletion_grace_period_seconds = None;
                    namespace.status_mut().phase = "Terminating".into();
                }
                Intent::put(new)
            }
        }
    }
}

fn check_options(info: &KindInfo, name: &str, options: &DeleteOptions) -> Result<(), Status> {
    let policy = options.propagation_policy.as_deref();
    let mut causes = Vec::new();
    if policy.is_some() && options.orphan_dependents.is_some() {
        causes.push(StatusCause {
            reason: "FieldValueInvalid".into(),
            message: format!(
                "Invalid value: \"{}\": orphanDependents and deletionPropagation cannot be both set",
                policy.unwrap_or_default()
            ),
            field: "propagationPolicy".into(),
        });
    }
    if let Some(policy) = policy
        && !POLICIES.contains(&policy)
    {
        causes.push(StatusCause {
            reason: "FieldValueNotSupported".into(),
            message: format!(
                "Unsupported value: \"{policy}\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
            ),
            field: "propagationPolicy".into(),
        });
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
    if causes.is_empty() {
        Ok(())
    } else {
        Err(Status::invalid(info, name, causes))
    }
}
