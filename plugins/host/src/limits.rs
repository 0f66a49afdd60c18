//! What one plugin may use, and what happens when it fails.

use std::time::Duration;

/// Limits of one plugin. Every field has the default that [`Limits::default`] gives.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Linear memory per instance, in bytes. Default 16 MiB; Go guests need more.
    pub memory: usize,
    /// Entries of all tables of an instance. Default 20 000, which is also the engine's most.
    pub table_elements: usize,
    /// CPU time that a callback certainly gets; one that goes on is killed before it had twice of it. Default 5 ms.
    pub callback: Duration,
    /// As `callback`, for start, configuration and the instance's first context. Default 250 ms.
    pub start: Duration,
    /// CPU time of all callbacks of one stream together. Default 50 ms.
    pub request: Duration,
    /// How long a stream may wait for a paused plugin. Default 30 s. The edge holds the clock.
    pub pause: Duration,
    /// Body bytes that one plugin may hold back, per direction. Default 1 MiB.
    pub buffer: usize,
    /// Call-outs that may be under way at once per instance. Default 64.
    pub calls: usize,
    /// Call-outs that one stream may start. Default 16.
    pub calls_per_stream: u32,
    /// Longest timeout of a call-out; longer ones are cut to it. Default 10 s.
    pub call_timeout: Duration,
    /// Largest body of a call-out, sent or received, in bytes. Default 1 MiB.
    pub call_body: usize,
    /// Streams that an instance may have open at once. Default 10 000.
    pub streams: usize,
    /// Shortest tick period; shorter ones become it. Default 10 ms.
    pub tick: Duration,
    /// Metrics that a plugin may define. Default 64.
    pub metrics: usize,
    /// Log lines per second and instance. Default 100.
    pub log_lines: u32,
    /// Longest log line, in bytes; the rest is cut. Default 4 KiB.
    pub log_line: usize,
    /// Bytes of properties that one stream's plugins may set. Default 16 KiB.
    pub properties: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 16 << 20,
            table_elements: 20_000,
            callback: Duration::from_millis(5),
            start: Duration::from_millis(250),
            request: Duration::from_millis(50),
            pause: Duration::from_secs(30),
            buffer: 1 << 20,
            calls: 64,
            calls_per_stream: 16,
            call_timeout: Duration::from_secs(10),
            call_body: 1 << 20,
            streams: 10_000,
            tick: Duration::from_millis(10),
            metrics: 64,
            log_lines: 100,
            log_line: 4 << 10,
            properties: 16 << 10,
        }
    }
}

/// What all plugins of one site may share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedLimits {
    /// Names and values of the shared data, in bytes. Default 1 MiB.
    pub data: usize,
    /// Queues. Default 16.
    pub queues: usize,
    /// Items in one queue. Default 1024.
    pub queue_items: usize,
    /// Bytes in one queue. Default 256 KiB.
    pub queue_bytes: usize,
}

impl Default for SharedLimits {
    fn default() -> Self {
        Self {
            data: 1 << 20,
            queues: 16,
            queue_items: 1024,
            queue_bytes: 256 << 10,
        }
    }
}

/// What a request gets when a plugin cannot run for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FailPolicy {
    /// 503 with Proxy-Status; a new instance after a back-off.
    #[default]
    Closed,
    /// The request goes on as if the plugin were not there, also the very one that made it fail.
    Open,
    /// As closed for the request that made it fail, but the next request gets a new instance at once; only from
    /// the second crash within a minute on there is a back-off.
    Reload,
}

/// How much requests share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// One long-lived instance per worker for all of them.
    #[default]
    Worker,
    /// A fresh instance each, from a snapshot taken after configuration where the module allows.
    Request,
}

/// Where a plugin's callbacks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Toward each client: on its request before the cache key, and on what it is sent, hit or miss.
    #[default]
    Client,
    /// Toward the origin: on the request of a fill, and on its response before it is stored.
    Origin,
}
