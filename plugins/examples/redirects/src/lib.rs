//! Redirects by rules: the first whose `from` is the path, or a prefix of it when it ends in `*`, answers.

use std::rc::Rc;

use proxy_wasm::{
    traits::{Context, HttpContext, RootContext},
    types::{Action, ContextType, LogLevel},
};
use serde::Deserialize;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::<Root>::default());
}}

/// `{"rules": [{"from": "/old/*", "to": "https://www.example.com/new/*", "status": 301}]}`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// A path, without query; a `*` at the end stands for anything.
    from: String,
    /// Where to; a `*` in it is what `from`'s stood for. The query goes along.
    to: String,
    #[serde(default = "found")]
    status: u32,
}

fn found() -> u32 {
    302
}

impl Rule {
    /// Where this rule sends a path, if it is its business.
    fn target(&self, path: &str, query: Option<&str>) -> Option<String> {
        let rest = match self.from.strip_suffix('*') {
            Some(prefix) => path.strip_prefix(prefix)?,
            None if path == self.from => "",
            None => return None,
        };
        let mut to = self.to.replacen('*', rest, 1);
        if let Some(query) = query {
            to.push(if to.contains('?') { '&' } else { '?' });
            to.push_str(query);
        }
        Some(to)
    }
}

#[derive(Default)]
struct Root {
    config: Rc<Config>,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let bytes = self.get_plugin_configuration().unwrap_or_default();
        let config: Result<Config, String> =
            serde_json::from_slice(&bytes).map_err(|error| error.to_string());
        match config {
            Ok(config)
                if config
                    .rules
                    .iter()
                    .all(|rule| matches!(rule.status, 301 | 302 | 303 | 307 | 308)) =>
            {
                self.config = Rc::new(config);
                true
            }
            other => {
                let reason = other
                    .err()
                    .unwrap_or_else(|| "status must be 301, 302, 303, 307 or 308".to_owned());
                let _ =
                    proxy_wasm::hostcalls::log(LogLevel::Error, &format!("redirects: {reason}"));
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
        let target = self.get_http_request_header(":path").unwrap_or_default();
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target.as_str(), None),
        };
        for rule in &self.config.rules {
            if let Some(to) = rule.target(path, query) {
                self.send_http_response(rule.status, vec![("location", to.as_str())], None);
                return Action::Pause;
            }
        }
        Action::Continue
    }
}
