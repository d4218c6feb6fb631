//! Questions of the shard go to the hooks, and their answers come back.

use std::sync::Arc;

use crate::engine::keys::ConnectionKey;
use crate::engine::question::{Question, Verdict};
use crate::engine::shard::Turn;

use super::{Lane, Neighbours, link_of};

impl Lane {
    pub(super) fn ask(&mut self, neighbours: &Neighbours, key: ConnectionKey, question: Question) {
        // Without its link the connection is closed already, and nobody wants to know.
        if let Some(link) = link_of(&mut self.links, key) {
            link.asking = Some(neighbours.hooks.ask(question, key, Arc::clone(&self.mailbox)));
        }
    }

    pub(super) fn take_answer(&mut self, turn: &mut Turn<'_>, key: ConnectionKey, verdict: Verdict) {
        if let Some(link) = link_of(&mut self.links, key) {
            link.asking = None;
        }
        self.shard.handle_answer(turn, key, verdict);
    }
}
