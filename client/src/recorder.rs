//! Events: what a component tells users about an object. The same event again counts up instead of making
//! a new object.

use crate::client::{Client, PatchType};
use crate::error::Error;
use gantry_proto::core::v1::{Event, EventSource, ObjectReference};
use gantry_proto::meta::v1::{ObjectMeta, Time};
use gantry_proto::{Key, Kind};
use serde_json::json;
use std::collections::HashMap;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;

/// Events that wait to be written; more are dropped, as Events are for reading, not for deciding.
const QUEUE: usize = 1_000;
/// How many different events are remembered for counting up; then all are forgotten (1,000 x about 300
/// bytes).
const REMEMBERED: usize = 1_000;
/// How often an event is tried that no apiserver could take, and how long between: an outage of the store of a minute is
/// told of afterwards (client-go tries twelve times, ten seconds apart).
const ATTEMPTS: u32 = 12;
const PAUSE: Duration = Duration::from_secs(10);
/// The longest object name that leaves room for an event's suffix: 253, less a dot and 16 digits.
const MAX_NAME: usize = 236;
/// A repeated event within this time counts up (client-go's correlator uses ten minutes too).
const COUNT_UP_WITHIN: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    Normal,
    Warning,
}

impl EventType {
    fn as_str(self) -> &'static str {
        match self {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        }
    }
}

/// A handle; cheap to clone. It never waits.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Told>,
}

struct Told {
    about: ObjectReference,
    event_type: EventType,
    reason: String,
    message: String,
    time: SystemTime,
}

impl Recorder {
    /// `component` as Events name their source, such as `default-scheduler`; `host` is the node's name where
    /// the component belongs to one. The task ends when all handles are gone.
    pub fn spawn(client: Client, component: impl Into<String>, host: Option<String>) -> Recorder {
        let (queue, told) = mpsc::channel(QUEUE);
        let source = EventSource {
            component: component.into(),
            host: host.unwrap_or_default(),
        };
        tokio::spawn(write(client, source, told));
        Recorder { queue }
    }

    /// Tells something about an object of a kind.
    pub fn about<K: Kind>(&self, object: &K, event_type: EventType, reason: &str, message: String) {
        self.about_reference(reference(object), event_type, reason, message);
    }

    /// As [`Recorder::about`], where the reference says more, such as a container's field path.
    pub fn about_reference(
        &self,
        about: ObjectReference,
        event_type: EventType,
        reason: &str,
        message: String,
    ) {
        let told = Told {
            about,
            event_type,
            reason: reason.into(),
            message,
            time: now(),
        };
        if self.queue.try_send(told).is_err() {
            tracing::debug!(reason, "too many events wait to be written, one is dropped");
        }
    }
}

/// Which object an event is about.
pub fn reference<K: Kind>(object: &K) -> ObjectReference {
    let metadata = object.metadata();
    ObjectReference {
        kind: K::KIND.into(),
        api_version: K::API_VERSION.into(),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        resource_version: metadata.resource_version.clone(),
        ..ObjectReference::default()
    }
}

/// Events are told by people's clock; nothing is decided by it.
#[allow(clippy::disallowed_methods, reason = "something is told of when it happens")]
fn now() -> SystemTime {
    SystemTime::now()
}

#[derive(PartialEq, Eq, Hash)]
struct Same {
    uid: String,
    field_path: String,
    reason: String,
    message: String,
}

struct Written {
    key: Key,
    count: i32,
    last: SystemTime,
}

