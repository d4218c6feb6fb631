//! Messages per second from one client to another, in the broker's process and over TCP loopback, in one run:
//! `cargo run --release -p culex-benches --bin in_process [SECONDS]`.
//!
//! Beside the rate stands the CPU time of the whole process per message, which is steadier on a busy machine. 100-byte messages, at most 500 ahead of the receiver; QoS 1 with 20 in flight on both ways. Both kinds of client run on
//! the same two tokio threads beside one lane, so over TCP each message costs the clients' system calls too.

#![expect(clippy::print_stdout, reason = "it prints its result")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use culex_codec::TopicFilter;
use culex_core::client::{Connection, Event, Options, Publication, Session};
use culex_core::{Broker, QoS};
use tokio::sync::Semaphore;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Messages per second, and CPU time per message in µs.
type Figures = (f64, f64);

const PAYLOAD: &[u8] = &[b'x'; 100];
const AHEAD: usize = 500;
const IN_FLIGHT: u16 = 20;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    if culex_benches::is_help(include_str!("in_process.rs")) {
        return Ok(());
    }
    let seconds = std::env::args().nth(1).map_or(Ok(2.0), |text| text.parse())?;
    let duration = Duration::try_from_secs_f64(seconds)?;
    let broker = Broker::builder().listen(([127, 0, 0, 1], 0)).start().await?;
    for round in 1..=7 {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            let inside = in_process(&broker, qos, duration).await?;
            let outside = over_tcp(&broker, qos, duration).await?;
            println!(
                "round {round}  QoS {}  in process {:>9.0}/s {:>5.2} µs  TCP {:>9.0}/s {:>5.2} µs",
                qos.bits(),
                inside.0,
                inside.1,
                outside.0,
                outside.1
            );
        }
    }
    broker.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}

async fn in_process(broker: &Broker, qos: QoS, duration: Duration) -> Result<Figures> {
    let (receiver, mut inbox) = broker.client("receiver").await?;
    receiver.subscribe("t", qos).await?;
    let (sender, sender_inbox) = broker.client("sender").await?;
    let room = Arc::new(Semaphore::new(AHEAD));
    // A publish at QoS 1 waits for its PUBACK, so several tasks keep the window full.
    let senders = if qos == QoS::AtMostOnce { 1 } else { IN_FLIGHT };
    let tasks: Vec<_> = (0..senders)
        .map(|_| {
            let (sender, room) = (sender.clone(), Arc::clone(&room));
            tokio::spawn(async move {
                while let Ok(permit) = room.acquire().await {
                    permit.forget();
                    if sender.publish("t", PAYLOAD, qos).await.is_err() {
                        return;
                    }
                }
            })
        })
        .collect();
    let (begin, cpu) = (Instant::now(), cpu_seconds()?);
    let mut count = 0_u32;
    while begin.elapsed() < duration {
        inbox.next().await.ok_or("the client ended")?;
        room.add_permits(1);
        count += 1;
    }
    let rate = f64::from(count) / begin.elapsed().as_secs_f64();
    let cpu = (cpu_seconds()? - cpu) * 1e6 / f64::from(count);
    room.close();
    for task in tasks {
        task.await?;
    }
    drop((receiver, sender, sender_inbox));
    Ok((rate, cpu))
}

async fn over_tcp(broker: &Broker, qos: QoS, duration: Duration) -> Result<Figures> {
    let mut receiver = connect(broker, "tcp-receiver").await?;
    receiver.subscribe(&[(TopicFilter::new("t")?, qos)])?;
    while !matches!(receiver.event().await?, Event::Subscribed { .. }) {}
    let mut sender = connect(broker, "tcp-sender").await?;
    let room = Arc::new(Semaphore::new(AHEAD));
    let sending = tokio::spawn({
        let room = Arc::clone(&room);
        async move {
            loop {
                tokio::select! {
                    biased;
                    permit = room.acquire(), if sender.has_room() => match permit {
                        Ok(permit) => {
                            permit.forget();
                            sender.publish(Publication::new("t", PAYLOAD, qos))?;
                        }
                        Err(_) => return Result::Ok(()),
                    },
                    event = sender.event() => drop(event?),
                }
            }
        }
    });
    let (begin, cpu) = (Instant::now(), cpu_seconds()?);
    let mut count = 0_u32;
    while begin.elapsed() < duration {
        if let Event::Message(_) = receiver.event().await? {
            room.add_permits(1);
            count += 1;
        }
    }
    let rate = f64::from(count) / begin.elapsed().as_secs_f64();
    let cpu = (cpu_seconds()? - cpu) * 1e6 / f64::from(count);
    room.close();
    sending.await??;
    Ok((rate, cpu))
}

async fn connect(broker: &Broker, client_id: &str) -> Result<Connection> {
    let address = broker.local_addrs().pop().ok_or("no listener")?;
    let mut options = Options::default();
    options.host = address.ip().to_string();
    options.port = address.port();
    options.client_id = client_id.to_owned();
    options.in_flight = IN_FLIGHT;
    Ok(Connection::open(&options, Session::default()).await?)
}

/// CPU time of this process in seconds, to 10 ms.
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("/proc/self/stat")?;
    let mut ticks = 0;
    for field in fields.split_whitespace().skip(11).take(2) {
        ticks += field.parse::<u32>()?;
    }
    Ok(f64::from(ticks) / 100.0)
}
