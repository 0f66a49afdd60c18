//! WASI, as far as toolchains import it: logs, clocks, randomness, no arguments, no environment, no files. Whatever
//! else is imported answers `ENOSYS`, so that a guest which would never call it still links.

use wasmtime::{ExternType, Linker, Module, Val, ValType};

use super::{Env, misc, slice, slice_mut, split, write, write_u32};
use crate::{
    abi::{LogLevel, Status},
    state::State,
};

const SUCCESS: u32 = 0;
const BADF: u32 = 8;
const FAULT: u32 = 21;
const INVAL: u32 = 28;
const NOSYS: u32 = 52;
const NOTSUP: u32 = 58;

/// Most vectors of one `fd_write` that are looked at.
const MAX_VECTORS: u32 = 1024;
/// Most random bytes at once.
const MAX_RANDOM: u32 = 64 << 10;

/// A guest that ended itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the guest exited with code {0}")]
pub(crate) struct Exit(pub(crate) u32);

pub(super) fn link(linker: &mut Linker<State>, module: &str) -> wasmtime::Result<()> {
    linker.func_wrap(
        module,
        "fd_write",
        |mut env: Env<'_>, fd: u32, vectors: u32, count: u32, written: u32| {
            fd_write(&mut env, fd, vectors, count, written)
        },
    )?;
    for name in ["environ_sizes_get", "args_sizes_get"] {
        linker.func_wrap(module, name, |mut env: Env<'_>, count: u32, size: u32| {
            errno(write_u32(&mut env, count, 0).and_then(|()| write_u32(&mut env, size, 0)))
        })?;
    }
    for name in ["environ_get", "args_get"] {
        linker.func_wrap(module, name, |_: Env<'_>, _: u32, _: u32| SUCCESS)?;
    }
    linker.func_wrap(
        module,
        "clock_time_get",
        |mut env: Env<'_>, clock: u32, _: u64, time: u32| clock_time(&mut env, clock, time),
    )?;
    linker.func_wrap(
        module,
        "clock_res_get",
        |mut env: Env<'_>, clock: u32, resolution: u32| {
            if clock > 1 {
                NOTSUP
            } else {
                errno(write(&mut env, resolution, &1_u64.to_le_bytes()))
            }
        },
    )?;
    linker.func_wrap(
        module,
        "random_get",
        |mut env: Env<'_>, buffer: u32, size: u32| random(&mut env, buffer, size),
    )?;
    linker.func_wrap(module, "sched_yield", |_: Env<'_>| SUCCESS)?;
    // No descriptor is open but 0 to 2, which are no files; none is a directory that was opened before.
    linker.func_wrap(module, "fd_close", |_: Env<'_>, _: u32| BADF)?;
    linker.func_wrap(module, "fd_prestat_get", |_: Env<'_>, _: u32, _: u32| BADF)?;
    linker.func_wrap(
        module,
        "fd_prestat_dir_name",
        |_: Env<'_>, _: u32, _: u32, _: u32| BADF,
    )?;
    linker.func_wrap(
        module,
        "fd_fdstat_get",
        |mut env: Env<'_>, fd: u32, stat: u32| fd_stat(&mut env, fd, stat),
    )?;
    linker.func_wrap(
        module,
        "fd_fdstat_set_flags",
        |_: Env<'_>, fd: u32, _: u32| if fd > 2 { BADF } else { SUCCESS },
    )?;
    linker.func_wrap(
        module,
        "fd_read",
        |_: Env<'_>, _: u32, _: u32, _: u32, _: u32| BADF,
    )?;
    linker.func_wrap(
        module,
        "proc_exit",
        |_: Env<'_>, code: u32| -> wasmtime::Result<()> { Err(wasmtime::Error::from(Exit(code))) },
    )?;
    Ok(())
}

/// Defines what `module` imports and no host has: WASI answers `ENOSYS`, `proxy_*` of other hosts `Unimplemented`.
/// Gives back their names.
pub(crate) fn stub_unknown(linker: &mut Linker<State>, module: &Module) -> Vec<String> {
    let mut stubbed = Vec::new();
    for import in module.imports() {
        let (space, name) = (import.module(), import.name());
        let ExternType::Func(kind) = import.ty() else {
            continue;
        };
        let code = match space {
            "wasi_snapshot_preview1" | "wasi_unstable" => NOSYS,
            "env" if name.starts_with("proxy_") => Status::Unimplemented as u32,
            _ => continue,
        };
        let plain = kind.results().len() == 0
            || (kind.results().len() == 1
                && kind.result(0).is_some_and(|r| matches!(r, ValType::I32)));
        if !plain {
            continue;
        }
        let defined = linker.func_new(space, name, kind, move |_, _, results| {
            if let Some(result) = results.first_mut() {
                *result = Val::I32(code.cast_signed());
            }
            Ok(())
        });
        // The one error is that the linker has the name already.
        if defined.is_ok() {
            stubbed.push(format!("{space}.{name}"));
        }
    }
    stubbed
}

fn errno(result: Result<(), Status>) -> u32 {
    if result.is_ok() { SUCCESS } else { FAULT }
}

fn fd_write(env: &mut Env<'_>, fd: u32, vectors: u32, count: u32, return_written: u32) -> u32 {
    let level = match fd {
        1 => LogLevel::Info,
        2 => LogLevel::Error,
        _ => return BADF,
    };
    if count > MAX_VECTORS {
        return INVAL;
    }
    let mut written = 0_u32;
    let result = split(env).and_then(|(memory, state)| {
        let mut line = Vec::new();
        for vector in slice(memory, vectors, count * 8)?.chunks_exact(8) {
            let number = |at: usize| {
                vector
                    .get(at..at + 4)
                    .and_then(|b| <[u8; 4]>::try_from(b).ok())
                    .map_or(0, u32::from_le_bytes)
            };
            let bytes = slice(memory, number(0), number(4))?;
            written = written.saturating_add(number(4));
            let room = state
                .core
                .limits
                .log_line
                .saturating_sub(line.len())
                .min(bytes.len());
            line.extend_from_slice(bytes.get(..room).unwrap_or_default());
        }
        if !line.trim_ascii().is_empty() {
            state.log_line(level, &line);
        }
        Ok(())
    });
    errno(result.and_then(|()| write_u32(env, return_written, written)))
}

fn clock_time(env: &mut Env<'_>, clock: u32, return_time: u32) -> u32 {
    // Monotonic time counts from the plugin's making: how long the machine runs is not the guest's business.
    let time = match clock {
        0 => misc::now(),
        1 => u64::try_from(env.data().core.made.elapsed().as_nanos())
            .unwrap_or(u64::MAX)
            .saturating_add(1),
        _ => return NOTSUP,
    };
    errno(write(env, return_time, &time.to_le_bytes()))
}

fn random(env: &mut Env<'_>, buffer: u32, size: u32) -> u32 {
    if size > MAX_RANDOM {
        return INVAL;
    }
    errno(split(env).and_then(|(memory, _)| {
        rand::fill(slice_mut(memory, buffer, size)?);
        Ok(())
    }))
}

/// A character device that can be written: what standard streams are to toolchains.
fn fd_stat(env: &mut Env<'_>, fd: u32, return_stat: u32) -> u32 {
    if fd > 2 {
        return BADF;
    }
    let mut stat = [0_u8; 24];
    stat[0] = 2;
    stat[8] = 0x40;
    errno(write(env, return_stat, &stat))
}
