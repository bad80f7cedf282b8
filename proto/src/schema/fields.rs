//! A message's fields as people ask for them: in JSON's names, with types, facts and comments.

use super::{FieldOptions, field_options, pool};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use std::collections::HashMap;
use std::sync::LazyLock;

/// A field of the JSON form of a message.
#[derive(Clone, Debug)]
pub struct FieldInfo {
    /// Such as `clusterIP`.
    pub name: String,
    /// As `kubectl explain` calls it, such as `string`, `[]Container` or `map[string]Quantity`.
    pub type_name: String,
    /// The full name of the message that the field holds, alone or in a list or a map, where that has fields.
    pub message: Option<String>,
    /// What is said about it; empty where nothing is.
    pub comment: &'static str,
    /// Kubernetes' facts about it: whether it is required or immutable, its default, its values, how it is merged.
    pub options: FieldOptions,
}

/// The fields of the message with this full name (`KindInfo::message`), in the order of their names; those of
/// messages that are inlined are among them. Empty for a message that there is not. `apiVersion` and `kind`, which
/// every kind's JSON has besides, are no fields of messages.
pub fn fields(message: &str) -> Vec<FieldInfo> {
    let mut found = Vec::new();
    if let Some(message) = pool().get_message_by_name(message) {
        collect(&message, &mut found);
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// What is said about the message with this full name; empty where nothing is.
pub fn about(message: &str) -> &'static str {
    comment(message)
}

fn collect(message: &MessageDescriptor, found: &mut Vec<FieldInfo>) {
    for field in message.fields() {
        let options = field_options(&field);
        match field.kind() {
            Kind::Message(inner) if options.inline => collect(&inner, found),
            _ => found.push(FieldInfo {
                name: field.json_name().to_string(),
                type_name: type_name(&field),
                message: message_of(&field),
                comment: comment(field.full_name()),
                options,
            }),
        }
    }
}

fn comment(full_name: &str) -> &'static str {
    static COMMENTS: LazyLock<HashMap<&str, &str>> = LazyLock::new(|| {
        let lines = include_str!(concat!(env!("OUT_DIR"), "/comments.txt")).lines();
        lines.filter_map(|line| line.split_once('\t')).collect()
    });
    COMMENTS.get(full_name).copied().unwrap_or_default()
}

fn type_name(field: &FieldDescriptor) -> String {
    let kind = field.kind();
    match &kind {
        Kind::Message(entry) if field.is_map() => {
            format!("map[string]{}", name_of(&entry.map_entry_value_field().kind()))
        }
        _ if field.is_list() => format!("[]{}", name_of(&kind)),
        _ => name_of(&kind),
    }
}

fn name_of(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "boolean".into(),
        Kind::Float | Kind::Double => "number".into(),
        Kind::String | Kind::Bytes | Kind::Enum(_) => "string".into(),
        Kind::Message(message) => match message.name() {
            // Their JSON form is text.
            "Time" | "MicroTime" | "Duration" => "string".into(),
            name => name.into(),
        },
        _ => "integer".into(),
    }
}

/// Messages whose JSON form has no fields: text, a number, or whatever somebody else knows.
const WITHOUT_FIELDS: &[&str] = &[
    "Time",
    "MicroTime",
    "Duration",
    "Quantity",
    "IntOrString",
    "FieldsV1",
    "RawExtension",
];

fn message_of(field: &FieldDescriptor) -> Option<String> {
    let kind = match field.kind() {
        Kind::Message(entry) if field.is_map() => entry.map_entry_value_field().kind(),
        kind => kind,
    };
    match kind {
        Kind::Message(message) if !WITHOUT_FIELDS.contains(&message.name()) => {
            Some(message.full_name().to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KINDS;
    use std::collections::BTreeSet;

    fn field(message: &str, name: &str) -> FieldInfo {
        let mut all = fields(message).into_iter();
        all.find(|field| field.name == name)
            .unwrap_or_else(|| panic!("{message} has no {name}"))
    }

    #[test]
    fn types_are_called_as_kubectl_explain_calls_them() {
        for (message, name, type_name, inner) in [
            ("core.v1.Pod", "spec", "PodSpec", "core.v1.PodSpec"),
            (
                "core.v1.PodSpec",
                "containers",
                "[]Container",
                "core.v1.Container",
            ),
            ("core.v1.PodSpec", "nodeSelector", "map[string]string", ""),
            ("core.v1.PodSpec", "overhead", "map[string]Quantity", ""),
            ("core.v1.PodSpec", "hostNetwork", "boolean", ""),
            ("core.v1.PodSpec", "priority", "integer", ""),
            ("core.v1.ServicePort", "targetPort", "IntOrString", ""),
            ("core.v1.Secret", "data", "map[string]string", ""),
            (
                "core.v1.Volume",
                "hostPath",
                "HostPathVolumeSource",
                "core.v1.HostPathVolumeSource",
            ),
            ("meta.v1.ObjectMeta", "creationTimestamp", "string", ""),
            ("meta.v1.ObjectMeta", "finalizers", "[]string", ""),
        ] {
            let found = field(&format!("gantry.{message}"), name);
            let inner = (!inner.is_empty()).then(|| format!("gantry.{inner}"));
            assert_eq!(
                (found.type_name.as_str(), found.message),
                (type_name, inner),
                "{name}"
            );
        }
    }

    #[test]
    fn a_field_tells_its_facts_and_what_is_said_about_it() {
        let name = field("gantry.core.v1.Container", "name");
        assert!(name.options.required && !name.comment.is_empty());
        let policy = field("gantry.core.v1.PodSpec", "restartPolicy");
        assert_eq!(policy.options.enum_values, ["Always", "OnFailure", "Never"]);
        assert!(!policy.options.required);
        assert!(
            field("gantry.networking.v1.ServiceCIDRSpec", "cidrs")
                .options
                .immutable
        );
        assert_eq!(
            about("gantry.core.v1.Pod"),
            "Containers that run together on one node and share its address and volumes."
        );
        assert!(fields("gantry.core.v1.Pot").is_empty());
    }

    #[test]
    fn every_kind_has_a_comment_and_so_has_whatever_is_in_it() {
        let mut left: Vec<String> = KINDS.iter().map(|info| info.message.to_string()).collect();
        let (mut seen, mut silent) = (BTreeSet::new(), Vec::new());
        while let Some(message) = left.pop() {
            if !seen.insert(message.clone()) {
                continue;
            }
            if about(&message).is_empty() {
                silent.push(message.clone());
            }
            for field in fields(&message) {
                if field.comment.is_empty() {
                    silent.push(format!("{message}.{}", field.name));
                }
                left.extend(field.message);
            }
        }
        assert!(seen.len() > 150, "{} messages", seen.len());
        assert_eq!(silent, Vec::<String>::new());
    }
}
