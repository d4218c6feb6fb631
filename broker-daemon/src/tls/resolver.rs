//! Which certificate a client is shown, where there are several.

use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Certificates in the order of the configuration.
#[derive(Debug)]
pub(super) struct Resolver(pub(super) Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Resolver {
    /// The first one that has the name that the client asks for (SNI), else the first one; of those whose signature the
    /// client understands. Where it understands none, rustls is given one all the same, so that it says what is wrong.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let understood =
            || self.0.iter().filter(|key| key.key.choose_scheme(hello.signature_schemes()).is_some());
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let named = name.and_then(|name| understood().find(|key| has_name(key, &name)));
        named.or_else(|| understood().next()).or_else(|| self.0.first()).cloned()
    }
}

fn has_name(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let certificate = key.cert.first().and_then(|der| ParsedCertificate::try_from(der).ok());
    certificate.is_some_and(|certificate| verify_server_name(&certificate, name).is_ok())
}
