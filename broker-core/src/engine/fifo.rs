//! A queue that may be long: it grows and shrinks piece by piece.
//!
//! A ring that doubles moves all it has, leaves half of its room unused, and what it leaves behind on its way is not always given
//! back; of thousands of sessions that wait for the same messages this is most of the memory.

use std::collections::VecDeque;

/// Elements of a piece: 1 KiB of those that wait in a session.
const PIECE: usize = 64;
/// Room that an empty queue keeps, so that one message at a time allocates nothing.
const KEPT_IDLE: usize = 4;

/// First in, first out. Nothing is allocated before the first element.
///
/// All pieces but the first and the last are full.
#[derive(Debug)]
pub(crate) struct Fifo<T>(VecDeque<VecDeque<T>>);

impl<T> Default for Fifo<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Fifo<T> {
    pub(crate) const fn new() -> Self {
        Self(VecDeque::new())
    }

    pub(crate) fn len(&self) -> usize {
        match (self.0.front(), self.0.back()) {
            (Some(first), Some(last)) if self.0.len() > 1 => {
                first.len() + (self.0.len() - 2) * PIECE + last.len()
            }
            (Some(only), _) => only.len(),
            (None, _) => 0,
        }
    }

    pub(crate) fn front(&self) -> Option<&T> {
        self.0.front()?.front()
    }

    pub(crate) fn push_back(&mut self, value: T) {
        match self.0.back_mut() {
            Some(last) if last.len() < PIECE => last.push_back(value),
            // The first grows with its elements, so that a short queue is small.
            None => self.0.push_back(VecDeque::from([value])),
            Some(_) => {
                let mut piece = VecDeque::with_capacity(PIECE);
                piece.push_back(value);
                self.0.push_back(piece);
            }
        }
    }

    /// Before all that are there.
    pub(crate) fn push_front(&mut self, value: T) {
        match self.0.front_mut() {
            Some(first) if first.len() < PIECE => first.push_front(value),
            _ => self.0.push_front(VecDeque::from([value])),
        }
    }

    pub(crate) fn pop_front(&mut self) -> Option<T> {
        let is_only = self.0.len() == 1;
        let first = self.0.front_mut()?;
        let value = first.pop_front();
        if first.is_empty() && !(is_only && first.capacity() <= KEPT_IDLE) {
            self.0.pop_front();
            self.give_back();
        }
        value
    }

    pub(crate) fn pop_back(&mut self) -> Option<T> {
        let is_only = self.0.len() == 1;
        let last = self.0.back_mut()?;
        let value = last.pop_back();
        if last.is_empty() && !(is_only && last.capacity() <= KEPT_IDLE) {
            self.0.pop_back();
            self.give_back();
        }
        value
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten()
    }

    pub(crate) fn into_iter(self) -> impl Iterator<Item = T> {
        self.0.into_iter().flatten()
    }

    /// The list of pieces does not stay long either.
    fn give_back(&mut self) {
        if self.0.capacity() > PIECE && self.0.len() < self.0.capacity() / 8 {
            self.0.shrink_to(self.0.len() * 2);
        }
    }

    /// Elements for which there is room.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.0.iter().map(VecDeque::capacity).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_queue(steps in prop::collection::vec((0_u8..5, 1_usize..100), 0..60)) {
            let (mut fifo, mut model) = (Fifo::new(), VecDeque::new());
            let mut next = 0;
            for (step, count) in steps {
                for _ in 0..count {
                    match step {
                        0 | 1 => {
                            fifo.push_back(next);
                            model.push_back(next);
                            next += 1;
                        }
                        2 => {
                            fifo.push_front(next);
                            model.push_front(next);
                            next += 1;
                        }
                        3 => prop_assert_eq!(fifo.pop_front(), model.pop_front()),
                        _ => prop_assert_eq!(fifo.pop_back(), model.pop_back()),
                    }
                    prop_assert_eq!((fifo.len(), fifo.front()), (model.len(), model.front()));
                }
                prop_assert!(fifo.iter().eq(model.iter()));
                prop_assert!(fifo.capacity() <= model.len() + 2 * PIECE);
            }
            prop_assert!(fifo.into_iter().eq(model));
        }
    }

    #[test]
    fn an_empty_queue_has_room_for_a_few() {
        let mut fifo = Fifo::new();
        assert_eq!(fifo.capacity(), 0);
        for _ in 0..2 {
            (0..1000).for_each(|number| fifo.push_back(number));
            while fifo.pop_front().is_some() {}
            assert!(fifo.capacity() <= KEPT_IDLE, "{}", fifo.capacity());
        }
    }
}
