//! How each field is merged, from the descriptors.

use super::PatchError;
use crate::schema::{self, FieldOptions};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use std::collections::HashMap;
use std::sync::LazyLock;

/// What merging asks of a schema, standing at one object of it.
pub trait Schema: Copy {
    fn rule(self, field: &str) -> Rule<Self>;
}

/// How a field is merged.
pub struct Rule<S> {
    pub strategy: Strategy,
    /// By which field the elements of a list of objects are told apart.
    pub merge_key: &'static str,
    /// The schema of the field's value; of its elements where it is a list.
    pub inner: S,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strategy {
    /// Lists merge instead of being replaced.
    pub merge: bool,
    /// Objects are replaced instead of being merged.
    pub replace: bool,
    /// A patch names the fields that stay.
    pub retain_keys: bool,
}

impl Strategy {
    pub fn parse(text: &str) -> Strategy {
        let has = |name| text.split(',').any(|part| part == name);
        Strategy {
            merge: has("merge"),
            replace: has("replace"),
            retain_keys: has("retainKeys"),
        }
    }
}

/// A place in the schema.
#[derive(Clone, Copy)]
pub enum Node {
    Message(&'static HashMap<String, FieldRule>),
    /// An object whose keys are not fields; its values may be messages.
    MapOf(Option<&'static str>),
    /// Not in the schema, or nothing that has fields.
    Plain,
}

pub struct FieldRule {
    strategy: Strategy,
    merge_key: String,
    shape: Shape,
}

enum Shape {
    Scalar,
    Message(String),
    Map(Option<String>),
}

static RULES: LazyLock<HashMap<String, HashMap<String, FieldRule>>> = LazyLock::new(|| {
    let messages = schema::pool().all_messages();
    messages
        .map(|message| (message.full_name().to_string(), rules_of(&message)))
        .collect()
});

impl Node {
    pub fn of_message(name: &str) -> Result<Node, PatchError> {
        let rules = RULES
            .get(name)
            .ok_or_else(|| PatchError::UnknownMessage(name.to_string()))?;
        Ok(Node::Message(rules))
    }
}

impl Schema for Node {
    fn rule(self, field: &str) -> Rule<Node> {
        let plain = |inner| Rule {
            strategy: Strategy::default(),
            merge_key: "",
            inner,
        };
        let node = |message: &str| RULES.get(message).map_or(Node::Plain, Node::Message);
        match self {
            Node::Plain => plain(Node::Plain),
            Node::MapOf(value) => plain(value.map_or(Node::Plain, node)),
            Node::Message(rules) => match rules.get(field) {
                None => plain(Node::Plain),
                Some(rule) => Rule {
                    strategy: rule.strategy,
                    merge_key: &rule.merge_key,
                    inner: match &rule.shape {
                        Shape::Scalar => Node::Plain,
                        Shape::Message(message) => node(message),
                        Shape::Map(value) => Node::MapOf(value.as_deref()),
                    },
                },
            },
        }
    }
}

/// The rules of a message's JSON form, in which an inline message's fields are its own.
fn rules_of(message: &MessageDescriptor) -> HashMap<String, FieldRule> {
    let mut rules = HashMap::new();
    for field in message.fields() {
        let options = schema::field_options(&field);
        match field.kind() {
            Kind::Message(inner) if options.inline => rules.extend(rules_of(&inner)),
            _ => {
                rules.insert(field.json_name().to_string(), rule_of(&field, options));
            }
        }
    }
    rules
}

fn rule_of(field: &FieldDescriptor, options: FieldOptions) -> FieldRule {
    let message_of = |kind: Kind| match kind {
        Kind::Message(message) => Some(message.full_name().to_string()),
        _ => None,
    };
    let shape = match field.kind() {
        Kind::Message(entry) if field.is_map() => {
            Shape::Map(message_of(entry.map_entry_value_field().kind()))
        }
        kind => message_of(kind).map_or(Shape::Scalar, Shape::Message),
    };
    FieldRule {
        strategy: Strategy::parse(&options.patch_strategy),
        merge_key: options.patch_merge_key,
        shape,
    }
}
