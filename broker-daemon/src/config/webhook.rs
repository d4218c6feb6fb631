//! Where messages leave as HTTP requests, and what is wrong with such a place.

use std::time::Duration;

use culex_codec::{QoS, TopicFilter};
use culex_core::client::Secret;
use culex_core::engine::is_of_host;

use crate::config::bridge::Places;
use crate::config::problem::{Complaint, Place, Report};
use crate::config::{BridgeQueue, KeyPermissions};
use crate::webhook::{EventKind, Header, SigningKey, Target, guard};

/// A web service that is told of messages and events.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Webhook {
    /// Its name, in lists, in logs and among the dead letters.
    pub name: String,
    /// Where it is: `http://` or `https://`.
    pub url: String,
    /// Topic filters of the messages that it is sent.
    pub topics: Vec<String>,
    /// The highest QoS of its messages. Default 2.
    pub qos: QoS,
    /// What it is told of.
    pub events: Vec<EventKind>,
    /// The form of a request.
    pub body: BodyForm,
    /// The method of a request.
    pub method: Method,
    /// Header fields of its own; their values are hidden as passwords are.
    pub headers: Vec<(String, Secret)>,
    /// What requests are signed with, as Standard Webhooks has it.
    pub secret: Option<Secret>,
    /// For a request and its answer.
    pub timeout: Duration,
    /// For the connection, of that time.
    pub connect_timeout: Duration,
    /// Requests at a time. Messages of one topic go one after another.
    pub concurrency: u16,
    /// Messages in one request, as a JSON array; 1 is none.
    pub batch: u16,
    /// Whether link-local addresses are sent to, among which clouds have the keys of their machines.
    pub allow_link_local: Option<bool>,
    /// What becomes of a request that failed.
    pub retry: WebhookRetry,
    /// What waits while the service is away.
    pub queue: BridgeQueue,
    /// How `https` is secured, where it is not as usual.
    pub tls: Option<WebhookTls>,
}

/// The form of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyForm {
    /// A JSON object with everything about the message (default).
    #[default]
    Event,
    /// The payload, byte for byte.
    Payload,
    /// A `CloudEvent` in its structured form.
    CloudEvents,
}

impl BodyForm {
    pub(crate) const WORDS: &'static [&'static str] = &["event", "payload", "cloudevents"];

    pub(crate) fn from_index(index: usize) -> Self {
        [Self::Event, Self::Payload, Self::CloudEvents].get(index).copied().unwrap_or_default()
    }
}

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// POST (default).
    #[default]
    Post,
    /// PUT.
    Put,
}

impl Method {
    pub(crate) const WORDS: &'static [&'static str] = &["POST", "PUT"];

    /// As it is sent.
    pub fn word(self) -> &'static str {
        Self::WORDS.get(self as usize).unwrap_or(&"POST")
    }
}

/// What becomes of a request that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WebhookRetry {
    /// The shortest time between two attempts.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
    /// A message that the service has answered with errors for so long becomes a dead letter; zero is never.
    pub give_up_after: Duration,
}

impl Default for WebhookRetry {
    fn default() -> Self {
        Self {
            min: Duration::from_secs(1),
            max: Duration::from_secs(60),
            give_up_after: Duration::from_secs(24 * 3600),
        }
    }
}

/// How `https` is secured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct WebhookTls {
    /// File or folder of the CAs that sign the service; `None` for the public ones.
    pub ca_file: Option<std::path::PathBuf>,
    /// Our certificate, with its chain.
    pub certificate: Option<std::path::PathBuf>,
    /// Its key.
    pub key: Option<std::path::PathBuf>,
    /// What becomes of a key that others can read.
    pub key_permissions: KeyPermissions,
}

impl Default for Webhook {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: String::new(),
            topics: Vec::new(),
            qos: QoS::ExactlyOnce,
            events: vec![EventKind::MessagePublished],
            body: BodyForm::default(),
            method: Method::default(),
            headers: Vec::new(),
            secret: None,
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            concurrency: 4,
            batch: 1,
            allow_link_local: None,
            retry: WebhookRetry::default(),
            queue: BridgeQueue::default(),
            tls: None,
        }
    }
}

/// A webhook that may still be wrong, and where it stands.
#[derive(Debug)]
pub(crate) struct DraftWebhook {
    pub(crate) webhook: Webhook,
    /// Where it begins.
    pub(crate) place: Place,
    /// Where its keys stand.
    pub(crate) places: Places,
    /// Where its header fields stand, in their order.
    pub(crate) headers: Vec<Place>,
}

/// Bytes of a name, so that it fits into topics and ClientIds.
const NAME_BYTES_MAX: usize = 64;

/// The webhooks of a configuration, and what is wrong with them.
pub(crate) fn check(drafts: Vec<DraftWebhook>, report: &mut Report) -> Vec<Webhook> {
    for (n, draft) in drafts.iter().enumerate() {
        check_name(draft, drafts.iter().take(n), report);
        check_target(draft, report);
        check_what_is_sent(draft, report);
        check_headers(draft, report);
        check_together(draft, report);
    }
    drafts.into_iter().map(|draft| draft.webhook).collect()
}

impl DraftWebhook {
    fn complain(&self, report: &mut Report, key: &str, complaint: Complaint) {
        report.add(self.places.get(key).unwrap_or(&self.place).clone(), complaint);
    }
}

