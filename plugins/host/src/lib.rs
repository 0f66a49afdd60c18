//! The plugin host: proxy-wasm 0.2.1 on wasmtime. Knows no Pingora and does no I/O: the edge feeds it messages and
//! implements [`services::Services`].
//!
//! In the order in which things happen:
//! 1. [`host::Host`] holds the engine ([`HostOptions`]) and compiles modules ahead, keeping the results in
//!    [`artifact`]; [`blueprint`] links them.
//! 2. [`host::Host::plugin`] attaches a module to a site with a configuration and [`limits`]: a [`plugin::Plugin`].
//! 3. [`chain::Chain`] is a site's plugins in order; [`stream::Stream`] takes a request and its response through them.
//! 4. Guests call back: [`guard`] checks what they write, [`foreign`] is what a CDN adds, [`shared`] and
//!    [`metrics`] are what outlives them.
//! 5. When they fail, [`fault`] says how and [`breaker`] when they may run again.
//!
//! Beneath: [`abi`], [`map`], [`fields`], [`snapshot`].
//!
//! # Wiring, for the edge
//! ```no_run
//! # use anypop_plugins::*;
//! # async fn wire(chain: Chain, request: Fields) -> Option<()> {
//! let mut stream = chain.stream(0, StreamInfo::default());
//! let mut flow = stream.head(Direction::Request, request, true);
//! loop {
//!     flow = match flow {
//!         Flow::Continue => break,                 // stream.released_head(Direction::Request), stream.take_body(…)
//!         Flow::NeedBody => stream.body(Direction::Request, bytes::Bytes::new(), true), // what the client sends
//!         Flow::Pause => {
//!             // with a timeout of stream.pause_limit(); when it passes, stream.expire(Direction::Request)
//!             stream.resumed().await;
//!             stream.proceed(Direction::Request)
//!         }
//!         Flow::Respond(_response) => return None, // send it, then stream.finish()
//!         Flow::Reset => return None,
//!     };
//! }
//! # Some(()) }
//! ```

pub mod abi;
pub mod artifact;
pub mod blueprint;
pub mod breaker;
mod calls;
pub mod chain;
mod chores;
mod engine;
pub mod exchange;
pub mod fault;
pub mod fields;
pub mod foreign;
pub mod guard;
pub mod host;
mod instance;
mod lane;
pub mod limits;
pub mod map;
pub mod metrics;
pub mod plugin;
mod properties;
pub mod services;
pub mod shared;
pub mod snapshot;
mod state;
pub mod stream;

pub use abi::{Direction, LogLevel, Status};
pub use breaker::BreakerPolicy;
pub use chain::Chain;
pub use engine::PoolOptions;
pub use exchange::{CacheWishes, LocalResponse, StreamInfo};
pub use fault::{Failure, Fault};
pub use fields::Fields;
pub use host::{Compiled, Host, HostError, HostOptions, NodeInfo, PluginError};
pub use limits::{FailPolicy, Isolation, Limits, Phase, SharedLimits};
pub use plugin::{Plugin, PluginSpec, PluginStatus};
pub use services::{CallReply, CallResponse, HttpCall, LogLine, Purge, PurgeWhat, Services};
pub use stream::{Flow, Stream};
