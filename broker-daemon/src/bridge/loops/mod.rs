//! Messages that go round: from here over a bridge and back, again and again.
//!
//! ```text
//!   the other broker sends back what we sent ── No Local, `try_private`, or it is remembered: echoes
//!   a broker of 5.0 between two bridges ─────── the mark in a User Property: circles
//!   the other broker is this one ────────────── our own connection is among its clients: own
//!   each round adds a prefix to the topic ───── the prefix stands there 16 times: spirals
//!   a circle of bridges ─────────────────────── asked for when a message comes again and again: gate, questions
//! ```
//!
//! Nobody can tell from a message of 3.1.1 whether it has been here before, or whether somebody has published it once more.
//! So a `gate` counts what passes; when the same message comes too often, the bridge sends a message of its own after it, a
//! question, that nobody else would send. Only if that comes back there is a circle, and only then messages are dropped: each
//! of those that passed once when it comes back ([`Echoes`]).

mod circles;
mod echoes;
mod gate;
mod own;
mod questions;
mod spirals;

pub(super) use self::circles::Circles;
pub(super) use self::echoes::Echoes;
pub(super) use self::gate::Passage;
pub(super) use self::own::own_broker;
pub(super) use self::questions::{
    Questions, Side, filter_for_questions, is_for_questions, message_of, question_after,
};
pub(super) use self::spirals::grown_by;
