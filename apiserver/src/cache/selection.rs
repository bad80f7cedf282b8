//! Which objects of a kind a list or watch is about.

use gantry_proto::meta::v1::Status;
use gantry_proto::selector::{FieldSelector, Selector};
use gantry_proto::status::Reason;

use super::Entry;
use crate::strategy::Strategy;

/// A namespace, a label selector and a field selector; an object must satisfy all three.
#[derive(Debug)]
pub struct Selection {
    /// Empty for all namespaces.
    pub namespace: String,
    labels: Option<Selector>,
    fields: Option<FieldSelector>,
}

impl Selection {
    /// Everything in a namespace, or everything there is if it is empty.
    pub fn all(namespace: &str) -> Selection {
        Selection {
            namespace: namespace.to_owned(),
            labels: None,
            fields: None,
        }
    }

    /// Reads a request's selectors. Fails with BadRequest on a selector that does not parse or a field that the
    /// kind does not have.
    pub fn parse(
        strategy: &dyn Strategy,
        namespace: &str,
        labels: &str,
        fields: &str,
    ) -> Result<Selection, Status> {
        let mut selection = Selection::all(namespace);
        if !labels.is_empty() {
            let selector = Selector::parse(labels).map_err(|error| bad_request(error.to_string()))?;
            selection.labels = Some(selector);
        }
        if !fields.is_empty() {
            let selector = FieldSelector::parse(fields).map_err(|error| bad_request(error.to_string()))?;
            check_fields(strategy, &selector)?;
            selection.fields = Some(selector);
        }
        Ok(selection)
    }

    pub fn matches(&self, entry: &Entry) -> bool {
        (self.namespace.is_empty() || self.namespace == entry.key.namespace)
            && self
                .labels
                .as_ref()
                .is_none_or(|selector| selector.matches(&entry.labels))
            && self
                .fields
                .as_ref()
                .is_none_or(|selector| selector.matches(|field| entry.field(field).map(str::to_owned)))
    }

    /// Whether anything but the namespace narrows the selection.
    pub fn has_selectors(&self) -> bool {
        self.labels.is_some() || self.fields.is_some()
    }
}

fn check_fields(strategy: &dyn Strategy, selector: &FieldSelector) -> Result<(), Status> {
    let own = strategy.field_names();
    let known = |field: &str| matches!(field, "metadata.name" | "metadata.namespace") || own.contains(&field);
    let unknown = selector
        .requirements()
        .iter()
        .map(|requirement| requirement.field.as_str())
        .find(|field| !known(field));
    match unknown {
        None => Ok(()),
        Some(field) if own.is_empty() => Err(bad_request(format!(
            "\"{field}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        ))),
        Some(field) => Err(bad_request(format!("field label not supported: {field}"))),
    }
}

fn bad_request(message: String) -> Status {
    Status::failure(Reason::BadRequest, message)
}
