//! Sockets of the Unix domain: who may connect, what the file is, who is at the other end.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use culex_core::hooks::Login;
use culex_core::limits::Limits;
use culex_core::{Broker, Listener, StartError};
use culex_tests::client::PATIENCE;
use culex_tests::parse::{Received, parse};
use culex_tests::wire::{self, Connect, Publish};

use crate::{broker, eventually, metric};

struct Place {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mqtt.sock");
    Place { _folder: folder, path }
}

fn open(path: &Path, id: &str) -> UnixStream {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&Connect::new(id).encode()).unwrap();
    assert_eq!(packet(&mut stream), Received::ConnAck { session_present: false, code: 0 });
    stream
}

/// The next packet; none comes behind it.
fn packet(stream: &mut UnixStream) -> Received {
    let mut bytes = Vec::new();
    loop {
        if let Some((packet, used)) = parse(&bytes).unwrap() {
            assert_eq!(used, bytes.len());
            return packet;
        }
        let mut chunk = [0; 64 << 10];
        let count = stream.read(&mut chunk).unwrap();
        assert!(count > 0, "closed");
        bytes.extend_from_slice(&chunk[..count]);
    }
}

fn start(path: &Path) -> Result<Broker, StartError> {
    Broker::builder().listen(Listener::unix(path)).start_on_own_runtime()
}

#[test]
fn messages_pass_and_the_file_goes_with_the_broker() {
    let place = place();
    let broker = broker([Listener::unix(&place.path).mode(0o600)], Limits::default());
    let found = fs::symlink_metadata(&place.path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    assert_eq!(broker.local_addrs(), []);
    let mut client = open(&place.path, "a");
    client.write_all(&wire::subscribe(1, &[("t", 1)])).unwrap();
    assert_eq!(packet(&mut client), Received::SubAck(1, vec![1]));
    let large = vec![7; 1 << 20];
    client.write_all(&Publish::new("t", &large).encode()).unwrap();
    assert!(matches!(packet(&mut client), Received::Publish(publish) if publish.payload == large));
    broker.runtime().clone().block_on(broker.shutdown(Duration::from_secs(10))).unwrap();
    assert!(!place.path.exists());
}

#[test]
fn the_other_end_is_a_user_and_a_process() {
    let place = place();
    let seen = Arc::new(Mutex::new(None));
    let seen_by_hook = Arc::clone(&seen);
    let _broker = Broker::builder()
        .listen(Listener::unix(&place.path))
        .authenticate(move |login: Login| {
            *seen_by_hook.lock().unwrap() = Some((login.peer().to_owned(), login.address()));
            async { true }
        })
        .start_on_own_runtime()
        .unwrap();
    let _client = open(&place.path, "a");
    let (peer, address) = seen.lock().unwrap().take().unwrap();
    assert!(peer.starts_with("unix:uid="), "{peer}");
    #[cfg(target_os = "linux")]
    assert!(peer.ends_with(&format!(",pid={}", std::process::id())), "{peer}");
    assert_eq!(address, None);
}

#[test]
fn a_socket_that_was_left_behind_is_replaced_and_nothing_else_is_touched() {
    let place = place();
    let path = &place.path;
    drop(UnixListener::bind(path).unwrap());
    let broker = start(path).unwrap();
    let _client = open(path, "a");
    // A live one stays.
    let refused = start(path);
    assert!(
        matches!(&refused, Err(StartError::Bind { source, .. }) if source.kind() == ErrorKind::AddrInUse),
        "{refused:?}"
    );
    let _client = open(path, "b");
    // Somebody else has put another socket there meanwhile: that is not ours to remove.
    fs::remove_file(path).unwrap();
    let other = UnixListener::bind(path).unwrap();
    broker.runtime().clone().block_on(broker.shutdown(Duration::from_secs(10))).unwrap();
    assert!(path.exists());
    drop(other);
    fs::remove_file(path).unwrap();
    fs::write(path, "precious").unwrap();
    let refused = start(path);
    assert!(
        matches!(&refused, Err(StartError::Bind { source, .. }) if source.kind() == ErrorKind::AlreadyExists),
        "{refused:?}"
    );
    assert_eq!(fs::read_to_string(path).unwrap(), "precious");
}

#[test]
fn a_connection_that_is_slow_or_refused_ends_as_one_of_tcp_does() {
    let place = place();
    let limits = Limits { connect_timeout: Duration::from_secs(1), ..Limits::default() };
    let broker = broker([Listener::unix(&place.path)], limits);
    let mut silent = UnixStream::connect(&place.path).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0);
    eventually(|| metric(&broker, "connect_timeouts") == 1 && metric(&broker, "sockets") == 0);
}
