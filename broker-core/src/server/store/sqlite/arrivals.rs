//! Entries of a queue in the order of arrival, in two to four bytes each when there are many.
//!
//! ```text
//!   packed: piece of 32 │ piece of 32 │ …      few: the latest, up to 64 numbers
//! ```
//!
//! A broker numbers its messages one after the other, so neighbours in a queue differ by little. A piece is its first number
//! and how each differs from the one before ([`packed`](super::packed), with the sign as the lowest bit: what comes from
//! another shard may have a smaller number).

use std::collections::VecDeque;

use super::packed;

/// Numbers in a piece, when it is made.
const PIECE: usize = 32;
/// Numbers as they are, at most.
const FEW: usize = 2 * PIECE;

/// A FIFO of numbers, each at most once.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// The older ones.
    packed: VecDeque<Piece>,
    few: VecDeque<u64>,
}

/// Numbers in their order, at least one.
#[derive(Debug)]
struct Piece {
    first: u64,
    /// The differences of the others begin here; what is before has left.
    at: usize,
    others: Box<[u8]>,
}

/// Where a number stands.
enum Place {
    /// In this piece.
    Packed(usize),
    /// At this place of the few.
    Few(usize),
}

impl Arrivals {
    pub(super) fn push_back(&mut self, number: u64) {
        if self.few.len() == FEW {
            self.packed.extend(Piece::of(self.few.drain(..PIECE)));
        }
        self.few.push_back(number);
    }

    pub(super) fn front(&self) -> Option<u64> {
        self.packed.front().map(|piece| piece.first).or_else(|| self.few.front().copied())
    }

    pub(super) fn pop_front(&mut self) -> Option<u64> {
        let Some(piece) = self.packed.front_mut() else { return self.few.pop_front() };
        let first = piece.first;
        if !piece.go_on() {
            self.packed.pop_front();
            if self.packed.is_empty() {
                self.packed = VecDeque::new();
            }
        }
        Some(first)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        self.packed.iter().flat_map(Piece::iter).chain(self.few.iter().copied())
    }

    /// Whether it has a number; `seq_of` gives the place in the order of arrival of every number that is there.
    pub(super) fn has(&self, number: u64, seq_of: impl Fn(u64) -> Option<u64>) -> bool {
        self.place(number, seq_of).is_some()
    }

    /// Takes a number out, and says whether it was there.
    pub(super) fn remove(&mut self, number: u64, seq_of: impl Fn(u64) -> Option<u64>) -> bool {
        // A client acknowledges what it got first.
        if self.front() == Some(number) {
            return self.pop_front().is_some();
        }
        match self.place(number, seq_of) {
            None => return false,
            Some(Place::Few(place)) => {
                self.few.remove(place);
            }
            Some(Place::Packed(place)) => {
                if let Some(piece) = self.packed.get_mut(place)
                    && let Some(less) = Piece::of(piece.iter().filter(|other| *other != number))
                {
                    *piece = less;
                } else {
                    self.packed.remove(place);
                }
            }
        }
        true
    }

    fn place(&self, number: u64, seq_of: impl Fn(u64) -> Option<u64>) -> Option<Place> {
        let seq = seq_of(number)?;
        let is_before = |other: u64| seq_of(other).is_some_and(|other| other <= seq);
        if self.few.front().is_some_and(|first| is_before(*first)) {
            let place = self.few.partition_point(|other| is_before(*other)).checked_sub(1)?;
            return self.few.get(place).filter(|found| **found == number).map(|_| Place::Few(place));
        }
        let place = self.packed.partition_point(|piece| is_before(piece.first)).checked_sub(1)?;
        let piece = self.packed.get(place)?;
        piece.iter().any(|other| other == number).then_some(Place::Packed(place))
    }
}

impl PartialEq for Arrivals {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Arrivals {}

impl Piece {
    /// Nothing if there are none.
    fn of(mut numbers: impl Iterator<Item = u64>) -> Option<Self> {
        let first = numbers.next()?;
        let (mut others, mut last) = (Vec::with_capacity(PIECE), first);
        for number in numbers {
            packed::put(&mut others, folded(number.wrapping_sub(last)));
            last = number;
        }
        Some(Self { first, at: 0, others: others.into() })
    }

