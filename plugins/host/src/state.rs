//! What the host keeps beside a guest: its contexts, its limits, and what the callback that runs may see.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use bytes::Bytes;
use wasmtime::{Memory, ResourceLimiter, TypedFunc};

use crate::{
    abi::{LogLevel, Status},
    exchange::SharedExchange,
    fields::Fields,
    instance::InstanceCell,
    limits::FailPolicy,
    plugin::PluginCore,
    services::LogLine,
};

/// The root context's number in every instance.
pub(crate) const ROOT: u32 = 1;

pub(crate) struct State {
    pub(crate) core: Arc<PluginCore>,
    /// For the replies of call-outs.
    pub(crate) cell: Weak<InstanceCell>,
    pub(crate) memory: Option<Memory>,
    pub(crate) allocate: Option<TypedFunc<u32, u32>>,
    /// The guest's allocator runs: a host call from inside it may not allocate again.
    pub(crate) allocating: bool,
    pub(crate) limiter: Limiter,
    pub(crate) deadline: Deadline,
    pub(crate) streams: HashMap<u32, StreamContext>,
    /// The context that host functions act on.
    pub(crate) effective: u32,
    pub(crate) next_context: u32,
    pub(crate) calls: HashSet<u32>,
    pub(crate) next_call: u32,
    pub(crate) view: View,
    pub(crate) tick: Option<Duration>,
    pub(crate) queues: Vec<u32>,
    pub(crate) log: LogBudget,
    /// `proxy_done` was called for these.
    pub(crate) done: Vec<u32>,
}

/// One stream as this instance knows it.
pub(crate) struct StreamContext {
    pub(crate) exchange: SharedExchange,
    pub(crate) stage: usize,
    /// `proxy_on_done` answered false: it lives until `proxy_done`.
    pub(crate) finishing: bool,
}

/// What only some callbacks may see.
#[derive(Debug, Default)]
pub(crate) enum View {
    /// Nothing special.
    #[default]
    Plain,
    /// `proxy_on_vm_start`.
    VmStart,
    /// `proxy_on_configure`.
    Configure,
    /// `proxy_on_http_call_response`.
    Call {
        head: Fields,
        body: Bytes,
        trailers: Fields,
    },
    /// `proxy_on_foreign_function`.
    Foreign(Bytes),
}

impl State {
    pub(crate) fn new(core: Arc<PluginCore>, cell: Weak<InstanceCell>) -> Self {
        let limiter = Limiter {
            memory: core.limits.memory,
            tables: core.limits.table_elements,
            denied: false,
        };
        Self {
            core,
            cell,
            memory: None,
            allocate: None,
            allocating: false,
            limiter,
            deadline: Deadline::default(),
            streams: HashMap::new(),
            effective: ROOT,
            next_context: ROOT + 1,
            calls: HashSet::new(),
            next_call: 1,
            view: View::Plain,
            tick: None,
            queues: Vec::new(),
            log: LogBudget::default(),
            done: Vec::new(),
        }
    }

    /// A number that no context of this instance has.
    pub(crate) fn new_context(&mut self) -> u32 {
        loop {
            let id = self.next_context;
            self.next_context = self.next_context.checked_add(1).unwrap_or(ROOT + 1);
            if !self.streams.contains_key(&id) {
                return id;
            }
        }
    }

    pub(crate) fn new_call(&mut self) -> u32 {
        loop {
            let id = self.next_call;
            self.next_call = self.next_call.checked_add(1).unwrap_or(1);
            if self.calls.insert(id) {
                return id;
            }
        }
    }

    /// The stream that host functions act on, and this plugin's stage of it.
    pub(crate) fn stream(&self) -> Option<(&SharedExchange, usize)> {
        self.streams
            .get(&self.effective)
            .map(|context| (&context.exchange, context.stage))
    }

