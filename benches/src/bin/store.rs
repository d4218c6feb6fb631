//! What keeping costs: QoS 1 from some publishers to one persistent subscriber, for each durability.
//!
//! `cargo run --release -p culex-benches --bin store -- [SECONDS [PUBLISHERS IN_FLIGHT]] [online|offline] [none|kill|power]`
//! prints a table, or some rows of it. The broker and the load share the machine, in one process. The time ends when the subscriber has everything. Beside each rate with nobody there stands
//! what SQLite gives who only writes: one row with topic and payload for each message, in transactions of as many messages,
//! by itself on the same disk.

#![expect(clippy::print_stdout, reason = "a table is what it is for")]

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use culex_benches::disk::syncs_per_second;
use culex_core::limits::{Limit, Limits};
use culex_core::{Broker, Durability};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const PAYLOAD: usize = 100;

fn main() -> Outcome<()> {
    if culex_benches::is_help(include_str!("store.rs")) {
        return Ok(());
    }
    let (numbers, words): (Vec<_>, Vec<_>) =
        std::env::args().skip(1).partition(|text| text.starts_with(|first: char| first.is_ascii_digit()));
    let numbers = numbers.iter().map(|text| text.parse()).collect::<Result<Vec<u16>, _>>()?;
    let is_wanted = |wanted: &str, of: &[&str]| {
        !words.iter().any(|word| of.contains(&word.as_str())) || words.iter().any(|word| word == wanted)
    };
    let seconds = numbers.first().map_or(2, |seconds| u64::from(*seconds));
    let shapes = match numbers[..] {
        [_, publishers, window] => vec![(usize::from(publishers), window)],
        _ => vec![(1, 1), (16, 100), (50, 100), (256, 1), (256, 100)],
    };
    let time = Duration::from_secs(seconds);
    let syncs = syncs_per_second(tempfile::tempdir()?.path(), time)?;
    println!("A single writer (4 KiB appended, fdatasync) gets {syncs:.0} syncs per second.\n");
    println!(
        "| publishers × in flight | subscriber | mode | messages/s | commits/s | messages per commit | elided | SQLite alone/s | of that |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for (publishers, window) in shapes {
        for is_online in [true, false] {
            for mode in [None, Some(Durability::Kill), Some(Durability::Power)] {
                if is_wanted(subscriber(is_online), &["online", "offline"])
                    && is_wanted(&name(mode), &["none", "kill", "power"])
                {
                    measure(publishers, window, is_online, mode, time)?;
                }
            }
        }
    }
    Ok(())
}

fn measure(
    publishers: usize,
    window: u16,
    is_online: bool,
    mode: Option<Durability>,
    time: Duration,
) -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let limits = Limits {
        queue_messages: Limit::Unlimited,
        queue_bytes: Limit::Unlimited,
        queue_total_bytes: Limit::Unlimited,
        ..Limits::default()
    };
    let mut builder = Broker::builder().listen(SocketAddr::from(([127, 0, 0, 1], 0))).limits(limits);
    if let Some(mode) = mode {
        builder = builder.store(directory.path()).durability(mode);
    }
    let broker = builder.start_on_own_runtime()?;
    let address = broker.local_addrs().pop().ok_or("no address")?;
    let (is_over, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut stream = connect(address, "subscriber", false)?;
    stream.write_all(&[0x82, 6, 0, 1, 0, 1, b't', 1])?;
    read_packet(&mut stream)?;
    let mut stream = Some(stream).filter(|_| is_online);
    let before = counts(&broker);
    let began = Instant::now();
    let ended = thread::scope(|scope| -> Outcome<Instant> {
        for number in 0..publishers {
            let (is_over, acknowledged) = (&is_over, &acknowledged);
            let stream = connect(address, &format!("publisher {number}"), true)?;
            scope.spawn(move || publish(stream, window, is_over, acknowledged));
        }
        let receiver = stream.take().map(|stream| scope.spawn(move || receive(stream)));
        thread::sleep(time);
        is_over.store(true, Ordering::Relaxed);
        let ended = Instant::now();
        let Some(receiver) = receiver else { return Ok(ended) };
        Ok(receiver.join().map_err(|_| "the subscriber failed")?.max(ended))
    })?;
    let took = ended.duration_since(began).as_secs_f64();
    let after = counts(&broker);
    let messages = acknowledged.load(Ordering::Relaxed) as f64;
    let commits = (after.0 - before.0) as f64;
    let (name, who) = (name(mode), subscriber(is_online));
    broker.runtime().block_on(broker.shutdown(Duration::from_secs(60)))?;
    let batch = if commits > 0.0 { messages / commits } else { 0.0 };
    let alone = match mode {
        Some(mode) if !is_online => {
            let alone = sqlite_alone(directory.path(), mode, batch.round() as usize, time)?;
            format!("{alone:.0} | {:.0} %", 100.0 * messages / took / alone)
        }
        Some(_) | None => "– | –".to_owned(),
    };
    println!(
        "| {publishers} × {window} | {who} | {name} | {:.0} | {:.0} | {batch:.1} | {:.0} % | {alone} |",
        messages / took,
        commits / took,
        100.0 * (after.1 - before.1) as f64 / messages.max(1.0),
    );
    Ok(())
}

