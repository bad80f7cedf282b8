//! Values of any message, made from its descriptor. Scalars are such as Kubernetes takes: quantities are
//! canonical, times within range and to their own precision, an IntOrString is one of the two.

use gantry_proto::schema;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};
use std::collections::HashMap;

pub struct Generator {
    state: u64,
    /// Whether every field is set and every list has an element.
    complete: bool,
    /// Full names of fields that are never set.
    left_out: &'static [&'static str],
}

impl Generator {
    pub fn new(seed: u64, complete: bool, left_out: &'static [&'static str]) -> Generator {
        Generator {
            state: seed,
            complete,
            left_out,
        }
    }

    pub fn message(&mut self, descriptor: &MessageDescriptor) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        let mut set = |name: &str, value: Value| message.set_field_by_name(name, value);
        match descriptor.name() {
            "Quantity" => {
                let text = format!(
                    "{}{}",
                    1 + self.below(9),
                    ["", "m", "k", "Ki", "Mi", "Gi", "e3"][self.below(7)]
                );
                set("string", Value::String(text));
            }
            // Up to the year 9999.
            "Time" => set("seconds", Value::I64(self.below(253_402_300_800) as i64)),
            "MicroTime" => {
                set("seconds", Value::I64(self.below(253_402_300_800) as i64));
                set("nanos", Value::I32(self.below(1_000_000) as i32 * 1000));
            }
            "IntOrString" if self.one_in(2) => set("int_val", Value::I32(self.below(70_000) as i32 - 1000)),
            "IntOrString" => {
                set("type", Value::I64(1));
                set("str_val", Value::String(self.text()));
            }
            "RawExtension" => {
                let json = format!(r#"{{"a":{}}}"#, self.below(1000));
                set("raw", Value::Bytes(json.into_bytes().into()));
            }
            "FieldsV1" => {
                let json = format!(r#"{{"f:{}":{{".":{{}}}}}}"#, self.below(1000));
                set("raw", Value::Bytes(json.into_bytes().into()));
            }
            _ => {
                for field in descriptor
                    .fields()
                    .filter(|field| !self.left_out.contains(&field.full_name()))
                {
                    if self.complete || is_required_time(&field) || self.one_in(3) {
                        let value = self.field(&field);
                        message.set_field(&field, value);
                    }
                }
            }
        }
        message
    }

    fn field(&mut self, field: &FieldDescriptor) -> Value {
        let count = if self.complete { 1 } else { self.below(3) };
        match field.kind() {
            Kind::Message(entry) if field.is_map() => {
                let value_kind = entry.map_entry_value_field().kind();
                let entries = (0..count).map(|_| (MapKey::String(self.text()), self.scalar(&value_kind)));
                Value::Map(entries.collect::<HashMap<_, _>>())
            }
            kind if field.is_list() => Value::List((0..count).map(|_| self.scalar(&kind)).collect()),
            kind => self.scalar(&kind),
        }
    }

    fn scalar(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Message(message) => Value::Message(self.message(message)),
            Kind::String => Value::String(self.text()),
            Kind::Bytes => Value::Bytes(self.text().into_bytes().into()),
            Kind::Bool => Value::Bool(self.complete || self.one_in(2)),
            Kind::Int32 if self.complete => Value::I32(8080),
            Kind::Int64 if self.complete => Value::I64(1 << 40),
            Kind::Int32 => Value::I32([0, 1, -1, 8080, i32::MAX, i32::MIN][self.below(6)]),
            Kind::Int64 => Value::I64([0, 1, -1, 1 << 40, i64::MAX, i64::MIN][self.below(6)]),
            other => panic!("no message of ours has a {other:?}"),
        }
    }

    fn text(&mut self) -> String {
        let letters = [
            "a", "b", "Z", "0", ".", "/", " ", "\"", "\\", "\n", "é", "漢", "🦀", "<",
        ];
        let length = if self.complete { 1 } else { self.below(6) };
        let text: String = (0..length).map(|_| letters[self.below(letters.len())]).collect();
        if self.complete { format!("x{text}") } else { text }
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// A number below `n`, by splitmix64.
    fn below(&mut self, n: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

/// Unset, it prints as null, which k8s-openapi does not read.
fn is_required_time(field: &FieldDescriptor) -> bool {
    let is_time = matches!(field.kind(), Kind::Message(message) if message.name() == "Time");
    is_time && schema::field_options(field).required
}
