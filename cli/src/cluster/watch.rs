//! The events of a watch, one at a time.

use super::{Object, from_form};
use crate::failure::Failure;
use gantry_proto::KindInfo;
use gantry_proto::api::v1 as api;
use tonic::Streaming;

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Added,
    Modified,
    Deleted,
}

impl Event {
    /// As the API names it.
    pub fn name(self) -> &'static str {
        match self {
            Event::Added => "ADDED",
            Event::Modified => "MODIFIED",
            Event::Deleted => "DELETED",
        }
    }
}

/// The events of a watch, one at a time.
pub struct Watch {
    kind: &'static KindInfo,
    stream: Streaming<api::WatchReply>,
    pending: std::vec::IntoIter<api::WatchEvent>,
    server: String,
}

impl Watch {
    /// `server` is the host and port that the stream comes from.
    pub(super) fn new(kind: &'static KindInfo, stream: Streaming<api::WatchReply>, server: String) -> Watch {
        Watch {
            kind,
            stream,
            pending: Vec::new().into_iter(),
            server,
        }
    }

    /// The next event; `None` when the server has ended the watch.
    pub async fn next(&mut self) -> Result<Option<(Event, Object)>, Failure> {
        loop {
            for event in self.pending.by_ref() {
                let what = match event.r#type.as_str() {
                    "ADDED" => Event::Added,
                    "MODIFIED" => Event::Modified,
                    "DELETED" => Event::Deleted,
                    "ERROR" => {
                        return Err(Failure::Status(Box::new(event.error.unwrap_or_default())));
                    }
                    _ => continue,
                };
                return Ok(Some((what, from_form(self.kind, event.object)?)));
            }
            match self.stream.message().await {
                Ok(Some(reply)) => self.pending = reply.events.into_iter(),
                Ok(None) => return Ok(None),
                Err(error) => return Err(Failure::of_call(error, &self.server)),
            }
        }
    }
}
