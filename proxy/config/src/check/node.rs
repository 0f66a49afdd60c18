use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::Checker;
use crate::{
    document::NodeDocument,
    key::Key,
    node::{Admission, DiskTier, Listen, Node, NodeCache, ProxyLimits},
    value::{AccessLog, SyslogTarget, Token},
};

/// Checks a node's document; what is wrong is noted in the checker.
pub(crate) fn check_node(checker: &mut Checker<'_>) -> Node {
    let document: NodeDocument = checker.read();
    identity(checker, &document);
    listen(checker, &document.listen);
    limits(checker, &document.limits);

    let mut tls = document.tls;
    let ticket_keys = Key::of("tls.ticket_keys");
    if tls.ticket_keys.is_some() && !tls.tickets {
        checker.error(&ticket_keys, "does nothing while tls.tickets is false");
    }
    tls.ticket_keys = checker.readable_option(&ticket_keys, tls.ticket_keys.as_ref());

    let mut admin = document.admin;
    let token_file = Key::of("admin.token_file");
    if admin.address.is_some() && admin.token_file.is_none() {
        checker.error(
            &token_file,
            "is missing: admin.address needs a token that callers must show",
        );
    }
    if admin.address.is_none() && admin.token_file.is_some() {
        checker.error(&token_file, "does nothing without admin.address: the socket's file permissions decide who may use it");
    }
    if let Some(address) = admin.address
        && document
            .listen
            .iter()
            .any(|listen| collide(listen.address, address))
    {
        checker.error(
            &Key::of("admin.address"),
            format!("{address} is an address in [[listen]] too"),
        );
    }
    admin.socket = socket(checker, "admin.socket", &admin.socket);
    let mut status = document.status;
    status.socket = socket(checker, "status.socket", &status.socket);
    if admin.socket == status.socket {
        checker.error(&Key::of("status.socket"), "is the same as admin.socket");
    }
    let admin_token = token(checker, &token_file, &mut admin.token_file);

    let mut node = document.node;
    let debug_token = token(
        checker,
        &Key::of("node.debug_token_file"),
        &mut node.debug_token_file,
    );

    let mut cache = document.cache;
    if cache.max_object == NodeCache::MAX_OBJECT {
        // Who only makes the memory small has not said anything about objects.
        cache.max_object = cache.max_object.min(cache.memory);
    }
    if cache.memory.bytes() == 0 {
        checker.error(&Key::of("cache.memory"), "must be more than 0");
    }
    if cache.max_object.bytes() == 0 || cache.max_object > cache.memory {
        checker.error(
            &Key::of("cache.max_object"),
            format!(
                "must be more than 0 and at most cache.memory, {}",
                cache.memory
            ),
        );
    }
    disks(checker, &mut cache);

    let numbers = checker.remaining(&Key::of("origin.resolver"));
    for (server, at) in document.origin.resolver.iter().zip(numbers) {
        if server.port() == 0 {
            checker.error(
                &Key::of("origin.resolver").index(at),
                "port 0 is no DNS server's; write 53",
            );
        }
    }

    let mut log = document.log;
    match &mut log.access {
        AccessLog::File(path) | AccessLog::Syslog(SyslogTarget::Unix(path)) => {
            *path = checker.absolute(path)
        }
        AccessLog::Stdout | AccessLog::Off | AccessLog::Syslog(SyslogTarget::Udp(..)) => {}
    }

    if !(0.0..=1.0).contains(&document.tracing.sample) {
        checker.error(&Key::of("tracing.sample"), "must be from 0 to 1");
    }

    let mut sites = document.sites;
    sites.directory = checker.absolute(&sites.directory);
    match std::fs::metadata(&sites.directory) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => checker.error(
            &Key::of("sites.directory"),
            format!("{} is no directory", sites.directory.display()),
        ),
        Err(error) => checker.error(
            &Key::of("sites.directory"),
            format!(
                "cannot read {}: {}",
                sites.directory.display(),
                super::reason(&error)
            ),
        ),
    }

    Node {
        name: node.name.unwrap_or_else(machine_name),
        pop: node.pop,
        threads: node.threads.into(),
        debug_token,
        trusted_forwarders: node.trusted_forwarders,
        listen: document.listen,
        limits: document.limits,
        tls,
        admin,
        admin_token,
        status,
        cache,
        origin: document.origin,
        log,
        tracing: document.tracing,
        sites_directory: Some(sites.directory),
    }
}

