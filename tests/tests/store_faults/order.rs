//! The order of system calls: no acknowledgement leaves before the sync that covers what it promises.

use std::collections::HashMap;

use culex_codec::{Decoded, Packet, ProtocolVersion, decode};

use super::*;

const CALLS: &str =
    "read,recvfrom,recvmsg,readv,write,sendto,sendmsg,writev,pwrite64,pwritev,fsync,fdatasync";

/// What the broker did, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Bytes of a client came.
    Received { socket: String, bytes: Vec<u8> },
    /// Bytes went into the log of the store.
    Kept { bytes: Vec<u8> },
    /// A thread asks for the log to be on the disk.
    SyncBegan { thread: u32 },
    /// It is.
    Synced { thread: u32 },
    /// Bytes leave for a client.
    Sent { socket: String, bytes: Vec<u8> },
}

/// A call is a line, or two if another thread's came between: what goes out counts from its beginning, everything else
/// when it is done.
fn steps(trace: &str) -> Vec<Step> {
    let mut begun: HashMap<u32, String> = HashMap::new();
    let mut steps = Vec::new();
    for line in trace.lines() {
        let (thread, rest) = line.trim().split_once(' ').unwrap();
        let thread = thread.parse().unwrap();
        let rest = rest.trim_start();
        if let Some(beginning) = rest.strip_suffix(" <unfinished ...>") {
            steps.extend(step(thread, beginning, Half::Begin));
            begun.insert(thread, beginning.to_owned());
        } else if rest.starts_with("<... ") {
            let (_, end) = rest.split_once(" resumed>").unwrap();
            let whole = begun.remove(&thread).unwrap() + end;
            steps.extend(step(thread, &whole, Half::End));
        } else {
            steps.extend(step(thread, rest, Half::Begin));
            steps.extend(step(thread, rest, Half::End));
        }
    }
    steps
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    Begin,
    End,
}

fn step(thread: u32, call: &str, half: Half) -> Option<Step> {
    let (name, rest) = call.split_once('(')?;
    let (_, rest) = rest.split_once('<')?;
    let (file, arguments) = rest.split_once('>').map(|(file, rest)| (unescape(file), rest))?;
    let file = String::from_utf8_lossy(&file).into_owned();
    let is_log = file.ends_with("culex.db-wal");
    // `->` in the name of a socket is cut at its `>`; the second half names the peer.
    let (is_socket, socket) = (file.starts_with("TCP:["), arguments.split('>').next()?.to_owned());
    match (name, half) {
        ("fsync" | "fdatasync", Half::Begin) if is_log => Some(Step::SyncBegan { thread }),
        ("fsync" | "fdatasync", Half::End) if is_log && call.ends_with("= 0") => {
            Some(Step::Synced { thread })
        }
        ("pwrite64" | "pwritev", Half::End) if is_log => Some(Step::Kept { bytes: strings(arguments) }),
        ("read" | "recvfrom" | "recvmsg" | "readv", Half::End) if is_socket => {
            let bytes = strings(arguments);
            (!bytes.is_empty()).then_some(Step::Received { socket, bytes })
        }
        ("write" | "sendto" | "sendmsg" | "writev", Half::Begin) if is_socket => {
            Some(Step::Sent { socket, bytes: strings(arguments) })
        }
        _ => None,
    }
}

/// All strings of a call, one behind the other.
fn strings(arguments: &str) -> Vec<u8> {
    arguments.split('"').skip(1).step_by(2).flat_map(unescape).collect()
}

/// `\x61` as strace -xx writes it; anything else as it is.
fn unescape(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(digits, 16).unwrap());
        bytes.extend(rest.as_bytes());
    }
    bytes
}

/// A packet of a client that is answered when the store has what it brings.
#[derive(Debug)]
struct Promise {
    /// What must be in the log; empty for a packet that has no payload.
    payload: Vec<u8>,
    written_at: Option<usize>,
    is_covered: bool,
}

/// How many acknowledgements left, each after the sync that covers it.
fn check(steps: &[Step]) -> Result<usize, String> {
    let mut unread: HashMap<(&str, bool), Vec<u8>> = HashMap::new();
    let mut promises: HashMap<(&str, &str, u16), Promise> = HashMap::new();
    let mut syncs: HashMap<u32, usize> = HashMap::new();
    let mut kept = 0;
    for (at, step) in steps.iter().enumerate() {
        match step {
            Step::Received { socket, bytes } => {
                for (kind, id, payload) in packets(unread.entry((socket, true)).or_default(), bytes) {
                    promises
                        .insert((socket, kind, id), Promise { payload, written_at: None, is_covered: false });
                }
            }
            Step::Kept { bytes } => {
                for promise in promises.values_mut().filter(|promise| promise.written_at.is_none()) {
                    let length = promise.payload.len().max(1);
                    let is_there = promise.payload.is_empty()
                        || bytes.windows(length).any(|window| window == promise.payload);
                    promise.written_at = is_there.then_some(at);
                }
            }
            Step::SyncBegan { thread } => drop(syncs.insert(*thread, at)),
            Step::Synced { thread } => {
                let began = syncs.remove(thread).ok_or("a sync ended that did not begin")?;
                for promise in promises.values_mut() {
                    promise.is_covered |= promise.written_at.is_some_and(|written| written < began);
                }
            }
            Step::Sent { socket, bytes } => {
                for (kind, id, _) in packets(unread.entry((socket, false)).or_default(), bytes) {
                    let promise = promises.remove(&(socket.as_str(), kind, id));
                    match promise {
                        Some(Promise { is_covered: true, .. }) => kept += 1,
                        other => return Err(format!("{kind} {id} left at step {at}: {other:?}")),
                    }
                }
            }
        }
    }
    Ok(kept)
}

