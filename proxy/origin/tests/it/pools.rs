//! The choice among servers, and what outlives a change of configuration.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anypop_origin::{Balance, ErrorKind, FetchError, Identity, Pool, Pools, Trust};
use http::StatusCode;

use crate::fake::{Origin, client, network, server, settings, text};

fn three() -> Vec<String> {
    (1..=3).map(|n| format!("http://192.0.2.{n}")).collect()
}

fn refused() -> FetchError {
    FetchError::new(ErrorKind::ConnectionRefused, "refused")
}

fn last(name: &str) -> char {
    name.trim_end_matches(":80").chars().last().unwrap()
}

fn order(pool: &Arc<Pool>, count: usize) -> String {
    let one = |_| last(pool.pick(None).unwrap().server());
    (0..count).map(one).collect()
}

#[tokio::test]
async fn round_robin_by_weight() {
    let mut settings = settings(&three());
    settings.servers[0].weight = 2;
    settings.servers[2].weight = 0;
    let pool = Pool::new(settings, network(&[]));
    assert_eq!(order(&pool, 6), "121121");
}

#[tokio::test]
async fn least_requests_goes_where_least_is_under_way() {
    let mut settings = settings(&three());
    settings.balance = Balance::LeastRequests;
    let pool = Pool::new(settings, network(&[]));
    let mut held: Vec<_> = (0..3).map(|_| pool.pick(None).unwrap()).collect();
    let mut servers: String = held.iter().map(|pick| last(pick.server())).collect();
    assert_eq!(servers.len(), 3);
    assert!(pool.servers().iter().all(|one| one.in_flight == 1));
    // Each of the three once, in whatever order; then the one that was given back.
    let gone = last(held.remove(1).server());
    servers.remove(1);
    assert!(!servers.contains(gone));
    assert_eq!(last(pool.pick(None).unwrap().server()), gone);
}

#[tokio::test]
async fn a_client_stays_with_its_server() {
    let mut settings = settings(&three());
    settings.balance = Balance::ClientHash;
    let pool = Pool::new(settings, network(&[]));
    let mut seen = std::collections::HashSet::new();
    for n in 0..50 {
        let client: IpAddr = format!("198.51.100.{n}").parse().unwrap();
        let first = pool.pick(Some(client)).unwrap().server().to_string();
        let mapped = format!("::ffff:198.51.100.{n}").parse().unwrap();
        assert_eq!(**pool.pick(Some(mapped)).unwrap().server(), first);
        seen.insert(first);
    }
    assert_eq!(seen.len(), 3);
}

#[tokio::test]
async fn a_retry_visits_each_server_once_and_ends() {
    let mut settings = settings(&three());
    settings.retries = 5;
    let pool = Pool::new(settings, network(&[]));
    let mut pick = pool.pick(None).unwrap();
    let mut visited = vec![last(pick.server())];
    while pick.retry(&refused(), true) {
        visited.push(last(pick.server()));
    }
    assert_eq!(visited, ['1', '2', '3']);
}

