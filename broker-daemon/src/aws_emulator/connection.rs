//! Carries bytes between a stream and the service, and waits: all that is not deterministic by itself.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use super::Shared;
use super::poll::End;
use super::registry::PeerIdentity;

const READ_BYTES: usize = 16 << 10;
/// Nothing more is taken from the service while so much waits for the peer.
const PENDING_BYTES_MAX: usize = 64 << 10;
/// So long the last bytes may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves one connection until it ends.
pub(super) async fn carry<S: AsyncRead + AsyncWrite>(shared: Arc<Shared>, stream: S, identity: PeerIdentity) {
    let wake = Arc::new(Notify::new());
    let Some(id) = shared.lock().open(identity, Arc::clone(&wake), Instant::now()) else { return };
    let guard = Guard { shared, id };
    let shared = &guard.shared;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (mut pending, mut is_flushed) = (Vec::new(), true);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let step = shared.lock().poll(id, pending.len() < PENDING_BYTES_MAX, Instant::now());
        pending.extend_from_slice(&step.bytes);
        if let Some(end) = step.end {
            let farewell = async {
                writer.write_all(&pending).await?;
                writer.flush().await?;
                if end == End::Closed { writer.shutdown().await } else { Ok(()) }
            };
            // Who does not listen any more misses it.
            let _ = timeout(FAREWELL, farewell).await;
            return;
        }
        tokio::select! {
            biased;
            () = wake.notified() => {}
            result = write_some(&mut writer, &pending), if !pending.is_empty() || !is_flushed => match result {
                Ok(written) => {
                    is_flushed = pending.is_empty();
                    pending.drain(..written);
                }
                Err(_) => return,
            },
            result = reader.read(&mut buffer), if step.reads => match result {
                Ok(0) | Err(_) => return,
                Ok(count) => {
                    let bytes = buffer.get(..count).unwrap_or_default();
                    shared.lock().receive(id, bytes, Instant::now());
                }
            },
            () = sleep_until(step.wake.unwrap_or_else(Instant::now)), if step.wake.is_some() => {}
        }
    }
}

/// Writes what can be written; if nothing is left, sees to it that it leaves. May be given up at any time.
async fn write_some<W: AsyncWrite + Unpin>(writer: &mut W, pending: &[u8]) -> io::Result<usize> {
    if pending.is_empty() {
        return writer.flush().await.map(|()| 0);
    }
    match writer.write(pending).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        written => Ok(written),
    }
}

/// Tells the service that the connection is gone, also if its task is ended.
struct Guard {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.shared.lock().lost(self.id, Instant::now());
    }
}
