//! Listeners that come and go while the broker runs.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use crate::harness::{Broker, Running, Subscriber, Tools, culex, run, run_ok, text};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// Listeners at these addresses, and more below.
    fn configure(&self, addresses: &[&str], more: &str) {
        let listener = |address: &&str| format!("[[listener]]\naddress = \"{address}\"\n");
        let text: String = addresses.iter().map(listener).chain([more.to_owned()]).collect();
        std::fs::write(self.path("culex.toml"), text).unwrap();
    }

    /// Both standard output and error are read.
    fn broker(&self) -> Broker {
        let arguments = ["-c", &self.path("culex.toml"), "--data-dir", &self.path("state")];
        let running = Running::start_both(culex(&arguments));
        let port = running.line_with("listening on ").rsplit(':').next().unwrap().parse().unwrap();
        Broker { port, running }
    }

    fn ctl(&self, command: &str) -> Command {
        culex(&["ctl", command, "--data-dir", &self.path("state")])
    }

    /// The ports that are listened on.
    fn ports(&self) -> Vec<u16> {
        let status = run_ok(self.ctl("status"));
        let line = status.lines().find(|line| line.starts_with("listeners")).unwrap();
        line.trim_start_matches("listeners")
            .split(',')
            .map(|at| at.rsplit(':').next().unwrap().parse().unwrap())
            .collect()
    }
}

/// A packet to `port` of a broker that keeps running.
fn publishes(port: u16, login: &[&str]) -> bool {
    let port = port.to_string();
    let output = run(culex(&[&["pub", "-p", &port, "-t", "t", "-m", "x", "-q", "1"], login].concat()));
    output.status.success()
}

#[test]
fn a_reload_opens_and_closes_listeners_and_drops_nobody() {
    let folder = Folder::new();
    folder.configure(&["127.0.0.1:0", "127.0.0.2:0"], "");
    let broker = folder.broker();
    let [first, second] = folder.ports().try_into().unwrap();
    let subscriber = Subscriber::start(Tools::Culex, &broker, &["-t", "t"]);
    // Somebody on the way in through a listener that goes.
    folder.configure(&["127.0.0.2:0", "127.0.0.3:0"], "");
    let changes = run_ok(folder.ctl("reload"));
    assert_eq!(changes, "listener: 127.0.0.1:0 -> none\nlistener: none -> 127.0.0.3:0\n");
    let [kept, third] = folder.ports().try_into().unwrap();
    assert_eq!(kept, second);
    assert!(TcpStream::connect(("127.0.0.1", first)).is_err(), "its port is free");
    drop(TcpListener::bind(("127.0.0.1", first)).unwrap());
    for (host, port) in [("127.0.0.2", second), ("127.0.0.3", third)] {
        assert!(publishes(port, &["-h", host]), "{host}");
    }
    // Who came in through the one that is gone is still there.
    assert_eq!([subscriber.0.line_with("x"), subscriber.0.line_with("x")], ["x", "x"]);
    assert_eq!(run_ok(folder.ctl("reload")), "read again; no setting has changed\n");
    assert_eq!(broker.running.terminate(), Some(0));
}

#[test]
fn who_has_not_said_connect_goes_with_its_listener() {
    let folder = Folder::new();
    folder.configure(&["127.0.0.1:0", "127.0.0.2:0"], "");
    let broker = folder.broker();
    let mut silent = TcpStream::connect(("127.0.0.1", broker.port)).unwrap();
    folder.configure(&["127.0.0.2:0"], "");
    run_ok(folder.ctl("reload"));
    // Closed, with or without unread bytes.
    assert!(matches!(silent.read(&mut [0; 1]), Ok(0) | Err(_)));
    assert_eq!(broker.running.terminate(), Some(0));
}

#[test]
fn where_one_listener_cannot_be_opened_nothing_changes() {
    let folder = Folder::new();
    folder.configure(&["127.0.0.1:0"], "");
    let broker = folder.broker();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    folder.configure(&["127.0.0.2:0", &address], "[log]\nlevel = \"error\"\n");
    let refused = run(folder.ctl("reload"));
    assert_eq!(refused.status.code(), Some(1));
    let why = text(&refused.stderr);
    assert!(why.contains(&format!("cannot listen on {address}")), "{why}");
    assert_eq!(folder.ports(), [broker.port]);
    assert!(publishes(broker.port, &[]));
    // The level of the log is what it was.
    broker.running.signal("USR2");
    broker.running.line_with("end of the subscriptions");
    assert_eq!(broker.running.terminate(), Some(0));
}

