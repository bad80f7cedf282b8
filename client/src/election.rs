//! Leadership: of several processes of a component one works, and the others are ready to.
//!
//! ```text
//! watching --the Lease is free, released or not renewed for its duration--> leading
//!     ^                                                                        |
//!     `----------------- the Lease names another holder ----------------------'
//! ```
//!
//! Guarantee: what is written through a term's client is written only while the Lease still names this holder; the
//! apiserver compares that in the store's own transaction ([`Fence`]). Therefore a leader that cannot reach the
//! apiserver goes on leading until it learns of another, and an outage of the store ends no term: nothing can be
//! done twice by a leader that is late.
//!
//! Assumption: clocks of different machines are not compared. A candidate measures by its own clock for how long it
//! has seen the Lease unchanged (as client-go's leaderelection does).

use crate::client::Client;
use crate::error::Error;
use gantry_proto::Key;
use gantry_proto::api::v1::Fence;
use gantry_proto::coordination::v1::{Lease, LeaseSpec};
use gantry_proto::meta::v1::{MicroTime, ObjectMeta};
use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant, SystemTime};
use tokio_util::sync::CancellationToken;

/// How many times a leader may try to renew before its Lease runs out: a lost reply or a restart of an apiserver
/// must not cost it the lead.
const RENEWALS_IN_A_DURATION: u32 = 5;
/// How often candidates look at the Lease, as a part of its duration: a tenth of it is all that they add to the time
/// without a leader.
const LOOKS_IN_A_DURATION: u32 = 10;
/// How long giving the Lease back may take when the process ends. Where it fails, the others wait for it to run out.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);

/// How long a Lease lasts by default. A leader that dies is replaced within it and a tenth of it; Kubernetes' 15 seconds
/// bound what a late leader may still do, which here the fence does.
pub const DEFAULT_DURATION: &str = "10s";

/// The annotation of a Lease by which the apiserver finds where its holder tells of itself: `HOST:PORT`.
pub const TELEMETRY_ADDRESS: &str = "gantry.dev/telemetry-address";

/// A process that would lead.
pub struct Candidate {
    pub client: Client,
    /// The Lease that the candidates compete for.
    pub lease: Key,
    /// Differs between any two processes, and between two runs of one.
    pub identity: String,
    /// How long the Lease lasts without being renewed; whole seconds, at least one.
    pub duration: Duration,
    /// What the holder puts on the Lease besides itself, such as where it can be asked.
    pub annotations: BTreeMap<String, String>,
}

/// What leading comes with.
pub struct Term {
    /// Its writes carry the term's fence.
    pub client: Client,
    /// Cancelled when another leads, or the process ends.
    pub ended: CancellationToken,
}

/// A name for this process that no other has, with the address at which it can be asked: `HOST_RANDOM@ADDRESS`.
#[allow(clippy::disallowed_methods, reason = "processes on one host must differ")]
pub fn identity(address: &str) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}_{:08x}@{address}", host.trim(), rand::random::<u32>())
}

impl Candidate {
    /// Does `work` in every term until `shutdown`. Work returns soon after its term has ended; if it returns before,
    /// so does this, with what it returned.
    pub async fn run<F, W, T>(&self, shutdown: &CancellationToken, mut work: W) -> Option<T>
    where
        W: FnMut(Term) -> F,
        F: Future<Output = T>,
    {
        loop {
            let lease = shutdown.run_until_cancelled(self.win()).await?;
            let ended = shutdown.child_token();
            let term = Term {
                client: self.client.fenced(self.fence(&lease)),
                ended: ended.clone(),
            };
            tracing::info!(
                object = format_args!("leases/{}", self.lease),
                identity = self.identity,
                "leading"
            );
            let mut work = std::pin::pin!(work(term));
            let early = tokio::select! {
                done = &mut work => Some(done),
                () = self.hold(&lease) => None,
                () = shutdown.cancelled() => None,
            };
            if let Some(done) = early {
                self.release(&lease).await;
                return Some(done);
            }
            ended.cancel();
            let done = work.await;
            if shutdown.is_cancelled() {
                self.release(&lease).await;
                return Some(done);
            }
            tracing::warn!(
                object = format_args!("leases/{}", self.lease),
                "another leads now"
            );
        }
    }

