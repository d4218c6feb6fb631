//! A list that grows without moving what it has.
//!
//! A vector doubles: half of its memory may be unused, and what it leaves behind on its way is not always given back.
//! Idle connections are what memory is spent on, so their lists grow piece by piece.

/// Elements of a piece.
const PIECE: usize = 256;

/// Values by their index.
#[derive(Debug)]
pub(crate) struct Chunks<T>(Vec<Vec<T>>);

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Chunks<T> {
    pub(crate) fn len(&self) -> usize {
        self.0.last().map_or(0, |last| (self.0.len() - 1) * PIECE + last.len())
    }

    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.0.get(index / PIECE)?.get(index % PIECE)
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.0.get_mut(index / PIECE)?.get_mut(index % PIECE)
    }

    pub(crate) fn push(&mut self, value: T) {
        match self.0.last_mut() {
            Some(last) if last.len() < PIECE => last.push(value),
            // The first grows with its elements, so that a small list is small.
            None => self.0.push(vec![value]),
            Some(_) => {
                let mut piece = Vec::with_capacity(PIECE);
                piece.push(value);
                self.0.push(piece);
            }
        }
    }

    /// All from `index` on.
    pub(crate) fn iter_from(&self, index: usize) -> impl Iterator<Item = &T> {
        let (first, skip) = (index / PIECE, index % PIECE);
        let head = self.0.get(first).and_then(|piece| piece.get(skip..)).unwrap_or_default();
        head.iter().chain(self.0.iter().skip(first + 1).flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_list() {
        let mut chunks = Chunks::default();
        for index in 0..3 * PIECE {
            assert_eq!((chunks.len(), chunks.get(index)), (index, None));
            chunks.push(index);
            assert_eq!(chunks.get(index), Some(&index));
        }
        *chunks.get_mut(PIECE).unwrap() = 7;
        assert_eq!(chunks.get(PIECE), Some(&7));
        for from in [0, 1, PIECE - 1, PIECE, 2 * PIECE + 5, 3 * PIECE, 9 * PIECE] {
            assert_eq!(chunks.iter_from(from).count(), (3 * PIECE).saturating_sub(from));
        }
        assert_eq!(chunks.iter_from(2 * PIECE).next(), Some(&(2 * PIECE)));
    }
}
