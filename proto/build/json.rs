//! Emits `json::Fields` for a message: Kubernetes' JSON form of it, from the descriptor and its options.

use heck::ToUpperCamelCase as _;
use prost_reflect::{Cardinality, DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, Value};
use std::fmt::Write as _;

/// Messages whose JSON form is one scalar; their serde impls are written by hand in `src/json/`.
const SCALARS: &[&str] = &[
    "Time",
    "MicroTime",
    "Quantity",
    "IntOrString",
    "FieldsV1",
    "RawExtension",
    "Duration",
];

pub fn message(code: &mut String, pool: &DescriptorPool, message: &MessageDescriptor) -> std::fmt::Result {
    let name = type_name(message);
    if SCALARS.contains(&message.name()) {
        return Ok(());
    }
    writeln!(code, "impl crate::json::Fields for {name} {{")?;
    writeln!(
        code,
        "    const MESSAGE: &'static str = \"{}\";",
        message.full_name()
    )?;
    writeln!(
        code,
        "    fn write_fields<M: ::serde::ser::SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {{"
    )?;
    for field in in_declaration_order(message) {
        write_field(code, &field, &options(pool, &field))?;
    }
    writeln!(code, "        let _ = map;\n        Ok(())\n    }}")?;

    writeln!(code, "    fn read_field<'de, A: ::serde::de::MapAccess<'de>>(")?;
    writeln!(code, "        &mut self, key: &str, map: &mut A,")?;
    writeln!(code, "    ) -> Result<Option<u32>, A::Error> {{")?;
    let (inline, plain): (Vec<_>, Vec<_>) = message.fields().partition(|f| options(pool, f).inline);
    writeln!(code, "        match key {{")?;
    for field in plain {
        let rust = rust_name(field.name());
        let read = match shape(&field) {
            Shape::Bytes => "map.next_value::<crate::json::Base64>()?.0.into()".to_string(),
            Shape::BytesMap => "map.next_value::<crate::json::Base64Map>()?.0".to_string(),
            Shape::Message | Shape::OptionalScalar => "map.next_value()?".to_string(),
            Shape::OptionalBytes => {
                "map.next_value::<Option<crate::json::Base64>>()?.map(|b| b.0)".to_string()
            }
            Shape::Map => "map.next_value::<crate::json::NullableMap<_>>()?.0".to_string(),
            Shape::Scalar | Shape::List => "map.next_value::<Option<_>>()?.unwrap_or_default()".to_string(),
        };
        writeln!(
            code,
            "            \"{}\" => self.{rust} = {read},",
            field.json_name()
        )?;
    }
    writeln!(code, "            _ => {{")?;
    for field in inline {
        // An inline message comes into being with its first field.
        let rust = rust_name(field.name());
        writeln!(
            code,
            "                let mut inner = self.{rust}.take().unwrap_or_default();"
        )?;
        writeln!(code, "                let known = inner.read_field(key, map)?;")?;
        writeln!(
            code,
            "                if known.is_some() || inner != Default::default() {{ self.{rust} = Some(inner); }}"
        )?;
        writeln!(
            code,
            "                if let Some(number) = known {{ return Ok(Some({} + number)); }}",
            field.number() << 16
        )?;
    }
    writeln!(
        code,
        "                let _ = map;\n                return Ok(None);\n            }}\n        }}"
    )?;
    writeln!(code, "        Ok(Some(match key {{")?;
    for field in message.fields().filter(|f| !options(pool, f).inline) {
        writeln!(
            code,
            "            \"{}\" => {},",
            field.json_name(),
            field.number()
        )?;
    }
    writeln!(code, "            _ => 0,\n        }}))\n    }}\n}}")?;
    writeln!(code, "crate::json::impl_serde!({name});\n")
}

