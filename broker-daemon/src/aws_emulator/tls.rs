//! TLS as the service has it: who must show what, on which port, and how it is refused.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    ServerConfig, SignatureScheme,
};
use tokio::time::Instant;

use super::Shared;
use super::material::{Identity, LOCAL_NAME, Material, SERVER_NAME};
use super::policy::Policy;
use super::registry::{Fingerprint, Registration, Status};
use super::scenario::Scenario;
use super::violations::Action;

/// What a listener is, whatever its port. AIC-NET-03, AIC-NET-04
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// As port 8883: MQTT with a client certificate.
    Port8883,
    /// As port 443: what it is, ALPN says.
    Port443,
    /// As port 8443: HTTPS with a client certificate. AIC-NET-06
    Port8443,
}

/// What is spoken behind the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    Mqtt,
    MqttWithPassword,
    Https,
    HttpsWithCertificate,
}

const ALPN_CERTIFICATE: &[u8] = b"x-amzn-mqtt-ca";
const ALPN_PASSWORD: &[u8] = b"mqtt";
const ALPN_HTTP_CERTIFICATE: &[u8] = b"x-amzn-http-ca";
const ALPN_HTTP: &[u8] = b"http/1.1";

/// Everything that handshakes need.
pub(super) struct Secure {
    shared: Arc<Shared>,
    provider: Arc<CryptoProvider>,
    server: Arc<CertifiedKey>,
    wrong_name: Arc<CertifiedKey>,
    wrong_chain: Arc<CertifiedKey>,
    /// Knows whether a certificate is of its time.
    dates: Arc<dyn ClientCertVerifier>,
}

impl Secure {
    pub(super) fn new(shared: Arc<Shared>, material: &Material) -> Result<Self, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certified = |identity: &Identity| -> Result<_, Error> {
            let wrong = |error: rustls::pki_types::pem::Error| Error::General(error.to_string());
            let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes());
            let chain = chain.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
            let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).map_err(wrong)?;
            let key = provider.key_provider.load_private_key(key)?;
            Ok(Arc::new(CertifiedKey::new(chain, key)))
        };
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(material.root.as_bytes()).flatten() {
            roots.add(root)?;
        }
        let dates = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        Ok(Self {
            shared,
            server: certified(&material.server)?,
            wrong_name: certified(&material.wrong_name)?,
            wrong_chain: certified(&material.wrong_chain)?,
            provider,
            dates,
        })
    }

    /// What answers a ClientHello.
    pub(super) fn answer(
        self: &Arc<Self>,
        role: Role,
        hello: &ClientHello<'_>,
    ) -> Result<(Arc<ServerConfig>, Speaks), Error> {
        let scenario = self.shared.lock().scenario.clone();
        let offered: Vec<Vec<u8>> = hello.alpn().into_iter().flatten().take(16).map(<[u8]>::to_vec).collect();
        let (speaks, alpn) = self.protocol(role, &offered, &scenario);
        let versions = match (scenario.tls12_only, scenario.tls13_only) {
            (true, false) => &[&TLS12][..],
            (false, true) => &[&TLS13][..],
            (_, _) => &[&TLS13, &TLS12][..], // AIC-TLS-01
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(versions)?;
        let builder = match speaks {
            Speaks::Mqtt | Speaks::HttpsWithCertificate => {
                builder.with_client_cert_verifier(Arc::new(Verifier(Arc::clone(self))))
            }
            Speaks::MqttWithPassword | Speaks::Https => builder.with_no_client_auth(),
        };
        let certificate = self.certificate(hello.server_name(), &scenario);
        let mut config = builder.with_cert_resolver(Arc::new(Resolver(certificate)));
        config.alpn_protocols = alpn;
        // AIC-TLS-05
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok((Arc::new(config), speaks))
    }

    /// What is spoken, and what of ALPN is taken: nothing of the client's refuses the handshake.
    fn protocol(&self, role: Role, offered: &[Vec<u8>], scenario: &Scenario) -> (Speaks, Vec<Vec<u8>>) {
        let has = |name: &[u8]| offered.iter().any(|offer| offer == name);
        match role {
            Role::Port8883 => {
                if !offered.is_empty() {
                    self.violate("AIC-NET-07", format!("ALPN {}", names(offered)), Action::Accepted);
                }
                (Speaks::Mqtt, offered.to_vec())
            }
            Role::Port443 if scenario.secure_mqtt_443 => (Speaks::Mqtt, offered.to_vec()),
            Role::Port443 if has(ALPN_CERTIFICATE) => (Speaks::Mqtt, vec![ALPN_CERTIFICATE.to_vec()]),
            Role::Port443 if has(ALPN_PASSWORD) => (Speaks::MqttWithPassword, vec![ALPN_PASSWORD.to_vec()]),
            Role::Port443 if has(ALPN_HTTP_CERTIFICATE) => {
                (Speaks::HttpsWithCertificate, vec![ALPN_HTTP_CERTIFICATE.to_vec()])
            }
            Role::Port443 if offered.is_empty() || has(ALPN_HTTP) => {
                (Speaks::Https, vec![ALPN_HTTP.to_vec()])
            }
            Role::Port8443 if offered.is_empty() || has(ALPN_HTTP) || has(ALPN_HTTP_CERTIFICATE) => {
                (Speaks::HttpsWithCertificate, vec![ALPN_HTTP.to_vec(), ALPN_HTTP_CERTIFICATE.to_vec()])
            }
            Role::Port443 | Role::Port8443 => {
                self.violate("AIC-NET-03", format!("ALPN {}", names(offered)), Action::NoHandshake);
                (Speaks::Https, vec![ALPN_HTTP.to_vec()])
            }
        }
    }

    /// The server's certificate; `None` refuses the handshake.
    fn certificate(&self, name: Option<&str>, scenario: &Scenario) -> Option<Arc<CertifiedKey>> {
        // AIC-TLS-04
        if !name.is_some_and(|name| {
            [SERVER_NAME, LOCAL_NAME].iter().any(|known| known.eq_ignore_ascii_case(name))
        }) {
            let sni = name.map_or("no SNI".to_owned(), |name| {
                format!("SNI {:?}", name.chars().take(64).collect::<String>())
            });
            self.violate("AIC-TLS-04", sni, Action::NoHandshake);
            return None;
        }
        Some(Arc::clone(if scenario.wrong_chain {
            &self.wrong_chain
        } else if scenario.wrong_server_name {
            &self.wrong_name
        } else {
            &self.server
        }))
    }

    pub(super) fn violate(&self, id: &'static str, packet: String, action: Action) {
        self.shared.lock().violate_as(String::new(), id, packet, action, Instant::now());
    }

    /// Whether the registry lets a certificate in. AIC-TLS-07, AIC-TLS-08
    fn check(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
        let fingerprint = Fingerprint::of_der(certificate);
        let refuse = |id, why: &'static str| {
            self.violate(id, format!("certificate {fingerprint}: {why}"), Action::NoHandshake);
            Err(unknown(why))
        };
        if let Err(error @ Error::InvalidCertificate(_)) =
            self.dates.verify_client_cert(certificate, &[], now)
            && is_about_time(&error)
        {
            self.violate("AIC-TLS-07", format!("certificate {fingerprint}: {error}"), Action::NoHandshake);
            return Err(error);
        }
        if has_sha1_signature(certificate) {
            return refuse("AIC-TLS-06", "it is signed with SHA-1");
        }
        let mut service = self.shared.lock();
        let status = service.registry.get(&fingerprint).map(|registration| registration.status);
        if service.scenario.cert_unknown_late_alert {
            return Ok(());
        }
        if service.scenario.jitr && status.is_none() {
            let registration = Registration {
                status: Status::PendingActivation,
                thing: None,
                policies: Vec::<Policy>::new(),
            };
            service.registry.register_first_use(fingerprint, registration);
            return Ok(());
        }
        let is_off = service.scenario.cert_inactive;
        drop(service);
        match status {
            Some(Status::Active) if !is_off => Ok(()),
            Some(Status::PendingActivation) => Ok(()), // Its CONNECT is refused. AIC-TLS-10
            Some(Status::Active | Status::Inactive) => refuse("AIC-TLS-07", "it is INACTIVE"),
            Some(Status::Revoked) => refuse("AIC-TLS-07", "it is REVOKED"),
            None => refuse("AIC-TLS-07", "it is not registered"),
        }
    }
}

