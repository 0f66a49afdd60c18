//! A plugin: a module with a configuration, attached to a site. Holds its instances, one per worker, and what
//! becomes of them when they fail.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::{
    blueprint::Blueprint,
    breaker::{Breaker, Verdict},
    chores::Waker,
    fault::Fault,
    host::NodeInfo,
    instance::InstanceCell,
    limits::{FailPolicy, Isolation, Limits, Phase},
    metrics::PluginMetrics,
    services::{LogLine, Services},
    shared::Shared,
};

/// How a site attaches a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginSpec {
    /// The plugin's name, one of a kind in its site: metrics, logs and Proxy-Status name it.
    pub name: String,
    /// Which of the module's root contexts is meant; most modules have one and take the empty name.
    pub root_id: String,
    /// Plugins of one site with the same VM id share data and queues. Empty is an id too.
    pub vm_id: String,
    /// What `proxy_on_configure` reads; most guests expect JSON.
    pub configuration: Bytes,
    /// What `proxy_on_vm_start` reads.
    pub vm_configuration: Bytes,
    /// What a request gets when the plugin fails.
    pub fail_policy: FailPolicy,
    /// How much requests share.
    pub isolation: Isolation,
    /// Where the callbacks run.
    pub phase: Phase,
    /// May a guest that pauses in the head's callback see the body before the head goes on? Without it (as in
    /// Envoy) the body waits until the guest resumes.
    pub body_before_headers: bool,
    /// Names of the upstreams that it may call out to.
    pub upstreams: Vec<String>,
    /// What it may use.
    pub limits: Limits,
}

impl PluginSpec {
    /// A plugin with all defaults.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            root_id: String::new(),
            vm_id: String::new(),
            configuration: Bytes::new(),
            vm_configuration: Bytes::new(),
            fail_policy: FailPolicy::default(),
            isolation: Isolation::default(),
            phase: Phase::default(),
            body_before_headers: false,
            upstreams: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// What instances know of their plugin.
pub(crate) struct PluginCore {
    pub(crate) site: String,
    pub(crate) name: String,
    pub(crate) root_id: String,
    pub(crate) vm_id: Bytes,
    pub(crate) configuration: Bytes,
    pub(crate) vm_configuration: Bytes,
    pub(crate) fail_policy: FailPolicy,
    pub(crate) phase: Phase,
    pub(crate) body_before_headers: bool,
    pub(crate) upstreams: Vec<String>,
    pub(crate) limits: Limits,
    pub(crate) node: Arc<NodeInfo>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) metrics: Arc<PluginMetrics>,
    pub(crate) services: Arc<dyn Services>,
    pub(crate) chores: Arc<Waker>,
    /// Some instance has ticks or queues.
    pub(crate) has_chores: AtomicBool,
    pub(crate) made: Instant,
    /// True from the first crash on: only then is the breaker's lock taken.
    troubled: AtomicBool,
    breaker: Mutex<Breaker>,
    last_fault: Mutex<Option<Fault>>,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    streams: AtomicU64,
    crashes: AtomicU64,
    bypassed: AtomicU64,
    failed: AtomicU64,
    refused_writes: AtomicU64,
    built: AtomicU64,
}

/// How a plugin fares, for `anypop status` and Prometheus.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PluginStatus {
    /// Whose it is.
    pub site: String,
    /// Its name.
    pub name: String,
    /// `running`, `waiting` (to be built again after a crash) or `off` (crashed too often).
    pub state: &'static str,
    /// Milliseconds until `waiting` or `off` ends.
    pub for_ms: Option<u64>,
    /// The last thing that went wrong.
    pub last_fault: Option<String>,
    /// Instances that live on workers now.
    pub instances: usize,
    /// Instances built so far.
    pub built: u64,
    /// Streams that it saw.
    pub streams: u64,
    /// Times that an instance of it ended by a crash.
    pub crashes: u64,
    /// Streams that went on without it.
    pub bypassed: u64,
    /// Streams that got an error because of it.
    pub failed: u64,
    /// Fields that it wrote and that were refused.
    pub refused_writes: u64,
}

