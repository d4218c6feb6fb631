//! Connections that do not get in: why, what they are told, what is counted.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use culex_codec::{DecodeError, ProtocolVersion, ReasonCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tracing::{debug, info, warn};

use crate::engine::error::{Refusal, statement_of};
use crate::engine::shard::Event;

use super::super::listener::HeaderError;
use super::super::peer::Peer;
use super::super::refuse::connack_bytes;
#[cfg(feature = "websocket")]
use super::super::websocket::Refused;
use super::FrontDoor;

/// How long a refused client has to read its CONNACK.
const LINGER: Duration = Duration::from_secs(1);

/// Why a connection did not get in.
#[derive(Debug, thiserror::Error)]
pub(super) enum Turned {
    #[error("{0}")]
    Malformed(#[from] DecodeError),
    #[error("the first packet is not CONNECT [MQTT-3.1.0-1]")]
    NotConnect,
    #[error("its listener does not take clients of protocol level {level} [MQTT-3.1.2-2]", level = .0.level())]
    NotSpoken(ProtocolVersion),
    #[error("{refusal}")]
    Refused { refusal: Refusal, version: ProtocolVersion, client_id: Box<str> },
    #[error("{refusal}")]
    NotAdmitted {
        refusal: Refusal,
        version: ProtocolVersion,
        client_id: Box<str>,
        user_name: Option<Box<str>>,
    },
    #[error("more than {0} bytes before CONNECT was complete (limit {1})")]
    OverBudget(u64, &'static str),
    #[error("closed before CONNECT")]
    Gone,
    #[error("no CONNECT within {0:?} (limit connect_timeout)")]
    Late(Duration),
    /// It broke a rule of the layer under MQTT.
    #[error("{0}")]
    Broken(String),
    #[error("{0} (proxy_protocol)")]
    Proxy(HeaderError),
    #[cfg(feature = "websocket")]
    #[error("WebSocket: {0}")]
    Upgrade(Refused),
    #[cfg(feature = "tls")]
    #[error("TLS handshake: {0}")]
    Handshake(String),
    #[cfg(feature = "tls")]
    #[error("no TLS handshake within {0:?} (limit connect_timeout)")]
    LateHandshake(Duration),
}

impl Turned {
    /// Why nothing could be read. A layer under MQTT says what is wrong; of a socket it does not matter.
    pub(super) fn of_read(error: &io::Error) -> Self {
        error.get_ref().map_or(Self::Gone, |why| Self::Broken(why.to_string()))
    }
}

impl FrontDoor {
    pub(super) async fn turn_away<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        peer: &Peer,
        turned: &Turned,
    ) {
        let refusal = self.note_turned(peer, turned);
        #[cfg(feature = "websocket")]
        if let Turned::Upgrade(refused) = turned {
            return say_goodbye(stream, refused.response().as_bytes()).await;
        }
        let connack = refusal.and_then(|(version, code)| connack_bytes(version, code));
        match connack {
            Some(connack) => say_goodbye(stream, &connack).await,
            None if matches!(turned, Turned::Broken(_)) => say_goodbye(stream, &[]).await,
            None => {}
        }
    }

    /// Counts and tells it. If the client has said what it speaks, it gets a CONNACK of that version and code.
    pub(super) fn note_turned(&self, peer: &Peer, turned: &Turned) -> Option<(ProtocolVersion, ReasonCode)> {
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        let cells = &self.metrics.front_door;
        match turned {
            Turned::Malformed(DecodeError::UnsupportedProtocolLevel { .. }) => {
                count(&cells.connect_refused);
                warn!(%peer, "connection closed: {turned} [MQTT-3.1.2-2]");
                return Some((ProtocolVersion::V311, ReasonCode::UnsupportedProtocolVersion));
            }
            Turned::NotSpoken(version) => {
                count(&cells.connect_refused);
                warn!(%peer, "connection closed: {turned}");
                return Some((*version, ReasonCode::UnsupportedProtocolVersion));
            }
            Turned::Refused { refusal, version, client_id } => {
                count(&cells.connect_refused);
                let (client_id, refusal) = (client_id.clone(), *refusal);
                self.tell(Event::Refused { client_id, peer: peer.label.clone(), refusal });
                return Some((*version, refusal.reason_code()));
            }
            Turned::NotAdmitted { refusal, version, client_id, user_name } => {
                let (client_id, refusal, peer) = (client_id.clone(), *refusal, peer.label.clone());
                if matches!(refusal, Refusal::BadCredentials | Refusal::NotAuthorized) {
                    count(&cells.connect_unauthorized);
                    self.tell(Event::AuthenticationFailed { client_id, peer, user_name: user_name.clone() });
                } else {
                    let is_denied = refusal == Refusal::WillNotAuthorized;
                    count(if is_denied { &cells.connect_unauthorized } else { &cells.connect_unavailable });
                    self.tell(Event::Refused { client_id, peer, refusal });
                }
                return Some((*version, refusal.reason_code()));
            }
            Turned::Malformed(error) => {
                count(&cells.connect_malformed);
                warn!(%peer, "connection closed: malformed CONNECT: {error}{}", statement_of(error));
            }
            Turned::Broken(_) => {
                count(&cells.connect_malformed);
                warn!(%peer, "connection closed before CONNECT: {turned}");
            }
            Turned::Proxy(_) => {
                count(&cells.proxy_refused);
                warn!(%peer, "connection closed: {turned}");
            }
            #[cfg(feature = "websocket")]
            Turned::Upgrade(_) => {
                count(&cells.websocket_upgrades_failed);
                info!(%peer, "connection closed: {turned}");
            }
            Turned::NotConnect => {
                count(&cells.connect_malformed);
                warn!(%peer, "connection closed: {turned}");
            }
            Turned::OverBudget(..) => {
                count(&cells.connect_over_budget);
                warn!(%peer, "connection closed: {turned}");
            }
            Turned::Late(_) => {
                count(&cells.connect_timeouts);
                info!(%peer, "connection closed: {turned}");
            }
            #[cfg(feature = "tls")]
            Turned::Handshake(_) => {
                count(&cells.tls_handshakes_failed);
                info!(%peer, "connection closed: {turned}");
            }
            #[cfg(feature = "tls")]
            Turned::LateHandshake(_) => {
                count(&cells.connect_timeouts);
                info!(%peer, "connection closed: {turned}");
            }
            Turned::Gone => debug!(%peer, "{turned}"),
        }
        None
    }
}

/// Says a last word and lets the peer read it: a close with unread bytes would destroy it on its way.
async fn say_goodbye<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, last_word: &[u8]) {
    let goodbye = async {
        stream.write_all(last_word).await?;
        stream.shutdown().await?;
        let mut sink = [0; 256];
        let mut left = 64;
        while left > 0 && stream.read(&mut sink).await? > 0 {
            left -= 1;
        }
        io::Result::Ok(())
    };
    // Whether the peer read it or not, this was all.
    let _ = tokio::time::timeout(LINGER, goodbye).await;
}
