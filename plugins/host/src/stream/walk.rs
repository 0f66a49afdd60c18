//! How messages move through the plugins: the head first, then the body, then the trailers, each plugin in turn. A
//! plugin is visited whenever something new is before it or it resumed, and moves what it lets go of to the next.

use bytes::{Bytes, BytesMut};

use super::{Flow, Stream};
use crate::{
    abi::Direction,
    fault::Fault,
    fields::Fields,
    lane::{End, HeadAt, Station, append},
};

impl Stream {
    /// Moves what can move, first station first.
    pub(super) fn pump(&mut self, direction: Direction) -> Flow {
        for position in 0..self.stages.len() {
            if self.answer().is_some() {
                break;
            }
            self.visit(direction, position);
        }
        self.flow(direction)
    }

    /// A local response or reset that some plugin asked for.
    fn answer(&self) -> Option<Flow> {
        let exchange = self.exchange.lock();
        if exchange.reset {
            return Some(Flow::Reset);
        }
        let response = exchange.local.clone()?;
        // Too late for another head: cut off what the client gets rather than let it seem whole.
        let begun = self.lanes[Direction::Response.index()].released;
        Some(if begun {
            Flow::Reset
        } else {
            Flow::Respond(Box::new(response))
        })
    }

    fn flow(&mut self, direction: Direction) -> Flow {
        if let Some(answer) = self.answer() {
            return answer;
        }
        let lane = &self.lanes[direction.index()];
        if lane.released {
            if let Some(declared) = lane.declared {
                let sent = lane.sent + u64::try_from(lane.out.len()).unwrap_or(u64::MAX);
                // A plugin changed the body but left Content-Length: the message must not seem whole.
                if sent > declared || (lane.out_end != End::Open && sent < declared) {
                    return Flow::Reset;
                }
            }
            let waits = lane.fed_end && !lane.head_only && lane.out_end == End::Open;
            return if waits { Flow::Pause } else { Flow::Continue };
        }
        let paused = lane
            .stations
            .iter()
            .position(|station| matches!(station.head, HeadAt::Paused));
        let wants_body = paused
            .and_then(|position| self.stages.get(self.stage_at(direction, position)))
            .is_some_and(|stage| stage.plugin.core.body_before_headers);
        if wants_body && !lane.fed_end {
            Flow::NeedBody
        } else {
            Flow::Pause
        }
    }

    fn visit(&mut self, direction: Direction, position: usize) {
        let index = self.stage_at(direction, position);
        let sees = match self.stages.get(index) {
            Some(stage) if !stage.bypassed => stage.plugin.sees,
            _ => Default::default(),
        };
        let way = direction.index();
        if self
            .stages
            .get(index)
            .is_some_and(|stage| stage.cell.as_ref().is_some_and(|cell| cell.is_dead()))
        {
            self.fail(index, Fault::Gone);
        }
        if self.answer().is_some() {
            return;
        }
        // A plugin that only wants to know of the stream's end needs its context all the same.
        let opens = sees.ends
            && self
                .stages
                .get(index)
                .is_some_and(|stage| stage.cell.is_none());
        self.visit_head(direction, position, index, sees.heads[way] || opens);
        if self.answer().is_some() {
            return;
        }
        if !self.may_see_body(direction, position, index) {
            return self.check_room(direction, position, index);
        }
        self.visit_body(direction, position, index, sees.bodies[way]);
        if self.answer().is_none() {
            self.visit_trailers(direction, position, index, sees.trailers[way]);
        }
    }

    fn station(&mut self, direction: Direction, position: usize) -> Option<&mut Station> {
        self.lanes[direction.index()].stations.get_mut(position)
    }

    fn visit_head(&mut self, direction: Direction, position: usize, index: usize, sees: bool) {
        let head_only = self.lanes[direction.index()].head_only;
        let Some(station) = self.station(direction, position) else {
            return;
        };
        match station.head {
            HeadAt::Here => {
                let request = direction == Direction::Request;
                let paused = sees && {
                    let count = self
                        .exchange
                        .lock()
                        .head(direction)
                        .fields
                        .as_ref()
                        .map_or(0, Fields::len);
                    let count = u32::try_from(count).unwrap_or(u32::MAX);
                    self.call(index, direction, |live, context| {
                        live.head(request, context, count, head_only)
                    }) != 0
                };
                if self.answer().is_some() {
                    return;
                }
                if paused && !self.take_resume(direction, index) {
                    if let Some(station) = self.station(direction, position) {
                        station.head = HeadAt::Paused;
                    }
                } else {
                    self.pass_head(direction, position);
                }
            }
            HeadAt::Paused => {
                // With the body before it, resuming lets go of both (`visit_body`).
                let waiting_body = station.body_paused;
                if !waiting_body && (self.is_bypassed(index) || self.take_resume(direction, index))
                {
                    self.pass_head(direction, position);
                }
            }
            HeadAt::Before | HeadAt::Passed => {}
        }
    }

    fn pass_head(&mut self, direction: Direction, position: usize) {
        let lane = self.lane_mut(direction);
        if let Some(station) = lane.stations.get_mut(position) {
            station.head = HeadAt::Passed;
            station.through |= lane.head_only;
        }
        match lane.stations.get_mut(position + 1) {
            Some(next) => next.head = HeadAt::Here,
            None => self.release(direction),
        }
    }

    /// The head goes out. A body that has come whole already says how long it is; one that plugins may still
    /// change keeps the length that was announced, and is held to it.
    pub(super) fn release(&mut self, direction: Direction) {
        let lane = &mut self.lanes[direction.index()];
        lane.released = true;
        let mut exchange = self.exchange.lock();
        let head = exchange.head_mut(direction);
        head.open = false;
        if lane.head_only {
            return;
        }
        if let Some(fields) = &mut head.fields
            && let Some(declared) = fields
                .text("content-length")
                .and_then(|text| text.parse::<u64>().ok())
        {
            lane.declared = Some(declared);
        }
    }

