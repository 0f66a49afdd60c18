//! An answer that stands ready, and what it depends on.

use std::sync::{Arc, Weak};

use anypop_cache::{freshness::Clock, key::CacheKey, time::Timestamp};
use anypop_config::{Site, Snapshot};
use anypop_listen::{ClientInfo, write_whole_head};
use anypop_store::{Epoch, Lookup, Object};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, uri::PathAndQuery};

use super::{
    request::Source,
    table::Question,
    template::{Template, Values},
};
use crate::{
    edge::Edge,
    observe::metrics::SiteMetrics,
    pipeline::whole::{self, Filling, Plain},
};

/// Bodies up to this size are copied for the worker: cheaper than the counters by which workers share
/// larger ones. The listener copies bodies of this size into its buffer.
pub(super) const COPY_UP_TO: usize = 4096;

/// How many hits are at most told to the store at once.
const MOST_UNTOLD: u32 = 64;

/// One answer.
pub(super) struct Entry {
    hash: u64,
    edge: u64,
    tls: bool,
    head: bool,
    host: Box<[u8]>,
    pub(super) target: Box<str>,
    accept_encoding: Option<Box<[u8]>>,
    /// The configuration it was prepared with.
    pub(super) generation: u64,
    epoch: Epoch,
    key: CacheKey,
    /// Weak: what the store has given up goes.
    object: Weak<Object>,
    body: Body,
    pub(super) site: Arc<Site>,
    pub(super) metrics: Arc<SiteMetrics>,
    pub(super) authority: Box<str>,
    pub(super) clock: Clock,
    pub(super) status: u16,
    pub(super) response: Template,
    /// The same fields for HTTP/2, with marks where something is to be filled in.
    headers: HeaderMap,
    marks: Marks,
    /// Bytes of the response's fields as the log counts them, without those of the gaps.
    pub(super) fields: u64,
    pub(super) cache_status: Template,
    untold: u32,
    patience: u32,
}

/// Values that stand where something is to be filled in.
struct Marks {
    age: HeaderValue,
    request_id: HeaderValue,
    cache_status: HeaderValue,
}

impl Marks {
    fn new(values: &Values, cache_status: &str) -> Self {
        let or_empty = |text: &str| {
            HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
        };
        Self {
            age: values.age.into(),
            request_id: or_empty(values.request_id.as_str()),
            cache_status: or_empty(cache_status),
        }
    }
}

enum Body {
    Own(Bytes),
    /// In the object.
    Shared,
}

/// What a request brings that is being prepared for.
pub(super) struct Request<'a> {
    pub(super) question: Question<'a>,
    pub(super) hash: u64,
    pub(super) source: Source<'a>,
    pub(super) target: &'a str,
    pub(super) client: &'a Arc<ClientInfo>,
    pub(super) now: Timestamp,
}

