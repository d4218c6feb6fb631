//! Hours without AWS IoT Core, and what comes after.

use std::collections::BTreeMap;
use std::time::Duration;

use culex::aws_emulator::{Emulator, Limits as Quotas};
use culex_core::limits::{Limit, Limits};
use culex_core::{Broker, QoS};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, advance};

use super::cloud::{AWS, Cloud};

const SECOND: Duration = Duration::from_secs(1);
const TOPICS: u64 = 50;
/// How far the clock goes at once while nothing can go out.
const AWAY: Duration = SECOND;
/// And while it can: the bucket of a connection holds two messages at 93 a second, so what is looked at later loses some.
const DRAINING: Duration = Duration::from_micros(21_506);
/// A message goes from the bridge to the emulator and back within so many turns of the runtime.
const YIELDS: usize = 6;
/// Steps until the broker has done all that there is to do: it is ahead of the bridge by more messages than go out meanwhile.
const STEPS_AHEAD: u64 = 10;
/// Messages that are being stored while the clock goes on.
const STORING_MAX: usize = 1000;
/// What the process may grow by during the drain, and what it may grow by beside the messages during the outage.
const MEMORY_MAX: u64 = 64 << 20;
/// What a small message costs that waits, with its entries in queue and store; measured were 305 bytes.
const MEMORY_PER_MESSAGE: u64 = 300;

/// An outage of so long, while so many messages a second go on; gives how long it took afterwards.
async fn outage(connections: u16, per_second: u64, outage: Duration) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let toml = format!("{AWS}connections = {connections}\n[[bridge.out]]\nfilter = \"d/#\"\n");
    let limits = Limits { queue_total_bytes: Limit::Unlimited, ..Limits::default() };
    let broker = Broker::builder().limits(limits).store(folder.path());
    let quotas = Quotas { records: 100_000, ..Quotas::default() };
    let cloud = Cloud::with(&toml, Emulator::builder().limits(quotas).build(), broker, 11).await;
    cloud.up().await;
    let memory = resident();
    cloud.change(|scenario| scenario.outage = true);
    let mut load = Load::new(per_second);
    for _ in 0..outage.as_secs() {
        load.step(&cloud, AWAY).await;
    }
    load.stored(0).await;
    let queued = cloud.view().await["queue"].clone();
    let waiting = queued["messages"].as_u64().unwrap();
    assert!(waiting >= load.sent * 99 / 100, "{queued}");
    let disk: u64 =
        folder.path().read_dir().unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    let bytes = queued["bytes"].as_u64().unwrap();
    let filled = resident();
    println!(
        "{} sent, {waiting} wait with {bytes} bytes, {disk} bytes of disk, memory {memory} and {filled}",
        load.sent
    );
    assert!(filled <= memory + MEMORY_MAX + waiting * MEMORY_PER_MESSAGE, "{memory} and {filled}");
    assert!(disk <= bytes * 3 / 2 + (64 << 20), "{disk} bytes of disk for {bytes}");
    cloud.change(|scenario| scenario.outage = false);
    let (began, mut peak) = (Instant::now(), filled);
    let took = loop {
        for _ in 0..50 {
            load.step(&cloud, DRAINING).await;
        }
        load.collect(&cloud);
        peak = peak.max(resident());
        if cloud.view().await["queue"]["messages"].as_u64().unwrap() <= 2 * per_second {
            break began.elapsed();
        }
        assert!(began.elapsed() <= 2 * outage + 600 * SECOND, "{:#}", cloud.view().await);
    };
    load.stored(0).await;
    for _ in 0..60 {
        cloud.pass(SECOND).await;
        load.collect(&cloud);
        if load.is_complete() {
            break;
        }
    }
    assert!(load.is_complete(), "{} sent, {:?}", load.sent, load.next);
    let seen = cloud.emulator.observations();
    println!(
        "{took:?}, {} messages and {} bytes in a second, {} doubled, memory {peak} at most",
        seen.peak_publishes_per_second, seen.peak_bytes_per_second, load.doubled
    );
    assert!(seen.peak_publishes_per_second <= 95 && seen.peak_bytes_per_second <= 480 << 10);
    assert!(peak <= filled + MEMORY_MAX, "{filled} and {peak}");
    cloud.no_violations();
    assert!(cloud.letters().is_empty());
    took
}

/// Bytes of this process in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() << 10
}

/// Messages at a steady rate, and what has arrived of them.
struct Load {
    per_second: u64,
    sent: u64,
    steps: u64,
    /// Thousandths of a message.
    owed: u64,
    /// Messages without their PUBACK. Nothing waits for the disk: it takes none of this clock's time.
    storing: JoinSet<()>,
    /// What is expected next of each topic.
    next: BTreeMap<u64, u64>,
    doubled: u64,
}

