//! Which certificates are registered, with their state, thing and policies. AIC-TLS-07

use std::collections::BTreeMap;
use std::fmt;

use sha2::{Digest, Sha256};

use super::policy::Policy;

/// SHA-256 of a certificate in DER, as AWS names certificates: 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Of a certificate in DER.
    pub fn of_der(der: &[u8]) -> Self {
        Self(Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// A name that stands for a certificate where there is no TLS, as with [`super::Emulator::serve`].
    pub fn named(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The state of a registered certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It may be used.
    Active,
    /// It has been switched off.
    Inactive,
    /// It is no longer to be trusted.
    Revoked,
    /// It has been registered by its first use, and waits for its activation.
    PendingActivation,
}

impl Status {
    /// The state as AWS writes it.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "ACTIVE" => Self::Active,
            "INACTIVE" => Self::Inactive,
            "REVOKED" => Self::Revoked,
            "PENDING_ACTIVATION" => Self::PendingActivation,
            _ => return None,
        })
    }
}

/// A registered certificate.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Its state.
    pub status: Status,
    /// The thing that it is attached to.
    pub thing: Option<String>,
    /// Its policies; without one nothing is allowed.
    pub policies: Vec<Policy>,
}

impl Registration {
    /// An active certificate with a policy.
    pub fn active(policy: Policy) -> Self {
        Self { status: Status::Active, thing: None, policies: vec![policy] }
    }

    /// The same with a thing.
    #[must_use]
    pub fn thing(mut self, name: &str) -> Self {
        self.thing = Some(name.to_owned());
        self
    }
}

/// All registered certificates of account and Region.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    certificates: BTreeMap<Fingerprint, Registration>,
    /// What a custom authoriser allows to whoever has user name and password. AIC-NET-04
    pub(super) custom: Vec<Policy>,
    /// What a user of the account may do. AIC-NET-05
    pub(super) users: Vec<Policy>,
}

impl Registry {
    /// Registers a certificate, or changes it.
    pub fn register(&mut self, fingerprint: Fingerprint, registration: Registration) {
        self.certificates.insert(fingerprint, registration);
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.certificates.extend(other.certificates);
    }

    /// Registers a certificate by its first use: what others send costs no more than so much. AIC-TLS-10
    pub(super) fn register_first_use(&mut self, fingerprint: Fingerprint, registration: Registration) {
        if self.certificates.len() < FIRST_USES_MAX {
            self.register(fingerprint, registration);
        }
    }

    /// The certificate, if it is registered.
    pub fn get(&self, fingerprint: &Fingerprint) -> Option<&Registration> {
        self.certificates.get(fingerprint)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, fingerprint: &Fingerprint) -> Option<&mut Registration> {
        self.certificates.get_mut(fingerprint)
    }
}

const FIRST_USES_MAX: usize = 1_000;

/// Who a connection is from, as TLS has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerIdentity {
    /// Whoever has the key of this certificate.
    Certificate(Fingerprint),
    /// Nobody yet: the custom authoriser looks at user name and password. AIC-NET-04
    CustomAuthorizer,
    /// A user of the account, by a signature that nobody verifies here. AIC-NET-05
    SigV4,
}
