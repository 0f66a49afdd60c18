//! Health → policy → announcement, as a pure state machine: time and events in, actions out.
//!
//! Two rules stand above all others, and property tests hold them:
//! nothing is announced while the local data plane is known to be dead, and
//! nothing that other PoPs share (an origin, a control plane) withdraws anything.

mod count;
mod drain;
mod event;
mod guard;
mod settings;
mod snapshot;
mod vip;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use event::{Action, Ask, Event, Level, Line, ProxyState, Source, Step};
pub use settings::{
    CheckSettings, Counts, DrainSettings, GuardSettings, HoldDown, NodeCheckSettings, Scope,
    Settings, VipSettings,
};
pub use snapshot::{CheckSnapshot, DrainSnapshot, ProxySnapshot, Snapshot, VipSnapshot};

use count::Check;
use drain::Drain;
use guard::Guard;
use vip::Vip;

/// A point in time: how long the agent has been running.
pub type Moment = Duration;

/// For how long after the proxy was asked to resume its older words are not held against it.
const RESUMING: Duration = Duration::from_secs(3);

/// What is known of the proxy.
#[derive(Clone, Debug)]
struct Proxy {
    line: Option<Line>,
    lease_until: Moment,
    /// Why it counts as dead; none while it lives.
    dead: Option<String>,
    /// It was asked to bleed or to quiesce, so its doing so is no wish of its own.
    asked: bool,
    resuming_until: Option<Moment>,
}

/// What a VIP deserves.
enum Verdict {
    Serve,
    Degrade(String),
    /// Checks say no.
    Doubt(String),
    /// It cannot be serving.
    Dead(String),
    Drained(String),
}

/// The state machine.
#[derive(Clone, Debug)]
pub struct Policy {
    settings: Settings,
    vips: Vec<Vip>,
    checks: Vec<(Scope, Check)>,
    proxy: Proxy,
    drain: Drain,
    guard: Guard,
    leaving: Option<String>,
    told_to_exit: bool,
    /// A drain was under way when the last event came.
    was_draining: bool,
}

impl Policy {
    /// A policy that knows nothing yet, so that nothing is announced.
    pub fn new(settings: Settings) -> Self {
        Self {
            vips: settings
                .vips
                .iter()
                .map(|vip| Vip::new(vip.clone(), settings.proxy))
                .collect(),
            checks: settings
                .checks
                .iter()
                .map(|node| (node.scope, Check::new(node.check.clone())))
                .collect(),
            proxy: Proxy {
                line: None,
                lease_until: Moment::ZERO,
                dead: Some("the proxy has not been heard of".to_owned()),
                asked: false,
                resuming_until: None,
            },
            drain: Drain::new(settings.drain),
            guard: Guard::new(settings.guard),
            leaving: None,
            told_to_exit: false,
            was_draining: false,
            settings,
        }
    }

    /// Takes an event in. `now` never goes back.
    pub fn handle(&mut self, now: Moment, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        self.was_draining = self.drain.step() != Step::None;
        match event {
            Event::Tick => {}
            Event::Line(line) => self.line(now, line),
            Event::Gone(reason) => self.proxy_died(reason),
            Event::Probed { vip, check, result } => {
                // While new connections are dropped on purpose, a probe's failure says nothing.
                if !self.drain.probes_are_blind()
                    && let Some(check) = self
                        .vips
                        .get_mut(vip)
                        .and_then(|vip| vip.checks.get_mut(check))
                {
                    check.observe(now, result);
                }
            }
            Event::Checked { check, result } => {
                if let Some((_, check)) = self.checks.get_mut(check) {
                    check.observe(now, result);
                }
            }
            Event::Address { vip, present } => {
                if let Some(vip) = self.vips.get_mut(vip) {
                    vip.address = Some(present);
                }
            }
            Event::Drain { source, reason } => self.drain.want(source, reason),
            Event::Undrain(source) => self.drain.unwant(source),
            Event::Leave(reason) => self.leaving = Some(reason),
        }
        self.settle(now, &mut out);
        out
    }

