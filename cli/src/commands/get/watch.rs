//! `get -w`: objects as they change.

use super::{Arguments, Output, columns, selection};
use crate::aligned::Aligned;
use crate::cluster::{Event, Object, Patience, Selection, before_watching_again};
use crate::failure::Failure;
use crate::output::write;
use crate::present::{self, Format};
use crate::resource::Target;
use crate::session::Connected;
use crate::tables::{self, Columns};
use anyhow::Result;
use gantry_proto::KindInfo;
use gantry_proto::status::Reason;
use serde_json::json;
use std::time::SystemTime;

/// Prints the present state and then each change, until interrupted.
pub async fn watch(target: &Target, arguments: &Arguments, connected: &Connected) -> Result<()> {
    let kind = target.kind;
    let selection = selection(target, arguments, connected);
    let (objects, mut revision) = connected.cluster.list(kind, &selection).await?;
    if let Some(name) = &target.name
        && objects.is_empty()
        && !arguments.ignore_not_found
    {
        return Err(Failure::Status(Box::new(gantry_proto::meta::v1::Status::not_found(kind, name))).into());
    }
    let mut printer = Printer {
        columns: columns(kind, arguments, false),
        output: arguments.output.clone(),
        aligned: Aligned::default(),
        kind,
        headers: !arguments.no_headers,
        managed_fields: arguments.show_managed_fields,
        events: arguments.output_watch_events,
    };
    if !arguments.watch_only {
        printer.print(Event::Added, &objects)?;
    }
    let mut patience = Patience::default();
    patience.answered();
    loop {
        let followed = follow(
            kind,
            &selection,
            &mut revision,
            &mut printer,
            &mut patience,
            connected,
        )
        .await;
        if let Err(failure) = followed {
            patience.outlast(failure).await?;
        }
        before_watching_again().await;
    }
}

/// Prints what happens after `revision` until the watch ends: the server ends watches now and then.
async fn follow(
    kind: &'static KindInfo,
    selection: &Selection,
    revision: &mut String,
    printer: &mut Printer,
    patience: &mut Patience,
    connected: &Connected,
) -> Result<(), Failure> {
    let watched = async {
        let mut events = connected.cluster.watch(kind, selection, revision).await?;
        while let Some((event, object)) = events.next().await? {
            patience.answered();
            revision.clone_from(&object.metadata.resource_version);
            printer.print(event, &[object])?;
        }
        Ok::<(), Failure>(())
    };
    match watched.await {
        Err(failure) if failure.reason() == Reason::Expired => {}
        ended => return ended,
    }
    // What the server no longer remembers is told by what is different now.
    let (mut objects, now) = connected.cluster.list(kind, selection).await?;
    patience.answered();
    let seen: i64 = revision.parse().unwrap_or_default();
    objects.retain(|object| gantry_client::revision(&object.metadata) > seen);
    *revision = now;
    printer.print(Event::Modified, &objects)
}

struct Printer {
    kind: &'static KindInfo,
    columns: Columns,
    output: Option<Output>,
    aligned: Aligned,
    /// Still to be printed.
    headers: bool,
    managed_fields: bool,
    /// With what happened to each object.
    events: bool,
}

impl Printer {
    fn print(&mut self, event: Event, objects: &[Object]) -> Result<(), Failure> {
        if let Some(Output::Format(format)) = &self.output {
            for object in objects {
                self.print_alone(event, object, format)?;
            }
            return Ok(());
        }
        #[allow(clippy::disallowed_methods, reason = "a command runs at one time: now")]
        let now = SystemTime::now();
        let mut rows = Vec::new();
        if self.headers && !objects.is_empty() {
            rows.push(self.row(
                "EVENT".into(),
                match &self.output {
                    Some(Output::Columns(columns)) => columns.headers(),
                    _ => tables::headers(self.kind, &self.columns),
                },
            ));
            self.headers = false;
        }
        for object in objects {
            let cells = match &self.output {
                Some(Output::Columns(columns)) => columns.row(&object.json()?).map_err(Failure::message)?,
                _ => tables::row(object, &self.columns, now)?,
            };
            // As wide as the longest, so that rows stay under each other.
            rows.push(self.row(format!("{:<10}", event.name()), cells));
        }
        write(format_args!("{}", self.aligned.lines(&rows)));
        Ok(())
    }

    fn row(&self, event: String, mut cells: Vec<String>) -> Vec<String> {
        if self.events {
            cells.insert(0, event);
        }
        cells
    }

    fn print_alone(&self, event: Event, object: &Object, format: &Format) -> Result<(), Failure> {
        if *format == Format::Yaml {
            write(format_args!("---\n"));
        }
        if !self.events || *format == Format::Name {
            return present::objects(std::slice::from_ref(object), format, true, self.managed_fields);
        }
        let value = present::value(object, self.managed_fields)?;
        let told = json!({"type": event.name(), "object": value});
        write(format_args!("{}", present::text(&told, format)?));
        Ok(())
    }
}
