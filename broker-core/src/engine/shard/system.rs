//! The broker's own messages under `$SYS`.

use culex_codec::{QoS, TopicName};

use crate::engine::connection::Message;
use crate::engine::keys::PublicationId;

use super::deliver::Inbound;
use super::{Shard, Turn};

impl Shard {
    /// Publishes a value of the broker's own, which the host has asked for: QoS 0 and retained. It is not stored, counts
    /// towards no limit, and reaches whoever subscribes to `topic`, which is below `$SYS/`, and may receive it.
    pub fn publish_system(&mut self, turn: &mut Turn<'_>, topic: TopicName<'_>, payload: &[u8]) {
        let message = Message { id: PublicationId(0), topic, payload, shared: None, kept: None };
        let (qos, is_retain) = (QoS::AtMostOnce, true);
        let (publisher, author) = (None, None);
        self.route(
            turn,
            &Inbound { message, qos, is_retain, publisher, author, incoming: None, waits: false },
        );
    }
}
