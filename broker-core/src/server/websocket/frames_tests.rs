use proptest::prelude::*;

use super::*;

const MASK: [u8; 4] = [0x12, 0x00, 0xAB, 0xFF];

/// A frame as a client sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ ..126 => frame.push(0x80 | len as u8),
        len @ ..65_536 => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The payload of what comes in these pieces.
fn read(frames: &mut Frames, pieces: &[&[u8]]) -> Vec<u8> {
    let mut payload = Vec::new();
    for piece in pieces {
        let mut buffer = piece.to_vec();
        let count = frames.unwrap(&mut buffer);
        payload.extend_from_slice(&buffer[..count]);
    }
    payload
}

#[test]
fn payloads_of_every_length_pass() {
    for len in [0, 1, 7, 8, 9, 125, 126, 127, 65_535, 65_536, 70_000] {
        let payload: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
        let mut frames = Frames::default();
        assert_eq!(read(&mut frames, &[&frame(0x82, &payload)]), payload, "{len}");
        assert_eq!(frames.end(), None);
        assert_eq!(frames.next_answer(), None);
    }
}

#[test]
fn a_length_that_is_announced_costs_nothing() {
    let mut frames = Frames::default();
    let mut head = vec![0x82, 0x80 | 127];
    head.extend((u64::MAX >> 1).to_be_bytes());
    head.extend([0; 4]);
    assert_eq!(read(&mut frames, &[&head, b"abc"]), b"abc");
    assert_eq!(frames.end(), None);
}

#[test]
fn the_last_ping_is_answered_also_between_fragments() {
    let mut frames = Frames::default();
    let stream = [
        frame(0x02, b"ab"),
        frame(0x89, b"one"),
        frame(0x00, b"cd"),
        frame(0x8A, b"nobody asked"),
        frame(0x89, b"two"),
        frame(0x80, b"ef"),
    ]
    .concat();
    assert_eq!(read(&mut frames, &[&stream]), b"abcdef");
    assert_eq!(frames.next_answer().as_deref(), Some(b"\x8A\x03two".as_slice()));
    assert_eq!(frames.next_answer(), None);
    assert_eq!(frames.end(), None);
}

#[test]
fn a_close_is_answered_once_and_nothing_follows() {
    let close = frame(0x88, &1001_u16.to_be_bytes());
    let mut frames = Frames::default();
    let stream = [frame(0x82, b"last"), frame(0x89, b"ping"), close, frame(0x82, b"more")].concat();
    assert_eq!(read(&mut frames, &[&stream]), b"last");
    assert_eq!(frames.end(), Some(End::Closed));
    assert_eq!(frames.next_answer().as_deref(), Some(b"\x88\x02\x03\xE9".as_slice()));
    frames.take_leave();
    assert_eq!(frames.next_answer(), None);
    assert_eq!(read(&mut frames, &[&frame(0x82, b"more")]), b"");
}

#[test]
fn the_server_takes_leave_with_a_close_frame() {
    let mut frames = Frames::default();
    frames.take_leave();
    assert_eq!(frames.next_answer().as_deref(), Some(b"\x88\x02\x03\xE8".as_slice()));
    assert_eq!(frames.next_answer(), None);
}

#[test]
fn every_rule_is_held() {
    let unmasked = vec![0x82, 0x01, 0x00];
    let long_form = |len: u64| [&[0x82, 0x80 | 127], len.to_be_bytes().as_slice(), &[0; 4]].concat();
    let short_form = vec![0x82, 0x80 | 126, 0, 125, 0, 0, 0, 0];
    for (name, stream, expected, code) in [
        ("text", frame(0x81, b"hi"), Violation::Text, 1003),
        ("empty text", frame(0x81, b""), Violation::Text, 1003),
        ("text in fragments", frame(0x01, b"hi"), Violation::Text, 1003),
        ("unmasked", unmasked, Violation::Unmasked, 1002),
        ("compressed", frame(0xC2, b"x"), Violation::ReservedBits, 1002),
        ("reserved bit", frame(0x92, b"x"), Violation::ReservedBits, 1002),
        ("opcode 3", frame(0x83, b"x"), Violation::ReservedOpcode, 1002),
        ("opcode 11", frame(0x8B, b"x"), Violation::ReservedOpcode, 1002),
        ("63 bits", long_form(1 << 63), Violation::Length, 1002),
        ("too long a form of 8", long_form(65_535), Violation::Length, 1002),
        ("too long a form of 2", short_form, Violation::Length, 1002),
        ("long ping", frame(0x89, &[0; 126]), Violation::Control, 1002),
        ("ping in fragments", frame(0x09, b"x"), Violation::Control, 1002),
        ("continuation of nothing", frame(0x80, b"x"), Violation::Fragments, 1002),
        ("message in a message", [frame(0x02, b""), frame(0x82, b"")].concat(), Violation::Fragments, 1002),
        ("half a code", frame(0x88, b"\x03"), Violation::CloseCode, 1002),
        ("code 1005", frame(0x88, &1005_u16.to_be_bytes()), Violation::CloseCode, 1002),
        ("code 999", frame(0x88, &999_u16.to_be_bytes()), Violation::CloseCode, 1002),
        ("reason is not text", frame(0x88, b"\x03\xE8\xFF"), Violation::CloseCode, 1002),
    ] {
        let mut frames = Frames::default();
        assert_eq!(read(&mut frames, &[&stream]), b"", "{name}");
        assert_eq!(frames.end(), Some(End::Failed(expected)), "{name}");
        let close = [&[0x88, 2], u16::to_be_bytes(code).as_slice()].concat();
        assert_eq!(frames.next_answer(), Some(close), "{name}");
    }
}

fn any_frame() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let payload = prop::collection::vec(any::<u8>(), 0..300);
    prop_oneof![
        4 => payload.prop_map(|payload| (frame(0x82, &payload), payload)),
        1 => prop::collection::vec(any::<u8>(), 0..126).prop_map(|payload| (frame(0x89, &payload), Vec::new())),
    ]
}

proptest! {
    #[test]
    fn where_the_stream_is_cut_does_not_matter(
        frames in prop::collection::vec(any_frame(), 1..12),
        sizes in prop::collection::vec(1_usize..40, 1..20),
    ) {
        let (streams, payloads): (Vec<_>, Vec<_>) = frames.into_iter().unzip();
        let (stream, payload) = (streams.concat(), payloads.concat());
        let (mut pieces, mut rest) = (Vec::new(), stream.as_slice());
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, later) = rest.split_at(rest.len().min(*size));
            pieces.push(piece);
            rest = later;
        }
        let mut frames = Frames::default();
        prop_assert_eq!(read(&mut frames, &pieces), payload);
        prop_assert_eq!(frames.end(), None);
    }

    #[test]
    fn no_bytes_do_any_harm(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut frames = Frames::default();
        let payload = read(&mut frames, &[&bytes]);
        prop_assert!(payload.len() <= bytes.len());
        let answers: usize = std::iter::from_fn(|| frames.next_answer()).map(|answer| answer.len()).sum();
        prop_assert!(answers <= 2 * (CONTROL_BYTES_MAX + 2));
    }
}
