//! What `get` shows of an object: the columns of Kubernetes' own printers, one file per kind.

mod pod;
mod deployment;
mod replica_set;
mod service;
mod node;
mod namespace;
mod config_map;
mod secret;
mod service_account;
mod endpoint_slice;
mod lease;
mod event;
mod endpoints;
mod controller_revision;
mod priority_class;
mod pod_disruption_budget;
mod pod_template;
mod ip_address;
mod service_cidr;
mod other;

pub use event::source as event_source;
pub use node::roles as node_roles;

use crate::cluster::Object;
use crate::failure::Failure;
use gantry_proto::KindInfo;
use gantry_proto::core::v1::PodSpec;
use gantry_proto::meta::v1::LabelSelector;
use gantry_proto::selector::Selector;
use std::collections::BTreeMap;
use std::time::SystemTime;

/// How objects of a kind are shown in rows.
pub struct Table {
    pub columns: &'static [Column],
    /// The cells of all columns, wide ones included.
    pub cells: fn(&Object, SystemTime) -> Result<Vec<String>, Failure>,
}

pub enum Column {
    Always(&'static str),
    /// Only with `-o wide`.
    Wide(&'static str),
}

impl Column {
    fn header(&self) -> &'static str {
        match self {
            Column::Always(header) | Column::Wide(header) => header,
        }
    }

    fn is_shown(&self, wide: bool) -> bool {
        wide || matches!(self, Column::Always(_))
    }
}

const TABLES: &[(&str, &Table)] = &[
    ("Pod", &pod::TABLE),
    ("Deployment", &deployment::TABLE),
    ("ReplicaSet", &replica_set::TABLE),
    ("Service", &service::TABLE),
    ("Node", &node::TABLE),
    ("Namespace", &namespace::TABLE),
    ("ConfigMap", &config_map::TABLE),
    ("Secret", &secret::TABLE),
    ("ServiceAccount", &service_account::TABLE),
    ("EndpointSlice", &endpoint_slice::TABLE),
    ("Lease", &lease::TABLE),
    ("Event", &event::TABLE),
    ("Endpoints", &endpoints::TABLE),
    ("ControllerRevision", &controller_revision::TABLE),
    ("PriorityClass", &priority_class::TABLE),
    ("PodDisruptionBudget", &pod_disruption_budget::TABLE),
    ("PodTemplate", &pod_template::TABLE),
    ("IPAddress", &ip_address::TABLE),
    ("ServiceCIDR", &service_cidr::TABLE),
];

/// The table of a kind; one with name and age for a kind without its own.
pub fn of(kind: &KindInfo) -> &'static Table {
    TABLES
        .iter()
        .find(|(name, _)| *name == kind.kind)
        .map_or(&other::TABLE, |(_, table)| table)
}

/// What surrounds a kind's own columns.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    pub wide: bool,
    pub namespace: bool,
    pub labels: bool,
    /// Prefix names with their type, as where several types are listed.
    pub kind: bool,
    /// Labels that have a column of their own.
    pub label_columns: Vec<String>,
}

pub fn headers(kind: &KindInfo, columns: &Columns) -> Vec<String> {
    let table = of(kind);
    let mut headers: Vec<String> = Vec::new();
    if columns.namespace {
        headers.push("NAMESPACE".into());
    }
    let shown = table
        .columns
        .iter()
        .filter(|column| column.is_shown(columns.wide));
    headers.extend(shown.map(|column| column.header().to_string()));
    let last_part = |label: &String| label.rsplit('/').next().unwrap_or_default().to_uppercase();
    headers.extend(columns.label_columns.iter().map(last_part));
    if columns.labels {
        headers.push("LABELS".into());
    }
    headers
}

pub fn row(object: &Object, columns: &Columns, now: SystemTime) -> Result<Vec<String>, Failure> {
    let table = of(object.kind);
    let mut cells = (table.cells)(object, now)?;
    if columns.kind
        && let Some(name) = table.columns.iter().position(|column| column.header() == "NAME")
    {
        cells[name] = object.shown();
    }
    let mut row = Vec::new();
    if columns.namespace {
        row.push(object.metadata.namespace.clone());
    }
    let shown = table
        .columns
        .iter()
        .zip(cells)
        .filter(|(column, _)| column.is_shown(columns.wide));
    row.extend(shown.map(|(_, cell)| cell));
    let label = |label: &String| or_none(object.metadata.labels.get(label).map_or("", String::as_str));
    row.extend(columns.label_columns.iter().map(label));
    if columns.labels {
        row.push(labels(&object.metadata.labels));
    }
    Ok(row.into_iter().map(one_line).collect())
}

/// A cell that has several lines shows the first, and characters that move a terminal's cursor are shown as text.
fn one_line(cell: String) -> String {
    let is_harmless = |c: char| !c.is_control();
    if cell.chars().all(is_harmless) {
        return cell;
    }
    let first = cell.split(['\n', '\r', '\x0c']).next().unwrap_or_default();
    let more = if first.len() < cell.len() { "..." } else { "" };
    let shown: String = first
        .chars()
        .flat_map(|c| match c {
            '\x1b' => vec!['^', '['],
            '\t' => vec![' '],
            c if c.is_control() => Vec::new(),
            c => vec![c],
        })
        .collect();
    shown + more
}

/// `a=1,b=2`, or `<none>`.
pub fn labels(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    or_none(&pairs.join(","))
}

/// A selector as kubectl writes it, such as `app=web,tier in (a,b)`.
pub fn selector(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else {
        return String::new();
    };
    Selector::from_label_selector(selector)
        .map_or_else(|_| "<invalid>".into(), |selector| selector.to_string())
}

pub fn or_none(text: &str) -> String {
    if text.is_empty() {
        "<none>".into()
    } else {
        text.into()
    }
}

/// The containers' names and images.
fn containers(spec: &PodSpec) -> [String; 2] {
    let join = |part: fn(&gantry_proto::core::v1::Container) -> &str| {
        spec.containers.iter().map(part).collect::<Vec<_>>().join(",")
    };
    [
        join(|container| &container.name),
        join(|container| &container.image),
    ]
}

#[cfg(test)]
mod tests;
