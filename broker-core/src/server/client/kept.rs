//! Session State of persistent clients in this process, from one connection to the next (section 4.1): without it a QoS 2
//! message that was in flight at a take-over would be lost or doubled.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use crate::client::Session;

use super::inbox::Shared;

/// Clients that ended with something unfinished and have not come back. Beyond that their state is forgotten.
const UNFINISHED_MAX: usize = 65_536;

/// The sessions of one broker. Empty ones are forgotten.
#[derive(Default)]
pub(crate) struct KeptSessions(Mutex<HashMap<Box<str>, Place>>);

struct Place {
    /// Locked as long as a client has it.
    session: Arc<tokio::sync::Mutex<Session>>,
    /// Who has it, or will have it next.
    owner: Arc<Shared>,
}

/// The right to a ClientId's session.
pub(super) struct Hold {
    kept: Arc<KeptSessions>,
    client_id: Box<str>,
    owner: Arc<Shared>,
    session: OwnedMutexGuard<Session>,
}

impl KeptSessions {
    /// Asks the present client of this ClientId to leave, and waits until it has.
    pub(super) async fn take(self: &Arc<Self>, client_id: &str, owner: &Arc<Shared>) -> Hold {
        let session = {
            let mut places = self.0.lock();
            let place = places
                .entry(client_id.into())
                .or_insert_with(|| Place { session: Arc::default(), owner: Arc::clone(owner) });
            let earlier = std::mem::replace(&mut place.owner, Arc::clone(owner));
            if !Arc::ptr_eq(&earlier, owner) {
                earlier.ask_to_leave();
            }
            Arc::clone(&place.session)
        };
        let session = session.lock_owned().await;
        Hold { kept: Arc::clone(self), client_id: client_id.into(), owner: Arc::clone(owner), session }
    }

    /// A client wants to begin anew [MQTT-3.1.2-6].
    pub(super) fn forget(&self, client_id: &str) {
        let mut places = self.0.lock();
        if places.get(client_id).is_some_and(|place| place.session.try_lock().is_ok()) {
            places.remove(client_id);
        }
    }
}

impl Hold {
    pub(super) fn take_session(&mut self) -> Session {
        std::mem::take(&mut *self.session)
    }

    /// For the next client with this ClientId.
    pub(super) fn give_back(mut self, session: Session) {
        *self.session = session;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut places = self.kept.0.lock();
        let is_full = places.len() > UNFINISHED_MAX;
        let is_last = places.get(&self.client_id).is_some_and(|place| Arc::ptr_eq(&place.owner, &self.owner));
        if is_last && (self.session.is_empty() || is_full) {
            places.remove(&self.client_id);
        }
    }
}
