//! Section 1 of the duties: ports, ALPN, certificates, over real sockets of loopback.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use culex::aws_emulator::{
    Emulator, Fingerprint, Identity, Policy, Registration, Role, SERVER_NAME, Scenario, StartError, Status,
};
use culex_codec::Connect;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, IpAddr, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    AlertDescription, ClientConfig, Error, HandshakeKind, RootCertStore, SupportedProtocolVersion,
};

use super::peer::{Got, Peer, V3, V5, broke, connect};

const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
const V1_2: &[&SupportedProtocolVersion] = &[&TLS12];
const V1_3: &[&SupportedProtocolVersion] = &[&TLS13];

/// How a client connects.
#[derive(Clone)]
pub(super) struct Dial {
    pub(super) role: Role,
    pub(super) alpn: &'static [&'static str],
    pub(super) name: ServerName<'static>,
    pub(super) versions: &'static [&'static SupportedProtocolVersion],
    pub(super) identity: Option<Identity>,
}

impl Dial {
    pub(super) fn new(emulator: &Emulator) -> Self {
        Self {
            role: Role::Port8883,
            alpn: &[],
            name: SERVER_NAME.try_into().unwrap(),
            versions: BOTH,
            identity: Some(emulator.material().unwrap().client.clone()),
        }
    }

