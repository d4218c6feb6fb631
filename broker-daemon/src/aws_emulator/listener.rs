//! Sockets on loopback, with TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::Acceptor;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::Shared;
use super::connection::carry;
use super::https;
use super::registry::{Fingerprint, PeerIdentity};
use super::tls::{Role, Secure, Speaks};
use super::violations::Action;

/// How long nobody is accepted after that has failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why an emulator cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The emulator is for this computer alone.
    #[error(
        "{0} is not an address of loopback, and the emulator listens on no other: it believes whoever has its client certificate; take 127.0.0.1 or [::1]"
    )]
    NotLoopback(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {}", crate::cli::human::io(source))]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Certificates or keys cannot be made, or used.
    #[error("certificates of the emulator: {0}")]
    Certificates(String),
    /// The folder of the emulator cannot be used.
    #[error("{0}")]
    Directory(String),
}

pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    if !address.ip().is_loopback() {
        return Err(StartError::NotLoopback(address));
    }
    TcpListener::bind(address).await.map_err(|source| StartError::Bind { address, source })
}

/// Accepts connections until it is dropped, which ends them.
pub(super) async fn accept_all(listener: TcpListener, role: Role, secure: Arc<Secure>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else {
                    // No descriptor is left: it would fail again at once.
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                };
                let connections_max = shared.lock().limits.connections;
                let is_out = shared.lock().scenario.outage || connections.len() >= connections_max;
                if !is_out {
                    connections.spawn(serve(stream, role, Arc::clone(&secure), Arc::clone(&shared)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, role: Role, secure: Arc<Secure>, shared: Arc<Shared>) {
    // Without it small packets wait for an acknowledgement of TCP.
    let _ = stream.set_nodelay(true);
    let patience = shared.lock().limits.connect_timeout;
    let Ok(done) = timeout(patience, shake_hands(stream, role, &secure)).await else { return };
    match done {
        Ok((stream, speaks)) => {
            shared.lock().saw_handshake(true);
            speak(stream, speaks, shared).await;
        }
        Err(error) => {
            shared.lock().saw_handshake(false);
            let is_bare = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>())
                == Some(&rustls::Error::NoCertificatesPresented);
            if is_bare {
                secure.violate("AIC-TLS-07", "no client certificate".to_owned(), Action::NoHandshake);
            }
        }
    }
}

async fn shake_hands(
    stream: TcpStream,
    role: Role,
    secure: &Arc<Secure>,
) -> io::Result<(TlsStream<TcpStream>, Speaks)> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let (config, speaks) = secure.answer(role, &start.client_hello()).map_err(io::Error::other)?;
    Ok((start.into_stream(config).await?, speaks))
}

async fn speak(stream: TlsStream<TcpStream>, speaks: Speaks, shared: Arc<Shared>) {
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let identity = certificate.map(|certificate| PeerIdentity::Certificate(Fingerprint::of_der(certificate)));
    match (speaks, identity) {
        (Speaks::Mqtt, Some(identity)) => carry(shared, stream, identity).await,
        (Speaks::MqttWithPassword, _) => carry(shared, stream, PeerIdentity::CustomAuthorizer).await,
        (Speaks::HttpsWithCertificate, Some(identity)) => https::serve(shared, stream, Some(identity)).await,
        (Speaks::Https, _) => https::serve(shared, stream, None).await,
        (Speaks::Mqtt | Speaks::HttpsWithCertificate, None) => {}
    }
}
