//! Kubernetes' JSON form of the messages.
//!
//! The build script emits [`Fields`] for each message; the scalar-like types are in [`scalars`]. A whole
//! object, with apiVersion and kind, goes through [`to_value`] and [`decode`].

mod decode;
mod duplicates;
mod scalars;
mod structs;

pub use decode::{DecodeError, Decoded, decode, decode_value};
pub use duplicates::duplicates;
pub use structs::{struct_to_value, value_to_struct};

use crate::Kind;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

/// How the error about a key that comes twice begins.
const DUPLICATE: &str = "duplicate field";

/// A message as a set of JSON fields, so that an inlined message can give its fields to the one around it.
pub trait Fields: Default + PartialEq {
    /// The full name, such as `gantry.core.v1.Pod`.
    const MESSAGE: &'static str;

    fn write_fields<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error>;

    /// Reads the value of `key`. Returns a number that identifies the field, or `None`, with the value
    /// unread, where there is no such field.
    fn read_field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A)
    -> Result<Option<u32>, A::Error>;
}

macro_rules! impl_serde {
    ($name:ident) => {
        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                crate::json::serialize_fields(self, serializer)
            }
        }
        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::json::deserialize_fields(deserializer)
            }
        }
    };
}
pub(crate) use impl_serde;

pub(crate) fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A whole object as a JSON value, with apiVersion and kind.
pub fn to_value<K: Kind>(object: &K) -> serde_json::Value {
    // Serializing to a Value fails only for maps with keys that are not strings, and for RawValue's text.
    serde_json::to_value(Typed(object)).unwrap_or_default()
}

/// A whole object as compact JSON text, with apiVersion and kind.
pub fn to_vec<K: Kind>(object: &K) -> Vec<u8> {
    serde_json::to_vec(&Typed(object)).unwrap_or_default()
}

/// An object with its apiVersion and kind, which the message itself does not have.
pub struct Typed<'a, K>(pub &'a K);

impl<K: Kind> Serialize for Typed<'_, K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", K::KIND)?;
        map.serialize_entry("apiVersion", K::API_VERSION)?;
        self.0.write_fields(&mut map)?;
        map.end()
    }
}

pub(crate) fn serialize_fields<T: Fields, S: Serializer>(
    message: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    message.write_fields(&mut map)?;
    map.end()
}

pub(crate) fn deserialize_fields<'de, T: Fields, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    deserializer.deserialize_map(FieldsVisitor {
        typed: None,
        message: PhantomData,
    })
}

/// Reads an object; where `typed` is given, apiVersion and kind are fields of it too.
pub(crate) struct FieldsVisitor<T> {
    pub typed: Option<()>,
    pub message: PhantomData<T>,
}

/// Numbers that no field of a message has, for the two fields of a whole object that are not in its message.
const API_VERSION_FIELD: u32 = u32::MAX;
const KIND_FIELD: u32 = u32::MAX - 1;

impl<'de, T: Fields> Visitor<'de> for FieldsVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut message = T::default();
        let mut seen: Vec<u32> = Vec::new();
        while let Some(FieldName(key)) = map.next_key()? {
            let number = match (&*key, self.typed) {
                ("apiVersion", Some(())) => map
                    .next_value::<Option<String>>()
                    .map(|_| Some(API_VERSION_FIELD))?,
                ("kind", Some(())) => map.next_value::<Option<String>>().map(|_| Some(KIND_FIELD))?,
                (name, _) => message.read_field(name, &mut map)?,
            };
            match number {
                Some(number) if seen.contains(&number) => {
                    return Err(de::Error::custom(format_args!("{DUPLICATE} \"{key}\"")));
                }
                Some(number) => seen.push(number),
                None => {
                    map.next_value::<de::IgnoredAny>()?;
                }
            }
        }
        Ok(message)
    }
}

/// A key, borrowed from the input where it can be.
struct FieldName<'de>(std::borrow::Cow<'de, str>);

impl<'de> Deserialize<'de> for FieldName<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = FieldName<'de>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a field name")
            }
            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(FieldName(name.into()))
            }
            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(FieldName(name.to_string().into()))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

/// A map in which null stands for empty, and a null value for the zero value, as Go reads it.
pub struct NullableMap<V>(pub BTreeMap<String, V>);

impl<'de, V: DeserializeOwned + Default> Deserialize<'de> for NullableMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MapVisitor<V>(PhantomData<V>);
        impl<'de, V: DeserializeOwned + Default> Visitor<'de> for MapVisitor<V> {
            type Value = NullableMap<V>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_none<E>(self) -> Result<Self::Value, E> {
                Ok(NullableMap(BTreeMap::new()))
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(NullableMap(BTreeMap::new()))
            }
            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
                deserializer.deserialize_map(self)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut map = BTreeMap::new();
                while let Some(key) = entries.next_key::<String>()? {
                    if map.contains_key(&key) {
                        return Err(de::Error::custom(format_args!("{DUPLICATE} \"{key}\"")));
                    }
                    map.insert(key, entries.next_value::<Option<V>>()?.unwrap_or_default());
                }
                Ok(NullableMap(map))
            }
        }
        deserializer.deserialize_option(MapVisitor(PhantomData))
    }
}

#[derive(Default)]
pub struct Base64(pub Vec<u8>);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        // Go's decoder skips line ends, which people leave in.
        let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
        STANDARD
            .decode(text)
            .map(Base64)
            .map_err(|e| de::Error::custom(format_args!("illegal base64 data: {e}")))
    }
}

pub struct Base64Map(pub BTreeMap<String, Vec<u8>>);

impl<'de> Deserialize<'de> for Base64Map {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = NullableMap::<Base64>::deserialize(deserializer)?.0;
        Ok(Base64Map(
            map.into_iter().map(|(key, value)| (key, value.0)).collect(),
        ))
    }
}

pub struct Base64Ref<'a>(pub &'a [u8]);

impl Serialize for Base64Ref<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(self.0))
    }
}

pub struct Base64MapRef<'a>(pub &'a BTreeMap<String, Vec<u8>>);

impl Serialize for Base64MapRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, Base64Ref(value))))
    }
}
