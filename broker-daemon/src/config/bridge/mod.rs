//! `[[bridge]]`: another broker that topics go to and come from.

mod address;
mod check;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use culex_codec::{ProtocolVersion, QoS};
use culex_core::client::Secret;
use culex_core::limits::{Limit, WhenFull};

use crate::config::problem::Place;
use crate::config::{KeyPermissions, TlsVersion};

pub use self::address::RemoteAddress;
pub(crate) use self::address::remote_address;
pub(crate) use self::check::check;

/// A bridge: what goes to another broker, what comes from it, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bridge {
    /// Its name: a level of `$SYS/broker/connection/<name>/state`, and part of the ClientId here.
    pub name: String,
    /// Where the other broker is; the first that can be reached is taken.
    pub addresses: Vec<RemoteAddress>,
    /// The local address of its connections; `None`: the system chooses.
    pub bind_address: Option<IpAddr>,
    /// Whose rules hold there, as it was written; see [`Self::is_aws_iot`].
    pub preset: Preset,
    /// How connections are secured; `None` is plain TCP, unless the preset wants TLS.
    pub tls: Option<BridgeTls>,
    /// User name there.
    pub user: Option<String>,
    /// Password there.
    pub password: Option<Secret>,
    /// Version of MQTT.
    pub protocol: BridgeProtocol,
    /// ClientId there; `None` is `hostname.name`, see [`Self::client_id_of`].
    pub client_id: Option<String>,
    /// Longest silence before a PINGREQ; whole seconds.
    pub keep_alive: Duration,
    /// Whether the session there ends with the connection, and what comes in meanwhile is missed; `None` is not.
    pub clean_start: Option<bool>,
    /// Whether CONNECT says that this is a bridge (level 0x84), as mosquitto does; `None` is not.
    pub try_private: Option<bool>,
    /// The shortest time between two attempts, and the least upper bound of the random one.
    pub reconnect_min: Duration,
    /// The longest.
    pub reconnect_max: Duration,
    /// Connections that share what goes out, by the hash of its topic.
    pub connections: u16,
    /// Whether the state is published; `None` is yes.
    pub notifications: Option<bool>,
    /// Where, there and here; `None` is `$SYS/broker/connection/<name>/state`.
    pub notification_topic: Option<String>,
    /// Whether here alone; `None` is what the preset says, without one there too.
    pub notifications_local_only: Option<bool>,
    /// What waits while the other broker is away.
    pub queue: BridgeQueue,
    /// How fast messages go out over one connection.
    pub pace: BridgePace,
    /// What goes out.
    pub outgoing: Vec<Mapping>,
    /// What comes in.
    pub incoming: Vec<Mapping>,
}

/// Topics that go one way, and what they are called on the two sides.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mapping {
    /// The part of the topic filter that both sides have.
    pub filter: String,
    /// What stands before it here.
    pub local_prefix: Option<String>,
    /// What stands before it there.
    pub remote_prefix: Option<String>,
    /// The highest QoS of its messages. Default 1.
    pub qos: QoS,
    /// Whether RETAIN goes with a message; `None` is what the preset says, without one yes.
    pub retain: Option<bool>,
    /// A rule of AWS IoT that gets the messages directly; outgoing alone.
    pub basic_ingest: Option<String>,
}

impl Default for Mapping {
    fn default() -> Self {
        Self {
            filter: String::new(),
            local_prefix: None,
            remote_prefix: None,
            qos: QoS::AtLeastOnce,
            retain: None,
            basic_ingest: None,
        }
    }
}

/// Whose rules hold on the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preset {
    /// Those of AWS IoT Core if the addresses are its (default).
    #[default]
    Auto,
    /// Those of MQTT.
    None,
    /// Those of AWS IoT Core.
    AwsIot,
}

impl Preset {
    pub(crate) const WORDS: &'static [&'static str] = &["auto", "none", "aws-iot"];

    pub(crate) fn from_index(index: usize) -> Self {
        [Self::Auto, Self::None, Self::AwsIot].get(index).copied().unwrap_or_default()
    }
}

/// A version of MQTT between brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BridgeProtocol {
    /// 3.1.1 (default).
    #[default]
    V311,
    /// 5.0.
    V5,
}

impl BridgeProtocol {
    /// As the codec names it.
    pub const fn version(self) -> ProtocolVersion {
        match self {
            Self::V311 => ProtocolVersion::V311,
            Self::V5 => ProtocolVersion::V5,
        }
    }
}

/// How the connections of a bridge are secured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct BridgeTls {
    /// File or folder of the CAs that sign the other broker; `None` for the public ones, with AWS for Amazon's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, with its chain.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// What becomes of a key that others can read.
    pub key_permissions: KeyPermissions,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// Application protocols; `["none"]` for none at all.
    pub alpn: Vec<String>,
    /// The name that is asked for (SNI) and must be in the certificate; `None` for that of the address.
    pub server_name: Option<String>,
    /// Whether any name will do, if the CA signed it.
    pub insecure: Option<bool>,
}

