//! The access log: one line of JSON per request, to stdout, a file or syslog.
//!
//! A worker never waits for the sink. It writes its line straight into one of a few shared buffers (threads are spread over them, so that
//! they hardly meet) and goes on; one thread empties the buffers in batches. When the sink is stuck and a buffer is full, further lines are
//! dropped, counted in `anypop_lost_total{log="access"}` and reported once a minute.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::labels::LogKind;
use super::metrics::Metrics;
use super::record::AccessRecord;
use super::sink::{FileSink, Sink, SyslogSink};
use super::slot;

/// How many buffers threads are spread over.
const BUFFERS: usize = 8;
/// A buffer that holds this many bytes takes no further line. With all buffers full, 16 MiB wait for the sink.
const BUFFER_LIMIT: usize = 2 * 1024 * 1024;
/// A buffer that holds this many bytes is written at once.
const BUFFER_URGENT: usize = 128 * 1024;
/// How long lines gather before they are written, if none is urgent.
const LINGER: Duration = Duration::from_millis(100);
/// The least time between two warnings about lost lines.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Nothing waits.
const IDLE: u8 = 0;
/// Some buffer holds a line.
const PENDING: u8 = 1;
/// Some buffer should be written now.
const URGENT: u8 = 2;

/// Where the access log goes (`log.access`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// A file, appended to; made with mode 0640.
    File(PathBuf),
    /// A syslog daemon's datagram socket on this machine.
    SyslogSocket(PathBuf),
    /// A syslog server by UDP, as `host:port`.
    SyslogUdp(String),
}

/// An open access log. Dropping it ends its thread once the queue is written; [`AccessLog::close`] waits for that.
#[derive(Debug)]
pub struct AccessLog {
    queue: Option<Arc<Queue>>,
}

impl AccessLog {
    /// Opens `target`. `node` is the host name that syslog messages carry. Fails when the file or socket cannot be opened.
    pub fn open(target: &LogTarget, node: &str, metrics: Arc<Metrics>) -> io::Result<Self> {
        let sink: Box<dyn Sink> = match target {
            LogTarget::Off => return Ok(Self { queue: None }),
            LogTarget::Stdout => Box::new(FileSink::stdout()?),
            LogTarget::File(path) => Box::new(FileSink::open(path)?),
            LogTarget::SyslogSocket(path) => Box::new(SyslogSink::unix(path, node)?),
            LogTarget::SyslogUdp(address) => Box::new(SyslogSink::udp(address, node)?),
        };
        Self::with_sink(sink, metrics)
    }

    fn with_sink(sink: Box<dyn Sink>, metrics: Arc<Metrics>) -> io::Result<Self> {
        let queue = Arc::new(Queue::new(metrics));
        let writer = queue.clone();
        std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || writer.run(sink))?;
        Ok(Self { queue: Some(queue) })
    }

    /// Whether lines go anywhere. A caller may spare itself the record when this is false.
    pub fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// Queues the record's line. Never waits for the sink.
    pub fn write(&self, record: &AccessRecord<'_>) {
        if let Some(queue) = &self.queue {
            queue.push(record);
        }
    }

    /// Opens the file anew by its path, after everything queued so far is written to the old one: for a rotation that renamed it. When
    /// the path cannot be opened, the old file stays in use and a warning is logged. Syslog sockets are connected anew; stdout stays.
    pub fn reopen(&self) {
        if let Some(queue) = &self.queue {
            queue.ask(|state| state.reopen = true);
        }
    }

    /// Waits until what was queued before is written (or lost, and counted), and a reopening asked for before is done; at most `patience`.
    /// Returns whether that came about. It blocks the thread.
    pub fn flush(&self, patience: Duration) -> bool {
        self.queue.as_ref().is_none_or(|queue| {
            let ticket = queue.ask(|_| {});
            queue.wait(ticket, patience)
        })
    }

    /// Writes what is queued and ends the log; lines that come later are lost, and counted. Waits at most `patience` and returns whether
    /// everything was written (or lost, and counted) by then. It blocks the thread.
    pub fn close(&self, patience: Duration) -> bool {
        self.queue.as_ref().is_none_or(|queue| {
            let ticket = queue.shut();
            queue.wait(ticket, patience)
        })
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        if let Some(queue) = &self.queue {
            queue.shut();
        }
    }
}

/// What workers and the writing thread share.
struct Queue {
    buffers: [Buffer; BUFFERS],
    /// The most urgent wish since the writer last looked: most lines find it raised already and touch nothing shared.
    signal: AtomicU8,
    shut: AtomicBool,
    state: Mutex<State>,
    /// Wakes the writer.
    work: Condvar,
    /// Wakes those who wait for a ticket.
    served: Condvar,
    metrics: Arc<Metrics>,
    complaint: Complaint,
}

/// A buffer on a cache line of its own.
#[derive(Default)]
#[repr(align(128))]
struct Buffer(Mutex<Vec<u8>>);

#[derive(Default)]
struct State {
    /// Tickets given out to those who wait.
    asked: u64,
    /// Tickets whose work is done.
    served: u64,
    reopen: bool,
    shut: bool,
}

