//! What is only known when all is read: which listeners there are, who may come in through them, and what the options of one
//! mean together.

use std::path::PathBuf;

use culex_core::Address;
use culex_core::limits::Limit;

use crate::config::own_limits::OwnLimits;
use crate::config::problem::{Complaint, Note, Place, Report};
use crate::config::validate::{Draft, DraftListener};
use crate::config::{Listener, PORT, StoreMode, TlsSettings};

use super::bridge;
use super::reading::{Reading, Security, Theirs};

pub(super) fn finish(mut reading: Reading, report: &mut Report) -> (Draft, Vec<Note>) {
    let listeners = listeners(&mut reading, report);
    let mut drafts = Vec::new();
    for theirs in &listeners {
        drafts.extend(draft_of(theirs, &mut reading, report));
    }
    if listeners.is_empty() {
        drafts.push(local(&reading));
    }
    one_for_all(&listeners, &mut reading, report);
    let bridges = bridge::finish(&mut reading, report);
    let Reading { mut draft, mut notes, max_queued_messages, log_level, persistence, .. } = reading;
    draft.listeners = drafts;
    draft.bridges = bridges;
    if let Some(most) = max_queued_messages {
        let in_flight = u64::from(draft.config.limits.in_flight);
        let waiting = u64::try_from(most).ok().filter(|most| *most > 0);
        let together = waiting.and_then(|most| Limit::at_most(most + in_flight));
        draft.config.limits.queue_messages = together.unwrap_or(Limit::Unlimited);
    }
    draft.config.log.level = log_level.unwrap_or(draft.config.log.level);
    match persistence {
        None => draft.config.store.durability = StoreMode::None,
        Some(place) => notes.push(Note {
            place,
            text: "what mosquitto has kept (mosquitto.db) is not read: sessions, queues and retained messages begin anew".to_owned(),
        }),
    }
    (draft, notes)
}

/// Those that the file has, that of `port` and `bind_address` first, each with what holds for it.
fn listeners(reading: &mut Reading, report: &mut Report) -> Vec<Theirs> {
    let unnamed = std::mem::take(&mut reading.unnamed);
    let mut listeners = std::mem::take(&mut reading.listeners);
    let orphan = unnamed.first.clone().or_else(|| {
        let place = unnamed.security.first.clone()?;
        Some(("per_listener_settings", place))
    });
    if unnamed.begin.is_some() {
        listeners.insert(0, unnamed);
    } else if let Some((name, place)) = orphan {
        // mosquitto 2.0 opens one more listener on 1883 for it, or leaves it out where there is none.
        let message = if name == "per_listener_settings" {
            "with `per_listener_settings true` this option belongs to a listener, and there is none before it"
                .to_owned()
        } else {
            format!("`{name}` belongs to a listener, and there is none before it")
        };
        report.add(place, Complaint::new(message).help("put it below its `listener PORT`"));
    }
    for theirs in &mut listeners {
        if !reading.per_listener {
            let own = theirs.security.allow_anonymous;
            theirs.security = reading.shared.clone();
            theirs.security.allow_anonymous = own.or(reading.shared.allow_anonymous);
        }
    }
    listeners
}

/// Without any listener mosquitto serves this computer alone, without passwords, unless it was told otherwise.
fn local(reading: &Reading) -> DraftListener {
    let mut listener = Listener::default();
    let Security { allow_anonymous, password_file, .. } = &reading.shared;
    listener.allow_anonymous = allow_anonymous.or(password_file.as_ref().map(|_| true));
    DraftListener { listener, address: reading.shared.first.clone(), ..DraftListener::default() }
}

/// The listeners that one of theirs is: one for each kind of address.
fn draft_of(theirs: &Theirs, reading: &mut Reading, report: &mut Report) -> Vec<DraftListener> {
    let Some(begin) = theirs.begin.clone() else { return Vec::new() };
    reading.here.clone_from(&begin);
    let port = theirs.port.unwrap_or(PORT);
    let found = if theirs.is_unix {
        Ok(vec![theirs.taken.address.clone()])
    } else {
        let found = reading.machine.addresses(theirs.host.as_deref(), port, theirs.domain);
        found.map(|addresses| addresses.into_iter().map(Address::Ip).collect())
    };
    let addresses: Vec<_> = match found {
        Ok(addresses) => addresses,
        Err(complaint) => {
            report.add(begin, complaint);
            return Vec::new();
        }
    };
    if !theirs.is_unix && theirs.host.is_none() && theirs.domain.is_none() && addresses.len() == 1 {
        reading.note("this computer has no IPv6, so this listener is for IPv4 alone");
    }
    if addresses.len() > 1 && theirs.taken.max_connections != Limit::Unlimited {
        reading.note("`max_connections` of this listener is counted for IPv4 and for IPv6, each by itself");
    }
    let tls = tls_of(theirs, reading, report);
    let is_open = is_anybody_let_in(theirs, &begin, report);
    let draft = |address| {
        let listener = Listener {
            address,
            allow_anonymous: Some(theirs.security.allow_anonymous.unwrap_or(false)),
            tls: tls.clone(),
            ..theirs.taken.clone()
        };
        DraftListener {
            listener,
            // Without a place nothing more is said of it.
            address: is_open.then(|| begin.clone()),
            allow_anonymous: None,
            tls: theirs.tls.clone().filter(|_| is_open),
            limits: OwnLimits::default(),
        }
    };
    addresses.into_iter().map(draft).collect()
}

