//! The commands that talk to a running daemon through its admin API.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anypop_config::Node;
use serde_json::{Value, json};

use super::{
    Failure,
    args::{Control, Explain, Purge, Reload, Sites, Status},
    print,
};
use crate::admin::client::{self, Answer};

/// Where a daemon listens when no document says otherwise.
const DEFAULT_SOCKET: &str = "/run/anypop/admin.sock";

pub(super) fn status(args: Status) -> Result<(), Failure> {
    let status = get(&args.control, "/v1/status")?;
    if args.control.json {
        return print_json(&status);
    }
    let mut text = format!(
        "{} ({}): {}{}\n",
        text_at(&status, "/node"),
        text_at(&status, "/pop"),
        text_at(&status, "/state"),
        match text_at(&status, "/reason").as_str() {
            "" => String::new(),
            reason => format!(", {reason}"),
        },
    );
    for (label, pointer) in [
        ("version", "/version"),
        ("pid", "/pid"),
        ("up", "/uptime_seconds"),
        ("sites", "/sites"),
        ("connections", "/connections"),
        ("fills in progress", "/cache/fills"),
        ("objects", "/cache/objects"),
        ("bytes", "/cache/bytes"),
        ("memory limit", "/cache/limit_bytes"),
    ] {
        text.push_str(&format!("  {label:<18} {}\n", text_at(&status, pointer)));
    }
    for disk in status
        .pointer("/cache/disks")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        text.push_str(&format!(
            "  {:<18} {}: {}, {} objects, {} of {} bytes\n",
            "disk",
            text_at(disk, "/path"),
            match text_at(disk, "/reason").as_str() {
                "" => "in service".to_owned(),
                reason => format!("OUT OF SERVICE ({reason})"),
            },
            text_at(disk, "/objects"),
            text_at(disk, "/bytes"),
            text_at(disk, "/limit_bytes"),
        ));
    }
    for listener in status
        .pointer("/listeners")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        text.push_str(&format!(
            "  {:<18} {}{}\n",
            "listening",
            text_at(listener, "/address"),
            if listener.pointer("/tls") == Some(&Value::Bool(true)) {
                " (TLS)"
            } else {
                ""
            },
        ));
    }
    print(text)
}

pub(super) fn sites(args: Sites) -> Result<(), Failure> {
    let sites = get(&args.control, "/v1/sites")?;
    if args.control.json {
        return print_json(&sites);
    }
    let mut text = String::new();
    for site in sites
        .pointer("/sites")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let hostnames: Vec<_> = site
            .pointer("/hostnames")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        text.push_str(&format!(
            "{:<24} {}\n",
            text_at(site, "/id"),
            hostnames.join(" ")
        ));
    }
    print(text)
}

pub(super) fn purge(args: Purge) -> Result<(), Failure> {
    let (scope, value) = match &args {
        Purge { url: Some(url), .. } => ("url", Some(url)),
        Purge {
            prefix: Some(prefix),
            ..
        } => ("prefix", Some(prefix)),
        Purge { tag: Some(tag), .. } => ("tag", Some(tag)),
        Purge {
            host: Some(host), ..
        } => ("host", Some(host)),
        Purge { site: Some(_), .. } => ("site", None),
        _ => ("everything", None),
    };
    let request = json!({ "site": args.site, "scope": scope, "value": value, "soft": args.soft });
    let answer = client::post(&socket(&args.control)?, "/v1/purges", &request)
        .map_err(|error| Failure::Unreachable(error.to_string()))?;
    let done = accepted(answer)?;
    if args.control.json {
        return print_json(&done);
    }
    print(format!(
        "purged {}{}{} at clock {}\n",
        if args.soft { "softly: " } else { "" },
        scope,
        value.map_or_else(
            || args
                .site
                .as_ref()
                .map(|site| format!(" {site}"))
                .unwrap_or_default(),
            |value| format!(" {value}"),
        ),
        text_at(&done, "/clock"),
    ))
}

pub(super) fn reload(args: Reload) -> Result<(), Failure> {
    let answer = client::post(&socket(&args.control)?, "/v1/reload", &Value::Null)
        .map_err(|error| Failure::Unreachable(error.to_string()))?;
    let done = accepted(answer)?;
    if args.control.json {
        return print_json(&done);
    }
    let mut text = String::new();
    for warning in done
        .pointer("/warnings")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        text.push_str(&format!("warning: {}\n", plain(warning)));
    }
    text.push_str(&format!(
        "reloaded: generation {}, {} sites\n",
        text_at(&done, "/generation"),
        text_at(&done, "/sites"),
    ));
    print(text)
}

pub(super) fn explain(args: Explain) -> Result<(), Failure> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("url", &args.url);
    for header in &args.headers {
        query.append_pair("header", header);
    }
    let explanation = get(&args.control, &format!("/v1/explain?{}", query.finish()))?;
    if args.control.json {
        return print_json(&explanation);
    }
    let mut text = String::new();
    describe(&mut text, &explanation, 0);
    print(text)
}

/// Renders a JSON value as indented `key value` lines.
fn describe(text: &mut String, value: &Value, depth: usize) {
    let Value::Object(members) = value else {
        return;
    };
    for (key, member) in members {
        let indent = "  ".repeat(depth);
        match member {
            Value::Object(_) => {
                text.push_str(&format!("{indent}{key}\n"));
                describe(text, member, depth + 1);
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                for item in items {
                    text.push_str(&format!("{indent}{key}\n"));
                    describe(text, item, depth + 1);
                }
            }
            Value::Array(items) => {
                let items: Vec<_> = items.iter().map(plain).collect();
                text.push_str(&format!("{indent}{key:<20} {}\n", items.join(", ")));
            }
            Value::Null => {}
            _ => text.push_str(&format!("{indent}{key:<20} {}\n", plain(member))),
        }
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn text_at(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).map(plain).unwrap_or_default()
}

fn print_json(value: &Value) -> Result<(), Failure> {
    print(format!("{value:#}\n"))
}

fn get(control: &Control, path: &str) -> Result<Value, Failure> {
    let answer = client::get(&socket(control)?, path)
        .map_err(|error| Failure::Unreachable(error.to_string()))?;
    accepted(answer)
}

fn accepted(answer: Answer) -> Result<Value, Failure> {
    if answer.status.is_success() {
        return Ok(answer.body);
    }
    Err(Failure::Running(
        match answer.body.pointer("/error").and_then(Value::as_str) {
            Some(error) => error.to_owned(),
            None => format!("the daemon answered {}", answer.status),
        },
    ))
}

fn socket(control: &Control) -> Result<PathBuf, Failure> {
    match (&control.socket, &control.config) {
        (Some(socket), _) => Ok(socket.clone()),
        (None, Some(config)) => {
            let text = fs::read_to_string(config)
                .map_err(|error| Failure::wrong(format!("{}: {error}", config.display())))?;
            let base = config.parent().unwrap_or(Path::new(""));
            let node = Node::from_toml(&text, config, base).map_err(super::check::failure)?;
            Ok(node.admin.socket)
        }
        (None, None) => Ok(PathBuf::from(DEFAULT_SOCKET)),
    }
}