#[tokio::test]
async fn what_may_not_be_made_twice_is_not() {
    let pool = Pool::new(settings(&three()), network(&[]));
    let terminated = FetchError::new(ErrorKind::ConnectionTerminated, "");
    // A POST whose connection ended: it may have been served.
    assert!(!pool.pick(None).unwrap().retry(&terminated, false));
    // A POST that never left.
    assert!(pool.pick(None).unwrap().retry(&refused(), false));
    assert!(pool.pick(None).unwrap().retry(&terminated, true));
    let slow = FetchError::new(ErrorKind::ConnectionReadTimeout, "");
    assert!(!pool.pick(None).unwrap().retry(&slow, true));
    let mut settings = settings(&three());
    settings.retries = 0;
    let pool = Pool::new(settings, network(&[]));
    assert!(!pool.pick(None).unwrap().retry(&refused(), true));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_keeps_failing_is_left_alone_for_a_while() {
    let pool = Pool::new(settings(&three()), network(&[]));
    for _ in 0..3 {
        // The first in turn is always the first server, until it is left alone.
        let picks: Vec<_> = (0..3).map(|_| pool.pick(None).unwrap()).collect();
        for pick in picks {
            match last(pick.server()) {
                '1' => pick.failed(&refused()),
                _ => pick.answered(StatusCode::OK),
            }
        }
    }
    assert!(!order(&pool, 6).contains('1'));
    let up: Vec<bool> = pool.servers().iter().map(|one| one.up).collect();
    assert_eq!(up, [false, true, true]);
    tokio::time::advance(Duration::from_millis(1300)).await;
    assert!(order(&pool, 3).contains('1'));
}

#[tokio::test(start_paused = true)]
async fn only_statuses_of_a_server_in_trouble_count() {
    let urls = &three()[..2];
    let pool = Pool::new(settings(urls), network(&[]));
    for _ in 0..20 {
        pool.pick(None)
            .unwrap()
            .answered(StatusCode::INTERNAL_SERVER_ERROR);
    }
    assert_eq!(order(&pool, 4), "1212");
    for _ in 0..3 {
        pool.pick(None).unwrap().answered(StatusCode::OK);
        pool.pick(None)
            .unwrap()
            .answered(StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(order(&pool, 4), "1111");
}

#[tokio::test(start_paused = true)]
async fn where_all_are_down_one_is_tried_anyway() {
    let pool = Pool::new(settings(&three()), network(&[]));
    for _ in 0..9 {
        pool.pick(None).unwrap().failed(&refused());
    }
    let seen = order(&pool, 9);
    for server in ['1', '2', '3'] {
        assert!(seen.contains(server), "{seen}");
    }
}

#[tokio::test]
async fn a_site_without_servers() {
    let pool = Pool::new(settings(&[]), network(&[]));
    let error = pool.pick(None).unwrap_err();
    assert_eq!(error.kind, ErrorKind::DestinationNotFound);
    assert_eq!(error.site.as_deref(), Some("shop"));
}

#[tokio::test]
async fn connections_outlive_a_change_that_does_not_concern_them() {
    let origin = Origin::kept().await;
    let url = format!("http://{}", origin.address);
    let pools = Pools::new(network(&[]));
    let client = client();
    assert!(pools.is_empty());
    pools.replace([settings(std::slice::from_ref(&url))]);
    let pool = pools.site("shop").unwrap();
    assert_eq!(text(&client, &pool).await.unwrap(), "0");
    // Another weight, another limit, another server beside it: the same connection.
    let mut changed = settings(&["http://192.0.2.1".to_owned(), url.clone()]);
    changed.servers[0].weight = 0;
    changed.retries = 7;
    pools.update([changed], []);
    let pool = pools.site("shop").unwrap();
    assert_eq!(pool.settings().retries, 7);
    assert_eq!(text(&client, &pool).await.unwrap(), "0");
    // Another way of speaking TLS is another server, also where the URL is the same.
    let mut changed = settings(std::slice::from_ref(&url));
    changed.tls.verify = false;
    pools.update([changed], []);
    assert_eq!(
        text(&client, &pools.site("shop").unwrap()).await.unwrap(),
        "1"
    );
    // Another site never gets this one's connections.
    let mut other = settings(&[url]);
    other.site = "other".into();
    pools.update([other], []);
    assert_eq!(pools.len(), 2);
    assert_eq!(pools.all().len(), 2);
    assert_eq!(
        text(&client, &pools.site("other").unwrap()).await.unwrap(),
        "2"
    );
    pools.update([], ["shop"]);
    assert!(pools.site("shop").is_none());
    pools.replace([]);
    assert!(pools.site("other").is_none());
}

#[tokio::test(start_paused = true)]
async fn health_outlives_a_change() {
    let pools = Pools::new(network(&[]));
    pools.replace([settings(&three()[..2])]);
    let pool = pools.site("shop").unwrap();
    for _ in 0..3 {
        pool.pick(None).unwrap().failed(&refused());
        pool.pick(None).unwrap().answered(StatusCode::OK);
    }
    let mut changed = settings(&three());
    changed.servers[1] = server("http://192.0.2.2");
    pools.replace([changed]);
    assert_eq!(order(&pools.site("shop").unwrap(), 4), "2323");
}

#[test]
fn certificates_are_checked_when_they_are_loaded() {
    assert!(Trust::from_pem(b"").is_err());
    let garbage = b"-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    assert!(Trust::from_pem(garbage).is_err());
    assert!(Identity::from_pem(garbage, garbage).is_err());
    let one = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    let two = rcgen::generate_simple_self_signed(["b.example".to_owned()]).unwrap();
    let (pem, key) = (one.cert.pem(), one.signing_key.serialize_pem());
    assert!(Trust::from_pem(pem.as_bytes()).is_ok());
    assert!(Identity::from_pem(pem.as_bytes(), key.as_bytes()).is_ok());
    let wrong = two.signing_key.serialize_pem();
    let error = Identity::from_pem(pem.as_bytes(), wrong.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("does not belong"), "{error}");
}
