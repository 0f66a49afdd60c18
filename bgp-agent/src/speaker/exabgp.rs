//! ExaBGP as the speaker: commands of its process API, on standard output or into a named pipe.

use std::{fmt::Write as _, io, path::PathBuf, sync::Arc, time::Duration};

use ipnet::IpNet;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::pipe,
};

use super::{
    Close, Peer, Promise, Route, Speaker, Table,
    relay::{Outlet, Relay},
};
use crate::document::NextHop;

/// Speaks through ExaBGP.
#[derive(Debug)]
pub struct Exabgp(Relay);

impl Exabgp {
    /// `asn` is what prepends prepend. Must be called within a tokio runtime.
    pub fn start(pipe: Option<PathBuf>, asn: u32) -> Self {
        if pipe.is_none() {
            // ExaBGP answers every command; unread, its answers would block it.
            tokio::spawn(async {
                let mut answers = [0; 4096];
                let mut input = tokio::io::stdin();
                while input.read(&mut answers).await.is_ok_and(|read| read > 0) {}
                tracing::warn!("ExaBGP has closed the agent's standard input");
            });
        }
        let name = pipe.as_ref().map_or_else(
            || "exabgp at standard output".to_owned(),
            |pipe| format!("exabgp at {}", pipe.display()),
        );
        let outlet = Commands {
            pipe,
            asn,
            known: Table::new(),
        };
        Self(Relay::start(name, outlet, Duration::ZERO))
    }
}

impl Speaker for Exabgp {
    fn say(&self, table: Arc<Table>) {
        self.0.mouth.say(table);
    }

    fn flushed(&self) -> Promise<'_, ()> {
        Box::pin(self.0.flushed())
    }

    fn peers(&self) -> Vec<Peer> {
        vec![self.0.peer()]
    }

    /// ExaBGP's sessions are its own; there is nothing to end but the task.
    fn close(&self, _: Close) -> Promise<'_, ()> {
        self.0.stop();
        Box::pin(std::future::ready(()))
    }
}

struct Commands {
    pipe: Option<PathBuf>,
    asn: u32,
    known: Table,
}

impl Outlet for Commands {
    fn put<'a>(&'a mut self, table: &'a Table) -> Promise<'a, io::Result<u64>> {
        Box::pin(async move {
            let commands = difference(&self.known, table, self.asn);
            if commands.is_empty() {
                return Ok(0);
            }
            match &self.pipe {
                None => {
                    let mut output = tokio::io::stdout();
                    output.write_all(commands.as_bytes()).await?;
                    output.flush().await?;
                }
                Some(path) => {
                    let mut pipe = pipe::OpenOptions::new().open_sender(path)?;
                    pipe.write_all(commands.as_bytes()).await?;
                }
            }
            self.known.clone_from(table);
            Ok(commands.lines().count() as u64)
        })
    }
}

/// The commands that turn one table into another: withdrawals first.
fn difference(from: &Table, to: &Table, asn: u32) -> String {
    let mut text = String::new();
    for (prefix, route) in from {
        if !to.contains_key(prefix) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "withdraw route {prefix} next-hop {}", hop(route));
        }
    }
    for (prefix, route) in to {
        if from.get(prefix) != Some(route) {
            text.push_str(&announcement(prefix, route, asn));
        }
    }
    text
}

fn announcement(prefix: &IpNet, route: &Route, asn: u32) -> String {
    let list = |items: Vec<String>| items.join(" ");
    let mut text = format!("announce route {prefix} next-hop {}", hop(route));
    if route.prepend > 0 {
        let path = vec![asn.to_string(); usize::from(route.prepend) + 1];
        let _ = write!(text, " as-path [ {} ]", list(path));
    }
    if let Some(med) = route.med {
        let _ = write!(text, " med {med}");
    }
    if !route.communities.is_empty() {
        let all = route.communities.iter().map(ToString::to_string).collect();
        let _ = write!(text, " community [ {} ]", list(all));
    }
    if !route.large_communities.is_empty() {
        let all = route
            .large_communities
            .iter()
            .map(ToString::to_string)
            .collect();
        let _ = write!(text, " large-community [ {} ]", list(all));
    }
    text.push('\n');
    text
}

fn hop(route: &Route) -> String {
    match route.next_hop {
        NextHop::Own => "self".to_owned(),
        NextHop::Address(address) => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::document::{Community, LargeCommunity};

    #[test]
    fn only_what_changed_becomes_a_command() {
        let plain = Route {
            next_hop: NextHop::Own,
            communities: Vec::new(),
            large_communities: Vec::new(),
            prepend: 0,
            med: None,
            local_pref: 100,
        };
        let full = Route {
            next_hop: NextHop::Address("192.0.2.2".parse().unwrap()),
            communities: vec![Community(1 << 16 | 2), Community::GRACEFUL_SHUTDOWN],
            large_communities: vec![LargeCommunity([1, 2, 3])],
            prepend: 1,
            med: Some(7),
            ..plain.clone()
        };
        let (a, b, c) = (
            "203.0.113.1/32".parse().unwrap(),
            "203.0.113.2/32".parse().unwrap(),
            "203.0.113.3/32".parse().unwrap(),
        );
        let from = Table::from([(a, plain.clone()), (b, plain.clone())]);
        let to = Table::from([(b, plain), (c, full)]);
        assert_eq!(
            difference(&from, &to, 64512),
            "withdraw route 203.0.113.1/32 next-hop self\n\
             announce route 203.0.113.3/32 next-hop 192.0.2.2 as-path [ 64512 64512 ] med 7 \
             community [ 1:2 65535:0 ] large-community [ 1:2:3 ]\n"
        );
        assert_eq!(difference(&to, &to, 64512), "");
    }
}
