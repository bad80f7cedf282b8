//! Health checks with the text of Kubernetes' `/livez` and `/readyz`
//! (k8s.io/apiserver/pkg/server/healthz/healthz.go).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// The named checks of a process. Clones share them. A `ping` check that always succeeds comes first.
///
/// A check is asked at each request, so it must be quick: look at state, do not make a call.
#[derive(Clone, Default)]
pub struct Health {
    checks: Arc<RwLock<Vec<Check>>>,
    /// The last reason that was logged per failing check, so that a prober does not fill the log.
    logged: Arc<Mutex<BTreeMap<String, String>>>,
    /// How often each check has passed and failed at an endpoint; as many entries as checks allow.
    asked: Arc<Mutex<Asked>>,
}

/// By check, endpoint, and whether it passed.
type Asked = BTreeMap<(String, Endpoint, bool), u64>;

struct Check {
    name: String,
    decides: Decides,
    run: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Decides {
    Readiness,
    LivenessAndReadiness,
}

/// Which question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// Should the process be restarted?
    Live,
    /// Should the process get work?
    Ready,
    /// The older name of readiness.
    Health,
}

/// The outcome of all checks of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    endpoint: Endpoint,
    /// In order of registration.
    outcomes: Vec<(String, Outcome)>,
    /// Names that were to be excluded but are no check's.
    unknown: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Excluded,
    Failed(String),
}

impl Health {
    pub fn new() -> Health {
        Health::default()
    }

    /// Adds a check that decides readiness: while it fails, the process gets no work but is left alone.
    pub fn check(
        &self,
        name: impl Into<String>,
        run: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) {
        self.add(name.into(), Decides::Readiness, Box::new(run));
    }

    /// Adds a check that decides liveness as well: when it fails, only a restart can help.
    pub fn live_check(
        &self,
        name: impl Into<String>,
        run: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) {
        self.add(name.into(), Decides::LivenessAndReadiness, Box::new(run));
    }

    /// Runs the checks of `endpoint` except the `excluded` ones.
    pub fn report(&self, endpoint: Endpoint, excluded: &[String]) -> Report {
        let mut unmatched: BTreeSet<&str> = excluded.iter().map(String::as_str).collect();
        let mut outcome = |name: &str, run: &dyn Fn() -> Result<(), String>| {
            let outcome = match unmatched.remove(name) {
                true => Outcome::Excluded,
                false => run().map_or_else(Outcome::Failed, |()| Outcome::Passed),
            };
            (name.to_owned(), outcome)
        };
        let mut outcomes = vec![outcome("ping", &|| Ok(()))];
        let checks = self.checks.read().unwrap_or_else(PoisonError::into_inner);
        let asked = checks.iter().filter(|check| check.concerns(endpoint));
        outcomes.extend(asked.map(|check| outcome(&check.name, &check.run)));
        let unknown = unmatched.into_iter().map(str::to_owned).collect();
        Report {
            endpoint,
            outcomes,
            unknown,
        }
    }

    /// Runs one check of `endpoint`; `None` when it has no check of this name.
    pub fn run(&self, endpoint: Endpoint, name: &str) -> Option<Result<(), String>> {
        if name == "ping" {
            return Some(Ok(()));
        }
        let checks = self.checks.read().unwrap_or_else(PoisonError::into_inner);
        let check = checks
            .iter()
            .find(|check| check.name == name && check.concerns(endpoint))?;
        Some((check.run)())
    }

    /// How often each check has passed (true) and failed where somebody asked for its endpoint.
    pub(crate) fn times_asked(&self) -> BTreeMap<(String, Endpoint, bool), u64> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts the outcomes of a `report` that somebody asked for. Logs each failure once, and again when its reason
    /// changes or it comes back.
    pub fn note(&self, report: &Report) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, passed) in report.results() {
            *asked
                .entry((name.to_owned(), report.endpoint, passed))
                .or_default() += 1;
        }
        drop(asked);
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, outcome) in &report.outcomes {
            match outcome {
                Outcome::Failed(reason) if logged.get(name) != Some(reason) => {
                    tracing::warn!(check = name, reason, "health check failed");
                    logged.insert(name.clone(), reason.clone());
                }
                Outcome::Passed => drop(logged.remove(name)),
                Outcome::Failed(_) | Outcome::Excluded => {}
            }
        }
    }

    fn add(&self, name: String, decides: Decides, run: Box<dyn Fn() -> Result<(), String> + Send + Sync>) {
        self.checks
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Check { name, decides, run });
    }
}

