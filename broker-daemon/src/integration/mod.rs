//! What everything that carries messages out of the broker has in common: bridges, webhooks and what comes later.
//!
//! ```text
//!   session (disk queue) ──► integration ──► Bucket ──► the other side
//!        ▲                      │  ▲            no │ answer: Backoff, and again
//!        └── ack: taken, or ────┘  │               ▼
//!            dead letter durable   │          DeadLetters: refused for good
//!                                  Meter: what became of it, read by `api/` and metrics
//! ```
//!
//! An integration is a client in the process with a persistent session, so its queue, its limits and its crash safety are
//! those of any session. It acknowledges a message when the other side has taken it, or when the dead letter that it
//! became is kept. Nothing here has a clock or a random number of its own: both are passed in, so tests run on virtual time.

pub mod backoff;
pub mod dead_letters;
mod letter;
pub mod meter;
pub mod pace;
mod queue;
pub mod registry;
pub(crate) mod session;

pub use self::backoff::Backoff;
pub use self::dead_letters::{DeadLetterError, DeadLetters};
pub use self::letter::{BadLetter, DeadLetter, Letter};
pub use self::meter::{Direction, Load, Meter, Outcome, Standing, StateChange};
pub use self::pace::Bucket;
pub use self::queue::Queue;
pub use self::registry::{Handback, Integrations, Registration};
