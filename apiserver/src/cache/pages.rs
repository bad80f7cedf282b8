//! Chunked lists: the token that a client brings back, and the snapshots that make its chunks one revision.

use std::collections::VecDeque;
use std::ops::Bound;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gantry_proto::Key;
use serde::{Deserialize, Serialize};

use super::Objects;

/// Snapshots kept for one kind. Each shares with the present state what has not changed since.
const MAX_SNAPSHOTS: usize = 32;
/// How long a list may take from its first chunk to its last; Kubernetes compacts etcd as often.
const MAX_AGE: Duration = Duration::from_secs(300);

/// Snapshots of the revisions at which lists are under way.
#[derive(Debug, Default)]
pub struct Ring(VecDeque<Snapshot>);

#[derive(Debug)]
struct Snapshot {
    revision: i64,
    objects: Objects,
    kept_at: SystemTime,
}

impl Ring {
    pub fn keep(&mut self, revision: i64, objects: Objects, now: SystemTime) {
        self.expire(now);
        if self.0.iter().any(|snapshot| snapshot.revision == revision) {
            return;
        }
        if self.0.len() == MAX_SNAPSHOTS {
            self.0.pop_front();
        }
        self.0.push_back(Snapshot {
            revision,
            objects,
            kept_at: now,
        });
    }

    pub fn get(&mut self, revision: i64, now: SystemTime) -> Option<Objects> {
        self.expire(now);
        let snapshot = self.0.iter().find(|snapshot| snapshot.revision == revision)?;
        Some(snapshot.objects.clone())
    }

    fn expire(&mut self, now: SystemTime) {
        let age = |snapshot: &Snapshot| now.duration_since(snapshot.kept_at).unwrap_or_default();
        self.0.retain(|snapshot| age(snapshot) < MAX_AGE);
    }
}

const VERSION: &str = "meta.k8s.io/v1";

/// A continue token. Its form is Kubernetes' (apiserver/pkg/storage/continue.go): a place among the names of one
/// namespace, or among `namespace/name` where the list is of all namespaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    #[serde(default)]
    v: String,
    /// The list's revision; negative for whatever is there, which makes the list one of several revisions.
    #[serde(default)]
    pub rv: i64,
    #[serde(default)]
    start: String,
}

impl Token {
    /// A list of `namespace`, or of all if it is empty, goes on behind `last`.
    pub fn new(revision: i64, last: &Key, namespace: &str) -> Token {
        let place = if namespace.is_empty() && !last.namespace.is_empty() {
            format!("{}/{}\0", last.namespace, last.name)
        } else {
            format!("{}\0", last.name)
        };
        Token {
            v: VERSION.into(),
            rv: revision,
            start: place,
        }
    }

    /// The same place in the present state.
    pub fn latest(&self) -> Token {
        Token {
            rv: -1,
            ..self.clone()
        }
    }

