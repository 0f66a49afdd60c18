//! Logs, time, properties, contexts and foreign functions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use wasmtime::Linker;

use super::{Done, Env, answer, give, slice, split, write, write_u32};
use crate::{
    abi::{LogLevel, Status},
    exchange::Exchange,
    foreign,
    limits::Phase,
    properties,
    state::{ROOT, State},
};

/// Longest path of a property, in bytes.
const MAX_PATH: usize = 1024;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_log",
        |mut env: Env<'_>, level: u32, data: u32, size: u32| {
            answer(log(&mut env, level, (data, size)))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_log_level",
        |mut env: Env<'_>, level: u32| {
            let core = &env.data().core;
            let least = core.services.log_level(&core.site, &core.name);
            answer(write_u32(&mut env, level, least as u32).map_err(Into::into))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_current_time_nanoseconds",
        |mut env: Env<'_>, time: u32| {
            answer(write(&mut env, time, &now().to_le_bytes()).map_err(Into::into))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_tick_period_milliseconds",
        |mut env: Env<'_>, period: u32| {
            let state = env.data_mut();
            let least = state.core.limits.tick;
            state.tick = Some(period)
                .filter(|ms| *ms > 0)
                .map(|ms| Duration::from_millis(ms.into()).max(least));
            Status::Ok as u32
        },
    )?;
    linker.func_wrap("env", "proxy_done", |mut env: Env<'_>| {
        answer(done(&mut env))
    })?;
    linker.func_wrap(
        "env",
        "proxy_set_effective_context",
        |mut env: Env<'_>, context: u32| {
            let state = env.data_mut();
            if context != ROOT && !state.streams.contains_key(&context) {
                return Status::BadArgument as u32;
            }
            state.effective = context;
            Status::Ok as u32
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_property",
        |mut env: Env<'_>, path: u32, path_size: u32, data: u32, size: u32| {
            answer(get_property(&mut env, (path, path_size), data, size))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_property",
        |mut env: Env<'_>, path: u32, path_size: u32, value: u32, value_size: u32| {
            answer(set_property(
                &mut env,
                (path, path_size),
                (value, value_size),
            ))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_call_foreign_function",
        |mut env: Env<'_>,
         name: u32,
         name_size: u32,
         arguments: u32,
         arguments_size: u32,
         data: u32,
         size: u32| {
            answer(call_foreign(
                &mut env,
                (name, name_size),
                (arguments, arguments_size),
                data,
                size,
            ))
        },
    )?;
    // AssemblyScript's abort: message, file, line, column.
    linker.func_wrap(
        "env",
        "abort",
        |_: Env<'_>, _: u32, _: u32, _: u32, _: u32| -> wasmtime::Result<()> {
            Err(wasmtime::Error::msg("the guest aborted"))
        },
    )?;
    // Emscripten's; there is nothing to notify.
    linker.func_wrap(
        "env",
        "emscripten_notify_memory_growth",
        |_: Env<'_>, _: u32| {},
    )?;
    Ok(())
}

fn log(env: &mut Env<'_>, level: u32, (data, size): (u32, u32)) -> Done {
    let level = LogLevel::from_number(level).ok_or(Status::BadArgument)?;
    let (memory, state) = split(env)?;
    let message = slice(memory, data, size)?;
    state.log_line(level, message);
    Ok(())
}

/// Nanoseconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn done(env: &mut Env<'_>) -> Done {
    let state = env.data_mut();
    let id = state.effective;
    match state.streams.get(&id) {
        Some(context) if context.finishing && !state.done.contains(&id) => {
            state.done.push(id);
            Ok(())
        }
        _ => Err(Status::NotFound.into()),
    }
}

fn get_property(
    env: &mut Env<'_>,
    (path, path_size): (u32, u32),
    return_data: u32,
    return_size: u32,
) -> Done {
    let (memory, state) = split(env)?;
    let path = slice(memory, path, path_size)?;
    let value = match state.stream() {
        Some((exchange, _)) => properties::value(path, &state.core, Some(&exchange.lock())),
        None => properties::value(path, &state.core, None),
    };
    give(
        env,
        &value.ok_or(Status::NotFound)?,
        return_data,
        return_size,
    )
}

fn set_property(
    env: &mut Env<'_>,
    (path, path_size): (u32, u32),
    (value, value_size): (u32, u32),
) -> Done {
    let (memory, state) = split(env)?;
    let (path, value) = (
        slice(memory, path, path_size)?,
        slice(memory, value, value_size)?,
    );
    let path = path.strip_suffix(&[0]).unwrap_or(path);
    if path.len() > MAX_PATH || properties::is_ours(path) {
        return Err(Status::BadArgument.into());
    }
    let (exchange, _) = state.stream().ok_or(Status::NotFound)?;
    let mut exchange = exchange.lock();
    let was = exchange
        .properties
        .get(path)
        .map_or(0, |value| path.len() + value.len());
    let bytes = exchange.property_bytes - was + path.len() + value.len();
    if bytes > state.core.limits.properties {
        return Err(Status::InternalFailure.into());
    }
    exchange.property_bytes = bytes;
    exchange
        .properties
        .insert(path.to_vec(), Bytes::copy_from_slice(value));
    Ok(())
}

type Wish = fn(&mut Exchange, Phase, &[u8]) -> Result<(), Status>;

fn call_foreign(
    env: &mut Env<'_>,
    (name, name_size): (u32, u32),
    (arguments, arguments_size): (u32, u32),
    return_data: u32,
    return_size: u32,
) -> Done {
    let (memory, state) = split(env)?;
    let name =
        std::str::from_utf8(slice(memory, name, name_size)?).map_err(|_| Status::BadArgument)?;
    let arguments = slice(memory, arguments, arguments_size)?;
    let core = &state.core;
    let wish = match name {
        "anypop.set_cache_key" => Some(foreign::set_cache_key as Wish),
        "anypop.set_ttl" => Some(foreign::set_ttl as Wish),
        "anypop.add_tags" => Some(foreign::add_tags as Wish),
        _ => None,
    };
    let result = match (wish, name) {
        (Some(wish), _) => {
            let (exchange, _) = state.stream_to_change()?;
            wish(&mut exchange.lock(), core.phase, arguments)?;
            Bytes::new()
        }
        (None, "anypop.purge") => {
            core.services
                .purge(&core.site, &foreign::parse_purge(arguments)?)?;
            Bytes::new()
        }
        _ => core
            .services
            .foreign(&core.site, &core.name, name, arguments)
            .ok_or(Status::NotFound)??,
    };
    give(env, &result, return_data, return_size)
}
