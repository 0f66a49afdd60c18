//! Lets in only URLs that carry `expires` (seconds since 1970) and `token`, the HMAC-SHA256 in hex of path, NUL and
//! `expires` under a secret. Both are taken off before the cache sees the URL, so that all tokens share one object.

use std::{
    rc::Rc,
    time::{Duration, UNIX_EPOCH},
};

use hmac::{Hmac, Mac};
use proxy_wasm::{
    traits::{Context, HttpContext, RootContext},
    types::{Action, ContextType, LogLevel},
};
use serde::Deserialize;
use sha2::Sha256;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::<Root>::default());
}}

/// `{"secret": "…", "prefix": "/private/"}`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    secret: String,
    /// Only paths that begin so need a token.
    #[serde(default)]
    prefix: String,
}

#[derive(Default)]
struct Root {
    config: Rc<Config>,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let bytes = self.get_plugin_configuration().unwrap_or_default();
        match serde_json::from_slice::<Config>(&bytes) {
            Ok(config) if config.secret.len() >= 16 => {
                self.config = Rc::new(config);
                true
            }
            Ok(_) => {
                let _ = proxy_wasm::hostcalls::log(
                    LogLevel::Error,
                    "signed-url: the secret needs 16 bytes or more",
                );
                false
            }
            Err(error) => {
                let _ =
                    proxy_wasm::hostcalls::log(LogLevel::Error, &format!("signed-url: {error}"));
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
        let (path, query) = target.split_once('?').unwrap_or((target.as_str(), ""));
        if !path.starts_with(&self.config.prefix) {
            return Action::Continue;
        }
        let now = self
            .get_current_time()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::MAX)
            .as_secs();
        match check(&self.config.secret, path, query, now) {
            Ok(rest) => {
                let clean = if rest.is_empty() {
                    path.to_owned()
                } else {
                    format!("{path}?{rest}")
                };
                self.set_http_request_header(":path", Some(&clean));
                Action::Continue
            }
            Err(reason) => {
                self.send_http_response(
                    403,
                    vec![("cache-control", "no-store")],
                    Some(reason.as_bytes()),
                );
                Action::Pause
            }
        }
    }
}

/// The query without `expires` and `token`, when those are good at `now`.
fn check(secret: &str, path: &str, query: &str, now: u64) -> Result<String, &'static str> {
    let (mut expires, mut token, mut rest) = (None, None, Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("expires", value)) => expires = Some(value),
            Some(("token", value)) => token = Some(value),
            _ => rest.push(pair),
        }
    }
    let (expires, token) = expires.zip(token).ok_or("this URL needs a token\n")?;
    let token = unhex(token).ok_or("the token is not hexadecimal\n")?;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|_| "no secret\n")?;
    mac.update(path.as_bytes());
    mac.update(&[0]);
    mac.update(expires.as_bytes());
    // In constant time.
    mac.verify_slice(&token)
        .map_err(|_| "the token is wrong\n")?;
    if expires
        .parse::<u64>()
        .map_err(|_| "expires is no number\n")?
        < now
    {
        return Err("the token has expired\n");
    }
    Ok(rest.join("&"))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect();
    let digits = digits?;
    digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(high << 4 | low),
            _ => None,
        })
        .collect()
}
