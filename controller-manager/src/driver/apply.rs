//! Actions as calls, and their replies as outcomes.

use crate::action::{Action, Object, Propagation, Target, with_object};
use crate::cluster::{FreshRead, read_fresh, read_metadata, with_kind};
use crate::memory::Outcome;
use gantry_client::{Client, Error, PatchType, revision};
use gantry_proto::meta::v1::{DeleteOptions, ObjectMeta, Preconditions};
use std::time::Duration;

/// Pauses between attempts at a fresh read, doubled up to the longest. Without the read a lost reply must not
/// be got over, so there is no limit to the attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(3);

pub struct Writer<'a> {
    pub client: &'a Client,
}

impl Writer<'_> {
    /// `None` for an action that writes nothing, or that turned out to be no longer wanted.
    pub async fn write(&self, action: &Action) -> Option<Outcome> {
        let outcome = match action {
            Action::Create { object, .. } => self.create(object).await,
            Action::UpdateStatus { object } => {
                let result = with_object!(object, object => self
                    .client
                    .update_status(object.as_ref())
                    .await
                    .map(|written| written.metadata().clone()));
                self.outcome(&object.target(), result).await
            }
            Action::Patch {
                target,
                subresource,
                patch,
                ..
            } => self.patch(target, *subresource, patch).await,
            Action::Adopt { target, owner, patch } => match self.is_alive(owner).await {
                Ok(true) => self.patch(target, None, patch).await,
                Ok(false) => return None,
                Err(error) => failed(&error),
            },
            Action::Delete {
                target,
                resource_version,
                grace_seconds,
                propagation,
                ..
            } => {
                let preconditions = Preconditions {
                    uid: Some(target.uid.clone()),
                    resource_version: resource_version.clone(),
                };
                self.delete(target, preconditions, *grace_seconds, *propagation)
                    .await
            }
            Action::Finalize { namespace } => {
                let result = self.client.update_at(namespace, "finalize").await;
                let target = Target::of(namespace);
                self.outcome(&target, result.map(|written| written.metadata().clone()))
                    .await
            }
            Action::Begin { .. } | Action::Tell { .. } | Action::WakeAfter(_) | Action::CheckAfter(_) => {
                return None;
            }
        };
        Some(outcome)
    }

    async fn create(&self, object: &Object) -> Outcome {
        let target = object.target();
        let result = with_object!(object, object => self
            .client
            .create(object.as_ref())
            .await
            .map(|written| written.metadata().clone()));
        match result {
            // Somebody has the name: until the cache shows who, nothing is assumed.
            Err(error) if error.is_already_exists() => {
                match read_metadata(self.client, target.kind, &target.key).await {
                    Ok(Some(existing)) => Outcome::Taken {
                        revision: revision(&existing),
                    },
                    Ok(None) => Outcome::Failed {
                        message: format!("{error}, but is gone now"),
                    },
                    Err(error) => failed(&error),
                }
            }
            result => self.outcome(&target, result).await,
        }
    }

    async fn patch(&self, target: &Target, subresource: Option<&str>, patch: &serde_json::Value) -> Outcome {
        let result = with_kind!(target.kind, K => self
            .client
            .patch::<K>(&target.key, subresource, PatchType::Merge, patch)
            .await
            .map(|written| written.metadata().clone()));
        match result {
            Some(result) => self.outcome(target, result).await,
            None => unknown(target),
        }
    }

    async fn delete(
        &self,
        target: &Target,
        preconditions: Preconditions,
        grace_seconds: Option<i64>,
        propagation: Option<Propagation>,
    ) -> Outcome {
        let propagation = propagation.map(|propagation| match propagation {
            Propagation::Background => "Background".to_string(),
            Propagation::Foreground => "Foreground".to_string(),
            Propagation::Orphan => "Orphan".to_string(),
        });
        let options = DeleteOptions {
            grace_period_seconds: grace_seconds,
            preconditions: Some(preconditions),
            propagation_policy: propagation,
            ..DeleteOptions::default()
        };
        let result =
            with_kind!(target.kind, K => self.client.delete::<K>(&target.key, options.clone()).await);
        match result {
            Some(Ok(())) => Outcome::Gone,
            Some(Err(error)) => self.outcome(target, Err(error)).await,
            None => unknown(target),
        }
    }

    async fn outcome(&self, target: &Target, result: Result<ObjectMeta, Error>) -> Outcome {
        match result {
            Ok(metadata) => Outcome::Written {
                revision: revision(&metadata),
            },
            Err(error) if error.is_not_found() && !target.uid.is_empty() => Outcome::Gone,
            Err(Error::Ambiguous(message)) => {
                let read = self.read_fresh(target).await;
                match read.object {
                    // A creation, as only that has no uid yet. It happened, or somebody else's did.
                    Some(revision) if target.uid.is_empty() => Outcome::Taken { revision },
                    _ => Outcome::InDoubt {
                        fresh: read.revision,
                        message,
                    },
                }
            }
            Err(error) if error.is_conflict() => Outcome::Outdated {
                message: error.to_string(),
            },
            Err(error) => failed(&error),
        }
    }

    async fn read_fresh(&self, target: &Target) -> FreshRead {
        let mut pause = FIRST_PAUSE;
        loop {
            match read_fresh(self.client, target).await {
                Ok(read) => return read,
                Err(error) => tracing::debug!(%error, "a fresh read failed, it is tried again"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    async fn is_alive(&self, owner: &Target) -> Result<bool, Error> {
        let metadata = read_metadata(self.client, owner.kind, &owner.key).await?;
        Ok(metadata
            .is_some_and(|metadata| metadata.uid == owner.uid && metadata.deletion_timestamp.is_none()))
    }
}

fn failed(error: &Error) -> Outcome {
    let message = error.to_string();
    match error {
        Error::Unavailable(_) => Outcome::Unreached { message },
        _ => Outcome::Failed { message },
    }
}

fn unknown(target: &Target) -> Outcome {
    Outcome::Failed {
        message: format!("the kind {} is not known here", target.kind.kind),
    }
}
