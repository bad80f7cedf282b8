//! What is counted of the audit log. Names and labels are Kubernetes' (k8s.io/apiserver/pkg/audit/metrics.go).

use gantry_telemetry::metrics::Registry;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::policy::Level;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Plugin {
    plugin: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfLevel {
    level: &'static str,
}

/// Where an event was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It did not fit into the queue.
    Buffered,
    /// It could not be written.
    Log,
}

/// Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    events: Counter,
    errors: Family<Plugin, Counter>,
    levels: Family<OfLevel, Counter>,
}

impl Metrics {
    pub fn new(registry: &Registry) -> Metrics {
        let metrics = Metrics {
            events: Counter::default(),
            errors: Family::default(),
            levels: Family::default(),
        };
        registry.register(
            "apiserver_audit_event",
            "Audit events that were generated and sent to the audit backend",
            metrics.events.clone(),
        );
        registry.register(
            "apiserver_audit_error",
            "Audit events that were lost, by the plugin that lost them",
            metrics.errors.clone(),
        );
        registry.register(
            "apiserver_audit_level",
            "Policy levels, one per request",
            metrics.levels.clone(),
        );
        registry.register(
            "apiserver_audit_requests_rejected",
            "Requests rejected because of an error in the audit log: never one, since no request waits for it",
            Counter::<u64>::default(),
        );
        metrics
    }

    pub fn event(&self) {
        self.events.inc();
    }

    pub fn decided(&self, level: Level) {
        self.levels.get_or_create(&OfLevel { level: level.name() }).inc();
    }

    pub fn lost(&self, loss: Loss, events: u64) {
        let plugin = match loss {
            Loss::Buffered => "buffered",
            Loss::Log => "log",
        };
        self.errors.get_or_create(&Plugin { plugin }).inc_by(events);
    }

    #[cfg(test)]
    pub fn losses(&self, loss: Loss) -> u64 {
        self.lost(loss, 0);
        let plugin = match loss {
            Loss::Buffered => "buffered",
            Loss::Log => "log",
        };
        self.errors.get_or_create(&Plugin { plugin }).get()
    }
}
