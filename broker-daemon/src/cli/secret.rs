//! Passwords that a user types: without echo and twice on a terminal, else a line of standard input.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// As long as an MQTT password can be [MQTT-3.1.3.5].
const BYTES_MAX: u64 = 65_535;

/// Asks for a new password.
///
/// # Errors
/// What to tell the user.
pub(super) fn ask_new(user: &str) -> Result<Vec<u8>, String> {
    let stdin = io::stdin();
    let password = if stdin.is_terminal() {
        let first = ask(&format!("Password for {user}: "))?;
        if ask("Once more: ")? != first {
            return Err("these were two different passwords; nothing is changed".to_owned());
        }
        first
    } else {
        read_line(&mut stdin.lock())?
    };
    check(password)
}

/// Whether this can be a password.
///
/// # Errors
/// Why not.
pub(super) fn check(password: Vec<u8>) -> Result<Vec<u8>, String> {
    if password.is_empty() {
        return Err("a password cannot be empty".to_owned());
    }
    if password.len() as u64 > BYTES_MAX {
        return Err("a password has at most 65,535 bytes in MQTT".to_owned());
    }
    Ok(password)
}

fn ask(prompt: &str) -> Result<Vec<u8>, String> {
    // On standard error: what the program prints may go to a file.
    let mut terminal = io::stderr();
    let _ = write!(terminal, "{prompt}").and_then(|()| terminal.flush());
    let quiet = Quiet::start().map_err(|error| describe(&error))?;
    let line = read_line(&mut io::stdin().lock());
    drop(quiet);
    let _ = writeln!(terminal);
    line
}

/// One line without its end. It may be any bytes.
fn read_line(input: &mut impl BufRead) -> Result<Vec<u8>, String> {
    let mut line = Vec::new();
    let count = input.take(BYTES_MAX + 3).read_until(b'\n', &mut line).map_err(|error| describe(&error))?;
    if count == 0 {
        return Err("no password: the input ended".to_owned());
    }
    if line.ends_with(b"\n") {
        line.pop();
        if line.ends_with(b"\r") {
            line.pop();
        }
    }
    Ok(line)
}

fn describe(error: &io::Error) -> String {
    format!("cannot read a password: {}", super::human::io(error))
}

/// The terminal shows nothing of what is typed until this is dropped.
struct Quiet(Termios);

impl Quiet {
    fn start() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that has gone needs no echo.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_bytes_without_its_end() {
        for (input, expected) in [
            (&b"secret\nmore"[..], &b"secret"[..]),
            (b"secret\r\n", b"secret"),
            (b"secret", b"secret"),
            (b" a\0\xff \n", b" a\0\xff "),
            (b"\n", b""),
        ] {
            assert_eq!(read_line(&mut &*input).unwrap(), expected);
        }
        assert!(read_line(&mut &b""[..]).is_err());
        assert!(check(Vec::new()).is_err());
        assert!(check(read_line(&mut &vec![b'a'; 70_000][..]).unwrap()).is_err());
    }
}
