//! Making a pod leave, if its disruption budget allows it. What is decided is in `kinds/eviction.rs`
//! (pkg/registry/core/pod/storage/eviction.go); here it is carried out.

use std::time::{Duration, SystemTime};

use gantry_proto::core::v1::Pod;
use gantry_proto::meta::v1::{DeleteOptions, Preconditions, Status, Time};
use gantry_proto::policy::v1::{Eviction, PodDisruptionBudget};
use gantry_proto::status::Reason;
use gantry_proto::{Key, wire};
use prost::Message as _;

use super::current::{Current, Intent};
use super::{Deletion, Registry, Writer, Written, delete, internal, no_such_resource, preconditions};
use crate::cache::{Cache, Selection};
use crate::codec;
use crate::kinds::eviction::{self as rules, Verdict};
use crate::strategy;

/// How often a pod that changes all the time is looked at again, with this pause (Kubernetes' EvictionsRetry).
const ATTEMPTS: usize = 20;
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// An eviction.
pub struct Evicting {
    /// The pod.
    pub key: Key,
    pub eviction: Eviction,
    pub writer: Writer,
    pub dry_run: bool,
    pub now: SystemTime,
}

impl Registry {
    /// Returns the Status that says that the pod is deleted, or on its way.
    pub async fn evict(&self, evicting: Evicting) -> Result<Written, Status> {
        rules::validate(&evicting.eviction, &evicting.key.name)?;
        let options = rules::delete_options(&evicting.eviction, evicting.dry_run);
        let options = delete::checked(options)?;
        for attempt in 1.. {
            match self.try_to_evict(&evicting, &options).await? {
                None => break,
                Some(changed) if attempt == ATTEMPTS => return Err(changed),
                Some(_) => tokio::time::sleep(RETRY_PAUSE).await,
            }
        }
        let done = Status {
            status: "Success".into(),
            code: 201,
            ..Status::default()
        };
        Ok(Written {
            raw: done.encode_to_vec().into(),
            message: codec::STATUS,
            warnings: Vec::new(),
        })
    }

    /// `None` when it is done; else the conflict with a change of a pod that was still to start when it was judged.
    async fn try_to_evict(
        &self,
        evicting: &Evicting,
        options: &DeleteOptions,
    ) -> Result<Option<Status>, Status> {
        let pods = self.cache::<Pod>()?;
        let current = self.current(pods, &evicting.key).await?;
        let pod = strategy::typed::<Pod>(&*current.object).ok_or_else(no_such_resource)?;
        // Another pod of this name is not worth a place in the budget.
        let this_pod = Preconditions {
            uid: options
                .preconditions
                .as_ref()
                .and_then(|wanted| wanted.uid.clone()),
            resource_version: None,
        };
        preconditions::check_deletion(pods.kind(), pod.metadata(), &this_pod)?;
        let budgets = self.budgets_in(&evicting.key.namespace).await?;
        let mut options = options.clone();
        let this_version = match rules::decide(pod, &budgets, Time::from_system(evicting.now))? {
            Verdict::Delete { this_version } => this_version && version_of(&options).is_none(),
            Verdict::Count { budget, .. } => {
                self.count(evicting, pod, budget, delete::is_dry(&options))
                    .await?;
                false
            }
        };
        if this_version {
            let conditions = options.preconditions.get_or_insert_default();
            conditions.resource_version = Some(current.revision.to_string());
        }
        let changed = match self.mark_and_delete(pods, evicting, options).await {
            Ok(()) => return Ok(None),
            Err(status) if this_version && status.reason_code() == Reason::Conflict => status,
            Err(status) => return Err(status),
        };
        // A pod that is not ready did not count with its budget; now it might.
        match budgets.iter().find(|budget| rules::selects(budget, pod)) {
            Some(budget) if pod.status().phase != "Pending" => Err(rules::try_again(&budget.metadata().name)),
            _ => Ok(Some(changed)),
        }
    }

    async fn budgets_in(&self, namespace: &str) -> Result<Vec<PodDisruptionBudget>, Status> {
        let state = self.cache::<PodDisruptionBudget>()?.consistent().await?;
        let here = Selection::all(namespace);
        let budgets = state.objects.select(&here, None);
        Ok(budgets
            .filter_map(|entry| PodDisruptionBudget::decode(&*entry.raw).ok())
            .collect())
    }

    /// Counts the eviction in the budget that was asked, or refuses it where others have taken what was left.
    async fn count(
        &self,
        evicting: &Evicting,
        pod: &Pod,
        budget: &PodDisruptionBudget,
        dry_run: bool,
    ) -> Result<(), Status> {
        let now = Time::from_system(evicting.now);
        let decide = |current: &Current| {
            let mut new = current.object.clone();
            let budget =
                strategy::typed_mut::<PodDisruptionBudget>(&mut *new).ok_or_else(no_such_resource)?;
            match rules::decide(pod, [&budget.clone()], now)? {
                Verdict::Count { status, .. } => budget.status = Some(status),
                // It has been changed to ask for nothing.
                Verdict::Delete { .. } => return Ok(Intent::Nothing),
            }
            Ok(Intent::put(new))
        };
        let name = &budget.metadata().name;
        let key = Key::new(&evicting.key.namespace, name);
        let fence = evicting.writer.fence.as_ref();
        let budgets = self.cache::<PodDisruptionBudget>()?;
        let counted = self.modify(budgets, &key, "evict", dry_run, fence, decide).await;
        counted.map(drop).map_err(|status| match status.reason_code() {
            Reason::Timeout if status.details.is_none() => rules::conflicts(name),
            _ => status,
        })
    }

    /// Says in the pod why it goes, and deletes it.
    async fn mark_and_delete(
        &self,
        pods: &Cache,
        evicting: &Evicting,
        mut options: DeleteOptions,
    ) -> Result<(), Status> {
        let (key, now) = (&evicting.key, Time::from_system(evicting.now));
        if !delete::is_dry(&options) {
            let conditions = options.preconditions.clone().unwrap_or_default();
            let decide = |current: &Current| {
                preconditions::check_deletion(pods.kind(), current.object.metadata(), &conditions)?;
                let mut new = current.object.clone();
                let pod = strategy::typed_mut::<Pod>(&mut *new).ok_or_else(no_such_resource)?;
                rules::mark(pod, now);
                Ok(match new.equals(&*current.object) {
                    true => Intent::Nothing,
                    false => Intent::put(new),
                })
            };
            let fence = evicting.writer.fence.as_ref();
            let marked = self.modify(pods, key, "evict", false, fence, decide).await?;
            if version_of(&options).is_some() {
                let marked = wire::metadata(&marked.raw).map_err(internal)?;
                let conditions = options.preconditions.get_or_insert_default();
                conditions.resource_version = Some(marked.resource_version);
            }
        }
        let deletion = Deletion {
            key: key.clone(),
            options,
            writer: evicting.writer.clone(),
            now: evicting.now,
        };
        self.delete(pods, deletion).await.map(drop)
    }
}

fn version_of(options: &DeleteOptions) -> Option<&String> {
    options.preconditions.as_ref()?.resource_version.as_ref()
}
