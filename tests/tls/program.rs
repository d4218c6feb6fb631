//! The real program behind TLS, and the programs that are run against it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use culex_tests::broker::{Broker, binary};
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};

use crate::authority::{Authority, Identity};

/// The program with one TLS listener, and the files of both sides in a folder.
pub(crate) struct Program {
    pub(crate) broker: Broker,
    pub(crate) authority: Authority,
    pub(crate) folder: tempfile::TempDir,
}

impl Program {
    /// With a certificate for `localhost` of each kind of key, and `more` in `[listener.tls]`.
    pub(crate) fn start(more: impl FnOnce(&tempfile::TempDir, &Authority) -> String) -> Self {
        Self::start_at(0, "", more)
    }

    /// For web pages of these origins; of the same host, if there are none.
    pub(crate) fn websocket(origins: &[&str]) -> Self {
        let origins =
            if origins.is_empty() { String::new() } else { format!("websocket_origins = {origins:?}\n") };
        let listener = format!("protocol = \"websockets\"\nwebsocket_path = \"/mqtt\"\n{origins}");
        Self::start_at(0, &listener, |_, _| String::new())
    }

    /// With these lines in `[[listener]]`.
    fn start_at(
        port: u16,
        listener: &str,
        more: impl FnOnce(&tempfile::TempDir, &Authority) -> String,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("test authority");
        let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        write(&folder, "ca.crt", &authority.pem);
        save(&folder, "ecdsa", &authority.server(&["localhost"]));
        save(&folder, "rsa", &authority.server_with_key(&["localhost"], &rsa));
        let path = |name: &str| folder.path().join(name).display().to_string();
        let toml = format!(
            "[[listener]]\naddress = \"127.0.0.1:{port}\"\n{listener}[listener.tls]\n\
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
    pub(crate) fn asking() -> Self {
        Self::asking_at(0, "")
    }

    /// The same at a port, with `more` in `[listener.tls]`.
    pub(crate) fn asking_at(port: u16, more: &str) -> Self {
        Self::start_at(port, "", |folder, authority| {
            write(folder, "crl.pem", &authority.revoke(&[4711]));
            let path = |name: &str| folder.path().join(name);
            let (ca, crl) = (path("ca.crt"), path("crl.pem"));
            format!("client_ca = {ca:?}\ncrl = {crl:?}\nuse_identity_as_username = true\n{more}")
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A mosquitto client, or one of ours, with the options that they share.
    pub(crate) fn client(&self, program: &str, identity: Option<&Identity>, arguments: &[&str]) -> Output {
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
    pub(crate) fn openssl(&self, arguments: &[&str], typed: &str) -> String {
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

pub(crate) fn write(folder: &tempfile::TempDir, name: &str, text: &str) {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

pub(crate) fn save(folder: &tempfile::TempDir, name: &str, identity: &Identity) {
    write(folder, &format!("{name}.crt"), &identity.certificate);
    write(folder, &format!("{name}.key"), &identity.key);
}

pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
