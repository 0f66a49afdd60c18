//! An edge made of lists.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use anypop_plugins::*;
use bytes::Bytes;
use http::HeaderMap;
use parking_lot::Mutex;

use crate::guests::Guest;

/// Remembers what plugins asked of it.
#[derive(Default)]
pub(crate) struct Edge {
    pub(crate) lines: Mutex<Vec<(LogLevel, String)>>,
    pub(crate) calls: Mutex<Vec<(HttpCall, CallReply)>>,
    pub(crate) purges: Mutex<Vec<(String, Purge)>>,
    pub(crate) refuse_calls: Mutex<Option<Status>>,
}

impl Services for Edge {
    fn log(&self, line: &LogLine<'_>) {
        self.lines
            .lock()
            .push((line.level, line.message.to_owned()));
    }

    fn http_call(&self, call: HttpCall, reply: CallReply) -> Result<(), Status> {
        if let Some(status) = *self.refuse_calls.lock() {
            return Err(status);
        }
        self.calls.lock().push((call, reply));
        Ok(())
    }

    fn purge(&self, site: &str, purge: &Purge) -> Result<(), Status> {
        self.purges.lock().push((site.to_owned(), purge.clone()));
        Ok(())
    }

    fn foreign(
        &self,
        site: &str,
        _: &str,
        name: &str,
        arguments: &[u8],
    ) -> Option<Result<Bytes, Status>> {
        match name {
            "test.echo" => Some(Ok(Bytes::from([site.as_bytes(), b":", arguments].concat()))),
            "test.fail" => Some(Err(Status::BadArgument)),
            _ => None,
        }
    }
}

/// A host with its edge, and one site.
pub(crate) struct Pop {
    pub(crate) edge: Arc<Edge>,
    pub(crate) host: Arc<Host>,
}

impl Pop {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut HostOptions)) -> Self {
        let mut options = HostOptions {
            node: NodeInfo {
                pop: "pop1".to_owned(),
                node: "pop1-a".to_owned(),
            },
            pool: PoolOptions {
                instances: 64,
                memory: 64 << 20,
                ..PoolOptions::default()
            },
            background: false,
            ..HostOptions::default()
        };
        change(&mut options);
        let edge = Arc::new(Edge::default());
        let host = Host::new(options, edge.clone()).unwrap();
        Self { edge, host }
    }

    /// Attaches a guest to the site `site`.
    pub(crate) fn attach(
        &self,
        guest: &Guest,
        change: impl FnOnce(&mut PluginSpec),
    ) -> Arc<Plugin> {
        self.attach_to("site", guest, change)
    }

    pub(crate) fn attach_to(
        &self,
        site: &str,
        guest: &Guest,
        change: impl FnOnce(&mut PluginSpec),
    ) -> Arc<Plugin> {
        self.try_attach(site, &guest.wasm(), change).unwrap()
    }

    pub(crate) fn try_attach(
        &self,
        site: &str,
        wasm: &[u8],
        change: impl FnOnce(&mut PluginSpec),
    ) -> Result<Arc<Plugin>, PluginError> {
        let mut spec = PluginSpec::new("plugin");
        // Debug builds of the host are slow, and the machine may be busy: only tests of the deadline set a short one.
        spec.limits.callback = std::time::Duration::from_millis(500);
        spec.limits.request = std::time::Duration::from_secs(10);
        spec.limits.start = std::time::Duration::from_secs(2);
        change(&mut spec);
        let module = self.host.compile(wasm).unwrap();
        self.host.plugin(site, &module, &spec)
    }

    /// A stream through these plugins.
    pub(crate) fn stream(&self, plugins: &[&Arc<Plugin>]) -> Stream {
        let plugins: Vec<_> = plugins.iter().map(|plugin| (*plugin).clone()).collect();
        let phase = plugins
            .first()
            .map_or(Phase::Client, |plugin| plugin.phase());
        Chain::new(&plugins, phase).stream(0, StreamInfo::default())
    }

    /// Runs one GET through one guest's request callbacks; gives back the flow, the stream and what was logged.
    pub(crate) fn get(&self, guest: &Guest) -> (Flow, Stream, Vec<String>) {
        let plugin = self.attach(guest, |_| {});
        let mut stream = self.stream(&[&plugin]);
        let flow = stream.head(Direction::Request, request(), true);
        (flow, stream, self.lines())
    }

    /// What was logged since the last time.
    pub(crate) fn lines(&self) -> Vec<String> {
        std::mem::take(&mut *self.edge.lines.lock())
            .into_iter()
            .map(|(_, line)| line)
            .collect()
    }
}

pub(crate) fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

pub(crate) fn request() -> Fields {
    Fields::request(
        "GET",
        "https",
        "www.shop.example",
        "/a?b=c",
        &headers(&[("user-agent", "test"), ("x-one", "1")]),
    )
}

pub(crate) fn post(length: usize) -> Fields {
    Fields::request(
        "POST",
        "https",
        "www.shop.example",
        "/form",
        &headers(&[("content-length", &length.to_string())]),
    )
}

pub(crate) fn response() -> Fields {
    Fields::response(
        200,
        &headers(&[
            ("content-type", "text/plain"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
        ]),
    )
}

/// True when the stream's waker was called.
pub(crate) fn is_resumed(stream: &mut Stream) -> bool {
    let mut future = pin!(stream.resumed());
    matches!(
        future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop())),
        Poll::Ready(())
    )
}
