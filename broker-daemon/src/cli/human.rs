//! Errors in words that a person can act on.

use std::io::{self, Write};

/// An I/O error without "(os error 111)", in lower case as the end of a sentence.
pub fn io(error: &io::Error) -> String {
    let text = error.to_string();
    // As the standard library begins what the resolver says.
    let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
    let text = text.split(" (os error").next().unwrap_or_default().trim_end_matches('.');
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => error.kind().to_string(),
    }
}

/// Writes one error to standard error. If even that is closed there is nobody to tell.
pub fn complain(message: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "error: {message}");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_read_as_sentences() {
        assert_eq!(io(&io::Error::from_raw_os_error(2)), "no such file or directory");
        assert_eq!(io(&io::Error::from(io::ErrorKind::TimedOut)), "timed out");
        assert_eq!(io(&io::Error::other("")), "other error");
    }
}
