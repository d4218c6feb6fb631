//! What a Server grants in CONNACK, and what it therefore does not take.

use std::num::{NonZeroU16, NonZeroU32};

use culex_codec::{ConnAck, QoS, ReasonCode};

use crate::client::message::Publication;
use crate::client::options::{Options, PACKET_BYTES_MAX};

/// What holds for a connection: what was asked for, as far as the Server agreed. Before 5.0 a Server cannot say more than
/// whether it has a Session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Granted {
    /// Whether the Server had Session State for us. Always false in 3.1.
    pub is_session_present: bool,
    /// Seconds that the Session outlives the connection; 4,294,967,295 is for ever.
    pub session_expiry_s: u32,
    /// Keep Alive in seconds, 0 is none: the Server's, if it has said one ([MQTT-3.1.2-21] of 5.0).
    pub keep_alive_s: u16,
    /// QoS 1 and 2 messages that the Server takes without having acknowledged them, 1 … 65,535. [`Options::in_flight`]
    /// bounds them too.
    pub receive_maximum: u16,
    /// Bytes of the largest packet that the Server takes ([MQTT-3.2.2-15] of 5.0).
    pub packet_bytes_max: u32,
    /// The highest QoS that the Server takes ([MQTT-3.2.2-11] of 5.0).
    pub qos_max: QoS,
    /// Whether the Server takes messages to be retained ([MQTT-3.2.2-14] of 5.0).
    pub is_retain_available: bool,
    /// Topic Aliases that the Server takes; none is used here.
    pub topic_alias_maximum: u16,
    /// Whether filters with wildcards may be subscribed to.
    pub is_wildcard_available: bool,
    /// Whether filters that begin with `$share/` may be subscribed to.
    pub is_shared_available: bool,
    /// The ClientId that the Server gave us, if we had none.
    pub assigned_client_id: Option<String>,
}

impl Granted {
    /// What is asked for.
    pub(super) fn asked(options: &Options) -> Self {
        Self {
            is_session_present: false,
            session_expiry_s: options.session_expiry_s(),
            keep_alive_s: options.keep_alive,
            receive_maximum: u16::MAX,
            packet_bytes_max: PACKET_BYTES_MAX,
            qos_max: QoS::ExactlyOnce,
            is_retain_available: true,
            topic_alias_maximum: 0,
            is_wildcard_available: true,
            is_shared_available: true,
            assigned_client_id: None,
        }
    }

    /// The Server's answer. A property that is not there leaves what was asked for.
    pub(super) fn answered(&mut self, ack: &ConnAck<'_>) {
        let properties = ack.properties;
        self.is_session_present = ack.session_present;
        self.session_expiry_s = properties.session_expiry_interval().unwrap_or(self.session_expiry_s);
        self.keep_alive_s = properties.server_keep_alive().unwrap_or(self.keep_alive_s);
        self.receive_maximum = properties.receive_maximum().map_or(u16::MAX, NonZeroU16::get);
        self.packet_bytes_max = properties.maximum_packet_size().map_or(PACKET_BYTES_MAX, NonZeroU32::get);
        self.qos_max = properties.maximum_qos().unwrap_or(QoS::ExactlyOnce);
        self.is_retain_available = properties.retain_available().unwrap_or(true);
        self.topic_alias_maximum = properties.topic_alias_maximum().unwrap_or(0);
        self.is_wildcard_available = properties.wildcard_subscription_available().unwrap_or(true);
        self.is_shared_available = properties.shared_subscription_available().unwrap_or(true);
        self.assigned_client_id = properties.assigned_client_identifier().map(str::to_owned);
    }

    /// Why the Server does not take a message whose PUBLISH has so many bytes; it would end the connection.
    pub(super) fn objection(&self, publication: &Publication, bytes: usize) -> Option<ReasonCode> {
        if publication.qos > self.qos_max {
            Some(ReasonCode::QoSNotSupported)
        } else if publication.is_retained && !self.is_retain_available {
            Some(ReasonCode::RetainNotSupported)
        } else if self.is_too_large(bytes) {
            Some(ReasonCode::PacketTooLarge)
        } else {
            None
        }
    }

    /// Whether the Server does not take a packet of so many bytes.
    pub(super) fn is_too_large(&self, bytes: usize) -> bool {
        u32::try_from(bytes).map_or(true, |bytes| bytes > self.packet_bytes_max)
    }
}
