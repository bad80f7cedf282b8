//! An Event about each object that gets fields that nothing acts on yet: the warning in the reply is seen only by
//! who wrote, and a controller writes most pods.

use std::time::SystemTime;

use gantry_proto::core::v1::{Event, EventSource, ObjectReference};
use gantry_proto::meta::v1::{ObjectMeta, Status, Time};
use gantry_proto::{KindInfo, wire};

use super::{Registry, internal, metadata};
use crate::kinds::unsupported::NOT_ACTED_ON;
use crate::strategy::{Object, Strategy};

const REASON: &str = "FieldsNotActedOn";
const COMPONENT: &str = "gantry-apiserver";
/// Kubernetes' limit of an Event's message, in bytes.
const MAX_MESSAGE: usize = 1024;

/// The warnings of fields that nothing acts on.
pub(super) fn unsupported(warnings: &[String]) -> Vec<String> {
    let fields = warnings.iter().filter(|warning| warning.contains(NOT_ACTED_ON));
    fields.cloned().collect()
}

/// Those of a changed object that its old version did not give rise to: a change of something else is no news.
pub(super) fn unsupported_since(
    strategy: &dyn Strategy,
    warnings: &[String],
    old: &dyn Object,
) -> Vec<String> {
    let mut fields = unsupported(warnings);
    if !fields.is_empty() {
        let known = strategy.warnings(old, None);
        fields.retain(|field| !known.contains(field));
    }
    fields
}

impl Registry {
    /// The object is written already, so an Event that cannot be written is only logged.
    pub(super) async fn tell_unsupported(
        &self,
        info: &'static KindInfo,
        raw: &[u8],
        fields: &[String],
        now: SystemTime,
    ) {
        if fields.is_empty() {
            return;
        }
        if let Err(status) = self.write_event(info, raw, fields, now).await {
            tracing::debug!(
                error = status.message,
                "an event about fields that nothing acts on was not written"
            );
        }
    }

    async fn write_event(
        &self,
        info: &'static KindInfo,
        raw: &[u8],
        fields: &[String],
        now: SystemTime,
    ) -> Result<(), Status> {
        let about = wire::metadata(raw).map_err(internal)?;
        #[allow(clippy::disallowed_methods, reason = "a name that no other event has")]
        let suffix: String = format!("{:016x}", rand::random::<u64>());
        let mut event = event(info, &about, fields, &suffix, now);
        metadata::begin(event.metadata_mut(), uuid::Uuid::new_v4().to_string(), now);
        self.insert(self.cache::<Event>()?, &mut event, None)
            .await
            .map(drop)
    }
}

fn event(info: &KindInfo, about: &ObjectMeta, fields: &[String], suffix: &str, now: SystemTime) -> Event {
    let mut message = fields.join("; ");
    message.truncate(message.floor_char_boundary(MAX_MESSAGE));
    let time = Time::from_system(now);
    Event {
        metadata: Some(ObjectMeta {
            name: format!("{}.{suffix}", about.name),
            namespace: if about.namespace.is_empty() {
                "default".into()
            } else {
                about.namespace.clone()
            },
            ..ObjectMeta::default()
        }),
        involved_object: Some(ObjectReference {
            kind: info.kind.into(),
            api_version: info.api_version(),
            namespace: about.namespace.clone(),
            name: about.name.clone(),
            uid: about.uid.clone(),
            ..ObjectReference::default()
        }),
        reason: REASON.into(),
        message,
        source: Some(EventSource {
            component: COMPONENT.into(),
            ..EventSource::default()
        }),
        first_timestamp: Some(time),
        last_timestamp: Some(time),
        count: 1,
        r#type: "Warning".into(),
        reporting_component: COMPONENT.into(),
        ..Event::default()
    }
}
