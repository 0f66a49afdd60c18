//! The host functions of module `env`, and how they reach a guest's memory. Every pointer and length is checked;
//! a guest that gets one wrong hears `InvalidMemoryAccess`.

mod body;
mod http;
mod misc;
mod pairs;
mod shared;
mod wasi;

use wasmtime::{Caller, Linker, Memory};

use crate::{abi::Status, state::State};

pub(crate) use wasi::{Exit, stub_unknown};

/// Defines every function that a guest may import by name.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    pairs::link(linker)?;
    body::link(linker)?;
    http::link(linker)?;
    shared::link(linker)?;
    misc::link(linker)?;
    wasi::link(linker, "wasi_snapshot_preview1")?;
    wasi::link(linker, "wasi_unstable")
}

type Env<'a> = Caller<'a, State>;

/// Why a host function ends early.
enum Stop {
    /// The guest hears of it.
    Status(Status),
    /// The guest's allocator trapped: the guest ends.
    Trap(wasmtime::Error),
}

impl From<Status> for Stop {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl From<wasmtime::Error> for Stop {
    fn from(error: wasmtime::Error) -> Self {
        Self::Trap(error)
    }
}

type Done = Result<(), Stop>;

fn answer(done: Done) -> wasmtime::Result<u32> {
    match done {
        Ok(()) => Ok(Status::Ok as u32),
        Err(Stop::Status(status)) => Ok(status as u32),
        Err(Stop::Trap(error)) => Err(error),
    }
}

fn memory(env: &Env<'_>) -> Result<Memory, Status> {
    env.data().memory.ok_or(Status::InvalidMemoryAccess)
}

/// The guest's memory and the host's state at once.
fn split<'a>(env: &'a mut Env<'_>) -> Result<(&'a mut [u8], &'a mut State), Status> {
    Ok(memory(env)?.data_and_store_mut(env))
}

fn slice(memory: &[u8], pointer: u32, length: u32) -> Result<&[u8], Status> {
    range(pointer, length)
        .and_then(|range| memory.get(range))
        .ok_or(Status::InvalidMemoryAccess)
}

fn slice_mut(memory: &mut [u8], pointer: u32, length: u32) -> Result<&mut [u8], Status> {
    range(pointer, length)
        .and_then(|range| memory.get_mut(range))
        .ok_or(Status::InvalidMemoryAccess)
}

fn range(pointer: u32, length: u32) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(pointer).ok()?;
    Some(start..start.checked_add(usize::try_from(length).ok()?)?)
}

fn write(env: &mut Env<'_>, pointer: u32, bytes: &[u8]) -> Result<(), Status> {
    let (memory, _) = split(env)?;
    let length = u32::try_from(bytes.len()).map_err(|_| Status::InvalidMemoryAccess)?;
    slice_mut(memory, pointer, length)?.copy_from_slice(bytes);
    Ok(())
}

fn write_u32(env: &mut Env<'_>, pointer: u32, number: u32) -> Result<(), Status> {
    write(env, pointer, &number.to_le_bytes())
}

/// Gives `bytes` to the guest in memory of its own allocator. No bytes are a null pointer.
fn give(env: &mut Env<'_>, bytes: &[u8], return_pointer: u32, return_size: u32) -> Done {
    let size = u32::try_from(bytes.len()).map_err(|_| Status::InternalFailure)?;
    // Before allocating: a guest that cannot take the answer must not lose memory to it.
    for pointer in [return_pointer, return_size] {
        write_u32(env, pointer, 0)?;
    }
    if size == 0 {
        return Ok(());
    }
    if env.data().allocating {
        return Err(Status::InternalFailure.into());
    }
    let allocate = env.data().allocate.clone().ok_or(Status::InternalFailure)?;
    env.data_mut().allocating = true;
    let allocated = allocate.call(&mut *env, size);
    env.data_mut().allocating = false;
    let pointer = allocated?;
    if pointer == 0 {
        return Err(Status::InternalFailure.into());
    }
    write(env, pointer, bytes)?;
    write_u32(env, return_pointer, pointer)?;
    write_u32(env, return_size, size)?;
    Ok(())
}
