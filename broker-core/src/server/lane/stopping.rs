//! The end of a lane: in order, as [`departure`](super::super::departure) tells it, or after a failure.

use crate::engine::chunks::Chunks;
use crate::engine::keys::ConnectionKey;

use super::{Lane, Stage};

impl Lane {
    /// From `Settle` on nobody is read and no timer runs: what is on its way is all that still happens.
    pub(super) fn settle(&mut self) {
        if self.stage == Stage::Working {
            self.stage = Stage::Stopping;
        }
        self.is_settling = true;
    }

    /// At the very end of a turn, when what it sent has been sent.
    pub(super) fn end_stage(&mut self) {
        if std::mem::take(&mut self.is_settling) {
            // What was promised is kept and said before anybody leaves.
            let awaits_store = self.shard.awaits_store() && self.store.can_keep();
            self.departure.settled(self.id, std::mem::take(&mut self.has_sent) || awaits_store);
        }
        if self.stage == Stage::Leaving {
            self.leave();
        }
    }

    /// Every other lane is quiet too. What a client does not take now, it does not get.
    fn leave(&mut self) {
        let keys: Vec<ConnectionKey> = self.links.iter_from(0).flatten().map(|link| link.key).collect();
        for key in keys {
            let outbox = self.shard.outbox(key).map(std::mem::take);
            self.close(key, outbox.unwrap_or_default(), None);
        }
        self.stage = Stage::Gone;
        self.newcomers.clear();
        self.drop_mail();
        self.go();
    }

    /// Closes everything at once: the state may be torn, so nothing of it is used any more. The poll stays, because
    /// others may sleep in it.
    pub(crate) fn fail(&mut self) {
        self.stage = Stage::Gone;
        self.links = Chunks::default();
        self.leaving = Vec::new();
        self.ready.clear();
        self.newcomers.clear();
        self.drop_mail();
        self.go();
    }

    /// Nobody is left to take what comes: a connection on its way here is closed.
    pub(super) fn go(&self) {
        self.mailbox.close();
        self.departure.gone(self.id);
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if self.stage != Stage::Gone {
            self.go();
        }
    }
}
