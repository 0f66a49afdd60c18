//! Happy Eyeballs (RFC 8305): the addresses of a name are tried one after another, 250 ms apart,
//! families taking turns, and the first connection wins.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::dial::Dial;
use crate::error::{ErrorKind, FetchError};
use crate::guard::{Guard, Prohibited};
use crate::resolve::LookupError;

/// Between the starts of two attempts (RFC 8305 §5).
pub(crate) const STAGGER: Duration = Duration::from_millis(250);
/// How long IPv4 waits for the answer about IPv6 (RFC 8305 §3).
pub(crate) const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
/// How many addresses of one family are used: an answer is not a license to dial thousands.
const MAX_ADDRESSES: usize = 16;

pub(crate) type Resolved = Result<Arc<[IpAddr]>, LookupError>;

/// The connection that won.
#[derive(Debug)]
pub(crate) struct Won {
    pub(crate) stream: TcpStream,
    pub(crate) address: SocketAddr,
    /// From the start to the first address that could be tried.
    pub(crate) resolved: Duration,
}

/// What the race needs to know about addresses, and tells about them.
pub(crate) trait Judge {
    /// Whether to try this one after all others.
    fn is_last(&self, ip: IpAddr) -> bool;
    /// An attempt failed, or was not answered until the deadline.
    fn failed(&self, ip: IpAddr);
}

/// How and where to dial.
pub(crate) struct Race<'a, J> {
    pub(crate) dial: &'a Arc<dyn Dial>,
    pub(crate) guard: &'a Guard,
    pub(crate) judge: &'a J,
    pub(crate) port: u16,
    /// Where to begin among equal addresses.
    pub(crate) rotation: usize,
    pub(crate) deadline: Instant,
}

/// Addresses by preference: the families take turns, IPv6 first.
#[derive(Default)]
struct Queue {
    first: [VecDeque<IpAddr>; 2],
    last: [VecDeque<IpAddr>; 2],
    turn: usize,
}

impl Queue {
    fn pop(&mut self) -> Option<IpAddr> {
        let Self { first, last, turn } = self;
        for rank in [first, last] {
            for offset in 0..2 {
                let family = (*turn + offset) % 2;
                if let Some(ip) = rank.get_mut(family).and_then(VecDeque::pop_front) {
                    *turn = family + 1;
                    return Some(ip);
                }
            }
        }
        None
    }

    fn has_first(&self) -> bool {
        self.first.iter().any(|queue| !queue.is_empty())
    }

    fn is_empty(&self) -> bool {
        let mut all = self.first.iter().chain(&self.last);
        all.all(VecDeque::is_empty)
    }
}

#[derive(Default)]
struct Failures {
    dial: Option<(SocketAddr, io::Error)>,
    prohibited: Option<Prohibited>,
    lookup: Option<LookupError>,
}

