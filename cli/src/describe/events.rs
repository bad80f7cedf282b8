use super::text::Text;
use crate::age;
use crate::tables::event_source;
use gantry_proto::core::v1::Event;
use std::time::SystemTime;

/// Oldest first.
pub fn describe(events: &[Event], now: SystemTime, text: &mut Text) {
    if events.is_empty() {
        return text.line(0, format_args!("Events:\t<none>"));
    }
    let mut events: Vec<&Event> = events.iter().collect();
    events.sort_by_key(|event| last_seconds(event));
    text.line(0, format_args!("Events:"));
    text.line(1, format_args!("Type\tReason\tAge\tFrom\tMessage"));
    text.line(1, format_args!("----\t------\t----\t----\t-------"));
    for event in events {
        text.line(
            1,
            format_args!(
                "{}\t{}\t{}\t{}\t{}",
                event.r#type,
                event.reason,
                interval(event, now),
                event_source(event).split(", ").next().unwrap_or_default(),
                event.message.trim()
            ),
        );
    }
}

fn last_seconds(event: &Event) -> i64 {
    let series = event
        .series
        .as_ref()
        .and_then(|series| series.last_observed_time)
        .map(|time| time.seconds);
    let last = event
        .last_timestamp
        .map(|time| time.seconds)
        .filter(|seconds| *seconds != 0);
    series
        .or(last)
        .or(event.event_time.map(|time| time.seconds))
        .unwrap_or_default()
}

fn interval(event: &Event, now: SystemTime) -> String {
    let first = match event.first_timestamp.filter(|time| time.seconds != 0) {
        Some(time) => age::since(Some(&time), now),
        None => age::since_micro(event.event_time.as_ref(), now),
    };
    match &event.series {
        Some(series) => {
            let last = age::since_micro(series.last_observed_time.as_ref(), now);
            format!("{last} (x{} over {first})", series.count)
        }
        None if event.count > 1 => {
            format!(
                "{} (x{} over {first})",
                age::since(event.last_timestamp.as_ref(), now),
                event.count
            )
        }
        None => first,
    }
}
