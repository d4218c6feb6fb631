//! Certificates of the emulator: a private root, its server, and a client. Made anew for each emulator, or kept in a folder.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, Error, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::listener::StartError;
use super::registry::Fingerprint;

/// The name of the endpoint: no such host exists, so clients are told where it is.
pub const SERVER_NAME: &str = "test-ats.iot.local-1.amazonaws.test";
/// What it may be called too, by clients that cannot be told.
pub(super) const LOCAL_NAME: &str = "localhost";

const DAY: Duration = Duration::from_secs(86_400);
const DAYS: u32 = 825;

/// A certificate with its key, both in PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// All that both sides of TLS need.
#[derive(Clone, Debug)]
pub struct Material {
    /// The private root, in PEM, for clients.
    pub root: String,
    /// The server, with the name [`SERVER_NAME`] and `localhost`.
    pub server: Identity,
    /// A client, which is to be registered.
    pub client: Identity,
    /// The server with another name, for the scenario `wrong_server_name`.
    pub(super) wrong_name: Identity,
    /// The server of another root, for the scenario `wrong_chain`.
    pub(super) wrong_chain: Identity,
}

impl Material {
    /// A new root with all that it signs. ECDSA P-256, for 825 days; the key of the root is forgotten.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn generate() -> Result<Self, Error> {
        let root = Root::new("Culex AWS IoT emulator root")?;
        let other = Root::new("Somebody else's root")?;
        Ok(Self {
            server: root.server(&[SERVER_NAME, LOCAL_NAME])?,
            wrong_name: root.server(&["other-ats.iot.local-1.amazonaws.test"])?,
            wrong_chain: other.server(&[SERVER_NAME, LOCAL_NAME])?,
            client: root.client("AWS IoT Certificate")?,
            root: root.certificate,
        })
    }

    /// The fingerprint of the client's certificate.
    ///
    /// # Errors
    /// If it is no certificate.
    pub fn client_fingerprint(&self) -> Result<Fingerprint, StartError> {
        let der = CertificateDer::from_pem_slice(self.client.certificate.as_bytes());
        der.map(|der| Fingerprint::of_der(&der)).map_err(|error| StartError::Certificates(error.to_string()))
    }
}

struct Root {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Root {
    fn new(name: &str) -> Result<Self, Error> {
        let mut params = params(CertificateParams::default(), name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    fn server(&self, names: &[&str]) -> Result<Identity, Error> {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let first = names.first().cloned().unwrap_or_default();
        self.sign(params(CertificateParams::new(names)?, &first), ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn client(&self, name: &str) -> Result<Identity, Error> {
        self.sign(params(CertificateParams::default(), name), ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Result<Identity, Error> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Identity { certificate, key: key.serialize_pem() })
    }
}

/// With a name, and valid from yesterday on.
fn params(mut params: CertificateParams, name: &str) -> CertificateParams {
    let begin = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(DAY);
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(1970, 1, 1) + begin;
    params.not_after = date_time_ymd(1970, 1, 1) + begin + DAY * DAYS;
    params
}
