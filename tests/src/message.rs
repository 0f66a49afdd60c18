//! Requests and responses as they are on the wire.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Header fields in the order they came, names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// The first value of `name`.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    /// All values of `name`, joined as RFC 9110 §5.3 allows.
    #[must_use]
    pub fn joined(&self, name: &str) -> String {
        let values: Vec<_> = self
            .0
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
            .collect();
        values.join(", ")
    }

    /// How many lines of `name` there are.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.0
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .count()
    }

    fn parse(lines: &[&str]) -> io::Result<Self> {
        lines
            .iter()
            .map(|line| {
                let (name, value) = line
                    .split_once(':')
                    .ok_or_else(|| bad(format!("field line without colon: {line:?}")))?;
                Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
            })
            .collect::<io::Result<_>>()
            .map(Self)
    }
}

/// A request as an origin received it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Method, as sent.
    pub method: String,
    /// Request target, as sent.
    pub target: String,
    /// Header fields.
    pub fields: Fields,
    /// The body without framing.
    pub body: Vec<u8>,
    /// The head byte for byte.
    pub head: String,
}

impl Request {
    /// The first value of a header field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.fields.first(name)
    }

    /// Path of the target, without query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// A response as a client received it.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header fields.
    pub fields: Fields,
    /// The body without framing.
    pub body: Vec<u8>,
    /// Trailer fields of a chunked body.
    pub trailers: Fields,
    /// Interim (1xx) responses that came before.
    pub interim: Vec<(u16, Fields)>,
    /// Whether the body was framed by the end of the connection.
    pub until_close: bool,
}

impl Response {
    /// The first value of a header field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.fields.first(name)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// All of `Cache-Status` (RFC 9211).
    #[must_use]
    pub fn cache_status(&self) -> String {
        self.fields.joined("cache-status")
    }

    /// Whether `Cache-Status` calls this a hit.
    #[must_use]
    pub fn is_hit(&self) -> bool {
        self.cache_status()
            .split(';')
            .any(|part| part.trim() == "hit")
    }
}

/// Bytes of a connection that were read and not yet used.
#[derive(Debug, Default)]
pub struct Buffer(Vec<u8>);

impl Buffer {
    async fn more(&mut self, io: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        self.0.reserve(16 * 1024);
        io.read_buf(&mut self.0).await
    }

