//! One running guest. It belongs to one plugin and one worker (or one request), is locked for the length of a
//! callback, and is gone for good after the first trap.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use wasmtime::{Store, TypedFunc, UpdateDeadline, WasmParams, WasmResults};

use crate::{
    abi::LogLevel,
    blueprint::{Blueprint, Exports},
    calls::Exit,
    exchange::SharedExchange,
    fault::Fault,
    plugin::PluginCore,
    services::CallResponse,
    state::{Deadline, ROOT, State, StreamContext, View, thread_cpu},
};

/// An instance, or the place where one was.
pub(crate) struct InstanceCell {
    core: Arc<PluginCore>,
    live: Mutex<Option<Live>>,
    dead: AtomicBool,
    /// Ends of call-outs that came while the guest ran, perhaps from within its own host call.
    inbox: Mutex<Vec<(u32, Option<CallResponse>)>>,
    schedule: Mutex<Schedule>,
}

impl std::fmt::Debug for InstanceCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InstanceCell")
            .field("plugin", &self.core.name)
            .field("dead", &self.is_dead())
            .finish()
    }
}

/// What the guest wants to be called for.
#[derive(Debug, Default)]
struct Schedule {
    tick: Option<(Duration, Instant)>,
    /// Queues, and how many of their items the guest was told of.
    queues: Vec<(u32, u64)>,
}

/// The guest itself.
pub(crate) struct Live {
    store: Store<State>,
    exports: Exports,
}

impl InstanceCell {
    /// Makes an instance. `configured`: the blueprint is a snapshot taken after configuration.
    pub(crate) fn build(
        blueprint: &Blueprint,
        core: &Arc<PluginCore>,
        configured: bool,
    ) -> Result<Arc<Self>, Fault> {
        let cell = Arc::new(Self {
            core: core.clone(),
            live: Mutex::new(None),
            dead: AtomicBool::new(false),
            inbox: Mutex::default(),
            schedule: Mutex::default(),
        });
        let live = Live::build(blueprint, core, Arc::downgrade(&cell), configured)?;
        cell.note_schedule(&live);
        *cell.live.lock() = Some(live);
        Ok(cell)
    }

    /// True after a crash: never call it again.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Runs `callback` on the guest. An error ends the guest.
    pub(crate) fn run<R>(
        &self,
        callback: impl FnOnce(&mut Live) -> wasmtime::Result<R>,
    ) -> Result<R, Fault> {
        let mut live = self.live.lock();
        let result = self.run_locked(&mut live, callback);
        drop(live);
        self.settle();
        result
    }

    fn run_locked<R>(
        &self,
        place: &mut Option<Live>,
        callback: impl FnOnce(&mut Live) -> wasmtime::Result<R>,
    ) -> Result<R, Fault> {
        let Some(live) = place.as_mut() else {
            return Err(Fault::Gone);
        };
        let result = callback(live).and_then(|result| live.finish_done().map(|()| result));
        match result {
            Ok(result) => {
                self.note_schedule(live);
                Ok(result)
            }
            Err(error) => {
                let fault = Fault::of(&error, live.store.data());
                self.dead.store(true, Ordering::Release);
                // Dropped here: nothing can call it again, and its memory goes back to the pool.
                if let Some(live) = place.take() {
                    for context in live.store.data().streams.values() {
                        context.exchange.lock().wake();
                    }
                }
                self.core.crashed(&fault);
                Err(fault)
            }
        }
    }

    /// Delivers what came while the guest ran. Whoever unlocks the guest does so, hence nothing stays behind.
    fn settle(&self) {
        while !self.inbox.lock().is_empty() {
            let Some(mut live) = self.live.try_lock() else {
                return;
            };
            let next = self.inbox.lock().pop();
            if let Some((token, response)) = next {
                // A crash is noted where it happens; the streams that waited are woken by it.
                _ = self.run_locked(&mut live, |live| live.call_response(token, response));
            }
        }
    }

