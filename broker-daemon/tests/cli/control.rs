//! `culex ctl` and reloading, against a running broker.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::harness::{Broker, Running, Subscriber, Tools, culex, run, run_ok, text};

struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    fn new(acl: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let this = Self { folder };
        this.write("acl", acl);
        this.write("culex.toml", &format!("[acl]\nfile = {:?}\n", this.path("acl")));
        this
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn broker(&self) -> Broker {
        Broker::culex(&["-c", &self.path("culex.toml"), "--data-dir", &self.path("state")])
    }

    fn ctl(&self, arguments: &[&str]) -> Command {
        culex(&[&["ctl", "--data-dir", &self.path("state")], arguments].concat())
    }
}

#[test]
fn it_shows_who_is_there_and_ends_connections() {
    let folder = Folder::new("topic #\n");
    let broker = folder.broker();
    let mode = std::fs::metadata(folder.path("state/control.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A ClientId that would clear the terminal, and has a slash.
    let id = "a/b \u{1b}[2J";
    let subscriber = Subscriber::start(Tools::Culex, &broker, &["-t", "a/#", "-i", id]);
    run_ok(Tools::Culex.publish(&broker, &["-t", "kept", "-m", "x", "-r", "-q", "1"]));
    let status = run_ok(folder.ctl(&["status"]));
    assert!(status.contains("connections                  1"), "{status}");
    let clients = run_ok(folder.ctl(&["clients"]));
    assert!(clients.starts_with("CLIENT ID") && clients.contains("a/b \\u{1b}[2J"), "{clients:?}");
    assert!(!clients.contains('\u{1b}'), "{clients:?}");
    let shown = run_ok(folder.ctl(&["client", id]));
    assert!(shown.contains("connection: version          3.1.1"), "{shown}");
    assert!(run_ok(folder.ctl(&["subscriptions", id])).contains("a/#"));
    assert!(run_ok(folder.ctl(&["retained", "kept"])).contains("kept"));
    let json = run_ok(folder.ctl(&["--json", "sessions"]));
    assert!(json.contains("\"client_id\":\"a/b "), "{json}");
    assert_eq!(run_ok(folder.ctl(&["disconnect", id])), "disconnected\n");
    drop(subscriber);
    let nobody = run(folder.ctl(&["disconnect", "nobody"]));
    assert_eq!(nobody.status.code(), Some(1));
    assert!(text(&nobody.stderr).contains("no client nobody is connected"), "{}", text(&nobody.stderr));
    assert_eq!(broker.running.terminate(), Some(0));
    assert!(!Path::new(&folder.path("state/control.sock")).exists());
    let gone = run(folder.ctl(&["status"]));
    assert!(text(&gone.stderr).contains("no broker answers at"), "{}", text(&gone.stderr));
}

#[test]
fn a_reload_is_everything_or_nothing() {
    let folder = Folder::new("topic #\n");
    let broker = folder.broker();
    assert_eq!(run_ok(folder.ctl(&["reload"])), "read again; no setting has changed\n");
    let subscriber = Subscriber::start(Tools::Culex, &broker, &["-v", "-t", "#"]);
    folder.write("acl", "topic read #\n");
    run_ok(folder.ctl(&["reload"]));
    run_ok(Tools::Culex.publish(&broker, &["-t", "denied", "-m", "x", "-q", "1"]));
    // The list is wrong now, and a setting has changed: neither counts.
    folder.write("acl", "topic read #\nnonsense\n");
    folder.write("culex.toml", &format!("threads = 3\n[acl]\nfile = {:?}\n", folder.path("acl")));
    let refused = run(folder.ctl(&["reload"]));
    assert_eq!(refused.status.code(), Some(1));
    let why = text(&refused.stderr);
    assert!(why.contains("/acl:2: `nonsense` is not known"), "{why}");
    run_ok(Tools::Culex.publish(&broker, &["-t", "denied", "-m", "x", "-q", "1"]));
    folder.write("acl", "topic #\n");
    let changes = run_ok(folder.ctl(&["reload"]));
    assert_eq!(changes, "threads: \"auto\" -> 3 (from the next start on)\n");
    run_ok(Tools::Culex.publish(&broker, &["-t", "allowed", "-m", "y", "-q", "1"]));
    let mut lines = std::iter::from_fn(|| subscriber.0.line());
    let first = lines.find(|line| !line.starts_with("is/ready"));
    assert_eq!(first.as_deref(), Some("allowed y"));
    assert_eq!(broker.running.terminate(), Some(0));
}

#[test]
fn a_hangup_reads_the_configuration_again() {
    let folder = Folder::new("topic #\n");
    let arguments = ["-p", "0", "-c", &folder.path("culex.toml"), "--data-dir", &folder.path("state")];
    let broker = Running::start_both(culex(&arguments));
    broker.line_with("listening on");
    folder.write("acl", "nonsense\n");
    broker.signal("HUP");
    broker.line_with("nothing was changed:");
    folder.write("acl", "topic read #\n");
    broker.signal("HUP");
    broker.line_with("the configuration was read again");
    assert_eq!(broker.terminate(), Some(0));
}

#[test]
fn the_socket_of_a_killed_broker_is_replaced_and_anything_else_is_left() {
    let folder = Folder::new("topic #\n");
    let mut broker = folder.broker();
    broker.running.child.kill().unwrap();
    broker.running.child.wait().unwrap();
    assert!(Path::new(&folder.path("state/control.sock")).exists());
    let broker = folder.broker();
    run_ok(folder.ctl(&["status"]));
    assert_eq!(broker.running.terminate(), Some(0));
    folder.write("state/control.sock", "mine");
    let broker = folder.broker();
    assert_eq!(run(folder.ctl(&["status"])).status.code(), Some(1));
    assert_eq!(broker.running.terminate(), Some(0));
    assert_eq!(std::fs::read(folder.path("state/control.sock")).unwrap(), b"mine");
}
