//! TLS of the listeners: from the files that the configuration names to what the broker takes, at the start and again
//! while it runs.

mod certificate;
pub(crate) mod client;
mod der;
mod files;
mod name;
pub(crate) mod probe;
mod resolver;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use culex_core::Address;
use culex_core::tls::Tls;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig};

use self::certificate::{Certificate, Seconds};
use self::files::{Fault, fault};
use self::resolver::Resolver;
use crate::config::problem::{Complaint, Report};
use crate::config::{CertificateUser, Config, ConfigError, Listener, Protocol, TlsSettings, TlsVersion};

/// Sessions that are kept for clients that come back without a ticket; the others bring theirs.
const SESSIONS_KEPT: usize = 1024;

/// The TLS of all listeners of a configuration. Clones mean the same.
#[derive(Debug, Clone)]
pub struct Secured(Vec<Option<Listening>>);

/// The TLS of one listener.
#[derive(Debug, Clone)]
struct Listening {
    address: Address,
    tls: Tls,
    trust: Trust,
    expires: Option<i64>,
}

/// The TLS of the HTTP API.
#[derive(Debug)]
pub struct HttpTls {
    pub(crate) config: Arc<ServerConfig>,
    /// When its certificate does, in seconds since 1970.
    pub(crate) expires: i64,
}

impl HttpTls {
    /// Reads all files that `[http.tls]` names; `None` if there is no such section.
    ///
    /// # Errors
    /// What is wrong with which file, all at once.
    pub fn load(config: &Config) -> Result<Option<Self>, ConfigError> {
        let Some(settings) = config.http.as_ref().and_then(|http| http.tls.as_ref()) else { return Ok(None) };
        let mut report = Report::default();
        let settings = TlsSettings { alpn: vec!["http/1.1".to_owned()], ..settings.clone() };
        let loaded = load(&settings, Protocol::Mqtt, None, &mut report);
        let tls =
            loaded.map(|loaded| Self { config: loaded.config, expires: loaded.expires.unwrap_or_default() });
        report.finish(tls)
    }
}

/// Whom a listener lets in. Where it changes, nobody comes in any more by what was said before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Trust {
    authorities: Vec<CertificateDer<'static>>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
    /// Whoever resumes a session is not asked for a certificate again.
    is_required: bool,
}

/// What the files of a listener say.
struct Material {
    keys: Vec<Arc<CertifiedKey>>,
    verifier: Arc<dyn ClientCertVerifier>,
    trust: Trust,
}

impl Secured {
    /// Reads all files that the listeners name.
    ///
    /// # Errors
    /// What is wrong with which file, all at once.
    pub fn load(config: &Config) -> Result<Self, ConfigError> {
        Self(Vec::new()).load_again(config)
    }

    /// Reads all files for the listeners of this configuration, which may name others than before. Where CA and revocation
    /// lists are the same as before, tickets stay good; where not, every client is verified anew. Nothing is changed until
    /// the result is given to [`replace`](Self::replace).
    ///
    /// # Errors
    /// What is wrong with which file, all at once.
    pub fn load_again(&self, config: &Config) -> Result<Self, ConfigError> {
        let mut report = Report::default();
        let load = |(number, listener): (usize, &Listener)| {
            let settings = listener.tls.as_ref()?;
            let Loaded { trust, config, expires } =
                load(settings, listener.protocol, self.at(number, &listener.address), &mut report)?;
            let tls = identify(Tls::new(config), settings.user_name());
            Some(Listening { address: listener.address.clone(), tls, trust, expires })
        };
        let listening = config.listeners.iter().enumerate().map(load).collect();
        report.finish(Self(listening))
    }

    /// The TLS of the listener with this number, in the order of the configuration; `None` if it has none.
    pub fn of(&self, listener: usize) -> Option<&Tls> {
        self.0.get(listener)?.as_ref().map(|listening| &listening.tls)
    }

    /// When the first certificate of that listener expires, in seconds since 1970; `None` if it has none.
    pub fn expires(&self, listener: usize) -> Option<i64> {
        self.0.get(listener)?.as_ref()?.expires
    }

    /// Gives new connections what `new` has for the same address; who is connected stays.
    pub fn replace(&mut self, new: &Self) {
        for (number, listening) in self.0.iter_mut().enumerate() {
            if let Some(listening) = listening
                && let Some(new) = new.at(number, &listening.address)
            {
                listening.tls.replace(&new.tls);
                listening.trust = new.trust.clone();
                listening.expires = new.expires;
            }
        }
    }

    /// Gives new connections what `new` has, for a broker whose listeners are now those of `new`. `places` says for each where
    /// it was before, if it was open: it stays secured or plain as it was opened.
    pub fn follow(&mut self, new: Self, places: &[Option<usize>]) {
        let follow = |(new, place): (Option<Listening>, &Option<usize>)| match place {
            None => new,
            Some(place) => {
                let mut old = self.0.get_mut(*place)?.take()?;
                if let Some(new) = new {
                    old.tls.replace(&new.tls);
                    old.trust = new.trust;
                    old.expires = new.expires;
                }
                Some(old)
            }
        };
        let listening = new.0.into_iter().zip(places).map(follow).collect();
        self.0 = listening;
    }

    /// The listener with this address; with this number, if it takes any port, as others may.
    fn at(&self, number: usize, address: &Address) -> Option<&Listening> {
        let is_fixed = address.ip().is_none_or(|address| address.port() != 0);
        let is_it = |at: usize| is_fixed || at == number;
        let mut listening = self.0.iter().enumerate();
        listening.find_map(|(at, listening)| {
            listening.as_ref().filter(|found| found.address == *address && is_it(at))
        })
    }
}