impl PluginCore {
    #[expect(
        clippy::too_many_arguments,
        reason = "called in one place; a struct would repeat PluginCore"
    )]
    pub(crate) fn new(
        site: &str,
        spec: &PluginSpec,
        node: Arc<NodeInfo>,
        shared: Arc<Shared>,
        metrics: Arc<PluginMetrics>,
        services: Arc<dyn Services>,
        chores: Arc<Waker>,
        breaker: Breaker,
    ) -> Self {
        Self {
            site: site.to_owned(),
            name: spec.name.clone(),
            root_id: spec.root_id.clone(),
            vm_id: Bytes::copy_from_slice(spec.vm_id.as_bytes()),
            configuration: spec.configuration.clone(),
            vm_configuration: spec.vm_configuration.clone(),
            fail_policy: spec.fail_policy,
            phase: spec.phase,
            body_before_headers: spec.body_before_headers,
            upstreams: spec.upstreams.clone(),
            limits: spec.limits.clone(),
            node,
            shared,
            metrics,
            services,
            chores,
            has_chores: AtomicBool::new(false),
            made: Instant::now(),
            troubled: AtomicBool::new(false),
            breaker: Mutex::new(breaker),
            last_fault: Mutex::new(None),
            counters: Counters::default(),
        }
    }

    /// Notes that an instance ended.
    pub(crate) fn crashed(&self, fault: &Fault) {
        self.counters.crashes.fetch_add(1, Ordering::Relaxed);
        self.breaker.lock().crash(Instant::now(), rand::random());
        self.troubled.store(true, Ordering::Release);
        self.complain(fault);
    }

    fn complain(&self, fault: &Fault) {
        *self.last_fault.lock() = Some(fault.clone());
        let message = format!("plugin {} {fault}", self.name);
        self.services.log(&LogLine {
            site: &self.site,
            plugin: &self.name,
            level: crate::abi::LogLevel::Error,
            message: &message,
        });
    }

    pub(crate) fn count_failure(&self, fault: &Fault, bypassed: bool) {
        let counter = if bypassed {
            &self.counters.bypassed
        } else {
            &self.counters.failed
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if !fault.is_crash() && !matches!(fault, Fault::Gone | Fault::Waiting | Fault::Off) {
            *self.last_fault.lock() = Some(fault.clone());
        }
    }

    pub(crate) fn count_refused(&self, writes: u64) {
        self.counters
            .refused_writes
            .fetch_add(writes, Ordering::Relaxed);
    }

    fn verdict(&self, now: Instant) -> Verdict {
        if self.troubled.load(Ordering::Acquire) {
            self.breaker.lock().verdict(now)
        } else {
            Verdict::Go
        }
    }
}

/// A module with its configuration, attached to a site and configured once already.
pub struct Plugin {
    pub(crate) core: Arc<PluginCore>,
    blueprint: Arc<Blueprint>,
    /// Taken after configuration, for `isolation = "request"`.
    snapshot: Option<Arc<Blueprint>>,
    isolation: Isolation,
    slots: Vec<Mutex<Option<Arc<InstanceCell>>>>,
    pub(crate) sees: Sees,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("site", &self.core.site)
            .field("name", &self.core.name)
            .finish()
    }
}

/// Which callbacks the module has: the rest of a message passes it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sees {
    pub(crate) heads: [bool; 2],
    pub(crate) bodies: [bool; 2],
    pub(crate) trailers: [bool; 2],
    /// Some callback for a stream's beginning or end.
    pub(crate) ends: bool,
}

impl Sees {
    pub(crate) fn of(exports: &[String]) -> Self {
        let both = |part: &str| {
            ["request", "response"].map(|way| {
                exports
                    .iter()
                    .any(|name| *name == format!("proxy_on_{way}_{part}"))
            })
        };
        let ends = ["context_create", "done", "log", "delete"];
        let ends = ends.iter().any(|part| {
            exports
                .iter()
                .any(|name| *name == format!("proxy_on_{part}"))
        });
        Self {
            heads: both("headers"),
            bodies: both("body"),
            trailers: both("trailers"),
            ends,
        }
    }
}

impl Plugin {
    pub(crate) fn new(
        core: Arc<PluginCore>,
        blueprint: Arc<Blueprint>,
        snapshot: Option<Arc<Blueprint>>,
        isolation: Isolation,
        canary: Arc<InstanceCell>,
        workers: usize,
        sees: Sees,
    ) -> Self {
        let slots: Vec<_> = (0..workers.max(1)).map(|_| Mutex::new(None)).collect();
        core.counters.built.fetch_add(1, Ordering::Relaxed);
        if let Some(slot) = slots.first() {
            // With an instance per request the canary stays too: ticks and queues are its.
            *slot.lock() = Some(canary);
        }
        Self {
            core,
            blueprint,
            snapshot,
            isolation,
            slots,
            sees,
        }
    }

    /// The plugin's name.
    pub fn name(&self) -> &str {
        &self.core.name
    }

    /// Its site.
    pub fn site(&self) -> &str {
        &self.core.site
    }

    /// Where its callbacks run.
    pub fn phase(&self) -> Phase {
        self.core.phase
    }

    /// What it may use.
    pub fn limits(&self) -> &Limits {
        &self.core.limits
    }

    /// True when every request gets an instance from a snapshot instead of one that is configured anew.
    pub fn has_snapshot(&self) -> bool {
        self.snapshot.is_some()
    }

