//! The hot path: a plain GET or HEAD whose response stands ready is answered on its connection's
//! task before it becomes a session; over HTTP/1 in one write.
//!
//! Each worker keeps what it has prepared ([`table`], [`entry`]): the header in bytes with gaps for
//! what differs from request to request ([`template`]), and the body. An answer costs a hash of what
//! tells requests apart, an exact comparison, and three checks: that the configuration is the one it
//! was prepared with, that the store has changed nothing near the object and has purged nothing, and
//! that the object is still fresh. Whatever else a request asks for ([`request`]) goes the long way,
//! as does everything that is not the same for all clients; [`crate::pipeline::whole`] decides that
//! once, with the parts that decide it there.
//!
//! Log, counters and spans are those of the pipeline. The store hears of hits in batches.

mod entry;
mod request;
mod table;
mod template;

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Instant, SystemTime},
};

use crate::{
    edge::Edge,
    observe::{
        labels::CacheResult,
        metrics::Counter,
        record::AccessRecord,
        request_id::RequestId,
        trace::{self, SpanId, Trace, TraceId},
    },
    pipeline::{whole, within_rate},
};
use anypop_cache::time::Timestamp;
use anypop_listen::{ClientInfo, HotReply, HotResponse, head::Head};
use bytes::{Bytes, BytesMut};
use http::{StatusCode, header};
use pingora_http::RequestHeader;

use entry::{Entry, Request};
use request::{Fields, Source};
use table::{Question, Table};
use template::Values;

/// A node's part in the workers' tables.
#[derive(Debug)]
pub struct Hot {
    /// Tells the nodes of one process apart.
    id: u64,
    off: AtomicBool,
    answered: Counter,
}

impl Default for Hot {
    fn default() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self {
            id: LAST.fetch_add(1, Ordering::Relaxed),
            off: AtomicBool::new(false),
            answered: Counter::default(),
        }
    }
}

impl Hot {
    /// Lets every request go through the pipeline while `off`: to compare the two.
    pub fn set_off(&self, off: bool) {
        self.off.store(off, Ordering::Relaxed);
    }

    /// Requests answered from what was prepared.
    pub fn answered(&self) -> u64 {
        self.answered.value()
    }
}

thread_local! {
    static WORKER: RefCell<Worker> = RefCell::default();
}

#[derive(Default)]
struct Worker {
    table: Table,
    /// For the text of `Cache-Status`, while a line is written.
    text: BytesMut,
}

/// Answers a request of HTTP/1 from what is prepared, or declines it: then nothing has happened.
pub fn answer(
    edge: &Edge,
    head: &Head<'_>,
    client: &Arc<ClientInfo>,
    response: &mut HotResponse<'_>,
) -> bool {
    if edge.hot.off.load(Ordering::Relaxed) {
        return false;
    }
    let (Some(head_only), Some(fields)) = (is_head(head.method()), Fields::read(head.fields()))
    else {
        return false;
    };
    let asked = Asked {
        question: Question {
            edge: edge.hot.id,
            tls: client.tls.is_some(),
            head: head_only,
            host: head.authority_bytes(),
            target: head.path().as_bytes(),
            accept_encoding: fields.accept_encoding,
        },
        fields,
        source: Source::H1(head),
        target: head.path(),
        client,
    };
    let answered = answer_with(edge, &asked, |entry, values, _| {
        entry.response.fill(values, response.head);
        Some(())
    });
    match answered {
        Some(((), body)) => {
            response.body = body;
            true
        }
        None => false,
    }
}

/// The same for HTTP/2.
pub fn answer_stream(
    edge: &Edge,
    request: &RequestHeader,
    client: &Arc<ClientInfo>,
) -> Option<HotReply> {
    if edge.hot.off.load(Ordering::Relaxed) {
        return None;
    }
    let head_only = is_head(request.method.as_str())?;
    let lines = request.headers.iter();
    let fields = Fields::read(lines.map(|(name, value)| (name.as_str(), value.as_bytes())))?;
    let target = request.uri.path_and_query()?.as_str();
    let asked = Asked {
        question: Question {
            edge: edge.hot.id,
            tls: client.tls.is_some(),
            head: head_only,
            host: request.headers.get(header::HOST)?.as_bytes(),
            target: target.as_bytes(),
            accept_encoding: fields.accept_encoding,
        },
        fields,
        source: Source::H2(request),
        target,
        client,
    };
    let (reply, body) = answer_with(edge, &asked, |entry, values, cache_status| {
        let status = StatusCode::from_u16(entry.status).ok()?;
        Some((status, entry.headers(values, cache_status)?))
    })?;
    let (status, headers) = reply;
    Some(HotReply {
        status,
        headers,
        body,
    })
}

