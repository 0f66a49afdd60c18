//! Thousands of connections that have made one request each and are idle.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use rustls::ClientConfig;

use crate::connection::{Connection, Pumped};
use crate::h2;
use crate::response::{Progress, Response};
use crate::target::{Target, tls_client};

/// What to hold.
#[derive(Debug)]
pub struct Plan {
    /// Where to.
    pub target: Target,
    /// How many connections.
    pub connections: usize,
    /// HTTP/2 (with TLS only), not HTTP/1.1.
    pub h2: bool,
}

enum Reader {
    H1(Response),
    H2(h2::Reader),
}

struct Slot {
    connection: Connection,
    reader: Reader,
    ready: bool,
}

/// So many are being opened at a time: more than a listener's backlog would only wait for retransmissions.
const AT_A_TIME: usize = 100;
/// For one connection to be opened and answered.
const PATIENCE: Duration = Duration::from_secs(60);

/// Opens all, says `holding N` on stdout, waits for the end of stdin and gives the result as JSON.
///
/// # Errors
/// Connections cannot be opened, or some are not answered in time.
pub fn run(plan: &Plan) -> io::Result<String> {
    let alpn: &[u8] = if plan.h2 { b"h2" } else { b"http/1.1" };
    let tls = if plan.target.tls {
        Some(tls_client(alpn, false).map_err(io::Error::other)?)
    } else {
        None
    };
    let opening = if plan.h2 {
        h2::opening(&plan.target.host, &plan.target.path)
    } else {
        plan.target.request(&plan.target.path, "")
    };
    let mut poll = Poll::new()?;
    let mut slots: Vec<Slot> = Vec::with_capacity(plan.connections);
    let mut events = Events::with_capacity(1024);
    let mut scratch = vec![0; 64 * 1024];
    let (mut ready, mut lost) = (0, 0);
    let start = Instant::now();
    while ready < plan.connections {
        while slots.len() < plan.connections && slots.len() - ready < AT_A_TIME {
            slots.push(open(plan, tls.as_ref(), &opening, &poll, slots.len())?);
        }
        if start.elapsed() > PATIENCE {
            return Err(io::Error::other(format!(
                "only {ready} connections were answered within {} s",
                PATIENCE.as_secs()
            )));
        }
        poll.poll(&mut events, Some(Duration::from_millis(100)))?;
        for event in &events {
            let Some(slot) = slots.get_mut(event.token().0) else {
                continue;
            };
            let was = slot.ready;
            match slot.turn(&mut scratch) {
                Ok(Pumped::Open) => ready += usize::from(slot.ready && !was),
                Ok(Pumped::Closed) if was => lost += 1,
                Ok(Pumped::Closed) => {
                    return Err(io::Error::other(format!(
                        "closed by the server with {ready} connections open"
                    )));
                }
                Err(error) => return Err(error),
            }
        }
    }
    let mut stdout = io::stdout();
    writeln!(stdout, "holding {ready}")?;
    stdout.flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    poll.poll(&mut events, Some(Duration::ZERO))?;
    lost += events.iter().filter(|event| event.is_read_closed()).count();
    Ok(format!("{{\"held\":{ready},\"lost\":{lost}}}"))
}

fn open(
    plan: &Plan,
    tls: Option<&Arc<ClientConfig>>,
    opening: &[u8],
    poll: &Poll,
    at: usize,
) -> io::Result<Slot> {
    let tls = tls.map(|config| (config, plan.target.name.as_str()));
    let mut connection = Connection::open(plan.target.address, tls, poll.registry(), Token(at))?;
    connection.send(opening)?;
    let reader = if plan.h2 {
        Reader::H2(h2::Reader::default())
    } else {
        Reader::H1(Response::default())
    };
    Ok(Slot {
        connection,
        reader,
        ready: false,
    })
}

impl Slot {
    fn turn(&mut self, scratch: &mut [u8]) -> io::Result<Pumped> {
        let Self {
            connection,
            reader,
            ready,
        } = self;
        let mut reply = Vec::new();
        let pumped = connection.pump(scratch, |bytes| {
            match reader {
                Reader::H1(response) => {
                    *ready |= response.feed(bytes).map_err(io::Error::other)? == Progress::Done
                }
                Reader::H2(frames) => {
                    reply.extend(frames.feed(bytes).map_err(io::Error::other)?);
                    *ready |= frames.done();
                }
            }
            Ok(())
        })?;
        if !reply.is_empty() {
            connection.send(&reply)?;
        }
        Ok(pumped)
    }
}