fn write_field(code: &mut String, field: &FieldDescriptor, options: &Options) -> std::fmt::Result {
    let (rust, json) = (rust_name(field.name()), field.json_name());
    if options.inline {
        // In Go it is a part of the struct, so its fields print whether it was set or not.
        return writeln!(code, "        self.{rust}().write_fields(map)?;");
    }
    let entry = |value: &str| format!("map.serialize_entry(\"{json}\", {value})?;");
    let line = match (shape(field), options.always) {
        (Shape::Message | Shape::OptionalScalar, true) if options.nullable => entry(&format!("&self.{rust}")),
        (Shape::Message, true) if is_time(field) => entry(&format!("&self.{rust}")),
        (Shape::Message, true) => {
            let path = match field.kind() {
                Kind::Message(target) => rust_path(field.parent_message(), &target),
                _ => unreachable!("a message field's kind is a message"),
            };
            entry(&format!(
                "self.{rust}.as_ref().unwrap_or_else(|| {path}::empty())"
            ))
        }
        (Shape::Message | Shape::OptionalScalar, _) => {
            format!("if let Some(value) = &self.{rust} {{ {} }}", entry("value"))
        }
        (Shape::OptionalBytes, _) => {
            format!(
                "if let Some(value) = &self.{rust} {{ {} }}",
                entry("&crate::json::Base64Ref(value)")
            )
        }
        (Shape::Scalar, true) => entry(&format!("&self.{rust}")),
        (Shape::Scalar, false) => {
            format!(
                "if !crate::json::is_zero(&self.{rust}) {{ {} }}",
                entry(&format!("&self.{rust}"))
            )
        }
        (Shape::Bytes, always) => {
            let entry = entry(&format!("&crate::json::Base64Ref(&self.{rust})"));
            if always {
                entry
            } else {
                format!("if !self.{rust}.is_empty() {{ {entry} }}")
            }
        }
        (Shape::BytesMap, _) => {
            let entry = entry(&format!("&crate::json::Base64MapRef(&self.{rust})"));
            format!("if !self.{rust}.is_empty() {{ {entry} }}")
        }
        // Go prints a nil slice as null; a list that came over the wire empty is nil there.
        (Shape::List | Shape::Map, true) => format!(
            "if self.{rust}.is_empty() {{ {} }} else {{ {} }}",
            entry("&()"),
            entry(&format!("&self.{rust}"))
        ),
        (Shape::List | Shape::Map, false) => {
            format!(
                "if !self.{rust}.is_empty() {{ {} }}",
                entry(&format!("&self.{rust}"))
            )
        }
    };
    writeln!(code, "        {line}")
}

enum Shape {
    Scalar,
    OptionalScalar,
    Bytes,
    OptionalBytes,
    Message,
    List,
    Map,
    BytesMap,
}

fn shape(field: &FieldDescriptor) -> Shape {
    if field.is_map() {
        return match field.kind() {
            Kind::Message(entry) if matches!(entry.map_entry_value_field().kind(), Kind::Bytes) => {
                Shape::BytesMap
            }
            _ => Shape::Map,
        };
    }
    if field.is_list() {
        return Shape::List;
    }
    let optional = field.supports_presence() && field.cardinality() != Cardinality::Repeated;
    match (field.kind(), optional) {
        (Kind::Message(_), _) => Shape::Message,
        (Kind::Bytes, true) => Shape::OptionalBytes,
        (Kind::Bytes, false) => Shape::Bytes,
        (_, true) => Shape::OptionalScalar,
        (_, false) => Shape::Scalar,
    }
}

/// Go prints an unset time as null where its tag has no omitzero.
fn is_time(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), Kind::Message(m) if ["Time", "MicroTime"].contains(&m.name()))
}

fn in_declaration_order(message: &MessageDescriptor) -> Vec<FieldDescriptor> {
    let numbers = message.descriptor_proto().field.iter().filter_map(|f| f.number);
    numbers
        .filter_map(|n| message.get_field(n.try_into().ok()?))
        .collect()
}

#[derive(Default)]
struct Options {
    always: bool,
    nullable: bool,
    inline: bool,
}

fn options(pool: &DescriptorPool, field: &FieldDescriptor) -> Options {
    let Some(extension) = pool.get_extension_by_name("gantry.meta.v1.field") else {
        return Options::default();
    };
    let options = field.options();
    let Value::Message(ref value) = *options.get_extension(&extension) else {
        return Options::default();
    };
    let flag = |name| {
        value
            .get_field_by_name(name)
            .and_then(|v| v.as_bool())
            .unwrap_or(false)
    };
    Options {
        always: flag("always"),
        nullable: flag("nullable"),
        inline: flag("inline"),
    }
}

/// The name that prost gives a field.
pub fn rust_name(proto: &str) -> String {
    const KEYWORDS: &[&str] = &[
        "type", "continue", "default", "ref", "match", "in", "as", "use", "static",
    ];
    if KEYWORDS.contains(&proto) && proto != "default" {
        format!("r#{proto}")
    } else {
        proto.to_string()
    }
}

/// The name that prost gives a message.
pub fn type_name(message: &MessageDescriptor) -> String {
    message.name().to_upper_camel_case()
}

/// The path of a message type as seen from another message's package module.
pub fn rust_path(from: &MessageDescriptor, target: &MessageDescriptor) -> String {
    if from.package_name() == target.package_name() {
        type_name(target)
    } else {
        format!(
            "crate::{}::{}",
            target
                .package_name()
                .trim_start_matches("gantry.")
                .replace('.', "::"),
            type_name(target)
        )
    }
}
