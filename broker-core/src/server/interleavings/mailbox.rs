//! Senders and a lane that sleeps.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loom::sync::Notify;

use super::{explore, spawn};
use crate::server::mailbox::{Mailbox, Wake};

/// The poll of a lane: wakes once per ring, also if it rang before, and at times without any, as for a socket.
#[derive(Default)]
struct Bell {
    sleeper: Notify,
    rings: AtomicUsize,
}

impl Wake for Arc<Bell> {
    fn wake(&self) {
        self.rings.fetch_add(1, Ordering::Relaxed);
        self.sleeper.notify();
    }
}

type Message = (char, u32);

/// The lane's loop: look, sleep, take, until it has `expected` messages. Says how often it lay down.
fn take_all(mailbox: &Mailbox<Message, Arc<Bell>>, bell: &Bell, expected: usize) -> (Vec<Message>, usize) {
    let (mut taken, mut mail, mut parks) = (Vec::new(), VecDeque::new(), 0);
    while taken.len() < expected {
        if mailbox.park() {
            parks += 1;
            bell.sleeper.wait();
        }
        mailbox.take(&mut mail);
        taken.extend(mail.drain(..));
    }
    (taken, parks)
}

fn model(sends: &'static [&'static [&'static [u32]]]) {
    let bell = Arc::new(Bell::default());
    let mailbox = Arc::new(Mailbox::waking(Arc::clone(&bell)));
    let senders: Vec<_> = sends
        .iter()
        .zip('a'..)
        .map(|(batches, name)| {
            let mailbox = Arc::clone(&mailbox);
            spawn(move || {
                for batch in *batches {
                    mailbox.send(batch.iter().map(|number| (name, *number)), usize::MAX / 8);
                }
            })
        })
        .collect();
    let expected = sends.iter().flat_map(|batches| batches.iter()).map(|batch| batch.len()).sum();
    let (taken, parks) = take_all(&mailbox, &bell, expected);
    assert!(!mailbox.is_full(), "its bytes were not given back");
    for sender in senders {
        sender.join().unwrap();
    }
    for (batches, name) in sends.iter().zip('a'..) {
        let of_one = taken.iter().filter(|(sender, _)| *sender == name).map(|(_, number)| number);
        assert!(of_one.eq(batches.iter().copied().flatten()), "not in the order of {name}: {taken:?}");
    }
    let rings = bell.rings.load(Ordering::Relaxed);
    assert!(rings <= parks, "woken {rings} times, asleep {parks} times");
}

/// A wake-up that is lost leaves the lane asleep for ever, which loom reports as a deadlock.
#[test]
fn no_message_waits_for_a_lane_that_sleeps() {
    explore("one sender", None, || model(&[&[&[1], &[2, 3]]]));
    explore("two senders", Some(4), || model(&[&[&[1], &[2]], &[&[1, 2]]]));
}

#[test]
fn a_closed_mailbox_drops_what_is_in_it_and_what_comes() {
    explore("closing", None, || {
        let mailbox = Arc::new(Mailbox::waking(Arc::<Bell>::default()));
        let message = Arc::new(());
        let senders = [(); 2].map(|()| {
            let (mailbox, message) = (Arc::clone(&mailbox), Arc::clone(&message));
            spawn(move || mailbox.send([message], 1))
        });
        mailbox.close();
        for sender in senders {
            sender.join().unwrap();
        }
        assert!(Arc::strong_count(&message) == 1, "a message stays in a closed mailbox");
    });
}
