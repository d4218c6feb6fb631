//! `https`: whose certificate is good, and whose is not.

use std::fs;
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;

use culex_core::tls::rustls::crypto::aws_lc_rs::default_provider;
use culex_core::tls::rustls::pki_types::pem::PemObject;
use culex_core::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use culex_core::tls::rustls::server::WebPkiClientVerifier;
use culex_core::tls::rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use culex_tests::http::read_body;
use rcgen::{CertificateParams, IsCa, KeyPair};

use crate::flask::Flask;
use crate::program::{PATIENCE, Publisher, QUICK, broker, ctl, culex, eventually, text, webhook};

/// A CA and what it signed for `localhost`: `ca.crt`, `server.crt`, `server.key`, and `client.crt`, `client.key`.
fn certificates(folder: &Path) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    fs::write(folder.join("ca.crt"), authority.pem()).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    for (who, names) in [("server", vec!["localhost".to_owned()]), ("client", Vec::new())] {
        let key = KeyPair::generate().unwrap();
        let made = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        fs::write(folder.join(format!("{who}.crt")), made.pem()).unwrap();
        let file = folder.join(format!("{who}.key"));
        fs::write(&file, key.serialize_pem()).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

#[test]
fn a_service_is_known_by_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let files = (path(folder.path(), "server.crt"), path(folder.path(), "server.key"));
    let arguments = ["--cert", &files.0, "--key", &files.1];
    let Some(flask) = Flask::start_with("tests/webhook/programs", "course", &[], &arguments) else { return };
    let port = flask.url.rsplit_once(':').unwrap().1;
    let ca = format!("[webhook.tls]\nca_file = {:?}", path(folder.path(), "ca.crt"));
    let good = webhook(&format!("https://localhost:{port}/webhook"), &ca);
    let running = broker(&folder.path().join("data"), &good);
    assert!(Publisher::connect(&running).publish("sensors/a", "21.5"));
    assert!(flask.line().contains("'payload': 21.5"));
    // Neither the public CAs nor another name nor plain HTTP will do.
    for (url, more, hint) in [
        (format!("https://localhost:{port}/webhook"), "", "ca_file"),
        (format!("https://127.0.0.1:{port}/webhook"), ca.as_str(), "ca_file"),
        (format!("http://localhost:{port}/webhook"), "", "https://"),
    ] {
        let file = folder.path().join("culex.toml");
        fs::write(&file, webhook(&url, more)).unwrap();
        let output = culex(&["webhook", "test", "w", "-c", &file.display().to_string()]);
        let said = text(&output.stdout);
        assert!(!output.status.success() && said.contains(hint), "{url}: {said}{}", text(&output.stderr));
    }
}

#[test]
fn a_message_waits_while_the_certificate_is_not_good() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let files = (path(folder.path(), "server.crt"), path(folder.path(), "server.key"));
    let arguments = ["--cert", &files.0, "--key", &files.1];
    let Some(flask) = Flask::start_with("tests/webhook/programs", "course", &[], &arguments) else { return };
    let port = flask.url.rsplit_once(':').unwrap().1;
    let url = format!("https://localhost:{port}/webhook");
    let data = folder.path().join("data");
    let mut running = broker(&data, &webhook(&url, ""));
    assert!(Publisher::connect(&running).publish("sensors/a", "1"));
    eventually("it says so", || running.log().contains("no TLS with"));
    running.terminate();
    running.wait(PATIENCE);
    let ca = format!("[webhook.tls]\nca_file = {:?}", path(folder.path(), "ca.crt"));
    let _running = broker(&data, &webhook(&url, &ca));
    assert!(flask.line().contains("'payload': 1"));
}

/// A service that lets in only those with a certificate of `ca.crt`. Bodies of what it was sent come out.
fn strict_service(folder: &Path) -> (SocketAddr, mpsc::Receiver<Vec<u8>>) {
    let certificates = |name: &str| {
        CertificateDer::pem_file_iter(folder.join(name)).unwrap().map(Result::unwrap).collect::<Vec<_>>()
    };
    let provider = Arc::new(default_provider());
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates("ca.crt"));
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            certificates("server.crt"),
            PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap(),
        )
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (send, bodies) = mpsc::channel();
    // It ends with the test.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = BufReader::new(StreamOwned::new(connection, stream.unwrap()));
            // Who has no certificate gets no further than this.
            if let Ok(body) = read_body(&mut stream) {
                let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
                let _ = stream.get_mut().write_all(answer);
                let _ = send.send(body);
            }
        }
    });
    (addr, bodies)
}

#[test]
fn a_service_that_wants_a_certificate_gets_ours_and_without_one_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let (addr, bodies) = strict_service(folder.path());
    let url = format!("https://localhost:{}/webhook", addr.port());
    let ca = format!("ca_file = {:?}", path(folder.path(), "ca.crt"));
    let own = format!(
        "certificate = {:?}\nkey = {:?}",
        path(folder.path(), "client.crt"),
        path(folder.path(), "client.key")
    );
    let data = folder.path().join("data");
    let mut without = broker(&data, &webhook(&url, &format!("{QUICK}[webhook.tls]\n{ca}")));
    assert!(Publisher::connect(&without).publish("sensors/a", "1"));
    eventually("it says so", || without.log().contains("messages wait"));
    assert!(bodies.try_recv().is_err(), "it was let in without a certificate");
    without.terminate();
    without.wait(PATIENCE);
    let _with = broker(&data, &webhook(&url, &format!("{QUICK}[webhook.tls]\n{ca}\n{own}")));
    let body: serde_json::Value = serde_json::from_slice(&bodies.recv_timeout(PATIENCE).unwrap()).unwrap();
    assert_eq!(body["payload"], 1);
}

#[test]
fn a_renewed_certificate_holds_from_a_reload_on() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let (addr, bodies) = strict_service(folder.path());
    let renewed =
        ["client.crt", "client.key"].map(|name| (name, fs::read(folder.path().join(name)).unwrap()));
    // Of a CA that the service does not know.
    let foreign = tempfile::tempdir().unwrap();
    certificates(foreign.path());
    for (name, _) in &renewed {
        fs::copy(foreign.path().join(name), folder.path().join(name)).unwrap();
    }
    let [ca, certificate, key] = ["ca.crt", "client.crt", "client.key"].map(|name| path(folder.path(), name));
    let tls = format!("{QUICK}[webhook.tls]\nca_file = {ca:?}\ncertificate = {certificate:?}\nkey = {key:?}");
    let url = format!("https://localhost:{}/webhook", addr.port());
    let data = folder.path().join("data");
    let running = broker(&data, &webhook(&url, &tls));
    assert!(Publisher::connect(&running).publish("sensors/a", "1"));
    eventually("it says so", || running.log().contains("messages wait"));
    for (name, content) in &renewed {
        fs::write(folder.path().join(name), content).unwrap();
    }
    ctl(&data, &["reload"]);
    let body: serde_json::Value = serde_json::from_slice(&bodies.recv_timeout(PATIENCE).unwrap()).unwrap();
    assert_eq!(body["payload"], 1);
}
