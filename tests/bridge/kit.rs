//! A broker with a bridge, and another one that it reaches in memory.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use culex::bridge::{Bridges, Builder, Connecting, Connector, Prepared, Reached};
use culex::config::{Bridge, Config, Environment, RemoteAddress};
use culex::integration::Integrations;
use culex_core::client::Message;
use culex_core::{Broker, Client, Inbox, QoS};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;

/// Longer than anything takes; a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The bridges of a configuration.
pub(crate) fn bridges_of(toml: &str) -> Vec<Bridge> {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(file.path(), toml).unwrap();
    Config::load(Some(file.path()), &Environment::default()).unwrap().bridges
}

/// The way to another broker in this process, which can be cut.
pub(crate) struct InMemory {
    broker: Broker,
    is_open: watch::Sender<bool>,
    /// Connections that were asked for.
    pub(crate) attempts: AtomicUsize,
}

impl InMemory {
    pub(crate) fn to(broker: &Broker) -> Arc<Self> {
        let is_open = watch::Sender::new(true);
        Arc::new(Self { broker: broker.clone(), is_open, attempts: AtomicUsize::new(0) })
    }

    /// Cuts every connection, and lets none come; or lets them.
    pub(crate) fn set_open(&self, is_open: bool) {
        self.is_open.send_replace(is_open);
    }
}

impl Connector for InMemory {
    fn connect<'a>(&'a self, _: &'a RemoteAddress) -> Connecting<'a> {
        Box::pin(async move {
            self.attempts.fetch_add(1, Ordering::Relaxed);
            if !*self.is_open.borrow() {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (ours, bridge) = tokio::io::duplex(64 << 10);
            let (mut near, far) = tokio::io::duplex(64 << 10);
            self.broker.serve(far, "a bridge in memory").map_err(io::Error::other)?;
            let mut is_open = self.is_open.subscribe();
            tokio::spawn(async move {
                let mut ours = ours;
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut ours, &mut near) => {}
                    _ = is_open.wait_for(|is_open| !is_open) => {}
                }
            });
            Ok(Reached::over(bridge))
        })
    }
}

/// A broker and its bridges.
pub(crate) struct Here {
    pub(crate) broker: Broker,
    pub(crate) bridges: Bridges,
    pub(crate) integrations: Integrations,
}

impl Here {
    pub(crate) async fn start() -> Self {
        Self::of(broker().await)
    }

    pub(crate) fn of(broker: Broker) -> Self {
        Self::with_seed(broker, 7)
    }

    pub(crate) fn with_seed(broker: Broker, seed: u64) -> Self {
        let integrations = Integrations::default();
        let bridges = Builder::new(&broker, &integrations).seed(seed).build();
        Self { broker, bridges, integrations }
    }

    /// Runs these bridges over this way.
    pub(crate) async fn run(&self, toml: &str, way: &Arc<InMemory>) {
        let way = |bridge| (bridge, Arc::clone(way) as Arc<dyn Connector>);
        self.bridges.follow(Prepared::new(bridges_of(toml).into_iter().map(way))).await;
    }

    /// What is known of the only bridge.
    pub(crate) async fn view(&self) -> Value {
        self.bridges.list().await.into_iter().next().unwrap_or_default()
    }

    /// Waits until what is known of the only bridge is so.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let waiting = async {
            loop {
                let view = self.view().await;
                if is_so(&view) {
                    return view;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match timeout(PATIENCE, waiting).await {
            Ok(view) => view,
            Err(_) => panic!("never: {what}; {}", self.view().await),
        }
    }

    pub(crate) async fn until_up(&self) {
        self.until("up", |view| view["state"] == "up").await;
    }
}

pub(crate) async fn broker() -> Broker {
    Broker::builder().without_listener().start().await.unwrap()
}

/// Somebody who listens, and a list of what was heard.
pub(crate) struct Ear {
    pub(crate) client: Client,
    inbox: Inbox,
}

impl Ear {
    pub(crate) async fn at(broker: &Broker, id: &str, filter: &str) -> Self {
        let (client, inbox) = broker.client(id).await.unwrap();
        client.subscribe(filter, QoS::ExactlyOnce).await.unwrap();
        Self { client, inbox }
    }

    pub(crate) async fn hear(&mut self) -> Message {
        let heard = timeout(PATIENCE, self.inbox.next()).await;
        heard.expect("a message in time").expect("the broker runs").into_message()
    }

    /// So many messages, as topic and payload.
    pub(crate) async fn hear_all(&mut self, count: usize) -> Vec<(String, String)> {
        let mut heard = Vec::new();
        for _ in 0..count {
            let Message { topic, payload, .. } = self.hear().await;
            heard.push((topic, String::from_utf8_lossy(&payload).into_owned()));
        }
        heard
    }

    /// Sends a message to itself, by a topic that no bridge has, and asserts that nothing comes before it.
    pub(crate) async fn hears_nothing(&mut self, filter_of_mine: &str) {
        self.client.subscribe(filter_of_mine, QoS::AtLeastOnce).await.unwrap();
        self.client.publish(filter_of_mine, "mine", QoS::AtLeastOnce).await.unwrap();
        let heard = self.hear().await;
        assert_eq!(heard.topic, filter_of_mine, "{heard:?}");
    }
}

/// A way to a peer that a test plays itself: each connection that the bridge makes comes out here.
#[derive(Clone, Default)]
pub(crate) struct Script(Arc<ScriptInner>);

#[derive(Default)]
struct ScriptInner {
    waiting: Mutex<VecDeque<tokio::io::DuplexStream>>,
    arrived: tokio::sync::Notify,
}

impl Script {
    pub(crate) async fn next(&self) -> tokio::io::DuplexStream {
        let next = async {
            loop {
                if let Some(stream) = self.0.waiting.lock().unwrap().pop_front() {
                    return stream;
                }
                self.0.arrived.notified().await;
            }
        };
        // On a clock that stands still a long time passes at once.
        timeout(PATIENCE * 100, next).await.expect("a connection of the bridge")
    }
}

impl Connector for Script {
    fn connect<'a>(&'a self, _: &'a RemoteAddress) -> Connecting<'a> {
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(256 << 10);
            self.0.waiting.lock().unwrap().push_back(theirs);
            self.0.arrived.notify_one();
            Ok(Reached::over(ours))
        })
    }
}
