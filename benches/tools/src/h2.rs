//! As much HTTP/2 as it takes to make one request on a connection and then be idle.

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const RST_STREAM: u8 = 3;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;

/// Preface, empty SETTINGS and a GET on stream 1 (RFC 9113, 3.4 and 8.3.1).
#[must_use]
pub fn opening(host: &str, path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x87]; // :method GET and :scheme https, from the static table
    literal(&mut block, 4, path);
    literal(&mut block, 1, host);
    let mut bytes = PREFACE.to_vec();
    frame(&mut bytes, SETTINGS, 0, 0, &[]);
    frame(&mut bytes, 1, 0x4 | END_STREAM, 1, &block); // HEADERS with END_HEADERS
    bytes
}

/// What the server said so far.
#[derive(Debug, Default)]
pub struct Reader {
    bytes: Vec<u8>,
    done: bool,
}

impl Reader {
    /// Takes bytes; gives what must be sent back (acknowledged settings).
    ///
    /// # Errors
    /// The server refused the stream or the connection.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        self.bytes.extend_from_slice(bytes);
        let mut reply = Vec::new();
        while let Some(&[a, b, c, kind, flags, s0, s1, s2, s3]) = self.bytes.first_chunk() {
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
            if self.bytes.len() < 9 + length {
                break;
            }
            self.bytes.drain(..9 + length);
            match kind {
                SETTINGS if flags & ACK == 0 => frame(&mut reply, SETTINGS, ACK, 0, &[]),
                GOAWAY | RST_STREAM => return Err(format!("the server sent frame {kind}")),
                0 | 1 if stream == 1 && flags & END_STREAM != 0 => self.done = true,
                _ => {}
            }
        }
        Ok(reply)
    }

    /// Whether the response has come to its end.
    #[must_use]
    pub fn done(&self) -> bool {
        self.done
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// A literal field without indexing whose name is in the static table (RFC 7541, 6.2.2); values here are short.
fn literal(block: &mut Vec<u8>, index: u8, value: &str) {
    let length = u8::try_from(value.len()).unwrap_or(0).min(126);
    block.extend_from_slice(&[index, length]);
    block.extend_from_slice(
        value
            .as_bytes()
            .get(..usize::from(length))
            .unwrap_or_default(),
    );
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn settings_are_acknowledged_and_the_end_is_seen() {
        let mut bytes = Vec::new();
        frame(&mut bytes, SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]);
        frame(&mut bytes, 1, 4, 1, &[0x88]);
        frame(&mut bytes, 0, END_STREAM, 1, b"body");
        let mut reader = Reader::default();
        let mut reply = Vec::new();
        for byte in bytes {
            assert!(!reader.done());
            reply.extend(reader.feed(&[byte]).unwrap());
        }
        assert!(reader.done());
        assert_eq!(reply, [0, 0, 0, SETTINGS, ACK, 0, 0, 0, 0]);
    }

    #[test]
    fn refusals_are_errors() {
        let mut bytes = Vec::new();
        frame(&mut bytes, GOAWAY, 0, 0, &[0; 8]);
        assert!(Reader::default().feed(&bytes).is_err());
    }

    #[test]
    fn the_opening_holds_name_and_path() {
        let bytes = opening("bench.test", "/o/1k");
        assert!(bytes.starts_with(PREFACE));
        assert!(bytes.ends_with(b"\x04\x05/o/1k\x01\x0abench.test"));
    }
}
