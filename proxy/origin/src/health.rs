//! Passive health: after failures in a row something is left alone for a while.

use std::time::Duration;

use tokio::time::Instant;

/// When to leave something alone, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// Failures in a row until it is left alone.
    pub(crate) threshold: u32,
    /// The first time.
    pub(crate) base: Duration,
    /// Never longer than this, jitter aside.
    pub(crate) longest: Duration,
}

/// A server: three failures in a row, then 1 s, 2 s, 4 s … 30 s.
pub(crate) const SERVER: Policy = Policy {
    threshold: 3,
    base: Duration::from_secs(1),
    longest: Duration::from_secs(30),
};

/// One address of a server: it only goes to the end of the queue, so that one failure is enough.
pub(crate) const ADDRESS: Policy = Policy {
    threshold: 1,
    base: Duration::from_secs(2),
    longest: Duration::from_secs(60),
};

/// The health of a server or an address.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Health {
    failures: u32,
    until: Option<Instant>,
}

impl Health {
    /// Whether it is to be left alone now.
    pub(crate) fn is_down(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Notes a success.
    pub(crate) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Notes a failure; true where it is left alone from now on. `jitter` is from 0 to below 1 and
    /// spreads the end by a quarter to either side, so that nodes do not come back together.
    pub(crate) fn failed(&mut self, policy: Policy, now: Instant, jitter: f64) -> bool {
        // What fails while it is left alone was under way before: it is the same failure.
        if self.is_down(now) {
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        let Some(over) = self.failures.checked_sub(policy.threshold) else {
            return false;
        };
        let doubled = policy.base.saturating_mul(1 << over.min(16));
        let time = doubled.min(policy.longest).mul_f64(0.75 + jitter / 2.0);
        self.until = Some(now + time);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backs_off_longer_and_longer_and_forgets_on_success() {
        let mut now = Instant::now();
        let mut health = Health::default();
        assert!(!health.failed(SERVER, now, 0.5));
        assert!(!health.failed(SERVER, now, 0.5));
        assert!(!health.is_down(now));
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            assert!(health.failed(SERVER, now, 0.5));
            // Those under way do not count again.
            assert!(!health.failed(SERVER, now, 0.5));
            let end = now + Duration::from_secs(seconds);
            assert!(health.is_down(end - Duration::from_millis(1)));
            assert!(!health.is_down(end));
            now = end;
        }
        health.succeeded();
        assert!(!health.failed(SERVER, now, 0.5));
    }

    #[test]
    fn jitter_stays_within_a_quarter() {
        let now = Instant::now();
        for (jitter, millis) in [(0.0, 750), (0.999_999, 1250)] {
            let mut health = Health::default();
            for _ in 0..3 {
                health.failed(SERVER, now, jitter);
            }
            assert!(health.is_down(now + Duration::from_millis(millis - 1)));
            assert!(!health.is_down(now + Duration::from_millis(millis)));
        }
    }
}
