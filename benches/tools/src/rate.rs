//! Requests at a constant rate, or as fast as the answers come.
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
    /// Requests a second; none: each connection sends its next request when it has the answer to the last.
    pub rate: Option<f64>,
    /// Connections kept open; each has one request under way at most.
    pub connections: usize,
    /// Time that is driven and not recorded.
    pub warm_up: Duration,
    /// Time that is recorded.
    pub duration: Duration,
    /// When given, each request asks for another path: the target's, this and a number.
    pub unique: Option<String>,
    /// Further fields of each request, each line with its CRLF.
    pub fields: String,
}

/// When requests are due.
struct Schedule {
    start: Instant,
    recorded_from: Instant,
    end: Instant,
    rate: Option<f64>,
    /// Requests in the plan, where it has a rate.
    total: u64,
}

impl Schedule {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "request counts are far below 2^64 and never negative"
    )]
    fn new(plan: &Plan) -> Self {
        let start = Instant::now();
        let whole = plan.warm_up + plan.duration;
        let total = plan
            .rate
            .map_or(0, |rate| (rate * whole.as_secs_f64()) as u64);
        Self {
            start,
            recorded_from: start + plan.warm_up,
            end: start + whole,
            rate: plan.rate,
            total,
        }
    }

    /// When the request of this number was due, if it is by now.
    #[expect(
        clippy::cast_precision_loss,
        reason = "request counts are far below 2^52"
    )]
    fn due(&self, number: u64, now: Instant) -> Option<Instant> {
        let Some(rate) = self.rate else {
            return (now < self.end).then_some(now);
        };
        let due = self.start + Duration::from_secs_f64(number as f64 / rate);
        (number < self.total && due <= now).then_some(due)
    }

    /// Requests of the plan that have not been sent.
    fn unsent(&self, sent: u64) -> u64 {
        self.total.saturating_sub(sent)
    }
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
            .map(|config| (config, target.name.as_str()));
        let connection = Connection::open(target.address, tls, self.poll.registry(), Token(at))?;
        Ok(Slot {
            connection,
            response: Response::default(),
            due: None,
        })
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "request counts are far below 2^52"
    )]
    fn drive(mut self) -> io::Result<String> {
        let plan = self.plan;
        let fixed = plan.target.request(&plan.target.path, &plan.fields);
        let schedule = Schedule::new(plan);
        let mut events = Events::with_capacity(1024);
        let mut scratch = vec![0; 64 * 1024];
        let mut last = schedule.start;
        // With a rate, it spins: that keeps time to the microsecond. Without one, only an answer makes the next request due.
        let wait = plan
            .rate
            .map_or(Duration::from_millis(100), |_| Duration::ZERO);
        loop {
            let now = Instant::now();
            let mut worked = false;
            while let Some(due) = schedule.due(self.sent, now) {
                let Some(at) = self.idle.pop_front() else {
                    break;
                };
                let request = plan.unique.as_ref().map(|mark| {
                    let path = format!("{}{mark}{}", plan.target.path, self.sent);
                    plan.target.request(&path, &plan.fields)
                });
                self.sent += 1;
                worked = true;
                let Some(slot) = self.slots.get_mut(at) else {
                    continue;
                };
                slot.due = Some((due, due >= schedule.recorded_from));
                if slot
                    .connection
                    .send(request.as_deref().unwrap_or(&fixed))
                    .is_err()
                {
                    self.fail(at)?;
                }
            }
            let all_sent = schedule.unsent(self.sent) == 0 && now >= schedule.end;
            if all_sent && self.idle.len() == self.slots.len() || now > schedule.end + PATIENCE {
                break;
            }
            self.poll.poll(&mut events, Some(wait))?;
            for event in &events {
                worked = true;
                self.event(event.token().0, &mut scratch)?;
            }
            if worked {
                last = Instant::now();
            } else {
                // Lets an origin on the same core work.
                std::thread::yield_now();
            }
        }
        let under_way = self.slots.iter().filter(|slot| slot.due.is_some()).count() as u64;
        let unfinished = under_way + schedule.unsent(self.sent);
        let recorded = self.latencies.count();
        if recorded == 0 {
            return Err(io::Error::other("no request was answered"));
        }
        let seconds = last.duration_since(schedule.recorded_from).as_secs_f64();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate: Option<f64>) -> Schedule {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        Schedule {
            start,
            recorded_from: start + second,
            end: start + 2 * second,
            rate,
            total: 20,
        }
    }

    #[test]
    fn a_rate_makes_requests_due_whatever_became_of_others() {
        let schedule = schedule(Some(10.0));
        let after = |milliseconds| schedule.start + Duration::from_millis(milliseconds);
        assert_eq!(schedule.due(0, after(0)), Some(schedule.start));
        assert_eq!(schedule.due(5, after(499)), None);
        assert_eq!(schedule.due(5, after(1700)), Some(after(500)));
        assert_eq!(schedule.due(20, after(9000)), None);
        assert_eq!(schedule.unsent(18), 2);
    }

    #[test]
    fn without_a_rate_a_request_is_due_at_once_until_the_end() {
        let schedule = schedule(None);
        let now = schedule.start + Duration::from_millis(1);
        assert_eq!(schedule.due(1_000_000, now), Some(now));
        assert_eq!(schedule.due(0, schedule.end), None);
    }
}
