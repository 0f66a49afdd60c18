//! S3-FIFO (Yang et al., SOSP 2023): which resident goes next, and nothing else.
//!
//! Three queues: newcomers pass through *small* (a tenth of the bytes); what was hit twice there moves on to *main*, the
//! rest goes and leaves its fingerprint in *ghost*; what comes back while its fingerprint is there goes to main at once.
//! Main gives what was hit another round. A scan of objects that nobody asks for again washes through small only.
//!
//! Hits do not come here: they raise the resident's own heat ([`Resident::heat`]), which is read when its turn comes.

#[cfg(test)]
mod tests;

use crate::ghost::Ghost;

/// What the queues hold.
pub(crate) trait Resident {
    /// Hits since the last cooling, 0 to 3.
    fn heat(&self) -> u8;
    /// Sets the heat.
    fn set_heat(&self, heat: u8);
    /// Still being filled: asked to go only when there is nothing else to take.
    fn busy(&self) -> bool;
}

/// A resident's handle. It is never reused for another resident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Id {
    index: u32,
    generation: u32,
}

/// The queues. Weights are bytes.
pub(crate) struct S3Fifo<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    small: List,
    main: List,
    ghost: Ghost,
}

struct Slot<T> {
    generation: u32,
    node: Option<Node<T>>,
}

