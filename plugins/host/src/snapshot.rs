//! A module that begins where a configured instance is: its memory and globals become the module's own initial
//! ones, so that an instance per request costs a copy-on-write mapping and no configuration.
//!
//! Two steps, both on the module's bytes. [`expose`] exports the mutable globals, which are else out of reach;
//! [`take`] writes what an instance of that module holds into the original. Modules whose state is elsewhere too
//! (tables that change, passive segments) get none, with the reason.

use wasmparser::{DataKind, Operator, Parser, Payload, TypeRef, ValType};
use wasmtime::Val;

use crate::instance::Live;

/// Prefix of the names under which globals are exported for [`take`].
const GLOBAL: &str = "anypop.global.";
const PAGE: usize = 4096;
/// Gaps of zeros shorter than this many pages stay within a segment: engines limit the number of segments.
const GAP: usize = 4;

const SECTION_MEMORY: u8 = 5;
const SECTION_GLOBAL: u8 = 6;
const SECTION_EXPORT: u8 = 7;
const SECTION_DATA: u8 = 11;

/// A module of which a snapshot can be taken.
#[derive(Debug)]
pub struct Exposed {
    original: Vec<u8>,
    /// The module with its mutable globals exported.
    pub(crate) wasm: Vec<u8>,
    /// Imported globals come first in the numbering.
    imported_globals: u32,
    globals: u32,
    mutable: Vec<u32>,
}

/// Why no snapshot of a module can be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoSnapshot {
    /// It is no module.
    #[error("the module cannot be read: {0}")]
    Unreadable(String),
    /// It holds state that a snapshot would miss.
    #[error("the module {0}")]
    Unsupported(&'static str),
}

impl From<wasmparser::BinaryReaderError> for NoSnapshot {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// Exports the mutable globals of `wasm`.
///
/// # Errors
/// When the bytes are no module, or one whose state a snapshot would not catch whole.
pub fn expose(wasm: &[u8]) -> Result<Exposed, NoSnapshot> {
    let mut exposed = Exposed {
        original: wasm.to_vec(),
        wasm: Vec::new(),
        imported_globals: 0,
        globals: 0,
        mutable: Vec::new(),
    };
    let mut out = b"\0asm\x01\0\0\0".to_vec();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        match &payload {
            Payload::ImportSection(imports) => {
                for import in imports.clone().into_imports() {
                    match import?.ty {
                        TypeRef::Func(_) => {}
                        TypeRef::Global(global) if !global.mutable => exposed.imported_globals += 1,
                        _ => {
                            return Err(NoSnapshot::Unsupported(
                                "imports a memory, a table or a mutable global",
                            ));
                        }
                    }
                }
            }
            Payload::MemorySection(memories) if memories.count() != 1 => {
                return Err(NoSnapshot::Unsupported("has not exactly one memory"));
            }
            Payload::GlobalSection(globals) => {
                for global in globals.clone() {
                    let global = global?;
                    let index = exposed.imported_globals + exposed.globals;
                    if global.ty.mutable {
                        if !matches!(
                            global.ty.content_type,
                            ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64
                        ) {
                            return Err(NoSnapshot::Unsupported(
                                "has mutable globals of vectors or references",
                            ));
                        }
                        exposed.mutable.push(index);
                    }
                    exposed.globals += 1;
                }
            }
            Payload::DataSection(data) => {
                for segment in data.clone() {
                    if matches!(segment?.kind, DataKind::Passive) {
                        return Err(NoSnapshot::Unsupported("has passive data segments"));
                    }
                }
            }
            Payload::CodeSectionEntry(body) => {
                for operator in body.get_operators_reader()? {
                    if changes_tables(&operator?) {
                        return Err(NoSnapshot::Unsupported(
                            "changes its tables or segments at run time",
                        ));
                    }
                }
            }
            _ => {}
        }
        if let Some((id, range)) = payload.as_section() {
            let body = wasm
                .get(range.clone())
                .ok_or(NoSnapshot::Unsupported("is cut off"))?;
            if id == SECTION_EXPORT {
                section(&mut out, id, &more_exports(body, &exposed.mutable)?);
            } else if id != 0 {
                section(&mut out, id, body);
            }
        }
    }
    exposed.wasm = out;
    Ok(exposed)
}

