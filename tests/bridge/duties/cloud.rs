//! A broker, its bridge and the stand-in for AWS IoT Core in one process, on a clock that only the test moves.
//!
//! The broker's lanes are threads of their own, so a clock that runs on when the runtime is idle would run while they
//! work. Here it stands still until everybody has done what there is to do, then it goes on by one step.

use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use culex::aws_emulator::{Emulator, Scenario};
use culex::bridge::{Connecting, Connector, Prepared, Reached};
use culex::config::RemoteAddress;
use culex::integration::DeadLetters;
use culex_core::{Broker, BrokerBuilder, Client, Cursor, QoS, Threads};
use serde_json::Value;
use tokio::task::yield_now;
use tokio::time::{Instant, advance};

use crate::kit::{Here, bridges_of};

/// How far the clock goes at once.
pub(crate) const STEP: Duration = Duration::from_millis(10);
/// From here on it goes faster.
const LONG: Duration = Duration::from_secs(5);
/// Rounds of work until everybody has done what there is to do.
const ROUNDS: usize = 2;

/// The only bridge, to AWS.
pub(crate) const AWS: &str = "[[bridge]]\nname = \"aws\"\naddress = \"x-ats.iot.eu-central-1.amazonaws.com\"\nclient_id = \"shed\"\nuser = \"u\"\n";
pub(crate) const OUT: &str = "[[bridge.out]]\nfilter = \"#\"\n";

/// The way to the emulator in memory.
pub(crate) struct Way {
    emulator: Arc<Emulator>,
    times: Mutex<Vec<Instant>>,
    open: AtomicUsize,
}

impl Connector for Way {
    fn connect<'a>(&'a self, _: &'a RemoteAddress) -> Connecting<'a> {
        Box::pin(async move {
            self.times.lock().unwrap().push(Instant::now());
            let (ours, theirs) = tokio::io::duplex(64 << 10);
            self.open.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(self.emulator.serve(theirs, self.emulator.peer()));
            Ok::<_, io::Error>(Reached::over(ours))
        })
    }
}

pub(crate) struct Cloud {
    pub(crate) here: Here,
    pub(crate) emulator: Arc<Emulator>,
    way: Arc<Way>,
    /// Somebody at the broker here.
    pub(crate) near: Client,
    /// As long as this is there, the clock stands still.
    _hold: mpsc::Sender<()>,
}

impl Cloud {
    /// With these bridges.
    pub(crate) async fn start(toml: &str) -> Self {
        Self::with(toml, Emulator::builder().build(), Broker::builder(), 7).await
    }

    pub(crate) async fn with(toml: &str, emulator: Emulator, broker: BrokerBuilder, seed: u64) -> Self {
        let (hold, held) = mpsc::channel::<()>();
        // While a blocking task runs, a paused clock does not advance by itself.
        tokio::task::spawn_blocking(move || held.recv());
        let one = NonZeroUsize::MIN;
        let broker = broker.without_listener().threads(Threads::Exactly(one)).start().await.unwrap();
        let here = Here::with_seed(broker, seed);
        let emulator = Arc::new(emulator);
        let (times, open) = (Mutex::default(), AtomicUsize::new(0));
        let way = Arc::new(Way { emulator: Arc::clone(&emulator), times, open });
        let (near, _) = here.broker.client("near").await.unwrap();
        let cloud = Self { here, emulator, way, near, _hold: hold };
        cloud.follow(toml).await;
        cloud
    }

    pub(crate) async fn follow(&self, toml: &str) {
        let way = |bridge| (bridge, Arc::clone(&self.way) as Arc<dyn Connector>);
        self.here.bridges.follow(Prepared::new(bridges_of(toml).into_iter().map(way))).await;
    }

    /// Everybody does what there is to do at this moment.
    pub(crate) async fn settle(&self) {
        for _ in 0..ROUNDS {
            self.here.broker.admin().probe().await.unwrap();
            for _ in 0..8 {
                yield_now().await;
            }
        }
    }

    /// The clock goes on.
    pub(crate) async fn pass(&self, time: Duration) {
        let end = Instant::now() + time;
        let step = match time {
            time if time >= 6 * LONG => STEP * 50,
            time if time >= LONG => STEP * 10,
            _ => STEP,
        };
        while Instant::now() < end {
            self.settle().await;
            advance(step.min(end - Instant::now())).await;
        }
        self.settle().await;
    }

    /// The clock goes on until something is so, for so long at most.
    pub(crate) async fn until<T>(&self, what: &str, most: Duration, look: impl Fn(&Self) -> Option<T>) -> T {
        let (begin, end) = (Instant::now(), Instant::now() + most);
        loop {
            self.settle().await;
            if let Some(found) = look(self) {
                return found;
            }
            if Instant::now() >= end {
                panic!(
                    "not within {most:?}: {what}; {:#}; {:?}",
                    self.view().await,
                    self.emulator.violations()
                );
            }
            advance(if begin.elapsed() >= LONG { STEP * 4 } else { STEP }).await;
        }
    }

    /// Until the emulator has accepted so many messages.
    pub(crate) async fn delivered(&self, count: usize, most: Duration) {
        let enough = |cloud: &Self| (cloud.emulator.deliveries().len() >= count).then_some(());
        self.until(&format!("{count} messages"), most, enough).await;
    }

    /// Until the bridge is connected, or not.
    pub(crate) async fn until_state(&self, state: &str, most: Duration) -> Value {
        let end = Instant::now() + most;
        loop {
            self.settle().await;
            let view = self.view().await;
            if view["state"] == state {
                return view;
            }
            assert!(Instant::now() < end, "not {state} within {most:?}: {view:#}");
            advance(STEP * 4).await;
        }
    }

    pub(crate) async fn up(&self) {
        self.until_state("up", Duration::from_secs(300)).await;
    }

    pub(crate) async fn view(&self) -> Value {
        self.here.view().await
    }

    pub(crate) async fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.near.publish(topic, payload.into(), QoS::AtLeastOnce).await.unwrap();
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Scenario)) {
        self.emulator.change(change);
    }

    /// Asserts that the rules of AWS were kept.
    #[track_caller]
    pub(crate) fn no_violations(&self) {
        self.emulator.violations().are_exactly(&[]).unwrap();
    }

    /// Topics and reasons of the dead letters.
    pub(crate) fn letters(&self) -> Vec<(String, String)> {
        let letters = DeadLetters::new(&self.here.broker, "bridge/aws");
        let (listed, _) = letters.list(Cursor::default(), 1000).unwrap();
        listed.into_iter().map(|letter| (letter.letter.topic, letter.letter.reason)).collect()
    }

    /// What the emulator has accepted, as topic and payload.
    pub(crate) fn arrived(&self) -> Vec<(String, String)> {
        let text = |payload: &[u8]| String::from_utf8_lossy(payload).into_owned();
        self.emulator.deliveries().iter().map(|one| (one.topic.clone(), text(&one.payload))).collect()
    }

    /// When the bridge has tried to connect.
    pub(crate) fn attempts(&self) -> Vec<Instant> {
        self.way.times.lock().unwrap().clone()
    }
}
