//! An Event about each object that is created with fields that nothing acts on yet: the warning in the reply is
//! seen only by who wrote, and a controller writes most pods.

use std::time::SystemTime;

use gantry_proto::KindInfo;
use gantry_proto::core::v1::{Event, EventSource, ObjectReference};
use gantry_proto::meta::v1::{ObjectMeta, Time};

use super::{Registry, metadata};
use crate::kinds::unsupported::NOT_ACTED_ON;
use crate::strategy::Object;

const REASON: &str = "FieldsNotActedOn";
const COMPONENT: &str = "gantry-apiserver";
/// Kubernetes' limit of an Event's message, in bytes.
const MAX_MESSAGE: usize = 1024;

impl Registry {
    /// The object is written already, so an Event that cannot be written is only logged.
    pub(super) async fn tell_unsupported(&self, object: &dyn Object, warnings: &[String], now: SystemTime) {
        let fields: Vec<&str> = warnings
            .iter()
            .map(String::as_str)
            .filter(|warning| warning.contains(NOT_ACTED_ON))
            .collect();
        if fields.is_empty() {
            return;
        }
        let suffix: String = format!("{:016x}", rand::random::<u64>());
        let mut event = event(object.info(), object.metadata(), &fields, &suffix, now);
        metadata::begin(event.metadata_mut(), uuid::Uuid::new_v4().to_string(), now);
        let written = match self.cache::<Event>() {
            Ok(cache) => self.insert(cache, &mut event).await.map(drop),
            Err(status) => Err(status),
        };
        if let Err(status) = written {
            tracing::debug!(
                message = status.message,
                "an event about fields that nothing acts on was not written"
            );
        }
    }
}

fn event(info: &KindInfo, about: &ObjectMeta, fields: &[&str], suffix: &str, now: SystemTime) -> Event {
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
