//! Records as shards could write them.

use std::sync::Arc;

use bytes::Bytes;
use culex_codec::{PacketId, QoS, TopicName};

use super::NOW;
use crate::engine::keys::{PublicationId, RetainedVersion, SessionId};
use crate::engine::publication::Publication;
use crate::engine::question::Identity;
use crate::engine::route::Cursor;
use crate::engine::store::{Recipient, Record, RetainedChange};
use crate::engine::time::WallTime;
use crate::engine::{SessionOptions, TopicPart, Will};

const TOPICS: [&str; 3] = ["a", "a/b", "ä/ö"];
pub(super) const SESSIONS: u8 = 8;

/// Numbers are given out once, and an entry ends after it began. What one shard publishes may come late, and as Retained
/// Message of another shard's subscriber before.
#[derive(Debug, Default)]
pub(super) struct Author {
    last: u64,
    pub(super) version: u64,
    entries: Vec<(SessionId, PublicationId)>,
    published: Vec<Arc<Publication>>,
    late: Vec<Record>,
}

impl Author {
    fn publication(&mut self, bits: u8) -> Arc<Publication> {
        self.last += 1;
        let topic = TopicName::new(TOPICS[usize::from(bits) % 3]).unwrap();
        let qos = QoS::from_bits(bits % 3).unwrap();
        let mut publication =
            Publication::new(PublicationId(self.last), topic, &[bits, 0, 255], qos, bits > 99);
        let name = bits.is_multiple_of(2).then_some("ü");
        publication.author = bits.is_multiple_of(5).then(|| Arc::new(Identity::new("client", name)));
        publication.accepted_at = bits.is_multiple_of(7).then(|| WallTime(NOW.0 + u64::from(bits)));
        self.published.push(Arc::new(publication));
        Arc::clone(self.published.last().unwrap())
    }

    pub(super) fn record(&mut self, kind: u8, session: u8, bits: u8) -> Record {
        let session = SessionId(u64::from(session % SESSIONS));
        let filter = || TOPICS[usize::from(bits) % 3].into();
        let qos = if bits.is_multiple_of(2) { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
        let packet_id = PacketId::new(1 + u16::from(bits % 5)).unwrap();
        match kind % 16 {
            0 | 1 => {
                let topic = TopicName::new(TOPICS[0]).unwrap();
                let will = Will::new(topic, Bytes::from_static(b"\0will"), qos, bits > 128);
                Record::SessionBound {
                    session,
                    client_id: format!("client {}", session.0).into(),
                    user_name: (bits.is_multiple_of(3)).then(|| "user".into()),
                    is_trusted: bits > 240,
                    options: options(bits),
                    expiry_s: if bits.is_multiple_of(5) { u32::from(bits) } else { u32::MAX },
                    will: (bits.is_multiple_of(4)).then(|| Box::new(will)),
                }
            }
            2 => Record::WillGone { session },
            3 => Record::SessionLeft { session, at: WallTime(NOW.0 + u64::from(bits)) },
            4 if bits.is_multiple_of(3) => Record::SessionEnded { session },
            4 | 5 => {
                Record::Subscribed { session, filter: filter(), qos, up_to: RetainedVersion(self.version) }
            }
            6 => {
                let cursor = if bits > 128 { Cursor::End } else { Cursor::After("a".into()) };
                Record::Fed { session, filter: filter(), cursor }
            }
            7 => Record::Unsubscribed { session, filter: filter() },
            8..=10 => {
                let record = self.publish(session, bits, qos);
                let Record::Published { publication, .. } = &record else { return record };
                if !bits.is_multiple_of(5) {
                    self.begin(&record);
                    return record;
                }
                let publication = Arc::clone(publication);
                self.late.push(record);
                self.queued(session, publication, qos)
            }
            11 if bits.is_multiple_of(2) && !self.late.is_empty() => {
                let record = self.late.remove(usize::from(bits) % self.late.len());
                self.begin(&record);
                record
            }
            11 => {
                let old = self.published.get(usize::from(bits) % self.published.len().max(1)).cloned();
                let publication = old.unwrap_or_else(|| self.publication(bits));
                self.queued(session, publication, qos)
            }
            12 => Record::Released { session, packet_id },
            13 => Record::Completed { session, ordinal: 65_535 + u64::from(bits % 5) },
            _ => {
                let place = usize::from(bits) % self.entries.len().max(1);
                let Some((session, entry)) = self.entries.get(place).copied() else {
                    return Record::WillGone { session };
                };
                let ordinal = 65_535 + u64::from(bits % 5);
                match kind % 3 {
                    0 => Record::InFlight { session, entry, ordinal },
                    1 => Record::Received { session, entry, ordinal },
                    _ => Record::Done { session, entry },
                }
            }
        }
    }

    fn publish(&mut self, session: SessionId, bits: u8, qos: QoS) -> Record {
        let publication = self.publication(bits);
        // What is not retained goes to the same sessions often, and then shares a row.
        let mask = if bits.is_multiple_of(3) { [3, 3, 2, 255][usize::from(bits / 3 % 4)] } else { bits };
        let recipients = (0..SESSIONS)
            .filter(|place| mask >> place & 1 == 1)
            .map(|session| Recipient { session: SessionId(session.into()), qos, is_retain: bits > 200 })
            .collect();
        self.version += 1;
        // Of two neighbours the older one comes later.
        let version = RetainedVersion((self.version + 2) ^ 1);
        let retained = match bits % 3 {
            0 => RetainedChange::None,
            1 => RetainedChange::Set(version),
            _ => RetainedChange::Clear(version),
        };
        let packet_id = PacketId::new(1 + u16::from(bits % 5)).unwrap();
        let incoming = (bits % 4 == 1).then_some((session, packet_id));
        Record::Published { publication, incoming, recipients, retained }
    }

    fn queued(&mut self, session: SessionId, publication: Arc<Publication>, qos: QoS) -> Record {
        self.last += 1;
        let entry = PublicationId(self.last);
        self.entries.push((session, entry));
        Record::Queued { session, entry, publication, qos }
    }

    /// Its receivers may speak of it from now on.
    fn begin(&mut self, record: &Record) {
        if let Record::Published { publication, recipients, .. } = record {
            self.entries.extend(recipients.iter().map(|to| (to.session, publication.id)));
        }
    }
}

fn options(bits: u8) -> SessionOptions {
    SessionOptions {
        no_local: bits.is_multiple_of(7),
        max_age_ms: bits.is_multiple_of(11).then_some(1 << (bits % 64)),
        part: TopicPart::new(bits.into(), 100, bits.into()),
        ..SessionOptions::default()
    }
}
