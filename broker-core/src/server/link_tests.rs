use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use mio::{Events, Poll, Token};

use super::*;
use crate::engine::store::Stored;
use crate::limits::Limits;
use crate::server::admit::Rooms;
use crate::server::commons::SharedCommons;
use crate::server::metrics::Metrics;
use crate::server::socket::Socket;

/// A link, the other end of its connection, and a poll that has it.
fn pair() -> (Link, TcpStream, Poll) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, address) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let limits = Limits::default();
    let commons = Arc::new(SharedCommons::new(&limits, (1, 2), &Stored::default()));
    let metrics =
        Arc::new(Metrics { lanes: Vec::new(), front_door: Default::default(), commons, store: None });
    let permit = Rooms::new(&limits, metrics)
        .enter(Some(address.ip()), None)
        .unwrap_or_else(|limit| panic!("{limit}"));
    let poll = Poll::new().unwrap();
    let transport = Transport::Socket(Socket::Tcp(mio::net::TcpStream::from_std(stream)));
    transport.register(poll.registry(), Token(0), || {}).unwrap();
    (Link::new(ConnectionKey { slot: 0, generation: 0 }, transport, Vec::new(), permit), peer, poll)
}

fn await_event(poll: &mut Poll, is_it: impl Fn(&mio::event::Event) -> bool) {
    let mut events = Events::with_capacity(8);
    while !events.iter().any(&is_it) {
        poll.poll(&mut events, None).unwrap();
    }
}

fn outbox(bytes: &'static [u8]) -> Outbox {
    let mut outbox = Outbox::default();
    outbox.share(bytes::Bytes::from_static(bytes));
    outbox
}

fn all(bytes: &[u8]) -> Consumed {
    Consumed { bytes: bytes.len(), is_cut_short: false }
}

#[test]
fn what_a_peer_sent_before_it_was_gone_is_read_although_writing_fails() {
    let (mut link, mut peer, mut poll) = pair();
    let mut shared = vec![0; SHARED_BUFFER_BYTES];
    // Unread bytes at a close make it a reset.
    assert_eq!(link.write(&mut outbox(b"unread")), WriteOutcome::Drained);
    peer.write_all(b"last words").unwrap();
    drop(peer);
    await_event(&mut poll, |event| event.is_write_closed() || event.is_error());
    assert_eq!(link.write(&mut outbox(b"too late")), WriteOutcome::Broken);
    assert!(link.is_ready() && !link.is_blocked);
    let mut heard = Vec::new();
    let outcome = link.read(&mut shared, |bytes| {
        heard.extend_from_slice(bytes);
        all(bytes)
    });
    assert_eq!((outcome, &*heard), (ReadOutcome::Bytes(10), &b"last words"[..]));
    assert!(link.is_ready(), "the end is still to be read");
    assert_eq!(link.read(&mut shared, all), ReadOutcome::Ended);
    assert_eq!(link.write(&mut outbox(b"never")), WriteOutcome::Broken);
}

#[test]
fn the_buffer_of_a_large_packet_is_not_kept_for_a_small_one() {
    let (mut link, _peer, _poll) = pair();
    link.keep_rest(vec![0; 1 << 20], (1 << 20) - 3);
    assert_eq!(link.partial.len(), 3);
    assert!(link.partial.capacity() <= SHARED_BUFFER_BYTES);
    link.keep_rest(vec![0; 100], 100);
    link.keep(&[]);
    assert_eq!(link.partial.capacity(), 0);
}

#[test]
fn packets_that_are_handed_over_one_by_one_are_not_moved() {
    const PACKETS: usize = 1000;
    let (mut link, mut peer, mut poll) = pair();
    let mut shared = vec![0; SHARED_BUFFER_BYTES];
    let sent: Vec<u8> = (0..PACKETS).flat_map(|number| number.to_be_bytes()).chain([1, 2, 3]).collect();
    peer.write_all(&sent).unwrap();
    await_event(&mut poll, mio::event::Event::is_readable);
    link.is_readable = true;
    let mut heard = Vec::new();
    let mut places = Vec::new();
    while link.is_ready() && heard.len() < 8 * PACKETS {
        link.read(&mut shared, |bytes| {
            // One packet, as long as there is a complete one; a hook wants to be asked about it.
            let packet = bytes.get(..8).unwrap_or_default();
            heard.extend_from_slice(packet);
            Consumed { bytes: packet.len(), is_cut_short: packet.len() == 8 }
        });
        places.push(link.partial.len());
    }
    assert!(heard == sent[..8 * PACKETS], "{} bytes, or other ones", heard.len());
    places.dedup();
    assert!(places.len() <= 3, "bytes were moved {} times", places.len());
    link.read(&mut shared, |bytes| Consumed { bytes: bytes.len().min(2), is_cut_short: false });
    assert_eq!((&*link.partial, link.done), (&[3][..], 0), "what is left begins the next packet");
}
