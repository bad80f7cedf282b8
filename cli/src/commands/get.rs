//! `gantry get`: objects in rows, as YAML or JSON, once or as they change.

use crate::aligned::Aligned;
use crate::cluster::{Object, Patience, Selection, before_watching_again};
use crate::failure::Failure;
use crate::manifest::{self, Files};
use crate::output::write;
use crate::present::{self, Format};
use crate::resource::{self, Target};
use crate::session::{Connected, Session};
use crate::tables::{self, Columns};
use anyhow::Result;
use gantry_proto::status::Reason;
use gantry_proto::{Key, KindInfo};
use std::time::SystemTime;

/// Show objects
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// TYPE[,TYPE...] [NAME...], or TYPE/NAME...; `all` for the usual types
    #[arg(required_unless_present = "filenames")]
    targets: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// How to print them
    #[arg(short, long, value_enum)]
    output: Option<Output>,
    /// Go on with every change
    #[arg(short, long)]
    watch: bool,
    /// Only the changes from now on
    #[arg(long)]
    watch_only: bool,
    #[command(flatten)]
    selectors: Selectors,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// With a column of labels
    #[arg(long)]
    show_labels: bool,
    /// Without the headers
    #[arg(long)]
    no_headers: bool,
    /// Succeed where a named object does not exist
    #[arg(long)]
    ignore_not_found: bool,
}

/// Which objects are meant, where they are not named.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Selectors {
    /// Those whose labels match, such as app=web,tier!=front
    #[arg(short = 'l', long = "selector", value_name = "LABELS")]
    pub labels: Option<String>,
    /// Those whose fields match, such as spec.nodeName=n1
    #[arg(long = "field-selector", value_name = "FIELDS")]
    pub fields: Option<String>,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    Wide,
    Yaml,
    Json,
    Name,
}

impl Output {
    /// `None` for rows.
    fn format(self) -> Option<Format> {
        match self {
            Output::Wide => None,
            Output::Yaml => Some(Format::Yaml),
            Output::Json => Some(Format::Json),
            Output::Name => Some(Format::Name),
        }
    }
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    let connected = session.connect()?;
    let targets = match arguments.files.filenames.is_empty() {
        true => resource::targets(&arguments.targets)?,
        false => manifest::targets(&arguments.files, &arguments.targets, &connected)?,
    };
    let named = targets.iter().any(|target| target.name.is_some());
    if named && arguments.all_namespaces {
        return Err(Failure::message("a resource cannot be retrieved by name across all namespaces").into());
    }
    if named && (arguments.selectors.labels.is_some() || arguments.selectors.fields.is_some()) {
        return Err(Failure::message(
            "selectors and the all flag cannot be used when retrieving resource by name(s)",
        )
        .into());
    }
    if arguments.watch || arguments.watch_only {
        let [target] = &targets[..] else {
            return Err(Failure::message("you may only specify a single resource type when watching").into());
        };
        return watch(target, &arguments, &connected).await;
    }
    let fetched = fetch(&targets, &arguments, &connected).await?;
    let format = arguments.output.and_then(Output::format);
    match format {
        Some(format) => {
            let objects: Vec<Object> = fetched
                .groups
                .into_iter()
                .flat_map(|group| group.objects)
                .collect();
            let missing = objects.is_empty() && (fetched.failed || named);
            if !missing {
                present::objects(&objects, format, named && targets.len() == 1)?;
            }
        }
        None => rows(&fetched.groups, &arguments, &connected)?,
    }
    if fetched.failed {
        Err(Failure::Said.into())
    } else {
        Ok(())
    }
}

struct Group {
    kind: &'static KindInfo,
    objects: Vec<Object>,
}

struct Fetched {
    groups: Vec<Group>,
    /// Something was not found, and that has been said.
    failed: bool,
}

