//! Test support.

pub mod broker;
pub mod client;
pub mod conformance;
mod exchange;
pub mod fuzz_targets;
pub mod http;
pub mod manifest;
pub mod mosquitto;
pub mod parse;
pub mod report;
pub mod sim;
pub mod tools;
pub mod websocket;
pub mod wire;
pub mod world;

/// Makes three tests of each of these functions: with 1, 2 and 4 shards. The name of the test says with how many.
#[macro_export]
macro_rules! on_shards {
    ($($case:ident),* $(,)?) => {
        mod on_1_shard { $(#[test] fn $case() { super::$case(1); })* }
        mod on_2_shards { $(#[test] fn $case() { super::$case(2); })* }
        mod on_4_shards { $(#[test] fn $case() { super::$case(4); })* }
    };
}
