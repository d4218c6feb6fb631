//! AWS's SDK for Python, which knows nothing but AWS IoT Core: our listener has to look like it.

use std::env;
use std::io::{BufRead, BufReader, Lines};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use culex_tests::parse::Received;
use culex_tests::tools::{has, python, skip, workspace};
use culex_tests::wire::{Connect, Publish};
use serde_json::{Value, json};

use crate::peer::{BOTH, Peer, client_config, eventually};
use crate::postgres::Postgres;
use crate::program::{Program, save, text};

/// `tests/tls/programs/aws_consumer.py`, running.
struct Consumer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Consumer {
    /// `more` are settings beside those of the connection. Without a port the SDK takes 443, and tells by ALPN what it wants.
    fn start(python: &PathBuf, program: &Program, port: Option<u16>, more: Value) -> Self {
        save(&program.folder, "sensor", &program.authority.client("sensor-7"));
        let mut settings = json!({
            "endpoint": "localhost",
            "port": port,
            "ca": program.path("ca.crt"),
            "cert": program.path("sensor.crt"),
            "key": program.path("sensor.key"),
            "client_id": "consumer",
            "topic": "readings/#",
            "sleeps": 0,
            "sleep_s": 0,
            "patience_s": 60,
        });
        let (Some(all), Value::Object(more)) = (settings.as_object_mut(), more) else { unreachable!() };
        all.extend(more);
        let mut child = Command::new(python)
            .arg(workspace().join("tests/tls/programs/aws_consumer.py"))
            .arg(settings.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// What it says next. It ends by itself after its patience, so there is no waiting without an end.
    fn says(&mut self) -> String {
        self.lines.next().unwrap_or_else(|| panic!("it ended")).unwrap()
    }

    /// What else it says, once it has ended well.
    fn finish(mut self) -> Vec<String> {
        let lines = self.lines.by_ref().collect::<Result<_, _>>().unwrap();
        assert!(self.child.wait().unwrap().success(), "{lines:?}");
        lines
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One publisher, which has the last answer when this returns.
fn publish(program: &Program, numbers: impl Iterator<Item = u16>) {
    let identity = program.authority.client("publisher");
    let mut peer = Peer::open(program.broker.addr, client_config(&program.authority, &BOTH, Some(&identity)));
    peer.send(Connect::new("publisher").encode()).unwrap();
    assert!(matches!(peer.next(), Ok(Received::ConnAck { code: 0, .. })));
    let numbers: Vec<_> = numbers.collect();
    let message = |number: &u16| {
        let payload = json!({ "number": number, "sensor": "DHT22" }).to_string();
        let mut publish = Publish::new("readings/greenhouse", payload.as_bytes());
        (publish.qos, publish.id) = (1, Some(*number));
        publish.encode()
    };
    peer.send(numbers.iter().flat_map(message).collect::<Vec<_>>()).unwrap();
    for number in numbers {
        assert_eq!(peer.next().unwrap(), Received::PubAck(number));
    }
}

const TABLE: &str = "CREATE TABLE readings (id serial PRIMARY KEY, topic text, number int, sensor text)";

/// The notes' consumer sleeps 5 s in its callback, which runs on the thread of its connection: for so long it reads nothing,
/// acknowledges nothing and sends no PINGREQ, with a Keep Alive of 6 s and a hundred messages in its socket.
///
/// It sleeps for the first three messages here, longer than one and a half times its Keep Alive. `CULEX_TEST_LONG=1`: for
/// all of them, which takes 500 s.
#[test]
fn a_consumer_that_sleeps_in_its_callback_loses_nothing() {
    const COUNT: u16 = 100;
    let Some(python) = python("aws") else { return };
    let Some(database) = Postgres::start(TABLE) else { return };
    let is_long = env::var("CULEX_TEST_LONG").is_ok_and(|value| value == "1");
    let program = Program::asking();
    let mut consumer = Consumer::start(
        &python,
        &program,
        Some(program.broker.addr.port()),
        json!({
            "database": database.address(),
            "count": COUNT,
            "sleeps": if is_long { COUNT } else { 3 },
            "sleep_s": 5,
            "patience_s": 900,
        }),
    );
    assert_eq!(consumer.says(), "CONNECTED False");
    assert_eq!(consumer.says(), "SUBSCRIBED");
    publish(&program, 1..=COUNT);
    // The publisher has all of its answers, and the consumer sleeps over the first message.
    let rows = database.query("SELECT count(*) FROM readings");
    assert!(rows.trim().parse::<u16>().unwrap() <= 2, "the publisher waited for the consumer: {rows}");
    let expected: Vec<_> = (1..=COUNT).map(|number| format!("ROW {number}")).collect();
    assert_eq!(consumer.finish(), expected, "each once, in order, without INTERRUPTED");
    let rows = database.query("SELECT topic, number, sensor FROM readings ORDER BY id");
    let expected: String =
        (1..=COUNT).map(|number| format!("readings/greenhouse|{number}|DHT22\n")).collect();
    assert_eq!(rows, expected);
}

#[test]
fn what_came_while_the_sdk_was_away_is_there_when_it_is_back() {
    let Some(python) = python("aws") else { return };
    let Some(database) = Postgres::start(TABLE) else { return };
    let program = Program::asking();
    let port = Some(program.broker.addr.port());
    let start = |more| Consumer::start(&python, &program, port, more);
    let mut first = start(json!({ "database": database.address(), "count": 1 }));
    assert_eq!(first.says(), "CONNECTED False");
    assert_eq!(first.says(), "SUBSCRIBED");
    publish(&program, 1..=1);
    assert_eq!(first.finish(), ["ROW 1"]);
    publish(&program, 2..=40);
    let again = start(json!({ "database": database.address(), "count": 39, "topic": null }));
    let mut said = again.finish();
    // The callback may be faster than the future.
    said.retain(|line| line != "CONNECTED True");
    assert_eq!(said, (2..=40).map(|number| format!("ROW {number}")).collect::<Vec<_>>());
    assert_eq!(database.query("SELECT count(*), max(number) FROM readings").trim(), "40|40");
}

/// Without `port` the SDK takes 443, which only a network of our own can give us: the case runs itself again in one.
#[test]
fn the_sdk_finds_its_own_port_and_protocol() {
    const INSIDE: &str = "CULEX_TEST_OWN_NETWORK";
    let Some(python) = python("aws") else { return };
    if env::var_os(INSIDE).is_some() {
        let program = Program::asking_at(443, "");
        let mut consumer = Consumer::start(&python, &program, None, json!({ "database": null, "count": 1 }));
        assert_eq!(consumer.says(), "CONNECTED False");
        assert_eq!(consumer.says(), "SUBSCRIBED");
        publish(&program, 1..=1);
        assert_eq!(consumer.finish(), ["ROW 1"]);
        drop(program);
        // Where the protocol that it asks for there is not known, it does not come in: so it did ask.
        let program = Program::asking_at(443, "alpn = [\"mqtt\"]");
        let _consumer = Consumer::start(&python, &program, None, json!({ "database": null, "count": 1 }));
        // Python takes its time to begin.
        let is_asked = || program.broker.log().contains("ALPN");
        assert!((0..10).any(|_| eventually(is_asked)), "{}", program.broker.log());
        return;
    }
    if !has("unshare") || !has("ip") {
        return;
    }
    let own_network = |more: &[&str]| {
        let mut command = Command::new("unshare");
        command.arg("--net").args(more).args(["sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]);
        command
    };
    // Root needs no user namespace, and others need one, where the system has them.
    let ways: [&[&str]; 2] = [&[], &["--map-root-user"]];
    let works =
        |way: &&[&str]| own_network(way).arg("true").output().is_ok_and(|output| output.status.success());
    let Some(way) = ways.into_iter().find(works) else {
        return skip("this user may not have a network of their own");
    };
    let output = own_network(way)
        .arg(env::current_exe().unwrap())
        .args(["--exact", "aws::the_sdk_finds_its_own_port_and_protocol", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("1 passed"), "{}", text(&output));
}
