//! `kill -9` of the broker with the bridge and of the other one at random moments: no message that was acknowledged at QoS 1
//! is lost, in either direction: it arrives, or the bridge keeps it as a dead letter and says why.
//!
//! `CULEX_BRIDGE_KILLS=100 cargo test -p culex-tests --test bridge kills` does it a hundred times, `CULEX_SEED=…` as it was.

use std::collections::BTreeSet;
use std::env;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use culex_core::QoS;
use culex_core::client::{ClientError, Connection, Event, Publication, Session};
use culex_core::codec::TopicFilter;
use culex_tests::broker::{Broker, binary};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::network::{free_port, options};

/// Of each direction.
#[derive(Default)]
struct Ledger {
    acknowledged: BTreeSet<u32>,
    arrived: BTreeSet<u32>,
    /// What goes before all others has arrived, so the way is open.
    is_open: bool,
}

type Shared = Arc<Mutex<Ledger>>;

/// Publishes numbers, each until it is acknowledged, over as many connections as it takes.
async fn publish(address: SocketAddr, topic: &str, ledger: Shared, mut stop: watch::Receiver<bool>) {
    let mut next = 0;
    while !*stop.borrow_and_update() {
        let options = options(address, &format!("publisher of {topic}"));
        let connected = Connection::open(&options, Session::default());
        let Ok(mut connection) = connected.await else {
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        while !*stop.borrow() && publish_one(&mut connection, topic, next).await.is_ok() {
            ledger.lock().unwrap().acknowledged.insert(next);
            next += 1;
        }
    }
}

async fn publish_one(connection: &mut Connection, topic: &str, number: u32) -> Result<(), ClientError> {
    connection.publish(Publication::new(topic, number.to_string(), QoS::AtLeastOnce))?;
    while !matches!(connection.event().await?, Event::Published { .. }) {}
    // So that the clock of the test and not the speed of the machine says how many there are.
    sleep(Duration::from_millis(1)).await;
    Ok(())
}

/// Receives with a session that outlives connections and brokers.
async fn receive(address: SocketAddr, filter: &str, ledger: Shared) {
    let mut options = options(address, &format!("receiver of {filter}"));
    options.clean_session = false;
    let mut session = Session::default();
    loop {
        let Ok(mut connection) = Connection::resume(&options, &mut session).await else {
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        let _ = connection.subscribe(&[(TopicFilter::new(filter).unwrap(), QoS::AtLeastOnce)]);
        while let Ok(event) = connection.event().await {
            let Event::Message(message) = event else { continue };
            if message.topic.ends_with("probe") {
                ledger.lock().unwrap().is_open = true;
            } else {
                let number = std::str::from_utf8(&message.payload).unwrap().parse().unwrap();
                ledger.lock().unwrap().arrived.insert(number);
            }
        }
        session = connection.into_session();
    }
}

/// Two brokers on ports of their own, each with its store.
struct Brokers {
    ports: [u16; 2],
    tomls: [String; 2],
    running: [Option<Broker>; 2],
    /// What those that were killed have warned of.
    warnings: String,
}

impl Brokers {
    fn start(folder: &Path, ports: [u16; 2]) -> Self {
        let toml = |port: u16, name: &str| {
            let store = folder.join(name).display().to_string();
            format!(
                "[[listener]]\naddress = \"127.0.0.1:{port}\"\n[store]\ndirectory = {store:?}\ndurability = \"kill\"\n"
            )
        };
        let bridge = format!(
            "[[bridge]]\nname = \"b\"\naddress = \"127.0.0.1:{}\"\nclient_id = \"bridge\"\nreconnect_max = \"1s\"\n\
             notifications_local_only = true\n[[bridge.out]]\nfilter = \"out/#\"\n[[bridge.in]]\nfilter = \"in/#\"\n",
            ports[1]
        );
        let tomls = [toml(ports[0], "here") + &bridge, toml(ports[1], "there")];
        let mut brokers = Self { ports, tomls, running: [None, None], warnings: String::new() };
        brokers.restart(1);
        brokers.restart(0);
        brokers
    }

    /// SIGKILL, and a new one with the same store and port.
    fn restart(&mut self, which: usize) {
        if let Some(broker) = self.running[which].take() {
            self.warn_of(which, &broker);
        }
        for _ in 0..50 {
            match Broker::start_below(&[], &self.tomls[which]) {
                Ok(broker) => return self.running[which] = Some(broker),
                // The port may be in use for a moment.
                Err(ended) if ended.to_string().contains("cannot listen") => {
                    std::thread::sleep(Duration::from_millis(100));
                }
                Err(ended) => panic!("{ended}"),
            }
        }
        panic!("port {} does not become free", self.ports[which]);
    }

    fn warn_of(&mut self, which: usize, broker: &Broker) {
        for line in broker
            .log()
            .lines()
            .filter(|line| line.contains("INFO") || line.contains("WARN") || line.contains("ERROR"))
        {
            self.warnings += &format!("{}: {line}\n", ["here", "there"][which]);
        }
    }

    fn address(&self, which: usize) -> SocketAddr {
        ([127, 0, 0, 1], self.ports[which]).into()
    }
}

/// Messages that the bridge gave up on, because the other broker was killed twice with the same one alone on its way.
fn letters(folder: &Path) -> usize {
    let mut list = Command::new(binary());
    list.arg("ctl").arg("--data-dir").arg(folder.join("here")).args(["dead-letters", "list", "bridge/b"]);
    let output = list.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).matches("bridge/b/").count()
}

/// Waits until something is so.
async fn until(what: &str, patience: Duration, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < patience, "never: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_either_broker_loses_nothing_that_was_acknowledged() {
    let kills: u32 = env::var("CULEX_BRIDGE_KILLS").ok().map_or(10, |kills| kills.parse().unwrap());
    let seed: u64 = env::var("CULEX_SEED").ok().map_or(0x00c1_1e05, |seed| seed.parse().unwrap());
    println!("CULEX_SEED={seed}");
    let folder = tempfile::tempdir().unwrap();
    let mut brokers = Brokers::start(folder.path(), [free_port(), free_port()]);
    let [outgoing, incoming] = [Shared::default(), Shared::default()];
    tokio::spawn(receive(brokers.address(1), "out/#", Arc::clone(&outgoing)));
    tokio::spawn(receive(brokers.address(0), "in/#", Arc::clone(&incoming)));
    let stop = watch::Sender::new(false);
    // What is published before somebody subscribes is nobody's.
    for (which, topic, ledger) in [(0, "out/probe", &outgoing), (1, "in/probe", &incoming)] {
        let scrap = Shared::default();
        let probing = tokio::spawn(publish(brokers.address(which), topic, scrap, stop.subscribe()));
        until(topic, Duration::from_secs(30), || ledger.lock().unwrap().is_open).await;
        probing.abort();
        let _ = probing.await;
    }
    let mut publishers = Vec::new();
    for (which, topic, ledger) in [(0, "out/x", &outgoing), (1, "in/x", &incoming)] {
        publishers.push(tokio::spawn(publish(
            brokers.address(which),
            topic,
            Arc::clone(ledger),
            stop.subscribe(),
        )));
    }
    let mut random = seed;
    for kill in 0..kills {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (pause, which) = ((random >> 33) % 700, usize::from((random >> 20) & 1 == 1));
        sleep(Duration::from_millis(100 + pause)).await;
        println!("kill {kill}: {}", ["here", "there"][which]);
        tokio::task::block_in_place(|| brokers.restart(which));
    }
    sleep(Duration::from_millis(300)).await;
    stop.send_replace(true);
    for publisher in publishers {
        publisher.await.unwrap();
    }
    for (way, ledger) in [("out", &outgoing), ("in", &incoming)] {
        let missing = || {
            let ledger = ledger.lock().unwrap();
            ledger.acknowledged.difference(&ledger.arrived).copied().collect::<Vec<_>>()
        };
        let (began, patience) = (Instant::now(), Duration::from_secs(120));
        while missing().len() > if way == "out" { letters(folder.path()) } else { 0 } {
            if began.elapsed() >= patience {
                let missing = missing();
                for which in 0..2 {
                    if let Some(broker) = brokers.running[which].take() {
                        brokers.warn_of(which, &broker);
                    }
                }
                panic!(
                    "{way}: {} are missing: {:?}…\n{}",
                    missing.len(),
                    missing.iter().take(20).collect::<Vec<_>>(),
                    brokers.warnings
                );
            }
            sleep(Duration::from_millis(50)).await;
        }
        let letters = missing().len();
        let acknowledged = ledger.lock().unwrap().acknowledged.len();
        println!("{way}: {acknowledged} acknowledged, all arrived but {letters} in dead letters");
    }
}