/// The packets that ask for an acknowledgement, or are one, by the name of that acknowledgement. What is not complete
/// stays in `unread`.
fn packets(unread: &mut Vec<u8>, bytes: &[u8]) -> Vec<(&'static str, u16, Vec<u8>)> {
    unread.extend(bytes);
    let mut found = Vec::new();
    let mut rest: &[u8] = unread;
    while let Ok(Decoded::Packet { packet, len }) = decode(rest, ProtocolVersion::V311, u32::MAX) {
        match packet {
            Packet::Publish(publish) => {
                if let Some(id) = publish.packet_id {
                    let kind = if publish.qos.bits() == 1 { "PUBACK" } else { "PUBREC" };
                    found.push((kind, id.get(), publish.payload.to_vec()));
                }
            }
            Packet::PubRel(ack) => found.push(("PUBCOMP", ack.packet_id.get(), Vec::new())),
            Packet::PubAck(ack) => found.push(("PUBACK", ack.packet_id.get(), Vec::new())),
            Packet::PubRec(ack) => found.push(("PUBREC", ack.packet_id.get(), Vec::new())),
            Packet::PubComp(ack) => found.push(("PUBCOMP", ack.packet_id.get(), Vec::new())),
            _ => {}
        }
        rest = rest.get(len..).unwrap_or_default();
    }
    *unread = rest.to_vec();
    found
}

/// Publishers one after the other, then many messages in flight of two at once.
fn traced(durability: &str) -> (Vec<Step>, usize) {
    const IN_FLIGHT: u16 = 40;
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace");
    let wrapper = strace::tracing(CALLS, &trace);
    let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
    let configuration = configuration(&directory.path().join("state"), durability, "");
    let mut broker = Broker::start_below(&wrapper, &configuration).unwrap();
    Notary::default().run(&broker, 6).unwrap();
    let mut clients: Vec<_> =
        ["a", "b"].map(|id| connect(&broker, &Connect::new(id).persistent()).unwrap()).into();
    for (number, client) in clients.iter_mut().enumerate() {
        let publish =
            |id| Publish::new("t", format!("of {number}: {id}.")).qos(1 + (id % 2) as u8, id).encode();
        client.send((1..=IN_FLIGHT).flat_map(publish).collect::<Vec<u8>>());
    }
    for client in &mut clients {
        for _ in 0..IN_FLIGHT {
            if let Received::PubRec(id) = client.receive() {
                client.send(wire::pubrel(id));
            }
        }
        for _ in 0..IN_FLIGHT / 2 {
            assert!(matches!(client.receive(), Received::PubComp(_)));
        }
    }
    broker.terminate();
    assert_eq!(broker.wait(PATIENCE).code(), Some(0));
    // Three of the first six have PUBREC and PUBCOMP; the Retained Message and its end have PUBACK.
    let acknowledgements = 6 + 3 + 2 + 2 * usize::from(IN_FLIGHT + IN_FLIGHT / 2);
    (steps(&finished(&trace)), acknowledgements)
}

/// strace ends after the broker.
fn finished(trace: &Path) -> String {
    let mut text = String::new();
    until("strace ends", || {
        text = std::fs::read_to_string(trace).unwrap();
        text.contains("+++ exited with 0 +++") && text.ends_with('\n')
    });
    text.lines().filter(|line| !line.contains("+++ exited")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn no_acknowledgement_leaves_before_the_sync_that_covers_it() {
    if !strace::is_usable() {
        return;
    }
    let (steps, acknowledgements) = traced("power");
    assert_eq!(check(&steps), Ok(acknowledgements));
    // What would be wrong is found: an acknowledgement that leaves as soon as its packet has come.
    let mut planted = 0;
    for (at, sent) in steps.iter().enumerate() {
        let Step::Sent { socket: to, bytes } = sent else { continue };
        let Some((kind, id, _)) = packets(&mut Vec::new(), bytes).into_iter().next() else { continue };
        let asks = |step: &Step| match step {
            Step::Received { socket, bytes } if socket == to => {
                packets(&mut Vec::new(), bytes).iter().any(|packet| (packet.0, packet.1) == (kind, id))
            }
            _ => false,
        };
        // A packet that came in two parts is seen in neither.
        let Some(asked) = steps.get(..at).and_then(|before| before.iter().rposition(asks)) else { continue };
        let mut early = steps.clone();
        early.remove(at);
        early.insert(asked + 1, sent.clone());
        assert!(check(&early).is_err(), "not found: {kind} {id} at {at}");
        planted += 1;
    }
    println!("{acknowledgements} acknowledgements, each behind its sync; {planted} planted mistakes found");
    assert!(planted > 5);
}

#[test]
fn the_check_finds_that_a_killed_process_is_all_that_this_mode_is_for() {
    if !strace::is_usable() {
        return;
    }
    let (steps, _) = traced("kill");
    assert!(check(&steps).is_err());
}