    /// Everything up to and including the next `end`; `None` at a clean end of stream.
    async fn until(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        end: &[u8],
    ) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(at) = self.0.windows(end.len()).position(|w| w == end) {
                let rest = self.0.split_off(at + end.len());
                return Ok(Some(std::mem::replace(&mut self.0, rest)));
            }
            if self.more(io).await? == 0 {
                return if self.0.is_empty() {
                    Ok(None)
                } else {
                    Err(cut())
                };
            }
        }
    }

    /// Exactly `n` bytes.
    pub async fn exactly(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        n: usize,
    ) -> io::Result<Vec<u8>> {
        while self.0.len() < n {
            if self.more(io).await? == 0 {
                return Err(cut());
            }
        }
        let rest = self.0.split_off(n);
        Ok(std::mem::replace(&mut self.0, rest))
    }

    /// Everything until the stream ends.
    pub async fn rest(&mut self, io: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
        while self.more(io).await? != 0 {}
        Ok(std::mem::take(&mut self.0))
    }

    /// At least one byte, as much as is there; empty at the end of the stream.
    pub async fn some(&mut self, io: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
        if self.0.is_empty() {
            self.more(io).await?;
        }
        Ok(std::mem::take(&mut self.0))
    }

    async fn head(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
    ) -> io::Result<Option<(String, Fields, String)>> {
        let Some(head) = self.until(io, b"\r\n\r\n").await? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&head).into_owned();
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let first = lines.next().unwrap_or_default().to_owned();
        let fields = Fields::parse(&lines.collect::<Vec<_>>())?;
        Ok(Some((first, fields, text)))
    }

    async fn chunked(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
    ) -> io::Result<(Vec<u8>, Fields)> {
        let mut body = Vec::new();
        loop {
            let line = self.until(io, b"\r\n").await?.ok_or_else(cut)?;
            let line = String::from_utf8_lossy(&line);
            let size = usize::from_str_radix(line.trim_end(), 16)
                .map_err(|_| bad(format!("chunk size {line:?}")))?;
            if size == 0 {
                break;
            }
            body.extend(self.exactly(io, size).await?);
            if self.exactly(io, 2).await? != b"\r\n" {
                return Err(bad("chunk without CRLF".into()));
            }
        }
        let mut trailers = Vec::new();
        loop {
            let line = self.until(io, b"\r\n").await?.ok_or_else(cut)?;
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if line.is_empty() {
                break;
            }
            trailers.push(line);
        }
        Ok((
            body,
            Fields::parse(&trailers.iter().map(String::as_str).collect::<Vec<_>>())?,
        ))
    }

    /// The head of the next request, without its body; `None` when the peer has closed between requests.
    pub async fn request_head(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
    ) -> io::Result<Option<Request>> {
        let Some((first, fields, head)) = self.head(io).await? else {
            return Ok(None);
        };
        let mut words = first.split(' ');
        let (method, target) = (
            words.next().unwrap_or_default().to_owned(),
            words.next().unwrap_or_default().to_owned(),
        );
        Ok(Some(Request {
            method,
            target,
            fields,
            body: Vec::new(),
            head,
        }))
    }

    /// The body that belongs to `request`.
    pub async fn request_body(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        request: &Request,
    ) -> io::Result<Vec<u8>> {
        if request.fields.first("transfer-encoding").is_some() {
            Ok(self.chunked(io).await?.0)
        } else {
            self.exactly(io, length(&request.fields)?.unwrap_or(0))
                .await
        }
    }

    /// The next interim or final response head. Fails when the stream ends first.
    pub async fn response_head(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
    ) -> io::Result<Response> {
        let mut interim = Vec::new();
        loop {
            let (first, fields, _) = self.head(io).await?.ok_or_else(cut)?;
            let status = first
                .strip_prefix("HTTP/1.1 ")
                .and_then(|rest| rest.get(..3))
                .and_then(|code| code.parse::<u16>().ok())
                .ok_or_else(|| bad(format!("status line {first:?}")))?;
            if (100..200).contains(&status) && status != 101 {
                interim.push((status, fields));
                continue;
            }
            return Ok(Response {
                status,
                fields,
                interim,
                ..Response::default()
            });
        }
    }

    /// A whole response to a request made with `method`. A body that ends before its framing says so is an error.
    pub async fn response(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        method: &str,
    ) -> io::Result<Response> {
        let mut response = self.response_head(io).await?;
        let bodiless = method == "HEAD" || matches!(response.status, 101 | 204 | 304);
        if bodiless {
            return Ok(response);
        }
        if response.fields.first("transfer-encoding").is_some() {
            if response.fields.first("content-length").is_some() {
                return Err(bad("both Content-Length and Transfer-Encoding".into()));
            }
            (response.body, response.trailers) = self.chunked(io).await?;
        } else if let Some(n) = length(&response.fields)? {
            response.body = self.exactly(io, n).await?;
        } else {
            response.until_close = true;
            response.body = self.rest(io).await?;
        }
        Ok(response)
    }
}

fn length(fields: &Fields) -> io::Result<Option<usize>> {
    match fields.count("content-length") {
        0 => Ok(None),
        1 => {
            let value = fields.first("content-length").unwrap_or_default();
            value
                .parse()
                .map(Some)
                .map_err(|_| bad(format!("Content-Length {value:?}")))
        }
        _ => Err(bad("several Content-Length".into())),
    }
}

fn bad(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn cut() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the stream ended inside a message",
    )
}
