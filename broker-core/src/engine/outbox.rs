//! What waits to be written to one connection.
//!
//! Small things are appended to one buffer; a large payload is a segment of its own that all receivers share by
//! reference count. A written-out outbox owns no memory: its buffer goes back to the shard's pool.
//!
//! ```text
//!   segments: [bytes][shared payload][bytes] …   tail: [bytes still growing]
//!              ▲ written so far                         append() goes here
//! ```

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

/// Bytes in the order in which they leave.
#[derive(Debug, Default)]
pub struct Outbox {
    segments: VecDeque<Bytes>,
    tail: Vec<u8>,
    /// Bytes of `tail` that were written already; always zero while there are segments.
    tail_written: usize,
    len: usize,
}

impl Outbox {
    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The chunks that wait, in order.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let tail = self.tail.get(self.tail_written..).unwrap_or_default();
        self.segments.iter().map(|segment| &**segment).chain((!tail.is_empty()).then_some(tail))
    }

    /// Takes `count` written bytes off the front; more than wait is all of them.
    pub fn advance(&mut self, count: usize) {
        let mut count = count.min(self.len);
        self.len -= count;
        while let Some(front) = self.segments.front_mut() {
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.segments.pop_front();
        }
        self.tail_written += count;
        if self.tail_written == self.tail.len() {
            self.tail.clear();
            self.tail_written = 0;
        }
    }

    /// Lets `write` append to the buffer.
    pub(crate) fn append_with(&mut self, pool: &mut BufferPool, write: impl FnOnce(&mut Vec<u8>)) {
        if self.tail_written > 0 {
            // A buffer is freed as a whole: with a client that is never quite done reading, one that went on growing
            // would keep all that was ever sent.
            self.seal();
        }
        if self.tail.capacity() == 0 {
            self.tail = pool.take();
        }
        let before = self.tail.len();
        write(&mut self.tail);
        self.len += self.tail.len() - before;
    }

    /// Appends `bytes` without copying them.
    pub(crate) fn share(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.len += bytes.len();
        self.seal();
        self.segments.push_back(bytes);
    }

    /// Makes a segment of the buffer.
    fn seal(&mut self) {
        if !self.tail.is_empty() {
            let mut head = Bytes::from(std::mem::take(&mut self.tail));
            head.advance(std::mem::take(&mut self.tail_written));
            self.segments.push_back(head);
        }
    }

    /// Gives the memory of an empty outbox back.
    pub(crate) fn recycle(&mut self, pool: &mut BufferPool) {
        if self.len == 0 {
            pool.give(std::mem::take(&mut self.tail));
            self.segments = VecDeque::new();
        }
    }
}

/// Buffers between two uses, so that an idle connection needs none and a busy one need not ask the allocator.
#[derive(Debug, Default)]
pub(crate) struct BufferPool {
    spare: Vec<Vec<u8>>,
}

impl BufferPool {
    const SPARE_MAX: usize = 64;
    const CAPACITY_FIRST: usize = 512;
    const CAPACITY_KEPT_MAX: usize = 64 << 10;

    fn take(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_else(|| Vec::with_capacity(Self::CAPACITY_FIRST))
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        let capacity = buffer.capacity();
        if (1..=Self::CAPACITY_KEPT_MAX).contains(&capacity) && self.spare.len() < Self::SPARE_MAX {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(outbox: &mut Outbox, pool: &mut BufferPool, bytes: &[u8]) {
        outbox.append_with(pool, |tail| tail.extend_from_slice(bytes));
    }

    fn contents(outbox: &Outbox) -> Vec<u8> {
        outbox.chunks().flatten().copied().collect()
    }

    #[test]
    fn keeps_order_over_copied_and_shared_parts_and_any_partial_write() {
        for step in 1..12 {
            let mut pool = BufferPool::default();
            let mut outbox = Outbox::default();
            append(&mut outbox, &mut pool, b"one");
            outbox.share(Bytes::from_static(b"-shared-"));
            append(&mut outbox, &mut pool, b"two");
            outbox.advance(1);
            outbox.share(Bytes::from_static(b"-again-"));
            append(&mut outbox, &mut pool, b"three");
            let mut expected = b"ne-shared-two-again-three".to_vec();
            while !expected.is_empty() {
                assert_eq!(contents(&outbox), expected);
                assert_eq!(outbox.len(), expected.len());
                outbox.advance(step);
                expected.drain(..step.min(expected.len()));
            }
            assert!(outbox.is_empty());
            outbox.recycle(&mut pool);
            assert_eq!(outbox.tail.capacity(), 0, "an empty outbox owns no memory");
        }
    }

    #[test]
    fn partly_written_tail_survives_sharing() {
        let mut pool = BufferPool::default();
        let mut outbox = Outbox::default();
        append(&mut outbox, &mut pool, b"abcdef");
        outbox.advance(2);
        outbox.share(Bytes::from_static(b"XY"));
        assert_eq!(contents(&outbox), b"cdefXY");
    }
}
