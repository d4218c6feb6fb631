//! Messages that webhooks carry in a second.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use culex_benches::Result;
use culex_benches::client::{Client, Unreleased};
use culex_tests::wire::Publish;

use crate::http::Api;
use crate::receiver::{Manner, Receiver};
use crate::table::Table;
use crate::{Bench, Cost, free_port};

/// Messages that the publisher is ahead of the receiver, at most: each lane has something to do, and memory is bounded.
const AHEAD: u64 = 16_384;
const TOPICS: u64 = 1024;
/// So many that they fill requests of all lanes, also while the publisher waits for the last acknowledgement.
const TOGETHER: u64 = 4096;
const WARM_UP: Duration = Duration::from_millis(500);
const TURN: Duration = Duration::from_millis(1);

/// To a local receiver that answers at once.
pub(crate) fn throughput(bench: &Bench) -> Result<Table> {
    let mut table = Table::new(
        &["concurrency", "batch, at most", "messages/s", "broker CPU µs each", "broker cores", "foreign"],
        None,
    );
    let rows = [(1, 1), (8, 1), (64, 1), (1, 100), (8, 100), (64, 100)];
    let names = |(concurrency, batch): &(u32, u32)| [concurrency.to_string(), batch.to_string()];
    bench
        .interleave(&mut table, &rows, names, |(concurrency, batch)| measure(bench, *concurrency, *batch))?;
    Ok(table)
}

fn measure(bench: &Bench, concurrency: u32, batch: u32) -> Result<Vec<f64>> {
    let receiver = Receiver::start(&bench.runtime, Manner::Prompt)?;
    let port = free_port()?;
    let broker = bench.broker(&format!(
        "[http]\naddress = \"127.0.0.1:{port}\"\n[[webhook]]\nname = \"w\"\nurl = \"http://{}/\"\ntopics = [\"hook/#\"]\nconcurrency = {concurrency}\nbatch = {batch}\n",
        receiver.address
    ))?;
    // What is published before its lanes have subscribed is not for it, and would be waited for in vain.
    Api::of(&broker, port)?.await_sum("culex_subscriptions", concurrency.into())?;
    let is_over = AtomicBool::new(false);
    let (got, cost) = std::thread::scope(|scope| {
        let publisher = scope.spawn(|| publish(broker.address, &receiver, &is_over));
        std::thread::sleep(WARM_UP);
        let measured = Cost::of(&[broker.pid()], || {
            let before = receiver.messages();
            std::thread::sleep(bench.duration());
            Ok(receiver.messages() - before)
        });
        is_over.store(true, Ordering::Relaxed);
        publisher.join().map_err(|_| "the publisher has panicked")??;
        measured
    })?;
    broker.kill()?;
    let got = got as f64;
    Ok(vec![
        got / cost.seconds,
        cost.broker_cpu_s * 1e6 / got,
        cost.broker_cpu_s / cost.seconds,
        cost.foreign_cores,
    ])
}

/// Keeps the queue filled, with QoS 1.
fn publish(address: SocketAddr, receiver: &Receiver, is_over: &AtomicBool) -> Result<()> {
    let (mut client, _) = Client::connect(address, "publisher", true, Unreleased::default())?;
    let mut sent = 0;
    while !is_over.load(Ordering::Relaxed) {
        if sent >= receiver.messages() + AHEAD {
            std::thread::sleep(TURN);
            continue;
        }
        let message = |n| Publish::new(&format!("hook/{}", n % TOPICS), [b'x'; 100]).qos(1, 0);
        client.publish_all((sent..sent + TOGETHER).map(message).collect())?;
        sent += TOGETHER;
    }
    Ok(())
}
