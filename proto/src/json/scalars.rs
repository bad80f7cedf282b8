//! The messages whose JSON form is one scalar (or, for `FieldsV1` and `RawExtension`, any JSON).

use crate::meta::v1::{Duration, FieldsV1, IntOrString, MicroTime, Quantity, RawExtension, Time};
use serde::de::{self, Deserializer, Visitor};
use serde::ser::{Error as _, Serializer};
use serde::{Deserialize, Serialize};
use std::fmt;

impl Serialize for IntOrString {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.r#type {
            0 => serializer.serialize_i32(self.int_val),
            _ => serializer.serialize_str(&self.str_val),
        }
    }
}

impl<'de> Deserialize<'de> for IntOrString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(ScalarVisitor("an integer or a string"))? {
            Scalar::Null => Ok(IntOrString::default()),
            Scalar::Int(number) => i32::try_from(number)
                .map(IntOrString::from)
                .map_err(de::Error::custom),
            Scalar::Text(text) => Ok(IntOrString::from(text)),
            Scalar::Float(_) => Err(de::Error::custom("expected an integer or a string")),
        }
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.string.is_empty() { "0" } else { &self.string })
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match deserializer.deserialize_any(ScalarVisitor("a quantity"))? {
            Scalar::Null => "0".to_string(),
            Scalar::Int(number) => number.to_string(),
            Scalar::Float(number) => number.to_string(),
            Scalar::Text(text) => text,
        };
        Quantity::parse(text.trim()).map_err(de::Error::custom)
    }
}

enum Scalar {
    Null,
    Int(i64),
    Float(f64),
    Text(String),
}

struct ScalarVisitor(&'static str);

impl Visitor<'_> for ScalarVisitor {
    type Value = Scalar;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.0)
    }
    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Null)
    }
    fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
        Ok(Scalar::Int(number))
    }
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Scalar, E> {
        i64::try_from(number).map(Scalar::Int).map_err(E::custom)
    }
    fn visit_f64<E>(self, number: f64) -> Result<Scalar, E> {
        Ok(Scalar::Float(number))
    }
    fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(text.into()))
    }
}

/// What is finer than the type's precision is dropped when it comes in, so that its message and its JSON are
/// the same time.
macro_rules! time {
    ($type:ident, $decimals:literal, $nanos_of_precision:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let time = jiff::Timestamp::new(self.seconds, self.nanos).map_err(S::Error::custom)?;
                serializer.collect_str(&format_args!(concat!("{:.", $decimals, "}"), time))
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                let time: jiff::Timestamp = text.parse().map_err(|_| {
                    de::Error::custom(format_args!(
                        "cannot parse \"{text}\" as a time in RFC 3339 form"
                    ))
                })?;
                let (second, nanos) = (time.as_second(), time.subsec_nanosecond());
                // Before 1970 the part of a second is negative; a message's is not.
                let (second, nanos) = if nanos < 0 {
                    (second - 1, nanos + 1_000_000_000)
                } else {
                    (second, nanos)
                };
                Ok($type {
                    seconds: second,
                    nanos: nanos - nanos % $nanos_of_precision,
                })
            }
        }
    };
}

time!(Time, 0, 1_000_000_000);
time!(MicroTime, 6, 1_000);

macro_rules! any_json {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if self.raw.is_empty() {
                    return serializer.serialize_unit();
                }
                let value: serde_json::Value = serde_json::from_slice(&self.raw).map_err(S::Error::custom)?;
                value.serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = serde_json::Value::deserialize(deserializer)?;
                serde_json::to_vec(&value)
                    .map(|raw| $name { raw })
                    .map_err(de::Error::custom)
            }
        }
    };
}

any_json!(FieldsV1);
any_json!(RawExtension);

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&go_duration(self.duration))
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let span: jiff::SignedDuration = text.parse().map_err(de::Error::custom)?;
        i64::try_from(span.as_nanos())
            .map(|duration| Duration { duration })
            .map_err(de::Error::custom)
    }
}

/// As Go's Duration prints itself: `1h0m2.5s`, `30s`, `1.5ms`.
fn go_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let decimal = |nanos: u64, unit: u64, digits: usize| {
        let text = format!("{}.{:0digits$}", nanos / unit, nanos % unit);
        text.trim_end_matches('0').trim_end_matches('.').to_string()
    };
    let seconds = || decimal(nanos % 60_000_000_000, 1_000_000_000, 9);
    let (hours, minutes) = (nanos / 3_600_000_000_000, nanos / 60_000_000_000 % 60);
    match nanos {
        0 => "0s".to_string(),
        1..1_000 => format!("{sign}{nanos}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", decimal(nanos, 1_000, 3)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(nanos, 1_000_000, 6)),
        _ if hours > 0 => format!("{sign}{hours}h{minutes}m{}s", seconds()),
        _ if minutes > 0 => format!("{sign}{minutes}m{}s", seconds()),
        _ => format!("{sign}{}s", seconds()),
    }
}
