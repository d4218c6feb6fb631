//! What shards send each other, and how much of it may wait.

use culex_core::engine::shard::{Shard, ShardMessage};

use super::host::{Host, Mail, Note};
use super::report::Reach;

/// By so much a mailbox may exceed its limit, because a turn that has begun goes on: what a few turns read.
const OVERSHOOT_BYTES: usize = 96 << 10;

impl Host {
    /// What a shard has taken so far that it may have to hand on: messages, wills and answers.
    pub(super) fn taken(&self, number: u16, shard: &Shard) -> u64 {
        let stats = shard.stats();
        stats.messages_received + stats.wills_published + self.answers[usize::from(number)]
    }

    /// A turn sends messages to another shard: each publication once, in the order in which it took them, and none
    /// that it did not take. `taken` is what it took in this turn.
    pub(super) fn post(&mut self, from: u16, to: u16, messages: Vec<ShardMessage>, taken: u64) {
        let id = |message: &ShardMessage| match message {
            ShardMessage::Deliver { publication, .. } => Some(publication.id),
            ShardMessage::Queue { .. } => None,
        };
        let ids: Vec<_> = messages.iter().filter_map(id).collect();
        if !ids.is_sorted_by(|first, second| first < second) {
            self.notes.push_back(Note::Broken(format!("s{from} sends {ids:?} to s{to}")));
        }
        if ids.len() as u64 > taken {
            let text = format!("s{from} took {taken} messages and sends {} to s{to}", ids.len());
            self.notes.push_back(Note::Broken(text));
        }
        let mailbox = &mut self.mail[usize::from(to)];
        mailbox.extend(messages.into_iter().map(Mail::Shard));
        let bytes: usize = mailbox.iter().map(Mail::bytes).sum();
        let limit = self.plan.mailbox_bytes;
        if bytes > limit {
            self.counts.add(Reach::MailboxOver);
        }
        if bytes > limit + OVERSHOOT_BYTES {
            let text = format!("the mailbox of s{to} has {bytes} bytes, limit {limit}");
            self.notes.push_back(Note::Broken(text));
        }
    }
}
