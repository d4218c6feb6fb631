//! What can only be seen when all is read: two listeners on one address, a listener that is open to everybody.

use culex_core::Address;

use crate::config::bridge::{self, DraftBridge};
use crate::config::own_limits::OwnLimits;
use crate::config::problem::{Complaint, Place, Report};
use crate::config::webhook::{self, DraftWebhook};
use crate::config::{CertificateUser, Config, HttpSettings, Listener, Protocol, TlsSettings};

/// A configuration that may still be wrong.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// Listeners in the order of the file; empty means the default one.
    pub(crate) listeners: Vec<DraftListener>,
    /// Bridges in the order of the file.
    pub(crate) bridges: Vec<DraftBridge>,
    /// Webhooks in the order of the file.
    pub(crate) webhooks: Vec<DraftWebhook>,
    /// Where `[http]` stands.
    pub(crate) http: Option<Place>,
    /// Where `[http.tls]` stands.
    pub(crate) http_tls: Option<Place>,
    /// Where the rules of `[acl]` stand.
    pub(crate) acl_rule: Option<Place>,
    /// All but the listeners, bridges and webhooks.
    pub(crate) config: Config,
}

/// A listener, and where its address was written.
#[derive(Debug, Default)]
pub(crate) struct DraftListener {
    pub(crate) listener: Listener,
    /// Where `address` stands; `None` if it was wrong or absent, which is already reported.
    pub(crate) address: Option<Place>,
    /// Where `allow_anonymous` stands.
    pub(crate) allow_anonymous: Option<Place>,
    /// Where `tls` stands.
    pub(crate) tls: Option<Place>,
    /// What of the limits it has otherwise.
    pub(crate) limits: OwnLimits,
}

pub(crate) fn validate(draft: Draft, report: &mut Report) -> Config {
    let Draft { listeners, bridges, webhooks, http, http_tls, acl_rule, config } = draft;
    for (n, listener) in listeners.iter().enumerate() {
        check_exposure(listener, config.auth.password_file.is_some(), report);
        if let (Some(tls), Some(place)) = (&listener.listener.tls, &listener.tls) {
            check_tls(tls, "[listener.tls]", place, report);
        }
        check_together(listener, report);
        let earlier = listeners.iter().take(n);
        check_unique(listener, earlier, report);
    }
    if let Some(settings) = &config.http {
        check_http(settings, http, http_tls, &config, report);
    }
    if let (Some(place), Some(_)) = (acl_rule, &config.acl.file) {
        let complaint = Complaint::new("there are both [[acl.rule]] and `file`, and one list decides");
        report.add(place, complaint.help("remove one of the two"));
    }
    let complete = |listener: DraftListener| {
        let limits = listener.limits.over(&config.limits);
        Listener { limits, ..listener.listener }
    };
    let mut listeners: Vec<_> = listeners.into_iter().map(complete).collect();
    if listeners.is_empty() {
        listeners.push(Listener::default());
    }
    let bridges = bridge::check(bridges, &listeners, report);
    let webhooks = webhook::check(webhooks, report);
    Config { listeners, bridges, webhooks, ..config }
}

/// Without users nobody is asked for a password, so whoever can reach the port may read and write everything. That
/// must be said, not inherited.
fn check_exposure(draft: &DraftListener, has_users: bool, report: &mut Report) {
    let Listener { ref address, allow_anonymous, .. } = draft.listener;
    // Whoever comes in has shown who it is.
    if has_users || draft.listener.requires_certificate() {
        return;
    }
    if allow_anonymous == Some(false) {
        let place = draft.allow_anonymous.clone().or_else(|| draft.address.clone());
        if let Some(place) = place {
            report.add(
                place,
                Complaint::new("allow_anonymous = false needs users, and there are none").help(
                    "add `password_file = \"FILE\"` under [auth]; `culex passwd -c FILE USER` makes the file",
                ),
            );
        }
        return;
    }
    let Some(place) = &draft.address else { return };
    if !address.is_local() && allow_anonymous.is_none() {
        let message = format!("other computers can reach {address}, and nobody is asked for a password");
        let complaint = Complaint::new(message).help(
            "add users (`password_file` under [auth]; `culex passwd -c FILE USER` makes the file), or \
             `allow_anonymous = true` to this [[listener]] if everybody may, or listen on 127.0.0.1",
        );
        report.add(place.clone(), complaint);
    }
}

