//! Rise and fall, and silence that counts as failure.

use super::{
    Moment,
    settings::{CheckSettings, Counts},
};

/// Up after `rise` successes in a row, down after `fall` failures in a row; down at first.
#[derive(Clone, Debug)]
pub(super) struct Hysteresis {
    counts: Counts,
    up: bool,
    streak: u32,
}

impl Hysteresis {
    pub(super) fn new(counts: Counts) -> Self {
        Self {
            counts,
            up: false,
            streak: 0,
        }
    }

    pub(super) fn up(&self) -> bool {
        self.up
    }

    pub(super) fn observe(&mut self, ok: bool) {
        if ok == self.up {
            self.streak = 0;
            return;
        }
        self.streak = self.streak.saturating_add(1);
        let needed = if ok {
            self.counts.rise
        } else {
            self.counts.fall
        };
        if self.streak >= needed {
            self.up = ok;
            self.streak = 0;
        }
    }

    /// Down at once; rising starts from nothing.
    pub(super) fn force_down(&mut self) {
        self.up = false;
        self.streak = 0;
    }
}

/// A check's standing.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub(super) settings: CheckSettings,
    pub(super) standing: Hysteresis,
    /// What the last failure said.
    pub(super) detail: String,
    expires: Option<Moment>,
}

impl Check {
    pub(super) fn new(settings: CheckSettings) -> Self {
        Self {
            standing: Hysteresis::new(settings.counts),
            settings,
            detail: "no result yet".to_owned(),
            expires: None,
        }
    }

    pub(super) fn observe(&mut self, now: Moment, result: Result<(), String>) {
        self.expires = Some(now + self.settings.lease);
        self.standing.observe(result.is_ok());
        self.detail = result.err().unwrap_or_default();
    }

    /// Takes silence for failure.
    pub(super) fn expire(&mut self, now: Moment) {
        if self.expires.is_some_and(|expires| now >= expires) {
            self.expires = None;
            self.standing.force_down();
            self.detail = format!("no result within {:?}", self.settings.lease);
        }
    }

    /// What it said while it could not know better is forgotten, and silence until now forgiven.
    pub(super) fn extend(&mut self, now: Moment) {
        if self.expires.is_some() {
            self.expires = Some(now + self.settings.lease);
        }
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        self.expires
    }

    pub(super) fn fault(&self) -> Option<String> {
        (!self.standing.up()).then(|| {
            if self.detail.is_empty() {
                format!("{}: rising", self.settings.name)
            } else {
                format!("{}: {}", self.settings.name, self.detail)
            }
        })
    }
}
