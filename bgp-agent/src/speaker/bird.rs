//! BIRD as the speaker: the agent writes an include file and has BIRD reconfigure itself.

use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
};

use super::{
    Close, Peer, Promise, Route, Speaker, Table,
    relay::{Outlet, Relay},
};

/// A line of BIRD's is never longer, nor an answer of more lines.
const LONGEST: u64 = 64 * 1024;

/// Speaks through BIRD.
#[derive(Debug)]
pub struct Bird(Relay);

impl Bird {
    /// `asn` is what prepends prepend. `patience`: see `on_exit = "keep"`. Must be called within a
    /// tokio runtime.
    pub fn start(socket: PathBuf, file: PathBuf, asn: u32, patience: Duration) -> Self {
        let name = format!("bird at {}", socket.display());
        Self(Relay::start(name, Socket { socket, file, asn }, patience))
    }
}

impl Speaker for Bird {
    fn say(&self, table: Arc<Table>) {
        self.0.mouth.say(table);
    }

    fn flushed(&self) -> Promise<'_, ()> {
        Box::pin(self.0.flushed())
    }

    fn peers(&self) -> Vec<Peer> {
        vec![self.0.peer()]
    }

    /// BIRD's sessions are its own; there is nothing to end but the task.
    fn close(&self, _: Close) -> Promise<'_, ()> {
        self.0.stop();
        Box::pin(std::future::ready(()))
    }
}

struct Socket {
    socket: PathBuf,
    file: PathBuf,
    asn: u32,
}

impl Outlet for Socket {
    fn put<'a>(&'a mut self, table: &'a Table) -> Promise<'a, io::Result<u64>> {
        Box::pin(async move {
            let text = include(table, self.asn);
            let known = tokio::fs::read_to_string(&self.file).await;
            if !known.is_ok_and(|known| known == text) {
                replace(&self.file, &text).await?;
            }
            // Even an unchanged file: BIRD may never have been told of it.
            configure(&self.socket).await?;
            Ok(1)
        })
    }
}

/// Written beside and moved over: BIRD never sees half of it.
async fn replace(file: &Path, text: &str) -> io::Result<()> {
    let beside = file.with_extension("new");
    tokio::fs::write(&beside, text).await?;
    tokio::fs::rename(&beside, file).await
}

async fn configure(socket: &Path) -> io::Result<()> {
    let mut stream = BufReader::new(UnixStream::connect(socket).await?);
    answer(&mut stream).await?;
    stream.get_mut().write_all(b"configure\n").await?;
    answer(&mut stream).await
}

/// Reads an answer: lines of `CODE-TEXT`, the last of them `CODE TEXT`; 8000 and above are errors.
async fn answer(stream: &mut BufReader<UnixStream>) -> io::Result<()> {
    use tokio::io::AsyncReadExt;
    let mut error = String::new();
    let mut lines = stream.take(LONGEST);
    let mut line = String::new();
    loop {
        line.clear();
        if lines.read_line(&mut line).await? == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "BIRD closed its control socket",
            ));
        }
        let code: Option<u32> = line.get(..4).and_then(|code| code.parse().ok());
        let text = line.get(5..).unwrap_or_default().trim();
        if code.is_some_and(|code| code >= 8000) {
            text.clone_into(&mut error);
        }
        if code.is_some() && line.as_bytes().get(4) == Some(&b' ') {
            return if error.is_empty() {
                Ok(())
            } else {
                Err(io::Error::other(format!("BIRD refuses: {error}")))
            };
        }
    }
}

/// The include file: one static protocol for each family, even without routes, so that filters that
/// name them stay valid.
fn include(table: &Table, asn: u32) -> String {
    let mut text = "# Written by anypop-bgp; what is changed here is lost.\n".to_owned();
    for (name, channel, v4) in [("anypop4", "ipv4", true), ("anypop6", "ipv6", false)] {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "protocol static {name} {{\n  {channel};");
        for (prefix, route) in table.iter().filter(|(p, _)| p.addr().is_ipv4() == v4) {
            let attributes = attributes(route, asn);
            let _ = writeln!(text, "  route {prefix} blackhole{attributes};");
        }
        text.push_str("}\n");
    }
    text
}

fn attributes(route: &Route, asn: u32) -> String {
    let mut text = String::new();
    for community in &route.communities {
        let (high, low) = (community.0 >> 16, community.0 & 0xFFFF);
        let _ = write!(text, " bgp_community.add(({high},{low}));");
    }
    for community in &route.large_communities {
        let [a, b, c] = community.0;
        let _ = write!(text, " bgp_large_community.add(({a},{b},{c}));");
    }
    for _ in 0..route.prepend {
        let _ = write!(text, " bgp_path.prepend({asn});");
    }
    if let Some(med) = route.med {
        let _ = write!(text, " bgp_med = {med};");
    }
    if text.is_empty() {
        text
    } else {
        format!(" {{{text} }}")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;
    use crate::document::{Community, LargeCommunity, NextHop};

    fn table() -> Table {
        let route = Route {
            next_hop: NextHop::Own,
            communities: vec![Community(64512 << 16 | 100), Community::GRACEFUL_SHUTDOWN],
            large_communities: vec![LargeCommunity([64512, 1, 2])],
            prepend: 2,
            med: Some(5),
            local_pref: 100,
        };
        let plain = Route {
            communities: Vec::new(),
            large_communities: Vec::new(),
            prepend: 0,
            med: None,
            ..route.clone()
        };
        Table::from([
            ("203.0.113.10/32".parse().unwrap(), route),
            ("2001:db8::10/128".parse().unwrap(), plain),
        ])
    }

    #[test]
    fn the_include_file_has_every_attribute() {
        assert_eq!(
            include(&table(), 64512),
            "# Written by anypop-bgp; what is changed here is lost.\n\
             protocol static anypop4 {\n  ipv4;\n  route 203.0.113.10/32 blackhole { \
             bgp_community.add((64512,100)); bgp_community.add((65535,0)); \
             bgp_large_community.add((64512,1,2)); bgp_path.prepend(64512); \
             bgp_path.prepend(64512); bgp_med = 5; };\n}\n\
             protocol static anypop6 {\n  ipv6;\n  route 2001:db8::10/128 blackhole;\n}\n"
        );
    }

    #[tokio::test]
    async fn a_refusal_is_an_error_and_the_file_is_there_before_bird_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("bird.ctl");
        let file = folder.path().join("anypop.conf");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let seen = file.clone();
        let bird = tokio::spawn(async move {
            for reply in [
                "0002-Reading configuration\n0003 Reconfigured\n",
                "0002-Reading\n8002 anypop.conf:3:1 syntax error\n",
            ] {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream
                    .write_all(b"0001 BIRD 2.0.12 ready.\n")
                    .await
                    .unwrap();
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                stream.read_line(&mut line).await.unwrap();
                assert_eq!(line, "configure\n");
                assert!(seen.exists());
                stream.get_mut().write_all(reply.as_bytes()).await.unwrap();
            }
        });
        let mut outlet = Socket {
            socket,
            file,
            asn: 64512,
        };
        let table = table();
        outlet.put(&table).await.unwrap();
        let error = outlet.put(&table).await.unwrap_err().to_string();
        assert!(error.contains("syntax error"), "{error}");
        bird.await.unwrap();
    }
}