fn identity(checker: &mut Checker<'_>, document: &NodeDocument) {
    let fit = |name: &str| {
        (1..=64).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    let names = [
        ("node.name", document.node.name.as_deref()),
        ("node.pop", Some(&*document.node.pop)),
    ];
    for (key, name) in names {
        if name.is_some_and(|name| !fit(name)) {
            checker.error(&Key::of(key), "must be 1 to 64 letters, digits, \"-\", \".\" and \"_\": it stands in header fields and metrics");
        }
    }
}

fn listen(checker: &mut Checker<'_>, listen: &[Listen]) {
    if listen.is_empty() {
        checker.error(
            &Key::of("listen"),
            "is missing: add a [[listen]] section with an address",
        );
    }
    let numbers = checker.remaining(&Key::of("listen"));
    for ((at, entry), number) in listen.iter().enumerate().zip(numbers) {
        if listen
            .iter()
            .take(at)
            .any(|before| collide(before.address, entry.address))
        {
            checker.error(
                &Key::of("listen").index(number).key("address"),
                format!("{} is taken by a [[listen]] section before", entry.address),
            );
        }
    }
}

/// Whether both cannot be listened at. An unspecified address takes the port of every address of its family; port 0 is a new one each time.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let same_family = one.is_ipv4() == other.is_ipv4();
    let overlap =
        one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && same_family && overlap
}

fn limits(checker: &mut Checker<'_>, limits: &ProxyLimits) {
    let zero = [
        ("connections", limits.connections == 0),
        ("connections_per_client", limits.connections_per_client == 0),
        ("tls_handshake", limits.tls_handshake.is_zero()),
        ("header_timeout", limits.header_timeout.is_zero()),
        ("body_timeout", limits.body_timeout.is_zero()),
        ("idle_timeout", limits.idle_timeout.is_zero()),
        ("write_timeout", limits.write_timeout.is_zero()),
        ("header_bytes", limits.header_bytes.bytes() == 0),
        ("header_count", limits.header_count == 0),
        ("uri_bytes", limits.uri_bytes.bytes() == 0),
        ("h2_streams", limits.h2_streams == 0),
        ("h2_resets", limits.h2_resets == 0),
        ("h2_header_list", limits.h2_header_list.bytes() == 0),
        ("keepalive_requests", limits.keepalive_requests == 0),
    ];
    for (name, zero) in zero {
        if zero {
            checker.error(&Key::of("limits").key(name), "must be more than 0");
        }
    }
    if limits.uri_bytes > limits.header_bytes {
        checker.error(
            &Key::of("limits.uri_bytes"),
            format!(
                "is more than limits.header_bytes, {}, which counts the target too",
                limits.header_bytes
            ),
        );
    }
    const LARGEST_HEAD: u64 = 16 << 20;
    for (name, size) in [
        ("header_bytes", limits.header_bytes),
        ("h2_header_list", limits.h2_header_list),
    ] {
        if size.bytes() > LARGEST_HEAD {
            checker.error(
                &Key::of("limits").key(name),
                "is more than 16MiB: every connection may take that much memory",
            );
        }
    }
}

/// A Unix socket's path. The kernel takes 107 bytes at most (unix(7)).
fn socket(checker: &mut Checker<'_>, key: &str, path: &Path) -> PathBuf {
    const LONGEST: usize = 107;
    let key = Key::of(key);
    if path.as_os_str().is_empty() {
        checker.error(&key, "is empty");
    }
    let path = checker.absolute(path);
    if path.as_os_str().len() > LONGEST {
        checker.error(
            &key,
            format!("is longer than {LONGEST} bytes, which no Unix socket's path may be"),
        );
    }
    path
}

/// Checks the disks and makes their paths absolute.
fn disks(checker: &mut Checker<'_>, cache: &mut NodeCache) {
    let key = Key::of("cache.disk");
    let numbers = checker.remaining(&key);
    let mut seen: Vec<PathBuf> = Vec::new();
    for (disk, at) in cache.disk.iter_mut().zip(numbers) {
        let at = key.index(at);
        if disk.size < DiskTier::SMALLEST {
            checker.error(
                &at.key("size"),
                format!("must be at least {}", DiskTier::SMALLEST),
            );
        }
        if disk.path.as_os_str().is_empty() {
            checker.error(&at.key("path"), "is empty");
            continue;
        }
        disk.path = checker.absolute(&disk.path);
        if seen.contains(&disk.path) {
            checker.error(&at.key("path"), "is another disk's too");
        }
        seen.push(disk.path.clone());
    }
    if cache.disk.is_empty() && cache.admission != Admission::default() {
        checker.error(
            &Key::of("cache.admission"),
            "does nothing without a [[cache.disk]]",
        );
    }
}

fn token(checker: &mut Checker<'_>, key: &Key, path: &mut Option<PathBuf>) -> Option<Token> {
    let path = path.as_mut()?;
    *path = checker.absolute(path);
    match Token::read(path) {
        Ok(token) => Some(token),
        Err(crate::value::TokenError::Unreadable(error)) => {
            checker.error(
                key,
                format!("cannot read {}: {}", path.display(), super::reason(&error)),
            );
            None
        }
        Err(error @ crate::value::TokenError::Unfit) => {
            checker.error(key, format!("{}: {error}", path.display()));
            None
        }
    }
}

/// The machine's host name with what cannot stand in header fields left out.
pub(crate) fn machine_name() -> String {
    let name = ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .iter()
        .find_map(|file| std::fs::read_to_string(file).ok())
        .unwrap_or_default();
    let name: String = name
        .trim()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-._".contains(*c))
        .take(64)
        .collect();
    if name.is_empty() {
        "anypop".into()
    } else {
        name
    }
}
