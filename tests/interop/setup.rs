//! The broker under test and the settings of one client.

use std::env;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use culex_tests::broker::Broker;
use serde::Serialize;

/// Shards of the broker where `CULEX_TEST_SHARDS` does not say: so many that most clients are in different ones.
const SHARDS: &str = "4";

/// A broker of this case's own, or the one that `CULEX_TEST_BROKER` names.
pub(crate) struct UnderTest {
    pub(crate) addr: SocketAddr,
    _process: Option<Broker>,
}

impl UnderTest {
    #[expect(clippy::print_stdout, reason = "what the harness captures is shown with the case that fails")]
    pub(crate) fn start() -> Self {
        if let Ok(address) = env::var("CULEX_TEST_BROKER") {
            let addr = address.parse().unwrap_or_else(|error| panic!("CULEX_TEST_BROKER={address}: {error}"));
            return Self { addr, _process: None };
        }
        let shards = env::var("CULEX_TEST_SHARDS").unwrap_or_else(|_| SHARDS.to_owned());
        // Shown if the case fails.
        println!("a broker with {shards} shards; again with CULEX_TEST_SHARDS={shards}");
        let process = Broker::start_with_config(&format!("threads = {shards}\n"));
        Self { addr: process.addr, _process: Some(process) }
    }
}

/// What a client puts into CONNECT.
#[derive(Clone, Debug)]
pub(crate) struct Connect {
    pub(crate) id: String,
    pub(crate) version: Version,
    pub(crate) is_clean: bool,
    /// User name and password.
    pub(crate) login: Option<(&'static str, &'static str)>,
    pub(crate) keep_alive_s: u16,
    pub(crate) will: Option<Will>,
}

impl Connect {
    /// A clean session of MQTT 3.1.1. The id gets a number of its own, because cases share `CULEX_TEST_BROKER`.
    pub(crate) fn new(id: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let id = format!("{id}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let version = Version::V3_1_1;
        Self { id, version, is_clean: true, login: None, keep_alive_s: 60, will: None }
    }

    pub(crate) fn persistent(id: &str) -> Self {
        Self { is_clean: false, ..Self::new(id) }
    }
}

/// The protocol level byte of CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V3_1 = 3,
    V3_1_1 = 4,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Will {
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
}

/// What a subscriber does.
#[derive(Clone, Debug)]
pub(crate) struct Subscribe<'a> {
    pub(crate) filter: &'a str,
    pub(crate) qos: u8,
    pub(crate) until: Until,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Leave when the subscription is acknowledged.
    Subscribed,
    /// Leave, by UNSUBSCRIBE and DISCONNECT, after this many messages.
    Messages(usize),
    /// The same, in a session that has the subscription already.
    Resumed(usize),
    /// Stay until told to go.
    Told,
}

/// How a publisher publishes.
#[derive(Clone, Debug)]
pub(crate) struct Publish<'a> {
    pub(crate) topic: &'a str,
    pub(crate) qos: u8,
    pub(crate) is_retained: bool,
}

impl<'a> Publish<'a> {
    pub(crate) const fn new(topic: &'a str, qos: u8) -> Self {
        Self { topic, qos, is_retained: false }
    }
}

/// `count` numbered payloads and then `end`, so that order, loss and repetition all show.
pub(crate) fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).chain(["end".to_owned()]).collect()
}
