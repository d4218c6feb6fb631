//! The name of the other broker, whether it is found, and whether somebody answers there.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::timeout;

use super::{Cause, Diagnosis, Finding, Stage, Step, Stop};
use crate::bridge::dial::dial_one_of;
use crate::config::{PORT, RemoteAddress};

/// Time for a name, and for TCP.
const NETWORK_TIMEOUT: Duration = Duration::from_secs(10);

impl Diagnosis<'_> {
    /// What can be seen of the addresses without asking anybody.
    pub(super) fn names(&mut self) -> Step {
        let bridge = self.bridge;
        let has_tls = bridge.has_tls();
        for address in &bridge.addresses {
            let (host, port) = (address.host.to_ascii_lowercase(), address.port_or_default(has_tls));
            if self.is_aws() && port == PORT {
                let why = format!(
                    "{address}: AWS IoT speaks TLS alone, on 8883 and 443, and nobody answers on 1883"
                );
                return self.stop(
                    Stage::Names,
                    "a port without TLS",
                    Finding::new(Cause::Port, why, "leave the port out, or write 8883"),
                );
            }
            if self.is_aws() && port == 8443 {
                let why = format!("{address}: on 8443 AWS IoT speaks HTTPS, not MQTT");
                return self.stop(
                    Stage::Names,
                    "a port of HTTPS",
                    Finding::new(Cause::Port, why, "leave the port out, or write 8883"),
                );
            }
            if address.is_aws_iot() && !host.contains(".iot.") {
                let why = format!("{host} is where AWS IoT is configured, not where devices connect");
                let mend = "take the data endpoint of the account, `….iot.REGION.amazonaws.com`";
                let finding = Finding::new(Cause::Endpoint, why, mend).proof(self.prove_endpoint());
                return self.stop(Stage::Names, "no data endpoint", finding);
            }
            if host.contains(".credentials.iot.") || host.contains(".jobs.iot.") {
                let why = format!("{host} is another endpoint of AWS IoT, which speaks HTTPS");
                let finding = Finding::new(Cause::Endpoint, why, "take the data endpoint of the account")
                    .proof(self.prove_endpoint());
                return self.stop(Stage::Names, "no data endpoint", finding);
            }
            if address.is_aws_iot() && !host.contains("-ats.iot.") {
                // AIC-NET-01, AIC-NET-02
                self.note(
                    Stage::Names,
                    format!(
                        "{host} has no `-ats`: the old endpoint, with certificates of VeriSign; {}",
                        self.prove_endpoint()
                    ),
                );
            }
        }
        let names: Vec<_> = bridge.addresses.iter().map(ToString::to_string).collect();
        self.good(Stage::Names, names.join(", "));
        Ok(())
    }

    /// The first address where somebody answers.
    pub(super) async fn network(&mut self) -> Step<RemoteAddress> {
        let mut found = None;
        let (addresses, has_tls) = (self.bridge.addresses.clone(), self.bridge.has_tls());
        for address in &addresses {
            match reach(self.bridge.bind_address, address, address.port_or_default(has_tls)).await {
                Ok(text) => {
                    self.good(Stage::Network, text);
                    found = found.or(Some(address));
                }
                Err(fault) => {
                    let (text, finding) = self.unreachable(address, &fault);
                    self.bad(Stage::Network, text, finding);
                }
            }
        }
        found.cloned().ok_or(Stop)
    }

    fn unreachable(&self, address: &RemoteAddress, fault: &Unreached) -> (String, Finding) {
        let port = address.port_or_default(self.bridge.has_tls());
        match fault {
            Unreached::NoName(error) if address.is_aws_iot() => {
                let why = format!("there is no {}: {error}", address.host);
                let mend = "the endpoint or its Region is misspelt; if other names are not found either, it is the name server";
                let finding = Finding::new(Cause::Endpoint, why, mend).proof(self.prove_endpoint());
                (format!("{} is not found", address.host), finding)
            }
            Unreached::NoName(error) => {
                let why = format!("there is no {}: {error}", address.host);
                let finding = Finding::new(
                    Cause::Endpoint,
                    why,
                    "correct `address`; if other names are not found either, it is the name server",
                )
                .proof(format!("getent hosts {}", address.host));
                (format!("{} is not found", address.host), finding)
            }
            Unreached::Refused => {
                let why = format!("{} is there, and nobody listens on port {port}", address.host);
                let finding = Finding::new(Cause::Port, why, "correct the port, or start the other broker")
                    .proof(format!("nc -vz {} {port}", address.host));
                (format!("{} refuses connections on port {port}", address.host), finding)
            }
            Unreached::Own(error) => {
                let mend = "correct `bind_address`, or leave it out; `ip address` lists the addresses of this computer";
                let finding = Finding::new(Cause::Network, error, mend);
                (format!("{} is not reached from there", address.host), finding)
            }
            Unreached::Other(error) => {
                let why = format!("no way to {} port {port}: {error}", address.host);
                let mend = if port == 8883 {
                    "a firewall lets port 8883 not out, perhaps; AWS IoT takes port 443 too: `address = \"…:443\"`"
                } else {
                    "look for a firewall in between"
                };
                let finding =
                    Finding::new(Cause::Network, why, mend).proof(format!("nc -vz {} {port}", address.host));
                (format!("{} does not answer on port {port}", address.host), finding)
            }
        }
    }
}

enum Unreached {
    NoName(String),
    Refused,
    /// The local address of the connection cannot be what it shall be.
    Own(String),
    Other(String),
}

async fn reach(own: Option<IpAddr>, address: &RemoteAddress, port: u16) -> Result<String, Unreached> {
    let lookup = tokio::net::lookup_host((address.host.as_str(), port));
    let found: Vec<_> = match timeout(NETWORK_TIMEOUT, lookup).await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => return Err(Unreached::NoName(crate::cli::human::io(&error))),
        Err(_) => return Err(Unreached::NoName("no name server answers".to_owned())),
    };
    match timeout(NETWORK_TIMEOUT, dial_one_of(own, &address.host, &found)).await {
        Ok(Ok(stream)) => {
            let peer = stream.peer_addr().map(|peer| peer.to_string()).unwrap_or_default();
            let is_same = address.to_string() == peer;
            Ok(if is_same {
                format!("{address} answers")
            } else {
                format!("{address} is {peer}, and answers")
            })
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Err(Unreached::Refused),
        Ok(Err(error)) if own.is_some() && error.kind() == io::ErrorKind::AddrNotAvailable => {
            Err(Unreached::Own(error.to_string()))
        }
        Ok(Err(error)) => Err(Unreached::Other(crate::cli::human::io(&error))),
        Err(_) => Err(Unreached::Other("no answer within 10 s".to_owned())),
    }
}
