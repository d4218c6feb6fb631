//! What a session wants, in the cell that says whether it is the host's own.
//!
//! ```text
//!   0 or 1: the host's own or not, and it wants nothing; or bytes:
//!   flags   [when_full  messages  bytes]   [max_age_ms]   [index  count  seed]
//! ```
//!
//! Numbers are [`packed`]; a limit of zero is none. So the tables are those of the days before there were options.

use rusqlite::types::ValueRef;

use crate::engine::{QueueLimits, SessionOptions, TopicPart};
use crate::limits::{Limit, WhenFull};

use super::packed;
use super::row::{Cells, Damage};

const TRUSTED: u8 = 1;
const NO_LOCAL: u8 = 2;
const RETAIN_AS_PUBLISHED: u8 = 4;
const QUEUE_QOS0: u8 = 8;
const QUEUE: u8 = 16;
const MAX_AGE: u8 = 32;
const PART: u8 = 64;

/// The bytes; `None` if there are no options.
pub(super) fn packed(is_trusted: bool, options: &SessionOptions) -> Option<Vec<u8>> {
    if *options == SessionOptions::default() {
        return None;
    }
    let SessionOptions { no_local, retain_as_published, queue_qos0, queue, max_age_ms, part } = *options;
    let mut flags = 0;
    for (is_set, flag) in [
        (is_trusted, TRUSTED),
        (no_local, NO_LOCAL),
        (retain_as_published, RETAIN_AS_PUBLISHED),
        (queue_qos0, QUEUE_QOS0),
        (queue.is_some(), QUEUE),
        (max_age_ms.is_some(), MAX_AGE),
        (part.is_some(), PART),
    ] {
        flags |= if is_set { flag } else { 0 };
    }
    let mut bytes = vec![flags];
    if let Some(QueueLimits { messages, bytes: bytes_max, when_full }) = queue {
        bytes.push(match when_full {
            WhenFull::DropNewest => 0,
            WhenFull::DropOldest => 1,
            WhenFull::Block => 2,
        });
        packed::put(&mut bytes, number(messages));
        packed::put(&mut bytes, number(bytes_max));
    }
    if let Some(max_age_ms) = max_age_ms {
        packed::put(&mut bytes, max_age_ms);
    }
    if let Some((index, count, seed)) = part.map(TopicPart::parts) {
        packed::put(&mut bytes, index.into());
        packed::put(&mut bytes, count.into());
        packed::put(&mut bytes, seed.into());
    }
    Some(bytes)
}

/// What such a cell says.
pub(super) fn read(cells: &Cells<'_>, column: usize) -> Result<(bool, SessionOptions), Damage> {
    let ValueRef::Blob(mut bytes) = cells.cell(column) else {
        return cells.flag(column).map(|is_trusted| (is_trusted, SessionOptions::default()));
    };
    let found = take(&mut bytes).filter(|_| bytes.is_empty());
    found.ok_or_else(|| cells.senseless(column))
}

fn take(from: &mut &[u8]) -> Option<(bool, SessionOptions)> {
    let flags = *from.split_off_first().filter(|flags| **flags < 2 * PART)?;
    let has = |flag| flags & flag != 0;
    let queue = if has(QUEUE) {
        let when_full = match from.split_off_first()? {
            0 => WhenFull::DropNewest,
            1 => WhenFull::DropOldest,
            2 => WhenFull::Block,
            _ => return None,
        };
        let (messages, bytes) = (limit(packed::take(from)?), limit(packed::take(from)?));
        Some(QueueLimits { messages, bytes, when_full })
    } else {
        None
    };
    let max_age_ms = if has(MAX_AGE) { Some(packed::take(from)?) } else { None };
    let part = if has(PART) {
        let (index, count, seed) = (packed::take(from)?, packed::take(from)?, packed::take(from)?);
        let (index, count) = (u16::try_from(index).ok()?, u16::try_from(count).ok()?);
        Some(TopicPart::new(index, count, u32::try_from(seed).ok()?)?)
    } else {
        None
    };
    let (no_local, retain_as_published) = (has(NO_LOCAL), has(RETAIN_AS_PUBLISHED));
    let queue_qos0 = has(QUEUE_QOS0);
    let options = SessionOptions { no_local, retain_as_published, queue_qos0, queue, max_age_ms, part };
    Some((has(TRUSTED), options))
}

const fn number(limit: Limit) -> u64 {
    match limit {
        Limit::AtMost(limit) => limit.get(),
        Limit::Unlimited => 0,
    }
}

fn limit(number: u64) -> Limit {
    Limit::at_most(number).unwrap_or(Limit::Unlimited)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> SessionOptions {
        SessionOptions {
            no_local: true,
            retain_as_published: true,
            queue_qos0: true,
            queue: Some(QueueLimits {
                messages: Limit::Unlimited,
                bytes: Limit::at_most(1 << 40).unwrap(),
                when_full: WhenFull::DropOldest,
            }),
            max_age_ms: Some(u64::MAX),
            part: TopicPart::new(2, 3, u32::MAX),
        }
    }

    #[test]
    fn options_are_read_as_they_were_written() {
        let all = all();
        let queue =
            QueueLimits { messages: Limit::Unlimited, bytes: Limit::Unlimited, when_full: WhenFull::Block };
        for options in [
            all,
            SessionOptions { queue: Some(queue), ..all },
            SessionOptions { queue: None, ..all },
            SessionOptions { max_age_ms: None, no_local: false, ..all },
            SessionOptions { part: None, retain_as_published: false, ..all },
            SessionOptions { queue_qos0: true, ..SessionOptions::default() },
        ] {
            for is_trusted in [true, false] {
                let bytes = packed(is_trusted, &options).unwrap();
                let mut rest = &*bytes;
                assert_eq!(take(&mut rest), Some((is_trusted, options)));
                assert!(rest.is_empty());
                for cut in 0..bytes.len() {
                    assert_eq!(take(&mut &bytes[..cut]), None, "{cut} of {bytes:?}");
                }
            }
        }
        assert_eq!(packed(true, &SessionOptions::default()), None);
    }

    #[test]
    fn what_makes_no_sense_is_nothing() {
        for bytes in [&[128][..], &[QUEUE, 3, 1, 1], &[PART, 3, 3, 0], &[PART, 0, 0, 0]] {
            assert_eq!(take(&mut &*bytes), None, "{bytes:?}");
        }
    }
}
