//! Changing an object by a patch.

use std::time::SystemTime;

use gantry_proto::api::v1::PatchType;
use gantry_proto::autoscaling::v1::Scale;
use gantry_proto::json::Fields as _;
use gantry_proto::meta::v1::Status;
use gantry_proto::{Key, json, patch};
use serde_json::Value;

use super::current::Current;
use super::update::{Endpoint, Proposal};
use super::{Registry, Writer, Written, bad_request, metadata, placement};
use crate::cache::Cache;
use crate::codec::{self, Validation};

/// A patch of one endpoint.
pub struct Patch {
    pub key: Key,
    pub endpoint: Endpoint,
    pub change: Change,
    pub validation: Validation,
    pub writer: Writer,
    pub dry_run: bool,
    pub now: SystemTime,
}

/// What a patch does.
#[derive(Debug)]
pub struct Change {
    kind: PatchType,
    patch: Value,
    /// What was wrong with its text but not fatal.
    complaints: Vec<String>,
}

impl Change {
    /// Reads a patch's text.
    pub fn parse(kind: PatchType, text: &[u8], validation: Validation) -> Result<Change, Status> {
        let patch = serde_json::from_slice(text).map_err(|error| match kind {
            PatchType::StrategicMerge => bad_request(error.to_string()),
            _ => bad_request(format!("error decoding patch: {error}")),
        })?;
        let mut complaints = match validation {
            Validation::Ignore => Vec::new(),
            Validation::Warn | Validation::Strict => json::duplicates(text),
        };
        if kind == PatchType::Json {
            for complaint in &mut complaints {
                *complaint = format!("json patch {complaint}");
            }
        }
        Ok(Change {
            kind,
            patch,
            complaints,
        })
    }

    fn apply(&self, message: &str, original: Value) -> Result<Value, Status> {
        patch::apply(self.kind, message, original, &self.patch).map_err(Status::from)
    }

    /// What is wrong with what the patch made: it cannot be read.
    fn undecodable(&self, patched: &Value, why: &str) -> Status {
        let shown = match self.kind {
            PatchType::StrategicMerge => patch::go_text(&self.patch),
            _ => patched.to_string(),
        };
        patch::undecodable(&shown, why)
    }

    /// What the user is warned of, unless that is refused.
    fn judge(
        &self,
        patched: &Value,
        complaints: Vec<String>,
        validation: Validation,
    ) -> Result<Vec<String>, Status> {
        let all: Vec<String> = self.complaints.iter().cloned().chain(complaints).collect();
        match validation {
            Validation::Strict if !all.is_empty() => {
                let why = format!("strict decoding error: {}", all.join(", "));
                Err(self.undecodable(patched, &why))
            }
            Validation::Ignore => Ok(Vec::new()),
            _ => Ok(all),
        }
    }
}

impl Registry {
    pub async fn patch(&self, cache: &Cache, patch: Patch) -> Result<Written, Status> {
        self.catch_up(cache).await?;
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
    let change = &patch.change;
    let (mut proposal, mut complaints) = if patch.endpoint == Endpoint::Scale {
        let scale = strategy.scale(object).ok_or_else(super::no_such_resource)?;
        let patched = change.apply(Scale::MESSAGE, codec::scale_to_json(&scale))?;
        let scale =
            codec::scale_of_json(&patched).map_err(|why| change.undecodable(&patched, &why.message))?;
        let complaints = change.judge(&patched, Vec::new(), patch.validation)?;
        (Proposal::Scale(Box::new(scale)), complaints)
    } else {
        let patched = change.apply(cache.kind().message, object.to_json())?;
        let (object, complaints) =
            codec::decode_patched(strategy, &patched).map_err(|why| change.undecodable(&patched, &why))?;
        let complaints = change.judge(&patched, complaints, patch.validation)?;
        (Proposal::Object(object), complaints)
    };
    placement::settle_namespace(cache.kind(), &patch.key.namespace, proposal.metadata_mut())?;
    placement::check_name(&patch.key, proposal.metadata())?;
    let seen = " after mutating admission happens";
    complaints.extend(metadata::remove_double_owners(proposal.metadata_mut(), seen));
    Ok((proposal, complaints))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_comes_twice_is_a_warning_or_a_refusal() {
        let check = |kind, text: &str, validation, expected: Result<&[&str], &str>| {
            let found = Change::parse(kind, text.as_bytes(), validation)
                .and_then(|change| change.judge(&Value::Null, Vec::new(), validation))
                .map_err(|status| status.message);
            let expected = expected.map(|all| all.iter().map(|one| (*one).to_owned()).collect());
            assert_eq!(found, expected.map_err(str::to_owned));
        };
        let merge = r#"{"data": {"a": "1", "a": "2"}}"#;
        check(
            PatchType::Merge,
            merge,
            Validation::Warn,
            Ok(&["duplicate field \"data.a\""]),
        );
        check(PatchType::Merge, merge, Validation::Ignore, Ok(&[]));
        check(
            PatchType::StrategicMerge,
            merge,
            Validation::Strict,
            Err(
                " \"\" is invalid: patch: Invalid value: \"map[data:map[a:2]]\": strict decoding error: duplicate field \
                 \"data.a\"",
            ),
        );
        check(
            PatchType::Json,
            r#"[{"op": "remove", "op": "add", "path": "/data"}]"#,
            Validation::Warn,
            Ok(&["json patch duplicate field \"[0].op\""]),
        );
    }
}
