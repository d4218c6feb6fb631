//! Whole runs through TLS, against our broker.

use std::sync::Arc;

use culex_codec::QoS;
use culex_core::tls::rustls::ServerConfig;
use culex_core::tls::rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use culex_core::{Broker, Listener};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::version::{TLS12, TLS13};

use super::tests::check;
use super::*;
use crate::config::{KeyPermissions, TlsVersion};
use crate::tls::client::{Connector, Roots, Settings};

/// A broker of ours behind TLS, and what it takes to trust it.
struct Secured {
    runtime: tokio::runtime::Runtime,
    broker: Broker,
    folder: tempfile::TempDir,
}

impl Secured {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        std::fs::write(folder.path().join("ca.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap().der().clone();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS12, &TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        config.ticketer = Ticketer::new().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let tls = culex_core::tls::Tls::new(config.into());
        let builder = Broker::builder().listen(Listener::from(([127, 0, 0, 1], 0)).tls(tls));
        let broker = runtime.block_on(builder.start()).unwrap();
        Self { runtime, broker, folder }
    }

    fn plan(&self, scenario: Scenario, count: u32, version: TlsVersion, resumes: bool) -> Plan {
        let mut plan = Plan::new(self.broker.local_addrs()[0], scenario, Length::Count(count));
        let settings = Settings {
            host: "localhost",
            roots: Some(Roots::Files(&self.folder.path().join("ca.crt"))),
            identity: None,
            key_permissions: KeyPermissions::Strict,
            checks_name: true,
            version: Some(version),
            alpn: Vec::new(),
            resumes,
        };
        plan.tls = Some(Tls::new(Connector::new(&settings).unwrap()));
        plan
    }

    fn handshakes(&self) -> [u64; 3] {
        ["tls_handshakes", "tls_handshakes_resumed", "tls_handshakes_failed"]
            .map(|name| self.broker.metrics().get(name).unwrap())
    }

    fn stop(self) {
        self.runtime.block_on(self.broker.shutdown(std::time::Duration::from_secs(10))).unwrap();
    }
}

#[test]
fn everything_is_delivered_through_tls() {
    let secured = Secured::start();
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let mut plan = secured.plan(Scenario::PubSub { pairs: 3 }, 50, version, false);
        (plan.qos, plan.window, plan.threads) = (QoS::AtLeastOnce, 20, 2);
        let report = check(&plan, 150, 150);
        assert!(report.table().contains("MQTT 3.1.1 over TLS"), "{}", report.table());
        // More than the socket takes at once, and than a record has.
        (plan.payload_bytes, plan.length) = (300_000, Length::Count(9));
        check(&plan, 27, 27);
        let mut plan = secured.plan(Scenario::FanOut { subscribers: 40 }, 200, version, false);
        (plan.payload_bytes, plan.window) = (3000, 50);
        check(&plan, 200, 8000);
        let idle = secured.plan(Scenario::Idle { connections: 70 }, 1, version, false);
        let report = run(&idle, &Gauge::default()).unwrap();
        assert_eq!((report.deliveries_total, report.closed), (70, 0));
        let mut plan =
            secured.plan(Scenario::Offline { publishers: 2, sessions: Some(3) }, 20, version, false);
        plan.qos = QoS::ExactlyOnce;
        assert!(run(&plan, &Gauge::default()).unwrap().is_clean(false));
    }
    assert_eq!(secured.handshakes()[1..], [0, 0], "nobody asked to resume, and nobody failed");
    secured.stop();
}

#[test]
fn a_handshake_is_full_or_resumed_as_the_plan_says() {
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let secured = Secured::start();
        let connect = Scenario::Connect { clients: 1, clean_session: true };
        check(&secured.plan(connect, 10, version, false), 10, 10);
        assert_eq!(secured.handshakes(), [10, 0, 0], "{version:?}");
        // The first has no ticket yet.
        check(&secured.plan(connect, 10, version, true), 10, 10);
        assert_eq!(secured.handshakes(), [20, 9, 0], "{version:?}");
        secured.stop();
    }
}

#[test]
fn a_broker_that_is_not_trusted_is_named_so() {
    let (secured, other) = (Secured::start(), Secured::start());
    let mut plan = secured.plan(Scenario::Idle { connections: 1 }, 1, TlsVersion::V1_3, false);
    plan.address = other.broker.local_addrs()[0];
    let error = run(&plan, &Gauge::default()).unwrap_err().to_string();
    assert!(error.contains("is not signed by this CA (--cafile)"), "{error}");
    secured.stop();
    other.stop();
}
