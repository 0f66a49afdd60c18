//! The chunked transfer coding (RFC 9112 §7.1), strictly.

use bytes::{Buf, Bytes, BytesMut};

use crate::head::{Refusal, is_field_value, is_forbidden_trailer, is_token};

/// How large a trailer section may be, its empty line included.
const MAX_TRAILERS: usize = 8 * 1024;
const MAX_TRAILER_FIELDS: usize = 64;

/// What [`ChunkedDecoder::decode`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Bytes of the body, at least one.
    Data(Bytes),
    /// The input is used up and the body goes on.
    More,
    /// The body and its trailers are over; what is left of the input is the next message's.
    End,
}

/// Decodes a chunked body piece by piece.
///
/// Refused beside what the grammar excludes: chunk extensions (nobody uses them, and recipients differ in where they end), bare LF,
/// sizes that do not fit 64 bits, more than 16 digits, and trailer fields about framing, routing or the connection.
/// Trailers are checked and dropped: they are not merged into the head (RFC 9110 §6.5.1), and no request needs them here.
#[derive(Clone, Debug, Default)]
pub struct ChunkedDecoder {
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Size { size: u64, digits: u8 },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    Trailers { seen: usize, fields: usize },
    Done,
}

impl Default for State {
    fn default() -> Self {
        Self::Size { size: 0, digits: 0 }
    }
}

impl ChunkedDecoder {
    /// Whether the body is over.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Takes what it can from `input`.
    ///
    /// # Errors
    /// Status 400 when the framing is wrong, 431 when the trailers are too large. The connection cannot be used any more.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Chunk, Refusal> {
        loop {
            match &mut self.state {
                State::Data { left } => {
                    if input.is_empty() {
                        return Ok(Chunk::More);
                    }
                    let take = usize::try_from(*left)
                        .unwrap_or(usize::MAX)
                        .min(input.len());
                    *left -= take as u64;
                    if *left == 0 {
                        self.state = State::DataCr;
                    }
                    return Ok(Chunk::Data(input.split_to(take).freeze()));
                }
                State::Trailers { seen, fields } => {
                    let Some(lf) = memchr::memchr(b'\n', input) else {
                        // The line's start stays in the input until its end has come, so it is what counts.
                        return if seen.saturating_add(input.len()) > MAX_TRAILERS {
                            Err(TRAILERS_TOO_LARGE)
                        } else {
                            Ok(Chunk::More)
                        };
                    };
                    *seen = seen.saturating_add(lf).saturating_add(1);
                    *fields += 1;
                    if *seen > MAX_TRAILERS || *fields > MAX_TRAILER_FIELDS {
                        return Err(TRAILERS_TOO_LARGE);
                    }
                    let line = input.split_to(lf + 1);
                    match line.get(..lf).and_then(<[u8]>::split_last) {
                        Some((b'\r', [])) => self.state = State::Done,
                        Some((b'\r', field)) => check_trailer(field)?,
                        _ => return Err(Refusal::bad("bare LF in the trailers")),
                    }
                }
                State::Done => return Ok(Chunk::End),
                _ => {
                    let Some(byte) = input.first().copied() else {
                        return Ok(Chunk::More);
                    };
                    input.advance(1);
                    self.step(byte)?;
                }
            }
        }
    }

    /// One byte of what stands around the data.
    fn step(&mut self, byte: u8) -> Result<(), Refusal> {
        self.state = match (&self.state, byte) {
            (State::Size { size, digits }, byte) if byte.is_ascii_hexdigit() => {
                // 16 digits are 64 bits; leading zeros beyond that have no honest use.
                if *digits >= 16 {
                    return Err(Refusal::bad("chunk size is too large"));
                }
                let digit = match byte {
                    b'0'..=b'9' => byte - b'0',
                    b'a'..=b'f' => byte - b'a' + 10,
                    _ => byte - b'A' + 10,
                };
                State::Size {
                    size: (*size << 4) | u64::from(digit),
                    digits: digits + 1,
                }
            }
            (State::Size { size, digits: 1.. }, b'\r') => State::SizeLf { size: *size },
            (State::Size { digits: 1.., .. }, b';' | b' ' | b'\t') => {
                return Err(Refusal::bad("chunk extension"));
            }
            (State::Size { .. }, _) => return Err(Refusal::bad("chunk size is not a number")),
            (State::SizeLf { size: 0 }, b'\n') => State::Trailers { seen: 0, fields: 0 },
            (State::SizeLf { size }, b'\n') => State::Data { left: *size },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::default(),
            _ => return Err(Refusal::bad("chunk does not end where its size says")),
        };
        Ok(())
    }
}

const TRAILERS_TOO_LARGE: Refusal = Refusal::new(431, "trailers too large");

fn check_trailer(line: &[u8]) -> Result<(), Refusal> {
    let Some(colon) = memchr::memchr(b':', line) else {
        return Err(Refusal::bad("trailer line without a colon"));
    };
    let (name, value) = line.split_at(colon);
    if !is_token(name) || !is_field_value(value) {
        return Err(Refusal::bad("malformed trailer"));
    }
    if is_forbidden_trailer(name) {
        return Err(Refusal::bad("field that may not be a trailer"));
    }
    Ok(())
}

