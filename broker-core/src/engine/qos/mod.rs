//! QoS 1 and 2 in both directions (MQTT 5.0 section 4.3), for a sender and a receiver of messages, not for a server and
//! a client: what the broker uses towards its clients, a bridge uses towards a broker.
//!
//! ```text
//! Sender, one slot per message (4.3.2, 4.3.3)
//!
//!            next_to_send                       on_puback
//!  Waiting ──── QoS 1 ────► AwaitPuback ──────────────────────────────────────► gone, room for one more
//!     │                        ▲  └─ resume, next_to_send: PUBLISH with DUP ─┐
//!     │                        └─────────────────────────────────────────────┘
//!     │                                         on_pubrec, error
//!     └──────── QoS 2 ────► AwaitPubrec ──────────────────────────────────────► gone, room for one more
//!                              │  ▲ └─ resume: PUBLISH with DUP ─┐
//!                              │  └──────────────────────────────┘
//!                              │ on_pubrec: the message is given back, send PUBREL
//!                              ▼                on_pubcomp
//!                           AwaitPubcomp ────────────────────────────────────► gone, room for one more
//!                              ▲ └─ on_pubrec again, or resume: PUBREL again ─┐
//!                              └──────────────────────────────────────────────┘
//!
//! Receiver, one state per Packet Identifier (4.3.3, method B: hand on when it comes)
//!
//!           on_publish: Fresh, hand on, PUBREC
//!     free ──────────────────────────────────► AwaitPubrel ─┐ on_publish: Duplicate, PUBREC only
//!      ▲        on_pubrel: Released, PUBCOMP       │  ▲─────┘
//!      └───────────────────────────────────────────┘
//!      free: on_pubrel: Unknown, PUBCOMP all the same
//! ```
//!
//! Every other pair of state and packet is a typed [`AckError`] that changes nothing.
//!
//! Cost: a [`Sender`] without messages allocates nothing. Sending and acknowledging in order is O(1); an
//! acknowledgement out of order is O(log n) to find and moves the shorter side of the window.

mod packet_ids;
mod receiver;
mod sender;
mod window;

#[cfg(test)]
mod sender_tests;

use culex_codec::PacketId;

pub use self::receiver::{PublishOutcome, PubrelOutcome, ReceiveMaximumExceeded, Receiver};
pub use self::sender::{Acked, PubrecOutcome, Restore, RestoreError, SendAction, Sender, Sending};
pub use self::window::Outgoing;

/// What the sender waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Awaits {
    /// QoS 1, PUBLISH sent.
    Puback,
    /// QoS 2, PUBLISH sent.
    Pubrec,
    /// QoS 2, PUBREL sent.
    Pubcomp,
}

/// An acknowledgement that fits nothing that was sent. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AckError {
    /// No message in flight has the Packet Identifier. It may be the repeat of an acknowledgement that was handled. In
    /// 5.0 a PUBREC is answered with PUBREL 0x92 (Packet Identifier not found), in 3.1.1 with a PUBREL.
    #[error("packet identifier {} is not in use", .0.get())]
    UnknownPacketId(PacketId),
    /// The message waits for another packet.
    #[error("packet identifier {} awaits {awaits:?}", .packet_id.get())]
    WrongPhase {
        /// The Packet Identifier of the acknowledgement.
        packet_id: PacketId,
        /// What would have been right.
        awaits: Awaits,
    },
}
