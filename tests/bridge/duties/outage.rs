//! Hours without AWS IoT Core, and what comes after.

use std::collections::BTreeMap;
use std::time::Duration;

use culex::aws_emulator::{Emulator, Limits as Quotas};
use culex_core::limits::{Limit, Limits};
use culex_core::{Broker, QoS};

use super::cloud::{AWS, Cloud, STEP};

const SECOND: Duration = Duration::from_secs(1);
const TOPICS: u64 = 50;

/// An outage of so long, while so many messages a second go on; gives how long it took afterwards.
async fn outage(connections: u16, per_second: u64, outage: Duration) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let toml = format!("{AWS}connections = {connections}\n[[bridge.out]]\nfilter = \"d/#\"\n");
    let limits = Limits { queue_total_bytes: Limit::Unlimited, ..Limits::default() };
    let broker = Broker::builder().limits(limits).store(folder.path());
    let quotas = Quotas { records: 100_000, ..Quotas::default() };
    let cloud = Cloud::with(&toml, Emulator::builder().limits(quotas).build(), broker, 11).await;
    cloud.up().await;
    cloud.change(|scenario| scenario.outage = true);
    let mut load = Load { per_second, sent: 0, owed: 0, next: BTreeMap::new(), doubled: 0 };
    let steps = outage.as_millis() / STEP.as_millis();
    for _ in 0..steps {
        load.step(&cloud).await;
    }
    let queued = cloud.view().await["queue"].clone();
    println!("{} sent, queue {queued}", load.sent);
    assert!(queued["messages"].as_u64().unwrap() >= load.sent * 99 / 100, "{queued}");
    let disk: u64 =
        folder.path().read_dir().unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    let bytes = queued["bytes"].as_u64().unwrap();
    println!("disk {disk}, queued {bytes}");
    assert!(disk <= bytes * 3 / 2 + (64 << 20), "{disk} bytes of disk for {bytes}");
    cloud.change(|scenario| scenario.outage = false);
    let began = tokio::time::Instant::now();
    let took = loop {
        for _ in 0..100 {
            load.step(&cloud).await;
        }
        load.collect(&cloud);
        if cloud.view().await["queue"]["messages"].as_u64().unwrap() <= 2 * per_second {
            break began.elapsed();
        }
        assert!(began.elapsed() <= 2 * outage + 600 * SECOND, "{:#}", cloud.view().await);
    };
    for _ in 0..60 {
        cloud.pass(SECOND).await;
        load.collect(&cloud);
        if load.is_complete() {
            break;
        }
    }
    assert!(load.is_complete(), "{} sent, {:?}", load.sent, load.next);
    let seen = cloud.emulator.observations();
    println!("{took:?}, {} at once, {} doubled", seen.peak_publishes_per_second, load.doubled);
    assert!(seen.peak_publishes_per_second <= 95 && seen.peak_bytes_per_second <= 480 << 10);
    cloud.no_violations();
    assert!(cloud.letters().is_empty());
    took
}

/// Messages at a steady rate, and what has arrived of them.
struct Load {
    per_second: u64,
    sent: u64,
    /// Thousandths of a message.
    owed: u64,
    /// What is expected next of each topic.
    next: BTreeMap<u64, u64>,
    doubled: u64,
}

impl Load {
    async fn step(&mut self, cloud: &Cloud) {
        self.owed += self.per_second * u64::try_from(STEP.as_millis()).unwrap();
        while self.owed >= 1000 {
            self.owed -= 1000;
            let topic = format!("d/{}", self.sent % TOPICS);
            cloud.near.publish(&topic, self.sent.to_string(), QoS::AtLeastOnce).await.unwrap();
            self.sent += 1;
        }
        cloud.pass(STEP).await;
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

/// `cargo test -p culex-tests --test bridge -- --ignored two_hours`
#[tokio::test(start_paused = true)]
#[ignore = "it takes many minutes"]
async fn two_hours_at_60_a_second_over_one_connection() {
    let took = outage(1, 60, 7200 * SECOND).await;
    assert!(took <= 4 * 3600 * SECOND, "{took:?}");
}

/// As above.
#[tokio::test(start_paused = true)]
#[ignore = "it takes many minutes"]
async fn two_hours_at_200_a_second_over_four_connections() {
    let took = outage(4, 200, 7200 * SECOND).await;
    assert!(took <= 4 * 3600 * SECOND, "{took:?}");
}
