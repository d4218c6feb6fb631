//! What waits for the other side: in the session of a connection, and in sessions of connections that are no more.
//!
//! With fewer `connections` than before, sessions are left over. They get nothing new, the first connection carries out
//! what waits in them, and each ends when it is empty.

use std::sync::Arc;
use std::time::Duration;

use culex_core::{Delivery, Inbox};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::local::{self, Local, LocalError};
use super::shared::Shared;
use crate::integration::Backoff;

/// How often a session in which nothing seems to wait is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Between two attempts to be a client of the broker here.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// All that one connection has to carry.
pub(super) struct Waiting {
    own: Inbox,
    left: mpsc::Receiver<Delivery>,
    /// They end with this; what they have given out and nobody has acknowledged comes again.
    _drains: JoinSet<()>,
}

impl Waiting {
    /// What waits in its own session, and for the first connection what was left over.
    pub(super) fn new(own: Inbox, shared: &Arc<Shared>, index: u16) -> Self {
        let (sender, left) = mpsc::channel(1);
        let mut drains = JoinSet::new();
        for id in shared.left.iter().filter(|_| index == 0) {
            drains.spawn(drain(Arc::clone(shared), id.clone(), sender.clone()));
        }
        Self { own, left, _drains: drains }
    }

    /// The next message; `None` when the local client has ended.
    pub(super) async fn next(&mut self) -> Option<Delivery> {
        tokio::select! {
            biased;
            // They are older.
            Some(delivery) = self.left.recv() => Some(delivery),
            own = self.own.next() => own,
        }
    }
}

/// Gives out what waits in a session that was left over, until it is empty.
async fn drain(shared: Arc<Shared>, id: String, sender: mpsc::Sender<Delivery>) {
    let mut backoff = Backoff::new(AGAIN.0, AGAIN.1, Duration::ZERO);
    // Before that nobody else gets its topics.
    shared.is_ready().await;
    loop {
        match local::connect_left(&shared, &id).await {
            Ok(local) => {
                backoff.connected(Instant::now());
                if give_out(&shared, &id, local, &sender).await {
                    return;
                }
            }
            Err(LocalError::Stopped) => return,
            Err(LocalError::Other(error)) => tracing::error!(
                bridge = %shared.bridge.name,
                "what waits in the session '{id}' cannot be carried out yet: {error}; to drop it: `culex ctl end-session '{id}'`"
            ),
        }
        backoff.lost(Instant::now());
        sleep(backoff.next_delay(shared.entropy())).await;
    }
}

/// Whether that was all.
async fn give_out(shared: &Shared, id: &str, mut local: Local, sender: &mpsc::Sender<Delivery>) -> bool {
    loop {
        let delivery = tokio::select! {
            biased;
            delivery = local.inbox.next() => delivery,
            // The last acknowledgement may still be on its way.
            () = sleep(LOOK_AGAIN) => match shared.admin.session(id).await {
                Ok(Some(session)) if session.queue_messages > 0 => continue,
                Ok(_) => {
                    let _ = shared.admin.end_session(id).await;
                    tracing::info!(bridge = %shared.bridge.name, "the session '{id}', left over by more connections, is empty and ends");
                    return true;
                }
                // The broker has stopped.
                Err(_) => return true,
            },
        };
        let Some(delivery) = delivery else { return false };
        if sender.send(delivery).await.is_err() {
            return true;
        }
    }
}
