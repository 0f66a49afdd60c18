#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use super::*;

/// Answers with what is set, once it is let.
struct Fake {
    answer: Mutex<Result<Answer, LookupError>>,
    asked: AtomicUsize,
    gate: Semaphore,
}

impl Fake {
    fn new(answer: Result<Answer, LookupError>) -> Arc<Self> {
        Arc::new(Self {
            answer: Mutex::new(answer),
            asked: AtomicUsize::new(0),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
        })
    }

    fn set(&self, answer: Result<Answer, LookupError>) {
        *self.answer.lock() = answer;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn close(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }
}

#[async_trait]
impl Lookup for Fake {
    async fn lookup(&self, _name: &str, _family: Family) -> Result<Answer, LookupError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let _pass = self.gate.acquire().await.unwrap();
        self.answer.lock().clone()
    }
}

fn found(ip: &str, seconds: u64) -> Result<Answer, LookupError> {
    Ok(Answer {
        addresses: vec![ip.parse().unwrap()],
        ttl: Duration::from_secs(seconds),
    })
}

fn broken() -> Result<Answer, LookupError> {
    Err(LookupError::Failed {
        rcode: Some("SERVFAIL".to_owned()),
        detail: "broken".to_owned(),
    })
}

async fn resolve(resolver: &Resolver) -> Result<String, LookupError> {
    let name = Host::Domain("origin.example".to_owned());
    let found = resolver.resolve(&name, Family::V4).await?;
    Ok(found
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" "))
}

