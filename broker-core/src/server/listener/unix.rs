//! Listening sockets of the Unix domain, and the files that they are.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::socket::BACKLOG;
use crate::server::peer::Peer;
use crate::server::socket;

/// The file of a socket, which is removed with it unless somebody else has put another one there.
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity);
        if is_ours {
            // Its folder may not be ours any more; the next start replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(found: &fs::Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// Listens at `path`.
///
/// # Errors
/// `AddrInUse` if somebody listens there, `AlreadyExists` if something is there that is no socket.
pub(super) fn bind(path: &Path, mode: u32) -> io::Result<(mio::net::UnixListener, SocketFile)> {
    let address = SockAddr::unix(path)?;
    make_room(path, &address)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&address)?;
    let file = SocketFile { path: path.to_owned(), identity: identity(&fs::symlink_metadata(path)?) };
    // Nobody can connect before it listens.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok((mio::net::UnixListener::from_std(socket.into()), file))
}

/// Removes a socket that nobody listens at.
fn make_room(path: &Path, address: &SockAddr) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Who is too busy to take us is there.
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        Ok(()) | Err(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}

/// A connection, and which user and process the system says is at its other end.
pub(super) fn identify(stream: mio::net::UnixStream) -> io::Result<(socket::Socket, Peer)> {
    let stream = tokio::net::UnixStream::from_std(stream.into())?;
    let credentials = stream.peer_cred()?;
    let process = credentials.pid().map_or_else(String::new, |pid| format!(",pid={pid}"));
    let peer = Peer::from(format!("unix:uid={}{process}", credentials.uid()));
    Ok((socket::Socket::Unix(mio::net::UnixStream::from_std(stream.into_std()?)), peer))
}
