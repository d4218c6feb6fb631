//! No space: the broker stays, keeps its word, and goes on when there is space.

use std::process::Command;
use std::thread;

use super::strace::is_allowed;
use super::*;

/// Says that it is so, from the log.
const FULL: &str = "no space left for";
const RECOVERED: &str = "the store has space again";

/// Files of the process may not become larger; `None` is without a limit.
fn limit_files(broker: &Broker, bytes: Option<u64>) {
    let limit = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
    // The soft limit, so that it can be raised again.
    let argument = format!("--fsize={limit}:unlimited");
    let status = Command::new("prlimit").args(["--pid", &broker.pid().to_string(), &argument]).status();
    assert!(status.as_ref().is_ok_and(std::process::ExitStatus::success), "prlimit: {status:?}");
}

/// A little more than the store has.
fn limit_to_what_is_there(broker: &Broker, state: &Path) {
    let log = std::fs::metadata(state.join("culex.db-wal")).unwrap().len();
    limit_files(broker, Some(log + (64 << 10)));
}

fn absent_reader(broker: &Broker) {
    let mut reader = connect(broker, &Connect::new("reader").persistent()).unwrap();
    reader.send(wire::subscribe(1, &[("t", 1)]));
    answer(&mut reader, &Received::SubAck(1, vec![1])).unwrap();
    // Not read any more, so nothing is elided.
    reader.drop_connection();
}

fn payload(id: u16) -> String {
    format!("{id} {}", "x".repeat(1000))
}

fn publish(id: u16) -> Vec<u8> {
    Publish::new("t", payload(id)).qos(1, id).encode()
}

#[test]
fn a_limit_on_the_size_of_files_is_outlasted() {
    const MESSAGES: u16 = 300;
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let mut broker = Broker::start_with_config(&configuration(&state, "power", ""));
    absent_reader(&broker);
    let mut live = connect(&broker, &Connect::new("live")).unwrap();
    live.send(wire::subscribe(1, &[("#", 0)]));
    answer(&mut live, &Received::SubAck(1, vec![0])).unwrap();
    let keep_alive = |id| Connect { keep_alive: 1, ..Connect::new(id) };
    let mut publisher = connect(&broker, &keep_alive("publisher")).unwrap();
    limit_to_what_is_there(&broker, &state);
    publisher.send((1..MESSAGES).flat_map(publish).collect::<Vec<u8>>());
    until("it runs full", || broker.log().contains(FULL));
    // The one behind it is not read.
    publisher.send(publish(MESSAGES));
    // Everybody else goes on, and time passes for who is silent and not waiting.
    let mut silent = connect(&broker, &keep_alive("silent")).unwrap();
    let mut clean = connect(&broker, &Connect::new("clean")).unwrap();
    clean.send(Publish::new("t", "QoS 0").encode());
    clean.send(Publish::new("other", "QoS 2").qos(2, 1).encode());
    answer(&mut clean, &Received::PubRec(1)).unwrap();
    while live.receive() != Received::Publish(Publish::new("other", "QoS 2")) {}
    assert_eq!(silent.next_within(PATIENCE), Next::Closed);
    clean.quiet();
    assert!(!broker.log().contains(RECOVERED));

    limit_files(&broker, None);
    for id in 1..=MESSAGES {
        answer(&mut publisher, &Received::PubAck(id)).expect("the publisher was closed");
    }
    until("it recovers", || broker.log().contains(RECOVERED));
    broker.terminate();
    assert_eq!(broker.wait(PATIENCE).code(), Some(0));
    let found = found_in_a_copy(&state).queues.remove("reader").unwrap();
    assert_eq!(found, (1..=MESSAGES).map(payload).collect::<Vec<_>>());
}

#[test]
fn who_waits_too_long_is_closed_and_a_stop_on_a_full_disk_keeps_what_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let configuration = configuration(&state, "power", "[limits]\nstall_max = \"1s\"\n");
    let mut broker = Broker::start_with_config(&configuration);
    absent_reader(&broker);
    let mut publisher = connect(&broker, &Connect::new("publisher")).unwrap();
    let mut clean = connect(&broker, &Connect::new("clean")).unwrap();
    limit_to_what_is_there(&broker, &state);
    publisher.send((1..=300).flat_map(publish).collect::<Vec<u8>>());
    let mut acknowledged = 0;
    while answer(&mut publisher, &Received::PubAck(acknowledged + 1)).is_some() {
        acknowledged += 1;
    }
    until("the reason is told", || broker.log().contains("limit stall_max"));
    assert!(broker.log().contains(FULL) && acknowledged < 300, "{acknowledged}");
    clean.quiet();
    broker.terminate();
    assert_eq!(broker.wait(Duration::from_secs(10)).code(), Some(0), "{}", broker.log());
    let found = found_in_a_copy(&state).queues.remove("reader").unwrap();
    let acknowledged: Vec<_> = (1..=acknowledged).map(payload).collect();
    assert_eq!(found.get(..acknowledged.len()), Some(acknowledged.as_slice()));
}

#[test]
fn consumers_make_the_space_that_publishers_wait_for() {
    const MESSAGES: u16 = 12_000;
    let mount = ["unshare", "-m", "sh", "-c", "mount -t tmpfs -o size=12m none \"$0\" && exec \"$@\""];
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let place = state.display().to_string();
    if !is_allowed("a mount", Command::new("unshare").args(mount.get(1..).unwrap()).args([&place, "true"])) {
        return;
    }
    let limits =
        "[limits]\nstall_max = \"1h\"\nqueue_messages = \"unlimited\"\nqueue_bytes = \"unlimited\"\n";
    let wrapper: Vec<_> = mount.into_iter().chain([place.as_str()]).collect();
    let broker = Broker::start_below(&wrapper, &configuration(&state, "power", limits)).unwrap();
    absent_reader(&broker);
    let publisher = connect(&broker, &Connect::new("publisher")).unwrap();
    let publishing = thread::spawn(move || {
        let mut publisher = publisher;
        // A socket that takes nothing for a while is what is tested.
        publisher.patience(PATIENCE);
        let (mut sent, mut acknowledged) = (0, 0);
        while acknowledged < MESSAGES {
            while sent < MESSAGES && sent < acknowledged + 200 {
                sent += 1;
                publisher.send(publish(sent));
            }
            answer(&mut publisher, &Received::PubAck(acknowledged + 1)).expect("the publisher was closed");
            acknowledged += 1;
        }
    });
    until("it runs full", || broker.log().contains(FULL));
    let mut reader = connect(&broker, &Connect::new("reader").persistent()).unwrap();
    for number in 1..=MESSAGES {
        let Next::Packet(Received::Publish(message)) = reader.next_within(PATIENCE) else {
            panic!("message {number} does not come: {}", broker.log());
        };
        assert_eq!(message.text(), payload(number));
        reader.send(wire::puback(message.id.unwrap()));
    }
    publishing.join().unwrap();
    until("it recovers", || broker.log().contains(RECOVERED));
    println!("full {} times, and nobody made space but the reader", broker.log().matches(FULL).count());
    reader.quiet();
}
