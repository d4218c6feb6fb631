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
//! Shadows and jobs are accepted and not answered. MQTT over WebSocket and HTTPS are refused. Will Delay Interval is taken
//! as 0. Limits of an account other than those of [`Limits`] are not counted.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use culex_codec::QoS;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::Instant;

mod admit;
mod close;
mod connection;
mod deliver;
mod directory;
mod limits;
mod link;
mod listener;
mod material;
mod observe;
mod policy;
mod publish;
mod rate;
mod registry;
mod retained;
mod scenario;
mod service;
mod session;
mod subscribe;
mod tls;
mod topic;
mod violations;

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
use self::tls::Secure;

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

/// What an emulator shall be.
#[derive(Debug)]
pub struct Builder {
    limits: Limits,
    scenario: Scenario,
    policy: Policy,
    registry: Registry,
    seed: u64,
    directory: Option<PathBuf>,
    listeners: Vec<(Role, SocketAddr)>,
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

/// The certificate that stands for the first client where there is no TLS.
const FIRST_CLIENT: &str = "first-client";
/// The time of day at the start, where it shall be always the same: 14 November 2023.
const SOME_DAY_UNIX_MS: u64 = 1_700_000_000_000;

impl Builder {
    /// Other limits than those of the service.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What it does beside the ordinary.
    #[must_use]
    pub fn scenario(mut self, scenario: Scenario) -> Self {
        self.scenario = scenario;
        self
    }

    /// The policy of the first client; it may do everything otherwise.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// One more certificate.
    #[must_use]
    pub fn register(mut self, fingerprint: Fingerprint, registration: Registration) -> Self {
        self.registry.register(fingerprint, registration);
        self
    }

    /// Where its chance begins. 0
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Where certificates and registry are; the folder is made if there is none. Without it they are made anew.
    #[must_use]
    pub fn directory(mut self, folder: impl AsRef<Path>) -> Self {
        self.directory = Some(folder.as_ref().to_owned());
        self
    }

    /// Listens there: an address of loopback, port 0 for any. Both roles on any port, if nothing is said.
    #[must_use]
    pub fn listen(mut self, role: Role, address: SocketAddr) -> Self {
        self.listeners.push((role, address));
        self
    }

    /// An emulator with listeners. The client of its [`Material`] is the first client.
    ///
    /// # Errors
    /// An address that is not of loopback or taken, or a folder that cannot be used.
    pub async fn start(mut self) -> Result<Emulator, StartError> {
        let material = match &self.directory {
            Some(folder) => {
                let (material, registry) = directory::open(folder)?;
                self.registry.merge(registry);
                material
            }
            None => {
                let material =
                    Material::generate().map_err(|error| StartError::Certificates(error.to_string()))?;
                let first = Registration::active(self.policy.clone()).thing(FIRST_CLIENT);
                self.registry.register(material.client_fingerprint()?, first);
                material
            }
        };
        let mut wanted = std::mem::take(&mut self.listeners);
        if wanted.is_empty() {
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            wanted = vec![(Role::Port8883, any), (Role::Port443, any)];
        }
        let mut emulator = self.build();
        let shared = &emulator.shared;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        shared.lock().started_unix_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let secure = Secure::new(Arc::clone(shared), &material)
            .map_err(|error| StartError::Certificates(error.to_string()))?;
        let secure = Arc::new(secure);
        for (role, address) in wanted {
            let listener = listener::bind(address).await?;
            let address = listener.local_addr().map_err(|source| StartError::Bind { address, source })?;
            emulator.addresses.push((role, address));
            let task = listener::accept_all(listener, role, Arc::clone(&secure), Arc::clone(shared));
            emulator.listeners.spawn(task);
        }
        emulator.material = Some(material);
        Ok(emulator)
    }

    /// An emulator without listeners, for [`Emulator::serve`]. Needs a runtime of tokio for its clock.
    pub fn build(mut self) -> Emulator {
        let first = Registration::active(self.policy).thing(FIRST_CLIENT);
        self.registry.register(Fingerprint::named(FIRST_CLIENT), first);
        let Self { limits, scenario, registry, seed, .. } = self;
        let service = Service::new(limits, scenario, registry, seed, SOME_DAY_UNIX_MS);
        Emulator {
            shared: Arc::new(Shared(Mutex::new(service))),
            material: None,
            addresses: Vec::new(),
            listeners: JoinSet::new(),
        }
    }
}

impl Material {
    /// The fingerprint of the client's certificate.
    ///
    /// # Errors
    /// If it is no certificate.
    pub fn client_fingerprint(&self) -> Result<Fingerprint, StartError> {
        let der = CertificateDer::from_pem_slice(self.client.certificate.as_bytes());
        der.map(|der| Fingerprint::of_der(&der)).map_err(|error| StartError::Certificates(error.to_string()))
    }
}

impl Emulator {
    /// An emulator with the limits of the service, whose first client may do everything.
    pub fn builder() -> Builder {
        let mut registry = Registry::default();
        registry.custom = vec![Policy::allow_all()];
        Builder {
            limits: Limits::default(),
            scenario: Scenario::default(),
            policy: Policy::allow_all(),
            registry,
            seed: 0,
            directory: None,
            listeners: Vec::new(),
        }
    }

    /// Who the first client is, for [`Self::serve`].
    pub fn peer(&self) -> PeerIdentity {
        PeerIdentity::Certificate(Fingerprint::named(FIRST_CLIENT))
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
