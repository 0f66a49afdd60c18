//! The plugin host of a process: one engine, compiled modules, and what sites share.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Weak},
    time::Instant,
};

use parking_lot::Mutex;
use wasmtime::{Engine, Linker, Module};

use crate::{
    artifact::{ArtifactError, Artifacts},
    blueprint::{Blueprint, Inspection, ModuleError},
    breaker::{Breaker, BreakerPolicy},
    calls,
    chores::{self, Waker},
    engine::{self, PoolOptions, Ticker},
    fault::Fault,
    instance::InstanceCell,
    limits::{FailPolicy, Isolation, SharedLimits},
    metrics::Metrics,
    plugin::{Plugin, PluginCore, PluginSpec, Sees},
    services::Services,
    shared::Shared,
    snapshot,
    state::State,
};

/// Who this node is, as plugins see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeInfo {
    /// The PoP (`anypop.pop`).
    pub pop: String,
    /// The node (`anypop.node`).
    pub node: String,
}

/// How the host runs.
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// Who this node is.
    pub node: NodeInfo,
    /// Workers: as many instances of each plugin at most.
    pub workers: usize,
    /// Where compiled modules are kept; `None` compiles at every start.
    pub artifacts: Option<PathBuf>,
    /// The pool of instances.
    pub pool: PoolOptions,
    /// What a site's plugins may share.
    pub shared: SharedLimits,
    /// How crashes are answered.
    pub breaker: BreakerPolicy,
    /// True: a thread of the host does what is due. False: the caller calls [`Host::run_due`].
    pub background: bool,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            node: NodeInfo::default(),
            workers: 1,
            artifacts: None,
            pool: PoolOptions::default(),
            shared: SharedLimits::default(),
            breaker: BreakerPolicy::default(),
            background: true,
        }
    }
}

/// Why the host cannot start.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The machine gives the engine less than it needs.
    #[error("the plugin engine cannot start: {0}")]
    Engine(String),
    /// The folder of compiled modules cannot be used.
    #[error(transparent)]
    Artifacts(#[from] ArtifactError),
    /// A thread cannot be started.
    #[error("the plugin engine's threads cannot start: {0}")]
    Thread(#[from] std::io::Error),
}

/// Why a plugin cannot be attached. The one that runs already, if any, goes on running.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// Its memory limit is larger than the pool's slots.
    #[error(
        "limits.memory is {asked} bytes, but the pool's slots have {most}; lower it, or raise the pool's memory"
    )]
    Memory {
        /// What the plugin may use.
        asked: usize,
        /// What there is.
        most: usize,
    },
    /// Its table limit is larger than the pool's slots.
    #[error("limits.table_elements is {0}, but the most is 20000")]
    Tables(usize),
    /// The canary did not start.
    #[error("the plugin {0}")]
    Start(#[from] Fault),
}

/// A module that is compiled and linked. Sites share it.
pub struct Compiled {
    blueprint: Arc<Blueprint>,
    /// For snapshots, which are made from the module's own bytes.
    wasm: Vec<u8>,
    inspection: Inspection,
    sees: Sees,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled")
            .field("inspection", &self.inspection)
            .finish()
    }
}

impl Compiled {
    /// What the module says of itself.
    pub fn inspection(&self) -> &Inspection {
        &self.inspection
    }
}