fn changes_tables(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::TableSet { .. }
            | Operator::TableGrow { .. }
            | Operator::TableFill { .. }
            | Operator::TableCopy { .. }
            | Operator::TableInit { .. }
            | Operator::ElemDrop { .. }
            | Operator::MemoryInit { .. }
            | Operator::DataDrop { .. }
    )
}

/// Appends exports to a section: its count is rewritten, the rest stays.
fn more_exports(body: &[u8], globals: &[u32]) -> Result<Vec<u8>, NoSnapshot> {
    let (count, rest) =
        read_u32(body).ok_or(NoSnapshot::Unsupported("has a damaged export section"))?;
    let more = u32::try_from(globals.len())
        .map_err(|_| NoSnapshot::Unsupported("has too many globals"))?;
    let mut out = Vec::with_capacity(body.len() + globals.len() * 24);
    write_u32(
        &mut out,
        count
            .checked_add(more)
            .ok_or(NoSnapshot::Unsupported("has too many exports"))?,
    );
    out.extend_from_slice(rest);
    for global in globals {
        let name = format!("{GLOBAL}{global}");
        write_length(&mut out, name.len());
        out.extend_from_slice(name.as_bytes());
        out.push(3);
        write_u32(&mut out, *global);
    }
    Ok(out)
}

/// Writes what an instance of the exposed module holds into the original module.
///
/// # Errors
/// When the instance is not one of that module.
pub(crate) fn take(live: &mut Live, exposed: &Exposed) -> Result<Vec<u8>, NoSnapshot> {
    const WRONG: NoSnapshot = NoSnapshot::Unsupported("is not the one that runs");
    let (store, exports) = live.parts();
    let (instance, memory) = (exports.instance, exports.memory.ok_or(WRONG)?);
    let mut values = Vec::with_capacity(exposed.mutable.len());
    for index in &exposed.mutable {
        let global = instance
            .get_global(&mut *store, &format!("{GLOBAL}{index}"))
            .ok_or(WRONG)?;
        values.push((*index, global.get(&mut *store)));
    }
    let pages = memory.size(&*store);
    rewrite(exposed, &values, pages, memory.data(&*store))
}

fn rewrite(
    exposed: &Exposed,
    values: &[(u32, Val)],
    pages: u64,
    memory: &[u8],
) -> Result<Vec<u8>, NoSnapshot> {
    let wasm = &exposed.original;
    let mut out = b"\0asm\x01\0\0\0".to_vec();
    let mut has_data = false;
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        let Some((id, range)) = payload.as_section() else {
            continue;
        };
        let body = wasm
            .get(range)
            .ok_or(NoSnapshot::Unsupported("is cut off"))?;
        match &payload {
            // What start did is in the memory already; the number of segments changes and nothing counts on it.
            Payload::StartSection { .. }
            | Payload::DataCountSection { .. }
            | Payload::CustomSection(_) => {}
            Payload::MemorySection(memories) => {
                let memory = memories
                    .clone()
                    .into_iter()
                    .next()
                    .ok_or(NoSnapshot::Unsupported("has no memory"))??;
                let mut body = vec![1, u8::from(memory.maximum.is_some())];
                write_u64(&mut body, pages);
                if let Some(most) = memory.maximum {
                    write_u64(&mut body, most);
                }
                section(&mut out, SECTION_MEMORY, &body);
            }
            Payload::GlobalSection(globals) => {
                let mut body = Vec::new();
                write_u32(&mut body, globals.count());
                for (index, global) in (exposed.imported_globals..).zip(globals.clone()) {
                    let global = global?;
                    write_global(
                        &mut body,
                        wasm,
                        &global,
                        values.iter().find(|(at, _)| *at == index).map(|(_, v)| v),
                    )?;
                }
                section(&mut out, SECTION_GLOBAL, &body);
            }
            Payload::DataSection(_) => {
                has_data = true;
                section(&mut out, SECTION_DATA, &segments(memory));
            }
            _ => section(&mut out, id, body),
        }
    }
    if !has_data {
        section(&mut out, SECTION_DATA, &segments(memory));
    }
    Ok(out)
}

