//! All bridges of a broker: started, changed at a reload, paused, listed, stopped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use culex_core::Broker;
use serde_json::Value;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::connects::Connects;
use super::link::{Link, Order};
use super::loops::Questions;
use super::remote::{Connector, Network};
use super::shared::{Parts, Shared};
use super::{local, status};
use crate::config::{Bridge, Config, ConfigError, Problem};
use crate::integration::Integrations;

/// Time for the local sessions of a bridge.
const STARTING: Duration = Duration::from_secs(5);
/// Time for a bridge to say goodbye, and to do what is ordered.
const STOPPING: Duration = Duration::from_secs(10);

/// The bridges of a broker. A cheap handle: clones mean the same ones.
#[derive(Clone)]
pub struct Bridges(Arc<Inner>);

struct Inner {
    broker: Broker,
    integrations: Integrations,
    host_name: String,
    seed: Option<u64>,
    packet_bytes_max: u32,
    questions: Arc<Questions>,
    connects: Arc<Connects>,
    running: Mutex<BTreeMap<String, Running>>,
}

/// How bridges are made, before there is one.
pub struct Builder(Inner);

/// A bridge that runs.
struct Running {
    shared: Arc<Shared>,
    orders: watch::Sender<Order>,
    tasks: Vec<JoinHandle<()>>,
}

/// Bridges whose files have been read: nothing about them can be wrong any more.
pub struct Prepared(Vec<(Bridge, Arc<dyn Connector>)>);

/// There is no bridge of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no bridge {0}")]
pub struct NoBridge(pub String);

/// Why an order is not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// There is nobody to do it.
    #[error(transparent)]
    NoBridge(#[from] NoBridge),
    /// The bridge of this name is still at it after 10 s, and goes on.
    #[error(
        "the bridge {0} has not done so within 10 s, and still tries; `culex bridge status` says how it is"
    )]
    Late(String),
}

impl Builder {
    /// Bridges of this broker, which are entered among these integrations.
    pub fn new(broker: &Broker, integrations: &Integrations) -> Self {
        let bits = || u128::from(getrandom::u64().unwrap_or_default());
        Self(Inner {
            broker: broker.clone(),
            integrations: integrations.clone(),
            host_name: host_name(),
            seed: None,
            packet_bytes_max: culex_core::limits::Limits::default().packet_bytes,
            questions: Arc::new(Questions::new(bits() << 64 | bits())),
            connects: Arc::default(),
            running: Mutex::default(),
        })
    }

    /// The largest packet that is taken from another broker, in bytes. Default 16 MiB.
    #[must_use]
    pub const fn packet_bytes_max(mut self, bytes: u32) -> Self {
        self.0.packet_bytes_max = bytes;
        self
    }

    /// With this seed all waiting times are the same in every run. Default: a random one.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.0.seed = Some(seed);
        self
    }

    /// No bridge runs yet: [`Bridges::follow`].
    pub fn build(self) -> Bridges {
        Bridges(Arc::new(self.0))
    }
}

impl Prepared {
    /// Reads the files that the bridges of a configuration name.
    ///
    /// # Errors
    /// What is wrong with which file, of all bridges at once.
    pub fn read(config: &Config) -> Result<Self, ConfigError> {
        let mut prepared = Vec::new();
        let mut problems: Vec<Problem> = Vec::new();
        for bridge in &config.bridges {
            match Network::of(bridge) {
                Ok(network) => prepared.push((bridge.clone(), Arc::new(network) as Arc<dyn Connector>)),
                Err(error) => problems.extend(error.problems().iter().cloned()),
            }
        }
        ConfigError::all(problems).map_or(Ok(Self(prepared)), Err)
    }

    /// Bridges that reach the others in another way, for example in memory.
    pub fn new(bridges: impl IntoIterator<Item = (Bridge, Arc<dyn Connector>)>) -> Self {
        Self(bridges.into_iter().collect())
    }
}

