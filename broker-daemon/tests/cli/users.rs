//! Users of a real broker, beside those of mosquitto with the same files.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::harness::{Broker, Tools, culex, has_mosquitto, run, run_ok, run_with, text};

/// A folder with a password file.
struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn users(&self) -> PathBuf {
        self.path("users")
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A configuration with these listeners, and the users.
    fn config(&self, listeners: &str) -> PathBuf {
        let users = self.users();
        let auth = format!("[auth]\npassword_file = {:?}\n", str(&users));
        self.write("culex.toml", &format!("{listeners}{auth}[log]\nlevel = \"error\"\n"))
    }
}

fn str(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A connection that has sent a CONNECT with these credentials.
fn connect(port: u16, user: Option<&[u8]>, password: Option<&[u8]>) -> TcpStream {
    let mut flags = 2;
    let mut payload = vec![0, 0];
    for (field, flag) in [(user, 0x80), (password, 0x40)] {
        if let Some(bytes) = field {
            flags |= flag;
            payload.extend((bytes.len() as u16).to_be_bytes());
            payload.extend(bytes);
        }
    }
    let body = [&[0, 4, b'M', b'Q', b'T', b'T', 4, flags, 0, 60][..], &payload].concat();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(&[&[0x10, u8::try_from(body.len()).unwrap()][..], &body].concat()).unwrap();
    stream
}

/// The Return Code of its CONNACK.
fn connack(stream: &mut TcpStream) -> u8 {
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).unwrap();
    assert_eq!(connack[..2], [0x20, 2]);
    connack[3]
}

fn code(port: u16, user: Option<&[u8]>, password: Option<&[u8]>) -> u8 {
    connack(&mut connect(port, user, password))
}

const LOCAL: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\n";

fn serve(config: &Path) -> Broker {
    Broker::culex_at(&["-c", str(config)])
}

