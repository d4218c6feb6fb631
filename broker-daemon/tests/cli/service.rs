//! The broker as a service: what its manager hears, what signals do, and whose privileges it has.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::harness::{Broker, Running, Subscriber, Tools, culex, run, run_ok, text};

/// What a service manager hears.
struct Manager {
    folder: tempfile::TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { folder, socket }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&self, watchdog_usec: Option<u32>) -> Running {
        let mut command = culex(&["-p", "0", "-c"]);
        command.arg(self.path("culex.toml")).arg("--data-dir").arg(self.path("state"));
        command.env("NOTIFY_SOCKET", self.path("notify"));
        if let Some(usec) = watchdog_usec {
            command.env("WATCHDOG_USEC", usec.to_string());
        }
        Running::start_both(command)
    }

    /// The next message, but for signs of life.
    fn hear(&self) -> Vec<String> {
        loop {
            let lines = self.hear_any();
            if lines != ["WATCHDOG=1"] {
                return lines;
            }
        }
    }

    fn hear_any(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).unwrap();
        text(buffer.get(..length).unwrap()).lines().map(str::to_owned).collect()
    }
}

#[test]
fn the_service_manager_hears_what_it_does() {
    let manager = Manager::new();
    fs::write(manager.path("culex.toml"), "").unwrap();
    let broker = manager.start(None);
    let port = broker.line_with("listening on").rsplit(':').next().unwrap().to_owned();
    assert_eq!(manager.hear(), ["READY=1".to_owned(), format!("STATUS=listening on 127.0.0.1:{port}")]);
    let is_reloading = |told: Vec<String>| {
        assert_eq!(told[0], "RELOADING=1");
        assert!(told[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse::<u64>().unwrap() > 0, "{told:?}");
    };
    broker.signal("HUP");
    is_reloading(manager.hear());
    assert_eq!(manager.hear(), ["READY=1"]);
    // A mistake is no reason not to be ready.
    fs::write(manager.path("culex.toml"), "nonsense = 1").unwrap();
    broker.signal("HUP");
    is_reloading(manager.hear());
    assert_eq!(manager.hear(), ["READY=1"]);
    broker.line_with("nothing was changed");
    broker.signal("TERM");
    assert_eq!(manager.hear(), ["STOPPING=1"]);
    assert_eq!(broker.ended(), Some(0));
}

#[test]
fn a_broker_that_lives_says_so_again_and_again() {
    let manager = Manager::new();
    fs::write(manager.path("culex.toml"), "").unwrap();
    let broker = manager.start(Some(200_000));
    assert_eq!(manager.hear()[0], "READY=1");
    for _ in 0..3 {
        assert_eq!(manager.hear_any(), ["WATCHDOG=1"]);
    }
    assert_eq!(broker.terminate(), Some(0));
}

#[test]
fn signals_save_the_state_and_show_the_subscriptions() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let command = culex(&["-p", "0", "--data-dir", state.to_str().unwrap()]);
    let running = Running::start_both(command);
    let port = running.line_with("listening on ").rsplit(':').next().unwrap().parse().unwrap();
    let broker = Broker { port, running };
    let _subscriber =
        Subscriber::start(Tools::Culex, &broker, &["-v", "-t", "cellar/+/a\u{1b}b", "-i", "watcher"]);
    broker.running.signal("USR2");
    broker.running.line_with("subscription cellar/+/a\\u{1b}b of watcher");
    broker.running.line_with("end of the subscriptions");
    run_ok(Tools::Culex.publish(&broker, &["-t", "kept", "-m", "x", "-r", "-q", "1"]));
    assert!(log_bytes(&state) > 0);
    broker.running.signal("USR1");
    broker.running.line_with("everything that was acknowledged is on the disk");
    assert_eq!(log_bytes(&state), 0, "what was in the log is in the tables");
    assert_eq!(broker.running.terminate(), Some(0));
}

/// Length of SQLite's log.
fn log_bytes(state: &Path) -> u64 {
    let log = fs::read_dir(state)
        .unwrap()
        .map(Result::unwrap)
        .find(|entry| entry.file_name().to_string_lossy().ends_with("-wal"));
    log.unwrap().metadata().unwrap().len()
}

/// Whom root becomes here: user and group.
const NOBODY: (u32, u32) = (65_534, 65_534);

