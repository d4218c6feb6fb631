use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use proptest::prelude::*;

use super::*;

/// Counts how often it was called.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Bell {
    fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct Pair {
    end: PipeEnd,
    stream: PipeStream,
    /// Rings for the lane.
    lane: Arc<Bell>,
    /// Rings for the task.
    task: Arc<Bell>,
}

impl Pair {
    fn new() -> Self {
        let (end, stream) = pipe();
        let (lane, task) = <(Arc<Bell>, Arc<Bell>)>::default();
        let bell = Arc::clone(&lane);
        end.register(Box::new(move || {
            bell.0.fetch_add(1, Ordering::Relaxed);
        }));
        assert_eq!(lane.take(), 1, "the first look");
        Self { end, stream, lane, task }
    }

    fn write(&mut self, bytes: &[u8]) -> Option<io::Result<usize>> {
        let waker = Arc::clone(&self.task).into();
        match Pin::new(&mut self.stream).poll_write(&mut Context::from_waker(&waker), bytes) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        }
    }

    /// `None` if there is nothing now; no bytes at the end.
    fn read(&mut self, bytes_max: usize) -> Option<Vec<u8>> {
        let waker = Arc::clone(&self.task).into();
        let mut storage = vec![0; bytes_max];
        let mut buffer = ReadBuf::new(&mut storage);
        match Pin::new(&mut self.stream).poll_read(&mut Context::from_waker(&waker), &mut buffer) {
            Poll::Ready(result) => {
                result.unwrap();
                Some(buffer.filled().to_vec())
            }
            Poll::Pending => None,
        }
    }

    /// As [`Self::read`], for the lane.
    fn lane_read(&self, bytes_max: usize) -> Option<Vec<u8>> {
        let mut buffer = vec![0; bytes_max];
        match self.end.read(&mut buffer) {
            Ok(count) => {
                buffer.truncate(count);
                Some(buffer)
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                None
            }
        }
    }

    fn lane_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let (one, two) = bytes.split_at(bytes.len() / 3);
        self.end.write_vectored(&[IoSlice::new(one), IoSlice::new(two)])
    }

    fn capacities(&self) -> (usize, usize) {
        (self.end.0.inbound.lock().bytes.capacity(), self.end.0.outbound.lock().bytes.capacity())
    }
}

#[test]
fn the_lane_is_told_once_until_it_has_looked() {
    let mut pair = Pair::new();
    assert_eq!(pair.lane_read(100), None);
    for _ in 0..100 {
        pair.write(b"x").unwrap().unwrap();
    }
    assert_eq!(pair.lane.take(), 1);
    assert_eq!(pair.lane_read(60).unwrap().len(), 60);
    pair.write(b"x").unwrap().unwrap();
    assert_eq!(pair.lane.take(), 0, "a full read is followed by another one");
    assert_eq!(pair.lane_read(60).unwrap().len(), 41);
    pair.write(b"x").unwrap().unwrap();
    assert_eq!(pair.lane.take(), 1, "a short read is not");
}

#[test]
fn both_directions_are_bounded_and_room_is_told() {
    let mut pair = Pair::new();
    let much = vec![7; 1 << 20];
    assert_eq!(pair.write(&much).unwrap().unwrap(), INBOUND_BYTES_MAX);
    assert!(pair.write(b"x").is_none());
    assert_eq!(pair.lane_read(1).unwrap(), [7]);
    assert_eq!(pair.task.take(), 1);
    assert_eq!(pair.write(&much).unwrap().unwrap(), 1);

    assert_eq!(pair.lane_write(&much).unwrap(), OUTBOUND_BYTES_MAX);
    assert_eq!(pair.lane_write(b"xxx").unwrap_err().kind(), io::ErrorKind::WouldBlock);
    pair.lane.take();
    assert_eq!(pair.read(1).unwrap(), [7]);
    assert_eq!(pair.lane.take(), 1);
    assert_eq!(pair.lane_write(&much).unwrap(), 1);
}