impl Queue {
    fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            buffers: Default::default(),
            signal: AtomicU8::new(IDLE),
            shut: AtomicBool::new(false),
            state: Mutex::default(),
            work: Condvar::new(),
            served: Condvar::new(),
            metrics,
            complaint: Complaint::default(),
        }
    }

    fn push(&self, record: &AccessRecord<'_>) {
        if self.shut.load(Ordering::Relaxed) {
            return self.lose(1, &"the log is closed");
        }
        let mut buffer = self.buffers[slot::mine() % BUFFERS].0.lock();
        if buffer.len() >= BUFFER_LIMIT {
            drop(buffer);
            return self.lose(1, &"the sink takes no more");
        }
        record.write_json(&mut buffer);
        buffer.push(b'\n');
        let wish = if buffer.len() >= BUFFER_URGENT {
            URGENT
        } else {
            PENDING
        };
        drop(buffer);
        // The writer lowers the signal before it empties the buffers. A line that it found was written before that; for one that it did
        // not find, the buffer's lock orders the lowering before this load. So no line is left behind unannounced.
        if self.signal.load(Ordering::Relaxed) < wish
            && self.signal.fetch_max(wish, Ordering::AcqRel) < wish
        {
            // The lock makes sure that the writer is either before its check of the signal or waiting.
            drop(self.state.lock());
            self.work.notify_one();
        }
    }

    /// Changes the state, wakes the writer and returns the ticket to wait for.
    fn ask(&self, change: impl FnOnce(&mut State)) -> u64 {
        let mut state = self.state.lock();
        change(&mut state);
        state.asked += 1;
        self.work.notify_one();
        state.asked
    }

    fn shut(&self) -> u64 {
        self.shut.store(true, Ordering::Relaxed);
        self.ask(|state| state.shut = true)
    }

    fn wait(&self, ticket: u64, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut state = self.state.lock();
        while state.served < ticket {
            if self.served.wait_until(&mut state, until).timed_out() {
                return state.served >= ticket;
            }
        }
        true
    }

    /// The writing thread.
    fn run(&self, mut sink: Box<dyn Sink>) {
        let mut batch = Vec::new();
        loop {
            let (ticket, reopen, shut) = self.wait_for_work();
            self.signal.store(IDLE, Ordering::SeqCst);
            for buffer in &self.buffers {
                // The emptied batch becomes the next buffer: no allocation once both have grown.
                std::mem::swap(&mut batch, &mut *buffer.0.lock());
                if !batch.is_empty() {
                    if let Err(lost) = sink.write(&batch) {
                        self.lose(lost.lines, &lost.error);
                    }
                    batch.clear();
                    // What a stuck sink let grow is given back once it moves again.
                    if batch.capacity() > 4 * BUFFER_URGENT {
                        batch.shrink_to(BUFFER_URGENT);
                    }
                }
            }
            if reopen && let Err(error) = sink.reopen() {
                tracing::warn!(%error, "the access log cannot be reopened; the old file stays in use");
            }
            let mut state = self.state.lock();
            // After the end nobody serves tickets any more: all are served, whenever they were given out.
            state.served = if shut { u64::MAX } else { ticket };
            drop(state);
            self.served.notify_all();
            if shut {
                return;
            }
        }
    }

    /// Waits for a line or a wish, then a little more for others to gather.
    fn wait_for_work(&self) -> (u64, bool, bool) {
        let mut state = self.state.lock();
        while self.signal.load(Ordering::Acquire) == IDLE && state.asked == state.served {
            self.work.wait(&mut state);
        }
        let until = Instant::now() + LINGER;
        while self.signal.load(Ordering::Acquire) < URGENT && state.asked == state.served {
            if self.work.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        (state.asked, std::mem::take(&mut state.reopen), state.shut)
    }

    fn lose(&self, lines: u64, why: &dyn std::fmt::Display) {
        self.metrics.lost.add(LogKind::Access, lines);
        if let Some(lines) = self.complaint.add(lines, Instant::now()) {
            tracing::warn!(lines, why = %why, "access log lines are lost");
        }
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Queue").finish_non_exhaustive()
    }
}

/// Adds up what is lost and says when a warning is due. Shared with the span exporter.
pub(super) struct Complaint {
    start: Instant,
    unreported: AtomicU64,
    /// Milliseconds after `start` from which on the next warning may be given.
    next: AtomicU64,
}

impl Default for Complaint {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            unreported: AtomicU64::new(0),
            next: AtomicU64::new(0),
        }
    }
}

impl Complaint {
    /// Counts `lost`; when a warning is due, returns how much was lost since the last one.
    pub(super) fn add(&self, lost: u64, now: Instant) -> Option<u64> {
        self.unreported.fetch_add(lost, Ordering::Relaxed);
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let elapsed = millis(now.saturating_duration_since(self.start));
        let next = self.next.load(Ordering::Relaxed);
        let due = elapsed >= next
            && self
                .next
                .compare_exchange(
                    next,
                    elapsed.saturating_add(millis(WARN_EVERY)),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok();
        due.then(|| self.unreported.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
#[path = "access_log_tests.rs"]
mod tests;
