//! What of a bridge can only be seen when all of it is read.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;

use culex_codec::{QoS, TopicFilter};

use super::{Bridge, BridgeTls, DraftBridge, Mapping, Places};
use crate::bridge::aws;
use crate::config::problem::{Complaint, Place, Report};
use crate::config::{KeyPermissions, Listener};

/// Bytes of a name, so that it fits into topics, ClientIds and file names.
const NAME_BYTES_MAX: usize = 64;

/// The bridges of a configuration, and what is wrong with them.
pub(crate) fn check(drafts: Vec<DraftBridge>, listeners: &[Listener], report: &mut Report) -> Vec<Bridge> {
    for (n, draft) in drafts.iter().enumerate() {
        let checker = Checker { draft, bridge: &draft.bridge };
        checker.check_name(drafts.iter().take(n), report);
        checker.check_remote(report);
        checker.check_is_another(listeners, report);
        checker.check_tls(report);
        checker.check_mappings(report);
        if draft.bridge.is_aws_iot() {
            checker.check_aws(report);
        }
    }
    drafts.into_iter().map(|draft| draft.bridge).collect()
}

struct Checker<'a> {
    draft: &'a DraftBridge,
    bridge: &'a Bridge,
}

impl Checker<'_> {
    fn complain(&self, report: &mut Report, key: &str, complaint: Complaint) {
        report.add(self.draft.place_of(key), complaint);
    }

    fn check_name<'d>(&self, mut earlier: impl Iterator<Item = &'d DraftBridge>, report: &mut Report) {
        let name = &self.bridge.name;
        if name.is_empty() {
            let complaint = Complaint::new("this [[bridge]] has no `name`");
            return self.complain(report, "name", complaint.help("add a line such as `name = \"cloud\"`"));
        }
        let is_ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.len() > NAME_BYTES_MAX || !name.chars().all(is_ok) {
            let message = format!("\"{}\" cannot be the name of a bridge", name.escape_debug());
            let help = "letters without accents, digits, `-`, `_` and `.`, at most 64: it is part of a topic";
            self.complain(report, "name", Complaint::new(message).help(help));
        }
        if earlier.any(|other| other.bridge.name == *name) {
            let complaint = Complaint::new(format!("an earlier bridge has the name \"{name}\" already"));
            self.complain(report, "name", complaint);
        }
    }

    fn check_remote(&self, report: &mut Report) {
        let bridge = self.bridge;
        // A misspelt `address` is reported as that.
        if bridge.addresses.is_empty() && !self.draft.places.contains_key("address") {
            let complaint = Complaint::new("this [[bridge]] has no `address`")
                .help("add a line such as `address = \"mqtt.example.org:8883\"`");
            self.complain(report, "address", complaint);
        }
        if bridge.password.is_some() && bridge.user.is_none() {
            // [MQTT-3.1.2-22]
            let complaint = Complaint::new("a password needs a `user`").help("add `user = \"NAME\"`");
            self.complain(report, "password", complaint);
        }
        if bridge.reconnect_min > bridge.reconnect_max {
            let complaint =
                Complaint::new("the shortest time between two attempts is longer than the longest")
                    .help("raise `reconnect_max`, or lower `reconnect_min`");
            self.complain(report, "reconnect_min", complaint);
        }
        if let Some(topic) = &bridge.notification_topic
            && let Err(error) = culex_codec::TopicName::new(topic)
        {
            let message = format!("\"{}\" is no topic: {error}", topic.escape_debug());
            self.complain(report, "notification_topic", Complaint::new(message));
        }
        if bridge.connections > 1 && bridge.notifies_remote() {
            let complaint = Complaint::new("several connections cannot share one state on the other side")
                .help("add `notifications_local_only = true`");
            self.complain(report, "connections", complaint);
        }
    }

    /// What is plain to see; the rest is found out when the bridge is connected.
    fn check_is_another(&self, listeners: &[Listener], report: &mut Report) {
        let has_tls = self.bridge.has_tls();
        for address in &self.bridge.addresses {
            let is_own = |own: &SocketAddr| {
                own.port() == address.port_or_default(has_tls) && is_reached_by(own.ip(), &address.host)
            };
            let Some(own) = listeners.iter().filter_map(|one| one.address.ip()).find(is_own) else {
                continue;
            };
            let complaint = Complaint::new(format!("{address} leads to this broker's own listener {own}"))
                .help("a bridge needs the address of another broker");
            self.complain(report, "address", complaint);
        }
    }

    fn check_tls(&self, report: &mut Report) {
        let Some(tls) = &self.bridge.tls else { return };
        let mut complain = |key: &str, complaint| self.complain(report, key, complaint);
        match (&tls.certificate, &tls.key) {
            (Some(_), None) => complain(
                "tls.certificate",
                Complaint::new("the certificate has no `key`").help("name its file: `key = \"client.key\"`"),
            ),
            (None, Some(_)) => complain(
                "tls.key",
                Complaint::new("the key has no `certificate`")
                    .help("name its file: `certificate = \"client.crt\"`"),
            ),
            (Some(_), Some(_)) | (None, None) => {}
        }
        if let Some(complaint) = readable_by_others(tls) {
            complain("tls.key", complaint);
        }
        if tls.alpn.len() > 1 && tls.alpn.iter().any(|name| name == "none") {
            complain(
                "tls.alpn",
                Complaint::new("\"none\" and another application protocol exclude each other"),
            );
        }
    }

    fn check_mappings(&self, report: &mut Report) {
        let bridge = self.bridge;
        if bridge.outgoing.is_empty() && bridge.incoming.is_empty() {
            let complaint = Complaint::new("this [[bridge]] has no topics, so nothing would go over it")
                .help("add `[[bridge.out]]` or `[[bridge.in]]`, each with a `filter`");
            self.complain(report, "name", complaint);
        }
        let outgoing = bridge.outgoing.iter().zip(&self.draft.outgoing);
        let incoming = bridge.incoming.iter().zip(&self.draft.incoming);
        for (mapping, (place, places)) in outgoing.chain(incoming) {
            check_mapping(mapping, |key| place_in(place, places, key), report);
        }
        for (mapping, (place, places)) in bridge.incoming.iter().zip(&self.draft.incoming) {
            if mapping.basic_ingest.is_some() {
                let complaint =
                    Complaint::new("basic_ingest is for [[bridge.out]]: nobody can subscribe to a rule");
                report.add(place_in(place, places, "basic_ingest"), complaint);
            }
            if mapping.local_filter().starts_with('$') {
                let complaint =
                    Complaint::new("only the broker itself publishes to topics that begin with `$`")
                        .help("give the messages another `local_prefix`");
                report.add(place_in(place, places, "local_prefix"), complaint);
            }
        }
    }

    /// What AWS IoT Core would answer by closing the connection, or not at all.
    fn check_aws(&self, report: &mut Report) {
        self.check_aws_identity(report);
        let bridge = self.bridge;
        let mut complain = |key: &str, complaint| self.complain(report, key, complaint);
        if !aws::KEEP_ALIVE_S.contains(&bridge.keep_alive.as_secs()) {
            let (least, most) = (aws::KEEP_ALIVE_S.start(), aws::KEEP_ALIVE_S.end());
            complain(
                "keep_alive",
                Complaint::new(format!("AWS IoT wants a keep alive of {least} s to {most} s")),
            );
        }
        if bridge.try_private == Some(true) {
            let complaint = Complaint::new("AWS IoT does not take connections of bridges (level 0x84)");
            complain("try_private", complaint.help("leave `try_private` out"));
        }
        if let Some(plain) = bridge.addresses.iter().find(|address| address.port == Some(crate::config::PORT))
        {
            let message = format!("{plain}: AWS IoT speaks TLS alone, not on port {}", crate::config::PORT);
            complain(
                "address",
                Complaint::new(message).help("take port 8883, or 443 through a strict firewall"),
            );
        }
        if bridge.notifies_remote() && aws::objection(&bridge.state_topic()).is_some() {
            let complaint = Complaint::new("AWS IoT does not take the topic of the notifications");
            let help = "leave `notifications_local_only` out, or give another `notification_topic`";
            complain("notifications_local_only", complaint.help(help));
        }
        let subscriptions = bridge.incoming.len();
        if subscriptions > aws::SUBSCRIPTIONS_MAX {
            let most = aws::SUBSCRIPTIONS_MAX;
            let message = format!("{subscriptions} [[bridge.in]], and AWS IoT allows {most} subscriptions");
            let help = "take filters with wildcards, or a second bridge";
            if let Some((place, _)) = self.draft.incoming.get(most) {
                report.add(place.clone(), Complaint::new(message).help(help));
            }
        }
        let outgoing = bridge.outgoing.iter().zip(&self.draft.outgoing);
        let incoming = bridge.incoming.iter().zip(&self.draft.incoming);
        for (mapping, (place, places)) in outgoing.chain(incoming) {
            check_aws_mapping(mapping, |key| place_in(place, places, key), report);
        }
    }

    fn check_aws_identity(&self, report: &mut Report) {
        let bridge = self.bridge;
        let mut complain = |key: &str, complaint| self.complain(report, key, complaint);
        match &bridge.client_id {
            None => complain(
                "client_id",
                Complaint::new("AWS IoT knows a bridge by its `client_id`, and this one has none").help(
                    "write the one that its policy allows (`client/…`); one that is made up would be refused, and one that \
                     another bridge has too throws both out again and again",
                ),
            ),
            Some(id) if id.starts_with('$') => {
                complain("client_id", Complaint::new("AWS reserves client ids that begin with `$`"));
            }
            Some(_) if bridge.client_id_of(bridge.connections, "").len() > aws::CLIENT_ID_BYTES_MAX => {
                let most = aws::CLIENT_ID_BYTES_MAX;
                complain("client_id", Complaint::new(format!("AWS IoT takes client ids of {most} bytes")));
            }
            Some(_) => {}
        }
        let tls = bridge.tls.as_ref();
        if tls.is_some_and(|tls| tls.insecure == Some(true)) {
            complain(
                "tls.insecure",
                Complaint::new(
                    "`insecure` would let anybody be AWS IoT who has a certificate of the same CA",
                )
                .help("leave it out: the certificate of AWS has the name of the endpoint"),
            );
        }
        if tls.is_none_or(|tls| tls.certificate.is_none()) && bridge.user.is_none() {
            complain(
                "tls",
                Complaint::new("AWS IoT knows a bridge by its certificate, and this one has none").help(
                    "name the files of the thing under [bridge.tls]: `certificate`, `key`; or a `user` for a custom authorizer",
                ),
            );
        }
    }
}

