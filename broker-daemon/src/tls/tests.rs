//! What is said about files that cannot be used.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

use super::certificate::Certificate;
use super::*;

/// A folder with a CA (`ca.crt`), a server's certificate (`server.crt`, `server.key`), and other files.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        folder.write("ca.crt", params.self_signed(&key).unwrap().pem());
        let issuer = Issuer::new(params, key);
        let (certificate, key) = signed(&issuer, |_| {});
        folder.write("server.crt", certificate);
        folder.write("server.key", key);
        let (certificate, key) = signed(&issuer, |params| params.not_after = date_time_ymd(2020, 2, 29));
        folder.write("expired.crt", certificate);
        folder.write("expired.key", key);
        folder.write("text", "no PEM".to_owned());
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: String) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn settings(&self) -> TlsSettings {
        TlsSettings {
            certificates: vec![self.path("server.crt")],
            keys: vec![self.path("server.key")],
            ..TlsSettings::default()
        }
    }
}

fn signed(issuer: &Issuer<'_, KeyPair>, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::OrganizationName, "Sensors, Inc.");
    params.distinguished_name.push(DnType::CommonName, "sensor é");
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}

fn load_with(settings: TlsSettings) -> Result<Secured, ConfigError> {
    Secured::load(&config(settings))
}

fn config(settings: TlsSettings) -> Config {
    let listener = Listener { tls: Some(settings), ..Listener::default() };
    Config { listeners: vec![listener], ..Config::default() }
}