#[test]
fn users_are_made_changed_and_removed() {
    let folder = Folder::new();
    let users = folder.users();
    let file = str(&users);
    let lines = || fs::read_to_string(&users).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
    let passwd =
        |arguments: &[&str], stdin: &[u8]| run_with(culex(&[&["passwd"], arguments].concat()), stdin);
    let refused = |arguments: &[&str], expected: &str| {
        let output = passwd(arguments, b"");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(text(&output.stderr).contains(expected), "{arguments:?}: {}", text(&output.stderr));
    };

    refused(&[file, "ann"], "`culex passwd -c` makes it");
    let made = passwd(&["-c", file, "ann"], b"annpw\nsecond line\n");
    assert_eq!(text(&made.stdout), format!("ann is added in {file}\n"), "{}", text(&made.stderr));
    assert_eq!(fs::metadata(&users).unwrap().mode() & 0o777, 0o600);
    assert!(lines()[0].starts_with("ann:$argon2id$v=19$m=19456,t=2,p=1$"), "{:?}", lines());

    assert!(run_ok(culex(&["passwd", "--compat", "-b", file, "bob", "bobpw"])).contains("bob is added"));
    assert!(run_ok(culex(&["passwd", "-H", "sha512", "-b", file, "eve", "evepw"])).contains("eve is added"));
    assert!(lines()[1].starts_with("bob:$7$210000$") && lines()[2].starts_with("eve:$6$"), "{:?}", lines());
    let before = lines();
    assert!(
        run_ok(culex(&["passwd", "-I", "7", "-H", "sha512-pbkdf2", "-b", file, "bob", "new"]))
            .contains("has a new")
    );
    assert!(lines()[1].starts_with("bob:$7$7$"));
    assert_eq!((lines()[0].as_str(), lines().len()), (before[0].as_str(), 3), "others stay as they are");

    refused(&["-D", file, "zoe"], "has no user zoe");
    refused(&["-b", file, "a:b", "x"], "cannot have `:`");
    refused(&["-b", file, "a\nb", "x"], "control characters");
    refused(&["-b", file, "zoe", ""], "cannot be empty");
    refused(&[file, "zoe"], "the input ended");
    assert!(run_ok(culex(&["passwd", "-D", file, "eve"])).contains("eve is removed"));
    assert_eq!(lines().len(), 2);

    fs::write(&users, format!("# plain\nzoe:zoe:pw\n{}\n", before[0])).unwrap();
    assert!(run_ok(culex(&["passwd", "-U", file])).contains("1 plain passwords are hashed"));
    assert!(lines()[1].starts_with("zoe:$argon2id$") && lines()[2] == before[0], "{:?}", lines());
    fs::write(&users, "zoe\n").unwrap();
    let output = passwd(&["-b", file, "ann", "x"], b"");
    assert!(text(&output.stderr).contains(":1:1: this line has no `:`"), "{}", text(&output.stderr));

    for usage in [
        &["-b", file, "ann"][..],
        &[file],
        &["-U", file, "ann"],
        &["-c", "-D", file, "ann"],
        &[file, "ann", "x"],
    ] {
        assert_eq!(passwd(usage, b"").status.code(), Some(2), "{usage:?}");
    }
    assert_eq!(fs::read_dir(folder.folder.path()).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn a_broker_asks_for_passwords() {
    let folder = Folder::new();
    let users = folder.users();
    run_ok(culex(&["passwd", "-c", "-b", str(&users), "ann", "annpw"]));
    let config = folder.config(&(LOCAL.to_owned() + LOCAL + "allow_anonymous = true\n"));
    assert!(run_ok(culex(&["check", str(&config)])).contains("is correct"));
    let broker = serve(&config);
    let open = broker.running.line_with("listening on ").rsplit(':').next().unwrap().parse().unwrap();
    broker.running.line_with("as one of 1 user, with its password, or without a name");
    for tools in [Tools::Culex, Tools::Mosquitto] {
        if tools == Tools::Mosquitto && !has_mosquitto() {
            continue;
        }
        let publish = |login: &[&str]| {
            run(tools.publish(&broker, &[&["-t", "a", "-m", "x", "-q", "1"], login].concat()))
        };
        assert_eq!(publish(&["-u", "ann", "-P", "annpw"]).status.code(), Some(0), "{tools:?}");
        for login in [&["-u", "ann", "-P", "wrong"][..], &["-u", "bob", "-P", "annpw"], &[]] {
            assert_ne!(publish(login).status.code(), Some(0), "{tools:?} {login:?}");
        }
    }
    // [MQTT-3.1.2-21], and what CVE-2026-32696 confused: an absent user name is not an empty one.
    let port = broker.port;
    for (port, user, password, expected) in [
        (port, Some(&b"ann"[..]), Some(&b"annpw"[..]), 0),
        (port, Some(b"ann"), Some(b"annpw\0x"), 4),
        (port, Some(b"ann"), None, 4),
        (port, Some(b""), None, 4),
        (port, Some(b""), Some(b""), 4),
        (port, None, None, 5),
        (open, None, None, 0),
        (open, Some(b""), None, 4),
        (open, Some(b"ann"), None, 4),
        (open, Some(b"ann"), Some(b"annpw"), 0),
    ] {
        assert_eq!(code(port, user, password), expected, "{} {user:?} {password:?}", port == open);
    }
    assert_eq!(broker.running.terminate(), Some(0));
}

#[test]
fn cve_2018_12550_and_12551_a_password_file_with_a_mistake_stops_the_start() {
    let folder = Folder::new();
    let config = folder.config("[[listener]]\naddress = \"0.0.0.0:0\"\n");
    let complaint = |expected: &str| {
        for arguments in [&["-c", str(&config)][..], &["check", str(&config)]] {
            let output = run(culex(arguments));
            assert_eq!(output.status.code(), Some(1), "{arguments:?}");
            let stderr = text(&output.stderr);
            assert!(stderr.contains(str(&folder.users())) && stderr.contains(expected), "{stderr}");
        }
    };
    complaint("cannot read this password file: no such file");
    folder.write("users", "");
    complaint("has no user, so nobody could connect");
    folder.write("users", "# users\nann:$6$\nbob\neve:secret\n");
    for expected in ["users:2:5: ", "users:3:1: ", "users:4:5: the password is not hashed", "culex passwd -U"]
    {
        complaint(expected);
    }
}

#[test]
fn users_are_read_again_all_or_none() {
    let folder = Folder::new();
    let users = folder.users();
    run_ok(culex(&["passwd", "-c", "-b", str(&users), "ann", "annpw"]));
    let (config, state) = (folder.config(LOCAL), folder.path("state"));
    let broker = Broker::culex_at(&["-c", str(&config), "--data-dir", str(&state)]);
    let reload = || run(culex(&["ctl", "--data-dir", str(&state), "reload"]));
    let may =
        |user: &str, password: &str| code(broker.port, Some(user.as_bytes()), Some(password.as_bytes()));
    let mut connected = connect(broker.port, Some(b"ann"), Some(b"annpw"));
    assert_eq!(connack(&mut connected), 0);
    run_ok(culex(&["passwd", "-b", str(&users), "bob", "bobpw"]));
    assert_eq!(may("bob", "bobpw"), 4);
    assert_eq!(reload().status.code(), Some(0));
    assert_eq!((may("bob", "bobpw"), may("ann", "annpw")), (0, 0));
    let good = fs::read_to_string(&users).unwrap();
    fs::write(&users, good.clone() + "eve\n").unwrap();
    let refused = reload();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("users:3:1: this line has no `:`"), "{}", text(&refused.stderr));
    fs::write(&users, good.lines().nth(1).unwrap()).unwrap();
    assert_eq!(may("ann", "annpw"), 0, "it is not read by itself");
    assert_eq!(reload().status.code(), Some(0));
    assert_eq!((may("ann", "annpw"), may("bob", "bobpw")), (4, 0));
    // Who is connected stays.
    connected.write_all(&[0xc0, 0]).unwrap();
    let mut answer = [0; 2];
    connected.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0xd0, 0]);
    assert_eq!(broker.running.terminate(), Some(0));
}

