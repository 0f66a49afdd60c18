//! A request and its response on their way through a chain's plugins. The edge feeds it and does what the returned
//! [`Flow`] says; nothing here waits or does I/O. How messages move from plugin to plugin is in `walk`.

mod walk;

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use crate::{
    abi::Direction,
    exchange::{CacheWishes, Exchange, LocalResponse, SharedExchange, StreamInfo},
    fault::{Failure, Fault},
    fields::Fields,
    instance::{InstanceCell, Live},
    lane::{End, HeadAt, Lane},
    limits::FailPolicy,
    plugin::Plugin,
    state::thread_cpu,
};

/// What the edge does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flow {
    /// Go on: the head is out (see [`Stream::released_head`]); send what [`Stream::take_body`] gives, which
    /// may be nothing yet, and feed what comes next.
    Continue,
    /// A plugin wants to see the body before the head goes on: feed body, or, if none comes for a while, wait as
    /// for [`Flow::Pause`].
    NeedBody,
    /// A plugin waits, perhaps for a call-out: await [`Stream::resumed`] (with [`Stream::pause_limit`]), then call
    /// [`Stream::proceed`].
    Pause,
    /// Send this instead; the stream then only needs [`Stream::finish`].
    Respond(Box<LocalResponse>),
    /// Abort: reset the stream or close the connection, so that nobody takes the message for whole.
    Reset,
}

/// A stream's plugins and its two messages.
pub struct Stream {
    pub(super) exchange: SharedExchange,
    pub(super) stages: Vec<Stage>,
    pub(super) lanes: [Lane; 2],
    worker: usize,
    failures: Vec<Failure>,
    finished: bool,
}

pub(super) struct Stage {
    pub(super) plugin: Arc<Plugin>,
    pub(super) cell: Option<Arc<InstanceCell>>,
    context: u32,
    /// Failed under `open`: messages pass it by.
    pub(super) bypassed: bool,
    spent: Duration,
    /// Measured only once `spent`, which is wall time, looks like too much.
    spent_cpu: Duration,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("lanes", &self.lanes)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}

impl Stream {
    pub(crate) fn new(plugins: &[Arc<Plugin>], worker: usize, info: StreamInfo) -> Self {
        let stage = |plugin: &Arc<Plugin>| Stage {
            plugin: plugin.clone(),
            cell: None,
            context: 0,
            bypassed: false,
            spent: Duration::ZERO,
            spent_cpu: Duration::ZERO,
        };
        Self {
            exchange: Arc::new(Mutex::new(Exchange::new(info, plugins.len()))),
            stages: plugins.iter().map(stage).collect(),
            lanes: [Lane::new(plugins.len()), Lane::new(plugins.len())],
            worker,
            failures: Vec::new(),
            finished: false,
        }
    }

    /// Feeds a head. `end`: no body and no trailers follow. Each direction has one head (1xx are not fed).
    pub fn head(&mut self, direction: Direction, fields: Fields, end: bool) -> Flow {
        {
            let mut exchange = self.exchange.lock();
            let head = exchange.head_mut(direction);
            (head.fields, head.open) = (Some(fields), true);
        }
        let lane = self.lane_mut(direction);
        (lane.head_only, lane.fed_end) = (end, end);
        match lane.stations.first_mut() {
            Some(first) => first.head = HeadAt::Here,
            None => self.release(direction),
        }
        self.pump(direction)
    }

    /// Feeds a piece of the body; `end`: the last, and no trailers follow.
    pub fn body(&mut self, direction: Direction, bytes: Bytes, end: bool) -> Flow {
        let lane = self.lane_mut(direction);
        lane.fed_end |= end;
        lane.hand_on(
            0,
            BytesMut::from(bytes),
            if end { End::Body } else { End::Open },
        );
        self.pump(direction)
    }

    /// Feeds the trailers, which end the message.
    pub fn trailers(&mut self, direction: Direction, fields: Fields) -> Flow {
        {
            let mut exchange = self.exchange.lock();
            let head = exchange.head_mut(direction);
            (head.trailers, head.trailers_open) = (Some(fields), true);
        }
        let lane = self.lane_mut(direction);
        lane.fed_end = true;
        lane.hand_on(0, BytesMut::new(), End::Trailers);
        self.pump(direction)
    }

    /// Goes on after [`Stream::resumed`].
    pub fn proceed(&mut self, direction: Direction) -> Flow {
        self.pump(direction)
    }

