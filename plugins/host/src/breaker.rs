//! When a crashed plugin may run again: a back-off with jitter, and a breaker for those that crash too often.
//! Pure: time and chance are parameters.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// How crashes are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// The first wait; each further crash within `window` doubles it. Default 1 s.
    pub base: Duration,
    /// The longest wait. Default 30 s.
    pub most: Duration,
    /// How long a crash is remembered. Default 60 s.
    pub window: Duration,
    /// This many crashes within `window` turn the plugin off. Default 10.
    pub crashes: usize,
    /// For how long. Default 5 min.
    pub off: Duration,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(1),
            most: Duration::from_secs(30),
            window: Duration::from_secs(60),
            crashes: 10,
            off: Duration::from_secs(300),
        }
    }
}

/// What a plugin may do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Run, and build instances.
    Go,
    /// Instances that live may run; new ones wait until then.
    Wait(Instant),
    /// Nothing of it runs until then.
    Off(Instant),
}

/// The crashes of one plugin, all its workers together.
#[derive(Debug, Clone)]
pub struct Breaker {
    policy: BreakerPolicy,
    /// True: the first crash within the window costs no wait.
    eager: bool,
    crashes: VecDeque<Instant>,
    retry_at: Option<Instant>,
    off_until: Option<Instant>,
}

impl Breaker {
    /// No crash yet. `eager` spares the first crash its wait.
    pub fn new(policy: BreakerPolicy, eager: bool) -> Self {
        Self {
            policy,
            eager,
            crashes: VecDeque::new(),
            retry_at: None,
            off_until: None,
        }
    }

    /// Notes a crash at `now`; `chance` in 0..1 spreads the waits of many.
    pub fn crash(&mut self, now: Instant, chance: f64) {
        while self
            .crashes
            .front()
            .is_some_and(|at| now.saturating_duration_since(*at) > self.policy.window)
        {
            self.crashes.pop_front();
        }
        self.crashes.push_back(now);
        let count = self.crashes.len();
        if count >= self.policy.crashes {
            self.off_until = Some(now + self.policy.off);
            self.crashes.clear();
            self.retry_at = None;
            return;
        }
        let doublings = u32::try_from(count - 1).unwrap_or(u32::MAX).min(20);
        let full = self
            .policy
            .base
            .saturating_mul(1 << doublings)
            .min(self.policy.most);
        let wait = full.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
        self.retry_at = if self.eager && count == 1 {
            None
        } else {
            Some(now + wait)
        };
    }

    /// What may happen at `now`.
    pub fn verdict(&self, now: Instant) -> Verdict {
        match (self.off_until, self.retry_at) {
            (Some(until), _) if now < until => Verdict::Off(until),
            (_, Some(at)) if now < at => Verdict::Wait(at),
            _ => Verdict::Go,
        }
    }

    /// How many crashes are remembered.
    pub fn recent(&self) -> usize {
        self.crashes.len()
    }
}
