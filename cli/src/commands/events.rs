//! `gantry events`: what happened, the latest last.

use crate::age;
use crate::aligned::Aligned;
use crate::cluster::{Event as Change, Object, Patience, Selection, before_watching_again};
use crate::failure::Failure;
use crate::output::write;
use crate::present::{self, Format};
use crate::resource;
use crate::session::{Connected, Session};
use anyhow::Result;
use gantry_proto::Kind as _;
use gantry_proto::core::v1::Event;
use gantry_proto::status::Reason;
use std::time::SystemTime;

/// Show events, the latest last
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Only those about this object, as TYPE/NAME
    #[arg(long = "for", value_name = "TYPE/NAME")]
    target: Option<String>,
    /// Only those of these types: Normal, Warning
    #[arg(long, value_delimiter = ',')]
    types: Vec<String>,
    /// Go on with every new one
    #[arg(short, long)]
    watch: bool,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Without the headers
    #[arg(long)]
    no_headers: bool,
    /// Objects to a list call; 0 for all in one
    #[arg(long, default_value_t = 500)]
    chunk_size: i64,
    /// Print the objects: json, yaml, name or jsonpath=TEMPLATE
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

impl Arguments {
    fn wants(&self, event: &Event) -> bool {
        let same = |wanted: &String| wanted.eq_ignore_ascii_case(&event.r#type);
        self.types.is_empty() || self.types.iter().any(same)
    }
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    let is_known = |given: &String| ["normal", "warning"].contains(&given.to_lowercase().as_str());
    if !arguments.types.iter().all(is_known) {
        return Err(Failure::message("valid --types are Normal or Warning").into());
    }
    let fields = arguments
        .target
        .as_deref()
        .map(about)
        .transpose()?
        .unwrap_or_default();
    let connected = session.connect()?;
    let selection = Selection {
        namespace: match arguments.all_namespaces {
            true => String::new(),
            false => connected.namespace.clone(),
        },
        fields,
        ..Selection::default()
    };
    let (objects, revision) = connected
        .cluster
        .list_in_chunks(Event::INFO, &selection, arguments.chunk_size.max(0))
        .await?;
    let mut events = Vec::new();
    for object in objects {
        let event: Event = object.decode()?;
        if arguments.wants(&event) {
            events.push((object, event));
        }
    }
    events.sort_by_key(|(_, event)| time(event));
    if events.is_empty() && !arguments.watch {
        match arguments.all_namespaces {
            true => eprintln!("No events found."),
            false => eprintln!("No events found in {} namespace.", connected.namespace),
        }
        return Ok(());
    }
    let mut aligned = Aligned::default();
    print(&events, &arguments, &mut aligned, !arguments.no_headers)?;
    match arguments.watch {
        true => watch(&selection, revision, &arguments, aligned, &connected)
            .await
            .map_err(Into::into),
        false => Ok(()),
    }
}

/// The field selector for the events about an object.
fn about(target: &str) -> Result<String, Failure> {
    if !target.contains('/') {
        return Err(Failure::message("--for must be in resource/name form"));
    }
    let (kind, name) = resource::object(&[target.to_string()], None)?;
    Ok(format!(
        "involvedObject.kind={},involvedObject.apiVersion={},involvedObject.name={name}",
        kind.kind,
        kind.api_version()
    ))
}

/// When it was last seen, in nanoseconds since 1970.
fn time(event: &Event) -> i128 {
    let nanos = |seconds: i64, nanos: i32| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let observed = event
        .series
        .as_ref()
        .and_then(|series| series.last_observed_time.as_ref());
    if event.series.is_some() {
        return observed.map_or(0, |time| nanos(time.seconds, time.nanos));
    }
    match (&event.last_timestamp, &event.event_time) {
        (Some(time), _) if time.seconds != 0 => nanos(time.seconds, time.nanos),
        (_, Some(time)) => nanos(time.seconds, time.nanos),
        _ => 0,
    }
}

fn print(
    events: &[(Object, Event)],
    arguments: &Arguments,
    aligned: &mut Aligned,
    headers: bool,
) -> Result<(), Failure> {
    if let Some(format) = &arguments.output {
        let objects: Vec<Object> = events.iter().map(|(object, _)| object.clone()).collect();
        return present::objects(&objects, format, false, false);
    }
    #[allow(clippy::disallowed_methods, reason = "a command runs at one time: now")]
    let now = SystemTime::now();
    write(format_args!(
        "{}",
        aligned.lines(&rows(events, arguments.all_namespaces, headers, now))
    ));
    Ok(())
}

fn rows(events: &[(Object, Event)], namespace: bool, headers: bool, now: SystemTime) -> Vec<Vec<String>> {
    let with_namespace = |first: &str, mut cells: Vec<String>| {
        if namespace {
            cells.insert(0, first.into());
        }
        cells
    };
    let mut rows = Vec::new();
    if headers {
        let titles = ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"].map(String::from);
        rows.push(with_namespace("NAMESPACE", titles.to_vec()));
    }
    rows.extend(events.iter().map(|(object, event)| {
        let involved = event.involved_object();
        let cells = vec![
            seen(event, now),
            event.r#type.clone(),
            event.reason.clone(),
            format!("{}/{}", involved.kind, involved.name),
            event.message.trim().replace(['\n', '\r'], " "),
        ];
        with_namespace(&object.metadata.namespace, cells)
    }));
    rows
}

/// How long ago, and how often over how long.
fn seen(event: &Event, now: SystemTime) -> String {
    let has_time = event.event_time.as_ref().is_some_and(|time| time.seconds != 0);
    let first = match has_time {
        true => age::since_micro(event.event_time.as_ref(), now),
        false => age::since(event.first_timestamp.as_ref(), now),
    };
    match (&event.series, event.count) {
        (Some(series), _) => {
            let last = age::since_micro(series.last_observed_time.as_ref(), now);
            format!("{last} (x{} over {first})", series.count)
        }
        (None, count) if count > 1 => {
            let last = age::since(event.last_timestamp.as_ref(), now);
            format!("{last} (x{count} over {first})")
        }
        (None, _) => first,
    }
}

/// Prints what is new after the revision, until interrupted.
async fn watch(
    selection: &Selection,
    mut revision: String,
    arguments: &Arguments,
    mut aligned: Aligned,
    connected: &Connected,
) -> Result<(), Failure> {
    let mut patience = Patience::default();
    patience.answered();
    loop {
        let watched = async {
            let mut changes = connected.cluster.watch(Event::INFO, selection, &revision).await?;
            while let Some((change, object)) = changes.next().await? {
                patience.answered();
                revision.clone_from(&object.metadata.resource_version);
                let event: Event = object.decode()?;
                // Events are deleted when they are old, which is no news.
                if change != Change::Deleted && arguments.wants(&event) {
                    print(&[(object, event)], arguments, &mut aligned, false)?;
                }
            }
            Ok::<(), Failure>(())
        };
        match watched.await {
            Ok(()) => {}
            // What the server no longer remembers is not told.
            Err(failure) if failure.reason() == Reason::Expired => {
                revision = connected.cluster.list(Event::INFO, selection).await?.1;
            }
            Err(failure) => patience.outlast(failure).await?,
        }
        before_watching_again().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use serde_json::{Value, json};
    use std::time::Duration;

    fn event(name: &str, times: Value) -> (Object, Event) {
        let mut value = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": "default"},
            "type": "Normal", "reason": "Started", "message": "Started it\n",
            "involvedObject": {"kind": "Pod", "name": "web"}});
        for (key, field) in times.as_object().into_iter().flatten() {
            value[key] = field.clone();
        }
        let object = Object::new(Event::INFO, (Event::INFO.encode_json)(&value).unwrap().0).unwrap();
        let event = object.decode().unwrap();
        (object, event)
    }

