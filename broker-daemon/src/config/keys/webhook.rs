//! Keys of `[[webhook]]` and what belongs to it.

use std::time::Duration;

use crate::config::setting::NumberField::{QoS, U16};
use crate::config::setting::{Key, Setting};
use crate::config::value::Unit::Count;
use crate::config::{BodyForm, KeyPermissions, Method, Webhook, WebhookRetry, WebhookTls};
use crate::webhook::EventKind;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Keys of `[[webhook]]`.
pub(crate) const WEBHOOK: &[Key<Webhook>] = &[
    Key {
        name: "name",
        setting: Setting::Word { field: |webhook| &mut webhook.name },
        doc: "Its name, for `culex webhook` and among the dead letters.",
    },
    Key {
        name: "url",
        setting: Setting::Word { field: |webhook| &mut webhook.url },
        doc: "The service: `http://` or `https://`, without user name and `#`. Redirects are not followed.",
    },
    Key {
        name: "topics",
        setting: Setting::Texts { field: |webhook| &mut webhook.topics },
        doc: "Topic filters of the messages that are sent.",
    },
    Key {
        name: "qos",
        setting: Setting::Number { field: QoS(|webhook| &mut webhook.qos), range: 0..=2, unit: Count },
        doc: "The highest QoS of its messages. What was published with QoS 1 or 2 is sent at least once.",
    },
    Key {
        name: "events",
        setting: Setting::Choices {
            words: EventKind::WORDS,
            get: |webhook| webhook.events.iter().map(|event| *event as usize).collect(),
            set: |webhook, indices| {
                webhook.events = indices.iter().filter_map(|index| EventKind::from_index(*index)).collect();
            },
        },
        doc: "What the service is told of. All but messages are told at most once.",
    },
    Key {
        name: "body",
        setting: Setting::Choice {
            words: BodyForm::WORDS,
            get: |webhook| webhook.body as usize,
            set: |webhook, index| webhook.body = BodyForm::from_index(index),
        },
        doc: "The form of a request: a JSON object, the payload byte for byte, or a CloudEvent; see [webhook.md](webhook.md).",
    },
    Key {
        name: "method",
        setting: Setting::Choice {
            words: Method::WORDS,
            get: |webhook| webhook.method as usize,
            set: |webhook, index| webhook.method = if index == 0 { Method::Post } else { Method::Put },
        },
        doc: "The method of a request.",
    },
    Key {
        name: "secret",
        setting: Setting::Secret { field: |webhook| &mut webhook.secret },
        doc: "Signs requests as Standard Webhooks has it: `whsec_` and 24 to 64 bytes in Base64. Better in a file of its own: \
              `\"${file:hook.secret}\"`. No output shows it.",
    },
    Key {
        name: "timeout",
        setting: Setting::Duration {
            field: |webhook| &mut webhook.timeout,
            range: Duration::from_secs(1)..=Duration::from_secs(300),
        },
        doc: "Time for a request and its answer.",
    },
    Key {
        name: "connect_timeout",
        setting: Setting::Duration {
            field: |webhook| &mut webhook.connect_timeout,
            range: Duration::from_millis(100)..=Duration::from_secs(300),
        },
        doc: "Of that, time for the connection.",
    },
    Key {
        name: "concurrency",
        setting: Setting::Number {
            field: U16(|webhook| &mut webhook.concurrency),
            range: 1..=64,
            unit: Count,
        },
        doc: "Requests at a time. Messages of one topic go one after another, and wait for each other alone.",
    },
    Key {
        name: "batch",
        setting: Setting::Number { field: U16(|webhook| &mut webhook.batch), range: 1..=1000, unit: Count },
        doc: "Messages in one request, as a JSON array; with 1 it is no array. What waits is sent together, nothing waits for \
              more.",
    },
    Key {
        name: "allow_link_local",
        setting: Setting::Switch { field: |webhook| &mut webhook.allow_link_local },
        doc: "`true`: addresses such as 169.254.0.0/16 may be sent to. There clouds have the keys of their machines.",
    },
];

/// Keys of `[webhook.retry]`.
pub(crate) const WEBHOOK_RETRY: &[Key<WebhookRetry>] = &[
    Key {
        name: "min",
        setting: Setting::Duration { field: |retry| &mut retry.min, range: Duration::from_millis(10)..=HOUR },
        doc: "Shortest time between two attempts. Each time is random; its bound doubles from here to `max`.",
    },
    Key {
        name: "max",
        setting: Setting::Duration { field: |retry| &mut retry.max, range: Duration::from_millis(10)..=DAY },
        doc: "Longest time between two attempts, unless the service asks for more (`Retry-After`, one hour at most).",
    },
    Key {
        name: "give_up_after",
        setting: Setting::Duration {
            field: |retry| &mut retry.give_up_after,
            range: Duration::ZERO..=Duration::from_secs(30 * 24 * 3600),
        },
        doc: "A message that is answered with an error for so long becomes a dead letter; `\"0s\"` is never. While nobody \
              answers, no message does.",
    },
];

/// Keys of `[webhook.tls]`.
pub(crate) const WEBHOOK_TLS: &[Key<WebhookTls>] = &[
    Key {
        name: "ca_file",
        setting: Setting::Path { field: |tls| &mut tls.ca_file },
        doc: "PEM file, or folder of such, with the CAs of the service. Without it the public CAs.",
    },
    Key {
        name: "certificate",
        setting: Setting::Path { field: |tls| &mut tls.certificate },
        doc: "PEM file with our certificate, its chain behind it.",
    },
    Key { name: "key", setting: Setting::Path { field: |tls| &mut tls.key }, doc: "PEM file with its key." },
    Key {
        name: "key_permissions",
        setting: Setting::Choice {
            words: &["strict", "warn"],
            get: |tls| tls.key_permissions as usize,
            set: |tls, index| {
                tls.key_permissions = if index == 0 { KeyPermissions::Strict } else { KeyPermissions::Warn }
            },
        },
        doc: "What becomes of a key that every user of the computer can read: an error, or a warning.",
    },
];
