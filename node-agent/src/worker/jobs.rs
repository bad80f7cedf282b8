//! The steps that are under way.

use crate::pod::memory::StartFailure;
use crate::pod::plan::{Busy, Subject};
use gantry_client::Error;
use gantry_proto::core::v1::{Pod, PodStatus};
use std::collections::BTreeMap;
use tokio::task::{AbortHandle, JoinSet};

/// How a step ended.
#[derive(Debug)]
pub enum Done {
    /// What was said, and the pod as it is stored since.
    StatusWritten(Result<(Box<PodStatus>, Box<Pod>), Error>),
    Volumes(Result<(), String>),
    Sandbox(Result<(), String>),
    Started {
        container: String,
        outcome: Result<(), StartFailure>,
    },
    Stopped,
    SandboxesStopped,
    Collected,
    Released(bool),
    CleanedUp(Result<(), String>),
    Deleted(Result<(), Error>),
}

impl Done {
    /// Whether the runtime may have something else of the pod since, even where the step failed.
    pub fn is_in_the_runtime(&self) -> bool {
        match self {
            Done::StatusWritten(_) | Done::Volumes(_) | Done::Released(_) | Done::Deleted(_) => false,
            Done::Sandbox(_)
            | Done::Started { .. }
            | Done::Stopped
            | Done::SandboxesStopped
            | Done::Collected
            | Done::CleanedUp(_) => true,
        }
    }
}

#[derive(Default)]
pub struct Jobs {
    /// Each with its number, so that the end of one that was replaced is told from its successor's.
    tasks: JoinSet<(u64, Option<Subject>, Done)>,
    next_number: u64,
    busy: BTreeMap<Subject, Busy>,
    handles: BTreeMap<Subject, (u64, AbortHandle)>,
    writing: Option<u64>,
}

impl Jobs {
    pub fn busy(&self) -> &BTreeMap<Subject, Busy> {
        &self.busy
    }

    pub fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Runs a step. One about the same subject that is under way is given up.
    pub fn begin(&mut self, subject: Subject, busy: Busy, step: impl Future<Output = Done> + Send + 'static) {
        self.abort(&subject);
        let number = self.number();
        let named = subject.clone();
        let handle = self.tasks.spawn(async move { (number, Some(named), step.await) });
        self.busy.insert(subject.clone(), busy);
        self.handles.insert(subject, (number, handle));
    }

    pub fn write(&mut self, step: impl Future<Output = Done> + Send + 'static) {
        let number = self.number();
        self.tasks.spawn(async move { (number, None, step.await) });
        self.writing = Some(number);
    }

    pub fn abort(&mut self, subject: &Subject) {
        self.busy.remove(subject);
        if let Some((_, handle)) = self.handles.remove(subject) {
            handle.abort();
        }
    }

    /// The next step that ended; `None` at once while there is none.
    pub async fn next(&mut self) -> Option<Done> {
        loop {
            let joined = self.tasks.join_next().await?;
            if let Some(done) = self.joined(joined) {
                return Some(done);
            }
        }
    }

    pub fn try_next(&mut self) -> Option<Done> {
        loop {
            let joined = self.tasks.try_join_next()?;
            if let Some(done) = self.joined(joined) {
                return Some(done);
            }
        }
    }

    fn joined(
        &mut self,
        joined: Result<(u64, Option<Subject>, Done), tokio::task::JoinError>,
    ) -> Option<Done> {
        let (number, subject, done) = match joined {
            Ok(ended) => ended,
            Err(error) if error.is_cancelled() => return None,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        match subject {
            None => self.writing = self.writing.filter(|writing| *writing != number),
            Some(subject) => {
                if self
                    .handles
                    .get(&subject)
                    .is_none_or(|(latest, _)| *latest != number)
                {
                    return None;
                }
                self.busy.remove(&subject);
                self.handles.remove(&subject);
            }
        }
        Some(done)
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }
}
