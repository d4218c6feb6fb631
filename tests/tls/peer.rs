//! The client's side by rustls, over a blocking socket, and the configurations of both.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use culex_core::tls::rustls::crypto::aws_lc_rs::default_provider;
use culex_core::tls::rustls::pki_types::pem::PemObject;
use culex_core::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use culex_core::tls::rustls::version::{TLS12, TLS13};
use culex_core::tls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned, SupportedProtocolVersion,
};
use culex_tests::client::PATIENCE;
use culex_tests::parse::{Received, parse};

use crate::authority::{Authority, Identity};

pub(crate) const BOTH: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

pub(crate) fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect()
}

pub(crate) fn key(pem: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap()
}

pub(crate) fn roots(authority: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&authority.pem) {
        roots.add(certificate).unwrap();
    }
    roots
}

/// A server that asks nobody for a certificate.
pub(crate) fn server_config(identity: &Identity) -> ServerConfig {
    ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&BOTH)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates(&identity.certificate), key(&identity.key))
        .unwrap()
}

/// A client that trusts this authority.
pub(crate) fn client_config(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
    identity: Option<&Identity>,
) -> ClientConfig {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots(authority));
    match identity {
        Some(identity) => {
            config.with_client_auth_cert(certificates(&identity.certificate), key(&identity.key)).unwrap()
        }
        None => config.with_no_client_auth(),
    }
}

/// Whether it becomes true in time.
pub(crate) fn eventually(mut is_it: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + PATIENCE;
    while !is_it() {
        if Instant::now() > end {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

/// A connection through TLS.
pub(crate) struct Peer {
    pub(crate) stream: StreamOwned<ClientConnection, TcpStream>,
    came: Vec<u8>,
}

impl Peer {
    pub(crate) fn open(address: SocketAddr, config: ClientConfig) -> Self {
        Self::open_shared(address, &Arc::new(config))
    }

    /// Of those who share a configuration, later ones come with tickets of the earlier.
    pub(crate) fn open_shared(address: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        Self::open_named(address, config, "localhost")
    }

    pub(crate) fn open_named(address: SocketAddr, config: &Arc<ClientConfig>, name: &'static str) -> Self {
        let socket = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let connection = ClientConnection::new(Arc::clone(config), name.try_into().unwrap()).unwrap();
        Self { stream: StreamOwned::new(connection, socket), came: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())?;
        self.stream.flush()
    }

    /// The next packet, or how the connection ended.
    pub(crate) fn next(&mut self) -> io::Result<Received> {
        let mut chunk = vec![0; 64 << 10];
        loop {
            if let Some((packet, used)) = parse(&self.came).unwrap() {
                self.came.drain(..used);
                return Ok(packet);
            }
            match self.stream.read(&mut chunk)? {
                0 => return Err(io::ErrorKind::ConnectionAborted.into()),
                count => self.came.extend_from_slice(&chunk[..count]),
            }
        }
    }
}