fn is_head(method: &str) -> Option<bool> {
    match method {
        "GET" => Some(false),
        "HEAD" => Some(true),
        _ => None,
    }
}

/// A request that may be answered here.
struct Asked<'a> {
    question: Question<'a>,
    fields: Fields<'a>,
    source: Source<'a>,
    target: &'a str,
    client: &'a Arc<ClientInfo>,
}

/// Finds or prepares the entry that answers, and has `fill` make the protocol's form of its header,
/// from what fills the gaps and this node's member of `Cache-Status`.
fn answer_with<T>(
    edge: &Edge,
    asked: &Asked<'_>,
    fill: impl FnOnce(&Entry, &Values, &[u8]) -> Option<T>,
) -> Option<(T, Bytes)> {
    // Nothing in here calls back; were it entered twice, the second request would go the long way.
    WORKER.with(|worker| worker.try_borrow_mut().ok()?.answer(edge, asked, fill))
}

impl Worker {
    fn answer<T>(
        &mut self,
        edge: &Edge,
        asked: &Asked<'_>,
        fill: impl FnOnce(&Entry, &Values, &[u8]) -> Option<T>,
    ) -> Option<(T, Bytes)> {
        let Asked {
            question,
            fields,
            source,
            target,
            client,
        } = asked;
        let hash = self.table.hash(question);
        let known = self
            .table
            .place(hash)
            .as_ref()
            .is_some_and(|entry| entry.answers(hash, question));
        if !known && !self.table.is_due(hash) {
            return None;
        }
        let started = Instant::now();
        let time = SystemTime::now();
        let now = Timestamp::from(time);
        let snapshot = edge.live.load();
        let place = self.table.place(hash);
        let usable = known
            && place.as_mut().is_some_and(|entry| {
                entry.generation == snapshot.generation && entry.is_current(edge)
            });
        if !usable {
            let request = Request {
                question: *question,
                hash,
                source: *source,
                target,
                client,
                now,
            };
            let prepared = Entry::prepare(edge, &snapshot, request);
            match prepared {
                Some(entry) => *place = Some(entry),
                None => {
                    if known {
                        *place = None;
                    } else {
                        self.table.pause(hash);
                    }
                    return None;
                }
            }
        }
        let entry = place.as_mut()?;
        if !entry.is_fresh(now) {
            return None;
        }
        let address = client.peer.ip();
        if !entry.site.acl.permits(address) {
            return None;
        }
        let Some(body) = entry.body() else {
            *place = None;
            return None;
        };
        // Last, since it counts: what passes here is answered here.
        if !within_rate(&entry.site, &edge.rates, address, started) {
            return None;
        }
        let values = Values {
            age: entry.clock.age_field(now),
            ttl: entry.clock.ttl_seconds(now),
            request_id: RequestId::random(),
        };
        self.text.clear();
        entry.cache_status.fill(&values, &mut self.text);
        let filled = fill(entry, &values, &self.text)?;
        entry.count(edge);
        edge.hot.answered.inc();
        let body_out = body.len() as u64;
        let age = entry.clock.age(now);
        let trace = edge.spans.as_ref().map(|spans| {
            let record = edge.sampler.decide(None, false, trace::dice());
            (spans, Trace::begin(None, None, record))
        });
        let (trace_id, span_id) = match &trace {
            Some((_, trace)) => (trace.trace_id, trace.span_id),
            None => (TraceId::random(), SpanId::random()),
        };
        let duration = started.elapsed();
        let target = entry.target.as_bytes();
        let record = AccessRecord {
            time,
            request_id: values.request_id,
            trace_id,
            span_id,
            pop: &snapshot.node.pop,
            node: &snapshot.node.name,
            site: entry.site.id.as_str(),
            protocol: source.protocol(),
            method: if question.head { b"HEAD" } else { b"GET" },
            host: entry.authority.as_bytes(),
            path: target,
            status: entry.status,
            cache: CacheResult::Hit,
            cache_status: std::str::from_utf8(&self.text).unwrap_or_default(),
            age: Some(age),
            ttl: Some(values.ttl),
            bytes_in: fields.bytes + target.len() as u64,
            body_out,
            bytes_out: body_out + entry.fields + entry.response.gaps(&values),
            duration,
            first_byte: Some(duration),
            referer: fields.referer.unwrap_or_default(),
            user_agent: fields.user_agent.unwrap_or_default(),
            ..whole::connection(client)
        };
        edge.metrics.record(&entry.metrics, &record);
        edge.access_log.write(&record);
        if let Some((spans, trace)) = &trace {
            spans.send(&record, trace);
        }
        Some((filled, body))
    }
}