impl Entry {
    /// Prepares the answer to a request; `None` where the pipeline has to answer.
    pub(super) fn prepare(
        edge: &Edge,
        snapshot: &Arc<Snapshot>,
        request: Request<'_>,
    ) -> Option<Box<Self>> {
        let Request {
            question,
            hash,
            source,
            target,
            client,
            now,
        } = request;
        let headers = source.headers()?;
        let named = source.authority()?;
        let host = named.host();
        let method = if question.head {
            Method::HEAD
        } else {
            Method::GET
        };
        let parsed = PathAndQuery::try_from(target).ok()?;
        if parsed.as_str() != target || !target.starts_with('/') {
            return None;
        }
        let site = snapshot.sites.find(host)?;
        let authority = match named.port() {
            Some(port) if port != if question.tls { 443 } else { 80 } => format!("{host}:{port}"),
            _ => host.to_owned(),
        };
        let plain = Plain {
            client,
            site,
            method: &method,
            path: parsed.path(),
            query: parsed.query(),
            headers: &headers,
            authority: &authority,
        };
        let (selector, key) = whole::key(&plain)?;
        // Before the look: what changes after it is noticed.
        let epoch = edge.store.epoch(&key);
        let object = selector.select(edge.store.variants(&key), &headers, now)?;
        let complete = object.body().try_complete()?;
        let bytes = complete.contiguous()?;
        let marks = Values::marks();
        let filling = Filling {
            age: marks.age,
            ttl: marks.ttl,
            request_id: marks.request_id,
        };
        let header = whole::header(edge, snapshot, &plain, &object, filling)?;
        let mut text = BytesMut::new();
        if !write_whole_head(&header, &mut text) {
            return None;
        }
        let response = Template::new(&text, &marks)?;
        let all: usize = header
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 4)
            .sum();
        let of_gaps = text.len() - response.len();
        let cache_status = whole::hit(marks.ttl).render(edge.name());
        Some(Box::new(Self {
            hash,
            edge: question.edge,
            tls: question.tls,
            head: question.head,
            host: question.host.into(),
            target: target.into(),
            accept_encoding: question.accept_encoding.map(Into::into),
            generation: snapshot.generation,
            epoch,
            key,
            body: if question.head {
                Body::Own(Bytes::new())
            } else if bytes.len() <= COPY_UP_TO {
                Body::Own(Bytes::copy_from_slice(&bytes))
            } else {
                Body::Shared
            },
            site: site.clone(),
            metrics: edge.metrics.site(site.id.as_str()),
            authority: authority.into(),
            clock: object.meta().clock,
            status: object.status().as_u16(),
            response,
            fields: all.saturating_sub(of_gaps) as u64,
            cache_status: Template::new(cache_status.as_bytes(), &marks)?,
            marks: Marks::new(&marks, &cache_status),
            headers: header.headers.clone(),
            object: Arc::downgrade(&object),
            untold: 0,
            patience: 1,
        }))
    }

    /// Whether it is the answer to this question.
    pub(super) fn answers(&self, hash: u64, question: &Question<'_>) -> bool {
        self.hash == hash
            && *question
                == Question {
                    edge: self.edge,
                    tls: self.tls,
                    head: self.head,
                    host: &self.host,
                    target: self.target.as_bytes(),
                    accept_encoding: self.accept_encoding.as_deref(),
                }
    }

    /// Whether the store would still answer by the same object. Cheap while nothing has changed that
    /// is near it.
    pub(super) fn is_current(&mut self, edge: &Edge) -> bool {
        let epoch = edge.store.epoch(&self.key);
        if epoch == self.epoch {
            return true;
        }
        let newest = edge.store.lookup(&self.key, |_| true);
        let same = matches!(newest, Lookup::Found(found)
            if found.purged.is_none() && Arc::as_ptr(&found.object) == self.object.as_ptr());
        if same {
            self.epoch = epoch;
        }
        same
    }

    /// Whether it is still fresh.
    pub(super) fn is_fresh(&self, now: Timestamp) -> bool {
        self.clock.age(now) < self.clock.lifetime.fresh_for
    }

    /// The body; `None` when the store has given it up.
    pub(super) fn body(&self) -> Option<Bytes> {
        match &self.body {
            Body::Own(bytes) => Some(bytes.clone()),
            Body::Shared => self.object.upgrade()?.body().try_complete()?.contiguous(),
        }
    }

    /// The response's fields for HTTP/2; `cache_status` is this node's member.
    pub(super) fn headers(&self, values: &Values, cache_status: &[u8]) -> Option<HeaderMap> {
        let mut headers = self.headers.clone();
        for value in headers.values_mut() {
            if *value == self.marks.age {
                *value = values.age.into();
            } else if *value == self.marks.request_id {
                *value = HeaderValue::from_str(values.request_id.as_str()).ok()?;
            } else if *value == self.marks.cache_status {
                *value = HeaderValue::from_bytes(cache_status).ok()?;
            }
        }
        Some(headers)
    }

    /// Counts a hit. The store hears of the first ones at once and later of several together: it
    /// wants to know what is hot, not how hot.
    pub(super) fn count(&mut self, edge: &Edge) {
        self.untold += 1;
        if self.untold >= self.patience {
            if let Some(object) = self.object.upgrade() {
                edge.store.touch(&object, self.untold);
            }
            self.untold = 0;
            self.patience = (self.patience * 2).min(MOST_UNTOLD);
        }
    }
}