    fn fence(&self, won: &Lease) -> Fence {
        Fence {
            namespace: self.lease.namespace.clone(),
            name: self.lease.name.clone(),
            holder: self.identity.clone(),
            transitions: won.spec().lease_transitions.unwrap_or(0),
        }
    }

    /// Returns the Lease when it is ours.
    async fn win(&self) -> Lease {
        let mut seen = None;
        loop {
            match self.in_time(self.campaign(&mut seen)).await {
                Ok(Some(lease)) => return lease,
                Ok(None) => {}
                // Another was faster.
                Err(error) if error.is_conflict() || error.is_already_exists() => {}
                Err(error) => {
                    tracing::debug!(object = format_args!("leases/{}", self.lease), %error, "the lease could not be looked at");
                    // Its holder could not renew it either: after an outage it gets the whole time again.
                    seen = None;
                }
            }
            tokio::time::sleep(self.duration / LOOKS_IN_A_DURATION).await;
        }
    }

    async fn campaign(&self, seen: &mut Option<Seen>) -> Result<Option<Lease>, Error> {
        let lease = match self.client.get::<Lease>(&self.lease).await {
            Ok(lease) => lease,
            Err(error) if error.is_not_found() => {
                return self.client.create(&self.claim(None)).await.map(Some);
            }
            Err(error) => return Err(error),
        };
        if self.holds(&lease) {
            // The reply to our claim was lost.
            return Ok(Some(lease));
        }
        let now = Instant::now();
        let observed = Seen::of(&lease, now, seen.take());
        let free = is_free(&lease, &observed, now);
        *seen = Some(observed);
        match free {
            true => self.client.update(&self.claim(Some(lease))).await.map(Some),
            false => Ok(None),
        }
    }

    /// The Lease as it is when we hold it from now on.
    fn claim(&self, before: Option<Lease>) -> Lease {
        let mut lease = before.unwrap_or_else(|| Lease {
            metadata: Some(ObjectMeta {
                name: self.lease.name.clone(),
                namespace: self.lease.namespace.clone(),
                ..ObjectMeta::default()
            }),
            ..Lease::default()
        });
        let metadata = lease.metadata_mut();
        metadata.annotations.extend(self.annotations.clone());
        let now = MicroTime::from_system(wall());
        let transitions = match lease.spec {
            Some(ref before) => before.lease_transitions.unwrap_or(0).saturating_add(1),
            None => 0,
        };
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.duration.as_secs().max(1)).ok(),
            acquire_time: Some(now),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        });
        lease
    }

    /// Renews the Lease until it names another.
    async fn hold(&self, won: &Lease) {
        let mut held = won.clone();
        loop {
            tokio::time::sleep(self.duration / RENEWALS_IN_A_DURATION).await;
            if let Some(spec) = &mut held.spec {
                spec.renew_time = Some(MicroTime::from_system(wall()));
            }
            match self.in_time(self.client.update(&held)).await {
                Ok(renewed) => {
                    held = renewed;
                    continue;
                }
                Err(error) => {
                    tracing::debug!(object = format_args!("leases/{}", self.lease), %error, "the lease was not renewed")
                }
            }
            // Somebody has written it, or a reply of ours was lost.
            match self.in_time(self.client.get::<Lease>(&self.lease)).await {
                Ok(lease) if self.is_ours(&lease, won) => held = lease,
                Ok(_) => return,
                Err(error) if error.is_not_found() => return,
                Err(_) => {}
            }
        }
    }

    /// A call that must leave time for another one before the Lease runs out.
    async fn in_time<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let limit = self.duration / RENEWALS_IN_A_DURATION;
        let late = |_| Error::Ambiguous(format!("no reply within {limit:?}"));
        tokio::time::timeout(limit, call).await.map_err(late)?
    }

    fn is_ours(&self, lease: &Lease, won: &Lease) -> bool {
        lease.metadata().uid == won.metadata().uid
            && self.holds(lease)
            && lease.spec().lease_transitions == won.spec().lease_transitions
    }

    fn holds(&self, lease: &Lease) -> bool {
        lease.spec().holder_identity.as_deref() == Some(&*self.identity)
    }

    /// Lets the next candidate lead at once.
    async fn release(&self, won: &Lease) {
        let released = tokio::time::timeout(RELEASE_LIMIT, async {
            let mut lease = self.client.get::<Lease>(&self.lease).await?;
            if self.is_ours(&lease, won) {
                lease.spec_mut().holder_identity = None;
                self.client.update(&lease).await?;
            }
            Ok::<_, Error>(())
        });
        match released.await {
            Ok(Ok(())) => tracing::info!(
                object = format_args!("leases/{}", self.lease),
                "no longer leading"
            ),
            Ok(Err(error)) => tracing::debug!(%error, "the lease was not given back"),
            Err(_) => tracing::debug!("the lease was not given back in time"),
        }
    }
}

