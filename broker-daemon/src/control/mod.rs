//! The control socket: a Unix socket that belongs to whom the broker belongs to, and speaks HTTP.

mod client;

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

pub use self::client::{ControlError, Reply, request};

/// Its name in the state directory.
pub const FILE: &str = "control.sock";

/// A socket that is listened on; its file is removed when this is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    listener: Option<UnixListener>,
    path: PathBuf,
}

impl ControlSocket {
    /// Listens on `path`, for this user alone (mode 0600). What a broker that was killed has left there is replaced.
    ///
    /// # Errors
    /// If another broker listens there, or the system does not let us. Anything there that is no socket is not touched.
    pub async fn bind(path: PathBuf) -> io::Result<Self> {
        if path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket()) {
            if UnixStream::connect(&path).await.is_ok() {
                return Err(io::Error::from(io::ErrorKind::AddrInUse));
            }
            std::fs::remove_file(&path)?;
        }
        // In a directory of ours nobody else can come in between; mode 0700 of the directory keeps others out before.
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener: Some(listener), path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Answers until the end of the program.
    pub async fn serve(mut self, router: axum::Router) {
        let Some(listener) = self.listener.take() else { return };
        if let Err(error) = axum::serve(listener, router).await {
            tracing::warn!(%error, "the control socket has ended");
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Its directory may be gone already.
        let _ = std::fs::remove_file(&self.path);
    }
}
