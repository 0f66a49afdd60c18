//! One direction of a stream on its way through the plugins: where the head is, which bytes wait where.

use bytes::BytesMut;

/// How a message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum End {
    /// More may come.
    #[default]
    Open,
    /// After the bytes that are here.
    Body,
    /// After the bytes that are here, and then trailers.
    Trailers,
}

/// Where the head is with respect to one plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum HeadAt {
    /// Before it.
    #[default]
    Before,
    /// It is this plugin's turn.
    Here,
    /// The plugin has seen it and paused.
    Paused,
    /// Behind it.
    Passed,
}

/// What one plugin has of one direction.
#[derive(Debug, Default)]
pub(crate) struct Station {
    pub(crate) head: HeadAt,
    /// Bytes that the plugin has not seen.
    pub(crate) input: BytesMut,
    pub(crate) end: End,
    /// The guest was told of the body's end.
    pub(crate) told_end: bool,
    /// The guest holds the body back.
    pub(crate) body_paused: bool,
    /// The guest was shown the trailers, and perhaps paused.
    pub(crate) trailers_seen: bool,
    /// Everything went on: nothing comes here any more.
    pub(crate) through: bool,
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// In the order in which the message meets the plugins; then the way out.
    pub(crate) stations: Vec<Station>,
    /// The message is nothing but a head.
    pub(crate) head_only: bool,
    /// The edge has fed the end.
    pub(crate) fed_end: bool,
    /// The head is out.
    pub(crate) released: bool,
    pub(crate) out: BytesMut,
    pub(crate) out_end: End,
    /// What Content-Length announced when the head went out.
    pub(crate) declared: Option<u64>,
    pub(crate) sent: u64,
}

impl Lane {
    pub(crate) fn new(plugins: usize) -> Self {
        Self {
            stations: (0..plugins).map(|_| Station::default()).collect(),
            ..Self::default()
        }
    }

    /// Hands `bytes` to the station at `position`, or out behind the last.
    pub(crate) fn hand_on(&mut self, position: usize, bytes: BytesMut, end: End) {
        match self.stations.get_mut(position) {
            Some(station) => {
                append(&mut station.input, bytes);
                station.end = end;
            }
            None => {
                append(&mut self.out, bytes);
                self.out_end = end;
            }
        }
    }
}

/// Without copying where nothing waits.
pub(crate) fn append(to: &mut BytesMut, bytes: BytesMut) {
    if to.is_empty() {
        *to = bytes
    } else {
        to.extend_from_slice(&bytes)
    }
}