async fn write(client: Client, source: EventSource, mut told: mpsc::Receiver<Told>) {
    let mut written: HashMap<Same, Written> = HashMap::new();
    while let Some(told) = told.recv().await {
        let same = Same {
            uid: told.about.uid.clone(),
            field_path: told.about.field_path.clone(),
            reason: told.reason.clone(),
            message: told.message.clone(),
        };
        if let Some(before) = written.get_mut(&same)
            && told.time.duration_since(before.last).unwrap_or_default() < COUNT_UP_WITHIN
        {
            before.count += 1;
            before.last = told.time;
            let patch = json!({"count": before.count, "lastTimestamp": Time::from_system(told.time)});
            let patch = || client.patch::<Event>(&before.key, None, PatchType::Merge, &patch);
            match patiently(patch).await {
                Ok(_) => continue,
                // The event has expired or its namespace is gone: tell it anew.
                Err(error) if error.is_not_found() => {}
                Err(error) => {
                    log(&error);
                    continue;
                }
            }
        }
        let event = event(&source, &told);
        match patiently(|| client.create(&event)).await {
            Ok(event) => {
                if written.len() >= REMEMBERED {
                    written.clear();
                }
                written.insert(
                    same,
                    Written {
                        key: event.key(),
                        count: 1,
                        last: told.time,
                    },
                );
            }
            Err(error) => log(&error),
        }
    }
}

/// Repeats a write while no apiserver can take it. One whose reply was lost is not repeated: an event told twice is worse
/// than one that is not counted.
async fn patiently<R, F>(write: impl Fn() -> F) -> Result<R, Error>
where
    F: Future<Output = Result<R, Error>>,
{
    let mut attempts = ATTEMPTS;
    loop {
        attempts -= 1;
        match write().await {
            Err(Error::Unavailable(_)) if attempts > 0 => tokio::time::sleep(PAUSE).await,
            result => return result,
        }
    }
}

fn log(error: &Error) {
    tracing::debug!(%error, "an event was not written");
}

fn event(source: &EventSource, told: &Told) -> Event {
    let time = Time::from_system(told.time);
    // Events about objects without a namespace live in the default one, as in Kubernetes.
    let namespace = match told.about.namespace.as_str() {
        "" => "default",
        namespace => namespace,
    };
    #[allow(clippy::disallowed_methods, reason = "a name that no other event has")]
    let metadata = ObjectMeta {
        name: event_name(&told.about.name, rand::random()),
        namespace: namespace.into(),
        ..ObjectMeta::default()
    };
    Event {
        metadata: Some(metadata),
        involved_object: Some(told.about.clone()),
        reason: told.reason.clone(),
        message: told.message.clone(),
        source: Some(source.clone()),
        first_timestamp: Some(time),
        last_timestamp: Some(time),
        count: 1,
        r#type: told.event_type.as_str().into(),
        reporting_component: source.component.clone(),
        reporting_instance: source.host.clone(),
        ..Event::default()
    }
}

fn event_name(about: &str, suffix: u64) -> String {
    let end = about.floor_char_boundary(MAX_NAME);
    let about = about[..end].trim_end_matches(['.', '-']);
    format!("{about}.{suffix:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn an_events_name_is_never_too_long() {
        assert_eq!(event_name("web-1", 0xab), "web-1.00000000000000ab");
        let long = format!("{}.b", "a".repeat(MAX_NAME - 1));
        assert_eq!(
            event_name(&long, 1),
            format!("{}.{:016x}", "a".repeat(MAX_NAME - 1), 1)
        );
        assert!(event_name(&"a".repeat(253), 1).len() <= 253);
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_outlasts_an_outage_and_is_not_told_twice() {
        let check = async |errors: &[fn() -> Error], expected_attempts: usize| {
            let attempts = Cell::new(0);
            let write = || {
                let attempt = attempts.replace(attempts.get() + 1);
                let result = errors.get(attempt).map_or(Ok(()), |error| Err(error()));
                async move { result }
            };
            let _ = patiently(write).await;
            assert_eq!(attempts.get(), expected_attempts);
        };
        let away: fn() -> Error = || Error::Unavailable("away".into());
        check(&[away; 6], 7).await;
        check(&[away; 100], ATTEMPTS as usize).await;
        check(&[|| Error::Ambiguous("lost".into())], 1).await;
    }
}
