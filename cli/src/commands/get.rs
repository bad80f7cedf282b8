//! `gantry get`: objects in rows, as YAML or JSON, once or as they change.

mod watch;

use crate::aligned::Aligned;
use crate::chosen::Selectors;
use crate::cluster::{Object, Selection};
use crate::custom_columns::CustomColumns;
use crate::failure::Failure;
use crate::hints;
use crate::manifest::{self, Files};
use crate::output::write;
use crate::present::{self, FORMATS, Format};
use crate::resource::{self, Target};
use crate::session::{Connected, Session};
use crate::sort_by::SortKey;
use crate::tables::{self, Columns};
use anyhow::Result;
use gantry_proto::{Key, KindInfo};
use std::str::FromStr;
use std::time::SystemTime;

/// Show objects
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// TYPE[,TYPE...] [NAME...], or TYPE/NAME...; `all` for the usual types
    #[arg(required_unless_present = "filenames")]
    targets: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// How to print them: wide, yaml, json, name, jsonpath=TEMPLATE, jsonpath-as-json=TEMPLATE, jsonpath-file=FILE,
    /// go-template=TEMPLATE, go-template-file=FILE, custom-columns=HEADER:PATH,... or custom-columns-file=FILE
    #[arg(short, long, value_name = "FORMAT")]
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
    /// With a column for each of these labels
    #[arg(short = 'L', long, value_name = "LABELS", value_delimiter = ',')]
    label_columns: Vec<String>,
    /// With the type before each name
    #[arg(long)]
    show_kind: bool,
    /// In the order of a field, such as .metadata.creationTimestamp
    #[arg(long, value_name = "PATH")]
    sort_by: Option<SortKey>,
    /// Objects to a list call; 0 for all in one
    #[arg(long, default_value_t = 500)]
    chunk_size: i64,
    /// With managedFields
    #[arg(long)]
    show_managed_fields: bool,
    /// With what happened to each object, while watching
    #[arg(long)]
    output_watch_events: bool,
    /// Without the headers
    #[arg(long)]
    no_headers: bool,
    /// Succeed where a named object does not exist
    #[arg(long)]
    ignore_not_found: bool,
}

/// How objects are printed.
#[derive(Clone, Debug, PartialEq)]
enum Output {
    /// Rows with more columns.
    Wide,
    Columns(CustomColumns),
    Format(Format),
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Output, String> {
        let (name, rest) = text.split_once('=').unwrap_or((text, ""));
        match name {
            "wide" if rest.is_empty() => Ok(Output::Wide),
            "custom-columns" => CustomColumns::parse(rest).map(Output::Columns),
            "custom-columns-file" if rest.is_empty() => CustomColumns::parse("").map(Output::Columns),
            "custom-columns-file" => {
                let template = std::fs::read_to_string(rest)
                    .map_err(|error| format!("error reading template {rest}, {error}"))?;
                CustomColumns::parse_template(&template).map(Output::Columns)
            }
            _ if FORMATS.contains(&name) => text.parse().map(Output::Format),
            _ => {
                let mut formats = [FORMATS, &["custom-columns", "custom-columns-file", "wide"]].concat();
                formats.sort_unstable();
                Err(present::no_such_format(text, &formats))
            }
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
    check(&arguments)?;
    if arguments.watch || arguments.watch_only {
        let [target] = &targets[..] else {
            return Err(Failure::message("you may only specify a single resource type when watching").into());
        };
        return watch::watch(target, &arguments, &connected).await;
    }
    let mut fetched = fetch(&targets, &arguments, &connected).await?;
    if let Some(key) = &arguments.sort_by {
        for group in &mut fetched.groups {
            group.sort(key)?;
        }
    }
    let missing = (fetched.failed || named) && fetched.groups.iter().all(|group| group.objects.is_empty());
    match &arguments.output {
        Some(Output::Format(format)) => {
            let objects: Vec<Object> = fetched
                .groups
                .into_iter()
                .flat_map(|group| group.objects)
                .collect();
            if !missing {
                let single = named && targets.len() == 1;
                present::objects(&objects, format, single, arguments.show_managed_fields)?;
            }
        }
        Some(Output::Columns(columns)) if !missing => {
            let mut rows = Vec::new();
            if !arguments.no_headers {
                rows.push(columns.headers());
            }
            for object in fetched.groups.iter().flat_map(|group| &group.objects) {
                rows.push(columns.row(&object.json()?).map_err(Failure::message)?);
            }
            write(format_args!("{}", Aligned::default().lines(&rows)));
        }
        Some(Output::Columns(_)) => {}
        None | Some(Output::Wide) => {
            rows(&fetched.groups, &arguments, &connected)?;
            let is_empty = fetched.groups.iter().all(|group| group.objects.is_empty());
            if is_empty
                && connected.namespace_given
                && !arguments.all_namespaces
                && let Some(meant) = hints::meant_namespace(&connected).await
            {
                eprintln!(
                    "There is no namespace \"{}\". Did you mean \"{meant}\"?",
                    connected.namespace
                );
            }
        }
    }
    if fetched.failed {
        Err(Failure::Said.into())
    } else {
        Ok(())
    }
}

/// What kubectl refuses, and what it says it does not do.
fn check(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.show_labels
        && let Some(Output::Format(_) | Output::Columns(_)) = &arguments.output
    {
        return Err(Failure::message(
            "--show-labels option cannot be used with this printer",
        ));
    }
    let watching = arguments.watch || arguments.watch_only;
    if arguments.output_watch_events && !watching {
        return Err(Failure::message(
            "--output-watch-events option can only be used with --watch or --watch-only",
        ));
    }
    if watching && arguments.sort_by.is_some() {
        eprintln!(
            "warning: --{} requested, --sort-by will be ignored{}",
            if arguments.watch { "watch" } else { "watch-only" },
            if arguments.watch {
                " for watch events received"
            } else {
                ""
            }
        );
    }
    Ok(())
}

struct Group {
    kind: &'static KindInfo,
    objects: Vec<Object>,
}

impl Group {
    fn sort(&mut self, key: &SortKey) -> Result<(), Failure> {
        let objects = std::mem::take(&mut self.objects);
        let items = objects
            .into_iter()
            .map(|object| {
                let value = object.json()?;
                Ok((object, value))
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        self.objects = key.sort(items).map_err(Failure::message)?;
        Ok(())
    }
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
                    .list_in_chunks(target.kind, &selection, arguments.chunk_size.max(0))
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
                hints::tell(&failure, connected).await;
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
    if shown.is_empty() && !groups.is_empty() && !arguments.ignore_not_found {
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
        let columns = columns(group.kind, arguments, groups.len() > 1);
        let mut rows = Vec::new();
        if !arguments.no_headers {
            rows.push(tables::headers(group.kind, &columns));
        }
        for object in &group.objects {
            rows.push(tables::row(object, &columns, now)?);
        }
        write(format_args!("{}", Aligned::default().lines(&rows)));
    }
    Ok(())
}

fn columns(kind: &KindInfo, arguments: &Arguments, several: bool) -> Columns {
    Columns {
        wide: matches!(arguments.output, Some(Output::Wide)),
        namespace: arguments.all_namespaces && kind.namespaced,
        labels: arguments.show_labels,
        kind: several || arguments.show_kind,
        label_columns: arguments.label_columns.clone(),
    }
}
