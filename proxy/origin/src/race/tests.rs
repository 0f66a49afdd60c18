#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::HashMap;
use std::future::{pending, ready};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::sleep;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Rule {
    Answer,
    Refuse,
    Vanish,
}

/// Answers by a table, without waiting for the network: the clock stands still in these tests.
#[derive(Debug)]
struct Fake {
    listener: std::net::TcpListener,
    rules: HashMap<IpAddr, Rule>,
    start: Instant,
    log: Mutex<Vec<(String, u128)>>,
}

#[async_trait]
impl Dial for Fake {
    async fn dial(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let at = self.start.elapsed().as_millis();
        self.log.lock().push((address.ip().to_string(), at));
        match self.rules[&address.ip()] {
            Rule::Vanish => pending().await,
            Rule::Refuse => Err(io::ErrorKind::ConnectionRefused.into()),
            Rule::Answer => {
                let stream = std::net::TcpStream::connect(self.listener.local_addr()?)?;
                stream.set_nonblocking(true)?;
                TcpStream::from_std(stream)
            }
        }
    }
}

#[derive(Default)]
struct Notes {
    last: Vec<IpAddr>,
    failed: Mutex<Vec<String>>,
}

impl Judge for Notes {
    fn is_last(&self, ip: IpAddr) -> bool {
        self.last.contains(&ip)
    }

    fn failed(&self, ip: IpAddr) {
        self.failed.lock().push(ip.to_string());
    }
}

struct Play {
    fake: Arc<Fake>,
    notes: Notes,
    guard: Guard,
}

fn play(rules: &[(&str, Rule)]) -> Play {
    let rules = rules.iter().map(|(ip, rule)| (ip.parse().unwrap(), *rule));
    Play {
        fake: Arc::new(Fake {
            listener: std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
            rules: rules.collect(),
            start: Instant::now(),
            log: Mutex::default(),
        }),
        notes: Notes::default(),
        guard: Guard::default(),
    }
}

fn ips(list: &[&str]) -> Resolved {
    Ok(list.iter().map(|ip| ip.parse().unwrap()).collect())
}

async fn after(millis: u64, answer: Resolved) -> Resolved {
    sleep(Duration::from_millis(millis)).await;
    answer
}

impl Play {
    async fn run(
        &self,
        v6: impl Future<Output = Resolved>,
        v4: impl Future<Output = Resolved>,
    ) -> Result<Won, FetchError> {
        let dial: Arc<dyn Dial> = Arc::clone(&self.fake) as Arc<dyn Dial>;
        let race = Race {
            dial: &dial,
            guard: &self.guard,
            judge: &self.notes,
            port: 80,
            rotation: 0,
            deadline: Instant::now() + Duration::from_secs(3),
        };
        race.run(v6, v4).await
    }

    fn log(&self) -> Vec<(String, u128)> {
        self.fake.log.lock().clone()
    }
}

fn log(entries: &[(&str, u128)]) -> Vec<(String, u128)> {
    let owned = |(ip, at): &(&str, u128)| ((*ip).to_owned(), *at);
    entries.iter().map(owned).collect()
}

const A6: &str = "2a00::1";
const B6: &str = "2a00::2";
const A4: &str = "1.1.1.1";
const B4: &str = "1.1.1.2";