#[test]
fn cve_2018_12546_a_retained_message_goes_with_the_right_of_its_publisher() {
    let folder = Folder::new();
    run_ok(culex(&["passwd", "-c", "-b", str(&folder.users()), "ann", "pw"]));
    run_ok(culex(&["passwd", "-b", str(&folder.users()), "bob", "pw"]));
    let (with, without) =
        ("user ann\ntopic home/#\nuser bob\ntopic #\n", "user ann\ntopic read home/#\nuser bob\ntopic #\n");
    folder.write("acl", with);
    let state = folder.path("state");
    let checks = |is_checked: &str| {
        folder.config(&format!("{LOCAL}[acl]\nfile = {:?}\n{is_checked}\n", str(&folder.path("acl"))))
    };
    let start = |config: &Path| Broker::culex_at(&["-c", str(config), "--data-dir", str(&state)]);
    let reload = || run_ok(culex(&["ctl", "--data-dir", str(&state), "reload"]));
    let retain = |broker: &Broker, user: &str, topic: &str| {
        let message = ["-u", user, "-P", "pw", "-r", "-q", "1", "-t", topic, "-m", "x"];
        run_ok(Tools::Culex.publish(broker, &message));
    };
    // What comes first of two subscriptions, of which the second always has something.
    let found = |broker: &Broker| {
        let filters = ["-u", "bob", "-P", "pw", "-v", "-C", "1", "-t", "home/#", "-t", "last"];
        run_ok(Tools::Culex.subscribe(broker, &filters)).trim().to_owned()
    };
    let broker = start(&checks(""));
    retain(&broker, "bob", "last");
    retain(&broker, "ann", "home/door");
    assert_eq!(found(&broker), "home/door x");
    folder.write("acl", without);
    reload();
    assert_eq!(found(&broker), "last x");
    // Killed and started again, it still knows whose it is.
    broker.running.signal("KILL");
    broker.running.ended();
    let broker = start(&checks(""));
    assert_eq!(found(&broker), "last x");
    checks("check_retain_source = false");
    reload();
    assert_eq!(found(&broker), "home/door x");
    checks("check_retain_source = true");
    folder.write("acl", with);
    reload();
    assert_eq!(found(&broker), "home/door x");
    assert_eq!(broker.running.terminate(), Some(0));
}

/// Each guess costs a hash of tens of milliseconds, but none of the threads that serve who is connected.
#[test]
fn password_guessing_and_slow_hashes_hold_up_nobody_who_is_connected() {
    const GUESSES: usize = 200;
    let folder = Folder::new();
    run_ok(culex(&["passwd", "-c", "-b", str(&folder.users()), "ann", "annpw"]));
    let broker = serve(&folder.config(LOCAL));
    let mut canary = connect(broker.port, Some(b"ann"), Some(b"annpw"));
    assert_eq!(connack(&mut canary), 0);
    // Ten times the 0.3 s that it may take at the most: this catches a hang, not a slowdown.
    canary.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    let mut guessers: Vec<_> = (0..GUESSES)
        .map(|number| connect(broker.port, Some(format!("user{number}").as_bytes()), Some(b"guess")))
        .collect();
    let mut answer = [0; 2];
    for _ in 0..50 {
        canary.write_all(&[0xc0, 0]).unwrap();
        canary.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [0xd0, 0]);
    }
    // Refused, or not served in time: nobody is forgotten, and nobody let in.
    for guesser in &mut guessers {
        let code = connack(guesser);
        assert!(code == 4 || code == 3, "{code}");
    }
    assert_eq!(code(broker.port, Some(b"ann"), Some(b"annpw")), 0);
    assert_eq!(broker.running.terminate(), Some(0));
}

