//! TLS: who the other broker is, what it speaks, and whether it takes our certificate.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::timeout;

use super::files::Own;
use super::{Cause, Diagnosis, Finding, Stage, Step, Way};
use crate::bridge::dial::dial;
use crate::bridge::remote;
use crate::config::{BridgeTls, RemoteAddress};
use crate::tls::client::{Roots, Settings};
use crate::tls::probe::{Facts, Fault, Probe, Shown, fault_of};

/// Time for TCP and the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);

impl Diagnosis<'_> {
    /// Looks at the server, and finds the way to it.
    pub(super) async fn server(&mut self, address: RemoteAddress, own: Own) -> Step {
        if !self.bridge.has_tls() {
            self.way = Some(Way { address, probe: None });
            return Ok(());
        }
        let tls = self.bridge.tls.clone().unwrap_or_default();
        let mut settings = remote::settings(self.bridge, &tls, &address);
        if matches!(own, Own::OutOfTime(_)) {
            settings.identity = None;
        }
        let probe = match Probe::new(&settings, self.options.now) {
            Ok(probe) => probe,
            Err(error) => {
                let finding = Finding::new(Cause::File, error.to_string(), "correct it");
                return self.stop(Stage::Server, "TLS cannot begin", finding);
            }
        };
        let secured = secure(&probe, self.bridge.bind_address, &address).await;
        let shown = probe.shown();
        let sight = Sight { shown: &shown, settings: &settings, address: &address };
        let fault = match secured {
            Ok(facts) => {
                self.server_is_right(&sight, facts.as_deref());
                None
            }
            Err(error) => Some(fault_of(&error, &shown)),
        };
        if let Some(fault) = fault {
            return self.on_fault(&fault, &sight, &own, &tls);
        }
        self.check_alpn(&sight)?;
        if let Own::OutOfTime(facts) = &own {
            return self.out_of_time(facts);
        }
        self.way = Some(Way { address: address.clone(), probe: Some(probe) });
        Ok(())
    }

    fn server_is_right(&mut self, sight: &Sight<'_>, version: Option<&str>) {
        let facts = sight.shown.server(self.now());
        let (subject, issuer, ends) = match &facts {
            Some(Facts { subject, issuer, ends, .. }) => (subject.as_str(), issuer.as_str(), ends.as_str()),
            None => ("a nameless subject", "nobody", "?"),
        };
        let version = version.unwrap_or("TLS");
        self.good(Stage::Server, format!("{subject}, signed by {issuer}, until {ends}; {version}"));
    }

    /// Whoever does not ask for a certificate speaks something else than MQTT with one (AIC-NET-03).
    fn check_alpn(&mut self, sight: &Sight<'_>) -> Step {
        let asked = sight.settings.alpn.join(", ");
        if sight.settings.identity.is_some() && !sight.shown.asks_for_certificate && self.is_aws() {
            let port = sight.address.port_or_default(true);
            let why = format!(
                "the server does not ask for our certificate: on port {port} it takes a connection {} for HTTPS",
                if asked.is_empty() { "without ALPN".to_owned() } else { format!("with ALPN {asked}") }
            );
            let finding = Finding::new(Cause::Alpn, why, "on 443 write `alpn = \"x-amzn-mqtt-ca\"` (it is so without `alpn` too), or take 8883")
                .proof(format!(
                    "openssl s_client -connect {}:{port} -servername {} -alpn x-amzn-mqtt-ca </dev/null | grep ALPN",
                    sight.address.host, sight.settings.host
                ));
            return self.stop(Stage::Alpn, "no MQTT is spoken this way", finding);
        }
        if asked.is_empty() {
            self.skipped(Stage::Alpn, "none is asked for");
        } else {
            self.good(Stage::Alpn, asked);
        }
        Ok(())
    }

    fn out_of_time<T>(&mut self, facts: &Facts) -> Step<T> {
        let (text, mend) = if facts.is_over {
            (
                format!("our certificate has expired on {}", facts.ends),
                "make a new one, with a policy, and attach it to the thing",
            )
        } else {
            (
                format!("our certificate begins on {}", facts.begins),
                "the clock of this computer may be behind (`date -u`), though the certificate of the server is of its time; else \
                 take a certificate that is valid now",
            )
        };
        let why = format!("{} is valid from {} to {}", facts.subject, facts.begins, facts.ends);
        let proof = if self.is_aws() { self.prove_certificate() } else { "date -u".to_owned() };
        self.stop(Stage::Certificate, text, Finding::new(Cause::Certificate, why, mend).proof(proof))
    }

    /// Names what a handshake failed for.
    fn on_fault(&mut self, fault: &Fault, sight: &Sight<'_>, own: &Own, tls: &BridgeTls) -> Step {
        let (host, name) = (sight.address.host.as_str(), sight.settings.host);
        let port = sight.address.port_or_default(true);
        let proof = self.prove_server(host, name, port);
        match fault {
            Fault::NotTls => {
                let why = format!("what answers on port {port} speaks no TLS");
                let finding =
                    Finding::new(Cause::Port, why, "take the port of TLS, 8883 as a rule").proof(proof);
                self.stop(Stage::Server, "no TLS on this port", finding)
            }
            Fault::Version => {
                let why = "no version of TLS is common to both sides";
                let finding = Finding::new(
                    Cause::TlsVersion,
                    why,
                    "leave `min_version` out: 1.2 and 1.3 are offered then",
                )
                .proof(proof);
                self.stop(Stage::Server, "no common version of TLS", finding)
            }
            Fault::Expired | Fault::NotYetValid => self.not_of_its_time(fault, sight, own, &proof),
            Fault::UnknownIssuer => self.unknown_issuer(sight, tls, &proof),
            Fault::WrongName(names) => {
                let names = if names.is_empty() { "other names".to_owned() } else { names.join(", ") };
                let why = format!("who answers there is {names}, and not {name}");
                let proof = if self.is_aws() { self.prove_endpoint() } else { proof };
                let finding =
                    Finding::new(Cause::Endpoint, why, "correct `address`, or `server_name`").proof(proof);
                self.stop(Stage::Server, format!("the server is not {name}"), finding)
            }
            Fault::NameUnknown => {
                let why = format!("the server has no {name}, and refuses the handshake");
                let proof = if self.is_aws() { self.prove_endpoint() } else { proof };
                let finding =
                    Finding::new(Cause::Endpoint, why, "correct `address`, or `server_name`").proof(proof);
                self.stop(Stage::Server, format!("the server does not know {name}"), finding)
            }
            Fault::Alpn => {
                let asked = sight.settings.alpn.join(", ");
                let why = format!("the server does not speak {asked} on port {port}");
                let mend = "on 443 AWS IoT wants `x-amzn-mqtt-ca` with a certificate and `mqtt` with a user; on 8883 none; leave `alpn` out";
                self.stop(
                    Stage::Alpn,
                    format!("{asked} is not spoken"),
                    Finding::new(Cause::Alpn, why, mend).proof(proof),
                )
            }
            Fault::CertificateWanted if matches!(own, Own::OutOfTime(_)) => {
                self.server_is_right(sight, None);
                let Own::OutOfTime(facts) = own else { return Ok(()) };
                self.out_of_time(facts)
            }
            Fault::CertificateWanted | Fault::CertificateRefused(_) => self.refused_certificate(fault),
            Fault::Closed => {
                let why = "the connection is gone in the middle of the handshake, without a word: a firewall or proxy that looks \
                           into TLS does that, and a server that does not know the name";
                let finding = Finding::new(Cause::Network, why, "try it from another network").proof(proof);
                self.stop(Stage::Server, "closed in the handshake", finding)
            }
            Fault::Other(error) => {
                let finding =
                    Finding::new(Cause::Broker, error.clone(), "see what the server says").proof(proof);
                self.stop(Stage::Server, "the handshake failed", finding)
            }
        }
    }

    /// A certificate of the server whose time is not now, by this clock. AWS renews its certificates long before they end.
    fn not_of_its_time(&mut self, fault: &Fault, sight: &Sight<'_>, own: &Own, proof: &str) -> Step {
        let facts = sight.shown.server(self.now());
        let (begins, ends) = facts.map(|facts| (facts.begins, facts.ends)).unwrap_or_default();
        let is_ahead = *fault == Fault::Expired;
        let ours_too = matches!(own, Own::OutOfTime(facts) if facts.is_over == is_ahead);
        let text = format!("the certificate of the server is valid from {begins} to {ends}, and not now");
        if is_ahead && !self.is_aws() && !ours_too {
            let finding = Finding::new(
                Cause::ServerCertificate,
                text.clone(),
                "whoever runs the other broker renews it",
            )
            .proof(proof);
            return self.stop(Stage::Server, text, finding);
        }
        let today = crate::tls::probe::date(self.now());
        let direction = if is_ahead { "ahead" } else { "behind" };
        let why = format!(
            "by the clock of this computer it is {today}: it is {direction}, as the server has a good certificate"
        );
        let finding = Finding::new(Cause::Clock, why, "set it: `timedatectl set-ntp true`").proof("date -u");
        self.stop(Stage::Server, text, finding)
    }

    fn unknown_issuer(&mut self, sight: &Sight<'_>, tls: &BridgeTls, proof: &str) -> Step {
        let now = self.now();
        let issuer = sight.shown.top_issuer(now).unwrap_or_default();
        let genuine = match self.options.genuine.as_deref() {
            Some(path) => Roots::Files(path),
            None if self.is_aws() => Roots::Amazon,
            None => Roots::Public,
        };
        if sight.shown.leads_to(genuine, sight.settings.host, now) {
            let file = tls.ca_file.clone().unwrap_or_default();
            let why = format!(
                "the server is the true one, signed by {issuer}, and {} has another CA",
                file.display()
            );
            let mend = "leave `ca_file` out: the built-in CAs are right; or put the CA of the server into it";
            let finding = Finding::new(Cause::Ca, why, mend).proof(proof);
            return self.stop(Stage::Server, "the CA file has not the CA of the server", finding);
        }
        let text = format!("the server's certificate is signed by {issuer}, which is not trusted");
        if self.is_aws() {
            let why = format!(
                "AWS IoT is signed by Amazon, and who answers here is signed by {issuer}: a proxy or a firewall opens TLS"
            );
            let mend = "have the endpoint excepted from TLS inspection, on port 8883 as well as on 443; a `ca_file` with the proxy's \
                        CA does not help, because the proxy has no certificate of yours for AWS";
            return self.stop(Stage::Server, text, Finding::new(Cause::Interception, why, mend).proof(proof));
        }
        let mend =
            format!("if it is the true one, put the CA {issuer} into a file and name that as `ca_file`");
        self.stop(Stage::Server, text.clone(), Finding::new(Cause::Ca, text, mend).proof(proof))
    }

    /// Our certificate is not taken, or none was shown: in the handshake or behind it (AIC-TLS-08, AIC-TLS-09).
    pub(super) fn refused_certificate<T>(&mut self, fault: &Fault) -> Step<T> {
        if *fault == Fault::CertificateWanted {
            let why = "the server wants a certificate, and the bridge has none";
            let finding = Finding::new(
                Cause::Certificate,
                why,
                "name its files: `certificate` and `key` under [bridge.tls]",
            );
            return self.stop(Stage::Certificate, "the server wants a certificate", finding);
        }
        let alert = match fault {
            Fault::CertificateRefused(alert) => alert.as_str(),
            Fault::NotTls
            | Fault::Version
            | Fault::UnknownIssuer
            | Fault::WrongName(_)
            | Fault::Expired
            | Fault::NotYetValid
            | Fault::Alpn
            | Fault::NameUnknown
            | Fault::CertificateWanted
            | Fault::Closed
            | Fault::Other(_) => "no alert",
        };
        let text = format!("the server does not take our certificate ({alert})");
        if !self.is_aws() {
            let finding = Finding::new(
                Cause::Certificate,
                text.clone(),
                "let a CA sign it that the other broker trusts",
            );
            return self.stop(Stage::Certificate, text, finding);
        }
        let why = "AWS does not know this certificate in this account and Region, or it is not ACTIVE";
        let mend = "register it where the endpoint is, or activate it: `aws iot update-certificate --new-status ACTIVE --certificate-id \
                    …`; a certificate of another account or Region does not count";
        let finding = Finding::new(Cause::Certificate, why, mend).proof(self.prove_certificate());
        self.stop(Stage::Certificate, text, finding)
    }
}

/// What a handshake showed.
struct Sight<'a> {
    shown: &'a Shown,
    settings: &'a Settings<'a>,
    address: &'a RemoteAddress,
}

/// A handshake for its own sake; gives the version of TLS.
async fn secure(probe: &Probe, own: Option<IpAddr>, address: &RemoteAddress) -> io::Result<Option<String>> {
    let handshake = async {
        let port = address.port_or_default(true);
        let stream = dial(own, &address.host, port).await?;
        let stream = probe.secure(stream).await?;
        let version = stream.get_ref().1.protocol_version();
        Ok(version.map(|version| format!("{version:?}").replace("TLSv1_", "TLS 1.")))
    };
    timeout(HANDSHAKE_TIMEOUT, handshake).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
