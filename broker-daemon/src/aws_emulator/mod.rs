//! A strict local stand-in for AWS IoT Core: for tests, and for users without an account (`culex bridge emulate-aws`).
//!
//! It does what the documentation says, and where that leaves a choice, the harshest: a client that gets along with it is
//! safe. Each rule that a client breaks is a [`Violation`] with the id of the rule, `AIC-…`. What may go wrong with the
//! service is a switch of [`Scenario`].
//!
//! It shares the packets of `culex_codec` with the broker, and nothing else, so that a mistake of the one is not made by
//! the other. It listens on loopback only. All its time is tokio's and all its chance has a seed, so with
//! [`Emulator::serve`] whole outages pass on virtual time.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use culex::aws_emulator::Emulator;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
//!
//! let emulator = Emulator::builder().build();
//! let (mut client, server) = duplex(4096);
//! tokio::spawn(emulator.serve(server, emulator.peer()));
//!
//! // CONNECT of 3.1.1 with the client id "a", clean session, Keep Alive of 60 s.
//! client.write_all(b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01a").await?;
//! let mut connack = [0; 4];
//! client.read_exact(&mut connack).await?;
//! assert_eq!(connack, [0x20, 2, 0, 0]);
//! emulator.violations().are_exactly(&[])?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it does not do
//!
//! Signatures of SigV4 are looked at and not verified, as it has no users. There are no jobs: requests are answered as for a
//! thing that has none. Of HTTPS there is publishing alone. Will Delay Interval is taken as 0. Limits of an account other
//! than those of [`Limits`] are not counted.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use culex_codec::QoS;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::Instant;

mod admit;
mod builder;
mod close;
mod connection;
mod deliver;
mod directory;
mod https;
mod jobs;
mod limits;
mod link;
mod listener;
mod material;
mod observe;
mod pattern;
mod policy;
mod poll;
mod publish;
mod rate;
mod registry;
mod retained;
mod rules;
mod scenario;
mod service;
mod session;
mod shadow;
mod subscribe;
mod thing;
mod tls;
mod topic;
mod violations;
mod websocket;

pub use self::builder::Builder;
pub use self::limits::Limits;
pub use self::listener::StartError;
pub use self::material::{Identity, Material, SERVER_NAME};
pub use self::observe::{
    Acknowledgement, Connected, Delivery, DisconnectReason, Disconnected, Latest, Observations,
};
pub use self::policy::{Policy, PolicyError};
pub use self::registry::{Fingerprint, PeerIdentity, Registration, Registry, Status};
pub use self::scenario::{NAMES as SCENARIOS, Scenario, ScenarioError};
pub use self::tls::Role;
pub use self::violations::{Action, Violation, Violations};

use self::service::Service;

/// A running emulator. Its connections end with it.
#[derive(Debug)]
pub struct Emulator {
    shared: Arc<Shared>,
    material: Option<Material>,
    addresses: Vec<(Role, SocketAddr)>,
    /// The listeners, which end with it.
    listeners: JoinSet<()>,
}

/// What all connections share.
#[derive(Debug)]
struct Shared(Mutex<Service>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Service> {
        // A panic elsewhere leaves the emulator of a test as it is.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session, as [`Emulator::session`] shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Whether its client is connected.
    pub is_connected: bool,
    /// Topic Filters.
    pub subscriptions: Vec<String>,
    /// Messages that wait.
    pub queued: usize,
    /// Messages that were sent and not acknowledged.
    pub in_flight: usize,
}

impl Emulator {
    /// An emulator with the limits of the service, whose first client may do everything.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Who the first client is, for [`Self::serve`].
    pub fn peer(&self) -> PeerIdentity {
        PeerIdentity::Certificate(Fingerprint::named(builder::FIRST_CLIENT))
    }

    /// Its certificates, if it has listeners.
    pub fn material(&self) -> Option<&Material> {
        self.material.as_ref()
    }

    /// Where it listens in a role.
    pub fn address(&self, role: Role) -> Option<SocketAddr> {
        self.addresses.iter().find(|(other, _)| *other == role).map(|(_, address)| *address)
    }

    /// Serves a connection over any stream, until it ends.
    pub fn serve<S>(&self, stream: S, identity: PeerIdentity) -> impl Future<Output = ()> + Send + use<S>
    where
        S: AsyncRead + AsyncWrite + Send,
    {
        connection::carry(Arc::clone(&self.shared), stream, identity)
    }

    /// What it does now.
    pub fn scenario(&self) -> Scenario {
        self.shared.lock().scenario.clone()
    }

    /// Changes what it does, at once and for the connections that there are too.
    pub fn change(&self, change: impl FnOnce(&mut Scenario)) {
        let mut service = self.shared.lock();
        let mut scenario = service.scenario.clone();
        change(&mut scenario);
        service.set_scenario(scenario, Instant::now());
    }

    /// Looks into the registry, or changes it. What it says counts from the next CONNECT on.
    pub fn registry<T>(&self, look: impl FnOnce(&mut Registry) -> T) -> T {
        look(&mut self.shared.lock().registry)
    }

    /// Which rules were broken.
    pub fn violations(&self) -> Violations {
        self.shared.lock().violations.clone()
    }

    /// The messages that were accepted, in order; the latest, if there were more than [`Limits::deliveries`].
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.shared.lock().deliveries.iter().cloned().collect()
    }

    /// The same, which are forgotten then.
    pub fn take_deliveries(&self) -> Vec<Delivery> {
        self.shared.lock().deliveries.take()
    }

    /// How many messages were accepted.
    pub fn delivered(&self) -> u64 {
        self.shared.lock().deliveries.total()
    }

    /// Looks at what was seen and broken, of which [`Self::observations`] and [`Self::violations`] are copies.
    pub fn look<T>(&self, look: impl FnOnce(&Observations, &Violations) -> T) -> T {
        let service = self.shared.lock();
        look(&service.observations, &service.violations)
    }

    /// What else was seen.
    pub fn observations(&self) -> Observations {
        self.shared.lock().observations.clone()
    }

    /// The session of a client, if there is one.
    pub fn session(&self, client_id: &str) -> Option<SessionView> {
        let service = self.shared.lock();
        let session = service.sessions.get(client_id).filter(|session| !session.is_over(Instant::now()))?;
        Some(SessionView {
            is_connected: session.connection.is_some(),
            subscriptions: session.subscriptions.keys().cloned().collect(),
            queued: session.queued(),
            in_flight: session.in_flight.len(),
        })
    }

    /// Publishes as the cloud does: by no client, and past the limits of clients.
    pub fn publish(&self, topic: &str, payload: impl Into<Bytes>, qos: QoS, retain: bool) {
        self.shared.lock().publish_by_cloud(topic, payload.into(), qos, retain, Instant::now());
    }

    /// Cuts every connection.
    pub fn cut_all(&self) {
        self.shared.lock().cut_all(Instant::now());
    }

    /// Closes every connection, as the service does for maintenance. AIC-CON-16
    pub fn disconnect_all(&self) {
        self.shared.lock().disconnect_all(Instant::now());
    }

    /// Waits until something is so: `look` is asked again after each connection, end of one, violation and message.
    pub async fn until<T>(&self, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let news = Arc::clone(&self.shared.lock().news);
        loop {
            let notified = news.notified();
            tokio::pin!(notified);
            // From here on nothing is missed.
            notified.as_mut().enable();
            if let Some(found) = look(self) {
                return found;
            }
            notified.await;
        }
    }
}
