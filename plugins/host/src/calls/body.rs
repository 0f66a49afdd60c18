//! Bodies and the other buffers.

use bytes::{Bytes, BytesMut};
use wasmtime::Linker;

use super::{Done, Env, answer, give, slice, split, write_u32};
use crate::{
    abi::{BufferType, Direction, Status},
    state::{State, View},
};

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_buffer_bytes",
        |mut env: Env<'_>, buffer: u32, start: u32, most: u32, data: u32, size: u32| {
            answer(get(&mut env, buffer, start, most, data, size))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_buffer_bytes",
        |mut env: Env<'_>, buffer: u32, start: u32, size: u32, data: u32, data_size: u32| {
            answer(set(&mut env, buffer, start, size, data, data_size))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_buffer_status",
        |mut env: Env<'_>, buffer: u32, size: u32, unused: u32| {
            answer(status(&mut env, buffer, size, unused))
        },
    )?;
    Ok(())
}

fn direction(buffer: BufferType) -> Option<Direction> {
    match buffer {
        BufferType::RequestBody => Some(Direction::Request),
        BufferType::ResponseBody => Some(Direction::Response),
        _ => None,
    }
}

/// Lets `read` see a buffer.
fn reading<R>(state: &State, buffer: u32, read: impl FnOnce(&[u8]) -> R) -> Result<R, Status> {
    let buffer = BufferType::from_number(buffer).ok_or(Status::BadArgument)?;
    if let Some(direction) = direction(buffer) {
        let (exchange, stage) = state.stream().ok_or(Status::NotFound)?;
        let exchange = exchange.lock();
        let held = exchange
            .held(stage, direction)
            .filter(|held| held.visible)
            .ok_or(Status::NotFound)?;
        return Ok(read(&held.body));
    }
    match (buffer, &state.view) {
        (BufferType::VmConfiguration, View::VmStart) => Ok(read(&state.core.vm_configuration)),
        // SDKs also ask for it later, from the root context.
        (BufferType::PluginConfiguration, _) => Ok(read(&state.core.configuration)),
        (BufferType::CallResponseBody, View::Call { body, .. }) => Ok(read(body)),
        (BufferType::ForeignArguments, View::Foreign(arguments)) => Ok(read(arguments)),
        _ => Err(Status::NotFound),
    }
}

fn get(
    env: &mut Env<'_>,
    buffer: u32,
    start: u32,
    most: u32,
    return_data: u32,
    return_size: u32,
) -> Done {
    let bytes = reading(env.data(), buffer, |bytes| {
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        // Some SDKs ask for "everything" with the largest number there is.
        let end = start
            .saturating_add(usize::try_from(most).unwrap_or(usize::MAX))
            .min(bytes.len());
        bytes.get(start..end).map(Bytes::copy_from_slice)
    })?;
    give(
        env,
        &bytes.ok_or(Status::BadArgument)?,
        return_data,
        return_size,
    )
}

fn set(env: &mut Env<'_>, buffer: u32, start: u32, size: u32, data: u32, data_size: u32) -> Done {
    let direction = direction(BufferType::from_number(buffer).ok_or(Status::BadArgument)?)
        .ok_or(Status::NotFound)?;
    let (memory, state) = split(env)?;
    let data = slice(memory, data, data_size)?;
    let most = state.core.limits.buffer;
    let (exchange, stage) = state.stream_to_change().map_err(|_| Status::NotFound)?;
    let mut exchange = exchange.lock();
    let held = exchange
        .held_mut(stage, direction)
        .filter(|held| held.visible)
        .ok_or(Status::NotFound)?;
    let length = held.body.len();
    let start = usize::try_from(start).unwrap_or(usize::MAX).min(length);
    let end = start
        .saturating_add(usize::try_from(size).unwrap_or(usize::MAX))
        .min(length);
    if length - (end - start) + data.len() > most.max(length) {
        return Err(Status::InternalFailure.into());
    }
    if start == 0 && end == length {
        held.body = BytesMut::from(data);
        return Ok(());
    }
    let tail = held.body.split_off(end);
    held.body.truncate(start);
    held.body.extend_from_slice(data);
    held.body.extend_from_slice(&tail);
    Ok(())
}

fn status(env: &mut Env<'_>, buffer: u32, return_size: u32, return_unused: u32) -> Done {
    let size = reading(env.data(), buffer, <[u8]>::len)?;
    write_u32(
        env,
        return_size,
        u32::try_from(size).map_err(|_| Status::InternalFailure)?,
    )?;
    Ok(write_u32(env, return_unused, 0)?)
}
