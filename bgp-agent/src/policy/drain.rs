//! The drain's steps: bleed, quiesce, shift, drained.
//!
//! Any change of a route moves flows, so the route changes only after the connections are gone.

use std::collections::BTreeMap;

use super::{
    Moment,
    event::{Line, ProxyState, Source, Step},
    settings::DrainSettings,
};

/// The drain: who wants it, and how far it is.
#[derive(Clone, Debug)]
pub(super) struct Drain {
    settings: DrainSettings,
    wanted: BTreeMap<Source, String>,
    step: Step,
    since: Moment,
    /// Connections, as told by a line that is younger than the step.
    fresh: Option<Open>,
    connections: u64,
    proxy_state: ProxyState,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    all: u64,
    old: Option<u64>,
}

impl Drain {
    pub(super) fn new(settings: DrainSettings) -> Self {
        Self {
            settings,
            wanted: BTreeMap::new(),
            step: Step::None,
            since: Moment::ZERO,
            fresh: None,
            connections: 0,
            proxy_state: ProxyState::Unknown,
        }
    }

    pub(super) fn want(&mut self, source: Source, reason: String) {
        self.wanted.insert(source, reason);
    }

    pub(super) fn unwant(&mut self, source: Source) {
        self.wanted.remove(&source);
    }

    pub(super) fn wanted_by(&self, source: Source) -> bool {
        self.wanted.contains_key(&source)
    }

    pub(super) fn sources(&self) -> impl Iterator<Item = Source> {
        self.wanted.keys().copied()
    }

    pub(super) fn reason(&self) -> String {
        self.wanted.values().next().cloned().unwrap_or_default()
    }

    pub(super) fn step(&self) -> Step {
        self.step
    }

    pub(super) fn since(&self) -> Moment {
        self.since
    }

    pub(super) fn connections(&self) -> u64 {
        self.connections
    }

    /// The proxy drops new connections, and so it drops probes.
    pub(super) fn probes_are_blind(&self) -> bool {
        matches!(self.step, Step::Quiescing | Step::Shifting)
    }

    pub(super) fn line(&mut self, line: &Line) {
        self.connections = line.connections;
        self.proxy_state = line.state;
        self.fresh = Some(Open {
            all: line.connections,
            old: line.old_connections,
        });
    }

    /// When the step ends by time.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.patience().map(|patience| self.since + patience)
    }

    fn patience(&self) -> Option<Moment> {
        match self.step {
            Step::None | Step::Drained => None,
            Step::Bleeding => Some(self.settings.deadline),
            Step::Quiescing => Some(self.settings.quiesce),
            Step::Shifting => Some(self.settings.lead),
        }
    }

    /// Goes as far as it can now, and says which steps it took. `dead`: the proxy is.
    pub(super) fn advance(&mut self, now: Moment, dead: bool) -> Vec<(Step, Step, String)> {
        let mut steps = Vec::new();
        while let Some((to, reason)) = self.next(now, dead) {
            let from = self.step;
            self.step = to;
            self.since = now;
            // What a line said before the step was taken says nothing about its effect.
            self.fresh = None;
            steps.push((from, to, reason));
        }
        steps
    }

    fn next(&self, now: Moment, dead: bool) -> Option<(Step, String)> {
        if self.wanted.is_empty() {
            return (self.step != Step::None)
                .then(|| (Step::None, "nobody wants it any more".to_owned()));
        }
        let over = self.deadline().is_some_and(|deadline| now >= deadline);
        match self.step {
            Step::None => Some((Step::Bleeding, self.reason())),
            Step::Drained => None,
            // Nothing is announced any more, so nothing is left to be done gently.
            _ if dead => Some((Step::Drained, "the proxy is gone".to_owned())),
            Step::Bleeding => {
                if self.proxy_state == ProxyState::Quiescing {
                    Some((Step::Quiescing, "the proxy is quiescing".to_owned()))
                } else if self.bled() {
                    Some((Step::Quiescing, "connections are gone".to_owned()))
                } else {
                    over.then(|| (Step::Quiescing, "deadline".to_owned()))
                }
            }
            Step::Quiescing => {
                if self
                    .fresh
                    .is_some_and(|open| open.all <= self.settings.connections)
                {
                    Some((Step::Shifting, "connections are gone".to_owned()))
                } else {
                    over.then(|| (Step::Shifting, "time is up".to_owned()))
                }
            }
            Step::Shifting => over.then(|| (Step::Drained, "time is up".to_owned())),
        }
    }

    /// Whether the connections from before the drain are gone.
    fn bled(&self) -> bool {
        self.fresh.is_some_and(|open| match open.old {
            Some(old) => old <= self.settings.connections,
            None => open.all <= self.settings.connections,
        })
    }
}
