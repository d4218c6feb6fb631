//! A bridge in mosquitto's terms, and what becomes of it: above all where AWS IoT Core would not accept what mosquitto's file
//! says, which is said and done otherwise.

use std::path::PathBuf;

use culex_codec::QoS;
use culex_core::limits::Limit;

use crate::bridge::aws;
use crate::config::bridge::{DraftBridge, Places};
use crate::config::problem::{Complaint, Note, Place, Report};
use crate::config::{Bridge, BridgeProtocol, BridgeTls, Mapping, PORT, RemoteAddress};

use super::reading::{Outcome, Reading};

/// A bridge as it was said so far.
#[derive(Debug)]
pub(super) struct TheirBridge {
    /// What needs no second look.
    pub(super) draft: DraftBridge,
    pub(super) tls: BridgeTls,
    pub(super) cafile: Option<PathBuf>,
    pub(super) capath: Option<PathBuf>,
    pub(super) is_public_ca: bool,
    pub(super) outgoing_retain: Option<bool>,
    /// 0 is no limit.
    pub(super) packet_max: i64,
}

impl TheirBridge {
    pub(super) fn new(name: &str, place: Place) -> Self {
        let bridge = Bridge { name: name.to_owned(), ..Bridge::default() };
        Self {
            draft: DraftBridge::new(bridge, place),
            tls: BridgeTls::default(),
            cafile: None,
            capath: None,
            is_public_ca: false,
            outgoing_retain: None,
            packet_max: 0,
        }
    }
}

/// `host[:port]`, one or several. The port is behind the last colon, as in mosquitto.
///
/// # Errors
/// If one of them is no address.
pub(super) fn addresses(value: &str) -> Result<Vec<RemoteAddress>, Complaint> {
    let words = value.split(' ').filter(|word| !word.is_empty()).take_while(|word| !word.starts_with('#'));
    words.map(address).collect()
}

fn address(word: &str) -> Result<RemoteAddress, Complaint> {
    let wrong = || {
        Complaint::new(format!("`{}` is not the name of a computer with a port", word.escape_debug()))
            .help("for example `address mqtt.example.org:8883`")
    };
    let (host, port) = match word.rsplit_once(':') {
        Some((host, port)) => (host, port.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(wrong)?),
        None => (word, PORT),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || !host.chars().all(is_name) {
        return Err(wrong());
    }
    Ok(RemoteAddress { host: host.to_owned(), port: Some(port) })
}

/// `topic FILTER [out|in|both] [QOS] [LOCAL-PREFIX] [REMOTE-PREFIX]`.
///
/// # Errors
/// If a word is none of these.
pub(super) fn topic(reading: &mut Reading, value: &str) -> Outcome {
    let mut words = value.split(' ').filter(|word| !word.is_empty());
    let filter = words.next().map(unquoted).unwrap_or_default();
    let direction = words.next().unwrap_or("out");
    let qos = words.next().unwrap_or("0");
    let local_prefix = words.next().map(unquoted).filter(|prefix| !prefix.is_empty());
    let remote_prefix = words.next().map(unquoted).filter(|prefix| !prefix.is_empty());
    if let Some(rest) = words.next().filter(|rest| !rest.starts_with('#')) {
        reading.note(format!("topic: `{}` behind the prefixes is not read", rest.escape_debug()));
    }
    let (is_out, is_in) = match direction {
        "out" => (true, false),
        "in" => (false, true),
        "both" => (true, true),
        other => {
            let message = format!("topic: expected `out`, `in` or `both`, found `{}`", other.escape_debug());
            return Err(Complaint::new(message).help("`topic FILTER out 1 LOCAL-PREFIX REMOTE-PREFIX`"));
        }
    };
    let qos = qos.parse().ok().and_then(QoS::from_bits).ok_or_else(|| {
        Complaint::new(format!("topic: expected QoS 0, 1 or 2, found `{}`", qos.escape_debug()))
    })?;
    if filter.is_empty() && (local_prefix.is_none() || remote_prefix.is_none()) {
        return Err(Complaint::new("topic: without a filter both prefixes are needed")
            .help("`topic \"\" out 1 LOCAL-TOPIC REMOTE-TOPIC` is one topic with another name there"));
    }
    let mapping = Mapping {
        filter: filter.to_owned(),
        local_prefix: local_prefix.map(str::to_owned),
        remote_prefix: remote_prefix.map(str::to_owned),
        qos,
        ..Mapping::default()
    };
    let here = reading.here.clone();
    reading.bridge("topic", |theirs| {
        let draft = &mut theirs.draft;
        if is_out {
            draft.bridge.outgoing.push(mapping.clone());
            draft.outgoing.push((here.clone(), Places::new()));
        }
        if is_in {
            draft.bridge.incoming.push(mapping);
            draft.incoming.push((here, Places::new()));
        }
    })
}

/// Two quotation marks are nothing.
fn unquoted(word: &str) -> &str {
    if word == "\"\"" { "" } else { word }
}

/// All bridges as `[[bridge]]` has them.
pub(super) fn finish(reading: &mut Reading, report: &mut Report) -> Vec<DraftBridge> {
    let bridges = std::mem::take(&mut reading.bridges);
    let queue_messages = reading.max_queued_messages.filter(|most| *most > 0);
    let mut drafts = Vec::new();
    for theirs in bridges {
        let mut finishing = Finishing { notes: &mut reading.notes, report };
        if let Some(mut draft) = finishing.finish(theirs) {
            if let Some(most) = queue_messages.and_then(|most| Limit::at_most(most.unsigned_abs())) {
                draft.bridge.queue.max_messages = most;
            }
            drafts.push(draft);
        }
    }
    qos_0(reading, &mut drafts, report);
    drafts
}

/// `queue_qos0_messages` is kept for bridges, which it is mostly meant for.
fn qos_0(reading: &mut Reading, drafts: &mut [DraftBridge], report: &mut Report) {
    let Some(place) = reading.queue_qos_0.take() else { return };
    if drafts.is_empty() {
        let complaint = Complaint::new(
            "`queue_qos0_messages true` is not supported: QoS 0 does not wait for a client that is away",
        );
        return report.add(place, complaint.help("remove it, and publish with QoS 1 what must not be lost"));
    }
    for draft in drafts {
        draft.bridge.queue.qos0 = Some(true);
    }
    let text =
        "`queue_qos0_messages true` is for bridges alone: QoS 0 does not wait for a client that is away"
            .to_owned();
    reading.notes.push(Note { place, text });
}

struct Finishing<'a> {
    notes: &'a mut Vec<Note>,
    report: &'a mut Report,
}

