//! Messages that leave as HTTP requests.
//!
//! ```text
//!   session of a lane ──► lane ──► body, signature ──► Sender ──► guard ──► the service
//!   (its topics, disk     │  ▲                                              │
//!    queue)     ▲         │  └── again: Backoff, Breaker ◄── 429, 5xx, … ◄──┤
//!               └── ack ──┴──◄── taken: 2xx ◄──────────────────────────────┤
//!                            └── DeadLetters ◄── refused for good ◄────────┘
//! ```
//!
//! A webhook has `concurrency` lanes. Each is a client in the process with a persistent session that gets a part of the
//! topics, so a message that fails holds up its lane and no other, order holds within a topic, and nothing of all this is
//! on the way of whoever publishes. A message is acknowledged when the service has taken it, or when its dead letter is
//! kept. Everything that the service answers is hostile input.

mod body;
mod breaker;
mod delivery;
mod event;
pub(crate) mod guard;
mod header;
mod identity;
mod lane;
mod news;
mod reply;
mod request;
mod sender;
mod sign;
mod supervisor;
mod target;
pub(crate) mod trial;

pub use self::event::EventKind;
pub use self::header::{Header, HeaderError};
pub use self::sign::SigningKey;
pub use self::supervisor::{Prepared, Webhooks};
pub use self::target::{Target, UrlError};

/// Where its sessions and ClientIds are.
const CLIENT_ID: &str = "$culex/webhook";
