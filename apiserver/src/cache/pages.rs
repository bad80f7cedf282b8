//! Chunked lists: the token that a client brings back, and the snapshots that make its chunks one revision.

use std::collections::VecDeque;
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

/// A continue token. Its form is Kubernetes' (apiserver/pkg/storage/continue.go).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    v: String,
    /// The list's revision; [`Token::LATEST`] for whatever is there.
    pub rv: i64,
    start: String,
}

impl Token {
    /// Goes on with the present state: the list is no longer of one revision.
    pub const LATEST: i64 = -1;

    /// A list goes on behind `last`.
    pub fn new(revision: i64, last: &Key) -> Token {
        Token {
            v: "meta.k8s.io/v1".into(),
            rv: revision,
            start: format!("{}/{}\0", last.namespace, last.name),
        }
    }

    /// The same place in the present state.
    pub fn latest(&self) -> Token {
        Token {
            rv: Token::LATEST,
            ..self.clone()
        }
    }

    pub fn encode(&self) -> String {
        // Serializing a struct of strings and a number cannot fail.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// `None` for a text that is no token of ours.
    pub fn decode(text: &str) -> Option<Token> {
        let token: Token = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let is_a_place = token.rv > 0 || token.rv == Token::LATEST;
        (token.v == "meta.k8s.io/v1" && is_a_place && token.last().is_some()).then_some(token)
    }

    /// The last object that the client has.
    pub fn last(&self) -> Option<Key> {
        let (namespace, name) = self.start.strip_suffix('\0')?.split_once('/')?;
        Some(Key::new(namespace, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_trip() {
        for key in [Key::new("ns", "name"), Key::cluster("node")] {
            let token = Token::new(17, &key);
            let read = Token::decode(&token.encode());
            assert_eq!(read.as_ref().and_then(Token::last), Some(key));
            assert_eq!(read, Some(token));
        }
        for revision in [0, -7] {
            let token = Token::new(revision, &Key::cluster("node"));
            assert_eq!(
                Token::decode(&token.encode()),
                None,
                "the store would read the present"
            );
        }
        for text in ["", "x", "e30", "AAAA"] {
            assert_eq!(Token::decode(text), None, "{text:?}");
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