    /// As [`State::stream`], before changing it: under `open`, what a failing callback did is taken back.
    pub(crate) fn stream_to_change(&self) -> Result<(&SharedExchange, usize), Status> {
        let (exchange, stage) = self.stream().ok_or(Status::BadArgument)?;
        if self.core.fail_policy == FailPolicy::Open {
            exchange.lock().remember(stage);
        }
        Ok((exchange, stage))
    }

    /// Writes a line, if the plugin may write another.
    pub(crate) fn log_line(&mut self, level: LogLevel, message: &[u8]) {
        let core = &self.core;
        if level < core.services.log_level(&core.site, &core.name) {
            return;
        }
        let suppressed = match self.log.take(Instant::now(), core.limits.log_lines) {
            Some(suppressed) => suppressed,
            None => return,
        };
        let write = |level, message: &str| {
            core.services.log(&LogLine {
                site: &core.site,
                plugin: &core.name,
                level,
                message,
            });
        };
        if suppressed > 0 {
            write(
                LogLevel::Warn,
                &format!("{suppressed} lines above the limit were not written"),
            );
        }
        let cut = message.get(..core.limits.log_line).unwrap_or(message);
        // One line stays one line, and a terminal is not the guest's to steer.
        let text: String = String::from_utf8_lossy(cut.trim_ascii_end())
            .chars()
            .map(|c| if c.is_control() && c != '\t' { ' ' } else { c })
            .collect();
        write(level, &text);
    }
}

/// Memory and tables, as the plugin's limits allow.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory: usize,
    tables: usize,
    /// The guest asked for more memory than it may have.
    pub(crate) denied: bool,
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        _: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = desired <= self.memory;
        self.denied |= !allowed;
        Ok(allowed)
    }

    fn table_growing(
        &mut self,
        _: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = desired <= self.tables;
        self.denied |= !allowed;
        Ok(allowed)
    }
}

/// When the callback that runs must end. The engine's epochs only say when to look: what counts is the thread's
/// CPU time, so that a machine with too much to do kills no innocent guest.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    pub(crate) budget: Duration,
    /// CPU time of the thread at the first look.
    pub(crate) first_look: Option<Duration>,
    pub(crate) passed: bool,
}

impl Deadline {
    /// Epochs until the first look.
    pub(crate) fn epochs(duration: Duration) -> u64 {
        let ticks = duration
            .as_micros()
            .div_ceil(crate::engine::TICK.as_micros());
        u64::try_from(ticks)
            .unwrap_or(u64::MAX / 2)
            .saturating_add(1)
    }

    /// Looks at the clock: epochs until the next look, or `None` when the time is up.
    pub(crate) fn look(&mut self, cpu: Duration) -> Option<u64> {
        let first = *self.first_look.get_or_insert(cpu);
        let used = cpu.saturating_sub(first);
        if used >= self.budget {
            self.passed = true;
            return None;
        }
        Some(Self::epochs(self.budget - used))
    }
}

/// CPU time of this thread.
pub(crate) fn thread_cpu() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid place to write one timespec to; the clock exists on every Linux.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    if result != 0 {
        return Duration::ZERO;
    }
    Duration::new(
        time.tv_sec.try_into().unwrap_or(0),
        time.tv_nsec.try_into().unwrap_or(0),
    )
}

/// Lines per second.
#[derive(Debug, Default)]
pub(crate) struct LogBudget {
    second: Option<Instant>,
    used: u32,
    suppressed: u64,
}

impl LogBudget {
    /// `None` when the second's lines are used up, else how many were not written in the second before.
    fn take(&mut self, now: Instant, most: u32) -> Option<u64> {
        let fresh = self
            .second
            .is_none_or(|second| now.saturating_duration_since(second) >= Duration::from_secs(1));
        if fresh {
            (self.second, self.used) = (Some(now), 0);
        }
        if self.used >= most {
            self.suppressed += 1;
            return None;
        }
        self.used += 1;
        Some(if fresh {
            std::mem::take(&mut self.suppressed)
        } else {
            0
        })
    }
}
