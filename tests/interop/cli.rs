//! Options of `mosquitto_sub` and `mosquitto_pub` that scripts lean on.

use std::process::Command;

use crate::actor::{Actor, Outcome};
use crate::event::Message;
use crate::kind::Kind;
use crate::setup::{Connect, Publish, Subscribe, UnderTest, Until};

fn start(broker: &UnderTest, program: &str, arguments: &[&str]) -> Actor {
    let mut command = Command::new("stdbuf");
    command.args([
        "-oL",
        program,
        "-h",
        &broker.addr.ip().to_string(),
        "-p",
        &broker.addr.port().to_string(),
    ]);
    command.args(arguments);
    Actor::spawn(format!("Mosquitto {program} {}", arguments.join(" ")), &mut command)
}

fn run(broker: &UnderTest, program: &str, arguments: &[&str]) -> Outcome {
    start(broker, program, arguments).finish_with_input(&[])
}

fn status(outcome: &Outcome) -> Option<i32> {
    outcome.status.and_then(|status| status.code())
}

#[test]
fn a_subscriber_with_a_count_ends_after_it() {
    if !Kind::Mosquitto.is_installed() {
        return;
    }
    let broker = UnderTest::start();
    let what = Subscribe { filter: "count/#", qos: 1, until: Until::Messages(3) };
    let mut subscriber = Kind::Mosquitto.subscribe(broker.addr, &Connect::new("counter"), &what);
    subscriber.subscribed();
    let payloads: Vec<String> = (0..5).map(|n: u8| n.to_string()).collect();
    Kind::Mosquitto.publish(broker.addr, &Connect::new("five"), &Publish::new("count/a", 1), &payloads);
    let outcome = subscriber.finish();
    let expected: Vec<_> = ["0", "1", "2"].map(|payload| Message::new("count/a", payload, 1)).into();
    assert_eq!(outcome.messages, expected);
    assert_eq!(status(&outcome), Some(0));
}

#[test]
fn a_subscriber_with_a_time_limit_ends_with_its_status_for_that() {
    if !Kind::Mosquitto.is_installed() {
        return;
    }
    let broker = UnderTest::start();
    run(&broker, "mosquitto_pub", &["-t", "limit/kept", "-m", "kept", "-q", "1", "-r"]);
    let outcome = start(&broker, "mosquitto_sub", &["-t", "limit/#", "-W", "1", "-v"]).run_to_end();
    assert_eq!(outcome.said.first().map(String::as_str), Some("limit/kept kept"), "{:?}", outcome.said);
    assert_eq!(status(&outcome), Some(27), "{:?}", outcome.said);
    // With both, the count comes first.
    let outcome = run(&broker, "mosquitto_sub", &["-t", "limit/#", "-W", "100", "-C", "1"]);
    assert_eq!(outcome.said, ["kept"]);
}

#[test]
fn a_subscriber_can_leave_out_retained_messages_and_topics() {
    if !Kind::Mosquitto.is_installed() {
        return;
    }
    let broker = UnderTest::start();
    for topic in ["out/a", "out/b"] {
        run(&broker, "mosquitto_pub", &["-t", topic, "-m", "old", "-r", "-q", "1"]);
    }
    let options = ["-i", "picky", "-t", "out/#", "-R", "-T", "out/b", "-C", "1", "-d", "-F", "got %t %p"];
    let mut picky = start(&broker, "mosquitto_sub", &options);
    picky.subscribed();
    run(&broker, "mosquitto_pub", &["-t", "out/b", "-m", "new", "-q", "1"]);
    run(&broker, "mosquitto_pub", &["-t", "out/a", "-m", "new", "-q", "1"]);
    let said = picky.finish().said;
    let got: Vec<_> = said.iter().filter(|line| line.starts_with("got ")).collect();
    assert_eq!(got, ["got out/a new"]);
}

#[test]
fn a_publisher_can_repeat_read_its_input_and_take_a_url() {
    if !Kind::Mosquitto.is_installed() {
        return;
    }
    let broker = UnderTest::start();
    let what = Subscribe { filter: "publisher/#", qos: 2, until: Until::Messages(6) };
    let mut subscriber = Kind::Mosquitto.subscribe(broker.addr, &Connect::new("reader"), &what);
    subscriber.subscribed();
    run(&broker, "mosquitto_pub", &["-t", "publisher/repeat", "-m", "again", "-q", "2", "--repeat", "3"]);
    let input = ["all of", "the input"].map(str::to_owned);
    let pipe = start(&broker, "mosquitto_pub", &["-t", "publisher/input", "-q", "1", "-l"]);
    pipe.finish_with_input(&input);
    let url = format!("mqtt://someone:secret@{}/publisher/url", broker.addr);
    let mut command = Command::new("mosquitto_pub");
    command.args(["-L", &url, "-m", "by url", "-q", "1"]);
    Actor::spawn("Mosquitto url".to_owned(), &mut command).finish();
    let expected = [
        Message::new("publisher/input", "all of", 1),
        Message::new("publisher/input", "the input", 1),
        Message::new("publisher/repeat", "again", 2),
        Message::new("publisher/repeat", "again", 2),
        Message::new("publisher/repeat", "again", 2),
        Message::new("publisher/url", "by url", 1),
    ];
    // With `--repeat` it ends before its last message is acknowledged, so another publisher may come first.
    let mut messages = subscriber.finish().messages;
    messages.sort_by(|one, other| one.topic.cmp(&other.topic));
    assert_eq!(messages, expected);
}