/// What belongs together in `[http]`. Whoever is named must be a user, and certificates name nobody here.
fn check_http(
    http: &HttpSettings,
    place: Option<Place>,
    tls_place: Option<Place>,
    config: &Config,
    report: &mut Report,
) {
    if let (Some(tls), Some(place)) = (&http.tls, tls_place) {
        check_tls(tls, "[http.tls]", &place, report);
        if tls.user_name() != CertificateUser::None {
            let complaint = Complaint::new("certificates are no users of the HTTP API");
            let help = "leave use_identity_as_username and use_subject_as_username out; users log in with their password";
            report.add(place, complaint.help(help));
        }
    }
    let Some(place) = place else { return };
    if config.auth.password_file.is_none() && !(http.admins.is_empty() && http.viewers.is_empty()) {
        let complaint = Complaint::new("admins and viewers are users, and there are none");
        let help = "add `password_file = \"FILE\"` under [auth]; `culex passwd -c FILE USER` makes the file";
        report.add(place.clone(), complaint.help(help));
    }
    if let Some(wrong) = http.allow_origins.iter().find(|origin| !is_origin(origin)) {
        report.add(place, no_origin("allow_origins", wrong));
    }
}

/// What a browser sends as `Origin`.
fn is_origin(origin: &str) -> bool {
    match origin.split_once("://") {
        Some((_, host)) => !host.is_empty() && !host.contains('/'),
        None => origin == "*" || origin == "null",
    }
}

fn no_origin(key: &str, wrong: &str) -> Complaint {
    Complaint::new(format!("\"{}\" in {key} is no origin", wrong.escape_debug()))
        .help("browsers send scheme and host, without a path: \"https://example.org\"")
}

/// What belongs together in `[listener.tls]` and `[http.tls]`.
fn check_tls(tls: &TlsSettings, section: &str, place: &Place, report: &mut Report) {
    let mut complain = |complaint| report.add(place.clone(), complaint);
    match (tls.certificates.len(), tls.keys.len()) {
        (0, _) => complain(Complaint::new(format!("this {section} has no `certificate`")).help(
            "name the PEM files of a certificate and its key: `certificate = \"server.crt\"`, `key = \"server.key\"`",
        )),
        (certificates, keys) if certificates != keys => complain(
            Complaint::new(format!("certificate names {certificates} files, and key {keys}"))
                .help("each certificate has its key, in the same order"),
        ),
        (_, _) => {}
    }
    let is_named = tls.user_name() != CertificateUser::None;
    let needs_ca = [
        ("require_certificate", tls.require_certificate == Some(true)),
        ("crl", !tls.crl.is_empty()),
        ("a user name from certificates", is_named),
    ];
    for (what, _) in needs_ca.iter().filter(|(_, is_set)| *is_set && tls.client_ca.is_none()) {
        complain(
            Complaint::new(format!("{what} needs the CA of the clients"))
                .help("name it: `client_ca = \"clients-ca.crt\"`"),
        );
    }
    if is_named && tls.require_certificate == Some(false) {
        complain(
            Complaint::new("a user name from certificates needs a certificate of every client")
                .help("leave `require_certificate = false` out"),
        );
    }
    if tls.use_identity_as_username == Some(true) && tls.use_subject_as_username == Some(true) {
        complain(Complaint::new("use_identity_as_username and use_subject_as_username exclude each other"));
    }
}

/// What means something with another setting alone.
fn check_together(draft: &DraftListener, report: &mut Report) {
    let Some(place) = &draft.address else { return };
    let listener = &draft.listener;
    let mut complain = |complaint| report.add(place.clone(), complaint);
    let is_set = listener.websocket_path.is_some() || !listener.websocket_origins.is_empty();
    if is_set && listener.protocol != Protocol::WebSockets {
        complain(
            Complaint::new("websocket_path and websocket_origins are for WebSocket, which this [[listener]] does not speak")
                .help("add `protocol = \"websockets\"`"),
        );
    }
    if listener.websocket_path.as_ref().is_some_and(|path| !path.starts_with('/')) {
        complain(
            Complaint::new("websocket_path does not begin with /")
                .help("for example `websocket_path = \"/mqtt\"`"),
        );
    }
    if let Some(wrong) = listener.websocket_origins.iter().find(|origin| !is_origin(origin)) {
        complain(no_origin("websocket_origins", wrong));
    }
    if matches!(listener.address, Address::Unix(_)) {
        for (key, _) in [
            ("bind_device", listener.bind_device.is_some()),
            ("proxy_protocol", !listener.proxy_protocol.is_empty()),
        ]
        .iter()
        .filter(|(_, is_set)| *is_set)
        {
            complain(Complaint::new(format!("{key} means nothing for a Unix socket")));
        }
    }
}

fn check_unique<'a>(
    draft: &DraftListener,
    mut earlier: impl Iterator<Item = &'a DraftListener>,
    report: &mut Report,
) {
    let address = &draft.listener.address;
    let Some(place) = &draft.address else { return };
    if address.ip().is_none_or(|address| address.port() != 0)
        && earlier.any(|other| other.address.is_some() && other.listener.address == *address)
    {
        report.add(place.clone(), Complaint::new(format!("an earlier listener has {address} already")));
    }
}