impl<J: Judge> Race<'_, J> {
    /// Runs the race over what the two lookups (IPv6, then IPv4) find.
    pub(crate) async fn run(
        &self,
        v6: impl Future<Output = Resolved>,
        v4: impl Future<Output = Resolved>,
    ) -> Result<Won, FetchError> {
        let start = Instant::now();
        let (mut v6, mut v4) = (pin!(v6), pin!(v4));
        let mut open = [true, true];
        let mut queue = Queue::default();
        let mut failures = Failures::default();
        let mut dialing = JoinSet::new();
        let mut under_way: Vec<SocketAddr> = Vec::new();
        // When the next attempt may start; none before there is an answer.
        let mut next: Option<Instant> = None;
        let mut resolved: Option<Duration> = None;
        loop {
            let now = Instant::now();
            if next.is_some_and(|at| at <= now)
                && let Some(ip) = queue.pop()
            {
                let address = SocketAddr::new(ip, self.port);
                resolved.get_or_insert_with(|| now - start);
                under_way.push(address);
                let dial = Arc::clone(self.dial);
                dialing.spawn(async move { (address, dial.dial(address).await) });
                next = Some(now + STAGGER);
                continue;
            }
            if dialing.is_empty() && queue.is_empty() && open == [false, false] {
                return Err(failures.into_error(self.port));
            }
            let wake = next.filter(|_| !queue.is_empty()).unwrap_or(self.deadline);
            tokio::select! {
                biased;
                Some(joined) = dialing.join_next() => match joined {
                    Ok((address, Ok(stream))) => {
                        let resolved = resolved.unwrap_or_default();
                        return Ok(Won { stream, address, resolved });
                    }
                    Ok((address, Err(error))) => {
                        self.judge.failed(address.ip());
                        under_way.retain(|one| *one != address);
                        failures.dial = Some((address, error));
                        next = Some(Instant::now());
                    }
                    // The dialler panicked: one address less.
                    Err(_) => next = Some(Instant::now()),
                },
                answer = v6.as_mut(), if open[0] => {
                    open[0] = false;
                    self.enter(0, answer, &mut queue, &mut failures);
                    let wait = open[1] && !queue.has_first();
                    if under_way.is_empty() {
                        next = sooner(next, wait);
                    }
                }
                answer = v4.as_mut(), if open[1] => {
                    open[1] = false;
                    self.enter(1, answer, &mut queue, &mut failures);
                    let wait = open[0];
                    if under_way.is_empty() {
                        next = sooner(next, wait);
                    }
                }
                () = sleep_until(wake.min(self.deadline)) => {
                    if Instant::now() >= self.deadline {
                        for address in &under_way {
                            self.judge.failed(address.ip());
                        }
                        return Err(self.timed_out(&under_way, open));
                    }
                }
            }
        }
    }

    fn enter(&self, family: usize, answer: Resolved, queue: &mut Queue, failures: &mut Failures) {
        let addresses = match answer {
            Ok(addresses) => addresses,
            Err(error) => {
                failures.lookup = Some(error);
                return;
            }
        };
        let count = addresses.len().min(MAX_ADDRESSES);
        let start = self.rotation.checked_rem(count).unwrap_or(0);
        let used = addresses.iter().take(count);
        for ip in used.clone().cycle().skip(start).take(count) {
            if let Err(prohibited) = self.guard.check(SocketAddr::new(*ip, self.port)) {
                failures.prohibited = Some(prohibited);
                continue;
            }
            // What is allowed as an IPv4-mapped address is dialled as IPv4.
            let ip = ip.to_canonical();
            let rank = if self.judge.is_last(ip) {
                &mut queue.last
            } else {
                &mut queue.first
            };
            if let Some(queue) = rank.get_mut(family) {
                queue.push_back(ip);
            }
        }
    }

    fn timed_out(&self, under_way: &[SocketAddr], open: [bool; 2]) -> FetchError {
        if under_way.is_empty() && open != [false, false] {
            return FetchError::new(
                ErrorKind::DnsTimeout,
                "no address until the connect timeout",
            );
        }
        let shown: Vec<String> = under_way.iter().map(ToString::to_string).collect();
        let detail = format!("no connection until the timeout: {}", shown.join(", "));
        FetchError::new(ErrorKind::ConnectionTimeout, detail).address(under_way.first().copied())
    }
}

/// When the first attempt starts: at once, or after a moment for the other family's answer. What
/// was decided earlier is not put off.
fn sooner(next: Option<Instant>, wait: bool) -> Option<Instant> {
    let delay = if wait {
        RESOLUTION_DELAY
    } else {
        Duration::ZERO
    };
    let at = Instant::now() + delay;
    Some(next.map_or(at, |next| next.min(at)))
}

impl Failures {
    /// The failure that tells the most: one that was dialled, one that must not be, none found.
    fn into_error(self, port: u16) -> FetchError {
        if let Some((address, error)) = self.dial {
            let kind = match error.kind() {
                io::ErrorKind::ConnectionRefused => ErrorKind::ConnectionRefused,
                io::ErrorKind::TimedOut => ErrorKind::ConnectionTimeout,
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                    ErrorKind::DestinationIpUnroutable
                }
                _ => ErrorKind::DestinationUnavailable,
            };
            return FetchError::new(kind, format!("{address}: {error}")).address(Some(address));
        }
        if let Some(prohibited) = self.prohibited {
            let address = SocketAddr::new(prohibited.address, port);
            return FetchError::new(ErrorKind::DestinationIpProhibited, prohibited.to_string())
                .address(Some(address));
        }
        match self.lookup {
            Some(LookupError::Timeout) => {
                FetchError::new(ErrorKind::DnsTimeout, LookupError::Timeout.to_string())
            }
            Some(error @ LookupError::NoSuchName { .. }) => {
                FetchError::new(ErrorKind::DnsError, error.to_string()).said("NXDOMAIN")
            }
            Some(LookupError::Failed { rcode, detail }) => {
                let error = FetchError::new(ErrorKind::DnsError, detail);
                match rcode {
                    Some(rcode) => error.said(rcode),
                    None => error,
                }
            }
            None => FetchError::new(ErrorKind::DnsError, "the name has no address").said("NOERROR"),
        }
    }
}

#[cfg(test)]
#[path = "race/tests.rs"]
mod tests;
