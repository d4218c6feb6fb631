//! The way to the other broker: name, TCP, TLS.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use culex_core::client::Socket;
use tokio::time::timeout;

use super::aws;
use super::dial::dial;
use crate::config::{Bridge, BridgeTls, ConfigError, RemoteAddress, TlsVersion};
use crate::tls::client::{self, Roots, Settings};

/// Time for TCP and for the handshake of TLS, as in AWS's own clients.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection that is being made.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<Reached>> + Send + 'a>>;

/// A stream to the other broker.
pub struct Reached {
    pub(super) stream: Box<dyn Socket>,
    /// Its end here, if it has one that the other broker sees.
    pub(super) our_end: Option<SocketAddr>,
}

impl Reached {
    /// Over any stream, of which nothing else is known.
    pub fn over(stream: impl Socket + 'static) -> Self {
        Self { stream: Box::new(stream), our_end: None }
    }
}

impl std::fmt::Debug for Reached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reached").field("our_end", &self.our_end).finish_non_exhaustive()
    }
}

/// How a bridge reaches the other broker. Tests have one that reaches it in memory.
pub trait Connector: Send + Sync {
    /// Opens a stream to one of the addresses of the bridge.
    fn connect<'a>(&'a self, address: &'a RemoteAddress) -> Connecting<'a>;

    /// Days until our certificate ends, if there is one.
    fn certificate_days(&self) -> Option<i64> {
        None
    }
}

/// By TCP, and by TLS where the bridge has that.
#[derive(Debug)]
pub(super) struct Network {
    has_tls: bool,
    /// The local address of connections.
    own: Option<IpAddr>,
    /// One for each address of the bridge, in that order; none without TLS.
    secured: Vec<(RemoteAddress, client::Connector)>,
}

impl Network {
    /// Reads the files that a bridge names.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub(super) fn of(bridge: &Bridge) -> Result<Self, ConfigError> {
        let (has_tls, own) = (bridge.has_tls(), bridge.bind_address);
        if !has_tls {
            return Ok(Self { has_tls, own, secured: Vec::new() });
        }
        let default = BridgeTls::default();
        let tls = bridge.tls.as_ref().unwrap_or(&default);
        let secured =
            bridge.addresses.iter().map(|address| Ok((address.clone(), connector(bridge, tls, address)?)));
        Ok(Self { has_tls, own, secured: secured.collect::<Result<_, ConfigError>>()? })
    }
}

fn connector(
    bridge: &Bridge,
    tls: &BridgeTls,
    address: &RemoteAddress,
) -> Result<client::Connector, ConfigError> {
    client::Connector::new(&settings(bridge, tls, address))
}

/// How a connection to an address is secured.
pub(super) fn settings<'a>(bridge: &Bridge, tls: &'a BridgeTls, address: &'a RemoteAddress) -> Settings<'a> {
    let roots = match tls.ca_file.as_deref() {
        Some(path) => Roots::Files(path),
        None if bridge.is_aws_iot() => Roots::Amazon,
        None => Roots::Public,
    };
    Settings {
        host: tls.server_name.as_deref().unwrap_or(&address.host),
        roots: Some(roots),
        identity: tls.certificate.as_deref().zip(tls.key.as_deref()),
        key_permissions: tls.key_permissions,
        checks_name: tls.insecure != Some(true),
        version: (tls.min_version == TlsVersion::V1_3).then_some(TlsVersion::V1_3),
        alpn: alpn(bridge, tls, address),
        // AWS IoT has no tickets (AIC-TLS-05), and for the others one handshake is no cost.
        resumes: false,
    }
}

/// What is asked for by ALPN: what was written, or what AWS IoT wants on port 443 (AIC-NET-03, AIC-NET-04).
fn alpn<'a>(bridge: &Bridge, tls: &'a BridgeTls, address: &RemoteAddress) -> Vec<&'a str> {
    if tls.alpn.iter().any(|name| name == "none") {
        return Vec::new();
    }
    if tls.alpn.is_empty() && bridge.is_aws_iot() && address.port == Some(aws::PORT_WITH_ALPN) {
        return vec![if tls.certificate.is_some() { aws::ALPN_CERTIFICATE } else { aws::ALPN_USER }];
    }
    tls.alpn.iter().map(String::as_str).collect()
}

impl Connector for Network {
    fn connect<'a>(&'a self, address: &'a RemoteAddress) -> Connecting<'a> {
        Box::pin(async move {
            let connecting = async {
                let port = address.port_or_default(self.has_tls);
                let stream = dial(self.own, &address.host, port).await?;
                // A PUBACK must not wait for more to send.
                stream.set_nodelay(true)?;
                let our_end = stream.local_addr().ok();
                let stream = match self.secured.iter().find(|(of, _)| of == address) {
                    Some((_, connector)) => connector.secure(stream).await?,
                    // What is to be secured is never plain.
                    None if self.has_tls => return Err(io::Error::other("there is no TLS for this address")),
                    None => Box::new(stream) as Box<dyn Socket>,
                };
                Ok(Reached { stream, our_end })
            };
            timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        })
    }

    fn certificate_days(&self) -> Option<i64> {
        self.secured.iter().find_map(|(_, connector)| connector.certificate_days())
    }
}

/// The files of a bridge, read to see whether they can be used.
///
/// # Errors
/// What is wrong with which file.
pub fn check_files(bridge: &Bridge) -> Result<(), ConfigError> {
    Network::of(bridge).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aic_net_03_04_on_port_443_of_aws_the_protocol_follows_from_the_credentials() {
        let named = |names: &[&str], certificate: Option<&str>| BridgeTls {
            alpn: names.iter().map(ToString::to_string).collect(),
            certificate: certificate.map(Into::into),
            ..BridgeTls::default()
        };
        let asked = |host: &str, port, tls: &BridgeTls| {
            let address = RemoteAddress { host: host.to_owned(), port };
            let bridge = Bridge { addresses: vec![address.clone()], ..Bridge::default() };
            alpn(&bridge, tls, &address).join(",")
        };
        const AWS: &str = "x-ats.iot.eu-central-1.amazonaws.com";
        let (with, without) = (named(&[], Some("a.crt")), named(&[], None));
        assert_eq!(asked(AWS, Some(443), &with), "x-amzn-mqtt-ca");
        assert_eq!(asked(AWS, Some(443), &without), "mqtt");
        assert_eq!(asked(AWS, Some(8883), &with), "");
        assert_eq!(asked(AWS, None, &with), "");
        assert_eq!(asked("mqtt.example.org", Some(443), &with), "");
        assert_eq!(asked(AWS, Some(443), &named(&["none"], Some("a.crt"))), "");
        assert_eq!(asked(AWS, Some(443), &named(&["h2", "x"], Some("a.crt"))), "h2,x");
    }
}
