//! How many requests are carried out at a time.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

/// A request lasts for milliseconds, so the present number says little: Kubernetes shows the most of the last second.
const WINDOW: Duration = Duration::from_secs(1);

/// Requests of one kind.
#[derive(Debug, Default)]
pub struct InFlight(Mutex<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    present: i64,
    /// When the window began, the most in it, and the most in the one before.
    window: Option<(Instant, i64)>,
    before: i64,
}

impl InFlight {
    pub fn enter(self: &Arc<Self>, now: Instant) -> Place {
        let mut numbers = self.lock();
        numbers.move_on(now);
        numbers.present += 1;
        let present = numbers.present;
        if let Some((_, most)) = &mut numbers.window {
            *most = (*most).max(present);
        }
        Place(self.clone())
    }

    fn most(&self, now: Instant) -> i64 {
        let mut numbers = self.lock();
        numbers.move_on(now);
        let most = numbers.window.map_or(0, |(_, most)| most);
        most.max(numbers.before)
    }

    fn lock(&self) -> MutexGuard<'_, Numbers> {
        // No code that holds the lock can panic half way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Numbers {
    fn move_on(&mut self, now: Instant) {
        let (began, most) = self.window.unwrap_or((now, self.present));
        let age = now.saturating_duration_since(began);
        if age < WINDOW {
            self.window = Some((began, most));
            return;
        }
        self.before = if age < 2 * WINDOW { most } else { self.present };
        self.window = Some((now, self.present));
    }
}

/// One request's place among them.
pub struct Place(Arc<InFlight>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.lock().present -= 1;
    }
}

#[derive(Debug)]
pub struct InFlightCollector {
    pub reads: Arc<InFlight>,
    pub writes: Arc<InFlight>,
}

impl Collector for InFlightCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let help = "Most requests that were carried out at a time in the last second, by kind";
        let name = "apiserver_current_inflight_requests";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (kind, numbers) in [("mutating", &self.writes), ("readOnly", &self.reads)] {
            let labels = [("request_kind", kind)];
            ConstGauge::new(numbers.most(super::now())).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_of_the_last_second_is_shown_and_then_forgotten() {
        let (numbers, start) = (Arc::new(InFlight::default()), super::super::now());
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        let places = [numbers.enter(after(0)), numbers.enter(after(1))];
        drop(places);
        let one = numbers.enter(after(2));
        assert_eq!(numbers.most(after(900)), 2);
        assert_eq!(numbers.most(after(1500)), 2, "of the window before");
        assert_eq!(numbers.most(after(2600)), 1);
        drop(one);
        assert_eq!(numbers.most(after(9000)), 0);
    }
}
