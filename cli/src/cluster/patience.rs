//! Waiting: for apiservers that are away, and before asking one again.

use crate::failure::Failure;
use std::time::{Duration, Instant};

/// Waits out apiservers that are away, for commands that follow what happens.
#[derive(Default)]
pub struct Patience {
    answered: bool,
    away_since: Option<Instant>,
    failures: u32,
}

impl Patience {
    /// Longer than an apiserver's restart or a store that is down for a minute; whoever waits longer wants to know.
    const LIMIT: Duration = Duration::from_secs(300);
    const FIRST_DELAY: Duration = Duration::from_millis(300);
    const LAST_DELAY: Duration = Duration::from_secs(5);

    /// An apiserver has answered.
    pub fn answered(&mut self) {
        *self = Patience {
            answered: true,
            ..Patience::default()
        };
    }

    /// Returns when it is time to try again, or the failure where that would not help: it is an answer, or the first
    /// call's, or has lasted too long.
    pub async fn outlast(&mut self, failure: Failure) -> Result<(), Failure> {
        let since = *self.away_since.get_or_insert_with(Instant::now);
        if !self.answered || !failure.is_outage() || since.elapsed() > Patience::LIMIT {
            return Err(failure);
        }
        if self.failures == 0 {
            eprintln!("Warning: the connection to the cluster was lost, trying again: {failure}");
        }
        let delay = Patience::FIRST_DELAY * 2_u32.pow(self.failures.min(10));
        self.failures += 1;
        tokio::time::sleep(delay.min(Patience::LAST_DELAY)).await;
        Ok(())
    }
}

/// Waits before watching again, so that a server that ends every watch at once is not flooded.
pub async fn before_watching_again() {
    /// Short beside a person's patience, long beside a round trip.
    const DELAY: Duration = Duration::from_millis(300);
    tokio::time::sleep(DELAY).await;
}
