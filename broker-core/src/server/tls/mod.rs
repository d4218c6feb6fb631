//! TLS for listeners: what a program that embeds the broker decides, and the connection as a state machine.
//!
//! The broker takes a [`rustls::ServerConfig`] as it is: certificates, versions, suites, client verification, tickets. It
//! does the handshake before CONNECT, within the time of
//! [`Limits::connect_timeout`](crate::limits::Limits::connect_timeout) from accept; then the lane reads and writes records
//! itself, without a task and without buffers while nothing waits.

mod session;

use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
pub use rustls;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;

pub(crate) use self::session::{End, PLAINTEXT_BYTES_MAX, RECORD_BYTES_MAX, Session};

/// How the connections of a listener are secured. Clones mean the same: keep one to [`replace`](Self::replace) what new
/// connections get.
///
/// ```no_run
/// # fn config() -> std::sync::Arc<culex_core::tls::rustls::ServerConfig> { unimplemented!() }
/// # #[tokio::main] async fn main() -> Result<(), culex_core::StartError> {
/// use culex_core::{Broker, Listener, tls::Tls};
/// let tls = Tls::new(config());
/// let listener = Listener::from(([127, 0, 0, 1], 8883)).tls(tls.clone());
/// let broker = Broker::builder().listen(listener).start().await?;
/// // A certificate was renewed: clients that are connected stay.
/// tls.replace(&Tls::new(config()));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Tls(Arc<RwLock<Greeting>>);

/// What one connection gets.
#[derive(Clone)]
pub(crate) struct Greeting {
    pub(crate) config: Arc<ServerConfig>,
    identify: Option<Identify>,
}

/// The user name that a certificate stands for.
type Identify = Arc<dyn Fn(&CertificateDer<'_>) -> Option<String> + Send + Sync>;

/// Who a client is by its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Certified {
    /// Certificates say nothing here; CONNECT does.
    Unasked,
    /// This user, whatever CONNECT says.
    As(Box<str>),
    /// It should have shown a certificate with a name.
    Nameless,
}

/// The longest user name that CONNECT could have [MQTT-1.5.3].
const USER_NAME_BYTES_MAX: usize = 65_535;

impl Tls {
    /// Secures connections as `config` says. Early data (0-RTT) is not for MQTT: leave
    /// [`max_early_data_size`](ServerConfig::max_early_data_size) at 0.
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self(Arc::new(RwLock::new(Greeting { config, identify: None })))
    }

    /// The user name of a client is what `identify` reads from its certificate; user name and password of its CONNECT
    /// are ignored, and [`authenticate`](crate::BrokerBuilder::authenticate) is not asked. `config` must verify client
    /// certificates. A client without a certificate, or whose certificate gives `None`, an empty name, one with U+0000 or
    /// one over 65,535 bytes, is refused with 0x04.
    #[must_use]
    pub fn identify(
        self,
        identify: impl Fn(&CertificateDer<'_>) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.0.write().identify = Some(Arc::new(identify));
        self
    }

    /// What connections get that are accepted from now on: what `by` gives at this moment. Those that are open stay as they
    /// are.
    ///
    /// A client that comes back with a ticket is not verified again. So where client verification has changed, give the
    /// config a new [`ticketer`](ServerConfig::ticketer) and [`session_storage`](ServerConfig::session_storage).
    pub fn replace(&self, by: &Self) {
        let greeting = by.greeting();
        *self.0.write() = greeting;
    }

    /// What new connections get.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.read().config)
    }

    pub(crate) fn greeting(&self) -> Greeting {
        self.0.read().clone()
    }
}

impl Greeting {
    /// Who a client is, by what it has shown.
    pub(crate) fn certify(&self, certificates: Option<&[CertificateDer<'_>]>) -> Certified {
        let Some(identify) = &self.identify else { return Certified::Unasked };
        let name = certificates.and_then(<[_]>::first).and_then(|certificate| identify(certificate));
        match name {
            Some(name) if is_user_name(&name) => Certified::As(name.into()),
            Some(_) | None => Certified::Nameless,
        }
    }
}

/// Whether CONNECT could have it, and it names somebody.
fn is_user_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= USER_NAME_BYTES_MAX && !name.contains('\0')
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}
