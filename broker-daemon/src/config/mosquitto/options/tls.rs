//! Options of TLS, each of the listener before it.

use crate::config::TlsVersion;
use crate::config::problem::Complaint;

use super::super::reading::{Reading, Theirs};
use super::{FALSE, Meaning, OptionOf, Scope};

/// What `[listener.tls]` has, and what it has not.
pub(super) const OPTIONS: &[OptionOf] = &[
    text("certfile", "`certificate`", |r, value| {
        r.tls("certfile").certfile = Some(value.into());
        Ok(())
    }),
    text("keyfile", "`key`; one that every user can read stops the start", |r, value| {
        r.tls("keyfile").keyfile = Some(value.into());
        Ok(())
    }),
    text(
        "cafile",
        "`client_ca`, with `require_certificate true`; without it mosquitto asks nobody for a certificate, and neither does \
         Culex",
        |r, value| {
            r.tls("cafile").cafile = Some(value.into());
            Ok(())
        },
    ),
    text(
        "capath",
        "`client_ca`, like `cafile`; all certificates in the folder, hashed or not",
        |r, value| {
            r.tls("capath").capath = Some(value.into());
            Ok(())
        },
    ),
    text("crlfile", "`crl`", |r, value| {
        r.tls("crlfile").crlfile = Some(value.into());
        Ok(())
    }),
    switch("require_certificate", "`require_certificate`", |r, is_on| {
        wanting(r, "require_certificate", is_on).require_certificate = is_on;
        Ok(())
    }),
    switch(
        "use_identity_as_username",
        "`use_identity_as_username`, which wins over the next one",
        |r, is_on| {
            wanting(r, "use_identity_as_username", is_on).use_identity_as_username = is_on;
            Ok(())
        },
    ),
    switch("use_subject_as_username", "`use_subject_as_username`", |r, is_on| {
        wanting(r, "use_subject_as_username", is_on).use_subject_as_username = is_on;
        Ok(())
    }),
    text("tls_version", "`min_version`: `tlsv1.2` or `tlsv1.3`; older ones are not spoken", |r, value| {
        let version = match value {
            "tlsv1.3" => TlsVersion::V1_3,
            "tlsv1.2" => TlsVersion::V1_2,
            _ => {
                let message =
                    format!("tls_version: expected `tlsv1.2` or `tlsv1.3`, found `{}`", value.escape_debug());
                return Err(Complaint::new(message).help("older versions are broken, and not spoken"));
            }
        };
        r.tls("tls_version").min_version = version;
        Ok(())
    }),
    ignored("ciphers", "the suites are those with ECDHE and AEAD alone"),
    ignored("ciphers_tls1.3", "all three suites of TLS 1.3 are offered"),
    ignored("dhparamfile", "keys are exchanged by ECDHE alone"),
    OptionOf {
        name: "tls_keyform",
        scope: Scope::Listener,
        meaning: Meaning::Only(&["pem"], "give the key as a PEM file: `keyfile FILE`"),
        doc: "keys are read from PEM files",
    },
    refused(
        "tls_engine",
        "there is no OpenSSL, so there are none of its engines",
        "give the key as a PEM file: `keyfile FILE`",
    ),
    refused("tls_engine_kpass_sha1", "there is no OpenSSL, so there are none of its engines", "remove it"),
    refused("psk_hint", "keys that are shared in advance are not spoken", PSK_HELP),
    OptionOf {
        name: "psk_file",
        scope: Scope::Security,
        meaning: Meaning::Refused(PSK_HELP),
        doc: "keys that are shared in advance are not spoken",
    },
    OptionOf {
        name: "disable_client_cert_date_checks",
        scope: Scope::Listener,
        meaning: Meaning::Only(FALSE, "renew the certificates of the clients"),
        doc: "a certificate is good until its date",
    },
];

const PSK_HELP: &str = "give each client a certificate (`require_certificate true`, `use_identity_as_username true`), or a \
                        password";

/// What is off wants no TLS.
fn wanting<'r>(reading: &'r mut Reading, name: &'static str, is_on: bool) -> &'r mut Theirs {
    if is_on { reading.tls(name) } else { reading.theirs() }
}

type Set<T> = fn(&mut Reading, T) -> super::Outcome;

const fn text(
    name: &'static str,
    doc: &'static str,
    set: fn(&mut Reading, &str) -> super::Outcome,
) -> OptionOf {
    OptionOf { name, scope: Scope::Listener, meaning: Meaning::Text(set), doc }
}

const fn switch(name: &'static str, doc: &'static str, set: Set<bool>) -> OptionOf {
    OptionOf { name, scope: Scope::Listener, meaning: Meaning::Switch(set), doc }
}

const fn ignored(name: &'static str, doc: &'static str) -> OptionOf {
    OptionOf { name, scope: Scope::Listener, meaning: Meaning::Ignored, doc }
}

const fn refused(name: &'static str, doc: &'static str, help: &'static str) -> OptionOf {
    OptionOf { name, scope: Scope::Listener, meaning: Meaning::Refused(help), doc }
}
