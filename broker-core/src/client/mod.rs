//! An MQTT Client over any byte stream: `culex pub` and `culex sub` are built on it, and so are the clients inside the
//! broker's process ([`Broker::client`](crate::Broker::client)), which is what an embedder wants.
//!
//! [`Connection`] has no task, no channel and no lock: its owner polls [`Connection::event`], which moves bytes until
//! something happened. Dropping that future loses nothing, so it belongs into a `select!`. What the peer can make
//! grow is bounded: one packet is decoded at a time and not before the owner took the last event, nothing is read
//! while too much waits to be written, and the owner asks [`Connection::has_room`] before it publishes.
//!
//! ```text
//!   owner ── publish, subscribe ──► Protocol ── bytes ──► stream
//!         ◄── Event ─────────────── (sans-IO) ◄─ packets ─
//! ```
//!
//! What must survive a lost connection is the [`Session`]: take it from the dead connection and give it to the next.

mod connection;
mod error;
mod granted;
mod handshake;
mod held;
mod message;
mod options;
mod protocol;
mod reason;
mod session;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_v5;
mod wire;

pub use crate::client::connection::{Connection, Socket};
pub use crate::client::error::{ClientError, Foreign, Refusal, describe_io};
pub use crate::client::granted::Granted;
pub use crate::client::message::{Event, Message, Publication};
pub use crate::client::options::{Options, Secret, Will};
pub use crate::client::reason::Reason;
pub use crate::client::session::Session;