    /// The instance for a stream on `worker`, built when there is none.
    pub(crate) fn acquire(&self, worker: usize) -> Result<Arc<InstanceCell>, Fault> {
        self.core.counters.streams.fetch_add(1, Ordering::Relaxed);
        let verdict = self.core.verdict(Instant::now());
        if let Verdict::Off(_) = verdict {
            return Err(Fault::Off);
        }
        if self.isolation == Isolation::Request {
            // A crash here took nothing from anybody else, so nobody waits for it; the breaker still counts.
            return self.build(self.snapshot.is_some());
        }
        let mut slot = self.slot(worker).lock();
        match slot.as_ref().filter(|cell| !cell.is_dead()) {
            Some(cell) => Ok(cell.clone()),
            None if verdict != Verdict::Go => Err(Fault::Waiting),
            None => {
                let cell = self.build(false)?;
                *slot = Some(cell.clone());
                Ok(cell)
            }
        }
    }

    /// Builds the instances of all workers now, so that no request waits for it.
    ///
    /// # Errors
    /// The first failure; the others are built all the same.
    pub fn warm(&self) -> Result<(), Fault> {
        let mut result = Ok(());
        if self.isolation == Isolation::Worker {
            for worker in 0..self.slots.len() {
                let built = self.acquire(worker).map(|_| ());
                // Not a stream.
                self.core.counters.streams.fetch_sub(1, Ordering::Relaxed);
                result = result.and(built);
            }
        }
        result
    }

    fn build(&self, from_snapshot: bool) -> Result<Arc<InstanceCell>, Fault> {
        let blueprint = if from_snapshot {
            self.snapshot.as_ref().unwrap_or(&self.blueprint)
        } else {
            &self.blueprint
        };
        let built = InstanceCell::build(blueprint, &self.core, from_snapshot);
        match &built {
            Ok(_) => _ = self.core.counters.built.fetch_add(1, Ordering::Relaxed),
            Err(fault) if fault.is_crash() => self.core.crashed(fault),
            Err(_) => {}
        }
        built
    }

    fn slot(&self, worker: usize) -> &Mutex<Option<Arc<InstanceCell>>> {
        // There is at least one slot (see `new`), so the remainder is always one of them.
        &self.slots[worker % self.slots.len()]
    }

    /// Calls `proxy_on_foreign_function` in the root context of the instance of `worker`.
    ///
    /// # Errors
    /// As for any callback.
    pub fn call_foreign(
        &self,
        worker: usize,
        function: u32,
        arguments: Bytes,
    ) -> Result<(), Fault> {
        let slot = self.slot(worker).lock().clone();
        slot.ok_or(Fault::Waiting)?
            .run(|live| live.foreign(function, arguments))
    }

    /// Ticks, queues, and the rebuilding of instances that crashed, where due. Gives back when to come again.
    pub(crate) fn run_due(&self, now: Instant) -> Option<Instant> {
        let verdict = self.core.verdict(now);
        if let Verdict::Off(until) = verdict {
            return Some(until);
        }
        let mut next: Option<Instant> = None;
        let mut sooner = |at: Option<Instant>| next = [next, at].into_iter().flatten().min();
        for slot in &self.slots {
            // A worker that builds in this moment is alive and has nothing due.
            let Some(mut place) = slot.try_lock() else {
                continue;
            };
            let Some(cell) = place.clone() else { continue };
            if cell.is_dead() {
                match verdict {
                    Verdict::Wait(at) | Verdict::Off(at) => sooner(Some(at)),
                    Verdict::Go => match self.build(false) {
                        Ok(cell) => *place = Some(cell),
                        // The crash has made a new verdict.
                        Err(_) => sooner(Some(now + Duration::from_millis(100))),
                    },
                }
                continue;
            }
            drop(place);
            if self.core.has_chores.load(Ordering::Relaxed) {
                sooner(cell.run_due(now));
            }
        }
        next
    }

    /// How it fares at `now`.
    pub fn status(&self, now: Instant) -> PluginStatus {
        let counters = &self.core.counters;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (state, until) = match self.core.verdict(now) {
            Verdict::Go => ("running", None),
            Verdict::Wait(at) => ("waiting", Some(at)),
            Verdict::Off(at) => ("off", Some(at)),
        };
        let left = |at: Instant| {
            u64::try_from(at.saturating_duration_since(now).as_millis()).unwrap_or(u64::MAX)
        };
        let alive = |slot: &Mutex<Option<Arc<InstanceCell>>>| {
            slot.lock().as_ref().is_some_and(|cell| !cell.is_dead())
        };
        PluginStatus {
            site: self.core.site.clone(),
            name: self.core.name.clone(),
            state,
            for_ms: until.map(left),
            last_fault: self
                .core
                .last_fault
                .lock()
                .as_ref()
                .map(ToString::to_string),
            instances: self.slots.iter().filter(|slot| alive(slot)).count(),
            built: count(&counters.built),
            streams: count(&counters.streams),
            crashes: count(&counters.crashes),
            bypassed: count(&counters.bypassed),
            failed: count(&counters.failed),
            refused_writes: count(&counters.refused_writes),
        }
    }
}
