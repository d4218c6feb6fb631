//! Errors in words that a person can act on.

use std::io::{self, Write};

use crate::config::ConfigError;
pub use culex_core::client::describe_io as io;

/// Writes one error to standard error. If even that is closed there is nobody to tell.
pub fn complain(message: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "error: {message}");
}

/// Writes all errors of a configuration.
pub fn complain_all(error: &ConfigError) {
    error.problems().iter().for_each(complain);
}

/// Writes one note to standard error.
pub fn note(message: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{message}");
}

/// Writes to standard output; a closed pipe (`| head`) is no error.
///
/// # Errors
/// Any other failure, such as a full disk.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