    /// Ready when a plugin resumed, answered or ended since the last time.
    pub fn poll_resumed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut exchange = self.exchange.lock();
        if std::mem::take(&mut exchange.woken) {
            return Poll::Ready(());
        }
        exchange.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// As [`Stream::poll_resumed`]. Dropping the future loses nothing.
    pub async fn resumed(&mut self) {
        std::future::poll_fn(|context| self.poll_resumed(context)).await;
    }

    /// How long the edge waits in [`Flow::Pause`] at most; then it calls [`Stream::expire`].
    pub fn pause_limit(&self) -> Duration {
        self.stages
            .iter()
            .map(|stage| stage.plugin.limits().pause)
            .max()
            .unwrap_or_default()
    }

    /// The wait was too long: the plugins that pause this direction have failed for this stream, by their policies.
    pub fn expire(&mut self, direction: Direction) -> Flow {
        for position in 0..self.stages.len() {
            let index = self.stage_at(direction, position);
            if self.lanes[direction.index()]
                .stations
                .get(position)
                .is_some_and(|station| {
                    station.head == HeadAt::Paused
                        || station.body_paused
                        || (station.trailers_seen && !station.through)
                })
            {
                self.fail(index, Fault::PausedTooLong);
            }
        }
        self.pump(direction)
    }

    /// The head, once it is out (after the first [`Flow::Continue`]).
    pub fn released_head(&self, direction: Direction) -> Option<Fields> {
        let exchange = self.exchange.lock();
        exchange
            .head(direction)
            .fields
            .clone()
            .filter(|_| self.lanes[direction.index()].released)
    }

    /// Takes the bytes that have passed all plugins.
    pub fn take_body(&mut self, direction: Direction) -> Bytes {
        let lane = self.lane_mut(direction);
        if !lane.released {
            return Bytes::new();
        }
        lane.sent = lane
            .sent
            .saturating_add(u64::try_from(lane.out.len()).unwrap_or(u64::MAX));
        lane.out.split().freeze()
    }

    /// True when the message has passed all plugins: after [`Stream::take_body`] only trailers are left, if any.
    pub fn is_complete(&self, direction: Direction) -> bool {
        let lane = &self.lanes[direction.index()];
        lane.released && (lane.head_only || lane.out_end != End::Open)
    }

    /// The trailers, once the message is complete.
    pub fn released_trailers(&mut self, direction: Direction) -> Option<Fields> {
        if self.lanes[direction.index()].out_end != End::Trailers {
            return None;
        }
        let mut exchange = self.exchange.lock();
        let head = exchange.head_mut(direction);
        head.trailers_open = false;
        head.trailers.clone()
    }

    /// What plugins ask of the cache. The key's part is final once the request's head is out, the rest once the
    /// response's is.
    pub fn cache_wishes(&self) -> CacheWishes {
        self.exchange.lock().wishes.clone()
    }

    /// Properties that plugins have set, path parts separated by NUL, sorted: for logs.
    pub fn properties(&self) -> Vec<(Vec<u8>, Bytes)> {
        let mut properties: Vec<_> = self
            .exchange
            .lock()
            .properties
            .iter()
            .map(|(path, value)| (path.clone(), value.clone()))
            .collect();
        properties.sort();
        properties
    }

    /// Changes what plugins can learn of the stream besides its messages.
    pub fn update(&mut self, change: impl FnOnce(&mut StreamInfo)) {
        change(&mut self.exchange.lock().info);
    }

