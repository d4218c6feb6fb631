//! The HTTP API, its page and its metrics, against the program: as its users, as those who mean harm, and with the tools of
//! others.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "these functions are tests, though clippy sees functions"
)]

mod api;
mod messages;
mod metrics;
mod page;
mod program;
mod request;
mod schemathesis;
mod streams;
mod threats;
mod tls;