impl Finishing<'_> {
    fn finish(&mut self, theirs: TheirBridge) -> Option<DraftBridge> {
        let TheirBridge { mut draft, outgoing_retain, packet_max, .. } = self.with_tls(theirs)?;
        if !self.is_whole(&draft) {
            return None;
        }
        for mapping in &mut draft.bridge.outgoing {
            mapping.retain = outgoing_retain;
        }
        let is_aws = draft.bridge.is_aws_iot();
        if is_aws {
            self.for_aws(&mut draft);
        } else if draft.bridge.protocol == BridgeProtocol::V311 {
            draft.bridge.try_private.get_or_insert(true);
        }
        // AWS takes no more than that in any case.
        let is_needless =
            is_aws && usize::try_from(packet_max).is_ok_and(|most| most >= aws::PAYLOAD_BYTES_MAX);
        if packet_max > 0 && !is_needless {
            self.note(
                &draft,
                "max_packet_size",
                "`bridge_max_packet_size` is ignored: messages go out whatever their size",
            );
        }
        Some(draft)
    }

    fn note(&mut self, draft: &DraftBridge, key: &str, text: impl Into<String>) {
        self.notes.push(Note { place: draft.place_of(key), text: text.into() });
    }

    /// TLS, if there is a file of it.
    fn with_tls(&mut self, mut theirs: TheirBridge) -> Option<TheirBridge> {
        let TheirBridge { draft, tls, cafile, capath, is_public_ca, .. } = &mut theirs;
        if cafile.is_some() && capath.is_some() {
            let complaint = Complaint::new("`bridge_cafile` and `bridge_capath` together are not supported");
            self.report
                .add(draft.place_of("tls"), complaint.help("put all CAs into one file, or into one folder"));
            return None;
        }
        match (&tls.certificate, &tls.key) {
            (Some(_), None) => {
                let complaint =
                    Complaint::new("`bridge_certfile` needs its key").help("add `bridge_keyfile FILE`");
                self.report.add(draft.place_of("tls.certificate"), complaint);
                return None;
            }
            (None, Some(_)) => {
                let complaint = Complaint::new("`bridge_keyfile` needs its certificate")
                    .help("add `bridge_certfile FILE`");
                self.report.add(draft.place_of("tls.key"), complaint);
                return None;
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
        tls.ca_file = cafile.take().or(capath.take());
        if tls.ca_file.is_some() || tls.certificate.is_some() || *is_public_ca {
            draft.bridge.tls = Some(std::mem::take(tls));
        } else if *tls != BridgeTls::default() {
            // A connection without TLS that was to be secured would say nothing.
            let complaint = Complaint::new("TLS of a bridge needs the CA of the other broker")
                .help("add `bridge_cafile FILE`, or `bridge_tls_use_os_certs true` for the public ones");
            let place = ["tls.insecure", "tls.alpn", "tls.min_version"]
                .into_iter()
                .find_map(|key| draft.places.get(key));
            self.report.add(place.unwrap_or(&draft.place).clone(), complaint);
            return None;
        }
        Some(theirs)
    }

    /// Whether there is what no bridge can do without.
    fn is_whole(&mut self, draft: &DraftBridge) -> bool {
        let bridge = &draft.bridge;
        let complaint = if bridge.addresses.is_empty() {
            Complaint::new("this bridge has no `address`")
                .help("add `address HOST:PORT` below its `connection`")
        } else if bridge.outgoing.is_empty() && bridge.incoming.is_empty() {
            Complaint::new("this bridge has no `topic`, so nothing would go over it")
                .help("add `topic FILTER out 1` below its `connection`, or `in`, or `both`")
        } else if bridge.is_aws_iot() && bridge.client_id.is_none() {
            Complaint::new("AWS IoT knows a bridge by its client id, and this one has none").help(
                "add `remote_clientid ID` with the one that its policy allows (`client/…`); two bridges with the same one throw \
                 each other out again and again",
            )
        } else {
            return true;
        };
        self.report.add(draft.place.clone(), complaint);
        false
    }

    /// What mosquitto's file may say and AWS IoT Core does not accept.
    fn for_aws(&mut self, draft: &mut DraftBridge) {
        if draft.bridge.try_private == Some(true) {
            self.note(
                draft,
                "try_private",
                "`try_private true` is not done: AWS IoT does not take connections of bridges (level 0x84)",
            );
        }
        draft.bridge.try_private = None;
        let is_local = draft.bridge.notifications_local_only;
        if is_local == Some(false) || (is_local.is_none() && draft.bridge.notifications == Some(true)) {
            let key = if is_local.is_some() { "notifications_local_only" } else { "notifications" };
            self.note(
                draft,
                key,
                "the state of this bridge is published here alone: AWS reserves topics that begin with `$`",
            );
            draft.bridge.notifications_local_only = None;
        }
        let (least, most) = (*aws::KEEP_ALIVE_S.start(), *aws::KEEP_ALIVE_S.end());
        let asked = draft.bridge.keep_alive.as_secs();
        if !aws::KEEP_ALIVE_S.contains(&asked) {
            let taken = asked.clamp(least, most);
            let text = format!(
                "`keepalive_interval {asked}` is {taken} here: AWS IoT wants {least} to {most} seconds"
            );
            self.note(draft, "keep_alive", text);
            draft.bridge.keep_alive = std::time::Duration::from_secs(taken);
        }
        if draft.bridge.tls.as_ref().is_some_and(|tls| tls.insecure == Some(true)) {
            self.note(
                draft,
                "tls.insecure",
                "`bridge_insecure true` is ignored: the certificate of AWS IoT has the name of its endpoint",
            );
            draft.bridge.tls.iter_mut().for_each(|tls| tls.insecure = None);
        }
        if draft.bridge.outgoing.iter().any(|mapping| mapping.retain == Some(true)) {
            self.note(
                draft,
                "retain",
                "`bridge_outgoing_retain true` needs a policy with `iot:RetainPublish`; without it AWS IoT closes the connection",
            );
        }
        self.without_qos_2(draft);
    }

    fn without_qos_2(&mut self, draft: &mut DraftBridge) {
        let DraftBridge { bridge, outgoing, incoming, .. } = draft;
        let mappings =
            bridge.outgoing.iter_mut().zip(outgoing).chain(bridge.incoming.iter_mut().zip(incoming));
        let mut last = None;
        for (mapping, (place, _)) in mappings {
            if mapping.qos == QoS::ExactlyOnce {
                mapping.qos = QoS::AtLeastOnce;
                // A topic of `both` is two of them.
                if last.as_ref() != Some(place) {
                    let text = "QoS 2 of this topic is QoS 1 here: AWS IoT has no QoS 2".to_owned();
                    self.notes.push(Note { place: place.clone(), text });
                }
                last = Some(place.clone());
            }
        }
    }
}
