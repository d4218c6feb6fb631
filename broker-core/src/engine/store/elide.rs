//! Leaves out what is over before it is written: a message whose receiver has acknowledged it already.
//!
//! Only QoS 1, because a QoS 2 message leaves after it is stored. Its record comes before its end, because a shard hands
//! its batch over before its messages; so what ends an entry of this transaction finds it there, and what ends an older
//! one is an ordinary deletion.

use culex_codec::QoS;

use crate::engine::keys::{PublicationId, SessionId};

use super::{Record, RetainedChange};

/// Removes what nobody needs from the records of one transaction, in their order; says how many entries of queues. What
/// is left has the same effect on [`Tables`](super::Tables). O(n log n).
pub fn elide(records: &mut Vec<Record>) -> u64 {
    Ended::of(&*records).elide(records).entries
}

type Entry = (SessionId, PublicationId);

/// The entries that some records end.
#[derive(Debug)]
pub struct Ended {
    /// Sorted, and whether their beginning was left out.
    entries: Vec<(Entry, bool)>,
    /// Those whose beginning was not.
    left: usize,
}

/// What was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Elided {
    /// Entries of queues.
    pub entries: u64,
    /// Records of messages: nothing of them is left.
    pub messages: u32,
}

impl Ended {
    /// What these records end.
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let end_of = |record: &Record| {
            if let Record::Done { session, entry } = record {
                Some(((*session, *entry), false))
            } else {
                None
            }
        };
        let mut entries: Vec<_> = records.into_iter().filter_map(end_of).collect();
        entries.sort_unstable();
        Self { left: entries.len(), entries }
    }

    /// Whether they end nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the beginning of all was left out: nothing is to be found in records that do not end any of them.
    pub fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// Removes what nobody needs from records, which are those or come before them; with those, their ends too. To be
    /// called in the order of the records.
    pub fn elide(&mut self, records: &mut Vec<Record>) -> Elided {
        let mut elided = Elided::default();
        records.retain_mut(|record| match record {
            Record::Published { publication, incoming, recipients, retained } => {
                recipients.retain(|recipient| {
                    let is_over =
                        recipient.qos == QoS::AtLeastOnce && self.begins((recipient.session, publication.id));
                    elided.entries += u64::from(is_over);
                    !is_over
                });
                let is_kept =
                    !recipients.is_empty() || incoming.is_some() || *retained != RetainedChange::None;
                elided.messages += u32::from(!is_kept);
                is_kept
            }
            // It follows what it ends.
            Record::Done { session, entry } => !self.is_elided((*session, *entry)),
            Record::SessionBound { .. }
            | Record::WillGone { .. }
            | Record::SessionLeft { .. }
            | Record::SessionEnded { .. }
            | Record::Subscribed { .. }
            | Record::Fed { .. }
            | Record::Unsubscribed { .. }
            | Record::Queued { .. }
            | Record::InFlight { .. }
            | Record::Received { .. }
            | Record::Completed { .. }
            | Record::Released { .. } => true,
        });
        elided
    }

    /// Messages of which an entry has ended that was not in the records.
    pub fn older(&self) -> impl Iterator<Item = PublicationId> {
        self.entries.iter().filter(|(_, is_elided)| !is_elided).map(|((_, publication), _)| *publication)
    }

    fn place(&self, entry: Entry) -> Option<usize> {
        self.entries.binary_search_by_key(&entry, |(entry, _)| *entry).ok()
    }

    /// `false` if the transaction does not end it.
    fn begins(&mut self, entry: Entry) -> bool {
        let found = self.place(entry).and_then(|place| self.entries.get_mut(place));
        let Some((_, is_elided)) = found else { return false };
        self.left -= usize::from(!std::mem::replace(is_elided, true));
        true
    }

    fn is_elided(&self, entry: Entry) -> bool {
        self.place(entry).and_then(|place| self.entries.get(place)).is_some_and(|(_, is_elided)| *is_elided)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use culex_codec::{PacketId, TopicName};

    use super::*;
    use crate::engine::keys::RetainedVersion;
    use crate::engine::publication::Publication;
    use crate::engine::store::Recipient;

    fn published(id: u64, qos: QoS, sessions: &[u64]) -> Record {
        let topic = TopicName::assume_valid("t");
        let recipient = |session: &u64| Recipient { session: SessionId(*session), qos, is_retain: false };
        Record::Published {
            publication: Arc::new(Publication::new(PublicationId(id), topic, b"x", qos, false)),
            incoming: None,
            recipients: sessions.iter().map(recipient).collect(),
            retained: RetainedChange::None,
        }
    }

    fn done(session: u64, entry: u64) -> Record {
        Record::Done { session: SessionId(session), entry: PublicationId(entry) }
    }

    #[test]
    fn what_every_receiver_has_acknowledged_is_not_written() {
        let mut records = vec![published(1, QoS::AtLeastOnce, &[1, 2]), done(2, 1), done(1, 1), done(1, 0)];
        assert_eq!(elide(&mut records), 2);
        assert!(matches!(&records[..], [Record::Done { entry: PublicationId(0), .. }]), "{records:?}");
    }

    #[test]
    fn what_somebody_still_needs_is_written() {
        let mut records = vec![published(1, QoS::AtLeastOnce, &[1, 2]), done(1, 1)];
        assert_eq!(elide(&mut records), 1);
        let [Record::Published { recipients, .. }] = &records[..] else { panic!("{records:?}") };
        assert_eq!(recipients.len(), 1);
        // A packet identifier of the publisher, or a Retained Message, is a reason too.
        let mut with_id = published(1, QoS::AtLeastOnce, &[1]);
        let mut retained_one = published(2, QoS::AtLeastOnce, &[1]);
        if let Record::Published { incoming, .. } = &mut with_id {
            *incoming = PacketId::new(7).map(|id| (SessionId(3), id));
        }
        if let Record::Published { retained, .. } = &mut retained_one {
            *retained = RetainedChange::Set(RetainedVersion(1));
        }
        let mut records = vec![with_id, retained_one, done(1, 1), done(1, 2)];
        assert_eq!(elide(&mut records), 2);
        assert_eq!(records.len(), 2);
    }

    #[test]
    fn qos_2_is_always_written() {
        let mut records = vec![published(1, QoS::ExactlyOnce, &[1]), done(1, 1)];
        assert_eq!(elide(&mut records), 0);
        assert_eq!(records.len(), 2);
    }
}