    fn config(&self, emulator: &Emulator) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(&emulator.material().unwrap().root)).unwrap();
        let config =
            ClientConfig::builder_with_protocol_versions(self.versions).with_root_certificates(roots);
        let mut config = match &self.identity {
            None => config.with_no_client_auth(),
            Some(identity) => {
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![certificate(&identity.certificate)], key).unwrap()
            }
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    pub(super) async fn dial(&self, emulator: &Emulator) -> io::Result<TlsStream<TcpStream>> {
        self.dial_with(emulator, &Arc::new(self.config(emulator))).await
    }

    async fn dial_with(
        &self,
        emulator: &Emulator,
        config: &Arc<ClientConfig>,
    ) -> io::Result<TlsStream<TcpStream>> {
        let socket = TcpStream::connect(emulator.address(self.role).unwrap()).await?;
        TlsConnector::from(Arc::clone(config)).connect(self.name.clone(), socket).await
    }

    /// Handshake and CONNECT; what comes of it.
    async fn says(&self, emulator: &Emulator, connect: Connect<'_>) -> Got {
        let mut peer = Peer::over(self.dial(emulator).await.unwrap(), connect.version);
        peer.send(connect).await;
        peer.next().await
    }

    /// Why there is no CONNACK, as TLS says it: in the handshake, or behind it.
    async fn fails(&self, emulator: &Emulator) -> Error {
        let error = match self.dial(emulator).await {
            Err(error) => error,
            Ok(mut stream) => stream.read_u8().await.unwrap_err(),
        };
        let inner = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
        inner.unwrap_or_else(|| panic!("{error}")).clone()
    }
}

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// A certificate that nobody but itself has signed, as AWS allows.
fn stranger(change: impl FnOnce(&mut CertificateParams)) -> Identity {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    Identity { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

const ACCEPTED: Got = Got::ConnAck { present: false, code: 0 };

async fn emulator() -> Emulator {
    Emulator::builder().start().await.unwrap()
}

#[tokio::test]
async fn aic_net_03_port_443_speaks_mqtt_by_alpn_alone() {
    let emulator = emulator().await;
    let with = |alpn| Dial { role: Role::Port443, alpn, ..Dial::new(&emulator) };
    assert_eq!(with(&["x-amzn-mqtt-ca"]).says(&emulator, connect(V3, "a")).await, ACCEPTED);
    broke(&emulator, &[]);
    for alpn in [&["h2"][..], &["h3", "x-amzn-other"]] {
        let error = with(alpn).fails(&emulator).await;
        assert_eq!(error, Error::AlertReceived(AlertDescription::NoApplicationProtocol), "{alpn:?}");
    }
    // Without one it is a web server, to whom CONNECT is nonsense.
    let mut stream = with(&[]).dial(&emulator).await.unwrap();
    stream.write_all(b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01a").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 400"));
    broke(&emulator, &["AIC-NET-03"]);
    // Nor does port 8443 speak it.
    let emulator = Emulator::builder().start().await.unwrap();
    let dial = Dial { role: Role::Port8443, alpn: &["x-amzn-mqtt-ca"], ..Dial::new(&emulator) };
    let error = dial.fails(&emulator).await;
    assert_eq!(error, Error::AlertReceived(AlertDescription::NoApplicationProtocol));
    broke(&emulator, &["AIC-NET-03"]);
}

#[tokio::test]
async fn aic_net_08_a_domain_may_speak_mqtt_on_port_443_without_alpn() {
    let emulator = emulator().await;
    emulator.change(|scenario| scenario.secure_mqtt_443 = true);
    for (alpn, id) in [(&[][..], "a"), (&["x-amzn-mqtt-ca"], "b")] {
        let dial = Dial { role: Role::Port443, alpn, ..Dial::new(&emulator) };
        assert_eq!(dial.says(&emulator, connect(V3, id)).await, ACCEPTED);
    }
    broke(&emulator, &[]);
}

/// A ClientHello of TLS 1.0 or 1.1, without extensions.
fn old_hello(version: u8) -> Vec<u8> {
    // Version, random, no session, the suite TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, no compression.
    let body = [&[3, version][..], &[7; 32], &[0], &[0, 2, 0xc0, 0x13], &[1, 0]].concat();
    let length = u8::try_from(body.len()).unwrap();
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat()
}

#[tokio::test]
async fn aic_tls_02_versions_before_1_2_are_refused() {
    let emulator = emulator().await;
    for version in [1, 2] {
        let mut stream = TcpStream::connect(emulator.address(Role::Port8883).unwrap()).await.unwrap();
        stream.write_all(&old_hello(version)).await.unwrap();
        let mut answer = Vec::new();
        // It may be cut once the alert is out.
        let _ = stream.read_to_end(&mut answer).await;
        // A fatal alert; it says what is missing: version, or the extensions of those that there are.
        assert_eq!((answer.first(), answer.get(5)), (Some(&21), Some(&2)), "{answer:?}");
    }
    assert_eq!(emulator.observations().handshakes, 0);
}

#[tokio::test]
async fn aic_net_04_port_443_takes_passwords_with_alpn_mqtt() {
    let emulator = emulator().await;
    let dial = Dial { role: Role::Port443, alpn: &["mqtt"], identity: None, ..Dial::new(&emulator) };
    let wanted = Connect { user_name: Some("u"), password: Some(b"p"), ..connect(V5, "a") };
    assert_eq!(dial.says(&emulator, wanted).await, ACCEPTED);
    assert_eq!(dial.says(&emulator, connect(V5, "b")).await, Got::ConnAck { present: false, code: 0x86 });
    broke(&emulator, &["AIC-NET-04"]);
}

#[tokio::test]
async fn aic_net_07_alpn_on_port_8883_is_noted() {
    let emulator = emulator().await;
    let dial = Dial { alpn: &["x-amzn-mqtt-ca"], ..Dial::new(&emulator) };
    assert_eq!(dial.says(&emulator, connect(V3, "a")).await, ACCEPTED);
    broke(&emulator, &["AIC-NET-07"]);
}

#[tokio::test]
async fn aic_tls_01_two_versions_or_one() {
    let emulator = emulator().await;
    let with = |versions| Dial { versions, ..Dial::new(&emulator) };
    assert_eq!(with(V1_2).says(&emulator, connect(V3, "a")).await, ACCEPTED);
    assert_eq!(with(V1_3).says(&emulator, connect(V3, "b")).await, ACCEPTED);
    emulator.change(|scenario| scenario.tls12_only = true);
    assert_eq!(with(BOTH).says(&emulator, connect(V3, "c")).await, ACCEPTED);
    assert!(with(V1_3).dial(&emulator).await.is_err());
    emulator.change(|scenario| *scenario = Scenario { tls13_only: true, ..Scenario::default() });
    assert!(with(V1_2).dial(&emulator).await.is_err());
    assert_eq!(emulator.observations().handshakes, 3);
    broke(&emulator, &[]);
}

#[tokio::test]
async fn aic_tls_04_without_the_name_there_is_no_handshake() {
    let emulator = emulator().await;
    let address = ServerName::IpAddress(IpAddr::try_from("127.0.0.1").unwrap());
    for name in [address, "example.org".try_into().unwrap()] {
        let dial = Dial { name, ..Dial::new(&emulator) };
        assert_eq!(dial.fails(&emulator).await, Error::AlertReceived(AlertDescription::AccessDenied));
    }
    assert_eq!(emulator.violations().count("AIC-TLS-04"), 2);
    let dial = Dial { name: "localhost".try_into().unwrap(), ..Dial::new(&emulator) };
    assert_eq!(dial.says(&emulator, connect(V3, "a")).await, ACCEPTED);
}

#[tokio::test]
async fn aic_tls_05_there_are_no_tickets() {
    for versions in [V1_2, V1_3] {
        let emulator = emulator().await;
        let dial = Dial { versions, ..Dial::new(&emulator) };
        let config = Arc::new(dial.config(&emulator));
        for id in ["a", "b"] {
            let stream = dial.dial_with(&emulator, &config).await.unwrap();
            let mut peer = {
                assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
                Peer::over(stream, V3)
            };
            peer.send(connect(V3, id)).await;
            assert_eq!(peer.next().await, ACCEPTED);
        }
    }
}

#[tokio::test]
async fn aic_tls_07_and_08_what_is_not_registered_and_active_is_unknown() {
    let emulator = emulator().await;
    let unknown = Error::AlertReceived(AlertDescription::CertificateUnknown);
    let own = Dial::new(&emulator);
    let stranger = Dial { identity: Some(stranger(|_| {})), ..own.clone() };
    for versions in [V1_2, V1_3] {
        assert_eq!(Dial { versions, ..stranger.clone() }.fails(&emulator).await, unknown);
    }
    let fingerprint = emulator.material().unwrap().client_fingerprint().unwrap();
    for status in [Status::Inactive, Status::Revoked] {
        emulator.registry(|registry| registry.get_mut(&fingerprint).unwrap().status = status);
        assert_eq!(own.fails(&emulator).await, unknown);
    }
    let nobody = Dial { identity: None, versions: V1_3, ..own.clone() };
    assert_eq!(nobody.fails(&emulator).await, Error::AlertReceived(AlertDescription::CertificateRequired));
    broke(&emulator, &["AIC-TLS-07"]);
    // Whoever has signed it: registered is enough.
    let der = certificate(&stranger.identity.as_ref().unwrap().certificate);
    emulator.registry(|registry| {
        registry.register(Fingerprint::of_der(&der), Registration::active(Policy::allow_all()));
    });
    assert_eq!(stranger.says(&emulator, connect(V3, "a")).await, ACCEPTED);
}

#[tokio::test]
async fn aic_tls_07_a_certificate_has_its_time() {
    let emulator = emulator().await;
    let expired = stranger(|params| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 2, 29);
    });
    let early = stranger(|params| params.not_before = date_time_ymd(2090, 1, 1));
    for identity in [expired, early] {
        let dial = Dial { identity: Some(identity), ..Dial::new(&emulator) };
        assert_eq!(dial.fails(&emulator).await, Error::AlertReceived(AlertDescription::CertificateExpired));
    }
    broke(&emulator, &["AIC-TLS-07"]);
}