    /// When the next [`Event::Tick`] is due, if nothing else happens before. Always after `now`, which
    /// is that of the last event.
    pub fn next_deadline(&self, now: Moment) -> Option<Moment> {
        let lease = self.proxy.dead.is_none().then_some(self.proxy.lease_until);
        let blind = self.drain.probes_are_blind();
        let probes = self
            .vips
            .iter()
            .flat_map(|vip| &vip.checks)
            .filter(|_| !blind)
            .filter_map(Check::deadline);
        let checks = self.checks.iter().filter_map(|(_, check)| check.deadline());
        let holds = self
            .vips
            .iter()
            .filter(|vip| vip.announced.is_none())
            .map(Vip::hold_until);
        let held = self
            .vips
            .iter()
            .any(|vip| vip.held)
            .then(|| self.guard.frees())
            .flatten();
        lease
            .into_iter()
            .chain(probes)
            .chain(checks)
            .chain(holds)
            .chain(held)
            .chain(self.proxy.resuming_until)
            .chain(self.drain.deadline())
            .filter(|deadline| *deadline > now)
            .min()
    }

    /// The drain's step.
    pub fn step(&self) -> Step {
        self.drain.step()
    }

    fn proxy_died(&mut self, reason: String) {
        self.proxy.dead = Some(reason);
        self.proxy.resuming_until = None;
        // A process that starts again has been asked for nothing.
        self.proxy.asked = false;
        self.drain.unwant(Source::Proxy);
        for vip in &mut self.vips {
            vip.serving.force_down();
            vip.proxy_state = ProxyState::Unknown;
        }
    }

    fn line(&mut self, now: Moment, line: Line) {
        self.proxy.dead = None;
        self.proxy.lease_until = now + line.lease;
        for vip in &mut self.vips {
            let state = vip
                .settings
                .addresses
                .iter()
                .filter_map(|address| line.vips.get(address))
                .copied()
                // A VIP is as good as its worst address.
                .max_by_key(|state| badness(*state))
                .unwrap_or(line.state);
            vip.told(state);
        }
        match line.state {
            ProxyState::Bleeding | ProxyState::Quiescing
                if !self.proxy.asked && self.proxy.resuming_until.is_none() =>
            {
                let reason = if line.reason.is_empty() {
                    format!("the proxy is {}", line.state)
                } else {
                    format!("the proxy is {}: {}", line.state, line.reason)
                };
                self.drain.want(Source::Proxy, reason);
            }
            ProxyState::Ready => {
                self.proxy.resuming_until = None;
                self.drain.unwant(Source::Proxy);
            }
            _ => {}
        }
        self.drain.line(&line);
        self.proxy.line = Some(line);
    }

    fn settle(&mut self, now: Moment, out: &mut Vec<Action>) {
        self.expire(now);
        self.drain_on(now, out);
        for index in 0..self.vips.len() {
            self.settle_vip(now, index, out);
        }
        if self.drain.step() == Step::Drained
            && self.drain.wanted_by(Source::Exit)
            && !self.told_to_exit
            || self.leaving.is_some() && !self.told_to_exit
        {
            self.told_to_exit = true;
            out.push(Action::MayExit);
        }
    }

    fn expire(&mut self, now: Moment) {
        if self.proxy.dead.is_none() && now >= self.proxy.lease_until {
            let lease = self
                .proxy
                .line
                .as_ref()
                .map_or(Duration::ZERO, |line| line.lease);
            self.proxy_died(format!("the proxy has been silent for {lease:?}"));
        }
        if self.proxy.resuming_until.is_some_and(|until| now >= until) {
            self.proxy.resuming_until = None;
        }
        let blind = self.drain.probes_are_blind();
        for check in self.vips.iter_mut().flat_map(|vip| &mut vip.checks) {
            if blind {
                check.extend(now);
            } else {
                check.expire(now);
            }
        }
        for (_, check) in &mut self.checks {
            check.expire(now);
        }
    }

    fn drain_on(&mut self, now: Moment, out: &mut Vec<Action>) {
        let dead = self.proxy.dead.is_some();
        let before = self.drain.step();
        for (from, to, reason) in self.drain.advance(now, dead) {
            out.push(Action::Stepped {
                from,
                to,
                reason,
                connections: self.drain.connections(),
            });
            match to {
                // Whoever bleeds by its own wish need not be asked.
                Step::Bleeding if !self.proxy_drains_alone() => self.ask(Ask::Bleed, out),
                Step::Quiescing => self.ask(Ask::Quiesce, out),
                _ => {}
            }
        }
        let after = self.drain.step();
        if before != Step::None && after == Step::None {
            for vip in &mut self.vips {
                if vip.announced.is_none() {
                    // It comes back like any other: by the rise count.
                    vip.start_over();
                }
            }
            if self.proxy.asked {
                self.proxy.asked = false;
                self.proxy.resuming_until = Some(now + RESUMING);
                out.push(Action::AskProxy(Ask::Resume));
            }
        }
    }

    fn proxy_drains_alone(&self) -> bool {
        self.drain.wanted_by(Source::Proxy)
    }