async fn fetch(targets: &[Target], arguments: &Arguments, connected: &Connected) -> Result<Fetched, Failure> {
    let mut fetched = Fetched {
        groups: Vec::new(),
        failed: false,
    };
    for target in targets {
        let result = match &target.name {
            Some(name) => {
                let key = Key::new(namespace_of(target, connected), name);
                connected
                    .cluster
                    .get(target.kind, &key)
                    .await
                    .map(|object| vec![object])
            }
            None => {
                let selection = selection(target, arguments, connected);
                connected
                    .cluster
                    .list(target.kind, &selection)
                    .await
                    .map(|(objects, _)| objects)
            }
        };
        match result {
            Ok(mut objects) => match fetched.groups.last_mut() {
                Some(group) if group.kind.message == target.kind.message => {
                    group.objects.append(&mut objects)
                }
                _ => fetched.groups.push(Group {
                    kind: target.kind,
                    objects,
                }),
            },
            Err(failure) if failure.is_not_found() && arguments.ignore_not_found => {}
            Err(failure @ Failure::Status(_)) => {
                eprintln!("{failure}");
                fetched.failed = true;
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(fetched)
}

fn namespace_of(target: &Target, connected: &Connected) -> String {
    let given = target.namespace.clone();
    given.unwrap_or_else(|| connected.namespace_of(target.kind))
}

fn selection(target: &Target, arguments: &Arguments, connected: &Connected) -> Selection {
    let namespace = match arguments.all_namespaces {
        true => String::new(),
        false => namespace_of(target, connected),
    };
    let fields = match (&target.name, &arguments.selectors.fields) {
        (Some(name), _) => format!("metadata.name={name}"),
        (None, fields) => fields.clone().unwrap_or_default(),
    };
    Selection {
        namespace,
        labels: arguments.selectors.labels.clone().unwrap_or_default(),
        fields,
    }
}

fn rows(groups: &[Group], arguments: &Arguments, connected: &Connected) -> Result<(), Failure> {
    #[allow(clippy::disallowed_methods, reason = "a command runs at one time: now")]
    let now = SystemTime::now();
    let shown: Vec<&Group> = groups.iter().filter(|group| !group.objects.is_empty()).collect();
    if shown.is_empty() && !groups.is_empty() {
        let namespaced = groups.iter().any(|group| group.kind.namespaced);
        if namespaced && !arguments.all_namespaces {
            eprintln!("No resources found in {} namespace.", connected.namespace);
        } else {
            eprintln!("No resources found");
        }
    }
    for (index, group) in shown.iter().enumerate() {
        if index > 0 {
            write(format_args!("\n"));
        }
        let columns = columns(group.kind, arguments, shown.len() > 1);
        let mut rows = Vec::new();
        if !arguments.no_headers {
            rows.push(tables::headers(group.kind, columns));
        }
        for object in &group.objects {
            rows.push(tables::row(object, columns, now)?);
        }
        write(format_args!("{}", Aligned::default().lines(&rows)));
    }
    Ok(())
}

fn columns(kind: &KindInfo, arguments: &Arguments, several: bool) -> Columns {
    Columns {
        wide: arguments.output == Some(Output::Wide),
        namespace: arguments.all_namespaces && kind.namespaced,
        labels: arguments.show_labels,
        kind: several,
    }
}

/// Prints the present state and then each change, until interrupted.
async fn watch(target: &Target, arguments: &Arguments, connected: &Connected) -> Result<()> {
    let kind = target.kind;
    let selection = selection(target, arguments, connected);
    let (objects, mut revision) = connected.cluster.list(kind, &selection).await?;
    if let Some(name) = &target.name
        && objects.is_empty()
        && !arguments.ignore_not_found
    {
        return Err(Failure::Status(Box::new(gantry_proto::meta::v1::Status::not_found(kind, name))).into());
    }
    let format = arguments.output.and_then(Output::format);
    let mut printer = Printer {
        columns: columns(kind, arguments, false),
        format,
        aligned: Aligned::default(),
        kind,
        headers: !arguments.no_headers,
    };
    if !arguments.watch_only {
        printer.print(&objects)?;
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
        while let Some((_, object)) = events.next().await? {
            patience.answered();
            revision.clone_from(&object.metadata.resource_version);
            printer.print(&[object])?;
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
    printer.print(&objects)
}

struct Printer {
    kind: &'static KindInfo,
    columns: Columns,
    format: Option<Format>,
    aligned: Aligned,
    /// Still to be printed.
    headers: bool,
}

impl Printer {
    fn print(&mut self, objects: &[Object]) -> Result<(), Failure> {
        if let Some(format) = self.format {
            for object in objects {
                if format == Format::Yaml {
                    write(format_args!("---\n"));
                }
                present::objects(std::slice::from_ref(object), format, true)?;
            }
            return Ok(());
        }
        #[allow(clippy::disallowed_methods, reason = "a command runs at one time: now")]
        let now = SystemTime::now();
        let mut rows = Vec::new();
        if self.headers && !objects.is_empty() {
            rows.push(tables::headers(self.kind, self.columns));
            self.headers = false;
        }
        for object in objects {
            rows.push(tables::row(object, self.columns, now)?);
        }
        write(format_args!("{}", self.aligned.lines(&rows)));
        Ok(())
    }
}