fn place_in(place: &Place, places: &Places, key: &str) -> Place {
    places.get(key).unwrap_or(place).clone()
}

/// Whether a host plainly leads to a listener at this address of this computer.
fn is_reached_by(listener: IpAddr, host: &str) -> bool {
    if host.eq_ignore_ascii_case("localhost") {
        return listener.is_unspecified() || listener.is_loopback();
    }
    let Ok(host) = host.parse::<IpAddr>() else { return false };
    host == listener || (host.is_loopback() && listener.is_unspecified())
}

fn check_mapping(mapping: &Mapping, place: impl Fn(&str) -> Place, report: &mut Report) {
    // One topic with another name there has two prefixes and nothing behind them.
    let is_one_topic = mapping.local_prefix.is_some() && mapping.remote_prefix.is_some();
    if mapping.filter.is_empty() && !is_one_topic {
        let complaint =
            Complaint::new("there is no `filter`").help("add a line such as `filter = \"sensors/#\"`");
        return report.add(place("filter"), complaint);
    }
    for (key, prefix) in [("local_prefix", &mapping.local_prefix), ("remote_prefix", &mapping.remote_prefix)]
    {
        let Some(prefix) = prefix else { continue };
        if prefix.contains(['+', '#', '\0']) {
            let message =
                format!("\"{}\" cannot stand before a topic: it has a wildcard", prefix.escape_debug());
            report.add(place(key), Complaint::new(message));
            return;
        }
    }
    for (side, filter) in [("here", mapping.local_filter()), ("there", mapping.remote_filter())] {
        if let Err(error) = TopicFilter::new(&filter) {
            let message = format!("\"{}\" {side} is no topic filter: {error}", filter.escape_debug());
            report.add(place("filter"), Complaint::new(message));
            return;
        }
        if filter.starts_with("$share/") {
            let complaint = Complaint::new("a bridge has subscriptions of its own and shares none")
                .help("leave `$share/…/` out");
            report.add(place("filter"), complaint);
            return;
        }
    }
    let rule = mapping.basic_ingest.as_deref().unwrap_or("rule");
    if !rule.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        let complaint = Complaint::new("basic_ingest is the name of a rule: letters, digits and `_`");
        report.add(place("basic_ingest"), complaint);
    }
}

