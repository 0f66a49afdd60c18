//! What a finished request leaves behind: a line in the log, counters, spans.

use std::{sync::Arc, time::SystemTime};

use anypop_listen::{ClientInfo, Protocol as Spoken};
use anypop_origin::ErrorKind;
use http::{HeaderMap, Version, header};
use pingora_error::{Error, ErrorSource};
use pingora_proxy::Session;

use super::{
    context::{Context, OriginOutcome},
    target,
};
use crate::{
    edge::Edge,
    observe::{
        labels::{CacheResult, FillFailure, OriginResult, Protocol, Refusal, TlsVersion},
        record::{AccessRecord, CLIENT_GONE, OriginRecord, TlsRecord},
        request_id::RequestId,
    },
};

/// Records a request that went through the pipeline.
pub(super) fn record(edge: &Edge, session: &Session, error: Option<&Error>, ctx: &mut Context) {
    let Some(arrived) = &ctx.arrived else { return };
    let request = session.req_header();
    let outcome = &ctx.outcome;
    let detail = error.map(|error| error.to_string());
    let detail = match (&outcome.failure, &detail) {
        (Some(failure), _) => failure.detail.as_str(),
        (None, Some(detail)) => detail,
        (None, None) => "",
    };
    let failed = match (&outcome.failure, error) {
        (Some(failure), _) => failure.error,
        (None, Some(error)) => by_whom(error),
        (None, None) => "",
    };
    let sent = session
        .response_written()
        .map_or(0, |written| written.status.as_u16());
    let status = if sent == 0 {
        0
    } else {
        outcome.delivered.status.max(sent)
    };
    let pass = ctx.pass.as_ref();
    let body_in = session.body_bytes_read() as u64;
    let origin = outcome.origin.as_ref();
    let record = AccessRecord {
        time: ctx.time,
        request_id: ctx.request_id,
        trace_id: ctx.trace.trace_id,
        span_id: ctx.trace.span_id,
        pop: &ctx.snapshot.node.pop,
        node: &ctx.snapshot.node.name,
        site: arrived.site.as_ref().map_or("", |site| site.id.as_str()),
        protocol: protocol(request.version),
        method: request.method.as_str().as_bytes(),
        host: arrived.authority.as_bytes(),
        path: target(request).as_bytes(),
        status,
        cache: match (status, outcome.cache) {
            (0, _) => CacheResult::None,
            (_, Some(cache)) => cache,
            (_, None) => CacheResult::Synthetic,
        },
        cache_status: &outcome.cache_status,
        collapsed: outcome.collapsed,
        age: outcome.age,
        ttl: outcome.ttl,
        body_in,
        bytes_in: head_bytes(&request.headers) + target(request).len() as u64 + body_in,
        body_out: outcome.delivered.body,
        bytes_out: outcome.delivered.body
            + session
                .response_written()
                .map_or(0, |written| head_bytes(&written.headers)),
        duration: ctx.started.elapsed(),
        first_byte: outcome
            .delivered
            .first_byte
            .map(|first| first.saturating_duration_since(ctx.started)),
        origin: origin.map(|origin| origin_record(origin, ctx, pass)),
        error: failed,
        error_detail: detail.as_bytes(),
        refused: outcome.refused,
        referer: field(&request.headers, header::REFERER),
        user_agent: field(&request.headers, header::USER_AGENT),
        ..connection(&arrived.client)
    };
    let none = || edge.metrics.site("");
    let metrics = arrived.metrics.clone().unwrap_or_else(none);
    edge.metrics.record(&metrics, &record);
    edge.access_log.write(&record);
    if let Some(spans) = &edge.spans {
        spans.send(&record, &ctx.trace);
    }
}

/// Records a request that the listeners refused: it never became one for the pipeline.
pub fn record_refused(edge: &Edge, client: &Arc<ClientInfo>, status: u16, reason: &str) {
    let snapshot = edge.live.snapshot();
    let record = AccessRecord {
        time: SystemTime::now(),
        request_id: RequestId::random(),
        pop: &snapshot.node.pop,
        node: &snapshot.node.name,
        protocol: match client.protocol {
            Spoken::H1 => Protocol::Http11,
            Spoken::H2 => Protocol::Http2,
        },
        status,
        cache: if status == 0 {
            CacheResult::None
        } else {
            CacheResult::Synthetic
        },
        error: "http_request_error",
        error_detail: reason.as_bytes(),
        refused: Some(Refusal::of(status, reason)),
        ..connection(client)
    };
    edge.metrics.record(&edge.metrics.site(""), &record);
    edge.access_log.write(&record);
}