async fn pass(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn answers_are_kept_by_their_ttl() {
    let fake = Fake::new(found("1.1.1.1", 10));
    let resolver = Resolver::new(fake.clone());
    assert_eq!(resolve(&resolver).await.unwrap(), "1.1.1.1");
    fake.set(found("1.1.1.2", 0));
    pass(9).await;
    assert_eq!(resolve(&resolver).await.unwrap(), "1.1.1.1");
    assert_eq!(fake.asked(), 1);
    pass(1).await;
    assert_eq!(resolve(&resolver).await.unwrap(), "1.1.1.2");
    // A TTL of 0 is one second, or every request would ask.
    assert_eq!(resolve(&resolver).await.unwrap(), "1.1.1.2");
    assert_eq!(fake.asked(), 2);
    // And one of a year is an hour.
    pass(1).await;
    fake.set(found("1.1.1.3", 31_536_000));
    assert_eq!(resolve(&resolver).await.unwrap(), "1.1.1.3");
    pass(3599).await;
    resolve(&resolver).await.unwrap();
    assert_eq!(fake.asked(), 3);
    pass(1).await;
    resolve(&resolver).await.unwrap();
    assert_eq!(fake.asked(), 4);
}

#[tokio::test(start_paused = true)]
async fn one_lookup_serves_all_who_wait_and_survives_who_leaves() {
    let fake = Fake::new(found("1.1.1.1", 10));
    fake.close();
    let resolver = Resolver::new(fake.clone());
    let first = tokio::spawn({
        let resolver = resolver.clone();
        async move { resolve(&resolver).await }
    });
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let resolver = resolver.clone();
            tokio::spawn(async move { resolve(&resolver).await })
        })
        .collect();
    tokio::task::yield_now().await;
    first.abort();
    fake.gate.add_permits(1);
    for one in waiting {
        assert_eq!(one.await.unwrap().unwrap(), "1.1.1.1");
    }
    assert_eq!(fake.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_expired_answer_is_used_while_refreshing_fails_but_not_for_ever() {
    let fake = Fake::new(found("1.1.1.1", 10));
    let resolver = Resolver::new(fake.clone());
    resolve(&resolver).await.unwrap();
    fake.set(broken());
    pass(10).await;
    assert_eq!(resolve(&resolver).await.unwrap(), "1.1.1.1");
    assert_eq!(resolve(&resolver).await.unwrap(), "1.1.1.1");
    // A failed refresh is not repeated for half a minute.
    assert_eq!(fake.asked(), 2);
    pass(30).await;
    assert_eq!(resolve(&resolver).await.unwrap(), "1.1.1.1");
    assert_eq!(fake.asked(), 3);
    pass(MAX_STALE.as_secs()).await;
    assert!(matches!(
        resolve(&resolver).await,
        Err(LookupError::Failed { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_slow_refresh_is_not_waited_for_long() {
    let fake = Fake::new(found("1.1.1.1", 10));
    let resolver = Resolver::new(fake.clone());
    resolve(&resolver).await.unwrap();
    fake.set(found("1.1.1.2", 10));
    fake.close();
    pass(10).await;
    let start = Instant::now();
    assert_eq!(resolve(&resolver).await.unwrap(), "1.1.1.1");
    assert_eq!(start.elapsed(), STALE_WAIT);
    fake.gate.add_permits(1);
    assert_eq!(resolve(&resolver).await.unwrap(), "1.1.1.2");
    assert_eq!(fake.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_gone_is_gone() {
    let fake = Fake::new(found("1.1.1.1", 10));
    let resolver = Resolver::new(fake.clone());
    resolve(&resolver).await.unwrap();
    pass(10).await;
    fake.set(Err(LookupError::NoSuchName {
        ttl: Some(Duration::from_secs(86_400)),
    }));
    assert!(matches!(
        resolve(&resolver).await,
        Err(LookupError::NoSuchName { .. })
    ));
    fake.set(found("1.1.1.2", 10));
    pass(29).await;
    assert!(resolve(&resolver).await.is_err());
    assert_eq!(fake.asked(), 2);
    pass(1).await;
    assert_eq!(resolve(&resolver).await.unwrap(), "1.1.1.2");
}

#[tokio::test(start_paused = true)]
async fn a_failure_without_an_answer_is_kept_for_a_second() {
    let fake = Fake::new(broken());
    let resolver = Resolver::new(fake.clone());
    assert!(resolve(&resolver).await.is_err());
    assert!(resolve(&resolver).await.is_err());
    assert_eq!(fake.asked(), 1);
    pass(1).await;
    fake.set(found("1.1.1.1", 10));
    assert_eq!(resolve(&resolver).await.unwrap(), "1.1.1.1");
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_hangs_ends_as_a_timeout() {
    let fake = Fake::new(found("1.1.1.1", 10));
    fake.close();
    let resolver = Resolver::new(fake);
    let start = Instant::now();
    assert_eq!(resolve(&resolver).await, Err(LookupError::Timeout));
    assert_eq!(start.elapsed(), LOOKUP_LIMIT);
}

#[tokio::test]
async fn literals_and_localhost_are_not_asked_for() {
    let fake = Fake::new(broken());
    let resolver = Resolver::new(fake.clone());
    for (host, family, expected) in [
        ("127.0.0.1", Family::V4, "[127.0.0.1]"),
        ("127.0.0.1", Family::V6, "[]"),
        ("[::1]", Family::V6, "[::1]"),
        ("[::1]", Family::V4, "[]"),
        ("localhost", Family::V4, "[127.0.0.1]"),
        ("LocalHost.", Family::V6, "[::1]"),
        ("app.localhost", Family::V4, "[127.0.0.1]"),
    ] {
        let host = Host::parse(host).unwrap();
        let found = resolver.resolve(&host, family).await.unwrap();
        assert_eq!(format!("{found:?}"), expected, "{host}");
    }
    assert_eq!(fake.asked(), 0);
}

#[test]
fn a_lookup_that_died_with_its_runtime_is_made_again() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
    };
    let fake = Fake::new(found("1.1.1.1", 10));
    fake.close();
    let resolver = Resolver::new(fake.clone());
    let first = runtime();
    first.block_on(async {
        let waiting = tokio::spawn({
            let resolver = resolver.clone();
            async move { resolve(&resolver).await }
        });
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        assert_eq!(fake.asked(), 1);
        waiting.abort();
    });
    drop(first);
    fake.gate.add_permits(1);
    let answer = runtime().block_on(resolve(&resolver));
    assert_eq!(answer.unwrap(), "1.1.1.1");
    assert_eq!(fake.asked(), 2);
}
