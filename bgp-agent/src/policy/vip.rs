//! One VIP: what is known of it, and how long it must stay away.

use super::{
    Moment,
    count::{Check, Hysteresis},
    event::{Level, ProxyState},
    settings::{Counts, HoldDown, VipSettings},
};

/// A VIP's standing.
#[derive(Clone, Debug)]
pub(super) struct Vip {
    pub(super) settings: VipSettings,
    /// What the proxy says of it.
    pub(super) serving: Hysteresis,
    pub(super) proxy_state: ProxyState,
    pub(super) checks: Vec<Check>,
    pub(super) address: Option<bool>,
    pub(super) announced: Option<Level>,
    /// Why it stands as it does.
    pub(super) reason: String,
    pub(super) since: Moment,
    /// Checks want it withdrawn, and the guard does not.
    pub(super) held: bool,
    failures: u32,
    hold_until: Moment,
}

impl Vip {
    pub(super) fn new(settings: VipSettings, proxy: Counts) -> Self {
        Self {
            serving: Hysteresis::new(proxy),
            proxy_state: ProxyState::Starting,
            checks: settings.checks.iter().cloned().map(Check::new).collect(),
            settings,
            address: None,
            announced: None,
            reason: "the agent has just started".to_owned(),
            since: Moment::ZERO,
            held: false,
            failures: 0,
            hold_until: Moment::ZERO,
        }
    }

    /// What the proxy says now.
    pub(super) fn told(&mut self, state: ProxyState) {
        self.proxy_state = state;
        match state {
            ProxyState::Ready | ProxyState::Bleeding | ProxyState::Quiescing => {
                self.serving.observe(true);
            }
            ProxyState::Failing | ProxyState::Unknown => self.serving.observe(false),
            // Nothing listens: no count would make that better.
            ProxyState::Starting | ProxyState::Drained => self.serving.force_down(),
        }
    }

    /// The first check that is down.
    pub(super) fn fault(&self) -> Option<String> {
        self.checks.iter().find_map(Check::fault)
    }

    pub(super) fn held_down(&self, now: Moment) -> bool {
        now < self.hold_until
    }

    pub(super) fn hold_until(&self) -> Moment {
        self.hold_until
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// A failure took it down: how long it must stay away.
    pub(super) fn failed(&mut self, now: Moment, hold: &HoldDown) {
        if now >= self.since + hold.forget {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        let wait = match self.failures {
            0 | 1 => Moment::ZERO,
            n => hold
                .base
                .saturating_mul(1_u32.checked_shl(n - 2).unwrap_or(u32::MAX))
                .min(hold.max),
        };
        self.hold_until = now + wait;
    }

    /// Every check has to rise anew.
    pub(super) fn start_over(&mut self) {
        for check in &mut self.checks {
            check.standing.force_down();
        }
        self.serving.force_down();
    }
}
