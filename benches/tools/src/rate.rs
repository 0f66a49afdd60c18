//! Requests at a constant rate.
//!
//! Request `i` is due at `start + i / rate`, whatever became of those before it, and its latency counts from then. A server that stalls is so
//! charged for every request that had to wait, not only for the few that were under way (no "coordinated omission").

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use rustls::ClientConfig;

use crate::connection::{Connection, Pumped};
use crate::latency::Latencies;
use crate::response::{Progress, Response};
use crate::target::{Target, tls_client};

/// What to drive.
#[derive(Debug)]
pub struct Plan {
    /// Where to.
    pub target: Target,
    /// Requests a second.
    pub rate: f64,
    /// Connections kept open; each has one request under way at most.
    pub connections: usize,
    /// Time that is driven and not recorded.
    pub warm_up: Duration,
    /// Time that is recorded.
    pub duration: Duration,
    /// When given, each request asks for another path: the target's, this and a number.
    pub unique: Option<String>,
}

struct Slot {
    connection: Connection,
    response: Response,
    /// When the request under way was due, and whether it is recorded.
    due: Option<(Instant, bool)>,
}

struct Driver<'a> {
    plan: &'a Plan,
    poll: Poll,
    tls: Option<Arc<ClientConfig>>,
    slots: Vec<Slot>,
    idle: VecDeque<usize>,
    latencies: Latencies,
    errors: u64,
    sent: u64,
}

/// How long answers are waited for after the last request was due.
const PATIENCE: Duration = Duration::from_secs(5);

/// Drives the plan and gives its result as JSON.
///
/// # Errors
/// Sockets or epoll fail, or the server does not answer at all.
pub fn run(plan: &Plan) -> io::Result<String> {
    let tls = if plan.target.tls {
        Some(tls_client(b"http/1.1", false).map_err(io::Error::other)?)
    } else {
        None
    };
    let mut driver = Driver {
        plan,
        poll: Poll::new()?,
        tls,
        slots: Vec::new(),
        idle: (0..plan.connections).collect(),
        latencies: Latencies::default(),
        errors: 0,
        sent: 0,
    };
    for at in 0..plan.connections {
        let slot = driver.open(at)?;
        driver.slots.push(slot);
    }
    driver.drive()
}

impl Driver<'_> {
    fn open(&self, at: usize) -> io::Result<Slot> {
        let target = &self.plan.target;
        let tls = self
            .tls
            .as_ref()
            .map(|config| (config, target.host.as_str()));
        let connection = Connection::open(target.address, tls, self.poll.registry(), Token(at))?;
        Ok(Slot {
            connection,
            response: Response::default(),
            due: None,
        })
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "request counts are far below 2^52 and never negative"
    )]
    fn drive(mut self) -> io::Result<String> {
        let plan = self.plan;
        let fixed = plan.target.request(&plan.target.path, "");
        let total = (plan.rate * (plan.warm_up + plan.duration).as_secs_f64()) as u64;
        let unrecorded = (plan.rate * plan.warm_up.as_secs_f64()) as u64;
        let due_at = |number: u64| Duration::from_secs_f64(number as f64 / plan.rate);
        let mut events = Events::with_capacity(1024);
        let mut scratch = vec![0; 64 * 1024];
        let start = Instant::now();
        let end = start + due_at(total);
        let mut last = start;
        loop {
            let now = Instant::now();
            let mut worked = false;
            while self.sent < total && start + due_at(self.sent) <= now {
                let Some(at) = self.idle.pop_front() else {
                    break;
                };
                let due = start + due_at(self.sent);
                let request = match &plan.unique {
                    None => None,
                    Some(mark) => Some(
                        plan.target
                            .request(&format!("{}{mark}{}", plan.target.path, self.sent), ""),
                    ),
                };
                let recorded = self.sent >= unrecorded;
                self.sent += 1;
                worked = true;
                let Some(slot) = self.slots.get_mut(at) else {
                    continue;
                };
                slot.due = Some((due, recorded));
                if slot
                    .connection
                    .send(request.as_deref().unwrap_or(&fixed))
                    .is_err()
                {
                    self.fail(at)?;
                }
            }
            if self.sent >= total && self.idle.len() == self.slots.len() || now > end + PATIENCE {
                break;
            }
            self.poll.poll(&mut events, Some(Duration::ZERO))?;
            for event in &events {
                worked = true;
                self.event(event.token().0, &mut scratch)?;
            }
            if worked {
                last = Instant::now();
            } else {
                // Spinning keeps time to the microsecond; yielding lets an origin on the same core work.
                std::thread::yield_now();
            }
        }
        let unfinished = self.slots.iter().filter(|slot| slot.due.is_some()).count() as u64
            + (total - self.sent);
        if self.latencies.count() == 0 {
            return Err(io::Error::other("no request was answered"));
        }
        let recorded = self.latencies.count();
        let seconds = last.duration_since(start + plan.warm_up).as_secs_f64();
        Ok(format!(
            "{{\"sent\":{},\"recorded\":{recorded},\"errors\":{},\"unfinished\":{unfinished},\"seconds\":{seconds:.3},\"rate\":{:.1},\"latency\":{}}}",
            self.sent,
            self.errors,
            recorded as f64 / seconds,
            self.latencies.json()
        ))
    }

    fn event(&mut self, at: usize, scratch: &mut [u8]) -> io::Result<()> {
        let Some(slot) = self.slots.get_mut(at) else {
            return Ok(());
        };
        let response = &mut slot.response;
        let mut done = false;
        let pumped = slot.connection.pump(scratch, |bytes| {
            done |= response.feed(bytes).map_err(io::Error::other)? == Progress::Done;
            Ok(())
        });
        if done && let Some((due, recorded)) = slot.due.take() {
            let latency = due.elapsed();
            let good = matches!(slot.response.status(), 200 | 206 | 304);
            let closes = slot.response.closes();
            slot.response.reset();
            if good && recorded {
                self.latencies.record(latency);
            }
            self.errors += u64::from(!good);
            self.idle.push_back(at);
            if closes || !matches!(pumped, Ok(Pumped::Open)) {
                return self.replace(at);
            }
            return Ok(());
        }
        match pumped {
            Ok(Pumped::Open) => Ok(()),
            Ok(Pumped::Closed) if slot.due.is_none() => self.replace(at),
            Ok(Pumped::Closed) | Err(_) => self.fail(at),
        }
    }

    /// The request under way is lost: counts it and opens another connection.
    fn fail(&mut self, at: usize) -> io::Result<()> {
        self.errors += 1;
        if self.errors > 10_000 {
            return Err(io::Error::other("more than 10 000 requests failed"));
        }
        if self.slots.get(at).is_some_and(|slot| slot.due.is_some()) {
            self.idle.push_back(at);
        }
        self.replace(at)
    }

    fn replace(&mut self, at: usize) -> io::Result<()> {
        let fresh = self.open(at)?;
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = fresh;
        }
        Ok(())
    }
}
