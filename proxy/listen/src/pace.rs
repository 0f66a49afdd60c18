//! How slowly a client may send: the longest pause, and the least rate while it is waited for.

use std::time::Duration;

use tokio::time::Instant;

/// Over how long the least rate is measured.
const WINDOW: Duration = Duration::from_secs(10);

/// Only time in which bytes were waited for counts: a client is not slow because the origin is.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    waiting_since: Option<Instant>,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Bytes are waited for; since when.
    pub(crate) fn waits(&mut self, now: Instant) -> Instant {
        *self.waiting_since.get_or_insert(now)
    }

    /// Bytes came; false when they come too slowly. `min_rate` is in bytes per second, 0 takes any.
    pub(crate) fn came(&mut self, bytes: usize, now: Instant, min_rate: u64) -> bool {
        let Some(since) = self.waiting_since.take() else {
            return true;
        };
        if min_rate == 0 {
            return true;
        }
        self.waited += now.saturating_duration_since(since);
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if self.waited < WINDOW {
            return true;
        }
        let enough = self.bytes >= min_rate.saturating_mul(self.waited.as_secs());
        self.waited = Duration::ZERO;
        self.bytes = 0;
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_measured_while_waiting() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::default();
        pace.waits(at(0));
        assert!(pace.came(500, at(6), 100));
        // Half a minute in which nobody waited does not count.
        pace.waits(at(36));
        assert!(pace.came(700, at(42), 100));
        pace.waits(at(50));
        assert!(!pace.came(999, at(60), 100));
        // Off.
        pace.waits(at(60));
        assert!(pace.came(1, at(600), 0));
    }
}
