//! Properties: what Envoy calls attributes, and ours. A path's parts are separated by NUL. Numbers, times and
//! durations are 64-bit little-endian (times and durations in nanoseconds), truth values one byte.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::{abi::Direction, exchange::Exchange, plugin::PluginCore};

/// The value of `path`, or `None`. `exchange` is absent in the root context.
pub(crate) fn value(
    path: &[u8],
    plugin: &PluginCore,
    exchange: Option<&Exchange>,
) -> Option<Bytes> {
    let path = path.strip_suffix(&[0]).unwrap_or(path);
    let mut parts = path.split(|byte| *byte == 0);
    let first = parts.next()?;
    let second = parts.next();
    let third = parts.next();
    let of_plugin = match (first, second) {
        (b"plugin_name", None) => Some(text(&plugin.name)),
        (b"plugin_root_id", None) => Some(text(&plugin.root_id)),
        (b"plugin_vm_id", None) => Some(plugin.vm_id.clone()),
        (b"anypop", Some(b"site")) => Some(text(&plugin.site)),
        (b"anypop", Some(b"pop")) => Some(text(&plugin.node.pop)),
        (b"anypop", Some(b"node")) => Some(text(&plugin.node.node)),
        (b"listener_direction", None) => Some(number(1)),
        (b"node", Some(b"id")) => Some(text(&plugin.node.node)),
        (b"node", Some(b"cluster")) => Some(text(&plugin.node.pop)),
        (b"cluster_name" | b"route_name" | b"xds", _) => {
            Some(text(&plugin.site)).filter(|_| second.is_none())
        }
        _ => None,
    };
    if of_plugin.is_some() {
        return of_plugin;
    }
    let exchange = exchange?;
    match first {
        b"request" => request(second?, third, exchange),
        b"response" => response(second?, third, exchange),
        b"source" => address(second?, exchange.info.source),
        b"destination" => address(second?, exchange.info.destination),
        b"upstream" => address(second?, exchange.info.upstream),
        b"connection" => connection(second?, exchange),
        b"anypop" if second == Some(b"cache") && third == Some(b"status") => {
            exchange.info.cache_status.as_deref().map(text)
        }
        _ => None,
    }
    .or_else(|| exchange.properties.get(path).cloned())
}

/// True for the first parts that this host gives values to: guests cannot set those.
pub(crate) fn is_ours(path: &[u8]) -> bool {
    let first = path.split(|byte| *byte == 0).next().unwrap_or_default();
    const OURS: [&[u8]; 16] = [
        b"plugin_name",
        b"plugin_root_id",
        b"plugin_vm_id",
        b"anypop",
        b"listener_direction",
        b"node",
        b"cluster_name",
        b"route_name",
        b"xds",
        b"request",
        b"response",
        b"source",
        b"destination",
        b"upstream",
        b"connection",
        b"",
    ];
    OURS.contains(&first)
}

fn request(part: &[u8], name: Option<&[u8]>, exchange: &Exchange) -> Option<Bytes> {
    let head = exchange.head(Direction::Request);
    let info = &exchange.info;
    match part {
        b"id" => return Some(text(&info.request_id)).filter(|id| !id.is_empty()),
        b"protocol" => return Some(text(&info.protocol)).filter(|protocol| !protocol.is_empty()),
        b"time" => return Some(time(info.started)),
        b"duration" => return info.duration.map(nanoseconds),
        b"size" => return Some(number(info.request_size)),
        _ => {}
    }
    let fields = head.fields.as_ref()?;
    let of = |name: &str| fields.value(name.as_bytes()).cloned();
    match part {
        b"path" => of(":path"),
        b"url_path" => Some(text(fields.path().split('?').next().unwrap_or_default())),
        b"query" => Some(text(
            fields.path().split_once('?').map_or("", |(_, query)| query),
        )),
        b"host" => of(":authority"),
        b"scheme" => of(":scheme"),
        b"method" => of(":method"),
        b"referer" => of("referer"),
        b"useragent" => of("user-agent"),
        b"headers" => fields.value(name?).cloned(),
        b"total_size" => Some(number(
            info.request_size.saturating_add(length(fields.size())),
        )),
        _ => None,
    }
}

fn response(part: &[u8], name: Option<&[u8]>, exchange: &Exchange) -> Option<Bytes> {
    let head = exchange.head(Direction::Response);
    let info = &exchange.info;
    match part {
        b"size" => return Some(number(info.response_size)),
        b"code_details" => return info.code_details.as_deref().map(text),
        b"flags" => return Some(number(0)),
        b"trailers" => return head.trailers.as_ref()?.value(name?).cloned(),
        b"grpc_status" => {
            let of =
                |fields: &Option<crate::Fields>| fields.as_ref()?.text("grpc-status")?.parse().ok();
            return of(&head.trailers).or_else(|| of(&head.fields)).map(number);
        }
        _ => {}
    }
    let fields = head.fields.as_ref()?;
    match part {
        b"code" => fields.status().map(|status| number(status.into())),
        b"headers" => fields.value(name?).cloned(),
        b"total_size" => Some(number(
            info.response_size.saturating_add(length(fields.size())),
        )),
        _ => None,
    }
}

fn address(part: &[u8], address: Option<std::net::SocketAddr>) -> Option<Bytes> {
    let address = address?;
    match part {
        b"address" => Some(text(&address.to_string())),
        b"port" => Some(number(address.port().into())),
        _ => None,
    }
}

fn connection(part: &[u8], exchange: &Exchange) -> Option<Bytes> {
    let info = &exchange.info;
    match part {
        b"id" => Some(number(info.connection_id)),
        b"mtls" => Some(Bytes::from(vec![u8::from(info.mtls)])),
        b"requested_server_name" => info.server_name.as_deref().map(text),
        b"tls_version" => info.tls_version.as_deref().map(text),
        _ => None,
    }
}

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn number(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_le_bytes())
}

fn length(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn nanoseconds(duration: Duration) -> Bytes {
    number(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

fn time(time: SystemTime) -> Bytes {
    nanoseconds(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}
