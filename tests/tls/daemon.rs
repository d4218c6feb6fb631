//! The real program with real clients: mosquitto's, OpenSSL's, paho and its own.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use culex_tests::broker::Broker;
use culex_tests::parse::Received;
use culex_tests::wire::Connect;
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize, SerialNumber};

use crate::authority::{Authority, Identity};
use crate::peer::{BOTH, Peer, client_config, eventually};

/// The program with one TLS listener, and the files of both sides in a folder.
pub(crate) struct Program {
    pub(crate) broker: Broker,
    pub(crate) authority: Authority,
    folder: tempfile::TempDir,
}

impl Program {
    /// With a certificate for `localhost` of each kind of key, and `more` in `[listener.tls]`.
    fn start(more: impl FnOnce(&tempfile::TempDir, &Authority) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("test authority");
        let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        write(&folder, "ca.crt", &authority.pem);
        save(&folder, "ecdsa", &authority.server(&["localhost"]));
        save(&folder, "rsa", &authority.server_with_key(&["localhost"], &rsa));
        let path = |name: &str| folder.path().join(name).display().to_string();
        let toml = format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\n[listener.tls]\n\
             certificate = [{:?}, {:?}]\nkey = [{:?}, {:?}]\n{}\n",
            path("ecdsa.crt"),
            path("rsa.crt"),
            path("ecdsa.key"),
            path("rsa.key"),
            more(&folder, &authority),
        );
        Self { broker: Broker::start_with_config(&toml), authority, folder }
    }

    pub(crate) fn plain() -> Self {
        Self::start(|_, _| String::new())
    }

    /// With client certificates, whose name is the user name.
    fn asking() -> Self {
        Self::start(|folder, authority| {
            write(folder, "crl.pem", &authority.revoke(&[4711]));
            let path = |name: &str| folder.path().join(name);
            let (ca, crl) = (path("ca.crt"), path("crl.pem"));
            format!("client_ca = {ca:?}\ncrl = {crl:?}\nuse_identity_as_username = true")
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A mosquitto client, or one of ours, with the options that they share.
    fn client(&self, program: &str, identity: Option<&Identity>, arguments: &[&str]) -> Output {
        let mut command = match program.strip_prefix("culex ") {
            Some(sub_command) => {
                let mut command = Command::new(binary());
                command.arg(sub_command);
                command
            }
            None => Command::new(program),
        };
        let port = self.broker.addr.port().to_string();
        command.args(["-h", "localhost", "-p", &port, "--cafile"]).arg(self.path("ca.crt"));
        if let Some(identity) = identity {
            save(&self.folder, "client", identity);
            command.arg("--cert").arg(self.path("client.crt"));
            command.arg("--key").arg(self.path("client.key"));
        }
        command.args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// `openssl s_client` with something to type; without, it ends after the handshake.
    fn openssl(&self, arguments: &[&str], typed: &str) -> String {
        let mut child = Command::new("openssl")
            .args(["s_client", "-connect", &self.broker.addr.to_string(), "-servername", "localhost"])
            .arg("-CAfile")
            .arg(self.path("ca.crt"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take();
        if let Some(stdin) = &mut stdin {
            // Who was refused does not listen.
            let _ = stdin.write_all(typed.as_bytes());
        }
        let kept_open = stdin.filter(|_| !typed.is_empty());
        let output = child.wait_with_output().unwrap();
        drop(kept_open);
        text(&output)
    }
}

fn write(folder: &tempfile::TempDir, name: &str, text: &str) {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn save(folder: &tempfile::TempDir, name: &str, identity: &Identity) {
    write(folder, &format!("{name}.crt"), &identity.certificate);
    write(folder, &format!("{name}.key"), &identity.key);
}

/// The program beside this test; a broker was started by then, so it is built.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("CULEX_BIN") {
        return path.into();
    }
    std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("culex")
}

/// Whether a program is there; `CULEX_REQUIRE_CLIENTS` says that it must be.
fn has(program: &str) -> bool {
    let is_there = Command::new(program).arg("--help").output().is_ok();
    assert!(is_there || std::env::var_os("CULEX_REQUIRE_CLIENTS").is_none(), "there is no {program}");
    is_there
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn clients_of_mosquitto_and_our_own_talk_through_tls() {
    if !has("mosquitto_pub") {
        return;
    }
    let program = Program::plain();
    let large = "x".repeat(100_000);
    for (publisher, subscriber) in
        [("mosquitto_pub", "culex sub"), ("culex pub", "mosquitto_sub"), ("mosquitto_pub", "mosquitto_sub")]
    {
        for version in ["tlsv1.2", "tlsv1.3"] {
            for payload in ["short", &large] {
                let said = ["--tls-version", version, "-t", "a/b", "-q", "1", "-r", "-m", payload];
                let published = program.client(publisher, None, &said);
                assert!(published.status.success(), "{publisher} {version}: {}", text(&published));
                let asked = ["--tls-version", version, "-t", "a/#", "-q", "1", "-C", "1", "-W", "20"];
                let heard = program.client(subscriber, None, &asked);
                assert!(text(&heard).trim() == payload, "{subscriber} {version}: {}", text(&heard));
            }
        }
    }
}

#[test]
fn only_certificates_that_are_good_come_in() {
    if !has("mosquitto_pub") {
        return;
    }
    let program = Program::asking();
    let foreign = Authority::new("somebody else");
    let publish = ["-t", "a", "-m", "hi", "-q", "1", "-u", "?SDK=Python&Version=1.0"];
    let good = program.authority.client("ann");
    for publisher in ["mosquitto_pub", "culex pub"] {
        let published = program.client(publisher, Some(&good), &publish);
        assert!(published.status.success(), "{publisher}: {}", text(&published));
    }
    let revoked = program.authority.client_with("ann", |params| {
        params.serial_number = Some(SerialNumber::from(4711));
    });
    for (identity, reason) in [
        (None, "shows no certificate"),
        (Some(foreign.client("ann")), "not signed by a CA of client_ca"),
        (Some(program.authority.expired_client("ann")), "certificate has expired"),
        (Some(revoked), "is revoked"),
        (Some(program.authority.server(&["localhost"])), "not one for clients"),
    ] {
        let published = program.client("mosquitto_pub", identity.as_ref(), &publish);
        assert!(!published.status.success(), "{reason}");
        // The line may come later than the alert.
        assert!(eventually(|| program.broker.log().contains(reason)), "{reason}:\n{}", program.broker.log());
    }
}

#[test]
fn nothing_old_or_weak_is_spoken() {
    if !has("openssl") {
        return;
    }
    let program = Program::plain();
    for (version, cipher) in [
        ("-tls1", "ALL"),
        ("-tls1_1", "ALL"),
        ("-tls1_2", "NULL"),
        ("-tls1_2", "aNULL"),
        ("-tls1_2", "kRSA"),
        ("-tls1_2", "DHE"),
        ("-tls1_2", "PSK"),
        ("-tls1_2", "ECDHE-RSA-AES128-SHA"),
        ("-tls1_2", "ECDHE-ECDSA-AES256-SHA384"),
    ] {
        let cipher = &format!("{cipher}:@SECLEVEL=0");
        let said = program.openssl(&[version, "-psk", "c0ffee", "-cipher", cipher], "");
        assert!(said.contains("alert") && said.contains("Cipher is (NONE)"), "{version} {cipher}: {said}");
    }
    for cipher in [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES256-GCM-SHA384",
    ] {
        let said = program.openssl(&["-tls1_2", "-cipher", cipher, "-max_send_frag", "512"], "");
        assert!(said.contains(&format!("Cipher is {cipher}")), "{cipher}: {said}");
        assert!(said.contains("Verify return code: 0 (ok)"), "{cipher}: {said}");
    }
    let said = program.openssl(&["-tls1_3"], "");
    assert!(said.contains("TLSv1.3, Cipher is TLS_"), "{said}");
    let said = program.openssl(&["-tls1_2"], "R\n");
    assert!(said.contains("RENEGOTIATING") && said.contains("no renegotiation"), "{said}");
}

#[test]
fn the_smallest_version_may_be_raised() {
    if !has("openssl") {
        return;
    }
    let program = Program::start(|_, _| "min_version = \"1.3\"".to_owned());
    assert!(program.openssl(&["-tls1_2"], "").contains("alert protocol version"));
    assert!(program.openssl(&["-tls1_3"], "").contains("TLSv1.3, Cipher is TLS_"));
}

#[test]
fn application_protocols_are_those_of_mqtt() {
    if !has("openssl") {
        return;
    }
    let program = Program::plain();
    for (offered, expected) in [
        ("mqtt", "ALPN protocol: mqtt"),
        ("x-amzn-mqtt-ca", "ALPN protocol: x-amzn-mqtt-ca"),
        ("h2,mqtt", "ALPN protocol: mqtt"),
        ("h2", "alert no application protocol"),
    ] {
        let said = program.openssl(&["-alpn", offered], "");
        assert!(said.contains(expected), "{offered}: {said}");
    }
    assert!(program.openssl(&[], "").contains("No ALPN negotiated"));
}

#[test]
fn sessions_are_resumed_in_both_versions() {
    if !has("openssl") {
        return;
    }
    let program = Program::plain();
    for version in ["-tls1_2", "-tls1_3"] {
        let session = program.path("session").display().to_string();
        // A ticket of 1.3 comes behind the handshake; the broker closes for the line, and that comes behind the ticket.
        let said = program.openssl(&[version, "-sess_out", &session, "-ign_eof"], "no MQTT\n");
        assert!(said.contains("New, TLSv1"), "{said}");
        let said = program.openssl(&[version, "-sess_in", &session], "");
        assert!(said.contains("Reused, TLSv1"), "{version}: {said}");
    }
}

#[test]
fn new_files_are_in_force_after_a_hangup_and_wrong_ones_are_not() {
    let program = Program::plain();
    let mut stays = Peer::open(program.broker.addr, client_config(&program.authority, &BOTH, None));
    stays.send(Connect::new("stays").encode()).unwrap();
    assert!(matches!(stays.next(), Ok(Received::ConnAck { code: 0, .. })));
    let hang_up = || {
        let pid = program.broker.pid().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    };
    let connects = |authority: &Authority| {
        let mut peer = Peer::open(program.broker.addr, client_config(authority, &BOTH, None));
        peer.send(Connect::new("new").encode()).is_ok() && peer.next().is_ok()
    };
    // The certificate of another authority, and the key of this one.
    let other = Authority::new("another authority");
    let identity = other.server(&["localhost"]);
    write(&program.folder, "ecdsa.crt", &identity.certificate);
    hang_up();
    assert!(eventually(|| program.broker.log().contains("nothing was changed")), "{}", program.broker.log());
    assert!(program.broker.log().contains("does not match the certificate"), "{}", program.broker.log());
    assert!(connects(&program.authority) && !connects(&other));
    save(&program.folder, "ecdsa", &identity);
    hang_up();
    assert!(eventually(|| program.broker.log().contains("was read again")), "{}", program.broker.log());
    assert!(connects(&other) && !connects(&program.authority));
    stays.send([0xc0, 0]).unwrap();
    assert_eq!(stays.next().unwrap(), Received::PingResp);
}

#[test]
fn a_program_of_paho_connects_with_a_certificate() {
    const PAHO: &str = "import sys, ssl, paho.mqtt.client as mqtt
host, port, ca, cert, key = sys.argv[1:]
try: client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION1)
except AttributeError: client = mqtt.Client()
client.tls_set(ca_certs=ca, certfile=cert, keyfile=key, tls_version=ssl.PROTOCOL_TLS_CLIENT)
client.on_connect = lambda c, *a: c.subscribe('echo', 2)
client.on_subscribe = lambda c, *a: c.publish('echo', 'back', 2)
def heard(c, _, message):
    print(message.payload.decode(), flush=True)
    c.disconnect()
client.on_message = heard
client.connect(host, int(port))
client.loop_forever()
";
    let program = Program::asking();
    save(&program.folder, "ann", &program.authority.client("ann"));
    let cache = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.cache/interop");
    for paho in ["paho1", "paho2"] {
        let python = cache.join(paho).join("bin/python");
        if !python.exists() {
            assert!(std::env::var_os("CULEX_REQUIRE_CLIENTS").is_none(), "there is no {}", python.display());
            continue;
        }
        let output = Command::new(python)
            .args(["-W", "ignore", "-c", PAHO, "localhost", &program.broker.addr.port().to_string()])
            .args([program.path("ca.crt"), program.path("ann.crt"), program.path("ann.key")])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(text(&output).trim(), "back", "{paho}");
    }
}
