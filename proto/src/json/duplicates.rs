//! Finding the keys that come twice in JSON text. It is a pass of its own, made only where decoding met one.

use super::decode::MAX_COMPLAINTS;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

/// In Kubernetes' words, such as `duplicate field "spec.replicas"`.
pub fn duplicates(text: &[u8]) -> Vec<String> {
    let mut complaints = Vec::new();
    let finder = Finder {
        path: String::new(),
        complaints: &mut complaints,
    };
    // Text that does not parse has been refused before.
    let _ = finder.deserialize(&mut serde_json::Deserializer::from_slice(text));
    complaints
}

struct Finder<'a> {
    path: String,
    complaints: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Finder<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Finder<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let path = if self.path.is_empty() {
                key.clone()
            } else {
                format!("{}.{key}", self.path)
            };
            if !seen.insert(key) && self.complaints.len() < MAX_COMPLAINTS {
                self.complaints.push(format!("{} \"{path}\"", super::DUPLICATE));
            }
            map.next_value_seed(Finder {
                path,
                complaints: self.complaints,
            })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        for index in 0.. {
            let path = format!("{}[{index}]", self.path);
            if list
                .next_element_seed(Finder {
                    path,
                    complaints: self.complaints,
                })?
                .is_none()
            {
                break;
            }
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}
