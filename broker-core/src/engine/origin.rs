//! What a client of the host may know of a message beside what MQTT says: which one it is, and since when it is here.
//!
//! A connection that wants it (`Admission::tells_origin`) gets it behind each payload, where the client in the process takes
//! it off again: 16 bytes that no other connection ever sees.

use bytes::{Buf, Bytes};

use super::keys::PublicationId;
use super::time::WallTime;

/// Bytes behind a payload.
const BYTES: usize = 16;

/// Where a message comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Origin {
    /// Its number in the order of acceptance, the same however often it is delivered to this session, after a restart of the
    /// broker too; `None` for a message that nobody keeps. When nothing of higher numbers is kept any more, a restart
    /// may begin again below.
    pub number: Option<u64>,
    /// When it was accepted, if the session has a [`max_age`](crate::ClientBuilder::max_age).
    pub accepted_at: Option<WallTime>,
}

impl Origin {
    pub(crate) fn of(number: PublicationId, accepted_at: Option<WallTime>) -> Self {
        Self { number: (number != PublicationId(0)).then_some(number.0), accepted_at }
    }

    pub(crate) fn to_bytes(self) -> [u8; BYTES] {
        let number = u128::from(self.number.unwrap_or_default());
        let at = u128::from(self.accepted_at.unwrap_or_default().0);
        (number << 64 | at).to_be_bytes()
    }

    /// Takes it off the end of a payload; nothing is known of one that is too short.
    #[cfg_attr(not(feature = "server"), expect(dead_code, reason = "only clients in the process read it"))]
    pub(crate) fn split_off(payload: &mut Bytes) -> Self {
        let Some(at) = payload.len().checked_sub(BYTES) else { return Self::default() };
        let mut end = payload.split_off(at);
        let (number, at) = (end.get_u64(), end.get_u64());
        Self { number: (number != 0).then_some(number), accepted_at: (at != 0).then_some(WallTime(at)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_off_as_it_was_put_behind() {
        for origin in [
            Origin::default(),
            Origin { number: Some(7), accepted_at: None },
            Origin { number: Some(u64::MAX), accepted_at: Some(WallTime(u64::MAX)) },
        ] {
            for payload in [&b""[..], b"21.5"] {
                let mut bytes = Bytes::from([payload, &origin.to_bytes()].concat());
                assert_eq!(Origin::split_off(&mut bytes), origin);
                assert_eq!(bytes, payload);
            }
        }
        assert_eq!(Origin::split_off(&mut Bytes::from_static(b"short")), Origin::default());
    }
}
