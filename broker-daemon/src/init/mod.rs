//! `culex init`: everything that a first broker with a password needs, in one folder, and nothing overwritten.

pub mod authority;
pub mod files;
pub mod guide;
pub mod host;

use std::fmt::Write;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::users::hash::{Hash, Method};

use self::authority::Authority;
use self::files::NewFile;
use self::host::Host;

/// Letters of a password: those that nobody takes for another. 32 of them, so each is 5 bits.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// 100 bits.
const PASSWORD_LENGTH: usize = 20;

/// What is wanted.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The folder, absolute.
    pub folder: PathBuf,
    /// Whether other computers may connect.
    pub is_lan: bool,
    /// Whether connections are secured.
    pub is_tls: bool,
    /// The user of the clients.
    pub user: String,
    /// Where it listens.
    pub port: u16,
    /// More names of this computer for the certificate.
    pub names: Vec<String>,
}

/// What was made up: the files, and what clients need to know.
#[derive(Debug)]
pub struct Made {
    /// The files, of which none exists yet.
    pub files: Vec<NewFile>,
    /// The password of the user; it is nowhere else.
    pub password: String,
    /// The certificate of the authority, in PEM; `None` without TLS.
    pub authority: Option<String>,
    /// The address that clients connect to.
    pub address: IpAddr,
}

/// Files of a folder that `culex init` would write.
pub fn names(is_tls: bool) -> impl Iterator<Item = &'static str> {
    let tls = [CA, CA_KEY, SERVER, SERVER_KEY].into_iter().filter(move |_| is_tls);
    [CONFIG, USERS].into_iter().chain(tls)
}

const CONFIG: &str = "culex.toml";
const USERS: &str = "users";
const CA: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const SERVER: &str = "server.crt";
const SERVER_KEY: &str = "server.key";

/// Makes everything up; writes nothing.
///
/// # Errors
/// If the system gives no random numbers, or a name cannot stand in a certificate.
pub fn make(wanted: &Wanted) -> io::Result<Made> {
    let host = Host::this();
    let password = password()?;
    let hash = Hash::create(Method::Argon2id, password.as_bytes())?;
    let mut files = vec![
        NewFile::public(CONFIG, config(wanted)),
        NewFile::secret(USERS, format!("{}:{hash}\n", wanted.user)),
    ];
    let mut ca = None;
    if wanted.is_tls {
        let authority = Authority::new(&host.name).map_err(io::Error::other)?;
        let server = authority.server(&host.names(&wanted.names)).map_err(io::Error::other)?;
        files.push(NewFile::public(CA, authority.certificate.clone()));
        files.push(NewFile::secret(CA_KEY, authority.key.clone()));
        files.push(NewFile::public(SERVER, server.certificate));
        files.push(NewFile::secret(SERVER_KEY, server.key));
        ca = Some(authority.certificate);
    }
    let lan = host.addresses.iter().copied().find(IpAddr::is_ipv4).filter(|_| wanted.is_lan);
    let address = lan.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    Ok(Made { files, password, authority: ca, address })
}

/// The configuration. Paths are absolute, so that it does not matter where the broker is started.
fn config(wanted: &Wanted) -> String {
    let ip = if wanted.is_lan { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
    let address = SocketAddr::from((ip, wanted.port));
    let path = |name: &str| quoted(&wanted.folder.join(name));
    let mut text = String::from(
        "# Every setting: docs/configuration.md. `culex check -c culex.toml` looks for mistakes.\n\n",
    );
    // Writing to a String cannot fail.
    let _ = writeln!(text, "[[listener]]\naddress = \"{address}\"");
    if wanted.is_tls {
        let _ =
            writeln!(text, "\n[listener.tls]\ncertificate = {}\nkey = {}", path(SERVER), path(SERVER_KEY));
    }
    let _ = writeln!(
        text,
        "\n[auth]\n# `culex passwd {} NAME` adds users, `culex ctl reload` lets them in.\npassword_file = {}",
        path(USERS),
        path(USERS)
    );
    text
}

/// As TOML writes text; `${` begins a reference there unless it is written `$${`.
fn quoted(path: &Path) -> String {
    let mut quoted = String::from("\"");
    for letter in path.to_string_lossy().replace("${", "$${").chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

fn password() -> io::Result<String> {
    let mut random = [0; PASSWORD_LENGTH];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let letter = |byte: &u8| LETTERS.get(usize::from(byte % 32)).map_or('a', |letter| char::from(*letter));
    Ok(random.iter().map(letter).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment};

    #[test]
    fn what_it_writes_is_a_configuration_also_in_a_folder_with_an_odd_name() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a \"b\" $c \\d ${env:HOME}");
        std::fs::create_dir(&folder).unwrap();
        for (is_lan, is_tls) in [(false, false), (true, true)] {
            let wanted = Wanted {
                folder: folder.clone(),
                is_lan,
                is_tls,
                user: "u".into(),
                port: 1,
                names: Vec::new(),
            };
            let text = config(&wanted);
            let path = folder.join(CONFIG);
            std::fs::write(&path, &text).unwrap();
            let read = Config::load(Some(&path), &Environment::default()).unwrap();
            assert_eq!(read.auth.password_file.as_deref(), Some(folder.join(USERS).as_path()), "{text}");
            assert_eq!(read.listeners[0].address.is_local(), !is_lan);
            assert_eq!(read.listeners[0].tls.is_some(), is_tls);
        }
    }

    #[test]
    fn passwords_are_long_and_differ() {
        let made = password().unwrap();
        assert_eq!(made.len(), PASSWORD_LENGTH);
        assert!(made.bytes().all(|letter| LETTERS.contains(&letter)));
        assert_ne!(made, password().unwrap());
    }
}
