//! What holds for every packet, tried with random ones. A failing case is printed with its seed.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests"
)]

mod support;

use culex_codec::{DecodeError, Decoded, Packet, ProtocolVersion, TopicFilter, TopicName, decode};
use proptest::prelude::*;

use support::packet;

const LIMIT: u32 = 1 << 20;

/// Length and debug text of each packet in a stream that is handed over in chunks of the sizes given, in turn.
fn packets_in_chunks(stream: &[u8], version: ProtocolVersion, chunks: &[usize]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut sizes = chunks.iter().cycle();
    let (mut start, mut end) = (0, 0);
    while start < stream.len() {
        match decode(&stream[start..end], version, LIMIT).unwrap() {
            Decoded::Packet { packet, len } => {
                found.push((len, format!("{packet:?}")));
                start += len;
            }
            Decoded::Incomplete { need } => {
                assert!(need > 0);
                assert!(end + need <= stream.len(), "needs {need} where {} are left", stream.len() - end);
                end = (end + sizes.next().unwrap()).min(stream.len());
            }
        }
    }
    found
}

/// The plain definition of matching, by recursion.
fn matches(filter: &[&str], name: &[&str]) -> bool {
    match (filter.split_first(), name.split_first()) {
        (Some((&"#", _)), _) => true,
        (Some((level, filter)), Some((part, name))) => {
            (*level == "+" || level == part) && matches(filter, name)
        }
        (None, None) => true,
        (None, Some(_)) | (Some(_), None) => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn decoding_undoes_encoding(owned in packet()) {
        let version = owned.version();
        let packet = owned.packet();
        let mut bytes = Vec::new();
        let len = packet.encode(version, &mut bytes).unwrap();
        prop_assert_eq!(len, bytes.len());
        prop_assert_eq!(packet.encoded_len(version), Ok(len));
        prop_assert_eq!(decode(&bytes, version, LIMIT), Ok(Decoded::Packet { packet, len }));
        prop_assert!(decode(&bytes, version, len as u32).is_ok());
        let error = DecodeError::PacketTooLarge { bytes: len as u32, bytes_max: len as u32 - 1 };
        prop_assert_eq!(decode(&bytes, version, len as u32 - 1), Err(error));
    }

    #[test]
    fn no_prefix_of_a_packet_is_a_packet(owned in packet()) {
        let mut bytes = Vec::new();
        owned.packet().encode(owned.version(), &mut bytes).unwrap();
        for cut in (0..bytes.len()).rev().take(300).chain(0..bytes.len().min(300)) {
            let decoded = decode(&bytes[..cut], owned.version(), LIMIT);
            let Ok(Decoded::Incomplete { need }) = decoded else {
                panic!("{cut} of {} bytes are {decoded:?}", bytes.len());
            };
            prop_assert!((1..=bytes.len() - cut).contains(&need));
        }
    }

    #[test]
    fn bytes_after_a_packet_belong_to_the_next(owned in packet(), after in proptest::collection::vec(any::<u8>(), 1..9)) {
        let packet = owned.packet();
        let mut bytes = Vec::new();
        let len = packet.encode(owned.version(), &mut bytes).unwrap();
        bytes.extend(after);
        prop_assert_eq!(decode(&bytes, owned.version(), LIMIT), Ok(Decoded::Packet { packet, len }));
    }

    #[test]
    fn any_split_gives_the_same_packets(
        all in proptest::collection::vec(packet(), 1..8),
        chunks in proptest::collection::vec(1..50usize, 1..10),
    ) {
        let version = all[0].version();
        let mut stream = Vec::new();
        for owned in all.iter().filter(|owned| owned.version() == version) {
            owned.packet().encode(version, &mut stream).unwrap();
        }
        let whole = packets_in_chunks(&stream, version, &[stream.len()]);
        prop_assert_eq!(&packets_in_chunks(&stream, version, &chunks), &whole);
        prop_assert_eq!(whole.iter().map(|(len, _)| len).sum::<usize>(), stream.len());
    }

    /// What is decoded from damaged packets can be encoded, and means the same.
    #[test]
    fn what_decodes_encodes(
        owned in packet(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let version = owned.version();
        let mut bytes = Vec::new();
        owned.packet().encode(version, &mut bytes).unwrap();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(Decoded::Packet { packet, .. }) = decode(&bytes, version, LIMIT) {
            let version = if let Packet::Connect(connect) = packet { connect.version } else { version };
            let mut again = Vec::new();
            let len = packet.encode(version, &mut again).unwrap();
            prop_assert_eq!(decode(&again, version, LIMIT), Ok(Decoded::Packet { packet, len }));
        }
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for version in [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5] {
            if let Ok(Decoded::Packet { packet, len }) = decode(&bytes, version, LIMIT) {
                prop_assert!(len <= bytes.len());
                let text = format!("{packet:?}");
                prop_assert!(text.len() > 3);
            }
        }
    }

    #[test]
    fn matching_is_as_defined(filter in "(([$]?[ab]?|[+])/){0,3}([ab]?|[+]|#)", name in "([$]?[ab]?/){0,3}[ab]?") {
        if let (Ok(filter), Ok(name)) = (TopicFilter::new(&filter), TopicName::new(&name)) {
            let hidden = name.is_dollar() && filter.as_str().starts_with(['+', '#']);
            let expected = !hidden
                && matches(&filter.levels().collect::<Vec<_>>(), &name.levels().collect::<Vec<_>>());
            prop_assert_eq!(filter.matches(name), expected);
        }
    }
}