    pub(crate) fn call_completed(&self, token: u32, response: Option<CallResponse>) {
        self.inbox.lock().insert(0, (token, response));
        self.settle();
    }

    fn note_schedule(&self, live: &Live) {
        let state = live.store.data();
        if state.tick.is_none()
            && state.queues.is_empty()
            && !self.core.has_chores.load(Ordering::Relaxed)
        {
            return;
        }
        self.core.has_chores.store(true, Ordering::Relaxed);
        let mut schedule = self.schedule.lock();
        if schedule.tick.map(|(period, _)| period) != state.tick {
            schedule.tick = state.tick.map(|period| (period, Instant::now() + period));
            self.core.chores.wake();
        }
        for queue in state.queues.iter().skip(schedule.queues.len()) {
            schedule.queues.push((*queue, 0));
        }
    }

    /// Calls the guest for its tick and its queues, where due. Gives back when to come again.
    pub(crate) fn run_due(&self, now: Instant) -> Option<Instant> {
        if self.is_dead() {
            return None;
        }
        let mut due = false;
        {
            let mut schedule = self.schedule.lock();
            if let Some((period, at)) = &mut schedule.tick
                && *at <= now
            {
                due = true;
                *at = now + *period;
            }
        }
        if due {
            _ = self.run(|live| live.tick());
        }
        let mut again = false;
        let queues: Vec<(u32, u64)> = self.schedule.lock().queues.clone();
        for (index, (queue, seen)) in queues.into_iter().enumerate() {
            let Some((arrivals, filled)) = self.core.shared.queue_news(queue) else {
                continue;
            };
            let news = arrivals.saturating_sub(seen);
            // One callback for each item, as guests expect, but not the whole flood in one go.
            let round = if filled { news.min(64) } else { 0 };
            for _ in 0..round {
                if self.run(|live| live.queue_ready(queue)).is_err() {
                    return None;
                }
            }
            let told = if filled { seen + round } else { arrivals };
            again |= told < arrivals;
            if let Some(entry) = self.schedule.lock().queues.get_mut(index) {
                entry.1 = told;
            }
        }
        let tick = self.schedule.lock().tick.map(|(_, at)| at);
        if again { Some(now) } else { tick }
    }
}

impl Live {
    fn build(
        blueprint: &Blueprint,
        core: &Arc<PluginCore>,
        cell: Weak<InstanceCell>,
        configured: bool,
    ) -> Result<Self, Fault> {
        let mut store = Store::new(blueprint.engine(), State::new(core.clone(), cell));
        store.limiter(|state| &mut state.limiter);
        store.epoch_deadline_callback(|mut context| {
            match context.data_mut().deadline.look(thread_cpu()) {
                Some(epochs) => Ok(UpdateDeadline::Continue(epochs)),
                None => Ok(UpdateDeadline::Interrupt),
            }
        });
        begin(&mut store, ROOT, core.limits.start);
        let exports = match blueprint.instantiate(&mut store) {
            Ok(exports) => exports,
            Err(error) => return Err(Fault::of(&error, store.data())),
        };
        let state = store.data_mut();
        (state.memory, state.allocate) = (exports.memory, exports.allocate.clone());
        let mut live = Self { store, exports };
        if configured {
            live.store.data_mut().tick = None;
            return Ok(live);
        }
        match live.start() {
            Ok(()) => Ok(live),
            Err(Start::Refused(what)) => Err(Fault::Refused(what)),
            Err(Start::Failed(error)) => Err(Fault::of(&error, live.store.data())),
        }
    }

