//! Sets and removes fields of requests and responses, as its configuration says.

use std::{collections::BTreeMap, rc::Rc};

use proxy_wasm::{
    traits::{Context, HttpContext, RootContext},
    types::{Action, ContextType, LogLevel},
};
use serde::Deserialize;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::<Root>::default());
}}

/// The configuration: what happens to requests and to responses.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    request: Changes,
    response: Changes,
}

/// `set` replaces or adds, `add` adds beside what is there, `remove` removes.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Changes {
    set: BTreeMap<String, String>,
    add: BTreeMap<String, String>,
    remove: Vec<String>,
}

#[derive(Default)]
struct Root {
    config: Rc<Config>,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let bytes = self.get_plugin_configuration().unwrap_or_default();
        match serde_json::from_slice(&bytes) {
            Ok(config) => {
                self.config = Rc::new(config);
                true
            }
            Err(error) => {
                log::error(&format!(
                    "the configuration is not what add-header takes: {error}"
                ));
                false
            }
        }
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream {
            config: self.config.clone(),
        }))
    }
}

struct Stream {
    config: Rc<Config>,
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, _end: bool) -> Action {
        let changes = &self.config.request;
        for name in &changes.remove {
            self.remove_http_request_header(name);
        }
        for (name, value) in &changes.set {
            self.set_http_request_header(name, Some(value));
        }
        for (name, value) in &changes.add {
            self.add_http_request_header(name, value);
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _count: usize, _end: bool) -> Action {
        let changes = &self.config.response;
        for name in &changes.remove {
            self.remove_http_response_header(name);
        }
        for (name, value) in &changes.set {
            self.set_http_response_header(name, Some(value));
        }
        for (name, value) in &changes.add {
            self.add_http_response_header(name, value);
        }
        Action::Continue
    }
}

mod log {
    pub(crate) fn error(message: &str) {
        // Without a log there is nobody left to tell.
        let _ = proxy_wasm::hostcalls::log(proxy_wasm::types::LogLevel::Error, message);
    }
}
