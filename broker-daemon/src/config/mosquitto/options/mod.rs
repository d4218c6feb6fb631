//! The one table of mosquitto's options: the reader and the page follow it.

mod bridge;
mod general;
mod listener;
mod tls;

use std::ops::RangeInclusive;

use super::reading::{Outcome, Reading};

/// An option of mosquitto.
pub(super) struct OptionOf {
    /// Its name; one that ends with `*` stands for all that begin so.
    pub(super) name: &'static str,
    /// What it belongs to.
    pub(super) scope: Scope,
    /// What becomes of it.
    pub(super) meaning: Meaning,
    /// The same in words, for the page and for messages.
    pub(super) doc: &'static str,
}

/// What an option belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The broker as a whole.
    All,
    /// The broker, or with `per_listener_settings` the listener before it.
    Security,
    /// The listener before it.
    Listener,
    /// The bridge before it.
    Bridge,
}

/// What becomes of an option.
pub(super) enum Meaning {
    /// The rest of the line is taken. A second one is a mistake.
    Text(fn(&mut Reading, &str) -> Outcome),
    /// `true` or `false` is taken.
    Switch(fn(&mut Reading, bool) -> Outcome),
    /// A number of this range is taken.
    Number(RangeInclusive<i64>, fn(&mut Reading, i64) -> Outcome),
    /// The rest of the line is taken, once or more often.
    Words(fn(&mut Reading, &str) -> Outcome),
    /// Nothing happens with one of these words, for that is what Culex does anyway; any other stops the start, and this
    /// helps.
    Only(&'static [&'static str], &'static str),
    /// Nothing happens, which is said.
    Ignored,
    /// It stops the start, and this helps.
    Refused(&'static str),
}

/// The groups of the page, in its order.
pub(super) const GROUPS: [(&str, &[OptionOf]); 5] = [
    ("Users and rights", general::SECURITY),
    ("Listeners", listener::OPTIONS),
    ("TLS of a listener", tls::OPTIONS),
    ("The broker", general::OPTIONS),
    ("Bridges", bridge::OPTIONS),
];

/// All options.
pub(super) fn all() -> impl Iterator<Item = &'static OptionOf> {
    GROUPS.iter().flat_map(|(_, options)| options.iter())
}

/// The option of this name.
pub(super) fn find(name: &str) -> Option<&'static OptionOf> {
    all().find(|option| match option.name.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => option.name == name,
    })
}

const TRUE: &[&str] = &["true", "1"];
const FALSE: &[&str] = &["false", "0"];

/// The numbers of mosquitto; where 0 is no limit, less than that is none either.
const ANY: RangeInclusive<i64> = -2_147_483_648..=2_147_483_647;