fn check_aws_mapping(mapping: &Mapping, place: impl Fn(&str) -> Place, report: &mut Report) {
    if mapping.qos == QoS::ExactlyOnce {
        let complaint =
            Complaint::new("AWS IoT has no QoS 2, and does not answer to it").help("write `qos = 1`");
        report.add(place("qos"), complaint);
    }
    let remote = mapping.remote_filter();
    if let Some(objection) = aws::objection(&remote) {
        let message = format!("\"{}\" there: {objection}", remote.escape_debug());
        let help = "a shorter `remote_prefix` or another `filter` mends it";
        report.add(place("filter"), Complaint::new(message).help(help));
    }
}

/// As the private key of a listener, that of a bridge is nobody else's.
fn readable_by_others(tls: &BridgeTls) -> Option<Complaint> {
    const OTHERS: u32 = 0o007;
    let path = tls.key.as_ref().filter(|_| tls.key_permissions == KeyPermissions::Strict)?;
    // What cannot be looked at is reported when it is read.
    let mode = fs::metadata(path).ok()?.permissions().mode();
    let path = path.display();
    (mode & OTHERS != 0).then(|| {
        Complaint::new(format!("every user of this computer can read the private key {path}"))
            .help(format!("`chmod o= {path}`; where a container mounts it so, key_permissions = \"warn\""))
    })
}