    /// Leaves the first one out; `false` if it is the only one.
    fn go_on(&mut self) -> bool {
        let mut rest = self.others.get(self.at..).unwrap_or_default();
        let before = rest.len();
        let Some(difference) = packed::take(&mut rest) else { return false };
        self.first = self.first.wrapping_add(unfolded(difference));
        self.at += before - rest.len();
        true
    }

    fn iter(&self) -> impl Iterator<Item = u64> {
        let mut rest = self.others.get(self.at..).unwrap_or_default();
        let next = move |last: &u64| Some(last.wrapping_add(unfolded(packed::take(&mut rest)?)));
        std::iter::successors(Some(self.first), next)
    }
}

/// A difference, so that small ones of either sign are small numbers.
const fn folded(difference: u64) -> u64 {
    difference << 1 ^ (difference.cast_signed() >> 63).cast_unsigned()
}

const fn unfolded(number: u64) -> u64 {
    number >> 1 ^ (number & 1).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Come(u8),
        PopFront,
        /// Any of those that have come, there or not.
        Remove(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (1..40_u8).prop_map(Step::Come),
            1 => Just(Step::PopFront),
            4 => any::<prop::sample::Index>().prop_map(Step::Remove),
        ]
    }

    /// Numbers out of order here and there, as they come from several shards.
    fn numbers() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::vec((1..300_u64, prop::bool::weighted(0.1)), 1..600).prop_map(|gaps| {
            let mut numbers: Vec<u64> = Vec::new();
            for (gap, is_late) in gaps {
                numbers.push(numbers.iter().max().map_or(gap, |last| last + gap));
                if let Some(before) = numbers.len().checked_sub(2).filter(|_| is_late) {
                    numbers.swap(before, before + 1);
                }
            }
            numbers
        })
    }

    proptest! {
        #[test]
        fn it_is_a_queue_that_gives_any_of_its_numbers(
            all in numbers(),
            steps in prop::collection::vec(step(), 1..60),
        ) {
            let seq_of = |number: u64| all.iter().position(|other| *other == number).map(|seq| seq as u64);
            let (mut arrivals, mut expected, mut come) = (Arrivals::default(), VecDeque::new(), 0);
            for step in steps {
                match step {
                    Step::Come(count) => {
                        for number in all.iter().skip(come).take(count.into()) {
                            arrivals.push_back(*number);
                            expected.push_back(*number);
                            come += 1;
                        }
                    }
                    Step::PopFront => prop_assert_eq!(arrivals.pop_front(), expected.pop_front()),
                    Step::Remove(index) => {
                        let number = *index.get(&all);
                        let place = expected.iter().position(|other| *other == number);
                        prop_assert_eq!(arrivals.has(number, seq_of), place.is_some());
                        prop_assert_eq!(arrivals.remove(number, seq_of), place.is_some());
                        place.map(|place| expected.remove(place));
                    }
                }
                prop_assert_eq!(arrivals.front(), expected.front().copied());
                prop_assert!(arrivals.iter().eq(expected.iter().copied()));
            }
        }
    }

    #[test]
    fn any_two_numbers_may_be_neighbours() {
        let all = [0, u64::MAX, 1, u64::MAX - 1, 1 << 63, (1 << 63) - 1];
        let mut arrivals = Arrivals::default();
        for number in all.into_iter().cycle().take(10 * FEW) {
            arrivals.push_back(number);
        }
        for number in all.into_iter().cycle().take(10 * FEW) {
            assert_eq!(arrivals.pop_front(), Some(number));
        }
        assert_eq!((arrivals.pop_front(), arrivals.front()), (None, None));
    }

    #[test]
    fn of_many_each_takes_little() {
        let mut arrivals = Arrivals::default();
        (0..10_000).for_each(|number| arrivals.push_back(number * 3));
        let piece = |piece: &Piece| size_of::<Piece>() + piece.others.len();
        let packed: usize = arrivals.packed.iter().map(piece).sum();
        assert!(packed <= 2 * 10_000 && arrivals.few.capacity() <= FEW, "{packed}");
    }
}
