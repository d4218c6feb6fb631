//! Files that decide who comes in: one that is missing, empty, unreadable or wrong stops the start, and a reload changes
//! nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::certificates::Authority;
use crate::harness::{Broker, culex, run, run_ok, text};

/// A broker's folder, with a correct file of each kind.
struct Setup {
    folder: tempfile::TempDir,
}

const FILES: [&str; 6] = ["passwd", "acl", "server.crt", "server.key", "ca.crt", "crl.pem"];

impl Setup {
    fn new() -> Self {
        let setup = Self { folder: tempfile::tempdir().unwrap() };
        let authority = Authority::new();
        let (certificate, key) = authority.identity("localhost");
        setup.write("acl", "topic #\n");
        setup.write("server.crt", &certificate);
        setup.write("server.key", &key);
        setup.write("ca.crt", &authority.pem);
        setup.write("crl.pem", &authority.revocation_list());
        let passwd = setup.name("passwd");
        run_ok(culex(&["passwd", "-c", "-b", &passwd, "ann", "annpw"]));
        let file = |name: &str| format!("{:?}", setup.name(name));
        let toml = format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\n[listener.tls]\ncertificate = {}\nkey = {}\nclient_ca = {}\ncrl = {}\n\
             [auth]\npassword_file = {}\n[acl]\nfile = {}\n",
            file("server.crt"),
            file("server.key"),
            file("ca.crt"),
            file("crl.pem"),
            file("passwd"),
            file("acl"),
        );
        setup.write("culex.toml", &toml);
        setup
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn name(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn start(&self) -> Command {
        culex(&["-c", &self.name("culex.toml"), "--data-dir", &self.name("state")])
    }

    /// Makes a file wrong in this way; what it was.
    fn spoil(&self, name: &str, fault: Fault) -> Vec<u8> {
        let path = self.path(name);
        let before = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        match fault {
            Fault::Missing => {}
            Fault::Empty => self.write(name, ""),
            // Also for root, who may read every file.
            Fault::Unreadable => fs::create_dir(&path).unwrap(),
            Fault::Malformed => self.write(name, "\nnonsense\n"),
        }
        before
    }

    fn mend(&self, name: &str, before: &[u8]) {
        let path = self.path(name);
        if path.is_dir() {
            fs::remove_dir(&path).unwrap();
        }
        fs::write(&path, before).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Missing,
    Empty,
    Unreadable,
    Malformed,
}

const FAULTS: [Fault; 4] = [Fault::Missing, Fault::Empty, Fault::Unreadable, Fault::Malformed];

/// What the message begins with: the file, and its line where it has lines.
fn place(setup: &Setup, name: &str, fault: Fault) -> String {
    let line = match (name, fault) {
        ("passwd", Fault::Malformed) => ":2:1:",
        ("acl", Fault::Malformed) => ":2:",
        ("acl", Fault::Empty) => ":1:",
        _ => "",
    };
    setup.name(name) + line
}

/// CVE-2018-12550, CVE-2018-12551: a file that was asked for decides, or nothing starts.
#[test]
fn a_security_file_that_is_wrong_stops_the_start() {
    let setup = Setup::new();
    for name in FILES {
        for fault in FAULTS {
            let before = setup.spoil(name, fault);
            let output = run(setup.start());
            let said = text(&output.stderr);
            let code = if ["passwd", "acl"].contains(&name) { 1 } else { 4 };
            assert_eq!(output.status.code(), Some(code), "{name} {fault:?}: {said}");
            assert!(said.contains(&place(&setup, name, fault)), "{name} {fault:?}: {said}");
            assert_eq!(text(&output.stdout), "", "{name} {fault:?}");
            setup.mend(name, &before);
        }
    }
    let broker = Broker::culex_at(&["-c", &setup.name("culex.toml"), "--data-dir", &setup.name("state")]);
    assert_eq!(broker.running.terminate(), Some(0));
}

/// CVE-2017-7652: with a file that cannot be read now, what was read before goes on.
#[cfg(feature = "store-sqlite")]
#[test]
fn a_security_file_that_is_wrong_changes_nothing_at_a_reload() {
    let setup = Setup::new();
    let broker = Broker::culex_at(&["-c", &setup.name("culex.toml"), "--data-dir", &setup.name("state")]);
    let reload = || run(culex(&["ctl", "--data-dir", &setup.name("state"), "reload"]));
    for name in FILES {
        for fault in FAULTS {
            let before = setup.spoil(name, fault);
            let output = reload();
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{name} {fault:?}: {said}");
            assert!(said.contains(&place(&setup, name, fault)), "{name} {fault:?}: {said}");
            setup.mend(name, &before);
        }
    }
    assert_eq!(reload().status.code(), Some(0));
    assert_eq!(broker.running.terminate(), Some(0));
}

/// 2.0.12 of mosquitto: an option must not open a listener to everybody.
#[test]
fn a_listener_for_others_wants_users_or_consent() {
    let setup = Setup::new();
    let toml = |more: &str| format!("[[listener]]\naddress = \"0.0.0.0:0\"\n{more}");
    for (name, content, code) in [
        ("open.toml", toml(""), 1),
        ("closed.toml", toml("allow_anonymous = false\n"), 1),
        ("open.conf", "listener 1\n".to_owned(), 3),
        ("closed.conf", "port 1\nallow_anonymous false\n".to_owned(), 3),
        ("named.conf", "bind_address 0.0.0.0\n".to_owned(), 3),
    ] {
        setup.write(name, &content);
        let output = run(culex(&["-c", &setup.name(name)]));
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{name}: {said}");
        assert!(said.contains(&format!("{name}:")) && said.contains("  help: add "), "{name}: {said}");
    }
}
