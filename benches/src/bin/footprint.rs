//! What a newcomer feels: time to the first accepted connection, size of the binary, memory at start and for each
//! idle connection. Any broker can be measured whose command line is given.
//!
//! ```console
//! cargo build --release && cargo run --release -p culex-benches --bin footprint -- 10000 target/release/culex -p 21883 --ephemeral
//! cargo run --release -p culex-benches --bin footprint -- 10000 mosquitto -p 21883
//! ```
//!
//! The port stands behind `-p`. The limit of open files has to be above the number of connections (`ulimit -n`), and
//! more than about 28,000 connections from one address run out of ports.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const STARTS: usize = 11;

#[expect(clippy::print_stdout, reason = "its result is what it prints")]
fn main() -> Result<()> {
    if culex_benches::is_help(include_str!("footprint.rs")) {
        return Ok(());
    }
    let mut arguments = std::env::args().skip(1);
    let connections: usize =
        arguments.next().ok_or("usage: footprint CONNECTIONS BROKER ARGUMENTS…")?.parse()?;
    let command: Vec<String> = arguments.collect();
    let port: u16 =
        command.iter().skip_while(|word| *word != "-p").nth(1).ok_or("the broker needs -p PORT")?.parse()?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));

    let mut starts: Vec<Duration> = Vec::new();
    for _ in 0..STARTS {
        let (broker, took) = start(&command, address)?;
        starts.push(took);
        end(broker)?;
    }
    starts.sort();
    println!(
        "start to accepted CONNECT: median {:?} ({:?} … {:?}, {STARTS} starts)",
        starts.get(STARTS / 2).ok_or("no start")?,
        starts.first().ok_or("no start")?,
        starts.last().ok_or("no start")?
    );

    let (broker, _) = start(&command, address)?;
    let at_start = resident_kib(&broker)?;
    println!("resident at start: {at_start} KiB");
    let idle = hold(connections, address)?;
    let with_connections = resident_kib(&broker)?;
    let each = (with_connections.saturating_sub(at_start)) as f64 * 1024.0 / connections as f64;
    println!(
        "resident with {connections} idle connections, one subscription each: {with_connections} KiB, {each:.0} bytes each"
    );
    let before = cpu_ticks(&broker)?;
    std::thread::sleep(Duration::from_secs(5));
    println!("CPU of these idle connections in 5 s: {} ticks of 10 ms", cpu_ticks(&broker)? - before);
    drop(idle);
    end(broker)
}

/// Starts the broker and connects as soon as it lets us.
fn start(command: &[String], address: SocketAddr) -> Result<(Child, Duration)> {
    let (program, arguments) = command.split_first().ok_or("no broker given")?;
    let began = Instant::now();
    let mut broker =
        Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    while began.elapsed() < Duration::from_secs(10) {
        if let Some(status) = broker.try_wait()? {
            return Err(format!("the broker ended: {status}").into());
        }
        if connect(address, "first").is_ok() {
            return Ok((broker, began.elapsed()));
        }
        std::thread::yield_now();
    }
    broker.kill()?;
    Err("the broker took no connection within 10 s".into())
}

fn end(mut broker: Child) -> Result<()> {
    broker.kill()?;
    broker.wait()?;
    Ok(())
}

fn connect(address: SocketAddr, id: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    let mut packet = vec![0x10, 0, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 0];
    packet.extend_from_slice(id.as_bytes());
    for (at, value) in [(1, packet.len() - 2), (13, id.len())] {
        *packet.get_mut(at).ok_or("short packet")? = u8::try_from(value)?;
    }
    stream.write_all(&packet)?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    if answer != [0x20, 2, 0, 0] {
        return Err(format!("CONNACK {answer:?}").into());
    }
    Ok(stream)
}

fn hold(connections: usize, address: SocketAddr) -> Result<Vec<TcpStream>> {
    (0..connections)
        .map(|number| {
            let mut stream = connect(address, &format!("idle-{number:06}"))?;
            // A filter of its own for each.
            let filter = format!("idle/{number}");
            let mut packet =
                vec![0x82, u8::try_from(filter.len() + 5)?, 0, 1, 0, u8::try_from(filter.len())?];
            packet.extend_from_slice(filter.as_bytes());
            packet.push(0);
            stream.write_all(&packet)?;
            let mut answer = [0; 5];
            stream.read_exact(&mut answer)?;
            Ok(stream)
        })
        .collect()
}

fn resident_kib(broker: &Child) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", broker.id()))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}

fn cpu_ticks(broker: &Child) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", broker.id()))?;
    let fields: Vec<&str> = stat.rsplit(") ").next().ok_or("no stat")?.split(' ').collect();
    let field = |index: usize| -> Result<u64> { Ok(fields.get(index).ok_or("short stat")?.parse()?) };
    Ok(field(11)? + field(12)?)
}
