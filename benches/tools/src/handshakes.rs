//! A connection for each request: what a TLS handshake costs, full or resumed.
//!
//! The server is asked to close, so that the ports of this side are free again at once and none runs out.

use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use rustls::HandshakeKind;

use crate::connection::{Connection, Pumped};
use crate::response::{Progress, Response};
use crate::target::{Target, tls_client};

/// What to drive.
#[derive(Debug)]
pub struct Plan {
    /// Where to, by https.
    pub target: Target,
    /// Connections at a time.
    pub connections: usize,
    /// For how long.
    pub duration: Duration,
    /// Whether sessions are resumed where the server gave a ticket.
    pub resume: bool,
}

struct Slot {
    connection: Connection,
    response: Response,
    whole: bool,
}

/// Drives the plan and gives its result as JSON.
///
/// # Errors
/// Sockets or epoll fail, or too many connections do.
pub fn run(plan: &Plan) -> io::Result<String> {
    let config = tls_client(b"http/1.1", plan.resume).map_err(io::Error::other)?;
    let request = plan
        .target
        .request(&plan.target.path, "Connection: close\r\n");
    let mut poll = Poll::new()?;
    let open = |poll: &Poll, at: usize| -> io::Result<Slot> {
        let tls = Some((&config, plan.target.name.as_str()));
        let mut connection =
            Connection::open(plan.target.address, tls, poll.registry(), Token(at))?;
        connection.send(&request)?;
        Ok(Slot {
            connection,
            response: Response::default(),
            whole: false,
        })
    };
    let mut slots = Vec::with_capacity(plan.connections);
    for at in 0..plan.connections {
        slots.push(open(&poll, at)?);
    }
    let mut events = Events::with_capacity(256);
    let mut scratch = vec![0; 64 * 1024];
    let (mut full, mut resumed, mut errors) = (0_u64, 0_u64, 0_u64);
    let start = Instant::now();
    while start.elapsed() < plan.duration {
        poll.poll(&mut events, Some(Duration::from_millis(100)))?;
        for event in &events {
            let at = event.token().0;
            let Some(slot) = slots.get_mut(at) else {
                continue;
            };
            let Slot {
                connection,
                response,
                whole,
            } = slot;
            let pumped = connection.pump(&mut scratch, |bytes| {
                *whole |= response.feed(bytes).map_err(io::Error::other)? == Progress::Done;
                Ok(())
            });
            if matches!(pumped, Ok(Pumped::Open)) {
                continue;
            }
            match (
                slot.whole && slot.response.status() == 200,
                slot.connection.handshake(),
            ) {
                (true, Some(HandshakeKind::Resumed)) => resumed += 1,
                (true, Some(_)) => full += 1,
                _ => errors += 1,
            }
            if errors > 10_000 {
                return Err(io::Error::other("more than 10 000 connections failed"));
            }
            *slot = open(&poll, at)?;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(format!(
        "{{\"full\":{full},\"resumed\":{resumed},\"errors\":{errors},\"seconds\":{seconds:.3}}}"
    ))
}
