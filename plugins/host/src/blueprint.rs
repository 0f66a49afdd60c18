//! A module, linked and ready to be instantiated, and what it exports.

use wasmtime::{
    Engine, ExternType, Instance, InstancePre, Linker, Memory, Module, Store, TypedFunc, ValType,
    WasmParams, WasmResults,
};

use crate::{calls, state::State};

/// A module linked with the host's functions.
pub(crate) struct Blueprint {
    pre: InstancePre<State>,
}

/// Context, call, and how many fields, bytes and trailers came.
type CallEnd = (u32, u32, u32, u32, u32);

/// The callbacks of a guest; those it lacks are skipped.
#[derive(Clone)]
pub(crate) struct Exports {
    pub(crate) instance: Instance,
    pub(crate) memory: Option<Memory>,
    pub(crate) allocate: Option<TypedFunc<u32, u32>>,
    pub(crate) initialize: Option<TypedFunc<(), ()>>,
    pub(crate) main: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) start: Option<TypedFunc<(), ()>>,
    pub(crate) context_create: Option<TypedFunc<(u32, u32), ()>>,
    pub(crate) vm_start: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) configure: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) tick: Option<TypedFunc<u32, ()>>,
    pub(crate) queue_ready: Option<TypedFunc<(u32, u32), ()>>,
    pub(crate) request_headers: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) request_body: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) request_trailers: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) response_headers: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) response_body: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) response_trailers: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) done: Option<TypedFunc<u32, u32>>,
    pub(crate) log: Option<TypedFunc<u32, ()>>,
    pub(crate) delete: Option<TypedFunc<u32, ()>>,
    pub(crate) call_response: Option<TypedFunc<CallEnd, ()>>,
    pub(crate) foreign: Option<TypedFunc<(u32, u32, u32), ()>>,
}

/// Why a module is no plugin.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// It is not WebAssembly that this host accepts.
    #[error("not an acceptable WebAssembly module: {0}")]
    Invalid(String),
    /// It says it speaks no proxy-wasm that this host speaks.
    #[error("speaks no proxy-wasm ABI of this host (0.2.0 and 0.2.1): it exports {0}")]
    Abi(String),
    /// It imports what no host has, or with another type.
    #[error("cannot be linked: {0}")]
    Import(String),
    /// It lacks what every guest needs.
    #[error("exports no {0}")]
    Export(&'static str),
    /// A callback has another type than the ABI says.
    #[error("exports {0} with another type than proxy-wasm 0.2.1 gives it")]
    Type(String),
}

/// What a module says of itself without being run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The ABI's version by its marker.
    pub abi: String,
    /// `module.name` of every import.
    pub imports: Vec<String>,
    /// The imports among them that this host only answers with "unimplemented".
    pub unimplemented: Vec<String>,
    /// Names of all exports.
    pub exports: Vec<String>,
}

impl Blueprint {
    pub(crate) fn link(
        linker: &Linker<State>,
        module: &Module,
    ) -> Result<(Self, Inspection), ModuleError> {
        let exports: Vec<String> = module
            .exports()
            .map(|export| export.name().to_owned())
            .collect();
        let abi = abi(&exports)?;
        let mut linker = linker.clone();
        let unimplemented = calls::stub_unknown(&mut linker, module);
        let pre = linker
            .instantiate_pre(module)
            .map_err(|error| ModuleError::Import(format!("{error:#}")))?;
        let has = |name: &str| module.get_export(name).is_some();
        if !matches!(module.get_export("memory"), Some(ExternType::Memory(_))) {
            return Err(ModuleError::Export("memory"));
        }
        if !has("proxy_on_memory_allocate") && !has("malloc") {
            return Err(ModuleError::Export("proxy_on_memory_allocate (or malloc)"));
        }
        check_types(module)?;
        let imports = module
            .imports()
            .map(|import| format!("{}.{}", import.module(), import.name()))
            .collect();
        Ok((
            Self { pre },
            Inspection {
                abi,
                imports,
                unimplemented,
                exports,
            },
        ))
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.pre.module().engine()
    }

    pub(crate) fn instantiate(&self, store: &mut Store<State>) -> wasmtime::Result<Exports> {
        let instance = self.pre.instantiate(&mut *store)?;
        Exports::of(instance, store)
    }
}