/// What the files of a listener come to.
struct Loaded {
    trust: Trust,
    config: Arc<ServerConfig>,
    expires: Option<i64>,
}

/// Everything of a listener, or its faults in `report`. Tickets of before are good while the trust is the same.
fn load(
    settings: &TlsSettings,
    protocol: Protocol,
    before: Option<&Listening>,
    report: &mut Report,
) -> Option<Loaded> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let keys: Vec<_> = settings
        .certificates
        .iter()
        .zip(&settings.keys)
        .filter_map(|(certificate, key)| {
            let loaded = certified_key(settings, certificate, key, &provider);
            loaded.map_err(|(place, complaint)| report.add(place, complaint)).ok()
        })
        .collect();
    let trusted = trust(settings).and_then(|trust| Ok((verifier(settings, &trust, &provider)?, trust)));
    let (verifier, trust) = trusted.map_err(|(place, complaint)| report.add(place, complaint)).ok()?;
    if keys.len() < settings.certificates.len() {
        return None;
    }
    let first =
        keys.iter().filter_map(|key| Certificate::read(key.cert.first()?)).map(|one| one.not_after).min();
    let expires = first.map(Seconds::since_1970);
    let material = Material { keys, verifier, trust };
    match server_config(settings, &material, before, provider) {
        Ok(mut config) => {
            if protocol == Protocol::WebSockets {
                // A browser asks for HTTP: it is told of MQTT by its page, and then by a header.
                config.alpn_protocols.push(b"http/1.1".to_vec());
            }
            Some(Loaded { trust: material.trust, config: Arc::new(config), expires })
        }
        Err(error) => {
            let path = settings.certificates.first().map_or(Path::new(""), |path| path);
            let (place, complaint) = fault(path, Complaint::new(error.to_string()));
            report.add(place, complaint);
            None
        }
    }
}

fn certified_key(
    settings: &TlsSettings,
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, Fault> {
    let chain = files::chain(certificate)?;
    let key_der = files::key(key, settings.key_permissions)?;
    let certified = CertifiedKey::from_der(chain, key_der, provider).map_err(|error| {
        if matches!(error, Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) {
            let message = format!("this key does not match the certificate in {}", certificate.display());
            let help = "give the key that the certificate was made with; the server's own certificate comes first in its file";
            return fault(key, Complaint::new(message).help(help));
        }
        if let Error::InvalidCertificate(error) = error {
            return fault(certificate, Complaint::new(format!("this certificate is damaged: {error}")));
        }
        fault(key, Complaint::new(format!("this private key cannot be used: {error}")))
    })?;
    Ok(Arc::new(certified))
}

fn trust(settings: &TlsSettings) -> Result<Trust, Fault> {
    let Some(path) = &settings.client_ca else { return Ok(Trust::default()) };
    let mut revoked = Vec::new();
    for path in &settings.crl {
        revoked.extend(files::revocation_lists(path)?);
    }
    let authorities = files::authorities(path)?;
    Ok(Trust { authorities, revoked, is_required: settings.requires_certificate() })
}

fn verifier(
    settings: &TlsSettings,
    trust: &Trust,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Fault> {
    let Some(path) = &settings.client_ca else { return Ok(WebPkiClientVerifier::no_client_auth()) };
    let mut roots = RootCertStore::empty();
    for authority in &trust.authorities {
        roots.add(authority.clone()).map_err(|error| {
            let title =
                Certificate::read(authority).map_or_else(String::new, |certificate| certificate.title());
            fault(path, Complaint::new(format!("the certificate of {title} cannot be used: {error}")))
        })?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    // As OpenSSL does for mosquitto: the client's own certificate is looked up, and a list that is out of date says nothing.
    let builder = builder
        .with_crls(trust.revoked.iter().cloned())
        .only_check_end_entity_revocation()
        .enforce_revocation_expiration();
    let builder = if settings.requires_certificate() { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| {
        let path = settings.crl.first().unwrap_or(path);
        fault(path, Complaint::new(format!("this revocation list cannot be used: {error}")))
    })
}

fn server_config(
    settings: &TlsSettings,
    material: &Material,
    before: Option<&Listening>,
    provider: Arc<CryptoProvider>,
) -> Result<ServerConfig, Error> {
    let versions = match settings.min_version {
        TlsVersion::V1_2 => &[&TLS13, &TLS12][..],
        TlsVersion::V1_3 => &[&TLS13][..],
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(Arc::clone(&material.verifier))
        .with_cert_resolver(Arc::new(Resolver(material.keys.clone())));
    config.alpn_protocols = settings.alpn.iter().map(|name| name.clone().into_bytes()).collect();
    config.max_fragment_size = Some(usize::from(settings.max_fragment_size));
    // One is enough for a client with one connection.
    config.send_tls13_tickets = 1;
    match before.filter(|before| before.trust == material.trust) {
        Some(before) => {
            let before = before.tls.config();
            config.ticketer = Arc::clone(&before.ticketer);
            config.session_storage = Arc::clone(&before.session_storage);
        }
        None => {
            config.ticketer = aws_lc_rs::Ticketer::new()?;
            config.session_storage = ServerSessionMemoryCache::new(SESSIONS_KEPT);
        }
    }
    Ok(config)
}

fn identify(tls: Tls, user: CertificateUser) -> Tls {
    match user {
        CertificateUser::None => tls,
        CertificateUser::CommonName => tls.identify(|der| in_force(der)?.subject.common_name()),
        CertificateUser::Subject => tls.identify(|der| in_force(der)?.subject.rfc2253()),
    }
}

/// A certificate until its date. Whoever resumes a session shows none, and is known by the one from before.
fn in_force(der: &[u8]) -> Option<Certificate<'_>> {
    Certificate::read(der).filter(|certificate| Seconds::now() <= certificate.not_after)
}
