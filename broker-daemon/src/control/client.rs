//! One request over the control socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use culex_core::client::describe_io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// A broker that does not answer so long is stuck.
const PATIENCE: Duration = Duration::from_secs(30);
/// More than the largest page.
const REPLY_BYTES_MAX: u64 = 16 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Nobody listens.
    #[error("no broker answers at {}: {}. Is it running? Another one is named by `--socket`, `-p` or `--data-dir`", .path.display(), describe_io(.source))]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The broker went away in between.
    #[error("the broker broke the connection off: {}", describe_io(.0))]
    Broken(io::Error),
    /// It takes too long.
    #[error("the broker did not answer within 30 s")]
    Late,
    /// Not what a broker answers.
    #[error("what answers there is no culex broker")]
    Strange,
}

/// What a broker answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Its body.
    pub body: String,
}

/// Asks the broker behind a socket. `target` is a path with its query, percent-encoded.
///
/// # Errors
/// [`ControlError`].
pub async fn request(socket: &Path, method: &str, target: &str) -> Result<Reply, ControlError> {
    let unreached = |source| ControlError::Connect { path: socket.to_owned(), source };
    let mut stream = UnixStream::connect(socket).await.map_err(unreached)?;
    // HTTP/1.0: the answer ends with the connection, and has no chunks.
    let head = format!("{method} {target} HTTP/1.0\r\nhost: culex\r\n\r\n");
    let exchange = async {
        stream.write_all(head.as_bytes()).await?;
        let mut reply = Vec::new();
        stream.take(REPLY_BYTES_MAX).read_to_end(&mut reply).await?;
        Ok(reply)
    };
    let reply =
        timeout(PATIENCE, exchange).await.map_err(|_| ControlError::Late)?.map_err(ControlError::Broken)?;
    parse(&reply).ok_or(ControlError::Strange)
}

fn parse(reply: &[u8]) -> Option<Reply> {
    let text = std::str::from_utf8(reply).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut words = head.split(' ');
    words.next()?.strip_prefix("HTTP/1.")?;
    let status = words.next()?.parse().ok()?;
    Some(Reply { status, body: body.to_owned() })
}