fn name(mode: Option<Durability>) -> String {
    mode.map_or("none".to_owned(), |mode| format!("{mode:?}").to_lowercase())
}

fn subscriber(is_online: bool) -> &'static str {
    if is_online { "online" } else { "offline" }
}

/// Messages per second.
fn sqlite_alone(directory: &Path, mode: Durability, batch: usize, time: Duration) -> Outcome<f64> {
    let mut connection = rusqlite::Connection::open(directory.join("alone.db"))?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(
        None,
        "synchronous",
        if mode == Durability::Power { "FULL" } else { "NORMAL" },
    )?;
    connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
    connection.execute_batch("CREATE TABLE message(id INTEGER PRIMARY KEY, topic TEXT, payload BLOB);")?;
    let (began, mut messages) = (Instant::now(), 0_i64);
    while began.elapsed() < time {
        let transaction = connection.transaction()?;
        {
            let mut message = transaction.prepare_cached("INSERT INTO message VALUES (?1, 't', ?2)")?;
            for _ in 0..batch.max(1) {
                messages += 1;
                message.execute((messages, [b'x'; PAYLOAD]))?;
            }
        }
        transaction.commit()?;
    }
    Ok(messages as f64 / began.elapsed().as_secs_f64())
}

fn counts(broker: &Broker) -> (u64, u64) {
    let metrics = broker.metrics();
    (metrics.get("store_commits").unwrap_or(0), metrics.get("store_elided").unwrap_or(0))
}

fn connect(address: SocketAddr, client_id: &str, is_clean: bool) -> Outcome<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let id_len = u8::try_from(client_id.len())?;
    let mut packet = vec![0x10, 12 + id_len, 0, 4, b'M', b'Q', b'T', b'T', 4, u8::from(is_clean) << 1, 0, 0];
    packet.extend([0, id_len]);
    packet.extend(client_id.as_bytes());
    stream.write_all(&packet)?;
    read_packet(&mut stream)?;
    Ok(stream)
}

fn read_packet(stream: &mut TcpStream) -> Outcome<()> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    stream.read_exact(&mut vec![0; usize::from(head[1])])?;
    Ok(())
}

/// Keeps `window` messages unacknowledged; PUBACKs are four bytes each.
fn publish(mut stream: TcpStream, window: u16, is_over: &AtomicBool, acknowledged: &AtomicU64) -> Option<()> {
    let mut message = vec![0x32, u8::try_from(PAYLOAD + 5).ok()?, 0, 1, b't', 0, 0];
    message.resize(PAYLOAD + 7, b'x');
    let (mut id, mut free, mut buffer, mut rest) = (0_u16, window, [0; 4096], 0);
    while !is_over.load(Ordering::Relaxed) {
        let mut batch = Vec::with_capacity(usize::from(free) * message.len());
        for _ in 0..std::mem::take(&mut free) {
            id = id % 60_000 + 1;
            message.get_mut(5..7)?.copy_from_slice(&id.to_be_bytes());
            batch.extend_from_slice(&message);
        }
        stream.write_all(&batch).ok()?;
        rest += stream.read(&mut buffer).ok()?;
        free = u16::try_from(rest / 4).ok()?;
        rest %= 4;
        acknowledged.fetch_add(u64::from(free), Ordering::Relaxed);
    }
    Some(())
}

/// Acknowledges everything until nothing comes for a while. Says when the last of it came.
fn receive(mut stream: TcpStream) -> Instant {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    let (size, mut answers) = (PAYLOAD + 7, Vec::new());
    let mut last = Instant::now();
    while let Some(new) =
        stream.read(&mut buffer).ok().and_then(|len| buffer.get(..len).filter(|new| !new.is_empty()))
    {
        last = Instant::now();
        bytes.extend_from_slice(new);
        let whole = bytes.len() / size * size;
        answers.clear();
        for message in bytes.chunks_exact(size) {
            answers.extend_from_slice(&[0x40, 2]);
            answers.extend(message.get(5..7).into_iter().flatten());
        }
        bytes.drain(..whole);
        if stream.write_all(&answers).is_err() {
            break;
        }
    }
    last
}
