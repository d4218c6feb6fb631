//! What the connections of one bridge share, and what others may know of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use culex_codec::PropertiesBuf;
use culex_core::client::Publication;
use culex_core::limits::Limit;
use culex_core::{Admin, Broker, Client, QoS};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::connects::{Connects, Turn};
use super::loops::{Circles, Echoes, Questions};
use super::mapping::Mappings;
use super::remote::Connector;
use super::rules::Rules;
use super::wanted::Filter;
use crate::config::{Bridge, RemoteAddress};
use crate::integration::{DeadLetters, Meter, Standing};

/// Why a connection is away that was paused.
const PAUSED: &str = "paused by order";

/// One bridge.
pub(super) struct Shared {
    pub(super) bridge: Bridge,
    pub(super) rules: Rules,
    pub(super) mappings: Mappings,
    pub(super) broker: Broker,
    pub(super) admin: Admin,
    pub(super) letters: Arc<DeadLetters>,
    /// ClientIds here of sessions that more connections than now have left.
    pub(super) left: Vec<String>,
    /// The largest packet that is taken from the other side.
    pub(super) packet_bytes_max: u32,
    /// What the other side may send back; `None` if it does not.
    pub(super) echoes: Option<Mutex<Echoes>>,
    /// Messages that go round; `None` for AWS IoT, which passes nothing on to other brokers.
    pub(super) circles: Option<Circles>,
    /// Properties of every message that goes out.
    pub(super) mark: PropertiesBuf,
    host_name: String,
    meter: Arc<Meter>,
    connector: Mutex<Arc<dyn Connector>>,
    entropy: AtomicU64,
    connects: Arc<Connects>,
    links: watch::Sender<Vec<Known>>,
    /// Filters that the other side has refused, and why.
    refused: Mutex<BTreeMap<String, String>>,
    /// Something has changed that is published.
    pub(super) changed: Notify,
}

/// What is known of one connection.
#[derive(Debug, Default)]
struct Known {
    state: LinkState,
    /// Its local client, once that has connected.
    client: Option<Client>,
}

/// How one connection is.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) enum LinkState {
    /// It has not reached the other side yet.
    #[default]
    Starting,
    /// Connected, to this address.
    Up(String),
    /// Away, and why; it is tried again.
    Down(String),
    /// Away, and why; trying again would not help.
    GivenUp(String),
    /// Away by order, until there is another one.
    Paused,
}

/// What a bridge is made of.
pub(super) struct Parts<'a> {
    pub(super) bridge: Bridge,
    pub(super) left: Vec<String>,
    pub(super) broker: &'a Broker,
    pub(super) meter: Arc<Meter>,
    pub(super) connector: Arc<dyn Connector>,
    pub(super) host_name: &'a str,
    pub(super) entropy: u64,
    pub(super) packet_bytes_max: u32,
    pub(super) questions: &'a Arc<Questions>,
    pub(super) connects: &'a Arc<Connects>,
}

impl Shared {
    pub(super) fn new(parts: Parts<'_>) -> Self {
        let Parts { bridge, left, broker, meter, connector, host_name, entropy, packet_bytes_max, .. } =
            parts;
        let letters = DeadLetters::new(broker, &format!("bridge/{}", bridge.name));
        let rules = Rules::of(&bridge);
        let circles = (!rules.is_aws).then(|| Circles::new(&bridge.name, Arc::clone(parts.questions)));
        let marking = circles.as_ref().filter(|_| bridge.protocol.version().is_v5());
        Self {
            echoes: may_echo(&bridge, &rules).then(Mutex::default),
            mark: marking.map(Circles::mark).unwrap_or_default(),
            circles,
            rules,
            mappings: Mappings::of(&bridge),
            broker: broker.clone(),
            admin: broker.admin(),
            letters: Arc::new(letters),
            left,
            packet_bytes_max,
            host_name: host_name.to_owned(),
            meter,
            connector: Mutex::new(connector),
            entropy: AtomicU64::new(entropy),
            connects: Arc::clone(parts.connects),
            links: watch::Sender::new((0..bridge.connections).map(|_| Known::default()).collect()),
            refused: Mutex::default(),
            changed: Notify::new(),
            bridge,
        }
    }

    pub(super) fn meter(&self) -> &Meter {
        &self.meter
    }

    pub(super) fn connector(&self) -> Arc<dyn Connector> {
        Arc::clone(&self.connector.lock())
    }

    /// From the next connection on: files may have been read again.
    pub(super) fn set_connector(&self, connector: Arc<dyn Connector>) {
        *self.connector.lock() = connector;
    }

    /// The ClientId there of a connection.
    pub(super) fn client_id(&self, index: u16) -> String {
        self.bridge.client_id_of(index + 1, &self.host_name)
    }

    /// The next random number, of SplitMix64: the same seed, the same numbers.
    pub(super) fn entropy(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut number = self.entropy.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    /// The state for the other side: where mosquitto has it, by our ClientId.
    pub(super) fn remote_state(&self, is_up: bool) -> Publication {
        let topic = self.bridge.notification_topic.clone();
        let topic = topic.unwrap_or_else(|| format!("$SYS/broker/connection/{}/state", self.client_id(0)));
        Publication::new(topic, if is_up { "1" } else { "0" }, QoS::AtLeastOnce).retained()
    }

    /// Resolves when a connection may send CONNECT to an address. Only AWS IoT minds how often.
    pub(super) async fn turn(&self, index: u16, address: &RemoteAddress) -> Option<Turn<'_>> {
        if !self.rules.is_aws {
            return None;
        }
        Some(self.connects.turn(&self.client_id(index), &address.to_string()).await)
    }