/// What a record tells of the connection.
pub(crate) fn connection(client: &ClientInfo) -> AccessRecord<'_> {
    AccessRecord {
        client: Some(client.peer.ip()),
        client_port: client.peer.port(),
        scheme: client.scheme(),
        tls: client.tls.as_ref().map(|tls| TlsRecord {
            version: match tls.version {
                "TLSv1.3" => TlsVersion::Tls13,
                _ => TlsVersion::Tls12,
            },
            cipher: &tls.cipher,
            sni: tls.sni.as_deref().unwrap_or("").as_bytes(),
            resumed: tls.resumed,
        }),
        ..AccessRecord::default()
    }
}

fn origin_record<'a>(
    origin: &'a OriginOutcome,
    ctx: &Context,
    pass: Option<&super::context::Pass>,
) -> OriginRecord<'a> {
    let error = pass
        .and_then(|pass| pass.error.as_ref())
        .filter(|_| origin.status == 0);
    OriginRecord {
        server: origin.server.as_deref().unwrap_or(""),
        address: origin.address,
        status: origin.status,
        result: match error {
            Some(error) => result(error.kind),
            None => result_of_status(origin.status),
        },
        started: origin.started,
        connect: origin.connect,
        tls: origin.tls,
        first_byte: origin.first_byte,
        total: ctx.started.elapsed().saturating_sub(origin.started),
        retries: pass.map_or(origin.retries, |pass| pass.tries),
        reused: origin.reused,
        // What a fill brings is counted as it comes.
        bytes_in: match ctx.outcome.cache {
            Some(CacheResult::Miss | CacheResult::Revalidated) => 0,
            _ => ctx.outcome.delivered.body,
        },
        bytes_out: pass.map_or(0, |pass| pass.body_in),
    }
}

/// How an exchange with an origin ended, by its status.
pub(super) fn result_of_status(status: u16) -> OriginResult {
    match status {
        400..=499 => OriginResult::ClientError,
        500.. => OriginResult::ServerError,
        _ => OriginResult::Ok,
    }
}

/// How a try at an origin ended, by its error.
pub(super) fn result(error: ErrorKind) -> OriginResult {
    match error {
        ErrorKind::DnsTimeout | ErrorKind::DnsError => OriginResult::Dns,
        ErrorKind::DestinationIpProhibited => OriginResult::Guard,
        ErrorKind::ConnectionRefused
        | ErrorKind::ConnectionTimeout
        | ErrorKind::DestinationIpUnroutable => OriginResult::Connect,
        ErrorKind::TlsProtocolError
        | ErrorKind::TlsCertificateError
        | ErrorKind::TlsAlertReceived => OriginResult::Tls,
        ErrorKind::ConnectionReadTimeout | ErrorKind::ConnectionWriteTimeout => {
            OriginResult::Timeout
        }
        ErrorKind::DestinationNotFound
        | ErrorKind::DestinationUnavailable
        | ErrorKind::ConnectionLimitReached => OriginResult::Unavailable,
        _ => OriginResult::Protocol,
    }
}

/// Why a fill failed, by its error.
pub(super) fn fill_failure(error: ErrorKind) -> FillFailure {
    match (error, result(error)) {
        (ErrorKind::HttpResponseIncomplete, _) => FillFailure::Truncated,
        (_, OriginResult::Timeout) => FillFailure::Timeout,
        (_, OriginResult::Protocol) => FillFailure::Protocol,
        (ErrorKind::ProxyInternalError | ErrorKind::ProxyConfigurationError, _) => {
            FillFailure::Other
        }
        _ => FillFailure::Connect,
    }
}

fn by_whom(error: &Error) -> &'static str {
    match error.esource() {
        ErrorSource::Upstream => "http_response_incomplete",
        ErrorSource::Downstream => CLIENT_GONE,
        ErrorSource::Internal | ErrorSource::Unset => "proxy_internal_error",
    }
}

fn protocol(version: Version) -> Protocol {
    match version {
        Version::HTTP_10 => Protocol::Http10,
        Version::HTTP_2 => Protocol::Http2,
        _ => Protocol::Http11,
    }
}

fn field(headers: &HeaderMap, name: header::HeaderName) -> &[u8] {
    headers.get(name).map_or(b"", |value| value.as_bytes())
}

/// About what the header section took on the wire: names, values and four bytes a line.
fn head_bytes(headers: &HeaderMap) -> u64 {
    headers
        .iter()
        .map(|(name, value)| (name.as_str().len() + value.len() + 4) as u64)
        .sum()
}
