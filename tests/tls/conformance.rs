//! The conformance cases once more, through TLS: what they ask of a socket holds for a secured one.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use crate::peer::{BOTH, client_config};
use crate::program::Program;

#[tokio::test]
async fn the_cases_of_plain_connections_hold_through_tls() {
    let program = Program::plain();
    let config = client_config(&program.authority, &BOTH, None);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(tunnel(listener, TlsConnector::from(Arc::new(config)), program.broker.addr));
    let output = tokio::task::spawn_blocking(move || {
        Command::new(env!("CARGO_BIN_EXE_culex-tests"))
            .args(["conformance", "--broker", &address.to_string()])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    });
    let output = output.await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

/// Carries plain connections through TLS to `broker`.
async fn tunnel(listener: TcpListener, connector: TlsConnector, broker: SocketAddr) {
    while let Ok((mut plain, _)) = listener.accept().await {
        let connector = connector.clone();
        tokio::spawn(async move {
            plain.set_nodelay(true).unwrap();
            let stream = TcpStream::connect(broker).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut secured = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
            // However it ends, both ends are closed then.
            let _ = copy_bidirectional(&mut plain, &mut secured).await;
        });
    }
}
