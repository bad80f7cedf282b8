//! Changing an object by a patch.

use std::time::SystemTime;

use gantry_proto::api::v1::PatchType;
use gantry_proto::autoscaling::v1::Scale;
use gantry_proto::json::Fields as _;
use gantry_proto::meta::v1::Status;
use gantry_proto::{Key, patch};
use serde_json::Value;

use super::current::Current;
use super::update::{Endpoint, Proposal};
use super::{Registry, Writer, Written, bad_request};
use crate::cache::Cache;
use crate::codec::{self, Validation};

/// A patch of one endpoint.
pub struct Patch {
    pub key: Key,
    pub endpoint: Endpoint,
    pub kind: PatchType,
    /// The patch itself, a JSON object.
    pub patch: Value,
    pub validation: Validation,
    pub writer: Writer,
    pub dry_run: bool,
    pub now: SystemTime,
}

impl Registry {
    pub async fn patch(&self, cache: &Cache, patch: Patch) -> Result<Written, Status> {
        let mut warnings = Vec::new();
        let mut unsupported = Vec::new();
        let mut attempt = 0;
        let decide = |current: &Current| {
            let (proposal, complaints) = proposal(cache, current, &patch)?;
            let user = &patch.writer.user;
            let revised = self.revise(cache, current, patch.endpoint, proposal, user, attempt)?;
            attempt += 1;
            warnings = complaints;
            warnings.extend(revised.warnings);
            unsupported = revised.unsupported;
            Ok(revised.intent)
        };
        let fence = patch.writer.fence.as_ref();
        let mut written = self
            .modify(cache, &patch.key, "patch", patch.dry_run, fence, decide)
            .await?;
        if !patch.dry_run {
            self.tell_unsupported(cache.kind(), &written.raw, &unsupported, patch.now)
                .await;
        }
        written.warnings = warnings;
        Ok(written)
    }
}

/// The endpoint with the patch applied. Where the patch has a resourceVersion, so has the proposal, and it is
/// compared like an update's.
fn proposal(cache: &Cache, current: &Current, patch: &Patch) -> Result<(Proposal, Vec<String>), Status> {
    let (strategy, object) = (cache.strategy(), &*current.object);
    if patch.endpoint != Endpoint::Scale {
        let patched = apply(patch, cache.kind().message, object.to_json())?;
        let (object, complaints) = codec::decode_json(strategy, &patched, patch.validation)?;
        return Ok((Proposal::Object(object), complaints));
    }
    let scale = strategy.scale(object).ok_or_else(super::no_such_resource)?;
    let patched = apply(patch, Scale::MESSAGE, codec::scale_to_json(&scale))?;
    let scale = codec::scale_of_json(&patched)?;
    Ok((Proposal::Scale(Box::new(scale)), Vec::new()))
}

fn apply(patch: &Patch, message: &str, original: Value) -> Result<Value, Status> {
    match patch.kind {
        PatchType::StrategicMerge => patch::strategic_merge(message, original, patch.patch.clone())
            .map_err(|error| bad_request(error.to_string())),
        PatchType::Merge => Ok(patch::merge(original, patch.patch.clone())),
        PatchType::Unspecified => Err(bad_request("the patch's type is not given")),
    }
}
