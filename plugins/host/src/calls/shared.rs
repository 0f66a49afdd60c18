//! Shared data, queues and metrics.

use wasmtime::Linker;

use super::{Done, Env, answer, give, slice, split, write, write_u32};
use crate::{
    abi::{MetricType, Status},
    state::State,
};

/// Longest key or queue name, in bytes.
const MAX_NAME: usize = 1024;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_shared_data",
        |mut env: Env<'_>, key: u32, key_size: u32, data: u32, size: u32, cas: u32| {
            answer(get_data(&mut env, (key, key_size), data, size, cas))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_shared_data",
        |mut env: Env<'_>, key: u32, key_size: u32, value: u32, value_size: u32, cas: u32| {
            answer(set_data(
                &mut env,
                (key, key_size),
                (value, value_size),
                cas,
            ))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_register_shared_queue",
        |mut env: Env<'_>, name: u32, size: u32, queue: u32| {
            answer(register(&mut env, (name, size), queue))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_resolve_shared_queue",
        |mut env: Env<'_>, vm: u32, vm_size: u32, name: u32, size: u32, queue: u32| {
            answer(resolve(&mut env, (vm, vm_size), (name, size), queue))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_enqueue_shared_queue",
        |mut env: Env<'_>, queue: u32, data: u32, size: u32| {
            answer(enqueue(&mut env, queue, (data, size)))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_dequeue_shared_queue",
        |mut env: Env<'_>, queue: u32, data: u32, size: u32| {
            answer(dequeue(&mut env, queue, data, size))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_define_metric",
        |mut env: Env<'_>, kind: u32, name: u32, size: u32, id: u32| {
            answer(define(&mut env, kind, (name, size), id))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_increment_metric",
        |env: Env<'_>, id: u32, delta: i64| {
            answer(
                env.data()
                    .core
                    .metrics
                    .increment(id, delta)
                    .map_err(Into::into),
            )
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_record_metric",
        |env: Env<'_>, id: u32, value: u64| {
            answer(
                env.data()
                    .core
                    .metrics
                    .record(id, value)
                    .map_err(Into::into),
            )
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_metric",
        |mut env: Env<'_>, id: u32, value: u32| answer(get_metric(&mut env, id, value)),
    )?;
    Ok(())
}

fn name(memory: &[u8], (pointer, size): (u32, u32)) -> Result<&[u8], Status> {
    let name = slice(memory, pointer, size)?;
    if name.len() > MAX_NAME {
        Err(Status::BadArgument)
    } else {
        Ok(name)
    }
}

fn get_data(
    env: &mut Env<'_>,
    key: (u32, u32),
    return_data: u32,
    return_size: u32,
    return_cas: u32,
) -> Done {
    let (memory, state) = split(env)?;
    let found = state.core.shared.get(&state.core.vm_id, name(memory, key)?);
    let (value, cas) = found.ok_or(Status::NotFound)?;
    write_u32(env, return_cas, cas)?;
    give(env, &value, return_data, return_size)
}

fn set_data(env: &mut Env<'_>, key: (u32, u32), (value, size): (u32, u32), cas: u32) -> Done {
    let (memory, state) = split(env)?;
    let (key, value) = (name(memory, key)?, slice(memory, value, size)?);
    Ok(state.core.shared.set(&state.core.vm_id, key, value, cas)?)
}

fn register(env: &mut Env<'_>, queue: (u32, u32), return_queue: u32) -> Done {
    let (memory, state) = split(env)?;
    let id = state
        .core
        .shared
        .register_queue(&state.core.vm_id, name(memory, queue)?)?;
    if !state.queues.contains(&id) {
        state.queues.push(id);
    }
    Ok(write_u32(env, return_queue, id)?)
}

fn resolve(env: &mut Env<'_>, vm: (u32, u32), queue: (u32, u32), return_queue: u32) -> Done {
    let (memory, state) = split(env)?;
    let id = state
        .core
        .shared
        .resolve_queue(name(memory, vm)?, name(memory, queue)?)?;
    Ok(write_u32(env, return_queue, id)?)
}

fn enqueue(env: &mut Env<'_>, queue: u32, (data, size): (u32, u32)) -> Done {
    let (memory, state) = split(env)?;
    state
        .core
        .shared
        .enqueue(queue, slice(memory, data, size)?)?;
    state.core.chores.wake();
    Ok(())
}

fn dequeue(env: &mut Env<'_>, queue: u32, return_data: u32, return_size: u32) -> Done {
    let item = env.data().core.shared.dequeue(queue)?;
    give(env, &item, return_data, return_size)
}

fn define(env: &mut Env<'_>, kind: u32, (pointer, size): (u32, u32), return_id: u32) -> Done {
    let kind = MetricType::from_number(kind).ok_or(Status::BadArgument)?;
    let (memory, state) = split(env)?;
    let id = state.core.metrics.define(
        kind,
        slice(memory, pointer, size)?,
        state.core.limits.metrics,
    )?;
    Ok(write_u32(env, return_id, id)?)
}

fn get_metric(env: &mut Env<'_>, id: u32, return_value: u32) -> Done {
    let value = env.data().core.metrics.value(id)?;
    Ok(write(env, return_value, &value.to_le_bytes())?)
}