#[track_caller]
fn check(settings: TlsSettings, file: &Path, expected: &str) {
    let text = load_with(settings).unwrap_err().to_string();
    assert!(text.starts_with(&format!("{}: ", file.display())), "{text}");
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_the_reason() {
    let folder = Folder::new();
    assert!(load_with(folder.settings()).is_ok());
    let path = |name: &str| folder.path(name);
    let certificate = |name: &str| TlsSettings { certificates: vec![path(name)], ..folder.settings() };
    check(certificate("none"), &path("none"), "no such file");
    check(certificate("text"), &path("text"), "a PEM file is wanted");
    check(certificate("server.key"), &path("server.key"), "are certificate and key exchanged?");
    let expired = TlsSettings { keys: vec![path("expired.key")], ..certificate("expired.crt") };
    check(expired, &path("expired.crt"), "has expired on 2020-02-29");
    let key = |name: &str| TlsSettings { keys: vec![path(name)], ..folder.settings() };
    check(key("server.crt"), &path("server.crt"), "are certificate and key exchanged?");
    check(key("expired.key"), &path("expired.key"), "does not match the certificate in");
    folder.write(
        "locked.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n".into(),
    );
    check(key("locked.key"), &path("locked.key"), "has a passphrase");
    let ca = |name: &str| TlsSettings { client_ca: Some(path(name)), ..folder.settings() };
    assert!(load_with(ca("ca.crt")).is_ok());
    check(ca("server.crt"), &path("server.crt"), "O=Sensors\\, Inc.,CN=sensor \\C3\\A9, not a CA");
    let crl = TlsSettings { crl: vec![path("ca.crt")], ..ca("ca.crt") };
    check(crl, &path("ca.crt"), "no revocation list");
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_command_that_mends_it() {
    let folder = Folder::new();
    fs::set_permissions(folder.path("server.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let mend = format!("`chmod o= {}`", folder.path("server.key").display());
    check(folder.settings(), &folder.path("server.key"), &mend);
    let warn = TlsSettings { key_permissions: crate::config::KeyPermissions::Warn, ..folder.settings() };
    assert!(load_with(warn).is_ok());
    // For a group that may, such as `ssl-cert`.
    fs::set_permissions(folder.path("server.key"), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(load_with(folder.settings()).is_ok());
}

#[test]
fn authorities_may_lie_in_a_folder_with_other_files() {
    let folder = Folder::new();
    fs::create_dir(folder.path("cas")).unwrap();
    let cas = || TlsSettings { client_ca: Some(folder.path("cas")), ..folder.settings() };
    check(cas(), &folder.path("cas"), "no certificate in the files");
    fs::copy(folder.path("text"), folder.path("cas/README")).unwrap();
    fs::copy(folder.path("ca.crt"), folder.path("cas/ca.crt")).unwrap();
    assert!(load_with(cas()).is_ok());
}

#[test]
fn a_reload_is_everything_or_nothing() {
    let folder = Folder::new();
    let config = config(TlsSettings { client_ca: Some(folder.path("ca.crt")), ..folder.settings() });
    let mut secured = Secured::load(&config).unwrap();
    let listener = secured.of(0).unwrap().clone();
    let before = listener.config();
    fs::copy(folder.path("expired.crt"), folder.path("server.crt")).unwrap();
    assert!(secured.load_again(&config).is_err());
    assert!(Arc::ptr_eq(&before, &listener.config()));
    let other = Folder::new();
    fs::copy(other.path("server.crt"), folder.path("server.crt")).unwrap();
    fs::copy(other.path("server.key"), folder.path("server.key")).unwrap();
    let new = secured.load_again(&config).unwrap();
    secured.replace(&new);
    assert!(!Arc::ptr_eq(&before, &listener.config()));
    assert!(Arc::ptr_eq(&before.ticketer, &listener.config().ticketer), "the same clients come back");
    let mut lenient = config.clone();
    lenient.listeners[0].tls.as_mut().unwrap().require_certificate = Some(false);
    let asks_nobody = secured.load_again(&lenient).unwrap();
    let (lenient, strict) = (asks_nobody.of(0).unwrap(), asks_nobody.load_again(&config).unwrap());
    assert!(
        !Arc::ptr_eq(&lenient.config().ticketer, &strict.of(0).unwrap().config().ticketer),
        "whoever came in without a certificate does not come back without one"
    );
    fs::copy(other.path("ca.crt"), folder.path("ca.crt")).unwrap();
    let new = secured.load_again(&config).unwrap();
    secured.replace(&new);
    assert!(!Arc::ptr_eq(&before.ticketer, &listener.config().ticketer), "others are trusted");
    assert!(!Arc::ptr_eq(&before.session_storage, &listener.config().session_storage));
}

#[test]
fn a_certificate_gives_its_names() {
    let folder = Folder::new();
    let der = files::chain(&folder.path("server.crt")).unwrap();
    let certificate = Certificate::read(&der[0]).unwrap();
    assert_eq!(certificate.subject.common_name().as_deref(), Some("sensor é"));
    assert_eq!(certificate.subject.rfc2253().as_deref(), Some("O=Sensors\\, Inc.,CN=sensor \\C3\\A9"));
    assert!(!certificate.is_ca);
    // Whatever is cut off or changed, nothing breaks.
    for len in 0..der[0].len() {
        let _ = Certificate::read(&der[0][..len]).map(|certificate| certificate.title());
        let mut changed = der[0].to_vec();
        changed[len] ^= 0x55;
        let _ = Certificate::read(&changed).map(|certificate| certificate.title());
    }
}

/// Debian keeps the same roots, from the same source, as files.
#[test]
fn the_roots_of_amazon_are_those_of_the_system() {
    const SYSTEM: &str = "/usr/share/ca-certificates/mozilla";
    let names = || (1..=4).map(|n| Path::new(SYSTEM).join(format!("Amazon_Root_CA_{n}.crt")));
    if !names().all(|path| path.exists()) {
        let must = std::env::var_os("CULEX_REQUIRE_CLIENTS").is_some();
        assert!(!must, "skipped: ca-certificates is not installed (run .ci/install)");
        return;
    }
    let mut expected = RootCertStore::empty();
    for path in names() {
        for certificate in files::any_certificates(&path).unwrap() {
            expected.add(certificate).unwrap();
        }
    }
    let sorted = |store: RootCertStore| {
        let roots =
            store.roots.iter().map(|root| (root.subject.to_vec(), root.subject_public_key_info.to_vec()));
        roots.collect::<std::collections::BTreeSet<_>>()
    };
    let built_in = sorted(client::Roots::Amazon.store().unwrap());
    assert_eq!(built_in.len(), 4);
    assert_eq!(built_in, sorted(expected));
}
