//! The program with an HTTP API, and who may use it.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use culex_tests::broker::{Broker, binary};

use crate::request::{Answer, Request};

/// A bound of failure, not a wait.
const PATIENCE: Duration = Duration::from_secs(60);

/// `Authorization` of an admin, a viewer and a client. The access control list keeps `secret/` from the client.
pub(crate) const ADMIN: &str = "Basic YW5hOnBhc3Mtb2YtYW5h";
pub(crate) const VIEWER: &str = "Basic dmVyYTpwYXNzLW9mLXZlcmE=";
pub(crate) const CLIENT: &str = "Basic Y2FybDpwYXNzLW9mLWNhcmw=";

/// Asks until it is so.
#[track_caller]
pub(crate) fn until(mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "it has not become so within {PATIENCE:?}");
    }
}

/// The program.
pub(crate) struct Program {
    pub(crate) broker: Broker,
    /// Where its HTTP API is.
    pub(crate) http: SocketAddr,
    /// The link that its banner shows.
    pub(crate) link: String,
    pub(crate) folder: tempfile::TempDir,
}

impl Program {
    /// With the users `ana` (admin), `vera` (viewer) and `carl`, and `more` under `[http]`.
    pub(crate) fn with_users(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let users = folder.path().join("users");
        fs::write(&users, password_file()).unwrap();
        fs::set_permissions(&users, fs::Permissions::from_mode(0o600)).unwrap();
        let acl = folder.path().join("acl");
        fs::write(&acl, "user ana\ntopic #\nuser vera\ntopic #\nuser carl\ntopic #\ntopic deny secret/#\n")
            .unwrap();
        fs::set_permissions(&acl, fs::Permissions::from_mode(0o600)).unwrap();
        let toml = format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\n[auth]\npassword_file = {users:?}\n[acl]\nfile = {acl:?}\n\
             [store]\ndirectory = {:?}\n[http]\naddress = \"127.0.0.1:0\"\nadmins = [\"ana\"]\nviewers = [\"vera\"]\n{more}\n",
            folder.path().join("state"),
        );
        Self::of(Broker::start_with_config(&toml), folder)
    }

    /// As it is without a configuration.
    pub(crate) fn plain() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::of(Broker::start(&["--data-dir", &folder.path().join("state").display().to_string()]), folder)
    }

    fn of(broker: Broker, folder: tempfile::TempDir) -> Self {
        let began = Instant::now();
        let link = loop {
            let log = broker.log();
            if let Some(link) =
                log.lines().find_map(|line| line.strip_prefix("See it live, and use the HTTP API: "))
            {
                break link.to_owned();
            }
            assert!(began.elapsed() < PATIENCE, "no link: {log}");
            std::thread::yield_now();
        };
        let http = link.split("//").nth(1).unwrap().split('/').next().unwrap().parse().unwrap();
        Self { broker, http, link, folder }
    }

    /// With a certificate for `localhost`; the file with it.
    pub(crate) fn with_tls() -> (Self, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (folder.path().join("http.crt"), folder.path().join("http.key"));
        fs::write(&certificate, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let toml = format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\n[http]\naddress = \"127.0.0.1:0\"\n[http.tls]\ncertificate = \
             {certificate:?}\nkey = {key:?}\n"
        );
        (Self::of(Broker::start_with_config(&toml), folder), certificate)
    }

    /// The token of the link.
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.link.split("#token=").nth(1).unwrap())
    }

    #[track_caller]
    pub(crate) fn send(&self, request: Request, who: &str) -> Answer {
        request.header("authorization", who).send(self.http)
    }

    /// One of its numbers.
    #[track_caller]
    pub(crate) fn number(&self, who: &str, line: &str) -> f64 {
        let page = self.send(Request::get("/metrics"), who).text();
        let found = page.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no {line} in\n{page}")).parse().unwrap()
    }
}

/// The three users with their hashes, which take their time.
fn password_file() -> &'static str {
    static FILE: OnceLock<String> = OnceLock::new();
    FILE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users").display().to_string();
        for name in ["ana", "vera", "carl"] {
            let create: &[&str] = if name == "ana" { &["-c"] } else { &[] };
            let made = Command::new(binary())
                .arg("passwd")
                .args(create)
                .args(["-b", &path, name, &format!("pass-of-{name}")])
                .stdin(Stdio::null())
                .output()
                .unwrap();
            assert!(made.status.success(), "{made:?}");
        }
        fs::read_to_string(path).unwrap()
    })
}
