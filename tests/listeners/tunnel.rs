//! The conformance cases once more, through WebSocket: what they ask of a socket holds for frames of every size.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;

use culex_tests::broker::Broker;
use culex_tests::websocket::{BINARY, CLOSE, Incoming, Peer, frames};

#[test]
fn the_cases_of_plain_connections_hold_through_websocket() {
    let broker =
        Broker::start_with_config("[[listener]]\naddress = \"127.0.0.1:0\"\nprotocol = \"websockets\"\n");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let behind = broker.addr;
    thread::spawn(move || {
        for (n, plain) in listener.incoming().enumerate() {
            // One byte a frame, a few, and as many as come.
            let size = [1, 7, usize::MAX][n % 3];
            thread::spawn(move || carry(&plain.unwrap(), behind, size));
        }
    });
    let output = Command::new(env!("CARGO_BIN_EXE_culex-tests"))
        .args(["conformance", "--broker", &address.to_string()])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

/// Carries a plain connection in frames of this size, however it ends.
fn carry(plain: &TcpStream, broker: SocketAddr, size: usize) {
    plain.set_nodelay(true).unwrap();
    let upgraded = Peer::upgraded(broker);
    let socket = upgraded.stream();
    socket.set_read_timeout(None).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut from, mut to) = (plain, socket);
            let mut chunk = vec![0; 64 << 10];
            while let Ok(count @ 1..) = from.read(&mut chunk) {
                if to.write_all(&frames(chunk[..count].chunks(size.min(count)))).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Write);
        });
        let (mut from, mut to) = (socket, plain);
        let (mut incoming, mut chunk) = (Incoming::default(), vec![0; 64 << 10]);
        'stream: while let Ok(count @ 1..) = from.read(&mut chunk) {
            incoming.feed(&chunk[..count]);
            while let Some((kind, payload)) = incoming.frame().unwrap() {
                match kind {
                    BINARY if to.write_all(&payload).is_ok() => {}
                    BINARY | CLOSE => break 'stream,
                    other => panic!("a frame of kind {other}"),
                }
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = socket.shutdown(Shutdown::Both);
    });
}
