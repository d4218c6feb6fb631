//! Hostile clients against the built broker, with the figures that must hold, and the table of all known threats.
//!
//! Figures of memory are those of a debug build too. What is a matter of time is asserted at ten times its figure, which
//! finds a hang and not a slow machine.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "these functions are tests, though clippy sees functions; figures are shown with the case that fails"
)]

mod canary;
mod depth;
mod descriptors;
mod manifest;
mod memory;
mod process;
mod words;
