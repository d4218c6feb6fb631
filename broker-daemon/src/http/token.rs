//! The token of the owner: in the link of the page, and in a file that nobody else can read.

use std::fmt::{self, Write as _};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use subtle::ConstantTimeEq;

/// Its name in the state directory.
const FILE: &str = "http.token";
/// Random bytes; twice as many digits.
const BYTES: usize = 24;

/// What whoever has it may see and publish as the owner's own page.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<str>);

impl Token {
    /// A new one.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn new() -> io::Result<Self> {
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let mut text = String::new();
        for byte in bytes {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Ok(Self(text.into()))
    }

    /// The one in this directory, so that a link stays good. Where there is none, or one that others could have read, a
    /// new one is written there with mode 0600.
    ///
    /// # Errors
    /// If it cannot be written, or the system has no random numbers.
    pub fn kept_in(directory: &Path) -> io::Result<Self> {
        let path = directory.join(FILE);
        if let Some(token) = Self::read(&path) {
            return Ok(token);
        }
        let token = Self::new()?;
        let new = directory.join(format!("{FILE}.new"));
        // What was left over may be anything.
        let _ = fs::remove_file(&new);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(token.0.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        Ok(token)
    }

    fn read(path: &Path) -> Option<Self> {
        let found = path.symlink_metadata().ok()?;
        if !found.is_file() || found.permissions().mode() & 0o077 != 0 {
            return None;
        }
        let mut text = String::new();
        fs::File::open(path).ok()?.take(1024).read_to_string(&mut text).ok()?;
        let text = text.trim_end();
        let is_one = text.len() == 2 * BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_one.then(|| Self(text.into()))
    }

    /// Whether `text` is it; how much of it is right does not show in the time.
    pub fn is(&self, text: &str) -> bool {
        self.0.as_bytes().ct_eq(text.as_bytes()).into()
    }

    /// Itself, for the link.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Without it.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_while_nobody_else_can_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let first = Token::kept_in(directory.path()).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Token::kept_in(directory.path()).unwrap(), first);
        assert!(first.is(first.reveal()) && !first.is("") && !first.is(Token::new().unwrap().reveal()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let second = Token::kept_in(directory.path()).unwrap();
        assert_ne!(second, first);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "short").unwrap();
        assert_ne!(Token::kept_in(directory.path()).unwrap(), second);
    }
}
