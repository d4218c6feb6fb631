//! `https`: whose certificate is good, and whose is not.

use std::fs;
use std::path::Path;

use rcgen::{CertificateParams, IsCa, KeyPair};

use crate::flask::Flask;
use crate::program::{Publisher, broker, culex, eventually, text, webhook};

/// A CA and what it signed for `localhost`: `ca.crt`, `server.crt`, `server.key`.
fn certificates(folder: &Path) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    fs::write(folder.join("ca.crt"), authority.pem()).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    fs::write(folder.join("server.crt"), server.pem()).unwrap();
    fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
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
    running.wait(crate::program::PATIENCE);
    let ca = format!("[webhook.tls]\nca_file = {:?}", path(folder.path(), "ca.crt"));
    let _running = broker(&data, &webhook(&url, &ca));
    assert!(flask.line().contains("'payload': 1"));
}