/// The longest chunk head: 16 digits and CRLF.
pub(super) fn chunk_head(len: usize) -> impl AsRef<[u8]> {
    struct ChunkHead {
        bytes: [u8; 20],
        len: usize,
    }
    impl AsRef<[u8]> for ChunkHead {
        fn as_ref(&self) -> &[u8] {
            self.bytes.get(..self.len).unwrap_or_default()
        }
    }
    use std::io::Write;
    let mut head = ChunkHead {
        bytes: [0; 20],
        len: 0,
    };
    let mut rest = head.bytes.as_mut_slice();
    let room = rest.len();
    // 16 digits and two bytes fit 20, so the write does not fail.
    let _ = write!(rest, "{len:x}\r\n");
    head.len = room - rest.len();
    head
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `wire` in the given pieces; the body and what is left after it.
    fn run<'a>(
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(Vec<u8>, bool, Vec<u8>), Refusal> {
        let mut decoder = ChunkedDecoder::default();
        let mut input = BytesMut::new();
        let mut body = Vec::new();
        for piece in pieces {
            input.extend_from_slice(piece);
            while let Chunk::Data(data) = decoder.decode(&mut input)? {
                assert!(!data.is_empty());
                body.extend_from_slice(&data);
            }
        }
        Ok((body, decoder.is_done(), input.to_vec()))
    }

    fn encode(chunks: &[Vec<u8>], trailers: &[u8]) -> Vec<u8> {
        let mut wire = Vec::new();
        for chunk in chunks {
            wire.extend_from_slice(chunk_head(chunk.len()).as_ref());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"0\r\n");
        wire.extend_from_slice(trailers);
        wire.extend_from_slice(b"\r\n");
        wire
    }

    #[test]
    fn whole_bodies() {
        let (body, done, rest) =
            run([b"5\r\nhello\r\n0A\r\n0123456789\r\n0\r\n\r\nGET /".as_slice()]).unwrap();
        assert_eq!(
            (body.as_slice(), done, rest.as_slice()),
            (b"hello0123456789".as_slice(), true, b"GET /".as_slice())
        );
    }

    #[test]
    fn refused() {
        for (wire, reason) in [
            ("5;x=y\r\nhello\r\n0\r\n\r\n", "chunk extension"),
            ("5 \r\nhello\r\n0\r\n\r\n", "chunk extension"),
            ("5\nhello\r\n0\r\n\r\n", "chunk size is not a number"),
            ("\r\nhello\r\n0\r\n\r\n", "chunk size is not a number"),
            ("-5\r\nhello\r\n", "chunk size is not a number"),
            ("+5\r\nhello\r\n", "chunk size is not a number"),
            ("0x5\r\nhello\r\n", "chunk size is not a number"),
            ("10000000000000000\r\n", "chunk size is too large"),
            ("00000000000000005\r\nhello", "chunk size is too large"),
            ("5\r\nhello!\r\n", "chunk does not end where its size says"),
            (
                "5\r\nhello\n0\r\n\r\n",
                "chunk does not end where its size says",
            ),
            ("5\r\rhello", "chunk does not end where its size says"),
            ("0\r\nx: y\n\r\n", "bare LF in the trailers"),
            ("0\r\n\n", "bare LF in the trailers"),
            ("0\r\nx\r\n\r\n", "trailer line without a colon"),
            ("0\r\nx : y\r\n\r\n", "malformed trailer"),
            ("0\r\n x: y\r\n\r\n", "malformed trailer"),
            ("0\r\nx: \0\r\n\r\n", "malformed trailer"),
            (
                "0\r\nContent-Length: 5\r\n\r\n",
                "field that may not be a trailer",
            ),
            ("0\r\nHost: b\r\n\r\n", "field that may not be a trailer"),
        ] {
            match run([wire.as_bytes()]) {
                Err(refusal) => assert_eq!(refusal.reason, reason, "{wire:?}"),
                Ok(body) => panic!("{wire:?} was taken: {body:?}"),
            }
        }
        let many = format!("0\r\n{}\r\n", "a: b\r\n".repeat(65));
        assert_eq!(run([many.as_bytes()]).unwrap_err().status, 431);
        let long = format!("0\r\na: {}", "b".repeat(9000));
        assert_eq!(run([long.as_bytes()]).unwrap_err().status, 431);
    }

    #[test]
    fn every_split_point() {
        let wire = encode(
            &[
                b"hello".to_vec(),
                vec![b'x'; 300],
                b"\r\n0\r\n\r\n".to_vec(),
            ],
            b"x-sum: 1\r\n",
        );
        let whole = run([wire.as_slice()]).unwrap();
        assert!(whole.1);
        for split in 0..=wire.len() {
            let (a, b) = wire.split_at(split);
            assert_eq!(run([a, b]).unwrap(), whole, "split at {split}");
        }
        assert_eq!(run(wire.chunks(1)).unwrap(), whole);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 0..8),
            step in 1usize..64,
            after in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut wire = encode(&chunks, b"");
            wire.extend_from_slice(&after);
            let (body, done, rest) = run(wire.chunks(step)).unwrap();
            prop_assert_eq!(body, chunks.concat());
            prop_assert!(done);
            prop_assert_eq!(rest, after);
        }

        #[test]
        fn never_panics(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6)) {
            let _ = run(pieces.iter().map(Vec::as_slice));
        }
    }
}