/// The plugin host.
pub struct Host {
    engine: Engine,
    linker: Linker<State>,
    artifacts: Option<Artifacts>,
    options: HostOptions,
    node: Arc<NodeInfo>,
    services: Arc<dyn Services>,
    metrics: Metrics,
    sites: Mutex<HashMap<String, Arc<Shared>>>,
    plugins: Mutex<Vec<Weak<Plugin>>>,
    waker: Arc<Waker>,
    _ticker: Ticker,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Host {
    /// Starts the engine and its threads. One per process: the pool sets address space aside.
    ///
    /// # Errors
    /// When the machine lacks address space or threads, or the artefacts' folder is not safe to load code from.
    pub fn new(options: HostOptions, services: Arc<dyn Services>) -> Result<Arc<Self>, HostError> {
        let engine =
            engine::build(options.pool).map_err(|error| HostError::Engine(format!("{error:#}")))?;
        let mut linker = Linker::new(&engine);
        calls::link(&mut linker).map_err(|error| HostError::Engine(format!("{error:#}")))?;
        let artifacts = options
            .artifacts
            .as_deref()
            .map(Artifacts::open)
            .transpose()?;
        let ticker = Ticker::start(&engine)?;
        let host = Arc::new(Self {
            engine,
            linker,
            artifacts,
            node: Arc::new(options.node.clone()),
            options,
            services,
            metrics: Metrics::default(),
            sites: Mutex::default(),
            plugins: Mutex::default(),
            waker: Arc::default(),
            _ticker: ticker,
        });
        if host.options.background {
            chores::start(Arc::downgrade(&host), &host.waker)?;
        }
        Ok(host)
    }

    /// Compiles a module, or takes the artefact of an earlier compilation. Takes seconds for large modules and may
    /// be called from several threads at once; never call it on a request's way.
    ///
    /// # Errors
    /// When the bytes are no module, or no plugin that this host can run.
    pub fn compile(&self, wasm: &[u8]) -> Result<Arc<Compiled>, ModuleError> {
        if Engine::detect_precompiled(wasm).is_some() {
            return Err(ModuleError::Invalid(
                "it is compiled code; give the .wasm file itself".to_owned(),
            ));
        }
        let module = self.module(wasm)?;
        let (blueprint, inspection) = Blueprint::link(&self.linker, &module)?;
        let sees = Sees::of(&inspection.exports);
        Ok(Arc::new(Compiled {
            blueprint: Arc::new(blueprint),
            wasm: wasm.to_vec(),
            inspection,
            sees,
        }))
    }

    fn module(&self, wasm: &[u8]) -> Result<Module, ModuleError> {
        let name = engine::artifact_name(&self.engine, wasm);
        if let Some(artifact) = self
            .artifacts
            .as_ref()
            .and_then(|artifacts| artifacts.load(&name))
        {
            // SAFETY: `Artifacts::load` gives only bytes that carry a keyed hash made by `Artifacts::store` below,
            // that is, what `Module::serialize` made on this machine; the name holds the engine's settings.
            match unsafe { Module::deserialize(&self.engine, artifact) } {
                Ok(module) => return Ok(module),
                Err(error) => {
                    tracing::warn!(%error, "a compiled plugin does not load; compiling it again")
                }
            }
        }
        let module = Module::from_binary(&self.engine, wasm)
            .map_err(|error| ModuleError::Invalid(format!("{error:#}")))?;
        if let Some(artifacts) = &self.artifacts {
            match module.serialize() {
                Ok(artifact) => artifacts.store(&name, &artifact),
                Err(error) => tracing::warn!(%error, "a compiled plugin could not be serialised"),
            }
        }
        Ok(module)
    }

    /// Attaches a module to a site: builds an instance, starts and configures it. That instance is the canary and
    /// then the first worker's. To reload a plugin, attach the new one, swap the site's [`crate::Chain`], and drop
    /// the old one: streams that run on it end on it.
    ///
    /// # Errors
    /// When the limits ask for more than there is, or the module does not start or refuses its configuration.
    pub fn plugin(
        &self,
        site: &str,
        module: &Compiled,
        spec: &PluginSpec,
    ) -> Result<Arc<Plugin>, PluginError> {
        if spec.limits.memory > self.options.pool.memory {
            return Err(PluginError::Memory {
                asked: spec.limits.memory,
                most: self.options.pool.memory,
            });
        }
        if spec.limits.table_elements > 20_000 {
            return Err(PluginError::Tables(spec.limits.table_elements));
        }
        let core = Arc::new(PluginCore::new(
            site,
            spec,
            self.node.clone(),
            self.shared(site),
            self.metrics.plugin(site, &spec.name),
            self.services.clone(),
            self.waker.clone(),
            Breaker::new(self.options.breaker, spec.fail_policy == FailPolicy::Reload),
        ));
        let canary = InstanceCell::build(&module.blueprint, &core, false)?;
        let snapshot = match spec.isolation {
            Isolation::Worker => None,
            Isolation::Request => self.snapshot(module, &core)?,
        };
        let plugin = Arc::new(Plugin::new(
            core,
            module.blueprint.clone(),
            snapshot,
            spec.isolation,
            canary,
            self.options.workers,
            module.sees,
        ));
        let mut plugins = self.plugins.lock();
        plugins.retain(|plugin| plugin.strong_count() > 0);
        plugins.push(Arc::downgrade(&plugin));
        drop(plugins);
        self.waker.wake();
        Ok(plugin)
    }

    /// A module that begins where a configured instance is, if this module allows one; compiled, but not kept on
    /// disk: what configuration made of it is the customer's.
    fn snapshot(
        &self,
        module: &Compiled,
        core: &Arc<PluginCore>,
    ) -> Result<Option<Arc<Blueprint>>, Fault> {
        let link = |wasm: &[u8]| {
            let module =
                Module::from_binary(&self.engine, wasm).map_err(|error| format!("{error:#}"))?;
            Blueprint::link(&self.linker, &module)
                .map(|(blueprint, _)| blueprint)
                .map_err(|error| error.to_string())
        };
        let prepared = snapshot::expose(&module.wasm)
            .map_err(|reason| reason.to_string())
            .and_then(|exposed| link(&exposed.wasm).map(|blueprint| (exposed, blueprint)));
        let taken = match prepared {
            Ok((exposed, blueprint)) => {
                let instance = InstanceCell::build(&blueprint, core, false)?;
                let taken = instance.run(|live| Ok(snapshot::take(live, &exposed)))?;
                taken
                    .map_err(|reason| reason.to_string())
                    .and_then(|wasm| link(&wasm))
            }
            Err(reason) => Err(reason),
        };
        match taken {
            Ok(blueprint) => Ok(Some(Arc::new(blueprint))),
            Err(reason) => {
                tracing::info!(
                    plugin = core.name,
                    reason,
                    "no snapshot: every request configures an instance anew"
                );
                Ok(None)
            }
        }
    }

    /// What the site's plugins share; made when the site is new.
    pub fn shared(&self, site: &str) -> Arc<Shared> {
        let limits = self.options.shared;
        self.sites
            .lock()
            .entry(site.to_owned())
            .or_insert_with(|| Arc::new(Shared::new(limits)))
            .clone()
    }

    /// Forgets the shared data, queues and metrics of a site that is gone.
    pub fn forget_site(&self, site: &str) {
        self.sites.lock().remove(site);
        self.metrics.forget_site(site);
    }

    /// What guests have counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// All plugins that are attached.
    pub fn plugins(&self) -> Vec<Arc<Plugin>> {
        self.plugins
            .lock()
            .iter()
            .filter_map(Weak::upgrade)
            .collect()
    }

    /// Does what is due at `now`: ticks, queues, instances to be built again. Gives back when something is due next,
    /// as far as is known.
    pub fn run_due(&self, now: Instant) -> Option<Instant> {
        self.plugins()
            .iter()
            .filter_map(|plugin| plugin.run_due(now))
            .min()
    }
}