#[test]
fn limits_and_settings_of_a_listener_that_stays_follow() {
    let folder = Folder::new();
    folder.configure(&["127.0.0.1:0"], "[limits]\npacket_bytes = \"1KiB\"\n");
    let broker = folder.broker();
    let large = "x".repeat(2000);
    let publishes_large = |topic: &str| {
        let arguments = ["-p", &broker.port.to_string(), "-t", topic, "-m", &large, "-q", "1"];
        run(culex(&[&["pub"], &arguments[..]].concat())).status.success()
    };
    assert!(!publishes_large("t"));
    folder.configure(&["127.0.0.1:0"], "[limits]\npacket_bytes = \"64KiB\"\nstall_max = \"7s\"\n");
    let changes = "limits.packet_bytes: \"1KiB\" -> \"64KiB\"\n\
                   limits.stall_max: \"60s\" -> \"7s\" (from the next start on)\n";
    assert_eq!(run_ok(folder.ctl("reload")), changes);
    assert!(publishes_large("t"));
    let subscriber = Subscriber::start(Tools::Culex, &broker, &["-v", "-t", "#"]);
    let own = "mount_point = \"house/\"\n[listener.limits]\ntopic_bytes = 20\n";
    let limits = "[limits]\npacket_bytes = \"64KiB\"\nstall_max = \"7s\"\n";
    folder.configure(&["127.0.0.1:0"], &format!("{own}{limits}"));
    let changes = "listener.mount_point: none -> \"house/\" (for new connections)\n\
                   listener.limits.topic_bytes: 65_535 -> 20 (for new connections)\n";
    assert_eq!(run_ok(folder.ctl("reload")), changes);
    assert!(!publishes_large("a/topic/of/more/than/20/bytes"));
    assert!(publishes_large("t"));
    subscriber.0.line_with("house/t x");
    assert_eq!(broker.running.terminate(), Some(0));
}

#[test]
fn the_level_of_the_log_follows() {
    let folder = Folder::new();
    folder.configure(&["127.0.0.1:0"], "[log]\nlevel = \"error\"\n");
    let broker = folder.broker();
    folder.configure(&["127.0.0.1:0"], "[log]\nlevel = \"info\"\n");
    assert_eq!(run_ok(folder.ctl("reload")), "log.level: \"error\" -> \"info\"\n");
    broker.running.line_with("the configuration was read again");
    assert_eq!(broker.running.terminate(), Some(0));
}

#[test]
fn a_new_listener_asks_for_what_its_settings_say_and_nothing_is_opened_without_the_users_it_needs() {
    let folder = Folder::new();
    run_ok(culex(&["passwd", "-c", "-b", "-H", "sha512", &folder.path("users"), "ann", "secret"]));
    let auth = format!("[auth]\npassword_file = {:?}\n", folder.path("users"));
    folder.configure(&["127.0.0.1:0"], &auth);
    let broker = folder.broker();
    assert!(!publishes(broker.port, &[]));
    let open = "[[listener]]\naddress = \"127.0.0.2:0\"\nallow_anonymous = true\n";
    folder.configure(&["127.0.0.1:0", "127.0.0.3:0"], &format!("{open}{auth}"));
    run_ok(folder.ctl("reload"));
    let [first, closed, open] = folder.ports().try_into().unwrap();
    assert!(publishes(open, &["-h", "127.0.0.2"]));
    assert!(!publishes(first, &[]) && !publishes(closed, &["-h", "127.0.0.3"]));
    assert!(publishes(closed, &["-h", "127.0.0.3", "-u", "ann", "-P", "secret"]));
    // The first listener goes and another one comes: none inherits what was said of another.
    folder.configure(&["127.0.0.4:0", "127.0.0.5:0"], &auth);
    run_ok(folder.ctl("reload"));
    let ports = folder.ports();
    for (host, port) in ["127.0.0.4", "127.0.0.5"].into_iter().zip(ports) {
        assert!(!publishes(port, &["-h", host]), "{host}");
    }
    // A broker that asks nobody opens no listener that relies on being asked.
    let open = Folder::new();
    open.configure(&["127.0.0.1:0"], "");
    let asks_nobody = open.broker();
    open.configure(&["127.0.0.1:0", "0.0.0.0:0"], &auth);
    let changes = run_ok(open.ctl("reload"));
    assert!(changes.contains("listener: none -> 0.0.0.0:0 (from the next start on)"), "{changes}");
    assert_eq!(open.ports(), [asks_nobody.port]);
    for broker in [broker, asks_nobody] {
        assert_eq!(broker.running.terminate(), Some(0));
    }
}