    fn start(&mut self) -> Result<(), Start> {
        let core = self.store.data().core.clone();
        let budget = core.limits.start;
        let length = |bytes: &Bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let exports = self.exports.clone();
        if exports.initialize.is_some() {
            self.call(&exports.initialize, ROOT, budget, ())?;
            self.call(&exports.main, ROOT, budget, (0, 0))?;
        } else {
            let started = self.call(&exports.start, ROOT, budget, ());
            // A command's main that returns exits with 0.
            if let Err(error) = started
                && error.downcast_ref::<Exit>() != Some(&Exit(0))
            {
                return Err(error.into());
            }
        }
        self.call(&exports.context_create, ROOT, budget, (ROOT, 0))?;
        self.store.data_mut().view = View::VmStart;
        let started = self.call(
            &exports.vm_start,
            ROOT,
            budget,
            (ROOT, length(&core.vm_configuration)),
        )?;
        self.store.data_mut().view = View::Configure;
        if started == Some(0) {
            return Err(Start::Refused(
                "to start (proxy_on_vm_start answered false)",
            ));
        }
        let configured = self.call(
            &exports.configure,
            ROOT,
            budget,
            (ROOT, length(&core.configuration)),
        )?;
        self.store.data_mut().view = View::Plain;
        if configured == Some(0) {
            return Err(Start::Refused(
                "its configuration (proxy_on_configure answered false); its log says why",
            ));
        }
        Ok(())
    }

    /// Calls an export, if the guest has it.
    fn call<P: WasmParams, R: WasmResults>(
        &mut self,
        export: &Option<TypedFunc<P, R>>,
        context: u32,
        budget: Duration,
        arguments: P,
    ) -> wasmtime::Result<Option<R>> {
        let Some(export) = export else {
            return Ok(None);
        };
        begin(&mut self.store, context, budget);
        export.call(&mut self.store, arguments).map(Some)
    }

    fn budget(&self) -> Duration {
        self.store.data().core.limits.callback
    }

    /// Makes a context for a stream; `None` when there are too many.
    pub(crate) fn open_stream(
        &mut self,
        exchange: &SharedExchange,
        stage: usize,
    ) -> wasmtime::Result<Option<u32>> {
        let state = self.store.data_mut();
        if state.streams.len() >= state.core.limits.streams {
            return Ok(None);
        }
        let id = state.new_context();
        state.streams.insert(
            id,
            StreamContext {
                exchange: exchange.clone(),
                stage,
                finishing: false,
            },
        );
        let (budget, export) = (self.budget(), self.exports.context_create.clone());
        self.call(&export, id, budget, (id, ROOT))?;
        Ok(Some(id))
    }

    /// Heads: action, or 0 without the callback.
    pub(crate) fn head(
        &mut self,
        request: bool,
        context: u32,
        fields: u32,
        end: bool,
    ) -> wasmtime::Result<u32> {
        let export = if request {
            &self.exports.request_headers
        } else {
            &self.exports.response_headers
        }
        .clone();
        let budget = self.budget();
        Ok(self
            .call(&export, context, budget, (context, fields, u32::from(end)))?
            .unwrap_or(0))
    }

    pub(crate) fn body(
        &mut self,
        request: bool,
        context: u32,
        size: u32,
        end: bool,
    ) -> wasmtime::Result<u32> {
        let export = if request {
            &self.exports.request_body
        } else {
            &self.exports.response_body
        }
        .clone();
        let budget = self.budget();
        Ok(self
            .call(&export, context, budget, (context, size, u32::from(end)))?
            .unwrap_or(0))
    }

    pub(crate) fn trailers(
        &mut self,
        request: bool,
        context: u32,
        fields: u32,
    ) -> wasmtime::Result<u32> {
        let export = if request {
            &self.exports.request_trailers
        } else {
            &self.exports.response_trailers
        }
        .clone();
        let budget = self.budget();
        Ok(self
            .call(&export, context, budget, (context, fields))?
            .unwrap_or(0))
    }

    /// Ends a stream's context: done, log, delete; or only the first, when the guest wants to go on a while.
    pub(crate) fn close_stream(&mut self, context: u32) -> wasmtime::Result<()> {
        let (budget, export) = (self.budget(), self.exports.done.clone());
        let done = self.call(&export, context, budget, context)?;
        if done == Some(0)
            && let Some(stream) = self.store.data_mut().streams.get_mut(&context)
        {
            stream.finishing = true;
            return Ok(());
        }
        self.log_and_delete(context)
    }

