//! One request and its response as the plugins of a chain share them. It is locked for the length of a host call,
//! never while a guest runs, since a guest may also reach it from a tick or a call-out's end.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    task::Waker,
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use crate::{abi::Direction, fields::Fields};

/// What is known of a stream besides its messages. The edge fills in what it knows; absent things are absent
/// properties.
#[derive(Debug, Clone)]
pub struct StreamInfo {
    /// The client's address.
    pub source: Option<SocketAddr>,
    /// The address that the client came to.
    pub destination: Option<SocketAddr>,
    /// The connection's number.
    pub connection_id: u64,
    /// `TLSv1.3`, when there is TLS.
    pub tls_version: Option<String>,
    /// The server name that the client asked for.
    pub server_name: Option<String>,
    /// True when the client showed a certificate that was accepted.
    pub mtls: bool,
    /// `HTTP/1.1`, `HTTP/2` …
    pub protocol: String,
    /// The request's id.
    pub request_id: String,
    /// When the request began.
    pub started: SystemTime,
    /// Cache-Status of this node in one word (`hit`, `miss` …), once known.
    pub cache_status: Option<String>,
    /// The origin server that answered.
    pub upstream: Option<SocketAddr>,
    /// Bytes of request and response bodies so far.
    pub request_size: u64,
    /// Bytes of the response's body so far.
    pub response_size: u64,
    /// How long it took, once it is over.
    pub duration: Option<Duration>,
    /// Why the response is what it is, once known (`request.code_details`).
    pub code_details: Option<String>,
}

impl Default for StreamInfo {
    fn default() -> Self {
        Self {
            source: None,
            destination: None,
            connection_id: 0,
            tls_version: None,
            server_name: None,
            mtls: false,
            protocol: String::new(),
            request_id: String::new(),
            started: SystemTime::UNIX_EPOCH,
            cache_status: None,
            upstream: None,
            request_size: 0,
            response_size: 0,
            duration: None,
            code_details: None,
        }
    }
}

/// What a plugin answers instead of the origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalResponse {
    /// 200 to 599.
    pub status: u16,
    /// The other fields, checked as all that guests write; no framing among them.
    pub headers: Fields,
    /// The body.
    pub body: Bytes,
    /// The gRPC status, when the plugin gave one and the request is gRPC's.
    pub grpc_status: Option<u32>,
    /// Why, in the plugin's words, for logs.
    pub details: String,
    /// Which plugin.
    pub plugin: String,
}

/// What plugins ask of the cache for this request (see [`crate::foreign`]).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheWishes {
    /// Bytes that go into the cache key besides what the site says.
    pub key: Option<Bytes>,
    /// How long the response stays fresh, whatever its fields say.
    pub ttl: Option<Duration>,
    /// Tags to store the response with.
    pub tags: Vec<String>,
}

/// A head and whether it is still in our hands.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) fields: Option<Fields>,
    pub(crate) trailers: Option<Fields>,
    /// False once the edge has it: what is written after that has no effect.
    pub(crate) open: bool,
    /// True while trailers may still be written.
    pub(crate) trailers_open: bool,
}

/// What one plugin holds of one direction's body.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) body: BytesMut,
    /// The guest may see and change `body`.
    pub(crate) visible: bool,
    /// The guest asked to go on.
    pub(crate) resume: bool,
    /// The guest may add trailers although none came: the body's last chunk is with it.
    pub(crate) last: bool,
}

#[derive(Debug, Default)]
pub(crate) struct StageData {
    pub(crate) held: [Held; 2],
    pub(crate) calls: u32,
}

/// As it was before a callback, should that callback fail under `open`.
#[derive(Debug)]
pub(crate) struct Undo {
    heads: [(Option<Fields>, Option<Fields>); 2],
    bodies: [BytesMut; 2],
    wishes: CacheWishes,
}

#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) info: StreamInfo,
    pub(crate) heads: [Head; 2],
    pub(crate) stages: Vec<StageData>,
    pub(crate) local: Option<LocalResponse>,
    pub(crate) reset: bool,
    pub(crate) properties: HashMap<Vec<u8>, Bytes>,
    pub(crate) property_bytes: usize,
    pub(crate) wishes: CacheWishes,
    pub(crate) undo: Option<Undo>,
    pub(crate) waker: Option<Waker>,
    pub(crate) woken: bool,
}

pub(crate) type SharedExchange = Arc<Mutex<Exchange>>;

impl Exchange {
    pub(crate) fn new(info: StreamInfo, stages: usize) -> Self {
        Self {
            info,
            heads: Default::default(),
            stages: (0..stages).map(|_| StageData::default()).collect(),
            local: None,
            reset: false,
            properties: HashMap::new(),
            property_bytes: 0,
            wishes: CacheWishes::default(),
            undo: None,
            waker: None,
            woken: false,
        }
    }

    pub(crate) fn head(&self, direction: Direction) -> &Head {
        &self.heads[direction.index()]
    }

    pub(crate) fn head_mut(&mut self, direction: Direction) -> &mut Head {
        &mut self.heads[direction.index()]
    }

    pub(crate) fn held(&self, stage: usize, direction: Direction) -> Option<&Held> {
        self.stages
            .get(stage)
            .map(|stage| &stage.held[direction.index()])
    }

    pub(crate) fn held_mut(&mut self, stage: usize, direction: Direction) -> Option<&mut Held> {
        self.stages
            .get_mut(stage)
            .map(|stage| &mut stage.held[direction.index()])
    }

    /// Tells whoever waits for this stream that something changed.
    pub(crate) fn wake(&mut self) {
        self.woken = true;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Notes what `stage` is about to change, once per callback.
    pub(crate) fn remember(&mut self, stage: usize) {
        if self.undo.is_some() {
            return;
        }
        let head = |head: &Head| (head.fields.clone(), head.trailers.clone());
        let body = |index: usize| {
            self.stages
                .get(stage)
                .map(|s| s.held[index].body.clone())
                .unwrap_or_default()
        };
        self.undo = Some(Undo {
            heads: [head(&self.heads[0]), head(&self.heads[1])],
            bodies: [body(0), body(1)],
            wishes: self.wishes.clone(),
        });
    }

    /// Puts back what a failed callback of `stage` changed.
    pub(crate) fn undo(&mut self, stage: usize) {
        let Some(undo) = self.undo.take() else { return };
        for (head, (fields, trailers)) in self.heads.iter_mut().zip(undo.heads) {
            (head.fields, head.trailers) = (fields, trailers);
        }
        if let Some(stage) = self.stages.get_mut(stage) {
            for (held, body) in stage.held.iter_mut().zip(undo.bodies) {
                held.body = body;
            }
        }
        self.wishes = undo.wishes;
    }
}
