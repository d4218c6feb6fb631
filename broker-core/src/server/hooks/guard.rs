//! What makes sure that a question ends: with an answer, with a failure, or because nobody waits any more.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::task::AbortHandle;

use crate::engine::keys::ConnectionKey;
use crate::engine::question::{HookFailure, Verdict};
use crate::server::lane::LaneMessage;
use crate::server::mailbox::Mailbox;

/// Runs a hook; a panic in it is an answer like any other.
pub(super) async fn guarded<R>(hook: impl Future<Output = R>) -> Result<R, HookFailure> {
    let mut hook = pin!(hook);
    std::future::poll_fn(|context| {
        // A hook that has panicked is not polled again.
        match catch_unwind(AssertUnwindSafe(|| hook.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(_) => Poll::Ready(Err(HookFailure::Panicked)),
        }
    })
    .await
}

/// The way back to the connection that asked. It answers even if it is dropped unused.
pub(super) struct Reply {
    mailbox: Arc<Mailbox<LaneMessage>>,
    connection: ConnectionKey,
    verdict: Verdict,
}

impl Reply {
    pub(super) fn new(mailbox: Arc<Mailbox<LaneMessage>>, connection: ConnectionKey) -> Self {
        Self { mailbox, connection, verdict: Verdict::Failed(HookFailure::Gone) }
    }

    pub(super) fn give(mut self, verdict: Verdict) {
        self.verdict = verdict;
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let verdict = std::mem::replace(&mut self.verdict, Verdict::Failed(HookFailure::Gone));
        let answer = LaneMessage::Answer { connection: self.connection, verdict };
        let bytes = answer.bytes();
        self.mailbox.send([answer], bytes);
    }
}

/// A question that is being asked. Its hook is given up when this is dropped, so that hooks never outlive the
/// connections they are for.
#[derive(Debug)]
pub(crate) struct Asking(AbortHandle);

impl From<AbortHandle> for Asking {
    fn from(task: AbortHandle) -> Self {
        Self(task)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.abort();
    }
}
