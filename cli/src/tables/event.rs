use super::Column::{Always, Wide};
use super::Table;
use crate::age;
use crate::cluster::Object;
use crate::failure::Failure;
use gantry_proto::core::v1::Event;
use std::time::SystemTime;

pub const TABLE: Table = Table {
    columns: &[
        Always("LAST SEEN"),
        Always("TYPE"),
        Always("REASON"),
        Always("OBJECT"),
        Wide("SUBOBJECT"),
        Wide("SOURCE"),
        Always("MESSAGE"),
        Wide("FIRST SEEN"),
        Wide("COUNT"),
        Wide("NAME"),
    ],
    cells,
};

fn cells(object: &Object, now: SystemTime) -> Result<Vec<String>, Failure> {
    let event: Event = object.decode()?;
    let seen = seen(&event, now);
    let involved = event.involved_object();
    let target = match involved.name.as_str() {
        "" => involved.kind.to_lowercase(),
        name => format!("{}/{name}", involved.kind.to_lowercase()),
    };
    Ok(vec![
        seen.last,
        event.r#type.clone(),
        event.reason.clone(),
        target,
        involved.field_path.clone(),
        source(&event),
        event.message.trim().into(),
        seen.first,
        seen.count.to_string(),
        object.metadata.name.clone(),
    ])
}

/// When an event happened, first and last, and how often.
pub struct Seen {
    pub first: String,
    pub last: String,
    pub count: i32,
}

pub fn seen(event: &Event, now: SystemTime) -> Seen {
    let first = match &event.first_timestamp {
        Some(time) if time.seconds != 0 => age::since(Some(time), now),
        _ => age::since_micro(event.event_time.as_ref(), now),
    };
    let last = match (&event.series, &event.last_timestamp) {
        (Some(series), _) => age::since_micro(series.last_observed_time.as_ref(), now),
        (None, Some(time)) if time.seconds != 0 => age::since(Some(time), now),
        _ => first.clone(),
    };
    let count = match (&event.series, event.count) {
        (Some(series), _) => series.count,
        (None, 0) => 1,
        (None, count) => count,
    };
    Seen { first, last, count }
}

/// Who reports an event.
pub fn source(event: &Event) -> String {
    let source = event.source();
    let component = if source.component.is_empty() {
        &event.reporting_component
    } else {
        &source.component
    };
    let host = if source.host.is_empty() {
        &event.reporting_instance
    } else {
        &source.host
    };
    if host.is_empty() {
        component.clone()
    } else {
        format!("{component}, {host}")
    }
}
