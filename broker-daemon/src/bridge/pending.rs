//! Futures that wait side by side, and begin in the order in which they came.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// A few futures of one kind; their owner bounds them.
pub(super) struct Pending<T>(VecDeque<Pin<Box<dyn Future<Output = T> + Send>>>);

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Pending<T> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn push(&mut self, future: impl Future<Output = T> + Send + 'static) {
        self.0.push_back(Box::pin(future));
    }

    /// The next that is done; never if there is none. Dropping this loses nothing.
    pub(super) async fn next(&mut self) -> T {
        poll_fn(|context| {
            for (place, future) in self.0.iter_mut().enumerate() {
                if let Poll::Ready(done) = future.as_mut().poll(context) {
                    self.0.remove(place);
                    return Poll::Ready(done);
                }
            }
            Poll::Pending
        })
        .await
    }
}