/// What waits while the other broker is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BridgeQueue {
    /// Bytes of topic and payload, of all connections together. Default 1 GiB.
    pub max_bytes: Limit,
    /// Messages, of all connections together. Default 4,000,000, which take 64 MB of memory with a store.
    pub max_messages: Limit,
    /// A message that has waited for longer is dropped; zero is never.
    pub max_age: Duration,
    /// What a full queue drops, or that publishers wait.
    pub when_full: WhenFull,
    /// Whether messages of QoS 0 wait too, which are then sent with QoS 1; `None` is not.
    pub qos0: Option<bool>,
}

impl Default for BridgeQueue {
    fn default() -> Self {
        Self {
            max_bytes: Limit::at_most(1 << 30).unwrap_or(Limit::Unlimited),
            max_messages: Limit::at_most(4_000_000).unwrap_or(Limit::Unlimited),
            max_age: Duration::ZERO,
            when_full: WhenFull::DropOldest,
            qos0: None,
        }
    }
}

/// How fast messages go out over one connection. A preset may make each of them less.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BridgePace {
    /// PUBLISH packets in a second.
    pub messages_per_second: Limit,
    /// Bytes of PUBLISH packets in a second.
    pub bytes_per_second: Limit,
    /// QoS 1 and 2 messages without acknowledgement.
    pub in_flight: u16,
}

impl Default for BridgePace {
    fn default() -> Self {
        Self { messages_per_second: Limit::Unlimited, bytes_per_second: Limit::Unlimited, in_flight: 50 }
    }
}

impl Default for Bridge {
    fn default() -> Self {
        Self {
            name: String::new(),
            addresses: Vec::new(),
            bind_address: None,
            preset: Preset::default(),
            tls: None,
            user: None,
            password: None,
            protocol: BridgeProtocol::default(),
            client_id: None,
            keep_alive: Duration::from_secs(60),
            clean_start: None,
            try_private: None,
            reconnect_min: Duration::from_secs(1),
            reconnect_max: Duration::from_secs(120),
            connections: 1,
            notifications: None,
            notification_topic: None,
            notifications_local_only: None,
            queue: BridgeQueue::default(),
            pace: BridgePace::default(),
            outgoing: Vec::new(),
            incoming: Vec::new(),
        }
    }
}

impl Bridge {
    /// Whether the rules of AWS IoT Core hold: it was said, or every address is one of its.
    pub fn is_aws_iot(&self) -> bool {
        match self.preset {
            Preset::AwsIot => true,
            Preset::None => false,
            Preset::Auto => {
                !self.addresses.is_empty() && self.addresses.iter().all(RemoteAddress::is_aws_iot)
            }
        }
    }

    /// Whether connections are secured.
    pub fn has_tls(&self) -> bool {
        self.tls.is_some() || self.is_aws_iot()
    }

    /// The ClientId of the connection with this number: the one that was written, or `hostname.name` as mosquitto has it;
    /// and where there are several connections, their number behind it.
    pub fn client_id_of(&self, connection: u16, host_name: &str) -> String {
        let own = self.client_id.clone().unwrap_or_else(|| format!("{host_name}.{}", self.name));
        if self.connections == 1 { own } else { format!("{own}-{connection}") }
    }

    /// Where the state is published.
    pub fn state_topic(&self) -> String {
        let topic = self.notification_topic.clone();
        topic.unwrap_or_else(|| format!("$SYS/broker/connection/{}/state", self.name))
    }

    /// Whether the state is published there too.
    pub fn notifies_remote(&self) -> bool {
        self.notifications != Some(false) && !self.notifications_local_only.unwrap_or(self.is_aws_iot())
    }
}

impl Mapping {
    /// The topic filter here.
    pub fn local_filter(&self) -> String {
        [self.local_prefix.as_deref().unwrap_or_default(), &self.filter].concat()
    }

    /// What stands before the common part there.
    pub fn remote_beginning(&self) -> String {
        let prefix = self.remote_prefix.as_deref().unwrap_or_default();
        match &self.basic_ingest {
            Some(rule) => format!("$aws/rules/{rule}/{prefix}"),
            None => prefix.to_owned(),
        }
    }

    /// The topic filter there.
    pub fn remote_filter(&self) -> String {
        self.remote_beginning() + &self.filter
    }
}

/// Where the keys of a section stand.
pub(crate) type Places = BTreeMap<&'static str, Place>;

/// A bridge that may still be wrong, and where it stands.
#[derive(Debug)]
pub(crate) struct DraftBridge {
    pub(crate) bridge: Bridge,
    /// Where it begins.
    pub(crate) place: Place,
    /// Where its own keys stand, and those of `[bridge.tls]`, `[bridge.queue]` and `[bridge.pace]` with their section
    /// before them: `tls.insecure`.
    pub(crate) places: Places,
    /// Where the mappings stand, in the order of [`Bridge::outgoing`], and their keys.
    pub(crate) outgoing: Vec<(Place, Places)>,
    /// The same for [`Bridge::incoming`].
    pub(crate) incoming: Vec<(Place, Places)>,
}

impl DraftBridge {
    pub(crate) const fn new(bridge: Bridge, place: Place) -> Self {
        Self { bridge, place, places: Places::new(), outgoing: Vec::new(), incoming: Vec::new() }
    }

    /// Where a key stands, or the bridge itself if it is not written.
    pub(crate) fn place_of(&self, key: &str) -> Place {
        self.places.get(key).unwrap_or(&self.place).clone()
    }
}
