//! Heads and trailers.

use bytes::Bytes;
use wasmtime::Linker;

use super::{Done, Env, answer, give, slice, split, write_u32};
use crate::{
    abi::{Direction, LogLevel, MapType, Status},
    exchange::Exchange,
    fields::Fields,
    guard::{self, Place, Refused},
    map,
    state::{State, View},
};

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_header_map_size",
        |mut env: Env<'_>, map: u32, size: u32| answer(get_size(&mut env, map, size)),
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_header_map_pairs",
        |mut env: Env<'_>, map: u32, data: u32, size: u32| {
            answer(get_pairs(&mut env, map, data, size))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_header_map_pairs",
        |mut env: Env<'_>, map: u32, data: u32, size: u32| {
            answer(set_pairs(&mut env, map, data, size))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_header_map_value",
        |mut env: Env<'_>, map: u32, key: u32, key_size: u32, data: u32, size: u32| {
            answer(get_value(&mut env, map, (key, key_size), data, size))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_add_header_map_value",
        |mut env: Env<'_>, map: u32, key: u32, key_size: u32, value: u32, value_size: u32| {
            answer(set_value(
                &mut env,
                map,
                (key, key_size),
                (value, value_size),
                guard::add,
            ))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_replace_header_map_value",
        |mut env: Env<'_>, map: u32, key: u32, key_size: u32, value: u32, value_size: u32| {
            answer(set_value(
                &mut env,
                map,
                (key, key_size),
                (value, value_size),
                guard::replace,
            ))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_remove_header_map_value",
        |mut env: Env<'_>, map: u32, key: u32, key_size: u32| {
            answer(remove(&mut env, map, (key, key_size)))
        },
    )?;
    Ok(())
}

fn map_type(number: u32) -> Result<MapType, Status> {
    MapType::from_number(number).ok_or(Status::BadArgument)
}

/// Lets `read` see a map; one that is not there now is empty.
fn reading<R>(state: &State, map: MapType, read: impl FnOnce(&Fields) -> R) -> R {
    let none = Fields::new();
    if let (
        View::Call { head, trailers, .. },
        MapType::CallResponseHeaders | MapType::CallResponseTrailers,
    ) = (&state.view, map)
    {
        return read(if map == MapType::CallResponseHeaders {
            head
        } else {
            trailers
        });
    }
    let Some((exchange, _)) = state.stream() else {
        return read(&none);
    };
    let exchange = exchange.lock();
    let fields = match map {
        MapType::RequestHeaders => &exchange.head(Direction::Request).fields,
        MapType::RequestTrailers => &exchange.head(Direction::Request).trailers,
        MapType::ResponseHeaders => &exchange.head(Direction::Response).fields,
        MapType::ResponseTrailers => &exchange.head(Direction::Response).trailers,
        _ => &None,
    };
    read(fields.as_ref().unwrap_or(&none))
}

/// Lets `change` write a map, if it is still in our hands; else nothing happens, as in Envoy.
fn writing(
    state: &mut State,
    map: MapType,
    change: impl FnOnce(&mut Fields, Place) -> Result<(), Refused>,
) -> Result<(), Status> {
    let (direction, trailers) = match map {
        MapType::RequestHeaders => (Direction::Request, false),
        MapType::RequestTrailers => (Direction::Request, true),
        MapType::ResponseHeaders => (Direction::Response, false),
        MapType::ResponseTrailers => (Direction::Response, true),
        _ => return Err(Status::BadArgument),
    };
    let (exchange, stage) = state.stream_to_change()?;
    let mut guard = exchange.lock();
    let exchange: &mut Exchange = &mut guard;
    let last = exchange
        .held(stage, direction)
        .is_some_and(|held| held.last);
    let head = exchange.head_mut(direction);
    let (fields, place) = if trailers {
        if last && head.trailers.is_none() {
            head.trailers = Some(Fields::new());
            head.trailers_open = true;
        }
        (
            head.trailers.as_mut().filter(|_| head.trailers_open),
            Place::Trailers,
        )
    } else {
        (
            head.fields.as_mut().filter(|_| head.open),
            Place::head(direction),
        )
    };
    let refusal = match fields {
        Some(fields) => match change(fields, place) {
            Ok(()) => return Ok(()),
            Err(refused) => refused.to_string(),
        },
        None => "the message is not in the plugins' hands now".to_owned(),
    };
    drop(guard);
    state.core.count_refused(1);
    state.log_line(
        LogLevel::Warn,
        format!("a write to {map:?} was refused: {refusal}").as_bytes(),
    );
    Ok(())
}

fn get_size(env: &mut Env<'_>, map: u32, return_size: u32) -> Done {
    let map = map_type(map)?;
    let size = reading(env.data(), map, |fields| {
        map::serialized_size(fields.iter())
    });
    Ok(write_u32(
        env,
        return_size,
        u32::try_from(size).map_err(|_| Status::InternalFailure)?,
    )?)
}

fn get_pairs(env: &mut Env<'_>, map: u32, return_data: u32, return_size: u32) -> Done {
    let map = map_type(map)?;
    let bytes = reading(env.data(), map, |fields| map::serialize(fields.iter()));
    give(env, &bytes, return_data, return_size)
}

fn set_pairs(env: &mut Env<'_>, map: u32, data: u32, size: u32) -> Done {
    let map = map_type(map)?;
    let (memory, state) = split(env)?;
    let pairs = map::parse(slice(memory, data, size)?).map_err(|_| Status::BadArgument)?;
    let mut refused = 0_u64;
    writing(state, map, |fields, place| {
        refused = u64::try_from(guard::replace_all(fields, place, &pairs)).unwrap_or(u64::MAX);
        Ok(())
    })?;
    if refused > 0 {
        state.core.count_refused(refused);
        state.log_line(
            LogLevel::Warn,
            format!("{refused} fields written to {map:?} were refused").as_bytes(),
        );
    }
    Ok(())
}

fn get_value(
    env: &mut Env<'_>,
    map: u32,
    key: (u32, u32),
    return_data: u32,
    return_size: u32,
) -> Done {
    let map = map_type(map)?;
    let (memory, state) = split(env)?;
    let key = slice(memory, key.0, key.1)?;
    let value: Option<Bytes> = reading(state, map, |fields| fields.value(key).cloned());
    give(
        env,
        &value.ok_or(Status::NotFound)?,
        return_data,
        return_size,
    )
}

type Change = fn(&mut Fields, Place, &[u8], &[u8]) -> Result<(), Refused>;

fn set_value(
    env: &mut Env<'_>,
    map: u32,
    key: (u32, u32),
    value: (u32, u32),
    change: Change,
) -> Done {
    let map = map_type(map)?;
    let (memory, state) = split(env)?;
    let (key, value) = (
        slice(memory, key.0, key.1)?,
        slice(memory, value.0, value.1)?,
    );
    Ok(writing(state, map, |fields, place| {
        if fields.len() >= map::MAX_PAIRS
            || fields.size().saturating_add(key.len() + value.len()) > map::MAX_BYTES
        {
            return Err(Refused::Length);
        }
        change(fields, place, key, value)
    })?)
}

fn remove(env: &mut Env<'_>, map: u32, key: (u32, u32)) -> Done {
    let map = map_type(map)?;
    let (memory, state) = split(env)?;
    let key = slice(memory, key.0, key.1)?;
    Ok(writing(state, map, |fields, _| guard::remove(fields, key))?)
}
