//! PROXY protocol v1 and v2 (HAProxy's specification), from whom it is expected and from whom it is not.

use anypop_tests::{Client, Edge, Origin, Reply};

const GET: &str = "GET /a HTTP/1.1\r\nHost: test.example\r\n\r\n";

async fn scene(networks: &str) -> (Origin, Edge) {
    let origin = Origin::start().await;
    origin.on(
        "/a",
        Reply::new(200).field("Cache-Control", "no-store").body("a"),
    );
    let edge = Edge::builder()
        .listen(&format!("proxy_protocol = [{networks}]"))
        .any_host(&origin, "")
        .start()
        .await;
    (origin, edge)
}

fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, family]);
    header.extend(u16::try_from(addresses.len()).unwrap().to_be_bytes());
    header.extend(addresses);
    header
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_comes_from_the_header() {
    let (origin, edge) = scene("\"127.0.0.0/8\"").await;
    let four = [203, 0, 113, 7, 192, 0, 2, 1, 0x30, 0x39, 0, 80];
    let mut six = [0; 36];
    six[..16].copy_from_slice(
        &"2001:db8::7"
            .parse::<std::net::Ipv6Addr>()
            .unwrap()
            .octets(),
    );
    six[16..32].copy_from_slice(
        &"2001:db8::1"
            .parse::<std::net::Ipv6Addr>()
            .unwrap()
            .octets(),
    );
    six[32..].copy_from_slice(&[0x30, 0x39, 0, 80]);
    for (header, expected) in [
        (
            b"PROXY TCP4 203.0.113.7 192.0.2.1 12345 80\r\n".to_vec(),
            "203.0.113.7",
        ),
        (
            b"PROXY TCP6 2001:db8::7 2001:db8::1 12345 80\r\n".to_vec(),
            "2001:db8::7",
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (v2(1, 0x11, &four), "203.0.113.7"),
        (v2(1, 0x21, &six), "2001:db8::7"),
        (v2(0, 0x00, &[]), "127.0.0.1"),
    ] {
        let before = origin.count("/a");
        let mut client = edge.client().await;
        client
            .send([header.as_slice(), GET.as_bytes()].concat())
            .await;
        assert_eq!(
            client.response("GET").await.unwrap().text(),
            "a",
            "{expected}"
        );
        assert_eq!(
            origin.seen_at("/a")[before].header("x-forwarded-for"),
            Some(expected)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_may_come_in_pieces() {
    let (_origin, edge) = scene("\"127.0.0.0/8\"").await;
    let mut client = edge.client().await;
    for byte in b"PROXY TCP4 203.0.113.7 192.0.2.1 12345 80\r\n".chunks(5) {
        client.send(byte).await;
    }
    client.send(GET).await;
    assert_eq!(client.response("GET").await.unwrap().text(), "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_required_nothing_else_will_do() {
    let (origin, edge) = scene("\"127.0.0.0/8\"").await;
    for bytes in [
        GET.as_bytes().to_vec(),
        b"PROXY TCP4 203.0.113.7 192.0.2.1 12345\r\n".to_vec(),
        b"PROXY TCP4 203.0.113.700 192.0.2.1 12345 80\r\n".to_vec(),
        b"PROXY TCP4 203.0.113.7 192.0.2.1 12345 80\n".to_vec(),
        [&b"PROXY TCP4 "[..], &[b'1'; 200], b"\r\n"].concat(),
        v2(1, 0x11, &[1, 2, 3]),
        v2(7, 0x11, &[0; 12]),
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x0c\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
    ] {
        let mut client = edge.client().await;
        client
            .send([bytes.as_slice(), GET.as_bytes()].concat())
            .await;
        let answer = client.rest().await.unwrap_or_default();
        assert!(
            !String::from_utf8_lossy(&answer).contains(" 200 "),
            "{:?}",
            String::from_utf8_lossy(&bytes)
        );
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn others_may_not_send_one() {
    let (origin, edge) = scene("\"192.0.2.0/24\"").await;
    let mut client: Client = edge.client().await;
    client
        .send(format!(
            "PROXY TCP4 203.0.113.7 192.0.2.1 12345 80\r\n{GET}"
        ))
        .await;
    let answer = client.rest().await.unwrap_or_default();
    assert!(!String::from_utf8_lossy(&answer).contains(" 200 "));
    assert_eq!(origin.connections(), 0);
    assert_eq!(edge.get("/a").await.text(), "a");
}
