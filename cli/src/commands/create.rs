//! `gantry create`: creates the objects in files, or one that the command line describes; one that exists already is
//! an error. What the command line describes becomes ordinary Kubernetes JSON, which goes the way of a file's.

mod data;
mod namespace;
mod deployment;
mod config_map;
mod secret;
mod service;
mod service_account;
mod priority_class;
mod pod_disruption_budget;

use crate::cluster::{Object, shown};
use crate::dry_run::DryRunOption;
use crate::failure::Failure;
use crate::last_applied;
use crate::manifest::{self, Files, Manifest, Validate};

use crate::present::{OutputOptions, Results};
use crate::session::{Connected, Session};
use crate::trace;
use anyhow::Result;
use gantry_proto::KindInfo;
use serde_json::Value;

/// Create the objects in files, or one that is described here
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    writing: Writing,
}

/// What every way of creating takes, wherever it stands: types of services and secrets are commands of their own.
#[derive(clap::Args, Clone, Debug)]
struct Writing {
    /// What to do about fields that are not in the schema
    #[arg(long, value_enum, default_value = "warn", num_args = 0..=1, default_missing_value = "strict")]
    #[arg(require_equals = true, global = true)]
    validate: Validate,
    /// Remember the object as `apply` does, so that it can be applied to later
    #[arg(long, global = true)]
    save_config: bool,
    #[command(flatten)]
    dry_run: DryRunOption,
    #[command(flatten)]
    output: OutputOptions,
}

/// The name of what is created.
#[derive(clap::Args, Clone, Debug)]
struct Name {
    /// What it is called
    name: String,
}

macro_rules! creations {
    ($($(#[$attribute:meta])* $variant:ident = $module:ident $(($failed:literal))?,)*) => {
        #[derive(clap::Subcommand, Debug)]
        enum What {
            $($(#[$attribute])* $variant($module::Arguments),)*
        }

        impl What {
            /// The object's JSON, and what comes before the server's refusal.
            fn describe(self) -> Result<(Value, &'static str), Failure> {
                match self {
                    $(What::$variant(arguments) => {
                        let described = $module::describe(arguments).map_err(Failure::message)?;
                        Ok((described, concat!($($failed)?)))
                    })*
                }
            }
        }
    };
}

// The words before a refusal are kubectl's, which has none for namespaces.
creations! {
    #[command(visible_alias = "ns")]
    Namespace = namespace,
    #[command(visible_alias = "deploy")]
    Deployment = deployment ("failed to create deployment: "),
    #[command(name = "configmap", visible_alias = "cm")]
    ConfigMap = config_map ("failed to create configmap: "),
    Secret = secret ("failed to create secret "),
    #[command(visible_alias = "svc")]
    Service = service ("failed to create service: "),
    #[command(name = "serviceaccount", visible_alias = "sa")]
    ServiceAccount = service_account ("failed to create serviceaccount: "),
    #[command(name = "priorityclass", visible_alias = "pc")]
    PriorityClass = priority_class ("failed to create priorityclass: "),
    #[command(name = "poddisruptionbudget", visible_alias = "pdb")]
    PodDisruptionBudget = pod_disruption_budget ("failed to create poddisruptionbudgets: "),
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    let connected = session.connect()?;
    match arguments.what {
        Some(what) => described(what, &arguments.writing, &connected)
            .await
            .map_err(Into::into),
        None if arguments.files.filenames.is_empty() => {
            Err(Failure::message("must specify one of -f and -k").into())
        }
        None => of_files(&arguments.files, &arguments.writing, &connected).await,
    }
}

async fn described(what: What, writing: &Writing, connected: &Connected) -> Result<(), Failure> {
    let (mut value, refused) = what.describe()?;
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_string();
    let kind = KindInfo::of_object(&text("apiVersion"), &text("kind"))
        .ok_or_else(|| Failure::message(format!("there is no kind {}", text("kind"))))?;
    // As kubectl, which prints a namespace only where it was given.
    let is_sent = !writing.dry_run.dry_run.is_client();
    if kind.namespaced && (connected.namespace_given || is_sent) {
        value["metadata"]["namespace"] = connected.namespace.as_str().into();
    }
    let manifest = Manifest {
        source: String::new(),
        kind,
        value,
    };
    let name = shown(kind, manifest.name());
    let work = create(&manifest, writing, connected);
    let created = trace::object("create object", &name, work).await;
    let created = created.map_err(|failure| match failure {
        Failure::Status(_) if !refused.is_empty() => failure.renamed(|text| format!("{refused}{text}")),
        other => other,
    })?;
    Results::new(&writing.output, writing.dry_run.dry_run).print(&created, "created")
}

async fn of_files(files: &Files, writing: &Writing, connected: &Connected) -> Result<()> {
    let (manifests, failures) = manifest::read(files, writing.validate, connected, "create")?;
    failures.iter().for_each(|failure| eprintln!("{failure}"));
    let mut failed = !failures.is_empty();
    let mut results = Results::new(&writing.output, writing.dry_run.dry_run);
    for manifest in &manifests {
        let name = shown(manifest.kind, manifest.name());
        match trace::object("create object", &name, create(manifest, writing, connected)).await {
            Ok(object) => results.print(&object, "created")?,
            Err(failure) => {
                failed = true;
                eprintln!("{}", failure.while_doing("creating", &manifest.source));
            }
        }
    }
    if failed { Err(Failure::Said.into()) } else { Ok(()) }
}

async fn create(manifest: &Manifest, writing: &Writing, connected: &Connected) -> Result<Object, Failure> {
    let mut object = manifest.encode(&manifest.value, writing.validate)?;
    if writing.save_config {
        object = manifest.encode(&last_applied::annotated(&manifest.value), Validate::Ignore)?;
    }
    let dry_run = writing.dry_run.dry_run;
    match dry_run.is_client() {
        true => Ok(object),
        false => connected.cluster.create(&object, dry_run.is_server()).await,
    }
}

/// How parsing the whole number of a port fails, in the words of Go's strconv.
fn port(text: &str) -> Result<u16, String> {
    match text.parse::<i64>() {
        Ok(number) => u16::try_from(number)
            .map_err(|_| format!("parsing \"{text}\": value out of range: must be between 0 and 65535")),
        Err(_) => Err(format!("strconv.ParseUint: parsing \"{text}\": invalid syntax")),
    }
}

#[cfg(test)]
mod tests;
