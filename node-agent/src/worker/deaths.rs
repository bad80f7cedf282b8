//! Traces that nobody asked for: a container that ended by itself, or that a probe condemned.

use super::Worker;
use crate::pod::death;
use crate::pod::observed::Observed;
use crate::pod::probe::ProbeKind;
use crate::pod::wish::Wish;
use gantry_telemetry::trace;
use std::time::SystemTime;
use tracing::{Span, info_span};

impl Worker {
    /// Begins a trace where a container ended by itself. It is linked to the one that the pod came from.
    pub(super) fn note_deaths(&mut self, wish: Wish, observed: &Observed) {
        let view = death::View {
            pod: &self.pod,
            wish,
            observed,
            memory: &self.memory,
            busy: self.jobs.busy(),
            known: self.known.get(),
        };
        let dead = death::deaths(&view).into_iter();
        let dead: Vec<_> = dead
            .map(|(instance, exit)| (instance.clone(), exit.clone()))
            .collect();
        let mut first: Option<Span> = None;
        for (instance, exit) in dead {
            let (container, node) = (&instance.name, &self.shared.config.node_name);
            let span = info_span!(
                parent: first.as_ref().and_then(Span::id),
                "container.died",
                gantry.root = true,
                k8s.namespace.name = self.key.namespace,
                k8s.pod.name = self.key.name,
                k8s.pod.uid = self.uid,
                k8s.node.name = node,
                k8s.container.name = container,
                k8s.container.restart_count = instance.attempt,
                container.id = instance.id,
                process.exit.code = exit.code,
                k8s.container.status.reason = exit.reason,
            );
            self.memory.container_mut(container).died = Some(instance.id.clone());
            self.why.ended(container);
            if first.is_none() {
                if let Some(cause) = &self.pod.cause {
                    trace::link(&span, cause);
                }
                self.why.begins(&span, &self.pod);
                first = Some(span);
            }
        }
    }

    /// Begins a trace where a probe condemned a container: nobody asked for that either.
    pub(super) fn begin_unhealthy(
        &mut self,
        container: &str,
        id: &str,
        kind: ProbeKind,
        now: SystemTime,
    ) -> Span {
        let span = info_span!(
            parent: None,
            "container.unhealthy",
            gantry.root = true,
            k8s.namespace.name = self.key.namespace,
            k8s.pod.name = self.key.name,
            k8s.pod.uid = self.uid,
            k8s.node.name = self.shared.config.node_name,
            k8s.container.name = container,
            container.id = id,
            gantry.probe = kind.title(),
        );
        if let Some(cause) = &self.pod.cause {
            trace::link(&span, cause);
        }
        self.why.ended(container);
        self.why.begins(&span, &self.pod);
        self.why.span(&self.pod, &self.shared.config.node_name, now)
    }
}