#[test]
fn an_idle_pipe_owns_no_buffer() {
    let mut pair = Pair::new();
    pair.write(&[1; 1000]).unwrap().unwrap();
    pair.lane_write(&[1; 1000]).unwrap();
    assert_eq!(pair.lane_read(5000).unwrap().len(), 1000);
    assert_eq!(pair.read(5000).unwrap().len(), 1000);
    assert_eq!(pair.capacities(), (0, 0));
}

#[test]
fn what_was_written_before_the_end_is_read() {
    let mut pair = Pair::new();
    pair.write(b"last words").unwrap().unwrap();
    pair.lane_write(b"good bye").unwrap();
    pair.end.shutdown();
    assert_eq!(pair.read(100).unwrap(), b"good bye");
    assert_eq!(pair.read(100).unwrap(), b"");
    pair.lane.take();
    let Pair { end, stream, lane, task: _ } = pair;
    drop(stream);
    assert_eq!(lane.take(), 1);
    let mut buffer = [0; 100];
    assert_eq!(end.read(&mut buffer).unwrap(), 10);
    assert!(end.has_ended());
    assert_eq!(end.read(&mut buffer).unwrap(), 0);
    let error = end.write_vectored(&[IoSlice::new(b"x")]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn nobody_waits_for_a_lane_that_is_gone() {
    let mut pair = Pair::new();
    pair.write(&vec![0; INBOUND_BYTES_MAX]).unwrap().unwrap();
    assert!(pair.write(b"x").is_none());
    assert!(pair.read(1).is_none());
    let fate = pair.stream.fate();
    pair.end.note_fate(CloseReason::TakenOver);
    let (other, _) = pipe();
    drop(std::mem::replace(&mut pair.end, other));
    assert_eq!(pair.task.take(), 2);
    assert_eq!(pair.read(1).unwrap(), b"");
    assert_eq!(pair.write(b"x").unwrap().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(fate.reason(), Some(CloseReason::TakenOver));
}

proptest! {
    /// Each side acts only when it knows from its own last result, or from a bell, that it may: whoever is not told
    /// stands still, and then bytes are missing in the end.
    #[test]
    fn all_bytes_arrive_in_order(
        steps in prop::collection::vec((0_u8..4, 1_usize..40_000), 0..300),
        inbound_len in 0_usize..200_000,
        outbound_len in 0_usize..200_000,
    ) {
        let pattern = |len: usize| (0..len).map(|n| (n % 251) as u8).collect::<Vec<_>>();
        let (to_lane, to_task) = (pattern(inbound_len), pattern(outbound_len));
        let (mut at_lane, mut at_task) = (Vec::new(), Vec::new());
        let (mut sent_in, mut sent_out) = (0, 0);
        let mut pair = Pair::new();
        // What each side may do: write, read, lane read, lane write.
        let mut may = [true; 4];
        let rest = (0..100_000_u32).map(|n| ((n % 4) as u8, 50_000));
        for (step, size) in steps.into_iter().chain(rest) {
            if !may.contains(&true) {
                break;
            }
            let step = usize::from(step);
            if !may[step] {
                continue;
            }
            may[step] = match step {
                0 => match pair.write(&to_lane[sent_in..to_lane.len().min(sent_in + size)]) {
                    Some(count) => { sent_in += count.unwrap(); sent_in < to_lane.len() }
                    None => false,
                },
                1 => match pair.read(size) {
                    Some(bytes) => { at_task.extend(bytes); true }
                    None => false,
                },
                2 => match pair.lane_read(size) {
                    // As a link: a short read is the end of the reading.
                    Some(bytes) => { let is_full = bytes.len() == size; at_lane.extend(bytes); is_full }
                    None => false,
                },
                _ => {
                    let chunk = &to_task[sent_out..to_task.len().min(sent_out + size)];
                    let written = pair.lane_write(chunk).unwrap_or(0);
                    sent_out += written;
                    written == chunk.len() && sent_out < to_task.len()
                }
            };
            if pair.lane.take() > 0 {
                (may[2], may[3]) = (true, true);
            }
            if pair.task.take() > 0 {
                (may[0], may[1]) = (true, true);
            }
        }
        prop_assert!(at_lane == to_lane, "{} of {} bytes to the lane", at_lane.len(), to_lane.len());
        prop_assert!(at_task == to_task, "{} of {} bytes to the task", at_task.len(), to_task.len());
    }
}
