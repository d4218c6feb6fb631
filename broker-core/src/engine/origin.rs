//! What a client of the host may know of a message beside what MQTT says: which one it is, since when it is here, and who
//! published it.
//!
//! A connection that wants it (`Admission::tells_origin`) gets it behind each payload, where the client in the process takes
//! it off again. No other connection ever sees it:
//!
//! ```text
//!   ClientId   user name   number: 8   milliseconds since 1970: 8   length of ClientId: 4   of user name, and 1: 4
//! ```

use bytes::{Buf, Bytes};

use super::keys::PublicationId;
use super::publication::Publication;
use super::question::Identity;
use super::time::WallTime;

/// Bytes behind a payload and both names.
const BYTES: usize = 24;

/// Where a message comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Origin {
    /// Its number in the order of acceptance, the same however often it is delivered to this session, after a restart of the
    /// broker too; `None` for a message that nobody keeps. When nothing of higher numbers is kept any more, a restart
    /// may begin again below.
    pub number: Option<u64>,
    /// When it was accepted, if the session has a [`max_age`](crate::ClientBuilder::max_age).
    pub accepted_at: Option<WallTime>,
    /// Who published it, if the session has a `max_age` and it was not the host itself
    /// ([`on_behalf_of`](crate::ClientBuilder::on_behalf_of) nobody else).
    pub author: Option<Identity>,
}

/// The bytes behind a payload, of a message that has this number in its queue; `None` is a message that nobody keeps.
pub(crate) fn encode(kept: Option<(PublicationId, &Publication)>) -> Vec<u8> {
    let (number, publication) = kept.map_or((0, None), |(number, publication)| (number.0, Some(publication)));
    let author = publication.and_then(|publication| publication.author.as_deref());
    let client_id = author.map_or("", |author| &*author.client_id);
    let user_name = author.and_then(|author| author.user_name.as_deref());
    let at = publication.and_then(|publication| publication.accepted_at).unwrap_or_default();
    let len = |text: &str| u32::try_from(text.len()).unwrap_or_default();
    let mut bytes = Vec::with_capacity(BYTES + client_id.len() + user_name.unwrap_or_default().len());
    bytes.extend_from_slice(client_id.as_bytes());
    bytes.extend_from_slice(user_name.unwrap_or_default().as_bytes());
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.extend_from_slice(&at.0.to_be_bytes());
    bytes.extend_from_slice(&len(client_id).to_be_bytes());
    bytes.extend_from_slice(&user_name.map_or(0, |name| len(name) + 1).to_be_bytes());
    bytes
}

impl Origin {
    /// Takes it off the end of a payload; nothing is known of one that is too short.
    #[cfg_attr(not(feature = "server"), expect(dead_code, reason = "only clients in the process read it"))]
    pub(crate) fn split_off(payload: &mut Bytes) -> Self {
        Self::try_split_off(payload).unwrap_or_default()
    }

    fn try_split_off(payload: &mut Bytes) -> Option<Self> {
        let mut end = payload.split_off(payload.len().checked_sub(BYTES)?);
        let (number, at) = (end.get_u64(), end.get_u64());
        let (id_len, name_len) = (end.get_u32(), end.get_u32());
        let mut take = |len: u32| {
            let at = payload.len().checked_sub(usize::try_from(len).ok()?)?;
            String::from_utf8(payload.split_off(at).into()).ok()
        };
        let user_name = match name_len.checked_sub(1) {
            None => None,
            Some(len) => Some(take(len)?),
        };
        let client_id = take(id_len)?;
        let author = (!client_id.is_empty()).then(|| Identity::new(&client_id, user_name.as_deref()));
        let accepted_at = (at != 0).then_some(WallTime(at));
        Some(Self { number: (number != 0).then_some(number), accepted_at, author })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use culex_codec::{QoS, TopicName};

    use super::*;

    #[test]
    fn it_comes_off_as_it_was_put_behind() {
        for (author, accepted_at) in [
            (None, None),
            (Some(("a", None)), Some(WallTime(1))),
            (Some(("sensor \u{e9}", Some("ann"))), Some(WallTime(u64::MAX))),
            (Some(("a", Some(""))), None),
        ] {
            let author = author.map(|(id, name)| Identity::new(id, name));
            for payload in [&b""[..], b"21.5"] {
                let topic = TopicName::assume_valid("t");
                let mut publication =
                    Publication::new(PublicationId(7), topic, payload, QoS::AtLeastOnce, false);
                publication.accepted_at = accepted_at;
                publication.author = author.clone().map(Arc::new);
                let bytes = encode(Some((PublicationId(9), &publication)));
                let mut bytes = Bytes::from([payload, &bytes].concat());
                let expected = Origin { number: Some(9), accepted_at, author: author.clone() };
                assert_eq!(Origin::split_off(&mut bytes), expected);
                assert_eq!(bytes, payload);
            }
        }
        let mut bytes = Bytes::from(encode(None));
        assert_eq!((Origin::split_off(&mut bytes), bytes.len()), (Origin::default(), 0));
    }

    #[test]
    fn what_is_no_origin_is_none() {
        for bytes in [&b"short"[..], &[0xff; BYTES], &[0xff; 100]] {
            assert_eq!(Origin::split_off(&mut Bytes::from_static(bytes)).author, None);
        }
    }
}
