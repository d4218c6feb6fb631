//! A CA, and the certificate of a server on this computer.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::Result;

/// Files of a folder that ends with this value: ECDSA with P-256, as `culex init` makes them.
#[derive(Debug)]
pub struct Certificates(TempDir);

impl Certificates {
    /// New ones, for `localhost` and 127.0.0.1.
    ///
    /// # Errors
    /// If they cannot be made or written.
    pub fn new() -> Result<Self> {
        let files = Self(tempfile::tempdir()?);
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        files.write("ca.crt", &params.self_signed(&key)?.pem())?;
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(["localhost", "127.0.0.1"].map(str::to_owned))?;
        files.write("server.crt", &params.signed_by(&key, &issuer)?.pem())?;
        files.write("server.key", &key.serialize_pem())?;
        Ok(files)
    }

    /// The text with the paths of `{ca}`, `{certificate}` and `{key}`.
    pub fn fill(&self, text: &str) -> String {
        let path = |name: &str| self.0.path().join(name).display().to_string();
        let text = text.replace("{ca}", &path("ca.crt"));
        text.replace("{certificate}", &path("server.crt")).replace("{key}", &path("server.key"))
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.0.path().join(name);
        fs::write(&path, text)?;
        // Culex uses no key that others can read.
        Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)
    }
}
