//! Configurations of mosquitto as people have them: each starts the broker, or names what it cannot do.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use crate::certificates::Authority;
use crate::harness::{MOSQUITTO, Running, culex, has_mosquitto, run, run_ok, text};

/// A configuration, and the files that it names.
struct Setup {
    folder: tempfile::TempDir,
    file: &'static str,
}

impl Setup {
    fn new(file: &'static str, content: &str) -> Self {
        let setup = Self { folder: tempfile::tempdir().unwrap(), file };
        let authority = Authority::new();
        let (server, server_key) = authority.identity("localhost");
        let (device, device_key) = authority.identity("device-7");
        for (name, content) in [
            (file, content.replace("@DIR@", &setup.dir())),
            ("ca.crt", authority.pem.clone()),
            ("crl.pem", authority.revocation_list()),
            ("server.crt", server),
            ("server.key", server_key),
            ("device.crt", device),
            ("device.key", device_key),
            ("acl", "user ann\ntopic readwrite home/#\n".to_owned()),
            ("fleet.acl", "pattern write fleet/%u/#\n".to_owned()),
            ("conf.d/local.conf", "listener 1883\nallow_anonymous true\n".to_owned()),
        ] {
            setup.write(name, &content);
        }
        run_ok(culex(&["passwd", "-c", "-b", &setup.path("passwd"), "ann", "annpw"]));
        setup
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn dir(&self) -> String {
        self.folder.path().display().to_string()
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// What is said, with `@DIR@` for the folder.
    fn shown(&self, stderr: &[u8]) -> Vec<String> {
        let lines = text(stderr).replace(&self.dir(), "@DIR@");
        let has_ipv4_alone = |line: &&str| line.contains("this computer has no IPv6");
        lines.lines().filter(|line| !has_ipv4_alone(line)).map(str::to_owned).collect()
    }

    /// It does not start, and says this.
    #[track_caller]
    fn refuses(&self, expected: &[&str]) {
        let output = run(culex(&["-c", &self.path(self.file)]));
        assert_eq!(self.shown(&output.stderr), expected, "{}", self.file);
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(text(&output.stdout), "");
    }

    /// It starts with this many listeners, each on a free port of this computer, or with none as the file has them;
    /// `culex check` says this of it, and the log as well.
    #[track_caller]
    fn starts(&self, listeners: usize, notes: &[&str]) -> Started {
        let path = self.path(self.file);
        let checked = run(culex(&["check", &path]));
        assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
        let expected: Vec<_> = notes.iter().map(|note| format!("note: @DIR@/{}:{note}", self.file)).collect();
        assert_eq!(self.shown(&checked.stderr), expected, "{}", self.file);
        // The same in TOML is correct, and has nothing to be said about.
        self.write("translated.toml", &run_ok(culex(&["config", "translate", &path])));
        let checked = run(culex(&["check", &self.path("translated.toml")]));
        assert_eq!((checked.status.code(), text(&checked.stderr)), (Some(0), String::new()));

        let mut command = culex(&["-c", &path]);
        for number in 0..listeners {
            command.env(format!("CULEX__LISTENER__{number}__ADDRESS"), "127.0.0.1:0");
        }
        let running = Running::start_both(command);
        let (mut ports, mut said) = (Vec::new(), 0);
        // The line behind all listeners; what goes to the log has been written by then.
        while let Some(line) = running.line() {
            if let Some(address) = line.strip_prefix("listening on ") {
                let address = address.split(' ').next().unwrap();
                ports.push(address.rsplit(':').next().unwrap().to_owned());
            }
            said += usize::from(line.contains(" WARN ") && line.contains(self.file));
            if line.starts_with("Sessions and retained messages ") {
                break;
            }
        }
        assert!(listeners == 0 || ports.len() == listeners, "{ports:?}");
        // The log is another pipe, and may come later.
        while said < notes.len() {
            let line = running.line_with(" WARN ");
            said += usize::from(line.contains(self.file));
        }
        Started { running, ports }
    }
}

struct Started {
    running: Running,
    ports: Vec<String>,
}

impl Started {
    /// Whether a message can be published through a listener.
    fn takes(&self, listener: usize, arguments: &[&str]) -> bool {
        let mut command: Command =
            culex(&["pub", "-h", "localhost", "-p", self.ports.get(listener).unwrap(), "-q", "1", "-m", "x"]);
        command.args(arguments);
        run(command).status.success()
    }

    fn end(self) {
        assert_eq!(self.running.terminate(), Some(0));
    }
}

#[test]
fn home_automation() {
    let setup = Setup::new("home.conf", include_str!("mosquitto/home.conf"));
    let started = setup.starts(
        2,
        &[
            "5:1: `autosave_interval` is ignored: what was acknowledged is on the disk already",
            "7:1: `log_dest file @DIR@/mosquitto.log` is ignored: log lines go to standard error",
            "12:1: `log_timestamp_format` is ignored: the time of a log line has one form",
            "13:1: `connection_messages` is ignored: `[log] level` decides what is logged",
            "3:1: what mosquitto has kept (mosquitto.db) is not read: sessions, queues and retained messages begin anew",
        ],
    );
    assert!(started.takes(0, &["-t", "home/lamp", "-u", "ann", "-P", "annpw"]));
    assert!(started.takes(1, &["-t", "home/lamp", "-u", "ann", "-P", "annpw"]));
    assert!(!started.takes(0, &["-t", "home/lamp", "-u", "ann", "-P", "wrong"]));
    assert!(!started.takes(0, &["-t", "home/lamp"]));
    started.end();
    assert!(Path::new(&setup.path("data/culex.db")).exists());
}

#[test]
fn tls_with_settings_of_each_listener() {
    let setup = Setup::new("per-listener.conf", include_str!("mosquitto/per-listener.conf"));
    let started = setup.starts(
        2,
        &[
            "13:1: `ciphers` is ignored: the suites are those with ECDHE and AEAD alone",
            "9:1: without `require_certificate true` no client is asked for a certificate, so `cafile`, `capath` and `crlfile` \
             are not read; what leads from `certfile` to its CA belongs into `certfile`",
            "15:1: @DIR@/passwd is for all listeners: also on port 1883 who says a user name must know its password",
        ],
    );
    assert!(started.takes(0, &["-t", "a"]));
    let ca = setup.path("ca.crt");
    assert!(started.takes(1, &["-t", "a", "--cafile", &ca, "-u", "ann", "-P", "annpw"]));
    assert!(!started.takes(1, &["-t", "a", "--cafile", &ca]));
    assert!(!started.takes(1, &["-t", "a", "-u", "ann", "-P", "annpw"]));
    started.end();
}

#[test]
fn a_fleet_with_certificates() {
    let setup = Setup::new("fleet.conf", include_str!("mosquitto/fleet.conf"));
    let started = setup.starts(1, &[]);
    let (ca, crt, key) = (setup.path("ca.crt"), setup.path("device.crt"), setup.path("device.key"));
    assert!(started.takes(0, &["-t", "fleet/device-7/t", "--cafile", &ca, "--cert", &crt, "--key", &key]));
    assert!(!started.takes(0, &["-t", "fleet/device-7/t", "--cafile", &ca]));
    started.end();
}

#[test]
fn a_hub_without_bridges() {
    let setup = Setup::new("hub.conf", include_str!("mosquitto/hub.conf"));
    let started = setup.starts(2, &[]);
    assert!(started.takes(1, &["-t", "home/x", "-u", "ann", "-P", "annpw"]));
    assert!(!started.takes(0, &["-t", "home/x"]));
    started.end();
}

#[test]
fn the_file_of_a_container_image() {
    let setup = Setup::new("docker.conf", include_str!("mosquitto/docker.conf"));
    let started = setup.starts(1, &[]);
    assert!(started.takes(0, &["-t", "a"]));
    started.end();
}

#[test]
fn the_file_of_debian() {
    let setup = Setup::new("debian.conf", include_str!("mosquitto/debian.conf"));
    let started = setup.starts(
        2,
        &[
            "8:1: `log_dest file @DIR@/mosquitto.log` is ignored: log lines go to standard error",
            "5:1: what mosquitto has kept (mosquitto.db) is not read: sessions, queues and retained messages begin anew",
        ],
    );
    assert!(started.takes(0, &["-t", "a"]));
    started.end();
}

#[test]
fn a_file_of_long_ago() {
    let setup = Setup::new("old.conf", include_str!("mosquitto/old.conf"));
    let started = setup.starts(
        1,
        &[
            "7:1: `allow_duplicate_messages` is ignored: a message comes once for all filters of a session that match it",
            "8:1: `retry_interval` is ignored: a message is sent again when its client connects again, as the protocol has it",
            "9:1: `store_clean_interval` is ignored: what is over is removed at once",
            "10:1: `autosave_interval` is ignored: what was acknowledged is on the disk already",
            "12:1: `set_tcp_nodelay` is ignored: it is always set",
            "13:1: `log_dest syslog` is ignored: log lines go to standard error",
            "14:1: `log_facility` is ignored: log lines go to standard error, where a service manager takes them",
        ],
    );
    assert!(started.takes(0, &["-t", "a"]));
    started.end();
}

#[test]
fn websockets_behind_a_proxy() {
    let setup = Setup::new("websockets.conf", include_str!("mosquitto/websockets.conf"));
    let started =
        setup.starts(3, &["7:1: `websockets_headers_size` is ignored: headers have a bound of their own"]);
    assert!(started.takes(0, &["-t", "a"]));
    let mut page = TcpStream::connect(format!("127.0.0.1:{}", started.ports[2])).unwrap();
    let upgrade = "GET /mqtt HTTP/1.1\r\nHost: a\r\nOrigin: https://a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
    assert_eq!(answer(&mut page, upgrade.as_bytes(), 12), b"HTTP/1.1 101");
    started.end();
}

#[test]
fn big_queues() {
    Setup::new("queues.conf", include_str!("mosquitto/queues.conf")).refuses(&[
        "error: @DIR@/queues.conf:11:1: `queue_qos0_messages true` is not supported: QoS 0 does not wait for a client that is away",
        "  help: remove it, and publish with QoS 1 what must not be lost",
        "error: @DIR@/queues.conf:13:1: `memory_limit 2000000000` is not supported: memory has no bound as a whole",
        "  help: remove it; what grows has limits of its own, see docs/configuration.md, and a service manager can bound the whole",
        "error: @DIR@/queues.conf:14:1: `message_size_limit 1048576` is not supported: no message is acknowledged and then dropped for its size",
        "  help: write `max_packet_size BYTES`; a client that sends a larger packet is disconnected",
    ]);
}

/// Not started: the endpoint would be looked for outside.
#[test]
fn a_bridge_to_aws() {
    let setup = Setup::new("aws-bridge.conf", include_str!("mosquitto/aws-bridge.conf"));
    for (name, of) in [("root-ca.pem", "ca.crt"), ("cert.pem", "device.crt"), ("private.key", "device.key")] {
        setup.write(name, &fs::read_to_string(setup.path(of)).unwrap());
    }
    let checked = run(culex(&["check", &setup.path(setup.file)]));
    assert_eq!((checked.status.code(), text(&checked.stderr)), (Some(0), String::new()));
    setup.write("translated.toml", &run_ok(culex(&["config", "translate", &setup.path(setup.file)])));
    let checked = run(culex(&["check", &setup.path("translated.toml")]));
    assert_eq!((checked.status.code(), text(&checked.stderr)), (Some(0), String::new()));

    fs::set_permissions(setup.path("private.key"), fs::Permissions::from_mode(0o644)).unwrap();
    setup.refuses(&[
        "error: @DIR@/aws-bridge.conf:12:1: every user of this computer can read the private key @DIR@/private.key",
        "  help: `chmod o= @DIR@/private.key`; where a container mounts it so, key_permissions = \"warn\"",
    ]);
}

#[test]
fn a_unix_socket() {
    let setup = Setup::new("unix-socket.conf", include_str!("mosquitto/unix-socket.conf"));
    let started = setup.starts(0, &[]);
    assert_eq!(started.ports, [setup.path("mosquitto.sock")]);
    let mut program = UnixStream::connect(setup.path("mosquitto.sock")).unwrap();
    // CONNECT of MQTT 3.1.1, a clean session, the ClientId `a`.
    let connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a";
    assert_eq!(answer(&mut program, connect, 4), [0x20, 2, 0, 0]);
    started.end();
}

/// What comes first.
fn answer(stream: &mut (impl Read + Write), sent: &[u8], count: usize) -> Vec<u8> {
    stream.write_all(sent).unwrap();
    let mut received = vec![0; count];
    stream.read_exact(&mut received).unwrap();
    received
}

#[test]
fn a_plugin() {
    Setup::new("plugin.conf", include_str!("mosquitto/plugin.conf")).refuses(&[
        "error: @DIR@/plugin.conf:1:1: nobody can connect to this listener: there is no `password_file`, and without `allow_anonymous true` clients without a user name are refused",
        "  help: add `password_file FILE` (`culex passwd -c FILE USER` makes the file), or `allow_anonymous true` if everybody may",
        "error: @DIR@/plugin.conf:3:1: `auth_plugin` is not supported: Culex loads no plugins",
        "  help: remove it; users are in `password_file`, rights in `acl_file`, and a program that embeds Culex decides by itself",
        "error: @DIR@/plugin.conf:4:1: `auth_opt_backends` is not supported: Culex loads no plugins",
        "  help: remove it; users are in `password_file`, rights in `acl_file`, and a program that embeds Culex decides by itself",
        "error: @DIR@/plugin.conf:5:1: `auth_opt_pg_password` is not supported: Culex loads no plugins",
        "  help: remove it; users are in `password_file`, rights in `acl_file`, and a program that embeds Culex decides by itself",
        "error: @DIR@/plugin.conf:6:1: `psk_file` is not supported: keys that are shared in advance are not spoken",
        "  help: give each client a certificate (`require_certificate true`, `use_identity_as_username true`), or a password",
        "error: @DIR@/plugin.conf:7:1: `clientid_prefixes` is not supported: ClientIds are not looked at",
        "  help: remove it, and give clients passwords or certificates",
    ]);
}

/// Lines that both programs take, or neither.
const ALIKE: [(&str, bool); 69] = [
    ("allow_anonymous true # comment", true),
    ("allow_anonymous  true", true),
    ("allow_anonymous 1", true),
    ("allow_anonymous yes", false),
    ("allow_anonymous TRUE", false),
    ("allow_anonymous true false", true),
    ("allow_anonymous", false),
    (" allow_anonymous true", true),
    ("\tallow_anonymous true", false),
    ("allow_anonymous\ttrue", false),
    ("allow_anonymous true\r", true),
    ("# comment", true),
    (" # comment", false),
    ("   ", true),
    ("max_queued_messages 10", true),
    ("max_queued_messages -5", true),
    ("max_queued_messages +5", true),
    ("max_inflight_messages 65536", false),
    ("max_inflight_messages 65535", true),
    ("max_inflight_messages -1", true),
    ("max_packet_size 19", false),
    ("max_packet_size 20", true),
    ("max_keepalive 10", true),
    ("max_keepalive 65536", false),
    ("sys_interval -1", false),
    ("sys_interval 0", true),
    ("sys_interval 65535", true),
    ("sys_interval 65536", false),
    ("persistent_client_expiration 1d", true),
    ("persistent_client_expiration 1", false),
    ("persistent_client_expiration 0d", false),
    ("persistent_client_expiration d", false),
    ("log_type all", true),
    ("log_type everything", false),
    ("log_dest stderr", true),
    ("log_dest nowhere", false),
    ("log_dest", false),
    ("listener 0", false),
    ("listener 70000", false),
    ("listener x", false),
    ("port 0", false),
    ("protocol mqtt", true),
    ("protocol http", false),
    ("socket_domain ipv4", true),
    ("socket_domain ipv5", false),
    ("max_qos 3", false),
    ("max_connections -7", true),
    ("unknown_option 1", false),
    ("address 192.0.2.1", false),
    ("topic x out", false),
    ("connection a\naddress 127.0.0.1:1\ntopic x", true),
    ("connection a\naddress 127.0.0.1:1\ntopic x both 2 a/ \"\"", true),
    ("connection a\naddress 127.0.0.1:1 127.0.0.1:2\ntopic \"\" out 1 a b", true),
    ("connection a\naddress 127.0.0.1:1\ntopic \"\" out 1 a", false),
    ("connection a\naddress 127.0.0.1:1\ntopic x sideways", false),
    ("connection a\naddress 127.0.0.1:1\ntopic x out 3", false),
    ("connection a\naddress 127.0.0.1:1\ntopic x out 1 a+ b", false),
    ("connection a\naddress 127.0.0.1:0\ntopic x", false),
    ("connection a\naddress 127.0.0.1:1\ntopic x\nkeepalive_interval 4", true),
    ("connection a\naddress 127.0.0.1:1\ntopic x\nrestart_timeout 5 30", true),
    ("connection a\naddress 127.0.0.1:1\ntopic x\nstart_type sometimes", false),
    ("connection a\ntopic x", false),
    ("include_dir /no/such/folder", false),
    ("include_dir", false),
    ("persistence_location", false),
    ("persistence_location a\npersistence_location b", false),
    ("per_listener_settings true", false),
    ("memory_limit -1", false),
    ("require_certificate false", true),
];

/// Lines that mosquitto takes and Culex does not, which is meant so: docs/mosquitto.md has the reasons.
const STRICTER: [&str; 5] = [
    "max_queued_messages 10MB",
    "max_queued_messages x",
    "tls_version tlsv9",
    "require_certificate true",
    "cafile a",
];

#[test]
fn both_programs_take_the_same_lines() {
    if !has_mosquitto() {
        return;
    }
    let mut help = Command::new(MOSQUITTO);
    help.arg("-h");
    let version = text(&run(help).stdout);
    if !version.starts_with("mosquitto version 2.0.") {
        println!("skipped: {}", version.lines().next().unwrap_or_default());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (file, mut wrong) = (folder.path().join("m.conf"), Vec::new());
    let alike = ALIKE.iter().map(|(line, is_taken)| (*line, *is_taken, *is_taken));
    let stricter = STRICTER.iter().map(|line| (*line, true, false));
    for (line, theirs, ours) in alike.chain(stricter) {
        let port = free_port();
        fs::write(&file, format!("listener {port} 127.0.0.1\nallow_anonymous true\n{line}\n")).unwrap();
        let is_taken = run(culex(&["check", file.to_str().unwrap()])).status.success();
        let mosquitto = {
            let mut command = Command::new(MOSQUITTO);
            command.arg("-c").arg(&file);
            let running = Running::start_stderr(command);
            std::iter::from_fn(|| running.line()).any(|line| line.ends_with(" running"))
        };
        if (mosquitto, is_taken) != (theirs, ours) {
            wrong.push(format!("{line:?}: mosquitto {mosquitto}, culex {is_taken}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
