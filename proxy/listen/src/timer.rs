//! A deadline that costs nothing to move later.
//!
//! Every request moves its connection's deadline. A timer that were reset each time would take the runtime's timer lock twice a
//! request; this one leaves an earlier wake-up standing and looks again when it fires.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::time::{Instant, Sleep, sleep_until};

#[derive(Debug, Default)]
pub(crate) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    /// Who is woken by it.
    waker: Option<Waker>,
}

impl Timer {
    /// As [`poll`](Self::poll) for who knows the time. It costs next to nothing where this task was told to wait before, and the
    /// wake-up from then is still to come.
    pub(crate) fn poll_at(
        &mut self,
        cx: &mut Context<'_>,
        deadline: Instant,
        now: Instant,
    ) -> Poll<()> {
        if let (Some(sleep), Some(waker)) = (&self.sleep, &self.waker)
            && now < sleep.deadline()
            && sleep.deadline() <= deadline
            && waker.will_wake(cx.waker())
        {
            return Poll::Pending;
        }
        let polled = self.poll(cx, deadline);
        if polled.is_pending() {
            self.waker = Some(cx.waker().clone());
        }
        polled
    }

    /// Ready once `deadline` has passed; else the task is woken by then.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        // Whoever this is, it is not known to be the one from before.
        self.waker = None;
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if sleep.deadline() >= deadline || Instant::now() >= deadline {
                // Used up: the next deadline needs a new one.
                self.sleep = None;
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_moved_later_is_kept() {
        let mut timer = Timer::default();
        let start = Instant::now();
        let early = start + Duration::from_secs(1);
        let late = start + Duration::from_secs(5);
        poll_fn(|cx| {
            assert!(timer.poll(cx, early).is_pending());
            Poll::Ready(())
        })
        .await;
        poll_fn(|cx| timer.poll(cx, late)).await;
        assert!(start.elapsed() >= Duration::from_secs(5));
        let next = Instant::now() + Duration::from_secs(2);
        poll_fn(|cx| timer.poll(cx, next)).await;
        assert!(start.elapsed() >= Duration::from_secs(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wake_up_that_is_still_to_come_is_relied_on() {
        let mut timer = Timer::default();
        let start = Instant::now();
        let second = Duration::from_secs(1);
        poll_fn(|cx| {
            assert!(timer.poll_at(cx, start + second, start).is_pending());
            assert!(timer.poll_at(cx, start + 3 * second, start).is_pending());
            Poll::Ready(())
        })
        .await;
        poll_fn(|cx| timer.poll_at(cx, start + 2 * second, Instant::now())).await;
        assert!(start.elapsed() >= 2 * second);
        assert!(start.elapsed() < 3 * second);
        poll_fn(|cx| timer.poll_at(cx, start + 4 * second, Instant::now())).await;
        assert!(start.elapsed() >= 4 * second);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_moved_earlier_is_kept() {
        let mut timer = Timer::default();
        let start = Instant::now();
        poll_fn(|cx| {
            assert!(timer.poll(cx, start + Duration::from_secs(60)).is_pending());
            Poll::Ready(())
        })
        .await;
        poll_fn(|cx| timer.poll(cx, start + Duration::from_secs(1))).await;
        assert!(start.elapsed() < Duration::from_secs(2));
    }
}
