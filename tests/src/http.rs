//! HTTP requests as a service gets them.

use std::io::{self, BufRead};

/// Reads a request and gives its body, as long as `Content-Length` says.
///
/// # Errors
///
/// If the stream ends or breaks before, or the length is no number.
pub fn read_body(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut len: usize = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                len = value.parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            }
            _ if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; len];
    stream.read_exact(&mut body)?;
    Ok(body)
}
