//! Certificates, keys and revocation lists from files, and what is wrong with a file that has none.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::certificate::{Certificate, Seconds, next_update};
use crate::config::problem::Complaint;
use crate::config::source::read_at_most;
use crate::config::{KeyPermissions, Place};

/// The revocation list of a large CA has some MiB.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// More files than this in a folder of CAs are another folder.
const CA_FILES_MAX: usize = 1000;

/// A complaint about a file.
pub(super) type Fault = (Place, Complaint);

/// A complaint about `path`.
pub(super) fn fault(path: &Path, complaint: Complaint) -> Fault {
    (Place::File { file: path.display().to_string() }, complaint)
}

/// A chain of certificates, the server's own first.
pub(super) fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let certificates = certificates(path)?;
    if let Some(own) = certificates.first().and_then(|first| Certificate::read(first)) {
        check_dates(&own).map_err(|complaint| fault(path, complaint))?;
    }
    Ok(certificates)
}

/// The key of a certificate. Others may not read it, unless that is said to be so.
pub(super) fn key(path: &Path, permissions: KeyPermissions) -> Result<PrivateKeyDer<'static>, Fault> {
    let bytes = read(path)?;
    check_permissions(path, permissions)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| fault(path, no_key(path, &bytes)))
}

/// Authorities that sign certificates of clients: of a file, or of all files in a folder.
pub(super) fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let certificates = any_certificates(path)?;
    for der in &certificates {
        if let Some(certificate) = Certificate::read(der)
            && !certificate.is_ca
        {
            let complaint =
                Complaint::new(format!("this is the certificate of {}, not a CA", certificate.title()))
                    .help("client_ca takes the certificate that signed those of the clients");
            return Err(fault(path, complaint));
        }
    }
    Ok(certificates)
}

/// Certificates of a file, or of all files in a folder.
pub(super) fn any_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    if path.is_dir() { certificates_in(path) } else { certificates(path) }
}

/// Lists of revoked certificates.
pub(super) fn revocation_lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, Fault> {
    let bytes = read(path)?;
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    let lists =
        lists.map_err(|error| fault(path, Complaint::new(format!("this PEM file is damaged: {error}"))))?;
    if lists.is_empty() {
        let complaint = Complaint::new("there is no revocation list in this file (-----BEGIN X509 CRL-----)");
        return Err(fault(
            path,
            if is_der(&bytes) { complaint.help(convert("crl", path)) } else { complaint },
        ));
    }
    for list in &lists {
        if let Some(end) = next_update(list)
            && end < Seconds::now()
        {
            let complaint = Complaint::new(format!("this revocation list has expired on {}", end.date()))
                .help("get the present one from the CA; with this one every client is refused");
            return Err(fault(path, complaint));
        }
    }
    Ok(lists)
}

fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    let bytes = read_at_most(path, FILE_BYTES_MAX).map_err(|complaint| fault(path, complaint))?;
    bytes.ok_or_else(|| fault(path, Complaint::new("this file is larger than 64 MiB; is it a PEM file?")))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let bytes = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if found.is_empty() => Err(fault(path, no_certificate(path, &bytes))),
        Ok(found) => Ok(found),
        Err(error) => Err(fault(path, Complaint::new(format!("this PEM file is damaged: {error}")))),
    }
}

fn certificates_in(folder: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let cannot = |error: std::io::Error| {
        fault(folder, Complaint::new(format!("cannot read this folder: {}", crate::cli::human::io(&error))))
    };
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        if path.is_file() {
            files.push(path);
        }
        if files.len() > CA_FILES_MAX {
            let complaint =
                Complaint::new(format!("there are more than {CA_FILES_MAX} files in this folder"));
            return Err(fault(folder, complaint.help("give client_ca a folder with CA certificates alone")));
        }
    }
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let bytes = read(&file)?;
        // A folder may have notes and revocation lists too.
        found.extend(CertificateDer::pem_slice_iter(&bytes).filter_map(Result::ok));
    }
    if found.is_empty() {
        return Err(fault(folder, Complaint::new("there is no certificate in the files of this folder")));
    }
    Ok(found)
}

fn check_dates(certificate: &Certificate<'_>) -> Result<(), Complaint> {
    let now = Seconds::now();
    if certificate.not_after < now {
        let date = certificate.not_after.date();
        return Err(Complaint::new(format!(
            "the certificate of {} has expired on {date}",
            certificate.title()
        ))
        .help("renew it; no client accepts it"));
    }
    if now < certificate.not_before {
        let date = certificate.not_before.date();
        return Err(Complaint::new(format!("the certificate of {} begins on {date}", certificate.title()))
            .help("is the clock of this computer right?"));
    }
    Ok(())
}

fn check_permissions(path: &Path, permissions: KeyPermissions) -> Result<(), Fault> {
    const OTHERS: u32 = 0o007;
    let Ok(metadata) = fs::metadata(path) else { return Ok(()) };
    if metadata.permissions().mode() & OTHERS == 0 {
        return Ok(());
    }
    match permissions {
        KeyPermissions::Strict => {
            let complaint = Complaint::new("every user of this computer can read this private key");
            let help = format!(
                "`chmod o= {}`; where a container mounts it so, key_permissions = \"warn\"",
                path.display()
            );
            Err(fault(path, complaint.help(help)))
        }
        KeyPermissions::Warn => {
            tracing::warn!(file = %path.display(), "every user of this computer can read this private key");
            Ok(())
        }
    }
}

fn no_certificate(path: &Path, bytes: &[u8]) -> Complaint {
    let complaint = Complaint::new("there is no certificate in this file (-----BEGIN CERTIFICATE-----)");
    if has(bytes, "PRIVATE KEY-----") {
        complaint.help("it is a private key; are certificate and key exchanged?")
    } else if has(bytes, "CERTIFICATE REQUEST-----") {
        complaint.help("it is a request; a CA makes a certificate of it")
    } else if is_der(bytes) {
        complaint.help(convert("x509", path))
    } else {
        complaint.help("a PEM file is wanted")
    }
}

fn no_key(path: &Path, bytes: &[u8]) -> Complaint {
    if has(bytes, "BEGIN ENCRYPTED PRIVATE KEY") || has(bytes, "Proc-Type: 4,ENCRYPTED") {
        return Complaint::new("this private key has a passphrase, and nobody is there to type it")
            .help(format!("`openssl pkey -in {0} -out {0}.plain && chmod 600 {0}.plain`", path.display()));
    }
    let complaint = Complaint::new("there is no private key in this file (-----BEGIN PRIVATE KEY-----)");
    if has(bytes, "BEGIN CERTIFICATE-----") {
        complaint.help("it is a certificate; are certificate and key exchanged?")
    } else if is_der(bytes) {
        complaint.help(convert("pkey", path))
    } else {
        complaint.help("a PEM file is wanted")
    }
}

fn convert(kind: &str, path: &Path) -> String {
    format!("it looks like DER; `openssl {kind} -inform DER -in {0} -out {0}.pem`", path.display())
}

/// A SEQUENCE with a long length.
fn is_der(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x30, 0x81]) || bytes.starts_with(&[0x30, 0x82])
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}