impl Load {
    fn new(per_second: u64) -> Self {
        let (storing, next) = (JoinSet::new(), BTreeMap::new());
        Self { per_second, sent: 0, steps: 0, owed: 0, storing, next, doubled: 0 }
    }

    /// What is published in a step of the clock.
    async fn step(&mut self, cloud: &Cloud, step: Duration) {
        self.owed += self.per_second * u64::try_from(step.as_millis()).unwrap();
        while self.owed >= 1000 {
            self.owed -= 1000;
            let (near, n) = (cloud.near.clone(), self.sent);
            self.storing.spawn(async move {
                near.publish(&format!("d/{}", n % TOPICS), n.to_string(), QoS::AtLeastOnce).await.unwrap();
            });
            self.sent += 1;
        }
        self.stored(STORING_MAX).await;
        self.steps += 1;
        if self.steps.is_multiple_of(STEPS_AHEAD) {
            cloud.settle().await;
        } else {
            for _ in 0..YIELDS {
                yield_now().await;
            }
        }
        advance(step).await;
    }

    /// Waits until no more than so many are without their PUBACK.
    async fn stored(&mut self, most: usize) {
        while let Some(done) = self.storing.try_join_next() {
            done.unwrap();
        }
        while self.storing.len() > most {
            self.storing.join_next().await.unwrap().unwrap();
        }
    }

    /// Everything in order per topic; what was on its way at a cut may come twice.
    fn collect(&mut self, cloud: &Cloud) {
        for one in cloud.emulator.take_deliveries() {
            let n: u64 = std::str::from_utf8(&one.payload).unwrap().parse().unwrap();
            let next = self.next.entry(n % TOPICS).or_insert(n % TOPICS);
            if n < *next {
                self.doubled += 1;
                continue;
            }
            assert_eq!(n, *next, "{}", one.topic);
            *next += TOPICS;
        }
    }

    fn is_complete(&self) -> bool {
        self.next.values().filter(|next| **next >= self.sent).count() as u64 == TOPICS.min(self.sent)
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_at_60_a_second_over_one_connection() {
    let took = outage(1, 60, 60 * SECOND).await;
    // 110 s for what waits at 33 messages/s more than come, and up to 120 s until the bridge tries again.
    assert!(took <= 240 * SECOND, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_at_200_a_second_over_four_connections() {
    let took = outage(4, 200, 30 * SECOND).await;
    assert!(took <= 240 * SECOND, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn publishers_wait_for_a_full_queue_that_blocks_until_the_cloud_is_back() {
    const MESSAGES: u32 = 200;
    let queue = "[bridge.queue]\nmax_messages = 20\nwhen_full = \"block\"\n";
    let cloud = Cloud::start(&format!("{AWS}{queue}[[bridge.out]]\nfilter = \"d/#\"\n")).await;
    cloud.up().await;
    cloud.change(|scenario| scenario.outage = true);
    cloud.until_state("down", 60 * SECOND).await;
    let near = cloud.near.clone();
    let publishing = tokio::spawn(async move {
        for n in 0..MESSAGES {
            near.publish("d/1", n.to_string(), QoS::AtLeastOnce).await.unwrap();
        }
    });
    cloud.pass(600 * SECOND).await;
    let queue = cloud.view().await["queue"].clone();
    // One is on its way when the word comes that it is full.
    assert!(queue["publishers_wait"] == true && queue["messages"].as_u64() <= Some(21), "{queue}");
    assert!(!publishing.is_finished());
    let (other, _inbox) = cloud.here.broker.client("other").await.unwrap();
    other.publish("free", "", QoS::AtLeastOnce).await.unwrap();
    cloud.change(|scenario| scenario.outage = false);
    cloud.delivered(MESSAGES as usize, 600 * SECOND).await;
    let expected: Vec<_> = (0..MESSAGES).map(|n| ("d/1".to_owned(), n.to_string())).collect();
    assert_eq!(cloud.arrived(), expected);
    publishing.await.unwrap();
    let dropped =
        ["dropped_queue_full", "dropped_queue_total"].map(|name| cloud.here.broker.metrics().get(name));
    assert_eq!((dropped, cloud.letters()), ([Some(0), Some(0)], Vec::new()));
    cloud.no_violations();
}

/// `cargo test --release -p culex-tests --test bridge -- --ignored --test-threads=1 two_hours`
#[tokio::test(start_paused = true)]
#[ignore = "it takes some minutes"]
async fn two_hours_at_60_a_second_over_one_connection() {
    let took = outage(1, 60, 7200 * SECOND).await;
    assert!(took <= 4 * 3600 * SECOND, "{took:?}");
}

/// As above.
#[tokio::test(start_paused = true)]
#[ignore = "it takes some minutes"]
async fn two_hours_at_200_a_second_over_four_connections() {
    let took = outage(4, 200, 7200 * SECOND).await;
    assert!(took <= 4 * 3600 * SECOND, "{took:?}");
}
