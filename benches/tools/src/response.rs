//! Reading HTTP/1.1 responses, one at a time, as far as a load generator must.

/// The response that a connection is waiting for.
#[derive(Debug, Default)]
pub struct Response {
    head: Vec<u8>,
    /// Bytes of the body still to come; none before the head is whole.
    left: Option<u64>,
    status: u16,
    closes: bool,
}

/// What a piece of bytes did.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// More must come.
    More,
    /// The response is whole.
    Done,
}

const HEAD_LIMIT: usize = 64 * 1024;

impl Response {
    /// Takes bytes as they came.
    ///
    /// # Errors
    /// The bytes are no response that this understands: chunked, without a length, too long a head, or more than was asked for.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<Progress, String> {
        if self.left.is_none() {
            let old = self.head.len();
            self.head.extend_from_slice(bytes);
            let from = old.saturating_sub(3);
            let Some(end) = find(self.head.get(from..).unwrap_or_default(), b"\r\n\r\n") else {
                if self.head.len() > HEAD_LIMIT {
                    return Err("a response's head is longer than 64 KiB".to_owned());
                }
                return Ok(Progress::More);
            };
            let length = from + end + 4;
            bytes = bytes.get(length - old..).unwrap_or_default();
            self.head.truncate(length);
            self.read_head()?;
        }
        let left = self.left.unwrap_or_default();
        let came = bytes.len() as u64;
        if came > left {
            return Err("bytes behind the end of a response".to_owned());
        }
        self.left = Some(left - came);
        Ok(if left == came {
            Progress::Done
        } else {
            Progress::More
        })
    }

    /// The status of a response whose head has come.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether the server said that it closes the connection.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.closes
    }

    /// Makes ready for the next response, keeping the buffer.
    pub fn reset(&mut self) {
        self.head.clear();
        self.left = None;
        self.status = 0;
        self.closes = false;
    }

    fn read_head(&mut self) -> Result<(), String> {
        let text = String::from_utf8_lossy(&self.head);
        let mut lines = text.split("\r\n");
        let status = lines.next().unwrap_or_default();
        self.status = status
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5))
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| format!("no status line: {status:?}"))?;
        let mut length = None;
        for line in lines {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok();
            } else if name.eq_ignore_ascii_case("connection") {
                self.closes = value.trim().eq_ignore_ascii_case("close");
            }
        }
        self.left = match (self.status, length) {
            (204 | 304, _) => Some(0),
            (_, Some(length)) => Some(length),
            (_, None) => {
                return Err(format!(
                    "status {}: no Content-Length, which the objects here all have",
                    self.status
                ));
            }
        };
        Ok(())
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn in_any_pieces() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nConnection: close\r\n\r\nhello";
        for size in 1..=whole.len() {
            let mut response = Response::default();
            let pieces: Vec<&[u8]> = whole.chunks(size).collect();
            for (at, piece) in pieces.iter().enumerate() {
                let expected = if at + 1 == pieces.len() {
                    Progress::Done
                } else {
                    Progress::More
                };
                assert_eq!(response.feed(piece), Ok(expected), "pieces of {size}");
            }
            assert_eq!(response.status(), 200);
            assert!(response.closes());
        }
    }

    #[test]
    fn not_modified_has_no_body() {
        let mut response = Response::default();
        assert_eq!(
            response.feed(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n"),
            Ok(Progress::Done)
        );
        response.reset();
        assert_eq!(
            response.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
            Ok(Progress::Done)
        );
    }

    #[test]
    fn refused() {
        let feed = |bytes: &[u8]| Response::default().feed(bytes);
        assert!(feed(b"SSH-2.0\r\n\r\n").is_err());
        assert!(feed(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(feed(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab").is_err());
        assert!(feed(&vec![b'a'; HEAD_LIMIT + 1]).is_err());
    }
}
