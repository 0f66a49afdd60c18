//! Streams: going on, ending, answering oneself, and asking others.

use bytes::Bytes;
use wasmtime::Linker;

use super::{Done, Env, Stop, answer, give, slice, split, write_u32};
use crate::{
    abi::{Direction, LogLevel, Status, StreamType},
    exchange::LocalResponse,
    fields::Fields,
    guard::{self, Place},
    map,
    services::{CallReply, HttpCall},
    state::{State, View},
};

/// Longest `status_code_details`, in bytes.
const MAX_DETAILS: usize = 256;
/// "No gRPC status" in `proxy_send_local_response`.
const NO_GRPC_STATUS: u32 = u32::MAX;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_continue_stream",
        |mut env: Env<'_>, stream: u32| answer(resume(&mut env, stream)),
    )?;
    // Of 0.1.0, still imported by some SDKs.
    linker.func_wrap("env", "proxy_continue_request", |mut env: Env<'_>| {
        answer(resume(&mut env, 0))
    })?;
    linker.func_wrap("env", "proxy_continue_response", |mut env: Env<'_>| {
        answer(resume(&mut env, 1))
    })?;
    linker.func_wrap(
        "env",
        "proxy_close_stream",
        |mut env: Env<'_>, stream: u32| answer(close(&mut env, stream)),
    )?;
    linker.func_wrap(
        "env",
        "proxy_send_local_response",
        #[allow(clippy::too_many_arguments, reason = "the ABI's")]
        |mut env: Env<'_>,
         status: u32,
         details: u32,
         details_size: u32,
         body: u32,
         body_size: u32,
         headers: u32,
         headers_size: u32,
         grpc: u32| {
            answer(respond(
                &mut env,
                status,
                (details, details_size),
                (body, body_size),
                (headers, headers_size),
                grpc,
            ))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_http_call",
        #[allow(clippy::too_many_arguments, reason = "the ABI's")]
        |mut env: Env<'_>,
         upstream: u32,
         upstream_size: u32,
         headers: u32,
         headers_size: u32,
         body: u32,
         body_size: u32,
         trailers: u32,
         trailers_size: u32,
         timeout: u32,
         call: u32| {
            let parts = [
                (upstream, upstream_size),
                (headers, headers_size),
                (body, body_size),
                (trailers, trailers_size),
            ];
            answer(http_call(&mut env, parts, timeout, call))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_status",
        |mut env: Env<'_>, code: u32, data: u32, size: u32| {
            answer(get_status(&mut env, code, data, size))
        },
    )?;
    // gRPC is not supported. A failure to send is what the ABI lets a host answer and what every SDK hands on as
    // an error; "unimplemented" makes SDKs panic.
    linker.func_wrap(
        "env",
        "proxy_grpc_call",
        #[allow(clippy::too_many_arguments, reason = "the ABI's")]
        |_: Env<'_>,
         _: u32,
         _: u32,
         _: u32,
         _: u32,
         _: u32,
         _: u32,
         _: u32,
         _: u32,
         _: u32,
         _: u32,
         _: u32,
         _: u32| { Status::InternalFailure as u32 },
    )?;
    linker.func_wrap(
        "env",
        "proxy_grpc_stream",
        #[allow(clippy::too_many_arguments, reason = "the ABI's")]
        |_: Env<'_>, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32| {
            Status::InternalFailure as u32
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_grpc_send",
        |_: Env<'_>, _: u32, _: u32, _: u32, _: u32| Status::NotFound as u32,
    )?;
    linker.func_wrap("env", "proxy_grpc_cancel", |_: Env<'_>, _: u32| {
        Status::NotFound as u32
    })?;
    linker.func_wrap("env", "proxy_grpc_close", |_: Env<'_>, _: u32| {
        Status::NotFound as u32
    })?;
    Ok(())
}

fn direction(stream: u32) -> Result<Direction, Status> {
    match StreamType::from_number(stream).ok_or(Status::BadArgument)? {
        StreamType::Request => Ok(Direction::Request),
        StreamType::Response => Ok(Direction::Response),
        StreamType::Downstream | StreamType::Upstream => Err(Status::Unimplemented),
    }
}

fn resume(env: &mut Env<'_>, stream: u32) -> Done {
    let direction = direction(stream)?;
    let (exchange, stage) = env.data().stream().ok_or(Status::BadArgument)?;
    let mut exchange = exchange.lock();
    if let Some(held) = exchange.held_mut(stage, direction) {
        held.resume = true;
    }
    exchange.wake();
    Ok(())
}

fn close(env: &mut Env<'_>, stream: u32) -> Done {
    direction(stream)?;
    let (exchange, _) = env.data().stream().ok_or(Status::BadArgument)?;
    let mut exchange = exchange.lock();
    exchange.reset = true;
    exchange.wake();
    Ok(())
}