#[tokio::test]
async fn aic_tls_09_the_alert_may_come_behind_the_handshake() {
    let scenario = Scenario { cert_unknown_late_alert: true, ..Scenario::default() };
    let emulator = Emulator::builder().scenario(scenario).start().await.unwrap();
    let with = |versions| Dial { versions, ..Dial::new(&emulator) };
    let mut stream = with(V1_3).dial(&emulator).await.unwrap();
    let error = stream.read_u8().await.unwrap_err();
    assert!(error.to_string().contains("CertificateUnknown"), "{error}");
    broke(&emulator, &["AIC-TLS-09"]);
    // In 1.2 nothing is said at all.
    assert_eq!(with(V1_2).says(&emulator, connect(V3, "a")).await, Got::Closed);
    broke(&emulator, &["AIC-TLS-09", "AIC-TLS-07"]);
}

#[tokio::test]
async fn aic_tls_10_a_first_use_registers_and_closes() {
    let scenario = Scenario { jitr: true, ..Scenario::default() };
    let emulator = Emulator::builder().scenario(scenario).start().await.unwrap();
    let identity = stranger(|_| {});
    let fingerprint = Fingerprint::of_der(&certificate(&identity.certificate));
    let dial = Dial { identity: Some(identity), ..Dial::new(&emulator) };
    assert_eq!(dial.says(&emulator, connect(V3, "a")).await, Got::Closed);
    broke(&emulator, &["AIC-TLS-10"]);
    emulator.registry(|registry| {
        assert_eq!(registry.get(&fingerprint).unwrap().status, Status::PendingActivation);
        registry.register(fingerprint, Registration::active(Policy::allow_all()));
    });
    assert_eq!(dial.says(&emulator, connect(V3, "b")).await, ACCEPTED);
}

#[tokio::test]
async fn a_server_may_have_the_wrong_chain_or_name() {
    let emulator = emulator().await;
    emulator.change(|scenario| scenario.wrong_chain = true);
    let error = Dial::new(&emulator).fails(&emulator).await;
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    emulator.change(|scenario| (scenario.wrong_chain, scenario.wrong_server_name) = (false, true));
    let error = Dial::new(&emulator).fails(&emulator).await;
    assert!(error.to_string().contains("not valid for name"), "{error}");
    let seen = emulator.until(|emulator| {
        let observations = emulator.observations();
        (observations.failed_handshakes == 2).then_some(observations.handshakes)
    });
    assert_eq!(seen.await, 0);
}

#[tokio::test]
async fn it_listens_on_loopback_alone() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let address: SocketAddr = address.parse().unwrap();
        let result = Emulator::builder().listen(Role::Port8883, address).start().await;
        assert!(matches!(result, Err(StartError::NotLoopback(_))), "{address}");
    }
}

#[tokio::test]
async fn connections_end_with_the_emulator() {
    let emulator = emulator().await;
    let mut peer = Peer::over(Dial::new(&emulator).dial(&emulator).await.unwrap(), V3);
    peer.send(connect(V3, "a")).await;
    assert_eq!(peer.next().await, ACCEPTED);
    drop(emulator);
    assert_eq!(peer.next().await, Got::Closed);
}
