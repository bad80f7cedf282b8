//! `google.protobuf.Struct` to and from JSON values, for gRPC clients without our schema.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct};
use serde_json::{Map, Number, Value};

/// A Struct's numbers are doubles; those that are whole become integers, as JSON text would have them.
pub fn struct_to_value(object: Struct) -> Value {
    Value::Object(
        object
            .fields
            .into_iter()
            .map(|(key, value)| (key, to_json(value)))
            .collect(),
    )
}

/// A value that is not an object gives an empty Struct.
pub fn value_to_struct(value: Value) -> Struct {
    match value {
        Value::Object(map) => from_map(map),
        _ => Struct::default(),
    }
}

/// The largest whole number up to which every whole double is exact: 2^53.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

fn to_json(value: prost_types::Value) -> Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(flag)) => Value::Bool(flag),
        Some(Kind::NumberValue(number)) if number.fract() == 0.0 && number.abs() <= MAX_EXACT => {
            Value::Number(Number::from(number as i64))
        }
        Some(Kind::NumberValue(number)) => Number::from_f64(number).map_or(Value::Null, Value::Number),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::StructValue(object)) => struct_to_value(object),
        Some(Kind::ListValue(list)) => Value::Array(list.values.into_iter().map(to_json).collect()),
    }
}

fn from_map(map: Map<String, Value>) -> Struct {
    Struct {
        fields: map
            .into_iter()
            .map(|(key, value)| (key, from_json(value)))
            .collect(),
    }
}

fn from_json(value: Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(flag) => Kind::BoolValue(flag),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text),
        Value::Array(list) => Kind::ListValue(ListValue {
            values: list.into_iter().map(from_json).collect(),
        }),
        Value::Object(map) => Kind::StructValue(from_map(map)),
    };
    prost_types::Value { kind: Some(kind) }
}
