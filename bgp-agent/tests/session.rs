//! The native speaker against routers that behave, and routers that do not, over loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::{sync::Arc, time::Duration};

use anypop_bgp::{
    document::{Community, NextHop},
    speaker::{Close, Native, Route, Speaker, Table, native},
};
use bytes::{Bytes, BytesMut};
use rustbgpd_wire::{
    Afi, Capability, Ipv4NlriEntry, Ipv4Prefix, Ipv4UnicastMode, MAX_MESSAGE_LEN, Message,
    NotificationCode, NotificationMessage, OpenMessage, PathAttribute, RouteRefreshMessage, Safi,
    UpdateMessage, decode_message, encode_message, notification::decode_shutdown_communication,
    peek_message_length,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

const AGENT: u32 = 64512;
const ROUTER: u32 = 64500;
const PATIENCE: Duration = Duration::from_secs(20);

fn speaker(listener: &TcpListener, change: impl FnOnce(&mut native::Neighbor)) -> Native {
    let mut neighbor = native::Neighbor {
        address: listener.local_addr().unwrap(),
        asn: ROUTER,
        local_asn: AGENT,
        router_id: "192.0.2.2".parse().unwrap(),
        password: None,
        ttl_security: false,
        ttl: None,
        source: None,
        hold_time: 9,
        connect_retry: Duration::from_millis(100),
        user_timeout: Duration::from_secs(9),
        graceful_restart: 0,
        max_received: 3,
    };
    change(&mut neighbor);
    Native::start(vec![neighbor])
}

fn route() -> Route {
    Route {
        next_hop: NextHop::Own,
        communities: vec![Community(AGENT << 16 | 100)],
        large_communities: Vec::new(),
        prepend: 1,
        med: None,
        local_pref: 100,
    }
}

fn table(prefixes: &[&str]) -> Arc<Table> {
    let entries = prefixes
        .iter()
        .map(|prefix| (prefix.parse().unwrap(), route()));
    Arc::new(entries.collect())
}

/// The router's side of a session.
struct Router {
    stream: TcpStream,
    inbox: BytesMut,
}

impl Router {
    async fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
        Self {
            stream,
            inbox: BytesMut::new(),
        }
    }

    /// The next message; none at the end.
    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(length) = peek_message_length(&self.inbox, MAX_MESSAGE_LEN).unwrap()
                && self.inbox.len() >= usize::from(length)
            {
                let mut message: Bytes = self.inbox.split_to(usize::from(length)).freeze();
                return Some(decode_message(&mut message, MAX_MESSAGE_LEN).unwrap());
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.inbox)).await;
            if !read.unwrap().is_ok_and(|read| read > 0) {
                return None;
            }
        }
    }

    async fn send(&mut self, message: &Message) {
        self.raw(&encode_message(message).unwrap()).await;
    }

    async fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    fn open(asn: u32) -> Message {
        Message::Open(OpenMessage {
            version: 4,
            my_as: u16::try_from(asn).unwrap(),
            hold_time: 9,
            bgp_identifier: "192.0.2.1".parse().unwrap(),
            capabilities: vec![
                Capability::MultiProtocol {
                    afi: Afi::Ipv4,
                    safi: Safi::Unicast,
                },
                Capability::RouteRefresh,
                Capability::FourOctetAs { asn },
            ],
        })
    }

    /// To Established; returns the agent's OPEN.
    async fn establish(listener: &TcpListener) -> (Self, OpenMessage) {
        let mut router = Self::accept(listener).await;
        let Some(Message::Open(open)) = router.next().await else {
            panic!("an OPEN");
        };
        router.send(&Self::open(ROUTER)).await;
        router.send(&Message::Keepalive).await;
        assert!(matches!(router.next().await, Some(Message::Keepalive)));
        (router, open)
    }

    /// The next UPDATE: what it announces and withdraws; none of both: End-of-RIB.
    async fn update(&mut self) -> (Vec<String>, Vec<String>, Vec<PathAttribute>) {
        loop {
            match self.next().await {
                Some(Message::Update(update)) => {
                    let parsed = update.parse(true, false, &[]).unwrap();
                    let text = |entries: &[Ipv4NlriEntry]| {
                        let prefix =
                            |e: &Ipv4NlriEntry| format!("{}/{}", e.prefix.addr, e.prefix.len);
                        entries.iter().map(prefix).collect()
                    };
                    return (
                        text(&parsed.announced),
                        text(&parsed.withdrawn),
                        parsed.attributes,
                    );
                }
                Some(Message::Keepalive) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The NOTIFICATION that the agent ends the session with.
    async fn notification(&mut self) -> NotificationMessage {
        loop {
            match self.next().await {
                Some(Message::Notification(notification)) => return notification,
                Some(_) => {}
                None => panic!("closed without a NOTIFICATION"),
            }
        }
    }
}

fn announcement(prefixes: &[[u8; 4]]) -> Message {
    let entries: Vec<_> = prefixes
        .iter()
        .map(|prefix| Ipv4NlriEntry {
            path_id: 0,
            prefix: Ipv4Prefix::new((*prefix).into(), 32),
        })
        .collect();
    let attributes = [
        PathAttribute::Origin(rustbgpd_wire::Origin::Igp),
        PathAttribute::AsPath(rustbgpd_wire::AsPath {
            segments: vec![rustbgpd_wire::AsPathSegment::AsSequence(vec![ROUTER])],
        }),
        PathAttribute::NextHop("192.0.2.1".parse().unwrap()),
    ];
    Message::Update(UpdateMessage::build(
        &entries,
        &[],
        &attributes,
        true,
        false,
        Ipv4UnicastMode::Body,
    ))
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

#[tokio::test]
async fn a_session_says_what_changes_and_nothing_else() {
    let listener = listener().await;
    let speaker = speaker(&listener, |_| {});
    speaker.say(table(&["203.0.113.1/32", "203.0.113.2/32"]));
    let (mut router, open) = Router::establish(&listener).await;
    let has = |wanted: &Capability| open.capabilities.contains(wanted);
    assert!(has(&Capability::ExtendedMessage) && has(&Capability::RouteRefresh));
    assert!(has(&Capability::FourOctetAs { asn: AGENT }));
    let restart =
        |capability: &Capability| matches!(capability, Capability::GracefulRestart { .. });
    assert!(!open.capabilities.iter().any(restart), "off by default");

    let (announced, _, attributes) = router.update().await;
    assert_eq!(announced, ["203.0.113.1/32", "203.0.113.2/32"]);
    assert!(attributes.contains(&PathAttribute::NextHop("127.0.0.1".parse().unwrap())));
    assert!(attributes.contains(&PathAttribute::Communities(vec![AGENT << 16 | 100])));
    assert!(
        !attributes
            .iter()
            .any(|a| matches!(a, PathAttribute::Med(_)))
    );
    let (announced, withdrawn, _) = router.update().await;
    assert!(announced.is_empty() && withdrawn.is_empty(), "End-of-RIB");

    // The same again is not worth a word: the next UPDATE is the withdrawal.
    speaker.say(table(&["203.0.113.1/32", "203.0.113.2/32"]));
    speaker.flushed().await;
    speaker.say(table(&["203.0.113.2/32"]));
    let (announced, withdrawn, _) = router.update().await;
    assert_eq!(
        (announced.len(), withdrawn),
        (0, vec!["203.0.113.1/32".to_owned()])
    );

    let refresh = RouteRefreshMessage::new(Afi::Ipv4, Safi::Unicast);
    router.send(&Message::RouteRefresh(refresh)).await;
    assert_eq!(router.update().await.0, ["203.0.113.2/32"]);

    speaker.say(table(&[]));
    speaker
        .close(Close::Cease("kernel update".to_owned()))
        .await;
    assert_eq!(
        router.update().await.1,
        ["203.0.113.2/32"],
        "withdrawn before the end"
    );
    let notification = router.notification().await;
    assert_eq!(
        (notification.code, notification.subcode),
        (NotificationCode::Cease, 2)
    );
    let reason = decode_shutdown_communication(&notification.data);
    assert_eq!(reason.as_deref(), Some("kernel update"));
}

#[tokio::test]
async fn graceful_restart_waits_for_routes_and_says_that_forwarding_went_on() {
    let listener = listener().await;
    let speaker = speaker(&listener, |neighbor| neighbor.graceful_restart = 60);
    // It would connect at once if there were no restart to be graceful about.
    let early = timeout(Duration::from_millis(200), listener.accept()).await;
    assert!(early.is_err(), "an empty table would drop the stale routes");
    speaker.say(table(&["203.0.113.1/32"]));
    let (mut router, open) = Router::establish(&listener).await;
    let restart = open
        .capabilities
        .iter()
        .find_map(|capability| match capability {
            Capability::GracefulRestart {
                restart_state,
                restart_time,
                families,
                ..
            } => Some((*restart_state, *restart_time, families.clone())),
            _ => None,
        });
    let (restarting, time, families) = restart.unwrap();
    assert!(restarting && time == 60);
    assert!(families.iter().all(|family| family.forwarding_preserved));
    assert_eq!(router.update().await.0, ["203.0.113.1/32"]);
    speaker.close(Close::Silent).await;
    while let Some(message) = router.next().await {
        assert!(!matches!(message, Message::Notification(_)), "not a word");
    }
}

#[tokio::test]
async fn hostile_routers_get_the_right_notification_and_another_try() {
    let listener = listener().await;
    let speaker = speaker(&listener, |_| {});
    speaker.say(table(&["203.0.113.1/32"]));
    let mut bad_length = vec![0xFF; 16];
    bad_length.extend([0, 5, 4]);
    let mut bad_type = vec![0xFF; 16];
    bad_type.extend([0, 19, 99]);
    let mut long_keepalive = vec![0xFF; 16];
    long_keepalive.extend([0, 20, 4, 0]);
    // Before Established.
    for (bytes, code, subcode) in [
        (vec![0; 19], NotificationCode::MessageHeader, 1),
        (bad_length.clone(), NotificationCode::MessageHeader, 2),
        (bad_type.clone(), NotificationCode::MessageHeader, 3),
        (
            encode_message(&Router::open(64999)).unwrap().to_vec(),
            NotificationCode::OpenMessage,
            2,
        ),
        (
            encode_message(&Message::Keepalive).unwrap().to_vec(),
            NotificationCode::FsmError,
            0,
        ),
    ] {
        let mut router = Router::accept(&listener).await;
        router.raw(&bytes).await;
        let said = router.notification().await;
        assert_eq!((said.code, said.subcode), (code, subcode), "{bytes:?}");
    }
    // After.
    let mut truncated = vec![0xFF; 16];
    truncated.extend([0, 23, 2, 0, 9, 0, 0]);
    for (bytes, code, subcode) in [
        (long_keepalive, NotificationCode::MessageHeader, 2),
        (bad_length, NotificationCode::MessageHeader, 2),
        (truncated, NotificationCode::UpdateMessage, 1),
        (
            encode_message(&announcement(&[
                [10, 0, 0, 1],
                [10, 0, 0, 2],
                [10, 0, 0, 3],
                [10, 0, 0, 4],
            ]))
            .unwrap()
            .to_vec(),
            NotificationCode::Cease,
            1,
        ),
    ] {
        let (mut router, _) = Router::establish(&listener).await;
        router.raw(&bytes).await;
        let said = router.notification().await;
        assert_eq!((said.code, said.subcode), (code, subcode), "{bytes:?}");
    }
    // Cut in the middle of a message: nothing to answer, and another try.
    let (mut router, _) = Router::establish(&listener).await;
    router.raw(&[0xFF; 10]).await;
    drop(router);
    let (mut router, _) = Router::establish(&listener).await;
    assert_eq!(router.update().await.0, ["203.0.113.1/32"]);
    // A malformed attribute is a withdrawal, not the session's end (RFC 7606).
    let Message::Update(update) = announcement(&[[10, 0, 0, 1]]) else {
        panic!("an UPDATE");
    };
    let mut attributes = update.path_attributes.to_vec();
    // ORIGIN, the first attribute, has its value in the fourth byte; 9 means nothing.
    attributes[3] = 9;
    router
        .send(&Message::Update(UpdateMessage {
            path_attributes: attributes.into(),
            ..update
        }))
        .await;
    let refresh = RouteRefreshMessage::new(Afi::Ipv4, Safi::Unicast);
    router.send(&Message::RouteRefresh(refresh)).await;
    // End-of-RIB may still be on its way.
    while router.update().await.0 != ["203.0.113.1/32"] {}
    let peer = speaker.peers().remove(0);
    assert_eq!(
        (peer.malformed, peer.received, peer.state.as_str()),
        (1, 0, "established")
    );
}

#[tokio::test]
async fn a_router_that_falls_silent_is_given_up_after_the_hold_time() {
    let listener = listener().await;
    let speaker = speaker(&listener, |neighbor| neighbor.hold_time = 3);
    let (mut router, _) = Router::establish(&listener).await;
    let said = router.notification().await;
    assert_eq!(said.code, NotificationCode::HoldTimerExpired);
    let (_router, _) = Router::establish(&listener).await;
    speaker.close(Close::Silent).await;
}
