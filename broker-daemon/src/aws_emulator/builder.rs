//! What an emulator shall be, and its start.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::task::JoinSet;

use super::limits::Limits;
use super::listener::{self, StartError};
use super::material::Material;
use super::policy::Policy;
use super::registry::{Fingerprint, Registration, Registry};
use super::scenario::Scenario;
use super::service::Service;
use super::tls::{Role, Secure};
use super::{Emulator, Shared, directory};

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

/// The certificate that stands for the first client where there is no TLS.
pub(super) const FIRST_CLIENT: &str = "first-client";
/// The time of day at the start, where it shall be always the same: 14 November 2023.
const SOME_DAY_UNIX_MS: u64 = 1_700_000_000_000;

impl Builder {
    pub(super) fn new() -> Self {
        let mut registry = Registry::default();
        registry.custom = vec![Policy::allow_all()];
        registry.users = vec![Policy::allow_all()];
        Self {
            limits: Limits::default(),
            scenario: Scenario::default(),
            policy: Policy::allow_all(),
            registry,
            seed: 0,
            directory: None,
            listeners: Vec::new(),
        }
    }

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

    /// Listens there: an address of loopback, port 0 for any. All roles on any port, if nothing is said.
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
                let (material, registry) = directory::open(folder, self.limits.policies_per_certificate)?;
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
            wanted = vec![(Role::Port8883, any), (Role::Port443, any), (Role::Port8443, any)];
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