    fn may_see_body(&self, direction: Direction, position: usize, index: usize) -> bool {
        let lane = &self.lanes[direction.index()];
        let Some(station) = lane.stations.get(position) else {
            return false;
        };
        if lane.head_only || station.through {
            return false;
        }
        match station.head {
            HeadAt::Passed => true,
            HeadAt::Paused => self
                .stages
                .get(index)
                .is_some_and(|stage| stage.plugin.core.body_before_headers),
            HeadAt::Before | HeadAt::Here => false,
        }
    }

    fn visit_body(&mut self, direction: Direction, position: usize, index: usize, sees: bool) {
        let Some(station) = self.station(direction, position) else {
            return;
        };
        let ends = station.end != End::Open && !station.told_end;
        // The end is told with the last bytes, or by the trailers' callback when those follow.
        let news = !station.input.is_empty() || (ends && station.end == End::Body);
        let head_paused = station.head == HeadAt::Paused;
        if news {
            let (input, end) = (station.input.split(), station.end);
            station.told_end = end != End::Open;
            let paused = if sees {
                self.show_body(direction, index, input, end == End::Body)
            } else {
                let mut exchange = self.exchange.lock();
                if let Some(held) = exchange.held_mut(index, direction) {
                    append(&mut held.body, input);
                }
                false
            };
            if self.answer().is_some() {
                return;
            }
            if !paused || self.take_resume(direction, index) {
                self.pass_body(direction, position, index);
            } else if let Some(station) = self.station(direction, position) {
                station.body_paused = true;
            }
        } else if (station.body_paused || (head_paused && station.told_end))
            && (self.is_bypassed(index) || self.take_resume(direction, index))
        {
            self.pass_body(direction, position, index);
        }
        self.check_room(direction, position, index);
    }

    /// Shows the guest what it holds and what is new. True: it holds on.
    fn show_body(
        &mut self,
        direction: Direction,
        index: usize,
        input: BytesMut,
        end: bool,
    ) -> bool {
        let size = {
            let mut exchange = self.exchange.lock();
            let Some(held) = exchange.held_mut(index, direction) else {
                return false;
            };
            append(&mut held.body, input);
            (held.visible, held.last) = (true, end);
            u32::try_from(held.body.len()).unwrap_or(u32::MAX)
        };
        let request = direction == Direction::Request;
        self.call(index, direction, |live, context| {
            live.body(request, context, size, end)
        }) != 0
    }

    /// Lets go of what a plugin held: the head, if that still waits, then the bytes.
    fn pass_body(&mut self, direction: Direction, position: usize, index: usize) {
        let body = {
            let mut exchange = self.exchange.lock();
            exchange.held_mut(index, direction).map(|held| {
                (held.visible, held.last) = (false, false);
                held.body.split()
            })
        };
        let trailers = self.exchange.lock().head(direction).trailers.is_some();
        let Some(station) = self.station(direction, position) else {
            return;
        };
        station.body_paused = false;
        let mut end = if station.end == End::Body {
            End::Body
        } else {
            End::Open
        };
        if end == End::Body {
            station.through = true;
            // A guest may add trailers with the last bytes.
            if trailers {
                end = End::Trailers;
            }
        }
        let body = body.unwrap_or_default();
        if station.head == HeadAt::Paused {
            if end != End::Open {
                self.set_length(direction, body.len());
            }
            self.pass_head(direction, position);
        }
        self.lane_mut(direction).hand_on(position + 1, body, end);
    }

    /// The whole body is here and the head is not out: the length is known anew.
    fn set_length(&mut self, direction: Direction, length: usize) {
        let mut exchange = self.exchange.lock();
        if let Some(fields) = &mut exchange.head_mut(direction).fields
            && fields.value(b"content-length").is_some()
        {
            fields.set(
                Bytes::from_static(b"content-length"),
                Bytes::from(length.to_string()),
            );
        }
    }

    fn visit_trailers(&mut self, direction: Direction, position: usize, index: usize, sees: bool) {
        let Some(station) = self.station(direction, position) else {
            return;
        };
        if station.end != End::Trailers || station.through {
            return;
        }
        let paused = if station.trailers_seen {
            !(self.is_bypassed(index) || self.take_resume(direction, index))
        } else {
            station.trailers_seen = true;
            let count = self
                .exchange
                .lock()
                .head(direction)
                .trailers
                .as_ref()
                .map_or(0, Fields::len);
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            let request = direction == Direction::Request;
            sees && self.call(index, direction, |live, context| {
                live.trailers(request, context, count)
            }) != 0
                && !self.take_resume(direction, index)
        };
        if paused || self.answer().is_some() {
            return;
        }
        // What the guest still held of the body goes first.
        self.pass_body(direction, position, index);
        if let Some(station) = self.station(direction, position) {
            station.through = true;
        }
        self.lane_mut(direction)
            .hand_on(position + 1, BytesMut::new(), End::Trailers);
    }

    fn check_room(&mut self, direction: Direction, position: usize, index: usize) {
        let held = self
            .exchange
            .lock()
            .held(index, direction)
            .map_or(0, |held| held.body.len());
        let Some(most) = self
            .stages
            .get(index)
            .map(|stage| stage.plugin.limits().buffer)
        else {
            return;
        };
        let Some(station) = self.station(direction, position) else {
            return;
        };
        let waits = station.body_paused || station.head == HeadAt::Paused;
        if waits && held + station.input.len() > most {
            self.fail(index, Fault::BufferFull);
            if self.answer().is_none() {
                self.visit(direction, position);
            }
        }
    }
}
