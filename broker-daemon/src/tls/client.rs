//! The client's side, for `culex pub`, `culex sub`, `culex bench` and bridges.

use std::io;
use std::path::Path;
use std::sync::Arc;

use culex_core::client::Socket;
use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error,
    InvalidMessage, RootCertStore, SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::certificate::{Certificate, Seconds};
use super::der::Der;
use super::files::{self, Fault, fault};
use super::name::Name;
use crate::config::problem::{Complaint, Problem};
use crate::config::{ConfigError, KeyPermissions, Place, TlsVersion};

/// What a user says of a connection.
pub(crate) struct Settings<'a> {
    /// Name or address of the broker.
    pub(crate) host: &'a str,
    /// Who signs the broker's certificate; `None` if the user did not say, and must.
    pub(crate) roots: Option<Roots<'a>>,
    /// Files of certificate and key.
    pub(crate) identity: Option<(&'a Path, &'a Path)>,
    /// What becomes of a key that others can read.
    pub(crate) key_permissions: KeyPermissions,
    /// Whether the broker's certificate must have the name `host`.
    pub(crate) checks_name: bool,
    /// The only version that is spoken.
    pub(crate) version: Option<TlsVersion>,
    /// Application protocols.
    pub(crate) alpn: Vec<&'a str>,
    /// Whether a connection begins with the ticket of an earlier one.
    pub(crate) resumes: bool,
}

/// Whose signature makes a broker's certificate good.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Roots<'a> {
    /// The CAs of a file or folder.
    Files(&'a Path),
    /// The public CAs, as browsers know them.
    Public,
    /// Those of Amazon among them.
    Amazon,
}

/// Secures connections to one broker.
#[derive(Debug)]
pub(crate) struct Connector {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    /// When our own certificate ends.
    certificate_ends: Option<Seconds>,
}

impl Connector {
    /// # Errors
    /// What is wrong with which file.
    pub(crate) fn new(settings: &Settings<'_>) -> Result<Self, ConfigError> {
        Self::build(settings).map_err(|(place, Complaint { message, help })| {
            ConfigError::alone(Problem { place, message, help })
        })
    }

    fn build(settings: &Settings<'_>) -> Result<Self, Fault> {
        let wrong = |message: String| (Place::CommandLine, Complaint::new(message));
        let Some(roots) = settings.roots else {
            let complaint = Complaint::new("TLS needs the CA of the broker's certificate");
            return Err((Place::CommandLine, complaint.help("give it: `--cafile FILE`")));
        };
        let name = ServerName::try_from(settings.host.to_owned())
            .map_err(|_| wrong(format!("\"{}\" is not a host name", settings.host)))?;
        let versions = match settings.version {
            None => &[&TLS13, &TLS12][..],
            Some(TlsVersion::V1_2) => &[&TLS12][..],
            Some(TlsVersion::V1_3) => &[&TLS13][..],
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Verifier::new(roots.store()?, &provider, settings.checks_name, None)
            .map_err(|error| wrong(error.to_string()))?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| wrong(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut certificate_ends = None;
        let mut config = match settings.identity {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = files::chain(certificate)?;
                let own = chain.first().and_then(|own| Certificate::read(own));
                certificate_ends = own.map(|own| own.not_after);
                let key_der = files::key(key, settings.key_permissions)?;
                config
                    .with_client_auth_cert(chain, key_der)
                    .map_err(|error| fault(key, Complaint::new(error.to_string())))?
            }
        };
        config.alpn_protocols = settings.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        if !settings.resumes {
            config.resumption = Resumption::disabled();
        }
        Ok(Self { config: Arc::new(config), name, certificate_ends })
    }

    /// Days until our own certificate ends, if there is one.
    pub(crate) fn certificate_days(&self) -> Option<i64> {
        self.certificate_ends.map(Seconds::days_left)
    }

    /// The state of a new connection, without a socket.
    pub(crate) fn session(&self) -> Result<ClientConnection, Error> {
        ClientConnection::new(Arc::clone(&self.config), self.name.clone())
    }

    /// The handshake.
    pub(crate) async fn secure(&self, stream: TcpStream) -> io::Result<Box<dyn Socket>> {
        match TlsConnector::from(Arc::clone(&self.config)).connect(self.name.clone(), stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            // Where plain MQTT is expected, a ClientHello is no CONNECT.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(io::Error::other(
                "the broker closed the connection; perhaps it does not speak TLS on this port",
            )),
            Err(error) => Err(explain(&error).map_or(error, io::Error::other)),
        }
    }
}

impl Roots<'_> {
    pub(super) fn store(self) -> Result<RootCertStore, Fault> {
        let mut roots = RootCertStore::empty();
        match self {
            Self::Files(path) => {
                for certificate in files::any_certificates(path)? {
                    roots.add(certificate).map_err(|error| fault(path, Complaint::new(error.to_string())))?;
                }
            }
            Self::Public => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Self::Amazon => {
                let is_amazon = |root: &&TrustAnchor<'static>| is_of(root, "Amazon");
                roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().filter(is_amazon).cloned());
            }
        }
        Ok(roots)
    }
}

/// Whether the subject of a root has this organization.
fn is_of(root: &TrustAnchor<'_>, organization: &str) -> bool {
    let subject = Name(Der::new(&root.subject)).rfc2253().unwrap_or_default();
    subject.split(',').any(|part| part.strip_prefix("O=") == Some(organization))
}

/// What a failed handshake means for the person who typed the command.
#[expect(clippy::wildcard_enum_match_arm, reason = "the texts of rustls are good enough for the others")]
pub(crate) fn explain(error: &io::Error) -> Option<&'static str> {
    Some(match error.get_ref()?.downcast_ref::<Error>()? {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the broker does not speak TLS on this port"
        }
        Error::InvalidCertificate(error) => match error {
            // A CA that was made anew has the name of the old one, but not its key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "the broker's certificate is not signed by this CA (--cafile)"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the broker's certificate has not this host name; connect by a name that it has (-h), or use --insecure"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the broker's certificate has expired"
            }
            _ => return None,
        },
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the broker wants a certificate of this client (--cert, --key)"
        }
        Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            "the broker does not speak this version of TLS (--tls-version)"
        }
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            "the broker does not know this application protocol (--tls-alpn)"
        }
        Error::AlertReceived(AlertDescription::UnrecognisedName | AlertDescription::AccessDenied) => {
            "the broker refuses the handshake, as one does that is called by a host name which is not its own (-h)"
        }
        _ => return None,
    })
}

/// The certificates that a server has shown last.
pub(super) type Chain = Arc<Mutex<Vec<CertificateDer<'static>>>>;

/// Asks webpki, and may overlook the host name.
#[derive(Debug)]
pub(super) struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    checks_name: bool,
    /// Where what it was asked about is noted, if somebody wants to look at it.
    chain: Option<Chain>,
}

impl Verifier {
    pub(super) fn new(
        roots: RootCertStore,
        provider: &Arc<CryptoProvider>,
        checks_name: bool,
        chain: Option<Chain>,
    ) -> Result<Self, VerifierBuilderError> {
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        Ok(Self { inner: inner.build()?, checks_name, chain })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(chain) = &self.chain {
            let shown = std::iter::once(end_entity).chain(intermediates);
            *chain.lock() = shown.map(|der| der.clone().into_owned()).collect();
        }
        match self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // webpki looks at the name last, so everything else is right.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.checks_name => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
