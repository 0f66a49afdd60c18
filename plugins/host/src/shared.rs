//! What the plugins of one site share: data with compare-and-swap, and queues. A [`Shared`] belongs to a site;
//! another site's plugins hold another one, so no key, queue number or VM id reaches across.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::{abi::Status, limits::SharedLimits};

/// One site's shared data and queues. Survives reloads of its plugins.
#[derive(Debug)]
pub struct Shared {
    limits: SharedLimits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Per VM id, as the ABI has it: plugins with one VM id see the same keys.
    data: HashMap<(Bytes, Bytes), (Bytes, u32)>,
    data_bytes: usize,
    queues: Vec<Queue>,
}

#[derive(Debug)]
struct Queue {
    vm_id: Bytes,
    name: Bytes,
    items: VecDeque<Bytes>,
    bytes: usize,
    /// Counts what was ever put in, so that whoever waits sees that there is news.
    arrivals: u64,
}

impl Shared {
    /// Nothing shared yet.
    pub fn new(limits: SharedLimits) -> Self {
        Self {
            limits,
            state: Mutex::default(),
        }
    }

    /// The value under `key` and its compare-and-swap number.
    pub fn get(&self, vm_id: &Bytes, key: &[u8]) -> Option<(Bytes, u32)> {
        self.state
            .lock()
            .data
            .get(&(vm_id.clone(), Bytes::copy_from_slice(key)))
            .cloned()
    }

    /// Sets the value under `key`; `cas` 0 does so whatever was there.
    ///
    /// # Errors
    /// [`Status::CasMismatch`] when the value has changed since `cas` was read, [`Status::InternalFailure`] when
    /// the site's bytes are used up.
    pub fn set(&self, vm_id: &Bytes, key: &[u8], value: &[u8], cas: u32) -> Result<(), Status> {
        let mut state = self.state.lock();
        let key = (vm_id.clone(), Bytes::copy_from_slice(key));
        let old = state
            .data
            .get(&key)
            .map(|(value, number)| (value.len(), *number));
        if cas != 0 && old.map(|(_, number)| number) != Some(cas) {
            return Err(Status::CasMismatch);
        }
        let was = old.map_or(0, |(length, _)| key.0.len() + key.1.len() + length);
        let bytes = state.data_bytes - was + key.0.len() + key.1.len() + value.len();
        if bytes > self.limits.data {
            return Err(Status::InternalFailure);
        }
        state.data_bytes = bytes;
        // Zero means "whatever was there", so no value ever has that number.
        let number = old.map_or(1, |(_, number)| number.checked_add(1).unwrap_or(1));
        state
            .data
            .insert(key, (Bytes::copy_from_slice(value), number));
        Ok(())
    }

    /// Opens the queue `name` of `vm_id`, making it when it is new.
    ///
    /// # Errors
    /// [`Status::InternalFailure`] when the site has as many queues as it may.
    pub fn register_queue(&self, vm_id: &Bytes, name: &[u8]) -> Result<u32, Status> {
        let mut state = self.state.lock();
        if let Some(id) = find(&state.queues, vm_id, name) {
            return Ok(id);
        }
        if state.queues.len() >= self.limits.queues {
            return Err(Status::InternalFailure);
        }
        state.queues.push(Queue {
            vm_id: vm_id.clone(),
            name: Bytes::copy_from_slice(name),
            items: VecDeque::new(),
            bytes: 0,
            arrivals: 0,
        });
        u32::try_from(state.queues.len()).map_err(|_| Status::InternalFailure)
    }

    /// The queue `name` of `vm_id`.
    ///
    /// # Errors
    /// [`Status::NotFound`] when this site has none of that name.
    pub fn resolve_queue(&self, vm_id: &[u8], name: &[u8]) -> Result<u32, Status> {
        find(&self.state.lock().queues, vm_id, name).ok_or(Status::NotFound)
    }

    /// Puts an item at the end.
    ///
    /// # Errors
    /// [`Status::NotFound`] for a queue that is not this site's, [`Status::InternalFailure`] when it is full.
    pub fn enqueue(&self, id: u32, item: &[u8]) -> Result<(), Status> {
        let mut state = self.state.lock();
        let queue = at(&mut state.queues, id).ok_or(Status::NotFound)?;
        if queue.items.len() >= self.limits.queue_items
            || queue.bytes + item.len() > self.limits.queue_bytes
        {
            return Err(Status::InternalFailure);
        }
        queue.bytes += item.len();
        queue.items.push_back(Bytes::copy_from_slice(item));
        queue.arrivals += 1;
        Ok(())
    }

    /// Takes the item at the front.
    ///
    /// # Errors
    /// [`Status::NotFound`] for a queue that is not this site's, [`Status::Empty`] when there is nothing in it.
    pub fn dequeue(&self, id: u32) -> Result<Bytes, Status> {
        let mut state = self.state.lock();
        let queue = at(&mut state.queues, id).ok_or(Status::NotFound)?;
        let item = queue.items.pop_front().ok_or(Status::Empty)?;
        queue.bytes -= item.len();
        Ok(item)
    }

    /// How many items were ever put into the queue, and whether there are some now.
    pub(crate) fn queue_news(&self, id: u32) -> Option<(u64, bool)> {
        at(&mut self.state.lock().queues, id).map(|queue| (queue.arrivals, !queue.items.is_empty()))
    }

    /// Bytes of shared data in use.
    pub fn data_bytes(&self) -> usize {
        self.state.lock().data_bytes
    }
}

fn find(queues: &[Queue], vm_id: &[u8], name: &[u8]) -> Option<u32> {
    let index = queues
        .iter()
        .position(|queue| queue.vm_id == vm_id && queue.name == name)?;
    u32::try_from(index + 1).ok()
}

/// Numbers start at 1: some guests take 0 for none.
fn at(queues: &mut [Queue], id: u32) -> Option<&mut Queue> {
    queues.get_mut(usize::try_from(id).ok()?.checked_sub(1)?)
}
