use super::Checker;
use crate::{
    key::Key,
    site::{Origin, OriginHttp2, OriginSection},
    value::{Host, Scheme},
};

/// How many further tries make sense: each may take every timeout once more.
const MOST_RETRIES: u32 = 16;

/// Checks a site's origin.
pub(super) fn check_origin(checker: &mut Checker<'_>, section: OriginSection) -> Origin {
    let at = |name: &str| Key::of("origin").key(name);
    servers(checker, &section);
    let timeouts = [
        ("connect_timeout", section.connect_timeout),
        ("tls_timeout", section.tls_timeout),
        ("first_byte_timeout", section.first_byte_timeout),
        ("between_bytes_timeout", section.between_bytes_timeout),
        ("write_timeout", section.write_timeout),
    ];
    for (name, timeout) in timeouts {
        if timeout.is_zero() {
            checker.error(&at(name), "must be more than 0");
        }
    }
    if section.retries > MOST_RETRIES {
        checker.error(&at("retries"), format!("must be at most {MOST_RETRIES}"));
    }
    match (&section.client_certificate, &section.client_key) {
        (Some(_), None) => checker.error(
            &at("client_key"),
            "is missing: origin.client_certificate needs its private key",
        ),
        (None, Some(_)) => checker.error(
            &at("client_certificate"),
            "is missing: origin.client_key needs its certificate",
        ),
        _ => {}
    }
    if section.ca.is_some() && !section.verify {
        checker.error(&at("ca"), "does nothing while origin.verify is false");
    }
    if section
        .sni
        .as_ref()
        .is_some_and(|sni| matches!(sni.host(), Host::Address(_)))
    {
        checker.error(
            &at("sni"),
            "must be a name: TLS asks for no address (RFC 6066, section 3)",
        );
    }
    if !section.servers.is_empty() {
        needless(checker, &section);
    }
    let ca = checker.readable_option(&at("ca"), section.ca.as_ref());
    let certificate = checker.readable_option(
        &at("client_certificate"),
        section.client_certificate.as_ref(),
    );
    let key = checker.readable_option(&at("client_key"), section.client_key.as_ref());
    section.into_origin(ca, certificate.zip(key))
}

fn servers(checker: &mut Checker<'_>, section: &OriginSection) {
    let key = Key::of("origin.servers");
    if section.servers.is_empty() {
        checker.error(&key, "is missing: name at least one server, such as [{ url = \"https://origin.shop.example\" }]");
    }
    let numbers = checker.remaining(&key);
    for ((at, server), number) in section.servers.iter().enumerate().zip(numbers) {
        if server.weight == 0 {
            checker.error(
                &key.index(number).key("weight"),
                "must be at least 1; to take a server out, take it out of the list",
            );
        }
        if section
            .servers
            .iter()
            .take(at)
            .any(|before| before.url == server.url)
        {
            checker.error(
                &key.index(number).key("url"),
                format!(
                    "{} stands twice in the list; give it a weight instead",
                    server.url
                ),
            );
        }
    }
}

/// Keys that no server of the site has a use for.
fn needless(checker: &mut Checker<'_>, section: &OriginSection) {
    let any = |scheme| {
        section
            .servers
            .iter()
            .any(|server| server.url.scheme == scheme)
    };
    if !any(Scheme::Https) {
        let idle = [
            ("sni", section.sni.is_some()),
            ("verify", !section.verify),
            ("ca", section.ca.is_some()),
            ("client_certificate", section.client_certificate.is_some()),
            ("http2", section.http2 == OriginHttp2::Alpn),
        ];
        for (name, given) in idle {
            if given {
                checker.error(
                    &Key::of("origin").key(name),
                    "does nothing: no server's URL is https",
                );
            }
        }
    }
    if section.http2 == OriginHttp2::PriorKnowledge && !any(Scheme::Http) {
        checker.error(
            &Key::of("origin.http2"),
            "does nothing: \"h2c\" is for http servers; write true for https",
        );
    }
}
