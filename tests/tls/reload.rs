//! Certificates, CAs and revocation lists replaced while clients talk.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use culex_tests::parse::Received;
use culex_tests::wire::{self, Connect, Publish};
use rcgen::SerialNumber;

use crate::authority::{Authority, Identity};
use crate::peer::{BOTH, Peer, client_config, eventually};
use crate::program::{Program, save, write};

const CLIENTS: usize = 4;
const ROUNDS: usize = 8;

fn connect(program: &Program, server: &Authority, id: &str, identity: &Identity) -> Option<Peer> {
    let mut peer = Peer::open(program.broker.addr, client_config(server, &BOTH, Some(identity)));
    peer.send(Connect::new(id).encode()).ok()?;
    matches!(peer.next(), Ok(Received::ConnAck { code: 0, .. })).then_some(peer)
}

/// Messages to itself, each acknowledged by the broker and come back before the next, until it is told that it is enough and then
/// one more.
fn talk(mut peer: Peer, topic: &str, is_enough: &AtomicBool, done: &AtomicUsize) {
    peer.send(wire::subscribe(1, &[(topic, 1)])).unwrap();
    assert_eq!(peer.next().unwrap(), Received::SubAck(1, vec![1]));
    let mut is_last = false;
    for id in (1..u16::MAX).cycle() {
        let payload = id.to_string().repeat(usize::from(id) % 300);
        peer.send(Publish::new(topic, &payload).qos(1, id).encode()).unwrap();
        let (mut is_acknowledged, mut is_back) = (false, false);
        while !is_acknowledged || !is_back {
            match peer.next().unwrap() {
                Received::PubAck(answered) => {
                    assert_eq!(answered, id);
                    is_acknowledged = true;
                }
                Received::Publish(publish) => {
                    assert_eq!(publish.payload, payload.as_bytes());
                    peer.send(wire::puback(publish.id.unwrap())).unwrap();
                    is_back = true;
                }
                other => panic!("{other:?}"),
            }
        }
        done.fetch_add(1, Ordering::Relaxed);
        if is_last {
            return;
        }
        is_last = is_enough.load(Ordering::Relaxed);
    }
}

#[test]
fn everything_is_replaced_under_load_and_nobody_is_dropped() {
    let program = Program::asking();
    let revoked = |serial: u64| {
        program.authority.client_with("ann", |params| params.serial_number = Some(SerialNumber::from(serial)))
    };
    let hang_up = |said: &str, count: usize| {
        let pid = program.broker.pid().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
        assert!(
            eventually(|| program.broker.log().matches(said).count() == count),
            "{}",
            program.broker.log()
        );
    };
    let (is_enough, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for n in 0..CLIENTS {
            // One of them is revoked while it is connected.
            let identity = revoked(100 + n as u64);
            let peer = connect(&program, &program.authority, &format!("stays{n}"), &identity).unwrap();
            let (is_enough, done) = (&is_enough, &done);
            scope.spawn(move || talk(peer, &format!("load/{n}"), is_enough, done));
        }
        let (mut server, mut clients) = (&program.authority, &program.authority);
        let others = [Authority::new("another authority"), Authority::new("a third authority")];
        for round in 0..ROUNDS {
            let before = done.load(Ordering::Relaxed);
            // Certificate and key, of another authority each time.
            let other = &others[round % 2];
            save(&program.folder, "ecdsa", &other.server(&["localhost"]));
            hang_up("was read again", 2 * round + 1);
            assert!(connect(&program, other, "new", &clients.client("new")).is_some());
            assert!(connect(&program, server, "late", &clients.client("late")).is_none());
            server = other;
            // The CA of clients and its list together; in the first round the list alone, which names a client that is there.
            if round > 0 {
                write(&program.folder, "ca.crt", &other.pem);
                clients = other;
            }
            write(&program.folder, "crl.pem", &clients.revoke(&[100, 4711]));
            hang_up("was read again", 2 * round + 2);
            assert!(connect(&program, server, "new", &clients.client("new")).is_some());
            for identity in [
                clients.client_with("ann", |params| params.serial_number = Some(SerialNumber::from(100))),
                clients.expired_client("ann"),
                others[(round + 1) % 2].client("ann"),
            ] {
                assert!(connect(&program, server, "refused", &identity).is_none(), "round {round}");
            }
            // What cannot be used changes nothing.
            write(&program.folder, "crl.pem", "no list");
            hang_up("nothing was changed", round + 1);
            assert!(connect(&program, server, "new", &clients.client("new")).is_some());
            write(&program.folder, "crl.pem", &clients.revoke(&[100, 4711]));
            assert!(eventually(|| done.load(Ordering::Relaxed) > before), "they talk all the time");
        }
        is_enough.store(true, Ordering::Relaxed);
    });
    assert!(!program.broker.log().contains("stays"), "{}", program.broker.log());
}