/// A Lease as this process first saw it so.
struct Seen {
    revision: String,
    since: Instant,
}

impl Seen {
    fn of(lease: &Lease, now: Instant, before: Option<Seen>) -> Seen {
        let revision = lease.metadata().resource_version.clone();
        match before {
            Some(before) if before.revision == revision => before,
            _ => Seen { revision, since: now },
        }
    }
}

/// Whether a Lease may be taken: nobody holds it, or its holder has not renewed it for its duration.
fn is_free(lease: &Lease, seen: &Seen, now: Instant) -> bool {
    let spec = lease.spec();
    if spec.holder_identity.as_deref().unwrap_or_default().is_empty() {
        return true;
    }
    let seconds = spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok());
    now.duration_since(seen.since) >= Duration::from_secs(seconds.unwrap_or(0))
}

/// A number with a unit: `500ms`, `40s`, `2m`, `1h`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let error = || format!("{text:?} is not a duration such as 40s");
    let number: u64 = number.parse().map_err(|_| error())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(error()),
    };
    Ok(Duration::from_millis(
        number.checked_mul(millis).ok_or_else(error)?,
    ))
}

/// The Lease's times are for people; nothing is decided by them.
#[allow(clippy::disallowed_methods, reason = "people read it")]
fn wall() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, seconds: i32, revision: &str) -> Lease {
        Lease {
            metadata: Some(ObjectMeta {
                resource_version: revision.into(),
                ..ObjectMeta::default()
            }),
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.into()),
                lease_duration_seconds: Some(seconds),
                ..LeaseSpec::default()
            }),
        }
    }

    #[test]
    fn a_lease_is_free_when_released_or_unchanged_for_its_duration() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let first = lease("a", 10, "1");
        let seen = Seen::of(&first, start, None);
        for (now, free) in [(0, false), (9, false), (10, true), (60, true)] {
            assert_eq!(is_free(&first, &seen, after(now)), free, "after {now} s");
        }
        assert!(is_free(&lease("", 10, "1"), &seen, start), "nobody holds it");
        assert!(is_free(&Lease::default(), &seen, start), "nobody ever held it");
        // A renewal starts the time again, by the clock of who sees it.
        let renewed = lease("a", 10, "2");
        let seen = Seen::of(&renewed, after(9), Some(seen));
        assert!(!is_free(&renewed, &seen, after(18)));
        assert!(is_free(&renewed, &seen, after(19)));
        let seen = Seen::of(&renewed, after(15), Some(seen));
        assert!(is_free(&renewed, &seen, after(19)), "looking is not renewing");
    }

    #[test]
    fn durations_have_units() {
        for (text, expected) in [
            ("40s", 40_000),
            ("500ms", 500),
            ("2m", 120_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(expected)));
        }
        for bad in ["", "40", "s", "-1s", "4 s", "99999999999999999999s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
