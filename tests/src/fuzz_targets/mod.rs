//! What the fuzz targets do with their input: plain functions, so that `cargo test` can replay the corpora without a fuzzer.
//!
//! A target panics if something is wrong, and returns otherwise. Each is run by `fuzz/fuzz_targets/<name>.rs`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a target reports a finding"
)]

mod bridge;
mod decode;
mod roundtrip;
mod shard;
mod source;
mod topic_filters;

pub use bridge::bridge;
pub use decode::decode;
pub use roundtrip::roundtrip;
pub use shard::shard;
pub use source::Source;
pub use topic_filters::topic_filters;

/// A target with its name, that of its folder in `fuzz/corpus`.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name of the binary and of the corpus.
    pub name: &'static str,
    /// What it does with an input.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "bridge", run: bridge },
    Target { name: "decode", run: decode },
    Target { name: "roundtrip", run: roundtrip },
    Target { name: "shard", run: shard },
    Target { name: "topic_filters", run: topic_filters },
];