    #[test]
    fn events_are_in_the_order_of_their_last_time_and_say_how_often() {
        let mut events = vec![
            event(
                "c",
                json!({"eventTime": "2026-11-20T11:50:00.000000Z",
                    "series": {"count": 9, "lastObservedTime": "2026-11-20T11:59:30.000000Z"}}),
            ),
            event(
                "b",
                json!({"count": 3, "firstTimestamp": "2026-11-20T11:00:00Z", "lastTimestamp": "2026-11-20T11:59:00Z"}),
            ),
            event("a", json!({"eventTime": "2026-11-20T11:55:00.000000Z"})),
        ];
        events.sort_by_key(|(_, event)| time(event));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_176_000);
        let text = Aligned::default().lines(&rows(&events, true, true, now));
        expect![[r#"
            NAMESPACE   LAST SEEN           TYPE     REASON    OBJECT    MESSAGE
            default     5m                  Normal   Started   Pod/web   Started it
            default     60s (x3 over 60m)   Normal   Started   Pod/web   Started it
            default     30s (x9 over 10m)   Normal   Started   Pod/web   Started it
        "#]]
        .assert_eq(&text);
    }

    #[test]
    fn what_events_are_about_is_named_as_type_and_name() {
        assert_eq!(
            about("deploy/web").unwrap(),
            "involvedObject.kind=Deployment,involvedObject.apiVersion=apps/v1,involvedObject.name=web"
        );
        assert_eq!(
            about("web").unwrap_err().to_string(),
            "error: --for must be in resource/name form"
        );
    }
}
