//! Limits and listeners that change while the broker runs.

use std::sync::Arc;

use super::super::admin::AdminError;
use super::super::listener::Listener;
use super::Broker;
use super::builder::limits_of_shard;
use crate::limits::Limits;

impl Broker {
    /// Other limits from now on.
    ///
    /// | limits | hold |
    /// | --- | --- |
    /// | `in_flight`, `incoming_in_flight`, `session_expiry`, `pre_auth_bytes`, `connect_timeout`, `max_keep_alive`, `messages_per_second`, `bytes_per_second` | for connections that come in from now on |
    /// | `sessions`, `queue_total_bytes`, `retained_messages`, `retained_bytes`, `outbox_bytes`, `outbox_burst_bytes`, `hook_timeout`, `stall_max` | from the next start on: they stay as they are |
    /// | all others | at once. What is there and exceeds them stays |
    ///
    /// Who came in through a listener with limits of its own keeps those, and so does a listener, until
    /// [`Broker::change_listener`].
    ///
    /// # Errors
    /// [`AdminError::Stopped`].
    pub async fn set_limits(&self, limits: &Limits) -> Result<(), AdminError> {
        let front_door = &self.inner.front_door;
        let limits = {
            let mut current = front_door.limits.write();
            *current = Arc::new(current.followed_by(limits));
            Arc::clone(&current)
        };
        front_door.rooms.set_limits(&limits);
        let of_shard =
            limits_of_shard(&limits, self.inner.mailboxes.len(), self.inner.metrics.store.is_some());
        self.admin().set_limits(&of_shard).await
    }

    /// Connections that come in at the listener with this number from now on find it as `listener` says; who is there
    /// stays, and counts. Address, permissions and device are those that it was opened with. `false` if there is no such
    /// listener. See [`Login::listener`](crate::hooks::Login::listener) for the number.
    pub fn change_listener(&self, number: usize, listener: Listener) -> bool {
        self.inner.listening.lock().change(number, listener)
    }
}