#[tokio::test(start_paused = true)]
async fn families_take_turns_a_quarter_second_apart() {
    use Rule::{Answer, Vanish};
    let play = play(&[(A6, Vanish), (B6, Vanish), (A4, Vanish), (B4, Answer)]);
    let won = play.run(ready(ips(&[A6, B6])), ready(ips(&[A4, B4]))).await;
    assert_eq!(won.unwrap().address.ip().to_string(), B4);
    let expected = log(&[(A6, 0), (A4, 250), (B6, 500), (B4, 750)]);
    assert_eq!(play.log(), expected);
    // Losing a race is no failure.
    assert!(play.notes.failed.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_starts_the_next_at_once() {
    let play = play(&[(A6, Rule::Refuse), (A4, Rule::Answer)]);
    let won = play.run(ready(ips(&[A6])), ready(ips(&[A4]))).await;
    assert_eq!(won.unwrap().address.ip().to_string(), A4);
    assert_eq!(play.log(), log(&[(A6, 0), (A4, 0)]));
    assert_eq!(*play.notes.failed.lock(), [A6]);
}

#[tokio::test(start_paused = true)]
async fn ipv4_waits_a_moment_for_ipv6() {
    use Rule::{Answer, Vanish};
    // In time: IPv6 goes first.
    let play1 = play(&[(A6, Answer), (A4, Answer)]);
    let won = play1.run(after(40, ips(&[A6])), ready(ips(&[A4]))).await;
    assert_eq!(won.unwrap().address.ip().to_string(), A6);
    assert_eq!(play1.log(), log(&[(A6, 40)]));
    // Too late: IPv4 goes first, IPv6 second.
    let play2 = play(&[(A6, Answer), (A4, Vanish)]);
    let won = play2.run(after(100, ips(&[A6])), ready(ips(&[A4]))).await;
    assert_eq!(won.unwrap().address.ip().to_string(), A6);
    assert_eq!(play2.log(), log(&[(A4, 50), (A6, 300)]));
    // No IPv6 at all, said late.
    let play3 = play(&[(A4, Answer)]);
    let won = play3.run(after(20, ips(&[])), ready(ips(&[A4]))).await;
    assert_eq!(won.unwrap().resolved, Duration::from_millis(20));
    assert_eq!(play3.log(), log(&[(A4, 20)]));
    // IPv6 first, IPv4 never: nothing waits for it.
    let play4 = play(&[(A6, Answer)]);
    assert!(play4.run(ready(ips(&[A6])), pending()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_late_is_used_when_all_others_failed() {
    let play = play(&[(A6, Rule::Refuse), (A4, Rule::Answer)]);
    let won = play.run(ready(ips(&[A6])), after(900, ips(&[A4]))).await;
    assert_eq!(won.unwrap().address.ip().to_string(), A4);
    assert_eq!(play.log(), log(&[(A6, 0), (A4, 900)]));
}

#[tokio::test(start_paused = true)]
async fn addresses_in_back_off_come_last() {
    use Rule::{Answer, Vanish};
    let mut play = play(&[(A6, Vanish), (A4, Vanish), (B4, Answer)]);
    play.notes.last = vec![A6.parse().unwrap(), A4.parse().unwrap()];
    let won = play.run(ready(ips(&[A6])), ready(ips(&[A4, B4]))).await;
    assert_eq!(won.unwrap().address.ip().to_string(), B4);
    assert_eq!(play.log(), log(&[(B4, 0)]));
}

#[tokio::test(start_paused = true)]
async fn what_is_prohibited_is_never_dialled() {
    let play = play(&[(A4, Rule::Answer)]);
    let error = play.run(ready(ips(&["::1"])), ready(ips(&["10.0.0.1"])));
    let error = error.await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::DestinationIpProhibited);
    assert!(play.log().is_empty());
    // One of several: the others are used.
    let won = play.run(ready(ips(&[])), ready(ips(&["127.0.0.1", A4])));
    assert_eq!(won.await.unwrap().address.ip().to_string(), A4);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_it_and_blames_what_was_under_way() {
    let play = play(&[(A6, Rule::Vanish), (A4, Rule::Vanish)]);
    let start = Instant::now();
    let error = play.run(ready(ips(&[A6])), ready(ips(&[A4]))).await;
    assert_eq!(error.unwrap_err().kind, ErrorKind::ConnectionTimeout);
    assert_eq!(start.elapsed(), Duration::from_secs(3));
    assert_eq!(*play.notes.failed.lock(), [A6, A4]);
}

#[tokio::test(start_paused = true)]
async fn failures_say_what_happened() {
    let play = play(&[(A4, Rule::Refuse)]);
    let gone = || Err(LookupError::NoSuchName { ttl: None });
    let error = play.run(ready(gone()), ready(gone())).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::DnsError);
    assert_eq!(error.rcode(), Some("NXDOMAIN"));
    let error = play
        .run(ready(ips(&[])), ready(ips(&[])))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::DnsError);
    let error = play.run(pending(), pending()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::DnsTimeout);
    let slow = Err(LookupError::Timeout);
    let error = play.run(ready(slow), ready(ips(&[]))).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::DnsTimeout);
    let error = play
        .run(ready(gone()), ready(ips(&[A4])))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::ConnectionRefused);
    assert_eq!(error.address.unwrap().to_string(), "1.1.1.1:80");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_addresses_is_cut() {
    let all: Vec<String> = (0..200).map(|n| format!("1.1.2.{n}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let rules: Vec<(&str, Rule)> = all.iter().map(|ip| (*ip, Rule::Refuse)).collect();
    let play = play(&rules);
    assert!(play.run(ready(ips(&[])), ready(ips(&all))).await.is_err());
    assert_eq!(play.log().len(), MAX_ADDRESSES);
}