fn write_global(
    out: &mut Vec<u8>,
    wasm: &[u8],
    global: &wasmparser::Global<'_>,
    value: Option<&Val>,
) -> Result<(), NoSnapshot> {
    let Some(value) = value else {
        // Immutable: its type as it was. Reference types are one byte here, since only those pass validation.
        let kind = match global.ty.content_type {
            ValType::I32 => 0x7f,
            ValType::I64 => 0x7e,
            ValType::F32 => 0x7d,
            ValType::F64 => 0x7c,
            ValType::V128 => 0x7b,
            ValType::Ref(kind) if kind.is_func_ref() => 0x70,
            ValType::Ref(_) => return Err(NoSnapshot::Unsupported("has globals of references")),
        };
        out.extend([kind, 0]);
        let mut reader = global.init_expr.get_binary_reader();
        let length = reader.bytes_remaining();
        let start = reader.original_position();
        _ = reader.read_bytes(length)?;
        out.extend_from_slice(
            wasm.get(start..start + length)
                .ok_or(NoSnapshot::Unsupported("is cut off"))?,
        );
        return Ok(());
    };
    match value {
        Val::I32(value) => {
            out.extend([0x7f, 1, 0x41]);
            write_i64(out, i64::from(*value));
        }
        Val::I64(value) => {
            out.extend([0x7e, 1, 0x42]);
            write_i64(out, *value);
        }
        Val::F32(bits) => {
            out.extend([0x7d, 1, 0x43]);
            out.extend(bits.to_le_bytes());
        }
        Val::F64(bits) => {
            out.extend([0x7c, 1, 0x44]);
            out.extend(bits.to_le_bytes());
        }
        _ => {
            return Err(NoSnapshot::Unsupported(
                "has mutable globals of vectors or references",
            ));
        }
    }
    out.push(0x0b);
    Ok(())
}

/// The data section of a memory: its pages that are not all zero.
fn segments(memory: &[u8]) -> Vec<u8> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (index, page) in memory.chunks(PAGE).enumerate() {
        if page.iter().all(|byte| *byte == 0) {
            continue;
        }
        match runs.last_mut() {
            Some((_, end)) if index - *end <= GAP => *end = index + 1,
            _ => runs.push((index, index + 1)),
        }
    }
    let mut body = Vec::new();
    write_length(&mut body, runs.len());
    for (start, end) in runs {
        let (start, end) = (start * PAGE, (end * PAGE).min(memory.len()));
        let bytes = memory.get(start..end).unwrap_or_default();
        body.extend([0, 0x41]);
        // An address above 2 GiB is a negative constant, as i32.const has it.
        let address = u32::try_from(start).unwrap_or(u32::MAX).cast_signed();
        write_i64(&mut body, address.into());
        body.push(0x0b);
        write_length(&mut body, bytes.len());
        body.extend_from_slice(bytes);
    }
    body
}

fn section(out: &mut Vec<u8>, id: u8, body: &[u8]) {
    out.push(id);
    write_length(out, body.len());
    out.extend_from_slice(body);
}

fn write_length(out: &mut Vec<u8>, length: usize) {
    write_u64(out, u64::try_from(length).unwrap_or(u64::MAX));
}

fn write_u32(out: &mut Vec<u8>, number: u32) {
    write_u64(out, number.into());
}

fn write_u64(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let byte = number.to_le_bytes()[0] & 0x7f;
        number >>= 7;
        if number == 0 {
            return out.push(byte);
        }
        out.push(byte | 0x80);
    }
}

fn write_i64(out: &mut Vec<u8>, mut number: i64) {
    loop {
        let byte = number.to_le_bytes()[0] & 0x7f;
        number >>= 7;
        if (number == 0 && byte & 0x40 == 0) || (number == -1 && byte & 0x40 != 0) {
            return out.push(byte);
        }
        out.push(byte | 0x80);
    }
}

fn read_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut number = 0_u32;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        let shift = u32::try_from(index).ok()? * 7;
        number |= u32::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some((number, bytes.get(index + 1..)?));
        }
    }
    None
}