impl Exports {
    fn of(instance: Instance, store: &mut Store<State>) -> wasmtime::Result<Self> {
        fn get<P: WasmParams, R: WasmResults>(
            instance: Instance,
            store: &mut Store<State>,
            name: &str,
        ) -> wasmtime::Result<Option<TypedFunc<P, R>>> {
            match instance.get_func(&mut *store, name) {
                Some(function) => function.typed(&*store).map(Some).map_err(|error| {
                    error.context(format!("{name} has another type than the ABI's"))
                }),
                None => Ok(None),
            }
        }
        let store_ = store;
        let allocate = match get(instance, store_, "proxy_on_memory_allocate")? {
            Some(allocate) => Some(allocate),
            None => get(instance, store_, "malloc")?,
        };
        Ok(Self {
            instance,
            memory: instance.get_memory(&mut *store_, "memory"),
            allocate,
            initialize: get(instance, store_, "_initialize")?,
            // C's main has other types where the toolchain found no arguments in it; then there is nothing to call.
            main: get(instance, store_, "main").unwrap_or(None),
            start: get(instance, store_, "_start")?,
            context_create: get(instance, store_, "proxy_on_context_create")?,
            vm_start: get(instance, store_, "proxy_on_vm_start")?,
            configure: get(instance, store_, "proxy_on_configure")?,
            tick: get(instance, store_, "proxy_on_tick")?,
            queue_ready: get(instance, store_, "proxy_on_queue_ready")?,
            request_headers: get(instance, store_, "proxy_on_request_headers")?,
            request_body: get(instance, store_, "proxy_on_request_body")?,
            request_trailers: get(instance, store_, "proxy_on_request_trailers")?,
            response_headers: get(instance, store_, "proxy_on_response_headers")?,
            response_body: get(instance, store_, "proxy_on_response_body")?,
            response_trailers: get(instance, store_, "proxy_on_response_trailers")?,
            done: get(instance, store_, "proxy_on_done")?,
            log: get(instance, store_, "proxy_on_log")?,
            delete: get(instance, store_, "proxy_on_delete")?,
            call_response: get(instance, store_, "proxy_on_http_call_response")?,
            foreign: get(instance, store_, "proxy_on_foreign_function")?,
        })
    }
}

/// The callbacks' types: parameters, all of them i32, and whether there is an i32 result.
const TYPES: [(&str, usize, bool); 20] = [
    ("proxy_on_memory_allocate", 1, true),
    ("malloc", 1, true),
    ("_initialize", 0, false),
    ("_start", 0, false),
    ("proxy_on_context_create", 2, false),
    ("proxy_on_vm_start", 2, true),
    ("proxy_on_configure", 2, true),
    ("proxy_on_tick", 1, false),
    ("proxy_on_queue_ready", 2, false),
    ("proxy_on_request_headers", 3, true),
    ("proxy_on_request_body", 3, true),
    ("proxy_on_request_trailers", 2, true),
    ("proxy_on_response_headers", 3, true),
    ("proxy_on_response_body", 3, true),
    ("proxy_on_response_trailers", 2, true),
    ("proxy_on_done", 1, true),
    ("proxy_on_log", 1, false),
    ("proxy_on_delete", 1, false),
    ("proxy_on_http_call_response", 5, false),
    ("proxy_on_foreign_function", 3, false),
];

fn check_types(module: &Module) -> Result<(), ModuleError> {
    for (name, parameters, result) in TYPES {
        let Some(export) = module.get_export(name) else {
            continue;
        };
        let good = export.func().is_some_and(|kind| {
            kind.params().len() == parameters
                && kind.results().len() == usize::from(result)
                && kind
                    .params()
                    .chain(kind.results())
                    .all(|value| matches!(value, ValType::I32))
        });
        if !good {
            return Err(ModuleError::Type(name.to_owned()));
        }
    }
    Ok(())
}

fn abi(exports: &[String]) -> Result<String, ModuleError> {
    let markers: Vec<&str> = exports
        .iter()
        .filter_map(|name| name.strip_prefix("proxy_abi_version_"))
        .collect();
    // 0_2_100 is Higress' name for 0.2.0 with functions of its own, which guests can do without.
    for known in ["0_2_1", "0_2_0", "0_2_100"] {
        if markers.contains(&known) {
            return Ok(known.replace('_', "."));
        }
    }
    Err(ModuleError::Abi(if markers.is_empty() {
        "no proxy_abi_version_* at all".to_owned()
    } else {
        markers
            .iter()
            .map(|marker| format!("proxy_abi_version_{marker}"))
            .collect::<Vec<_>>()
            .join(", ")
    }))
}
