//! All cases, for the test target and for the program that runs them against other brokers.

#![expect(
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    reason = "cases are tests, though clippy sees functions; the program that runs them catches and reports a panic"
)]

use culex_tests::conformance::Case;

pub(crate) mod client_id;
pub(crate) mod connect;
pub(crate) mod limits;
pub(crate) mod malformed;
pub(crate) mod malformed_strings;
pub(crate) mod order;
pub(crate) mod ping_disconnect;
pub(crate) mod publish;
pub(crate) mod pubsubclient;
pub(crate) mod qos;
pub(crate) mod resend;
pub(crate) mod retain;
pub(crate) mod session;
pub(crate) mod subscribe;
pub(crate) mod topics;
pub(crate) mod unsubscribe;
pub(crate) mod v31;
pub(crate) mod websocket;
pub(crate) mod will;

/// Every case of every module.
pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    [
        connect::CASES,
        client_id::CASES,
        session::CASES,
        will::CASES,
        ping_disconnect::CASES,
        publish::CASES,
        qos::CASES,
        order::CASES,
        resend::CASES,
        retain::CASES,
        subscribe::CASES,
        unsubscribe::CASES,
        topics::CASES,
        malformed::CASES,
        malformed_strings::CASES,
        v31::CASES,
        pubsubclient::CASES,
        limits::CASES,
        websocket::CASES,
    ]
    .into_iter()
    .flatten()
}
