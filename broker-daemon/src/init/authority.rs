//! A private certification authority, and the certificate of the server that it signs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, Error, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};

/// As long as a device that has the authority built in may live.
const AUTHORITY_DAYS: u64 = 3650;
/// The longest that Apple's systems accept of any server, also of a private authority. Others have no limit for those.
const SERVER_DAYS: u64 = 825;
/// So long before now they begin, for clients whose clock is behind.
const EARLIER: Duration = Duration::from_secs(86_400);
const DAY: Duration = Duration::from_secs(86_400);

/// A certification authority with its key.
#[derive(Debug)]
pub struct Authority {
    /// Its certificate, in PEM.
    pub certificate: String,
    /// Its private key, in PEM.
    pub key: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate of a server.
#[derive(Debug)]
pub struct Server {
    /// The certificate, in PEM.
    pub certificate: String,
    /// Its private key, in PEM.
    pub key: String,
}

impl Authority {
    /// A new one, for 10 years, which may sign no other authorities. `host` is in its name, so that two of them can be told
    /// apart.
    ///
    /// # Errors
    /// If the system gives no random numbers, or the name cannot stand in a certificate.
    pub fn new(host: &str) -> Result<Self, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("Culex private CA of {host}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, AUTHORITY_DAYS);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.self_signed(&key)?.pem();
        let key_pem = key.serialize_pem();
        Ok(Self { certificate, key: key_pem, issuer: Issuer::new(params, key) })
    }

    /// A server with these names and IP addresses, for 825 days. ECDSA P-256, which small devices verify quickly.
    ///
    /// # Errors
    /// If the system gives no random numbers, or a name cannot stand in a certificate.
    pub fn server(&self, names: &[String]) -> Result<Server, Error> {
        let mut params = CertificateParams::new(names)?;
        if let Some(name) = names.first() {
            params.distinguished_name.push(DnType::CommonName, name.as_str());
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, SERVER_DAYS);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Server { certificate, key: key.serialize_pem() })
    }
}

fn set_validity(params: &mut CertificateParams, days: u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let begin = now.saturating_sub(EARLIER);
    let length = Duration::from_secs(days * DAY.as_secs());
    params.not_before = date_time_ymd(1970, 1, 1) + begin;
    params.not_after = date_time_ymd(1970, 1, 1) + begin + length;
}
