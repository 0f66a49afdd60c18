//! The one wasmtime engine of a process: what guests' code may use, where their memory comes from, and the
//! clock that ends callbacks.

use std::{
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    Strategy,
};

/// How often the clock ticks: deadlines are this exact.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// How large the pool of instances is. Address space, not memory, is set aside at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolOptions {
    /// Instances that may live at once, all plugins and workers together. Default 4096.
    pub instances: u32,
    /// The largest memory any plugin's limits may name, in bytes. Default 512 MiB.
    pub memory: usize,
    /// Memory of an ended instance that stays with its slot instead of going back to the kernel, in bytes.
    /// Default 2 MiB.
    pub keep_resident: usize,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            instances: 4096,
            memory: 512 << 20,
            keep_resident: 2 << 20,
        }
    }
}

pub(crate) fn build(pool: PoolOptions) -> wasmtime::Result<Engine> {
    let mut pooling = PoolingAllocationConfig::new();
    pooling
        .total_core_instances(pool.instances)
        .total_memories(pool.instances)
        .total_tables(pool.instances.saturating_mul(2))
        .max_tables_per_module(2)
        .max_memories_per_module(1)
        .max_memory_size(pool.memory)
        .table_elements(20_000)
        .linear_memory_keep_resident(pool.keep_resident)
        .table_keep_resident(pool.keep_resident)
        .pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config
        // Named, so that no build ever picks another compiler: the others had the sandbox escapes.
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(true)
        .memory_init_cow(true)
        .max_wasm_stack(512 << 10)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .wasm_relaxed_simd(true)
        .relaxed_simd_deterministic(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pooling));
    Engine::new(&config)
}

/// Names artefacts: another wasmtime, another setting or another CPU makes another name.
pub(crate) fn artifact_name(engine: &Engine, module: &[u8]) -> String {
    let mut hasher = Blake(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.update(module);
    hasher.0.finalize().to_hex().to_string()
}

struct Blake(blake3::Hasher);

impl Hasher for Blake {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let hash = self.0.finalize();
        hash.as_bytes()
            .first_chunk::<8>()
            .map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

/// The thread that moves the engine's epoch. Guests cannot keep it from running, whatever they do.
#[derive(Debug)]
pub(crate) struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (engine, stopped) = (engine.clone(), stop.clone());
        let thread = thread::Builder::new()
            .name("plugin-epochs".into())
            .spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    thread::park_timeout(TICK);
                    engine.increment_epoch();
                }
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It can only have ended: it holds nothing that panics.
            _ = thread.join();
        }
    }
}
