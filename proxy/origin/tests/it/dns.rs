//! The resolver against a DNS server on loopback.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anypop_origin::{Family, LookupError, Resolver};
use tokio::net::UdpSocket;
use url::Host;

const A: u16 = 1;
const AAAA: u16 = 28;

/// Answers over UDP: `found.example` has one A record by way of a CNAME, `gone.example` does not
/// exist, everything else is refused.
async fn server() -> (SocketAddr, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut query = [0; 512];
        loop {
            let (length, from) = socket.recv_from(&mut query).await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            let answer = answer(&query[..length]);
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    (address, asked)
}

/// A reply to a query with one question (RFC 1035 §4.1).
fn answer(query: &[u8]) -> Vec<u8> {
    let mut at = 12;
    let mut name = Vec::new();
    while query[at] != 0 {
        let length = usize::from(query[at]);
        let label = &query[at + 1..=at + length];
        name.push(String::from_utf8(label.to_vec()).unwrap().to_lowercase());
        at += length + 1;
    }
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let question = &query[12..at + 5];
    let (code, records): (u8, Vec<Vec<u8>>) = match (name.join(".").as_str(), kind) {
        ("found.example", A) => {
            let alias = [&[5], &b"other"[..], &[0xc0, 18]].concat();
            let alias_at = (12 + question.len() + 12) as u16;
            let to = 0xc000 | alias_at;
            (
                0,
                vec![
                    record(0xc00c, 5, 30, &alias),
                    record(to, A, 300, &[1, 1, 1, 1]),
                ],
            )
        }
        ("found.example", AAAA) => (0, Vec::new()),
        ("gone.example", _) => (3, Vec::new()),
        _ => (2, Vec::new()),
    };
    let mut reply = query[..2].to_vec();
    reply.extend([0x81, 0x80 | code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
    reply.extend(question);
    reply.extend(records.concat());
    reply
}

fn record(name: u16, kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut record = name.to_be_bytes().to_vec();
    record.extend(kind.to_be_bytes());
    record.extend([0, 1]);
    record.extend(ttl.to_be_bytes());
    record.extend((data.len() as u16).to_be_bytes());
    record.extend(data);
    record
}

fn name(name: &str) -> Host<String> {
    Host::Domain(name.to_owned())
}

#[tokio::test]
async fn answers_absences_and_errors_are_told_apart() {
    let (server, asked) = server().await;
    let resolver = Resolver::dns(&[server]).unwrap();
    let found = resolver.resolve(&name("found.example"), Family::V4).await;
    assert_eq!(
        found.unwrap()[..],
        ["1.1.1.1".parse::<std::net::IpAddr>().unwrap()]
    );
    // The name exists, but not in this family.
    let none = resolver.resolve(&name("found.example"), Family::V6).await;
    assert!(none.unwrap().is_empty());
    let gone = resolver.resolve(&name("gone.example"), Family::V4).await;
    assert!(
        matches!(gone, Err(LookupError::NoSuchName { .. })),
        "{gone:?}"
    );
    let broken = resolver.resolve(&name("broken.example"), Family::V4).await;
    let Err(LookupError::Failed { rcode, .. }) = &broken else {
        panic!("{broken:?}");
    };
    assert_eq!(rcode.as_deref(), Some("SERVFAIL"));
    // Kept: no name is asked for twice in a row.
    let before = asked.load(Ordering::SeqCst);
    for family in [Family::V4, Family::V6] {
        resolver
            .resolve(&name("FOUND.example"), family)
            .await
            .unwrap();
    }
    assert_eq!(asked.load(Ordering::SeqCst), before);
}
