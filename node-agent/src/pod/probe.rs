//! What the results of probes mean.
//!
//! ```text
//!   startup:   Waiting ──success──▶ Passed        ──failures──▶ Failed (the container is killed)
//!   readiness: Failed ◀──thresholds──▶ Passed
//!   liveness:  Passed ──failures──▶ Failed        (the container is killed)
//! ```
//! Liveness and readiness are not asked before the startup probe has passed.

use gantry_proto::core::v1::{Container, Probe};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProbeKind {
    Startup,
    Readiness,
    Liveness,
}

/// The state of the probes of one run of a container.
#[derive(Clone, Debug, PartialEq)]
pub struct Probes {
    pub container_id: String,
    pub startup: Verdict,
    pub readiness: Verdict,
    pub liveness: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    pub passed: bool,
    /// A failure threshold was reached.
    pub failed: bool,
    /// Results in a row that are alike.
    run: u32,
    last: Option<bool>,
}

/// When and how often a probe is asked, with Kubernetes' defaults for what is not set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    pub initial_delay: Duration,
    pub period: Duration,
    pub timeout: Duration,
    pub success_threshold: u32,
    pub failure_threshold: u32,
}

impl ProbeKind {
    pub const ALL: [ProbeKind; 3] = [ProbeKind::Startup, ProbeKind::Readiness, ProbeKind::Liveness];

    /// As events name it.
    pub fn title(self) -> &'static str {
        match self {
            ProbeKind::Startup => "Startup",
            ProbeKind::Readiness => "Readiness",
            ProbeKind::Liveness => "Liveness",
        }
    }

    pub fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            ProbeKind::Startup => container.startup_probe.as_ref(),
            ProbeKind::Readiness => container.readiness_probe.as_ref(),
            ProbeKind::Liveness => container.liveness_probe.as_ref(),
        }
    }
}

impl Schedule {
    pub fn of(probe: &Probe) -> Schedule {
        let seconds = |value: i32, default: u64| match u64::try_from(value) {
            Ok(0) | Err(_) => Duration::from_secs(default),
            Ok(value) => Duration::from_secs(value),
        };
        let threshold =
            |value: i32, default: u32| u32::try_from(value).ok().filter(|v| *v > 0).unwrap_or(default);
        Schedule {
            initial_delay: Duration::from_secs(u64::try_from(probe.initial_delay_seconds).unwrap_or(0)),
            period: seconds(probe.period_seconds, 10),
            timeout: seconds(probe.timeout_seconds, 1),
            success_threshold: threshold(probe.success_threshold, 1),
            failure_threshold: threshold(probe.failure_threshold, 3),
        }
    }
}

impl Probes {
    /// Before any result: not ready, not started, but alive. A container that was ready before the agent
    /// restarted stays so until a probe says otherwise.
    pub fn new(container_id: &str, was_ready: bool, was_started: bool) -> Probes {
        Probes {
            container_id: container_id.into(),
            startup: Verdict::assumed(was_started),
            readiness: Verdict::assumed(was_ready),
            liveness: Verdict::assumed(true),
        }
    }

    pub fn verdict_mut(&mut self, kind: ProbeKind) -> &mut Verdict {
        match kind {
            ProbeKind::Startup => &mut self.startup,
            ProbeKind::Readiness => &mut self.readiness,
            ProbeKind::Liveness => &mut self.liveness,
        }
    }
}

impl Verdict {
    fn assumed(passed: bool) -> Verdict {
        Verdict {
            passed,
            failed: false,
            run: 0,
            last: None,
        }
    }

    /// Takes a result into account. Returns whether the verdict changed.
    pub fn take(&mut self, success: bool, schedule: &Schedule) -> bool {
        let before = (self.passed, self.failed);
        self.run = if self.last == Some(success) {
            self.run.saturating_add(1)
        } else {
            1
        };
        self.last = Some(success);
        if success && self.run >= schedule.success_threshold {
            (self.passed, self.failed) = (true, false);
        } else if !success && self.run >= schedule.failure_threshold {
            (self.passed, self.failed) = (false, true);
        }
        (self.passed, self.failed) != before
    }
}

/// Whether the container, running under this id, has started: it has no startup probe or passed it.
pub fn is_started(container: &Container, probes: Option<&Probes>, id: &str) -> bool {
    container.startup_probe.is_none() || probes.is_some_and(|p| p.container_id == id && p.startup.passed)
}

/// Whether the container, running under this id, is ready.
pub fn is_ready(container: &Container, probes: Option<&Probes>, id: &str) -> bool {
    is_started(container, probes, id)
        && (container.readiness_probe.is_none()
            || probes.is_some_and(|p| p.container_id == id && p.readiness.passed))
}

/// Which probe, if any, says that the container must be killed.
pub fn must_die(probes: Option<&Probes>, id: &str) -> Option<ProbeKind> {
    let probes = probes.filter(|probes| probes.container_id == id)?;
    match (probes.startup.failed, probes.liveness.failed) {
        (true, _) => Some(ProbeKind::Startup),
        (_, true) => Some(ProbeKind::Liveness),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(success: u32, failure: u32) -> Schedule {
        let probe = Probe {
            success_threshold: success as i32,
            failure_threshold: failure as i32,
            ..Probe::default()
        };
        Schedule::of(&probe)
    }

    #[test]
    fn unset_fields_have_kubernetes_defaults() {
        let expected = Schedule {
            initial_delay: Duration::ZERO,
            period: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            success_threshold: 1,
            failure_threshold: 3,
        };
        assert_eq!(Schedule::of(&Probe::default()), expected);
    }

    #[test]
    fn a_verdict_changes_only_after_its_threshold_of_results_in_a_row() {
        let check = |kind, thresholds: (u32, u32), results: &str, passed: &str| {
            let mut probes = Probes::new("c", false, false);
            let schedule = schedule(thresholds.0, thresholds.1);
            let verdicts: String = results
                .chars()
                .map(|result| {
                    let verdict = probes.verdict_mut(kind);
                    verdict.take(result == '+', &schedule);
                    if verdict.passed { '+' } else { '-' }
                })
                .collect();
            assert_eq!(verdicts, passed, "{kind:?} {results}");
        };
        check(ProbeKind::Readiness, (1, 3), "+--+---+", "++++++-+");
        check(ProbeKind::Readiness, (2, 1), "+++-++", "-++--+");
        check(ProbeKind::Liveness, (1, 3), "--+---", "+++++-");
        check(ProbeKind::Startup, (1, 2), "-+", "-+");
    }

    #[test]
    fn a_container_dies_of_liveness_or_startup_but_never_of_readiness() {
        let mut probes = Probes::new("c", true, true);
        let once = schedule(1, 1);
        probes.readiness.take(false, &once);
        assert_eq!(must_die(Some(&probes), "c"), None);
        probes.liveness.take(false, &once);
        assert_eq!(must_die(Some(&probes), "c"), Some(ProbeKind::Liveness));
        assert_eq!(must_die(Some(&probes), "another run"), None);
        probes.startup.take(false, &once);
        assert_eq!(must_die(Some(&probes), "c"), Some(ProbeKind::Startup));
    }
}
