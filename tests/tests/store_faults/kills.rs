//! `kill -9` where a store is vulnerable: while it starts, while the log moves into the tables, while it ends; and SIGTERM
//! under load.

use std::time::Instant;

use super::*;

const CALLS: &str = "pwrite64,write,fsync,fdatasync,ftruncate,unlink,rename";

/// What matters of a store: sessions with their filters and queues, and Retained Messages.
type Content = (Vec<(String, Vec<String>, Vec<String>)>, Vec<(String, Vec<u8>)>);

fn content(mut found: Found) -> Content {
    let stored = &found.stored;
    let sessions = stored.sessions.iter().map(|session| {
        let filters = session.subscriptions.iter().map(|one| one.filter.to_string()).collect();
        (session.client_id.to_string(), filters, found.queues.remove(&*session.client_id).unwrap())
    });
    let retained = stored.retained.iter().map(|(_, message)| {
        let payload: &[u8] = &message.payload;
        (message.topic().as_str().to_owned(), payload.to_vec())
    });
    (sessions.collect(), retained.collect())
}

/// Killed at the n-th call of each thread; if it is never so far, it is stopped in order.
fn run_and_kill(state: &Path, n: u32) -> bool {
    let wrapper = strace::injecting(CALLS, &format!("signal=KILL:when={n}"));
    let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
    let status = match Broker::start_below(&wrapper, &configuration(state, "power", "")) {
        Err(ended) => ended.status,
        Ok(mut broker) => {
            broker.terminate();
            broker.wait(PATIENCE)
        }
    };
    assert!(status.code().is_none_or(|code| code == 0), "{n}: {status:?}");
    status.code().is_none()
}

#[test]
fn a_kill_during_start_or_end_changes_nothing() {
    if !strace::is_usable() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let origin = directory.path().join("origin");
    let broker = Broker::start_with_config(&configuration(&origin, "kill", ""));
    Notary::default().run(&broker, 20).unwrap();
    let mut publisher = connect(&broker, &Connect::new("more")).unwrap();
    for id in 1..=2000 {
        publisher.send(Publish::new("t", format!("{id} {}", "x".repeat(500))).qos(1, id).encode());
        if id % 100 == 0 {
            (id - 99..=id).for_each(|id| answer(&mut publisher, &Received::PubAck(id)).unwrap());
        }
    }
    // SIGKILL: all of it is in the log.
    drop(broker);
    let before = content(found_in_a_copy(&origin));
    assert_eq!(before.0.iter().map(|(_, _, queue)| queue.len()).max(), Some(2020));
    let (mut n, mut kills, mut survived) = (1, 0, 0);
    while survived < 4 {
        let state = directory.path().join(format!("killed at {n}"));
        std::fs::create_dir(&state).unwrap();
        copy_files(&origin, &state);
        let is_killed = run_and_kill(&state, n);
        // And once more while it recovers from that.
        let is_killed_again = run_and_kill(&state, n / 2 + 1);
        assert_eq!(content(found_in_a_copy(&state)), before, "killed at {n}");
        std::fs::remove_dir_all(&state).unwrap();
        kills += u32::from(is_killed) + u32::from(is_killed_again);
        survived = if is_killed { 0 } else { survived + 1 };
        n += 1 + n / 6;
    }
    println!("{kills} kills, up to the call {n}");
    assert!(kills > 10);
}

#[test]
fn a_kill_while_the_log_moves_into_the_tables_loses_nothing() {
    if !strace::is_usable() {
        return;
    }
    // 16 MiB of log are about 8,000 writes; those behind are a checkpoint.
    for n in [8_200, 8_900, 9_600, 10_300] {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let wrapper = strace::injecting("pwrite64", &format!("signal=KILL:when={n}"));
        let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
        let limits = "[limits]\nqueue_bytes = \"unlimited\"\n";
        let mut broker = Broker::start_below(&wrapper, &configuration(&state, "kill", limits)).unwrap();
        let acknowledged = load(&broker, 4000, |_| {});
        assert_eq!(broker.wait(PATIENCE).code(), None, "it was not killed");
        check_load(&state, &acknowledged);
        let tables = std::fs::metadata(state.join("culex.db")).unwrap().len();
        println!("killed at write {n}: {} acknowledged, tables of {tables} bytes", acknowledged.len());
    }
}

#[test]
fn sigterm_under_load_ends_soon_and_loses_nothing() {
    for durability in ["power", "kill"] {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let limits = "[limits]\nqueue_messages = \"unlimited\"\nqueue_bytes = \"unlimited\"\n";
        let mut broker = Broker::start_with_config(&configuration(&state, durability, limits));
        let mut began = None;
        let acknowledged = load(&broker, 1000, |count| {
            if count == 2000 {
                broker.terminate();
                began = Some(Instant::now());
            }
        });
        assert_eq!(broker.wait(PATIENCE).code(), Some(0), "{}", broker.log());
        println!(
            "{durability}: ended {:?} after SIGTERM, {} acknowledged",
            began.unwrap().elapsed(),
            acknowledged.len()
        );
        check_load(&state, &acknowledged);
    }
}

/// Publishes for an absent reader until the broker ends, 100 at a time; the numbers that were acknowledged.
fn load(broker: &Broker, bytes: usize, mut on_count: impl FnMut(usize)) -> Vec<u32> {
    let mut reader = connect(broker, &Connect::new("reader").persistent()).unwrap();
    reader.send(wire::subscribe(1, &[("t", 1)]));
    answer(&mut reader, &Received::SubAck(1, vec![1])).unwrap();
    reader.drop_connection();
    let mut publisher = connect(broker, &Connect::new("publisher")).unwrap();
    let (mut sent, mut acknowledged) = (0_u32, Vec::new());
    loop {
        while sent < u32::try_from(acknowledged.len()).unwrap() + 100 {
            sent += 1;
            let id = u16::try_from((sent - 1) % 60_000 + 1).unwrap();
            publisher.send(Publish::new("t", format!("{sent} {}", "x".repeat(bytes))).qos(1, id).encode());
        }
        let number = u32::try_from(acknowledged.len()).unwrap() + 1;
        let id = u16::try_from((number - 1) % 60_000 + 1).unwrap();
        if answer(&mut publisher, &Received::PubAck(id)).is_none() {
            return acknowledged;
        }
        acknowledged.push(number);
        on_count(acknowledged.len());
    }
}

fn check_load(state: &Path, acknowledged: &[u32]) {
    let found = found_in_a_copy(state).queues.remove("reader").unwrap();
    let numbers: Vec<u32> =
        found.iter().map(|text| text.split(' ').next().unwrap().parse().unwrap()).collect();
    assert_eq!(numbers.get(..acknowledged.len()), Some(acknowledged), "acknowledged, and not kept in order");
    assert!(numbers.iter().zip(1..).all(|(number, place)| *number == place), "what came, without a gap");
}
