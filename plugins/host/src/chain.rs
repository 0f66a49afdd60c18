//! The plugins of a site in their order.

use std::sync::Arc;

use crate::{abi::Direction, exchange::StreamInfo, limits::Phase, plugin::Plugin, stream::Stream};

/// The plugins of a site that run in one phase, in the order of its document. A site has two: the client's and the
/// origin's. Reloading swaps the chain; streams keep the plugins that they began with.
#[derive(Debug, Clone, Default)]
pub struct Chain {
    plugins: Arc<[Arc<Plugin>]>,
}

impl Chain {
    /// Those of `plugins` that run in `phase`.
    pub fn new(plugins: &[Arc<Plugin>], phase: Phase) -> Self {
        Self {
            plugins: plugins
                .iter()
                .filter(|plugin| plugin.phase() == phase)
                .cloned()
                .collect(),
        }
    }

    /// True when there is nothing to run: the edge skips the stream altogether.
    pub fn is_empty(&self) -> bool {
        self.plugins.is_empty()
    }

    /// The plugins.
    pub fn plugins(&self) -> &[Arc<Plugin>] {
        &self.plugins
    }

    /// True when some plugin has a callback for the head of this direction.
    pub fn sees_head(&self, direction: Direction) -> bool {
        self.plugins
            .iter()
            .any(|plugin| plugin.sees.heads[direction.index()])
    }

    /// True when some plugin has a callback for the body or trailers of this direction. Otherwise the edge may pass
    /// those by, and say `end` when it feeds the head.
    pub fn sees_body(&self, direction: Direction) -> bool {
        let way = direction.index();
        self.plugins
            .iter()
            .any(|plugin| plugin.sees.bodies[way] || plugin.sees.trailers[way])
    }

    /// Begins a stream on `worker`. Streams of one worker share each plugin's instance; callbacks of one instance
    /// wait for each other, so give each thread a worker number of its own.
    pub fn stream(&self, worker: usize, info: StreamInfo) -> Stream {
        Stream::new(&self.plugins, worker, info)
    }
}