    fn log_and_delete(&mut self, context: u32) -> wasmtime::Result<()> {
        let (budget, exports) = (
            self.budget(),
            (self.exports.log.clone(), self.exports.delete.clone()),
        );
        self.call(&exports.0, context, budget, context)?;
        self.call(&exports.1, context, budget, context)?;
        self.store.data_mut().streams.remove(&context);
        Ok(())
    }

    /// Ends the contexts for which the guest has said `proxy_done`.
    fn finish_done(&mut self) -> wasmtime::Result<()> {
        while let Some(context) = self.store.data_mut().done.pop() {
            self.log_and_delete(context)?;
        }
        Ok(())
    }

    fn call_response(
        &mut self,
        token: u32,
        response: Option<CallResponse>,
    ) -> wasmtime::Result<()> {
        let state = self.store.data_mut();
        if !state.calls.remove(&token) {
            return Ok(());
        }
        let most = state.core.limits.call_body;
        let response = match response {
            Some(response) if response.body.len() <= most => Some(response),
            Some(_) => {
                state.log_line(
                    LogLevel::Warn,
                    b"a call-out's response was larger than limits.call_body",
                );
                None
            }
            None => None,
        };
        let (mut fields, mut size, mut trailer_fields) = (0, 0, 0);
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        state.view = match response {
            Some(CallResponse {
                head,
                body,
                trailers,
            }) => {
                (fields, size, trailer_fields) =
                    (count(head.len()), count(body.len()), count(trailers.len()));
                View::Call {
                    head,
                    body,
                    trailers,
                }
            }
            None => View::Call {
                head: Default::default(),
                body: Bytes::new(),
                trailers: Default::default(),
            },
        };
        let (budget, export) = (self.budget(), self.exports.call_response.clone());
        self.call(
            &export,
            ROOT,
            budget,
            (ROOT, token, fields, size, trailer_fields),
        )?;
        self.store.data_mut().view = View::Plain;
        Ok(())
    }

    fn tick(&mut self) -> wasmtime::Result<()> {
        let (budget, export) = (self.budget(), self.exports.tick.clone());
        self.call(&export, ROOT, budget, ROOT)?;
        Ok(())
    }

    fn queue_ready(&mut self, queue: u32) -> wasmtime::Result<()> {
        let (budget, export) = (self.budget(), self.exports.queue_ready.clone());
        self.call(&export, ROOT, budget, (ROOT, queue))?;
        Ok(())
    }

    pub(crate) fn foreign(&mut self, function: u32, arguments: Bytes) -> wasmtime::Result<()> {
        let size = u32::try_from(arguments.len()).unwrap_or(u32::MAX);
        self.store.data_mut().view = View::Foreign(arguments);
        let (budget, export) = (self.budget(), self.exports.foreign.clone());
        self.call(&export, ROOT, budget, (ROOT, function, size))?;
        self.store.data_mut().view = View::Plain;
        Ok(())
    }

    /// For taking a snapshot of what configuration made.
    pub(crate) fn parts(&mut self) -> (&mut Store<State>, &Exports) {
        (&mut self.store, &self.exports)
    }
}

enum Start {
    Refused(&'static str),
    Failed(wasmtime::Error),
}

impl From<wasmtime::Error> for Start {
    fn from(error: wasmtime::Error) -> Self {
        Self::Failed(error)
    }
}

/// Sets what holds for one callback: its context and its deadline. The first look at the CPU clock is early, so that
/// a guest is killed well before it had twice its time.
fn begin(store: &mut Store<State>, context: u32, budget: Duration) {
    let state = store.data_mut();
    state.effective = context;
    state.allocating = false;
    state.limiter.denied = false;
    state.deadline = Deadline {
        budget,
        first_look: None,
        passed: false,
    };
    store.set_epoch_deadline(Deadline::epochs(budget / 2));
}