impl fmt::Debug for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secure")
    }
}

/// Gives the alert `certificate_unknown`.
fn unknown(why: &'static str) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Unknown(why)))))
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unknown(&'static str);

fn names(alpn: &[Vec<u8>]) -> String {
    alpn.iter().map(|name| name.escape_ascii().to_string()).collect::<Vec<_>>().join(", ")
}

#[expect(clippy::wildcard_enum_match_arm, reason = "only two of many are about the time")]
fn is_about_time(error: &Error) -> bool {
    match error {
        Error::InvalidCertificate(error) => matches!(
            error,
            CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }
        ),
        _ => false,
    }
}

/// Whether one of the two signature algorithms with SHA-1 is named in the certificate.
fn has_sha1_signature(certificate: &[u8]) -> bool {
    const RSA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5];
    const ECDSA: &[u8] = &[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1];
    [RSA, ECDSA].iter().any(|oid| certificate.windows(oid.len()).any(|bytes| bytes == *oid))
}

#[derive(Debug)]
struct Resolver(Option<Arc<CertifiedKey>>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }
}

/// Lets in whom the registry knows, whoever has signed the certificate.
#[derive(Debug)]
struct Verifier(Arc<Secure>);

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0.check(end_entity, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // In TLS 1.3 the client is done by now, so hears of it behind the handshake. In TLS 1.2 it is told nothing, and its
        // CONNECT is closed. AIC-TLS-09
        if self.0.shared.lock().scenario.cert_unknown_late_alert {
            self.0.violate("AIC-TLS-09", "a certificate that is not known".to_owned(), Action::NoHandshake);
            return Err(unknown("it is not registered"));
        }
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aic_tls_06_sha_1_is_found_by_the_name_of_the_algorithm() {
        // AlgorithmIdentifier of sha1WithRSAEncryption, sha256WithRSAEncryption, ecdsa-with-SHA1, ecdsa-with-SHA256.
        let rsa = |last| vec![0x30, 0x0d, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, last, 5, 0];
        let ecdsa = |rest: &[u8]| {
            [&[0x30, 10, 6, 6 + rest.len() as u8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4][..], rest].concat()
        };
        assert!(has_sha1_signature(&rsa(5)) && has_sha1_signature(&ecdsa(&[1])));
        assert!(!has_sha1_signature(&rsa(11)) && !has_sha1_signature(&ecdsa(&[3, 2])));
    }
}
