//! The limit on withdrawals that are a matter of opinion.

use std::collections::VecDeque;

use super::{Moment, settings::GuardSettings};

/// Counts withdrawals caused by checks within a window. A dead data plane is a fact and passes
/// uncounted; a check is an opinion, and a wrong one can hit every VIP and every PoP at once.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    settings: GuardSettings,
    past: VecDeque<Moment>,
}

impl Guard {
    pub(super) fn new(settings: GuardSettings) -> Self {
        Self {
            settings,
            past: VecDeque::new(),
        }
    }

    /// Takes one place, if there is one.
    pub(super) fn take(&mut self, now: Moment) -> bool {
        while self
            .past
            .front()
            .is_some_and(|first| now >= *first + self.settings.window)
        {
            self.past.pop_front();
        }
        if self.past.len() >= self.settings.withdrawals as usize {
            return false;
        }
        self.past.push_back(now);
        true
    }

    /// When a place gets free.
    pub(super) fn frees(&self) -> Option<Moment> {
        self.past.front().map(|first| *first + self.settings.window)
    }
}