fn respond(
    env: &mut Env<'_>,
    status: u32,
    details: (u32, u32),
    body: (u32, u32),
    headers: (u32, u32),
    grpc: u32,
) -> Done {
    let (memory, state) = split(env)?;
    let status = u16::try_from(status)
        .ok()
        .filter(|s| (200..=599).contains(s))
        .ok_or(Status::BadArgument)?;
    let details = slice(memory, details.0, details.1)?;
    let details =
        String::from_utf8_lossy(details.get(..MAX_DETAILS).unwrap_or(details)).into_owned();
    let body = slice(memory, body.0, body.1)?;
    let pairs =
        map::parse(slice(memory, headers.0, headers.1)?).map_err(|_| Status::BadArgument)?;
    if body.len() > state.core.limits.buffer {
        return Err(Status::BadArgument.into());
    }
    let mut fields = Fields::new();
    let mut refused = 0_u64;
    for (name, value) in &pairs {
        // The status is an argument; some guests repeat it here.
        if name.as_ref() == b":status" {
            continue;
        }
        if guard::add(&mut fields, Place::Response, name, value).is_err() {
            refused += 1;
        }
    }
    let response = LocalResponse {
        status,
        headers: fields,
        body: Bytes::copy_from_slice(body),
        grpc_status: Some(grpc).filter(|grpc| *grpc != NO_GRPC_STATUS),
        details,
        plugin: state.core.name.clone(),
    };
    let (exchange, _) = state.stream().ok_or(Status::BadArgument)?;
    let mut exchange = exchange.lock();
    // The first answer stands, as in Envoy.
    exchange.local.get_or_insert(response);
    exchange.wake();
    drop(exchange);
    if refused > 0 {
        state.core.count_refused(refused);
        state.log_line(
            LogLevel::Warn,
            format!("{refused} fields of a local response were refused").as_bytes(),
        );
    }
    Ok(())
}

fn http_call(env: &mut Env<'_>, parts: [(u32, u32); 4], timeout: u32, return_call: u32) -> Done {
    let (memory, state) = split(env)?;
    // The number must reach the guest, or it could never tell the answer from another.
    slice(memory, return_call, 4)?;
    let [upstream, headers, body, trailers] = parts;
    let upstream = std::str::from_utf8(slice(memory, upstream.0, upstream.1)?)
        .map_err(|_| Status::BadArgument)?;
    let core = state.core.clone();
    if !core.upstreams.iter().any(|known| known == upstream) {
        state.log_line(
            LogLevel::Warn,
            format!("call-out to {upstream:?} refused: not among the plugin's upstreams")
                .as_bytes(),
        );
        return Err(Status::BadArgument.into());
    }
    let head = checked(slice(memory, headers.0, headers.1)?, Place::Call)?;
    let trailers = checked(slice(memory, trailers.0, trailers.1)?, Place::Trailers)?;
    if [":method", ":path", ":authority"]
        .iter()
        .any(|name| head.value(name.as_bytes()).is_none())
    {
        return Err(Status::BadArgument.into());
    }
    let body = Bytes::copy_from_slice(slice(memory, body.0, body.1)?);
    if body.len() > core.limits.call_body || state.calls.len() >= core.limits.calls {
        return Err(Status::InternalFailure.into());
    }
    if let Some((exchange, stage)) = state.stream() {
        let mut exchange = exchange.lock();
        if let Some(stage) = exchange.stages.get_mut(stage) {
            if stage.calls >= core.limits.calls_per_stream {
                return Err(Status::InternalFailure.into());
            }
            stage.calls += 1;
        }
    }
    let timeout = match timeout {
        0 => core.limits.call_timeout,
        ms => std::time::Duration::from_millis(ms.into()).min(core.limits.call_timeout),
    };
    // Known before the call starts: it may end before `http_call` returns.
    let token = state.new_call();
    let reply = CallReply {
        cell: state.cell.clone(),
        token,
        told: false,
    };
    let call = HttpCall {
        site: core.site.clone(),
        plugin: core.name.clone(),
        upstream: upstream.to_owned(),
        head,
        body,
        trailers,
        timeout,
        most: core.limits.call_body,
    };
    if let Err(status) = core.services.http_call(call, reply) {
        state.calls.remove(&token);
        return Err(status.into());
    }
    Ok(write_u32(env, return_call, token)?)
}

/// A map of which nothing may be refused: half a request is none.
fn checked(bytes: &[u8], place: Place) -> Result<Fields, Stop> {
    let mut fields = Fields::new();
    for (name, value) in map::parse(bytes).map_err(|_| Status::BadArgument)? {
        // SDKs' examples send these; the edge frames and routes by itself.
        if guard::host_only(&name.to_ascii_lowercase()) {
            continue;
        }
        guard::add(&mut fields, place, &name, &value).map_err(|_| Status::BadArgument)?;
    }
    Ok(fields)
}

fn get_status(env: &mut Env<'_>, return_code: u32, return_data: u32, return_size: u32) -> Done {
    let (code, message): (u32, &'static [u8]) = match &env.data().view {
        View::Call { head, .. } => match head.status() {
            Some(status) => (status.into(), b""),
            None => (503, b"the call-out failed"),
        },
        _ => (0, b""),
    };
    write_u32(env, return_code, code)?;
    give(env, message, return_data, return_size)
}