impl Check {
    fn concerns(&self, endpoint: Endpoint) -> bool {
        endpoint != Endpoint::Live || self.decides == Decides::LivenessAndReadiness
    }
}

impl Endpoint {
    /// The name in the path and in the text.
    pub fn name(self) -> &'static str {
        match self {
            Endpoint::Live => "livez",
            Endpoint::Ready => "readyz",
            Endpoint::Health => "healthz",
        }
    }
}

impl Report {
    /// Which checks passed, of those that were asked.
    pub(crate) fn results(&self) -> impl Iterator<Item = (&str, bool)> {
        self.outcomes.iter().filter_map(|(name, outcome)| match outcome {
            Outcome::Excluded => None,
            outcome => Some((name.as_str(), *outcome == Outcome::Passed)),
        })
    }

    pub fn passed(&self) -> bool {
        !self
            .outcomes
            .iter()
            .any(|(_, outcome)| matches!(outcome, Outcome::Failed(_)))
    }

    /// The body of the reply: `ok`, or the verbose form when it is asked for or something failed. Reasons are
    /// withheld, as Kubernetes does, because anybody may ask.
    pub fn body(&self, verbose: bool) -> String {
        if self.passed() && !verbose {
            "ok".into()
        } else {
            self.to_string()
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, outcome) in &self.outcomes {
            match outcome {
                Outcome::Passed => writeln!(formatter, "[+]{name} ok")?,
                Outcome::Excluded => writeln!(formatter, "[+]{name} excluded: ok")?,
                Outcome::Failed(_) => writeln!(formatter, "[-]{name} failed: reason withheld")?,
            }
        }
        if !self.unknown.is_empty() {
            let names: Vec<_> = self.unknown.iter().map(|name| format!("{name:?}")).collect();
            let names = names.join(", ");
            writeln!(
                formatter,
                "warn: some health checks cannot be excluded: no matches for {names}"
            )?;
        }
        let verdict = if self.passed() { "passed" } else { "failed" };
        writeln!(formatter, "{} check {verdict}", self.endpoint.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Health {
        let health = Health::new();
        health.check("etcd", || Err("connection refused".into()));
        health.live_check("loop", || Ok(()));
        health
    }

    #[test]
    fn a_report_reads_as_kubernetes_writes_it() {
        let check = |endpoint, excluded: &[&str], verbose, passed, expected: &str| {
            let excluded: Vec<String> = excluded.iter().map(|name| (*name).to_owned()).collect();
            let report = health().report(endpoint, &excluded);
            assert_eq!(
                (report.passed(), report.body(verbose).as_str()),
                (passed, expected)
            );
        };
        let failed = "[+]ping ok\n[-]etcd failed: reason withheld\n[+]loop ok\n";
        check(
            Endpoint::Ready,
            &[],
            false,
            false,
            &format!("{failed}readyz check failed\n"),
        );
        check(
            Endpoint::Health,
            &[],
            true,
            false,
            &format!("{failed}healthz check failed\n"),
        );
        check(Endpoint::Live, &[], false, true, "ok");
        check(
            Endpoint::Live,
            &[],
            true,
            true,
            "[+]ping ok\n[+]loop ok\nlivez check passed\n",
        );
        check(Endpoint::Ready, &["etcd"], false, true, "ok");
        let excluded = "[+]ping ok\n[+]etcd excluded: ok\n[+]loop ok\n\
            warn: some health checks cannot be excluded: no matches for \"a\", \"b\"\nreadyz check passed\n";
        check(Endpoint::Ready, &["b", "etcd", "a"], true, true, excluded);
    }

    #[test]
    fn one_check_can_be_asked_by_name() {
        assert_eq!(
            health().run(Endpoint::Ready, "etcd"),
            Some(Err("connection refused".into()))
        );
        assert_eq!(health().run(Endpoint::Ready, "ping"), Some(Ok(())));
        assert_eq!(health().run(Endpoint::Live, "etcd"), None);
    }
}
