//! Very many clients that come back at once, each with a password: how long until all are connected.
//!
//! ```console
//! cargo build --release && cargo run --release -p culex-benches --bin logins -- 10000
//! cargo run --release -p culex-benches --bin logins -- 10000 argon2id
//! ```
//!
//! Each client is a user of its own. The first time each password is hashed, by as many clients at a time as there are cores, twice
//! over; then the broker remembers what proved right, and all come at once.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use culex_benches::Result;
use culex_benches::broker::{Broker, Running};
use culex_tests::wire::Connect;
use serde_json::Value;

/// Records of the password `secret`: as culex passwd writes them, with --compat, and with the rounds of mosquitto_passwd.
const RECORDS: [(&str, &str); 3] = [
    (
        "argon2id",
        "$argon2id$v=19$m=19456,t=2,p=1$zgS37NKSvpeykqsffcf/KQ$9cBOgh82Vm43AYXJtL/A00ZDCTuIO00A2WUkPnA8BAw",
    ),
    (
        "$7$, 210,000 rounds",
        "$7$210000$2Ut88icSnfwrvtT9$ulaUz8hbmbzcxDHyigDKs/tL5oQczVVBDzvZZGU1QcKb0QgQJdxEariKZ6TrMLE8u2hcs1BIx4PDnu45xysnBw==",
    ),
    (
        "$7$, 101 rounds",
        "$7$101$jBNNfmqVMOaShQzF$PHhO4v8iRs9c8Twk1Mx2TfIytr9fmmU2VpSjRGjmgw8WW4nvVaHdqd+DfdwpTfY90FNqnLfqn0KzTjXikzqKaA==",
    ),
];

#[expect(clippy::print_stdout, reason = "its result is what it prints")]
fn main() -> Result<()> {
    if culex_benches::is_help(include_str!("logins.rs")) {
        return Ok(());
    }
    let clients: usize = std::env::args().nth(1).as_deref().unwrap_or("10000").parse()?;
    println!(
        "| record | {clients} clients, hashed one by one | the same at once, remembered | p99 of a login | CPU of the broker each |"
    );
    println!("| --- | --- | --- | --- | --- |");
    let only = std::env::args().nth(2).unwrap_or_default();
    for (name, record) in RECORDS.into_iter().filter(|(name, _)| name.contains(&only)) {
        let folder = tempfile::tempdir()?;
        let mut users = String::new();
        for number in 0..clients {
            // Writing to a String cannot fail.
            let _ = writeln!(users, "u{number}:{record}");
        }
        std::fs::write(folder.path().join("users"), users)?;
        let config = folder.path().join("culex.toml");
        // The limits of a broker that expects so many from one address.
        std::fs::write(
            &config,
            format!(
                "[[listener]]\naddress = \"127.0.0.1:1883\"\n[auth]\npassword_file = {:?}\n                 [limits]\nconnections = \"unlimited\"\nsessions = \"unlimited\"\n",
                folder.path().join("users")
            ),
        )?;
        let config = config.display().to_string();
        let command = ["target/release/culex", "-c", &config, "-p", "{port}", "--ephemeral"];
        let running = Running::start(&Broker::new(name, &command))?;
        let first = hash_all(running.address, clients)?;
        let again = all_at_once(&running, clients)?;
        let number = |name: &str| again.pointer(name).and_then(Value::as_f64).unwrap_or(f64::NAN);
        println!(
            "| {name} | {:.1} s | {:.2} s | {:.2} s | {:.0} µs |",
            first.as_secs_f64(),
            number("/measured_seconds"),
            number("/latency_us/p99") / 1e6,
            number("/broker_cpu_us_each"),
        );
        running.kill()?;
    }
    Ok(())
}

/// Each user once, a few at a time: more would wait for a hash longer than a broker lets them.
fn hash_all(address: SocketAddr, clients: usize) -> Result<Duration> {
    let threads = 2 * std::thread::available_parallelism()?.get();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let log_in =
            move |thread: usize| (thread..clients).step_by(threads).try_for_each(|n| log_in(address, n));
        let handles: Vec<_> = (0..threads).map(|thread| scope.spawn(move || log_in(thread))).collect();
        handles
            .into_iter()
            .try_for_each(|handle| handle.join().unwrap_or_else(|_| Err("a thread panicked".into())))
    })?;
    Ok(begin.elapsed())
}

fn log_in(address: SocketAddr, number: usize) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(
        &Connect::new(&format!("c{number}")).credentials(&format!("u{number}"), b"secret").encode(),
    )?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    if answer == [0x20, 2, 0, 0] { Ok(()) } else { Err(format!("u{number}: CONNACK {answer:?}").into()) }
}

fn all_at_once(running: &Running, clients: usize) -> Result<Value> {
    let mut command = Command::new("target/release/culex");
    command.args(["bench", "connect", "-h", "127.0.0.1", "-p", &running.address.port().to_string()]);
    command.args(["-n", &clients.to_string(), "-c", "1", "-u", "u", "--own-users", "-P", "secret"]);
    command.args(["--drain", "60", "--json", "--broker-pid", &running.pid().to_string()]);
    let output = command.output()?;
    serde_json::from_slice(&output.stdout)
        .map_err(|_| String::from_utf8_lossy(&output.stderr).trim().to_owned().into())
}