/// mosquitto starts all the same, and refuses everybody.
fn is_anybody_let_in(theirs: &Theirs, begin: &Place, report: &mut Report) -> bool {
    let has_names = theirs.use_identity_as_username || theirs.use_subject_as_username;
    if theirs.security.password_file.is_some()
        || theirs.security.allow_anonymous == Some(true)
        || (theirs.tls.is_some() && has_names)
    {
        return true;
    }
    let complaint = Complaint::new(
        "nobody can connect to this listener: there is no `password_file`, and without `allow_anonymous true` clients without a \
         user name are refused",
    );
    report.add(
        begin.clone(),
        complaint.help(
            "add `password_file FILE` (`culex passwd -c FILE USER` makes the file), or `allow_anonymous true` if everybody may",
        ),
    );
    false
}

fn tls_of(theirs: &Theirs, reading: &mut Reading, report: &mut Report) -> Option<TlsSettings> {
    let place = theirs.tls.clone()?;
    let (Some(certificate), Some(key)) = (&theirs.certfile, &theirs.keyfile) else {
        let complaint = Complaint::new("TLS needs both `certfile` and `keyfile`")
            .help("name the PEM files of the server's certificate and its key");
        report.add(place, complaint);
        return None;
    };
    let is_identity = theirs.use_identity_as_username;
    let mut tls = TlsSettings {
        certificates: vec![certificate.clone()],
        keys: vec![key.clone()],
        min_version: theirs.min_version,
        use_identity_as_username: is_identity.then_some(true),
        use_subject_as_username: (theirs.use_subject_as_username && !is_identity).then_some(true),
        ..TlsSettings::default()
    };
    reading.here.clone_from(&place);
    if !theirs.require_certificate {
        if is_identity || theirs.use_subject_as_username {
            let complaint =
                Complaint::new("a user name from certificates needs a certificate of every client");
            report.add(place, complaint.help("add `require_certificate true`"));
            return None;
        }
        if theirs.cafile.is_some() || theirs.capath.is_some() {
            reading.note(
                "without `require_certificate true` no client is asked for a certificate, so `cafile`, `capath` and `crlfile` \
                 are not read; what leads from `certfile` to its CA belongs into `certfile`",
            );
        }
        return Some(tls);
    }
    tls.client_ca = match (&theirs.cafile, &theirs.capath) {
        (Some(_), Some(_)) => {
            let complaint = Complaint::new("`cafile` and `capath` together are not supported");
            report.add(place, complaint.help("put all CAs of clients into one file, or into one folder"));
            None
        }
        (Some(path), None) | (None, Some(path)) => Some(path.clone()),
        (None, None) => {
            let complaint = Complaint::new("`require_certificate true` needs the CA of the clients");
            report.add(place, complaint.help("name it: `cafile FILE`"));
            None
        }
    };
    // Half of it would be reported once more.
    tls.client_ca.as_ref()?;
    tls.crl.extend(theirs.crlfile.clone());
    Some(tls)
}

/// There is one list of users and one of rights for all listeners.
fn one_for_all(listeners: &[Theirs], reading: &mut Reading, report: &mut Report) {
    let (draft, shared) = (&mut reading.draft, &reading.shared);
    if !reading.per_listener || listeners.is_empty() {
        draft.config.auth.password_file = path(shared.password_file.as_ref());
        draft.config.acl.file = path(shared.acl_file.as_ref());
        return;
    }
    let files = |file: fn(&Security) -> Option<&(PathBuf, Place)>| {
        let mut found: Vec<&(PathBuf, Place)> = Vec::new();
        for theirs in listeners {
            if let Some(new) = file(&theirs.security)
                && !found.iter().any(|(path, _)| *path == new.0)
            {
                found.push(new);
            }
        }
        found
    };
    let users = files(|security| security.password_file.as_ref());
    let rights = files(|security| security.acl_file.as_ref());
    for (name, found) in [("password_file", &users), ("acl_file", &rights)] {
        for (path, place) in found.iter().skip(1) {
            let message = format!(
                "`{name} {}` is not supported: an earlier listener has another one, and there is one for all",
                path.display()
            );
            let help = "put both into one file, or run a broker for each";
            report.add(place.clone(), Complaint::new(message).help(help));
        }
    }
    draft.config.auth.password_file = path(users.first().copied());
    draft.config.acl.file = path(rights.first().copied());
    let has_rights = |theirs: &Theirs| theirs.security.acl_file.is_some();
    if let (Some(without), Some((_, place))) =
        (listeners.iter().find(|theirs| !has_rights(theirs)), rights.first())
    {
        let port = without.port.unwrap_or(PORT);
        let message = format!(
            "not every listener has this `acl_file` (port {port} has none), and there is one for all"
        );
        let help = "give every listener the same `acl_file`";
        report.add(place.clone(), Complaint::new(message).help(help));
    }
    let asks_nobody = |theirs: &&Theirs| theirs.security.password_file.is_none();
    if let (Some((path, place)), Some(without)) = (users.first(), listeners.iter().find(asks_nobody)) {
        reading.here.clone_from(place);
        reading.note(format!(
            "{} is for all listeners: also on port {} who says a user name must know its password",
            path.display(),
            without.port.unwrap_or(PORT)
        ));
    }
}

fn path(file: Option<&(PathBuf, Place)>) -> Option<PathBuf> {
    file.map(|(path, _)| path.clone())
}
