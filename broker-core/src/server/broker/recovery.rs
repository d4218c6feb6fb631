//! What a broker begins with, if it has a store.

use std::sync::Arc;

use crate::engine::shard::{DELIVERIES_PER_TURN, Shard, Turn, shard_of};
use crate::engine::store::{Stored, StoredSession};
use crate::engine::time::WallTime;

use super::super::clock::Clock;
use super::super::commons::SharedCommons;
use super::super::lane::LaneMessage;
use super::super::mailbox::Mailbox;

/// Gives every session to its shard. Retained Messages and numbers are in the Commons already.
pub(super) fn restore(
    shards: &mut [Shard],
    stored: Stored,
    commons: &Arc<SharedCommons>,
    hash_keys: (u64, u64),
    clock: Clock,
) {
    let Stored { sessions, alive_at, .. } = stored;
    let count = u16::try_from(shards.len()).unwrap_or(u16::MAX);
    // The newest first: should a ClientId stand there twice, the older session is a remnant.
    for session in sessions.into_iter().rev() {
        let owner = shard_of(&session.client_id, hash_keys, count);
        if let Some(shard) = shards.get_mut(usize::from(owner.0)) {
            restore_one(shard, session, alive_at, commons, clock);
        }
    }
}

fn restore_one(
    shard: &mut Shard,
    session: StoredSession,
    alive_at: Option<WallTime>,
    commons: &Arc<SharedCommons>,
    clock: Clock,
) {
    let client_id = session.client_id.clone();
    let turn = &mut Turn { now: clock.now(), commons: &**commons, deliveries_left: DELIVERIES_PER_TURN };
    if !shard.restore(turn, session, alive_at) {
        tracing::error!(client_id = &*client_id, "stored twice; the older session was left out");
    }
}

/// Every lane publishes the Will Messages of connections that ended with the last broker, before anything else.
pub(super) fn publish_wills(mailboxes: &[Arc<Mailbox<LaneMessage>>]) {
    for mailbox in mailboxes {
        let publish = |shard: &mut Shard, turn: &mut Turn<'_>| {
            shard.publish_left_wills(turn);
        };
        mailbox.send([LaneMessage::Visit(Box::new(publish))], 0);
    }
}