/// Debian's broker with a password file.
fn mosquitto(folder: &Folder) -> Broker {
    // It gives up root, and then must still be able to read the file.
    run_ok({
        let mut command = Command::new("chmod");
        command.args(["a+rX", str(folder.folder.path()), str(&folder.users())]);
        command
    });
    Broker::mosquitto_with(|port| {
        let users = folder.users();
        let config =
            format!("listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\n", str(&users));
        folder.write("mosquitto.conf", &config)
    })
}

/// Files of each kind decide as they do in mosquitto, but for what docs/users.md says.
#[test]
fn the_same_file_decides_as_in_mosquitto() {
    if !has_mosquitto() {
        return;
    }
    let folder = Folder::new();
    let users = folder.users();
    fs::write(&users, "# from several programs\n\n").unwrap();
    let mut names = Vec::new();
    for number in 0..24 {
        let (name, password) = (format!("user{number}"), format!("pass word{number}ö"));
        match number % 4 {
            kind @ (0 | 1) => {
                let mut command = Command::new("mosquitto_passwd");
                let hash = if kind == 0 { "sha512" } else { "sha512-pbkdf2" };
                command.args(["-H", hash, "-b", str(&users), &name, &password]);
                run_ok(command);
            }
            2 => {
                drop(run_ok(culex(&["passwd", "-I", "500", "--compat", "-b", str(&users), &name, &password])))
            }
            _ => drop(run_ok(culex(&["passwd", "-H", "sha512", "-b", str(&users), &name, &password]))),
        }
        names.push((name.into_bytes(), password.into_bytes()));
    }
    let theirs = mosquitto(&folder);
    let mut cases = BTreeSet::new();
    for (place, (name, password)) in names.iter().enumerate() {
        let other = &names[(place + 1) % names.len()].1;
        let beginning = &password[..password.len() - 2];
        let passwords = [
            Some(password.clone()),
            Some(other.clone()),
            Some(beginning.to_vec()),
            Some([password, &b"x"[..]].concat()),
            Some([password, &b" "[..]].concat()),
            Some([password, &b"\0x"[..]].concat()),
            Some([password, &b"\0"[..]].concat()),
            Some(password.to_ascii_uppercase()),
            Some(Vec::new()),
            None,
        ];
        for password in passwords {
            cases.insert((Some(name.clone()), password.clone()));
            cases.insert((Some([name, &b"x"[..]].concat()), password.clone()));
            cases.insert((Some(name.to_ascii_uppercase()), password));
        }
    }
    cases.extend([(None, None), (Some(Vec::new()), Some(Vec::new())), (Some(Vec::new()), None)]);
    // A broker for a few cases each, so that nobody's failures make the next attempt wait.
    let cases: Vec<_> = cases.into_iter().collect();
    let config = folder.config(LOCAL);
    let (mut accepted, mut different) = (0, 0);
    let mut ours = serve(&config);
    let mut last = None;
    let mut failures = 0;
    for (user, password) in &cases {
        if last != Some(user) {
            (last, failures) = (Some(user), 0);
        } else if failures == 3 {
            (ours, failures) = (serve(&config), 0);
        }
        let theirs = code(theirs.port, user.as_deref(), password.as_deref()) == 0;
        let ours = code(ours.port, user.as_deref(), password.as_deref()) == 0;
        accepted += usize::from(ours);
        failures += usize::from(!ours);
        let is_cut = password.as_ref().is_some_and(|password| password.contains(&0));
        if is_cut && theirs && !ours {
            // It compares as C strings: with the part before the NUL.
            different += 1;
        } else {
            assert_eq!(ours, theirs, "{:?} {:?}", user.as_deref().map(text), password.as_deref().map(text));
        }
    }
    println!(
        "{} cases, {accepted} accepted, {different} with a NUL accepted by mosquitto alone",
        cases.len()
    );
    assert_eq!(accepted, names.len());
}