struct Node<T> {
    value: T,
    fingerprint: u64,
    weight: u64,
    queue: Queue,
    previous: Option<u32>,
    next: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Queue {
    Small,
    Main,
}

/// A doubly linked list through the slots: the front goes next.
#[derive(Default)]
struct List {
    front: Option<u32>,
    back: Option<u32>,
    weight: u64,
    length: usize,
}

/// How many residents that are being filled one eviction passes over.
const PATIENCE: u32 = 32;

/// Heat at which a newcomer has earned its place in main.
const PROMOTE: u8 = 2;

/// What [`crate::overhead`] counts for a place in the queues, its share of the ghost included.
pub(crate) const NODE_OVERHEAD: usize = size_of::<Slot<usize>>() + Ghost::ENTRY;

impl<T: Resident> S3Fifo<T> {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            small: List::default(),
            main: List::default(),
            ghost: Ghost::new(),
        }
    }

    /// Bytes of all residents.
    pub(crate) fn weight(&self) -> u64 {
        self.small.weight + self.main.weight
    }

    /// Number of residents.
    pub(crate) fn len(&self) -> usize {
        self.small.length + self.main.length
    }

    /// Takes a newcomer in. `fingerprint` recognises it should it come again.
    pub(crate) fn insert(&mut self, value: T, fingerprint: u64, weight: u64) -> Id {
        let queue = if self.ghost.take(fingerprint) {
            Queue::Main
        } else {
            Queue::Small
        };
        let node = Node {
            value,
            fingerprint,
            weight,
            queue,
            previous: None,
            next: None,
        };
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.slots.push(Slot {
                    generation: 0,
                    node: None,
                });
                // 2^32 residents of more than a kilobyte of overhead each do not fit any memory.
                (self.slots.len() - 1) as u32
            }
        };
        let mut generation = 0;
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.node = Some(node);
            generation = slot.generation;
        }
        self.link(index, queue);
        Id { index, generation }
    }

    /// The resident, if it still is one.
    pub(crate) fn find(&self, id: Id) -> Option<&T> {
        let slot = self
            .slots
            .get(id.index as usize)
            .filter(|slot| slot.generation == id.generation)?;
        slot.node.as_ref().map(|node| &node.value)
    }

    /// The resident at a place from 0 to [`S3Fifo::places`], for walks over all.
    pub(crate) fn at_place(&self, place: usize) -> Option<(Id, &T)> {
        let slot = self.slots.get(place)?;
        let id = Id {
            index: place as u32,
            generation: slot.generation,
        };
        slot.node.as_ref().map(|node| (id, &node.value))
    }

    /// Places, taken or not.
    pub(crate) fn places(&self) -> usize {
        self.slots.len()
    }

    /// Adds to a resident's weight. `false`: it is gone.
    pub(crate) fn grow(&mut self, id: Id, more: u64) -> bool {
        let Some(node) = self.node(id) else {
            return false;
        };
        node.weight += more;
        match node.queue {
            Queue::Small => self.small.weight += more,
            Queue::Main => self.main.weight += more,
        }
        true
    }

    /// Puts another value in a resident's place, `add` bytes heavier and `sub` bytes lighter. `None`: it is gone.
    pub(crate) fn replace(&mut self, id: Id, value: T, add: u64, sub: u64) -> Option<T> {
        let node = self.node(id)?;
        let sub = sub.min(node.weight + add);
        node.weight = node.weight + add - sub;
        let (old, queue) = (std::mem::replace(&mut node.value, value), node.queue);
        let list = self.list(queue);
        list.weight = list.weight + add - sub;
        Some(old)
    }

    /// Takes a resident out.
    pub(crate) fn remove(&mut self, id: Id) -> Option<(T, u64)> {
        self.node(id)?;
        self.unlink(id.index);
        self.free(id.index).map(|node| (node.value, node.weight))
    }

    /// Takes out the resident whose turn it is; newcomers may hold `small` bytes.
    pub(crate) fn evict(&mut self, small: u64) -> Option<(Id, T, u64)> {
        // The first that was passed over because it is busy: if only such are found, it goes.
        let mut passed = None;
        let mut patience = PATIENCE;
        // Heat may rise while this runs; nobody gets more than its three rounds.
        let mut rounds = self.len().saturating_mul(4).saturating_add(8);
        loop {
            let crowded = self.small.weight > small || self.main.front.is_none();
            let from_small = self.small.front.is_some() && crowded;
            let queue = if from_small {
                Queue::Small
            } else {
                Queue::Main
            };
            let index = self.list(queue).front?;
            let value = &self.slots.get(index as usize)?.node.as_ref()?.value;
            rounds = rounds.saturating_sub(1);
            let heat = if rounds > 0 { value.heat() } else { 0 };
            if queue == Queue::Small && heat >= PROMOTE {
                value.set_heat(0);
                self.requeue(index, Queue::Main);
            } else if queue == Queue::Main && heat > 0 {
                value.set_heat(heat - 1);
                self.requeue(index, Queue::Main);
            } else if value.busy() && passed != Some(index) && patience > 0 {
                patience -= 1;
                passed.get_or_insert(index);
                self.requeue(index, queue);
            } else {
                let goes = if value.busy() {
                    passed.unwrap_or(index)
                } else {
                    index
                };
                return self.expel(goes);
            }
        }
    }

    fn expel(&mut self, index: u32) -> Option<(Id, T, u64)> {
        let generation = self.slots.get(index as usize)?.generation;
        self.unlink(index);
        let node = self.free(index)?;
        if node.queue == Queue::Small {
            let room = self.len();
            self.ghost.put(node.fingerprint, room);
        }
        Some((Id { index, generation }, node.value, node.weight))
    }

    fn node(&mut self, id: Id) -> Option<&mut Node<T>> {
        self.slots
            .get_mut(id.index as usize)
            .filter(|slot| slot.generation == id.generation)?
            .node
            .as_mut()
    }

    fn at(&mut self, index: u32) -> Option<&mut Node<T>> {
        self.slots.get_mut(index as usize)?.node.as_mut()
    }

    fn list(&mut self, queue: Queue) -> &mut List {
        match queue {
            Queue::Small => &mut self.small,
            Queue::Main => &mut self.main,
        }
    }

    fn free(&mut self, index: u32) -> Option<Node<T>> {
        let slot = self.slots.get_mut(index as usize)?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        slot.node.take()
    }

    fn requeue(&mut self, index: u32, queue: Queue) {
        self.unlink(index);
        self.link(index, queue);
    }

    /// Puts a node at the back of a queue.
    fn link(&mut self, index: u32, queue: Queue) {
        let back = self.list(queue).back;
        let Some(node) = self.at(index) else { return };
        node.queue = queue;
        node.previous = back;
        node.next = None;
        let weight = node.weight;
        if let Some(back) = back.and_then(|back| self.at(back)) {
            back.next = Some(index);
        }
        let list = self.list(queue);
        list.back = Some(index);
        list.front.get_or_insert(index);
        list.weight += weight;
        list.length += 1;
    }

    fn unlink(&mut self, index: u32) {
        let Some(node) = self.at(index) else { return };
        let (previous, next, queue, weight) = (
            node.previous.take(),
            node.next.take(),
            node.queue,
            node.weight,
        );
        if let Some(previous) = previous.and_then(|previous| self.at(previous)) {
            previous.next = next;
        }
        if let Some(next) = next.and_then(|next| self.at(next)) {
            next.previous = previous;
        }
        let list = self.list(queue);
        if list.front == Some(index) {
            list.front = next;
        }
        if list.back == Some(index) {
            list.back = previous;
        }
        list.weight -= weight;
        list.length -= 1;
    }
}
