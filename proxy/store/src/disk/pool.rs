//! A few threads of one disk for what may wait for it, so that event loops never do and a slow disk holds up only those
//! who want something of it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Semaphore, oneshot};

pub(crate) struct Pool {
    shared: Arc<Shared>,
    /// Reads that are queued or under way: who comes beyond it waits here, and leaves without a trace if cancelled.
    room: Semaphore,
}

type Job = Box<dyn FnOnce() + Send>;

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

/// Jobs queued for each thread.
const QUEUED: usize = 4;

impl Pool {
    /// # Errors
    /// When the machine has no more threads.
    pub(crate) fn new(threads: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            wake: Condvar::new(),
        });
        let pool = Self {
            shared: shared.clone(),
            room: Semaphore::new(threads.max(1) * (1 + QUEUED)),
        };
        for _ in 0..threads.max(1) {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name("disk-read".to_owned())
                .spawn(move || work(&shared))?;
        }
        Ok(pool)
    }

    /// Runs this on one of the threads. `None`: it did not run, or panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let _room = self.room.acquire().await.ok()?;
        let (reply, answer) = oneshot::channel();
        let job = move || {
            if !reply.is_closed() {
                // Who asked may have left meanwhile.
                let _ = reply.send(job());
            }
        };
        {
            let mut state = self.shared.state.lock();
            if state.closed {
                return None;
            }
            state.jobs.push_back(Box::new(job));
        }
        self.shared.wake.notify_one();
        answer.await.ok()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.state.lock().closed = true;
        self.shared.wake.notify_all();
    }
}

fn work(shared: &Shared) {
    loop {
        let job = {
            let mut state = shared.state.lock();
            loop {
                if let Some(job) = state.jobs.pop_front() {
                    break job;
                }
                if state.closed {
                    return;
                }
                shared.wake.wait(&mut state);
            }
        };
        // A panic is a bug; it costs its own reader an error, not the disk a thread.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
    }
}
