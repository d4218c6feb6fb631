//! The beginning of a connection: an address that answers, and CONNECT.

use std::net::SocketAddr;

use culex_core::QoS;
use culex_core::client::{ClientError, Connection, Options, Publication, Session, Will};

use super::CONNACK_TIMEOUT;
use crate::bridge::outgoing::Outgoing;
use crate::bridge::remote::Reached;
use crate::bridge::shared::Shared;
use crate::config::RemoteAddress;

/// A connection that has begun.
pub(super) struct Opened {
    pub(super) connection: Connection,
    /// Where it leads to.
    pub(super) address: String,
    /// Its end here, if it has one that others see.
    pub(super) our_end: Option<SocketAddr>,
}

/// Connects to the first address that can be reached.
pub(super) async fn open(
    shared: &Shared,
    index: u16,
    outgoing: &Outgoing,
    session: &mut Session,
) -> Result<Opened, String> {
    let mut why = "no address".to_owned();
    for address in &shared.bridge.addresses {
        let connector = shared.connector();
        // Until CONNECT has been answered, or given up.
        let _turn = shared.turn(index, address).await;
        let Reached { stream, our_end } = match connector.connect(address).await {
            Ok(reached) => reached,
            Err(error) => {
                why = format!("cannot connect to {address}: {}", describe(&error));
                continue;
            }
        };
        let options = options(shared, index, outgoing.window(), address);
        return match Connection::resume_over(stream, &options, session).await {
            Ok(connection) => Ok(Opened { connection, address: address.to_string(), our_end }),
            Err(error) => Err(format!("{address}: {}", explain_connect(shared, &error))),
        };
    }
    Err(why)
}

/// An error of the network in words.
fn describe(error: &std::io::Error) -> String {
    explain_tls(error).map_or_else(|| culex_core::client::describe_io(error), str::to_owned)
}

/// What a failed handshake means, without the options of a command that has another place for them.
fn explain_tls(error: &std::io::Error) -> Option<&'static str> {
    crate::tls::client::explain(error).and_then(|text| text.split(" (-").next())
}

/// What a refused CONNECT means.
fn explain_connect(shared: &Shared, error: &ClientError) -> String {
    // TLS 1.3 refuses a certificate when the handshake seems to be over.
    if let ClientError::Io(error) = error
        && explain_tls(error).is_some()
    {
        return describe(error);
    }
    let is_silent = matches!(error, ClientError::Closed | ClientError::Io(_));
    if shared.rules.is_aws && is_silent {
        // AIC-CON-12, AIC-TLS-09.
        return format!(
            "{error} without an answer to CONNECT: the policy may not allow this client id, or AWS does not know the \
             certificate, or it is not ACTIVE in this Region"
        );
    }
    error.to_string()
}

fn options(shared: &Shared, index: u16, window: u16, address: &RemoteAddress) -> Options {
    let bridge = &shared.bridge;
    let mut options = Options::default();
    options.host.clone_from(&address.host);
    options.port = address.port_or_default(bridge.has_tls());
    options.version = bridge.protocol.version();
    options.client_id = shared.client_id(index);
    options.clean_session = bridge.clean_start == Some(true);
    options.keep_alive = u16::try_from(bridge.keep_alive.as_secs()).unwrap_or(u16::MAX);
    options.user_name.clone_from(&bridge.user);
    options.password.clone_from(&bridge.password);
    options.in_flight = window;
    options.is_manual_ack = true;
    options.receive_maximum = 100;
    options.packet_bytes_max = shared.packet_bytes_max;
    options.connect_timeout = CONNACK_TIMEOUT;
    options.is_bridge = bridge.try_private == Some(true) && !options.version.is_v5();
    if index == 0 && bridge.notifies_remote() {
        let Publication { topic, payload, .. } = shared.remote_state(false);
        options.will = Some(Will { topic, payload, qos: QoS::AtLeastOnce, is_retained: true });
    }
    options
}
