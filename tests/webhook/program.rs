//! The broker with webhooks, and whoever publishes.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use culex_tests::broker::{Broker, binary};
use culex_tests::client::{Client, Next};
use culex_tests::parse::Received;
use culex_tests::wire::{self, Connect, Publish};

/// A bound of failure, not a wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A broker that keeps what it has in `folder`, with these webhooks.
pub(crate) fn broker(folder: &Path, webhooks: &str) -> Broker {
    let toml = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[store]\ndirectory = {:?}\n{webhooks}",
        folder.display().to_string()
    );
    Broker::start_with_config(&toml)
}

/// A webhook that sends `sensors/#` there, with more lines of its own.
pub(crate) fn webhook(url: &str, more: &str) -> String {
    format!("[[webhook]]\nname = \"w\"\nurl = \"{url}\"\ntopics = [\"sensors/#\"]\n{more}\n")
}

/// Quick retries, so that a test does not wait.
pub(crate) const QUICK: &str = "[webhook.retry]\nmin = \"10ms\"\nmax = \"50ms\"\n";

/// Publishes and waits for the acknowledgement; false if the broker went away before it.
pub(crate) struct Publisher {
    client: Client,
    next: u16,
}

impl Publisher {
    pub(crate) fn connect(broker: &Broker) -> Self {
        Self::named(broker, "publisher")
    }

    pub(crate) fn named(broker: &Broker, client_id: &str) -> Self {
        let mut client = Client::open(broker.addr);
        client.patience(PATIENCE);
        client.send(Connect::new(client_id).encode());
        assert!(matches!(client.next_within(PATIENCE), Next::Packet(Received::ConnAck { .. })));
        Self { client, next: 0 }
    }

    /// At QoS 1.
    pub(crate) fn publish(&mut self, topic: &str, payload: &str) -> bool {
        self.next = self.next % 60_000 + 1;
        self.client.send(Publish::new(topic, payload).qos(1, self.next).encode());
        matches!(self.client.next_within(PATIENCE), Next::Packet(Received::PubAck { .. }))
    }

    /// That it is served, and how quickly.
    pub(crate) fn ping(&mut self) -> Duration {
        let began = Instant::now();
        self.client.send(wire::PINGREQ);
        assert!(matches!(self.client.next_within(PATIENCE), Next::Packet(Received::PingResp)));
        began.elapsed()
    }
}

/// Runs `culex` with these arguments.
pub(crate) fn culex(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).output().unwrap()
}

/// What it wrote.
pub(crate) fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

/// `culex ctl` about the broker whose data is in `folder`.
pub(crate) fn ctl(folder: &Path, arguments: &[&str]) -> String {
    let folder = folder.display().to_string();
    let output = culex(&[&["ctl", "--data-dir", &folder], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Asks again until something is so.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::yield_now();
    }
}