    /// What failed so far.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// Ends the stream: plugins are told (done, log, delete). Dropping does the same.
    pub fn finish(&mut self) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        {
            let mut exchange = self.exchange.lock();
            for head in &mut exchange.heads {
                (head.open, head.trailers_open) = (false, false);
            }
        }
        for index in 0..self.stages.len() {
            self.leave(index);
        }
    }

    fn leave(&mut self, index: usize) {
        let Some(stage) = self.stages.get_mut(index) else {
            return;
        };
        let context = stage.context;
        if let Some(cell) = stage.cell.take() {
            // A crash here is noted by the cell; the stream has nothing left to lose.
            _ = cell.run(|live| live.close_stream(context));
        }
    }

    pub(super) fn lane_mut(&mut self, direction: Direction) -> &mut Lane {
        &mut self.lanes[direction.index()]
    }

    /// Which plugin is at a position: requests meet them in order, responses in reverse.
    pub(super) fn stage_at(&self, direction: Direction, position: usize) -> usize {
        match direction {
            Direction::Request => position,
            Direction::Response => (self.stages.len() - 1).saturating_sub(position),
        }
    }

    pub(super) fn is_bypassed(&self, index: usize) -> bool {
        self.stages.get(index).is_none_or(|stage| stage.bypassed)
    }

    pub(super) fn take_resume(&self, direction: Direction, index: usize) -> bool {
        let mut exchange = self.exchange.lock();
        exchange
            .held_mut(index, direction)
            .is_some_and(|held| std::mem::take(&mut held.resume))
    }

    /// Calls a plugin: its action, or 0 when it failed and is passed by.
    pub(super) fn call(
        &mut self,
        index: usize,
        direction: Direction,
        callback: impl FnOnce(&mut Live, u32) -> wasmtime::Result<u32>,
    ) -> u32 {
        {
            let mut exchange = self.exchange.lock();
            exchange.undo = None;
            if let Some(held) = exchange.held_mut(index, direction) {
                held.resume = false;
            }
        }
        match self.try_call(index, callback) {
            Ok(action) => action,
            Err(fault) => {
                self.exchange.lock().undo(index);
                self.fail(index, fault);
                0
            }
        }
    }

    fn try_call(
        &mut self,
        index: usize,
        callback: impl FnOnce(&mut Live, u32) -> wasmtime::Result<u32>,
    ) -> Result<u32, Fault> {
        let Some(stage) = self.stages.get_mut(index).filter(|stage| !stage.bypassed) else {
            return Ok(0);
        };
        let most = stage.plugin.limits().request;
        let suspicious = stage.spent > most;
        let started = (
            Instant::now(),
            if suspicious {
                thread_cpu()
            } else {
                Duration::ZERO
            },
        );
        let action = match &stage.cell {
            Some(cell) => cell.run(|live| callback(live, stage.context))?,
            None => {
                let cell = stage.plugin.acquire(self.worker)?;
                let exchange = &self.exchange;
                let opened = cell.run(|live| {
                    let Some(context) = live.open_stream(exchange, index)? else {
                        return Ok(None);
                    };
                    callback(live, context).map(|action| Some((context, action)))
                })?;
                let (context, action) = opened.ok_or(Fault::NoRoom)?;
                (stage.cell, stage.context) = (Some(cell), context);
                action
            }
        };
        // Wall time is cheap to read but counts what other threads did; CPU time decides.
        stage.spent += started.0.elapsed();
        if suspicious {
            stage.spent_cpu += thread_cpu().saturating_sub(started.1);
            if stage.spent_cpu > most {
                return Err(Fault::RequestTime);
            }
        }
        Ok(action)
    }

    /// A plugin cannot go on with this stream: what becomes of it is the policy's.
    pub(super) fn fail(&mut self, index: usize, fault: Fault) {
        let Some(stage) = self.stages.get_mut(index) else {
            return;
        };
        if stage.bypassed {
            return;
        }
        let core = stage.plugin.core.clone();
        let open = core.fail_policy == FailPolicy::Open;
        core.count_failure(&fault, open);
        self.failures.push(Failure {
            plugin: core.name.clone(),
            fault: fault.clone(),
            bypassed: open,
        });
        stage.bypassed = true;
        self.leave(index);
        let mut exchange = self.exchange.lock();
        for direction in [Direction::Request, Direction::Response] {
            if let Some(held) = exchange.held_mut(index, direction) {
                held.visible = false;
            }
        }
        if !open && exchange.local.is_none() {
            exchange.local = Some(failure_response(&core.name, &fault));
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.finish();
    }
}

/// 503 with Proxy-Status (RFC 9209); 413 or 502 for a body that a plugin could not hold would tell less.
fn failure_response(plugin: &str, fault: &Fault) -> LocalResponse {
    let mut headers = Fields::new();
    let safe: String = plugin
        .chars()
        .filter(|c| c.is_ascii_graphic() && *c != '"' && *c != '\\')
        .collect();
    let status = format!(
        "anypop; error=proxy_internal_error; details=\"plugin {safe}: {}\"",
        fault.kind()
    );
    headers.push(Bytes::from_static(b"proxy-status"), Bytes::from(status));
    headers.push(
        Bytes::from_static(b"cache-control"),
        Bytes::from_static(b"no-store"),
    );
    LocalResponse {
        status: 503,
        headers,
        body: Bytes::new(),
        grpc_status: None,
        details: format!("plugin_{}", fault.kind()),
        plugin: plugin.to_owned(),
    }
}
