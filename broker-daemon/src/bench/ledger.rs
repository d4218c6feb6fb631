//! What one subscriber got of one publisher: nothing missing, nothing twice, nothing early.

use std::collections::BTreeMap;

/// The deliveries of one publisher to one subscriber.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// One more than the highest sequence received.
    next: u32,
    /// Sequences below `next` that are missing: first to one behind the last. Empty as long as all is well.
    gaps: BTreeMap<u32, u32>,
    faults: Faults,
}

/// How often what went wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Sent and never delivered.
    pub lost: u64,
    /// Delivered again.
    pub duplicated: u64,
    /// Delivered after a later message of the same publisher.
    pub out_of_order: u64,
    /// Not what was sent: no stamp, other size, a publisher or message that does not exist, another topic's message.
    pub wrong: u64,
}

impl Faults {
    /// The sum with others.
    pub(super) fn add(&mut self, other: &Self) {
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.out_of_order += other.out_of_order;
        self.wrong += other.wrong;
    }
}

impl Ledger {
    /// Notes a delivery. Gives by how much the front went forward: above 1 if messages were jumped over, 0 if it
    /// came late or again. The publisher's window moves by as much, so that lost messages do not stop it.
    #[inline]
    pub(super) fn receive(&mut self, sequence: u32) -> u32 {
        if sequence < self.next {
            self.receive_late(sequence);
            return 0;
        }
        let forward = sequence - self.next;
        if forward > 0 {
            self.gaps.insert(self.next, sequence);
        }
        self.next = sequence.saturating_add(1);
        forward + 1
    }

    #[cold]
    fn receive_late(&mut self, sequence: u32) {
        let gap = self.gaps.range(..=sequence).next_back().map(|(from, to)| (*from, *to));
        let Some((from, to)) = gap.filter(|(_, to)| sequence < *to) else {
            self.faults.duplicated += 1;
            return;
        };
        self.faults.out_of_order += 1;
        self.gaps.remove(&from);
        if from < sequence {
            self.gaps.insert(from, sequence);
        }
        if sequence + 1 < to {
            self.gaps.insert(sequence + 1, to);
        }
    }

    /// The faults, given the number of messages that were sent.
    pub(super) fn faults(&self, sent: u32) -> Faults {
        let jumped: u64 = self.gaps.iter().map(|(from, to)| u64::from(to - from)).sum();
        Faults { lost: jumped + u64::from(sent.saturating_sub(self.next)), ..self.faults }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(received: &[u32], sent: u32, [lost, duplicated, out_of_order]: [u64; 3]) {
        let mut ledger = Ledger::default();
        for sequence in received {
            ledger.receive(*sequence);
        }
        let expected = Faults { lost, duplicated, out_of_order, wrong: 0 };
        assert_eq!(ledger.faults(sent), expected, "{received:?} of {sent}");
    }

    #[test]
    fn losses_duplicates_and_disorder_are_told_apart() {
        check(&[], 0, [0, 0, 0]);
        check(&[0, 1, 2], 3, [0, 0, 0]);
        check(&[0, 1], 4, [2, 0, 0]);
        check(&[3], 4, [3, 0, 0]);
        check(&[0, 0, 1, 1, 1], 2, [0, 3, 0]);
        check(&[1, 0], 2, [0, 0, 1]);
        check(&[4, 2, 2, 0, 4], 5, [2, 2, 2]);
        check(&[5, 2, 3, 1, 4, 0], 6, [0, 0, 5]);
    }

    proptest! {
        #[test]
        fn it_counts_like_a_list(received in prop::collection::vec(0_u32..40, 0..80)) {
            let mut ledger = Ledger::default();
            let (mut seen, mut duplicated, mut late, mut front) = ([false; 40], 0, 0, 0);
            for sequence in received {
                front += ledger.receive(sequence);
                let place = sequence as usize;
                if seen[place] {
                    duplicated += 1;
                } else if seen[place..].contains(&true) {
                    late += 1;
                }
                seen[place] = true;
            }
            let lost = seen.iter().filter(|seen| !**seen).count() as u64;
            let expected = Faults { lost, duplicated, out_of_order: late, wrong: 0 };
            prop_assert_eq!(ledger.faults(40), expected);
            prop_assert_eq!(front, seen.iter().rposition(|seen| *seen).map_or(0, |last| last as u32 + 1));
        }
    }
}