    pub(super) fn put_client(&self, index: u16, client: Client) {
        self.links.send_modify(|links| {
            if let Some(link) = links.get_mut(usize::from(index)) {
                link.client = Some(client);
            }
        });
    }

    /// Resolves when every local session is there: from then on nothing that goes out is missed.
    pub(super) async fn is_ready(&self) {
        self.until(|links| links.iter().all(|link| link.client.is_some())).await;
    }

    /// Resolves when every connection has ended by order.
    pub(super) async fn is_paused(&self) {
        self.until(|links| links.iter().all(|link| link.state == LinkState::Paused)).await;
    }

    /// Resolves when every connection is about to come back.
    pub(super) async fn is_not_paused(&self) {
        self.until(|links| links.iter().all(|link| link.state != LinkState::Paused)).await;
    }

    async fn until(&self, is_so: impl FnMut(&Vec<Known>) -> bool) {
        // They are there as long as this is.
        let _ = self.links.subscribe().wait_for(is_so).await;
    }

    /// Who publishes a topic here: the client whose own session would get it, because nobody gets what it has published.
    pub(super) fn client_for(&self, topic: &str) -> Option<Client> {
        let index = super::local::part_of(topic, self.bridge.connections);
        self.client(index)
    }

    pub(super) fn client(&self, index: u16) -> Option<Client> {
        self.links.borrow().get(usize::from(index))?.client.clone()
    }

    pub(super) fn link_is_up(&self, index: u16, address: &str) {
        tracing::info!(bridge = %self.bridge.name, link = index, "connected to {address}");
        self.change(index, LinkState::Up(address.to_owned()));
    }

    pub(super) fn link_is_down(&self, index: u16, why: &str) {
        self.change(index, LinkState::Down(why.to_owned()));
    }

    /// It is away, and trying again would not help.
    pub(super) fn link_is_given_up(&self, index: u16, why: &str) {
        self.change(index, LinkState::GivenUp(why.to_owned()));
    }

    /// It is away by order, until there is another one.
    pub(super) fn link_is_paused(&self, index: u16) {
        self.change(index, LinkState::Paused);
    }

    /// It is to come back. Who has paused it may have connected with its ClientId meanwhile.
    pub(super) fn link_is_resumed(&self, index: u16) {
        for address in &self.bridge.addresses {
            self.connects.connected(&self.client_id(index), &address.to_string());
        }
        self.change(index, LinkState::Starting);
    }

    fn change(&self, index: u16, state: LinkState) {
        self.links.send_modify(|links| {
            if let Some(link) = links.get_mut(usize::from(index)) {
                link.state = state;
            }
            let (standing, why) = standing(links);
            // Here, where no other connection changes anything: or an older standing could be set over a newer one.
            self.meter.set_standing(standing, why);
        });
        self.changed.notify_one();
    }

    /// The other side does not let us have these.
    pub(super) fn refused_filters(&self, filters: &[Filter], why: &str) {
        for (filter, _) in filters {
            tracing::warn!(bridge = %self.bridge.name, filter, "the other broker refused a subscription: {why}");
            self.refused.lock().insert(filter.clone(), why.to_owned());
        }
        self.changed.notify_one();
    }

    /// The other side is asked for them again.
    pub(super) fn forget_refused(&self, filters: &[Filter]) {
        self.refused.lock().retain(|refused, _| filters.iter().all(|(filter, _)| filter != refused));
    }

    /// Filters that the other side has refused, each with its reason.
    pub(super) fn refused(&self) -> Vec<String> {
        self.refused.lock().iter().map(|(filter, why)| format!("{filter}: {why}")).collect()
    }

    /// Messages a second that came for the other side lately.
    pub(super) fn offered_per_second(&self) -> u64 {
        self.meter.load().unwrap_or_default().offered_per_second
    }

    /// Messages a second that all connections may carry; `None` if nothing bounds them.
    pub(super) fn carried(&self) -> Option<u64> {
        match self.rules.messages_per_second {
            Limit::AtMost(most) => Some(most.get() * u64::from(self.bridge.connections)),
            Limit::Unlimited => None,
        }
    }

    /// How each connection is.
    pub(super) fn links(&self) -> Vec<LinkState> {
        self.links.borrow().iter().map(|link| link.state.clone()).collect()
    }
}

/// How the bridge is, and why: the first connection that is not there speaks for all.
fn standing(links: &[Known]) -> (Standing, &str) {
    let away = links.iter().find_map(|link| match &link.state {
        LinkState::Up(_) => None,
        LinkState::Starting => Some((Standing::Starting, "")),
        LinkState::Down(why) => Some((Standing::Down, &**why)),
        LinkState::GivenUp(why) => Some((Standing::Disabled, &**why)),
        LinkState::Paused => Some((Standing::Paused, PAUSED)),
    });
    away.unwrap_or((Standing::Up, ""))
}

/// Whether the other side may send back what we send: a topic goes both ways, and it does not know that we are a bridge.
/// AWS IoT does not say that it follows No Local (AIC-SUB-09).
fn may_echo(bridge: &Bridge, rules: &Rules) -> bool {
    let knows = bridge.try_private == Some(true) || bridge.protocol.version().is_v5();
    let both_ways = !bridge.outgoing.is_empty() && !bridge.incoming.is_empty();
    both_ways && (rules.is_aws || !knows)
}