    pub fn encode(&self) -> String {
        // Serializing a struct of strings and a number cannot fail.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Refuses a text that no server gave out, in Kubernetes' words.
    pub fn decode(text: &str) -> Result<Token, String> {
        let wrong = |why: &str| format!("continue key is not valid: {why}");
        let json = URL_SAFE_NO_PAD.decode(text).map_err(|error| match error {
            base64::DecodeError::InvalidByte(offset, _)
            | base64::DecodeError::InvalidLastSymbol(offset, _) => {
                wrong(&format!("illegal base64 data at input byte {offset}"))
            }
            _ => wrong(&format!("illegal base64 data at input byte {}", text.len())),
        })?;
        let token: Token =
            serde_json::from_slice(&json).map_err(|error| wrong(&json_error(&json, &error)))?;
        if token.v != VERSION {
            return Err(format!(
                "continue key is not valid: server does not recognize this encoded version {}",
                token.v
            ));
        }
        if token.rv == 0 {
            return Err(wrong(
                "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ));
        }
        if token.start.is_empty() {
            return Err(wrong("encoded start key empty (version meta.k8s.io/v1)"));
        }
        if !is_clean(&token.start) {
            return Err(wrong(&token.start));
        }
        Ok(token)
    }

    /// Where a list of `namespace` goes on; of all namespaces, or of a kind without, if it is empty.
    pub fn place(&self, namespaced: bool, namespace: &str) -> Bound<Key> {
        let start = self.start.strip_prefix('/').unwrap_or(&self.start);
        let (start, behind) = match start.strip_suffix('\0') {
            Some(last) => (last, true),
            None => (start, false),
        };
        let key = if namespaced && namespace.is_empty() {
            let Some((namespace, name)) = start.split_once('/') else {
                return Bound::Included(Key::new(start, ""));
            };
            Key::new(namespace, name)
        } else {
            Key::new(namespace, start)
        };
        if behind {
            Bound::Excluded(key)
        } else {
            Bound::Included(key)
        }
    }
}

/// What Go's decoder would say of the commonest forgeries.
fn json_error(json: &[u8], error: &serde_json::Error) -> String {
    match json.first() {
        _ if error.is_eof() => "unexpected end of JSON input".into(),
        Some(first) if error.is_syntax() && !b"{[\"-0123456789tfn \n\t".contains(first) => {
            format!(
                "invalid character {:?} looking for beginning of value",
                char::from(*first)
            )
        }
        _ => error.to_string(),
    }
}

/// Whether a path stays where it begins: without empty parts and without `.` and `..`.
fn is_clean(start: &str) -> bool {
    let path = start.strip_prefix('/').unwrap_or(start);
    path.is_empty() || path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forged(json: &str) -> String {
        URL_SAFE_NO_PAD.encode(json)
    }

    #[test]
    fn a_token_survives_its_trip() {
        for (key, namespace, start) in [
            (Key::new("ns", "name"), "ns", r"name\u0000"),
            (Key::new("ns", "name"), "", r"ns/name\u0000"),
            (Key::cluster("node"), "", r"node\u0000"),
        ] {
            let token = Token::new(17, &key, namespace);
            assert_eq!(
                URL_SAFE_NO_PAD.decode(token.encode()).unwrap(),
                format!(r#"{{"v":"meta.k8s.io/v1","rv":17,"start":"{start}"}}"#).as_bytes()
            );
            let read = Token::decode(&token.encode()).unwrap();
            let namespaced = !key.namespace.is_empty();
            assert_eq!(read.place(namespaced, namespace), Bound::Excluded(key));
            assert_eq!(read, token);
        }
    }

    #[test]
    fn a_place_that_nobody_gave_out_is_within_the_list() {
        let check = |start: &str, namespace: &str, expected: Bound<Key>| {
            let token = Token::decode(&forged(&format!(
                r#"{{"v":"meta.k8s.io/v1","rv":1,"start":"{start}"}}"#
            )));
            assert_eq!(token.unwrap().place(true, namespace), expected, "{start}");
        };
        check("b", "", Bound::Included(Key::new("b", "")));
        check("b/c", "", Bound::Included(Key::new("b", "c")));
        check("c", "b", Bound::Included(Key::new("b", "c")));
    }

    #[test]
    fn a_forged_token_is_refused() {
        let check = |text: &str, expected: &str| {
            let why = Token::decode(text).unwrap_err();
            assert_eq!(why, format!("continue key is not valid: {expected}"), "{text}");
        };
        check("!", "illegal base64 data at input byte 0");
        check(
            &forged("x"),
            "invalid character 'x' looking for beginning of value",
        );
        check(&forged("{"), "unexpected end of JSON input");
        check(&forged("{}"), "server does not recognize this encoded version ");
        check(
            &forged(r#"{"v":"meta.k8s.io/v2","rv":1,"start":"a"}"#),
            "server does not recognize this encoded version meta.k8s.io/v2",
        );
        check(
            &forged(r#"{"v":"meta.k8s.io/v1","start":"a"}"#),
            "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
        );
        check(
            &forged(r#"{"v":"meta.k8s.io/v1","rv":1}"#),
            "encoded start key empty (version meta.k8s.io/v1)",
        );
        for start in ["../secrets", "a/../b", "a//b", "./a", "a/"] {
            check(
                &forged(&format!(r#"{{"v":"meta.k8s.io/v1","rv":1,"start":"{start}"}}"#)),
                start,
            );
        }
    }

    #[test]
    fn the_ring_forgets_by_count_and_by_age() {
        let start = SystemTime::UNIX_EPOCH;
        let mut ring = Ring::default();
        for revision in 0..=MAX_SNAPSHOTS as i64 {
            ring.keep(revision, Objects::default(), start);
        }
        assert!(ring.get(0, start).is_none());
        assert!(ring.get(1, start).is_some());
        assert!(ring.get(1, start + MAX_AGE).is_none());
    }
}