    fn ask(&mut self, ask: Ask, out: &mut Vec<Action>) {
        if self.proxy.dead.is_none() {
            self.proxy.asked = true;
            out.push(Action::AskProxy(ask));
        }
    }

    fn verdict(&self, vip: &Vip) -> Verdict {
        if let Some(reason) = &self.leaving {
            return Verdict::Drained(reason.clone());
        }
        if let Some(reason) = &self.proxy.dead {
            return Verdict::Dead(reason.clone());
        }
        if self.drain.step() == Step::Drained {
            return Verdict::Drained(format!("drained: {}", self.drain.reason()));
        }
        if !vip.serving.up() {
            return Verdict::Dead(format!("the proxy is {}", vip.proxy_state));
        }
        if vip.address != Some(true) {
            return Verdict::Dead("the address is on no interface".to_owned());
        }
        if !self.drain.probes_are_blind()
            && let Some(fault) = vip.fault()
        {
            return Verdict::Doubt(fault);
        }
        let faults = |scope| {
            self.checks
                .iter()
                .filter(move |(of, _)| *of == scope)
                .find_map(|(_, check)| check.fault())
        };
        if let Some(fault) = faults(Scope::Local) {
            return Verdict::Doubt(fault);
        }
        if let Some(fault) = faults(Scope::Shared) {
            return Verdict::Degrade(fault);
        }
        Verdict::Serve
    }

    fn settle_vip(&mut self, now: Moment, index: usize, out: &mut Vec<Action>) {
        let Some(vip) = self.vips.get(index) else {
            return;
        };
        let verdict = self.verdict(vip);
        let announced = vip.announced;
        let held_down = vip.held_down(now);
        let shifting = self.drain.step() == Step::Shifting;
        let draining = self.drain.step() != Step::None;
        // The proxy's own drain ends with the proxy.
        let ending = draining || self.was_draining;
        let hold = self.settings.hold_down;
        let may_doubt = match &verdict {
            Verdict::Doubt(_) if announced.is_some() => self.guard.take(now),
            _ => true,
        };
        let Some(vip) = self.vips.get_mut(index) else {
            return;
        };
        let level = |plain| if shifting { Level::Shifting } else { plain };
        let (wanted, reason, failure) = match verdict {
            Verdict::Serve => (Some(level(Level::Normal)), String::new(), false),
            Verdict::Degrade(why) => (Some(level(Level::Degraded)), why, false),
            Verdict::Doubt(why) if may_doubt => (None, why, true),
            Verdict::Doubt(why) => {
                if !vip.held {
                    out.push(Action::Held {
                        vip: index,
                        reason: why.clone(),
                    });
                }
                vip.held = true;
                (Some(level(Level::Degraded)), why, false)
            }
            Verdict::Dead(why) => (None, why, true),
            Verdict::Drained(why) => (None, why, false),
        };
        let holds = wanted.is_some() && !may_doubt;
        vip.held = vip.held && holds;
        match (announced, wanted) {
            (Some(_), None) => {
                // What dies while it is being drained, or says that it has ended its work, does what it
                // was told to.
                if failure && !ending && vip.proxy_state != ProxyState::Drained {
                    vip.failed(now, &hold);
                }
                vip.announced = None;
                vip.since = now;
                out.push(Action::Withdraw {
                    vip: index,
                    reason: reason.clone(),
                });
                vip.reason = reason;
            }
            (None, Some(_)) if draining => "a drain is under way".clone_into(&mut vip.reason),
            // Bleeding is good enough to stay, not to begin.
            (None, Some(_)) if vip.proxy_state != ProxyState::Ready => {
                vip.reason = format!("the proxy is {}", vip.proxy_state);
            }
            (None, Some(_)) if held_down => {
                vip.reason = format!("held down after {} failures", vip.failures());
            }
            (None, None) => vip.reason = reason,
            (from, Some(level)) => {
                if from != Some(level) {
                    if from.is_none() {
                        vip.since = now;
                    }
                    vip.announced = Some(level);
                    out.push(Action::Announce {
                        vip: index,
                        level,
                        reason: reason.clone(),
                    });
                }
                vip.reason = reason;
            }
        }
    }
}

/// An order of states, the worst last.
fn badness(state: ProxyState) -> u8 {
    match state {
        ProxyState::Ready => 0,
        ProxyState::Bleeding => 1,
        ProxyState::Quiescing => 2,
        ProxyState::Unknown => 3,
        ProxyState::Failing => 4,
        ProxyState::Starting => 5,
        ProxyState::Drained => 6,
    }
}
