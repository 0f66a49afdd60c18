//! The limit: an epoll loop that answers every request with the same bytes.
//!
//! It reads no method, no path and no field; it looks for the empty line that ends a head, no more. What a proxy needs beyond its figures
//! is the price of being a proxy.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const LISTENER: Token = Token(usize::MAX);

struct Client {
    socket: TcpStream,
    /// How much of `\r\n\r\n` the last bytes were.
    matched: usize,
    /// Bytes of answers still owed.
    owed: usize,
}

/// Serves until it is killed. Says `listening ADDRESS` on stdout once it does.
///
/// # Errors
/// The address cannot be bound, or epoll fails.
pub fn serve(address: SocketAddr, body: usize) -> io::Result<()> {
    let answer = answer(body);
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(address)?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    println!("listening {}", listener.local_addr()?);
    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut events = Events::with_capacity(1024);
    let mut scratch = vec![0; 16 * 1024];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut socket, _)) = listener.accept() {
                    socket.set_nodelay(true)?;
                    let at = free.pop().unwrap_or(clients.len());
                    poll.registry().register(
                        &mut socket,
                        Token(at),
                        Interest::READABLE | Interest::WRITABLE,
                    )?;
                    let client = Some(Client {
                        socket,
                        matched: 0,
                        owed: 0,
                    });
                    match clients.get_mut(at) {
                        Some(slot) => *slot = client,
                        None => clients.push(client),
                    }
                }
                continue;
            }
            let at = event.token().0;
            let Some(slot) = clients.get_mut(at) else {
                continue;
            };
            let Some(client) = slot else { continue };
            if client.turn(&answer, &mut scratch).is_err() {
                *slot = None;
                free.push(at);
            }
        }
    }
}

fn answer(body: usize) -> Vec<u8> {
    let mut bytes =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {body}\r\n\r\n")
            .into_bytes();
    bytes.resize(bytes.len() + body, b'x');
    bytes
}

impl Client {
    /// Answers what has come; an error means that the client is gone.
    fn turn(&mut self, answer: &[u8], scratch: &mut [u8]) -> io::Result<()> {
        self.write(answer)?;
        loop {
            let count = match self.socket.read(scratch) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let (heads, matched) =
                count_heads(scratch.get(..count).unwrap_or_default(), self.matched);
            self.matched = matched;
            self.owed += heads * answer.len();
            self.write(answer)?;
            // A short read means that the socket is empty: no second call to hear "would block".
            if count < scratch.len() {
                return Ok(());
            }
        }
    }

    fn write(&mut self, answer: &[u8]) -> io::Result<()> {
        while self.owed > 0 {
            let rest = match self.owed % answer.len() {
                0 => answer.len(),
                part => part,
            };
            match self
                .socket
                .write(answer.get(answer.len() - rest..).unwrap_or_default())
            {
                Ok(count) => self.owed -= count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// How many heads end in `bytes`, when `matched` bytes of an end came before; and how many bytes of an end the last ones are.
fn count_heads(bytes: &[u8], mut matched: usize) -> (usize, usize) {
    const END: &[u8; 4] = b"\r\n\r\n";
    let mut heads = 0;
    for &byte in bytes {
        if END.get(matched) == Some(&byte) {
            matched += 1;
        } else {
            matched = usize::from(byte == b'\r');
        }
        if matched == END.len() {
            heads += 1;
            matched = 0;
        }
    }
    (heads, matched)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_counted_across_pieces() {
        assert_eq!(count_heads(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0), (1, 0));
        assert_eq!(count_heads(b"a\r\n\r\nb\r\n\r\nc\r\n", 0), (2, 2));
        assert_eq!(count_heads(b"\r\n", 2), (1, 0));
        assert_eq!(count_heads(b"\r\r\n\r\n", 0), (1, 0));
    }

    #[test]
    fn the_answer_is_as_long_as_it_says() {
        let bytes = answer(1024);
        assert!(
            bytes
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
                .is_some_and(|at| bytes.len() - at - 4 == 1024)
        );
    }
}