/// A folder that others may enter, and a state directory of nobody's; `None`, with a line, where a test is not root.
fn of_nobody() -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir().unwrap();
    let is_there = fs::read_to_string("/etc/passwd")
        .unwrap()
        .lines()
        .any(|line| line.starts_with("nobody:x:65534:65534:"));
    if fs::metadata(folder.path()).unwrap().uid() != 0 || !is_there {
        println!("skipped: only root can become nobody");
        return None;
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let state = folder.path().join("state");
    fs::create_dir(&state).unwrap();
    std::os::unix::fs::chown(&state, Some(NOBODY.0), Some(NOBODY.1)).unwrap();
    Some(folder)
}

#[test]
fn root_becomes_another_user_for_good_once_it_has_what_only_root_may() {
    let Some(folder) = of_nobody() else { return };
    let path = |name: &str| folder.path().join(name).display().to_string();
    run_ok(culex(&["passwd", "-c", "-b", "-H", "sha512", &path("users"), "ann", "secret"]));
    assert_eq!(fs::metadata(path("users")).unwrap().mode() & 0o777, 0o600);
    let config = format!(
        "user = \"nobody\"\npid_file = {:?}\n[auth]\npassword_file = {:?}\n[store]\ndirectory = {:?}\n",
        path("pid"),
        path("users"),
        path("state")
    );
    fs::write(path("culex.toml"), config).unwrap();
    let running = Running::start_both(culex(&["-p", "0", "-c", &path("culex.toml")]));
    let port = running.line_with("listening on ").rsplit(':').next().unwrap().parse().unwrap();
    let broker = Broker { port, running };
    let pid = broker.running.child.id();
    assert_eq!(fs::read_to_string(path("pid")).unwrap(), format!("{pid}\n"));
    // Every thread.
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(field("Uid:"), ["65534"; 4]);
        assert_eq!(field("Gid:"), ["65534"; 4]);
        assert!(field("Groups:").iter().all(|group| group == "65534"), "{:?}", field("Groups:"));
        assert_eq!(field("CapEff:"), ["0000000000000000"]);
        assert_eq!(field("CapPrm:"), ["0000000000000000"]);
    }
    let socket = fs::metadata(path("state/control.sock")).unwrap();
    assert_eq!((socket.uid(), socket.mode() & 0o777), (NOBODY.0, 0o600));
    run_ok(
        Tools::Culex.publish(&broker, &["-u", "ann", "-P", "secret", "-t", "a", "-m", "x", "-r", "-q", "1"]),
    );
    // What only root can read cannot be read again, and that is said.
    let refused = run(culex(&["ctl", "--data-dir", &path("state"), "reload"]));
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("/users: "), "{}", text(&refused.stderr));
    assert_eq!(broker.running.terminate(), Some(0));
}

#[test]
fn a_directory_that_the_new_user_cannot_have_is_explained() {
    let Some(folder) = of_nobody() else { return };
    let state = folder.path().join("of-root");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    let mut command = culex(&["-p", "0", "--data-dir", state.to_str().unwrap()]);
    command.env("CULEX__USER", "nobody");
    let refused = run(command);
    assert_eq!(refused.status.code(), Some(5), "{}", text(&refused.stderr));
    let help = format!("`mkdir -p {0} && chown -R nobody: {0}`", state.display());
    assert!(text(&refused.stderr).contains(&help), "{}", text(&refused.stderr));
}

#[test]
fn a_user_that_does_not_exist_stops_root() {
    let mut command = culex(&["-p", "0", "--ephemeral"]);
    command.env("CULEX__USER", "nobody-of-this-name");
    let Some(_) = of_nobody() else { return };
    let refused = run(command);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("there is no user nobody-of-this-name"),
        "{}",
        text(&refused.stderr)
    );
}

/// The unit of the package, with this program in place of the installed one.
#[test]
fn systemd_finds_no_fault_in_the_unit() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd/culex.service");
    let Ok(unit) = fs::read_to_string(unit) else {
        // A packaged crate has no such folder beside it.
        println!("skipped: there is no unit");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("culex.service");
    let with_keys = unit.replace("#LoadCredential", "LoadCredential");
    assert_ne!(with_keys, unit);
    for unit in [unit, with_keys] {
        fs::write(&path, unit.replace("/usr/bin/culex", env!("CARGO_BIN_EXE_culex"))).unwrap();
        let mut command = Command::new("systemd-analyze");
        command.args(["verify", "--man=no", path.to_str().unwrap()]);
        if Command::new("systemd-analyze").arg("--version").output().is_err() {
            println!("skipped: systemd is not installed");
            return;
        }
        let output = run(command);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success(), "{said}");
        let ours: Vec<_> = said.lines().filter(|line| line.contains("culex")).collect();
        assert!(ours.is_empty(), "{ours:?}");
    }
}