impl Bridges {
    /// From now on there are these bridges. One that is the same as before goes on, with its files as they are now from its
    /// next connection on; one that has changed begins anew with what waits for it, also in the sessions of connections that it
    /// has no more; what waits for one that is gone is
    /// kept and grows no more. When this returns, nothing that goes out is missed any more.
    pub async fn follow(&self, prepared: Prepared) {
        let mut running = self.0.running.lock().await;
        let stays = |name: &String, old: &Running| {
            prepared.0.iter().any(|(new, _)| new.name == *name && *new == old.shared.bridge)
        };
        let ends: Vec<_> =
            running.iter().filter(|(name, old)| !stays(name, old)).map(|(name, _)| name.clone()).collect();
        for name in ends {
            if let Some(old) = running.remove(&name) {
                old.stop().await;
            }
        }
        let sessions = local::sessions(&self.0.broker.admin()).await;
        for (bridge, connector) in prepared.0 {
            match running.get(&bridge.name) {
                Some(same) => same.shared.set_connector(connector),
                None => {
                    let started = self.start(bridge, connector, &sessions);
                    // A broker that does not let it in holds up nobody.
                    let _ = timeout(STARTING, started.shared.is_ready()).await;
                    running.insert(started.shared.bridge.name.clone(), started);
                }
            }
        }
        let is_gone = |id: &&String| local::owner(id).is_some_and(|(name, _)| !running.contains_key(name));
        for id in sessions.iter().filter(is_gone) {
            local::leave(&self.0.broker, id).await;
        }
    }

    fn start(&self, bridge: Bridge, connector: Arc<dyn Connector>, sessions: &[String]) -> Running {
        let inner = &self.0;
        let mut registration = inner.integrations.register(&format!("bridge/{}", bridge.name));
        // It takes no dead letter back: they go to their topics, and from there through its session in their order.
        registration.back.close();
        let entropy = inner.seed.unwrap_or_else(|| getrandom::u64().unwrap_or_default());
        let connections = bridge.connections;
        let is_left = |id: &&String| {
            local::owner(id).is_some_and(|(name, index)| name == bridge.name && index >= connections)
        };
        let left = sessions.iter().filter(is_left).cloned().collect();
        let shared = Arc::new(Shared::new(Parts {
            bridge,
            left,
            broker: &inner.broker,
            meter: Arc::clone(registration.meter()),
            connector,
            host_name: &inner.host_name,
            entropy,
            packet_bytes_max: inner.packet_bytes_max,
            questions: &inner.questions,
            connects: &inner.connects,
        }));
        let (orders, order) = watch::channel(Order::Run);
        let link = |index| tokio::spawn(Link::new(Arc::clone(&shared), index, order.clone()).run());
        let mut tasks: Vec<_> = (0..connections).map(link).collect();
        tasks.push(tokio::spawn(status::report(Arc::clone(&shared), registration, order)));
        Running { shared, orders, tasks }
    }

    /// Ends the connections of a bridge until [`Self::resume`]; messages wait meanwhile. When this returns they have ended.
    ///
    /// # Errors
    /// [`OrderError`].
    pub async fn pause(&self, name: &str) -> Result<(), OrderError> {
        let shared = self.order(name, Order::Pause).await?;
        timeout(STOPPING, shared.is_paused()).await.map_err(|_| OrderError::Late(name.to_owned()))
    }

    /// Connects a bridge again that was paused. When this returns it has begun with that; the first CONNECT to AWS IoT comes
    /// a second later, because somebody else may have used the ClientId meanwhile.
    ///
    /// # Errors
    /// [`OrderError`].
    pub async fn resume(&self, name: &str) -> Result<(), OrderError> {
        let shared = self.order(name, Order::Run).await?;
        timeout(STOPPING, shared.is_not_paused()).await.map_err(|_| OrderError::Late(name.to_owned()))
    }

    async fn order(&self, name: &str, order: Order) -> Result<Arc<Shared>, NoBridge> {
        let running = self.0.running.lock().await;
        let bridge = running.get(name).ok_or_else(|| NoBridge(name.to_owned()))?;
        bridge.orders.send_replace(order);
        Ok(Arc::clone(&bridge.shared))
    }

    /// Everything about every bridge, by name.
    pub async fn list(&self) -> Vec<Value> {
        let shared: Vec<_> =
            self.0.running.lock().await.values().map(|one| Arc::clone(&one.shared)).collect();
        let mut list = Vec::new();
        for shared in shared {
            let queue = status::queue(&shared).await;
            list.push(status::view(&shared, &queue));
        }
        list
    }

    /// Ends all bridges in order; what waits for them is kept.
    pub async fn stop(&self) {
        let running = std::mem::take(&mut *self.0.running.lock().await);
        for bridge in running.values() {
            bridge.orders.send_replace(Order::Stop);
        }
        for bridge in running.into_values() {
            bridge.stop().await;
        }
    }
}

impl Running {
    async fn stop(self) {
        self.orders.send_replace(Order::Stop);
        for mut task in self.tasks {
            if timeout(STOPPING, &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

/// The name of this computer.
pub(crate) fn host_name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| "culex".to_owned())
}

impl std::fmt::Debug for Bridges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bridges").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(bridge, _)| &bridge.name)).finish()
    }
}