fn check_name<'d>(
    draft: &DraftWebhook,
    mut earlier: impl Iterator<Item = &'d DraftWebhook>,
    report: &mut Report,
) {
    let name = &draft.webhook.name;
    if name.is_empty() {
        if !draft.places.contains_key("name") {
            let complaint = Complaint::new("this [[webhook]] has no `name`");
            draft.complain(report, "name", complaint.help("add a line such as `name = \"sensors\"`"));
        }
        return;
    }
    let is_ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.len() > NAME_BYTES_MAX || !name.chars().all(is_ok) {
        let message = format!("\"{}\" cannot be the name of a webhook", name.escape_debug());
        let help = "letters without accents, digits, `-`, `_` and `.`, at most 64: it is part of a topic";
        draft.complain(report, "name", Complaint::new(message).help(help));
    }
    if earlier.any(|other| other.webhook.name == *name) {
        let complaint = Complaint::new(format!("an earlier webhook has the name \"{name}\" already"));
        draft.complain(report, "name", complaint);
    }
}

fn check_target(draft: &DraftWebhook, report: &mut Report) {
    let webhook = &draft.webhook;
    if webhook.url.is_empty() {
        if !draft.places.contains_key("url") {
            let complaint = Complaint::new("this [[webhook]] has no `url`")
                .help("add a line such as `url = \"http://127.0.0.1:5000/webhook\"`");
            draft.complain(report, "url", complaint);
        }
        return;
    }
    let target = match Target::parse(&webhook.url) {
        Ok(target) => target,
        Err(error) => {
            let complaint = Complaint::new(format!("`url`: {error}"));
            return draft.complain(
                report,
                "url",
                complaint.help("for example `url = \"https://example.org/webhook\"`"),
            );
        }
    };
    // What a name leads to is looked at again at every attempt.
    if let Some(address) = target.address()
        && let Err(blocked) = guard::check(address, webhook.allow_link_local == Some(true))
    {
        draft.complain(report, "url", Complaint::new(format!("`url`: {blocked}")).help(blocked.help()));
    }
    if webhook.tls.is_some() && !target.is_secure() {
        let complaint = Complaint::new("[webhook.tls] is for https, and the url begins with http://");
        draft.complain(report, "tls", complaint.help("write `https://…`, or leave [webhook.tls] out"));
    }
}

fn check_what_is_sent(draft: &DraftWebhook, report: &mut Report) {
    let webhook = &draft.webhook;
    let sends_messages = webhook.events.contains(&EventKind::MessagePublished);
    let is_of_others = |topic: &&String| topic.starts_with("$share/") || is_of_host(topic);
    if let Some(topic) = webhook.topics.iter().find(is_of_others) {
        let message = format!("`topics`: \"{}\" cannot be sent to a web service", topic.escape_debug());
        let help = "a webhook has subscriptions of its own and shares none, and $CULEX is the broker's own";
        draft.complain(report, "topics", Complaint::new(message).help(help));
    }
    for topic in &webhook.topics {
        if let Err(error) = TopicFilter::new(topic) {
            let message = format!("`topics`: \"{}\" is no topic filter: {error}", topic.escape_debug());
            draft.complain(report, "topics", Complaint::new(message));
        }
    }
    if sends_messages && webhook.topics.is_empty() && !draft.places.contains_key("topics") {
        let complaint = Complaint::new("this [[webhook]] has no `topics`, so no message would be sent");
        let help =
            "add a line such as `topics = [\"sensors/#\"]`; for other events alone, name them with `events`";
        draft.complain(report, "topics", complaint.help(help));
    }
    if !sends_messages && !webhook.topics.is_empty() {
        let complaint = Complaint::new("topics mean nothing without the event \"message.published\"");
        draft.complain(report, "topics", complaint.help("add it to `events`, or leave `topics` out"));
    }
    if let Some(secret) = &webhook.secret
        && SigningKey::parse(secret.reveal()).is_none()
    {
        let complaint = Complaint::new("`secret`: expected `whsec_` and 24 to 64 bytes in Base64 behind it");
        let help = "make one with `echo whsec_$(openssl rand -base64 32)`, and give it to the receiver too";
        draft.complain(report, "secret", complaint.help(help));
    }
}

fn check_headers(draft: &DraftWebhook, report: &mut Report) {
    for ((name, value), place) in draft.webhook.headers.iter().zip(&draft.headers) {
        if let Err(error) = Header::parse(name, value.reveal()) {
            report.add(place.clone(), Complaint::new(format!("`headers`: {error}")));
        }
    }
}

fn check_together(draft: &DraftWebhook, report: &mut Report) {
    let webhook = &draft.webhook;
    if webhook.body == BodyForm::Payload && webhook.batch > 1 {
        let complaint = Complaint::new("`batch`: raw payloads cannot share a request");
        draft.complain(report, "batch", complaint.help("leave `batch` out, or take another `body`"));
    }
    if webhook.body == BodyForm::Payload
        && webhook.events.iter().any(|event| *event != EventKind::MessagePublished)
    {
        let complaint = Complaint::new("`events`: only messages have a payload to be sent raw");
        draft.complain(
            report,
            "events",
            complaint.help("take another `body`, or a second [[webhook]] for them"),
        );
    }
    if webhook.retry.min > webhook.retry.max {
        let complaint = Complaint::new("the shortest time between two attempts is longer than the longest");
        draft.complain(report, "retry", complaint.help("raise `max`, or lower `min`"));
    }
    if webhook.connect_timeout > webhook.timeout {
        let complaint =
            Complaint::new("connect_timeout is longer than `timeout`, which is for all of a request");
        draft.complain(report, "connect_timeout", complaint.help("raise `timeout`"));
    }
    let Some(tls) = &webhook.tls else { return };
    if tls.certificate.is_some() != tls.key.is_some() {
        let complaint = Complaint::new("`certificate` and `key` of [webhook.tls] belong together");
        draft.complain(report, "tls", complaint.help("name both files, or none"));
    }
}
