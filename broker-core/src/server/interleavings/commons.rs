//! A subscriber and a publisher in two shards.

use std::sync::Arc;

use loom::sync::mpsc;

use super::side::{Side, commons};
use super::{explore, spawn};
use crate::engine::commons::Commons;
use crate::engine::store::Stored;
use crate::limits::{Limit, Limits};
use crate::server::commons::SharedCommons;

/// Both sides; the publisher has published on `t` already, so that its cache knows the topic.
fn sides() -> (Side, Side) {
    let commons = commons();
    let (mut publisher, subscriber) = (Side::new(0, &commons), Side::new(1, &commons));
    publisher.publish("t", "0", false);
    (publisher, subscriber)
}

fn after_suback(has_another: bool) {
    let (mut publisher, mut subscriber) = sides();
    let mut another = has_another.then(|| Side::new(2, publisher.commons()));
    let (suback, received) = mpsc::channel();
    let subscribing = spawn(move || {
        subscriber.subscribe("t");
        suback.send(()).unwrap();
        subscriber
    });
    let other = another.take().map(|mut another| spawn(move || another.subscribe("u")));
    // This one may come before the subscription, and then the cache has to forget it.
    publisher.publish("t", "1", false);
    received.recv().unwrap();
    publisher.publish("t", "2", false);
    if let Some(other) = other {
        other.join().unwrap();
    }
    let payloads = subscribing.join().unwrap().finish(publisher);
    assert!(payloads == ["1", "2"] || payloads == ["2"], "instead of all since SUBACK: {payloads:?}");
}

#[test]
fn whoever_has_suback_misses_nothing() {
    explore("SUBACK, then a message", None, || after_suback(false));
    explore("the same beside another subscriber", Some(4), || after_suback(true));
}

#[test]
fn a_retained_message_comes_once() {
    explore("retained", None, || {
        let (mut publisher, mut subscriber) = sides();
        let subscribing = spawn(move || {
            subscriber.subscribe("t");
            subscriber
        });
        publisher.publish("t", "1", true);
        let payloads = subscribing.join().unwrap().finish(publisher);
        assert!(payloads == ["1"], "instead of once: {payloads:?}");
    });
}

#[test]
fn a_retained_message_that_is_removed_and_set_anew_comes_in_that_order() {
    explore("removed and set anew", None, || {
        let (mut publisher, mut subscriber) = sides();
        publisher.publish("t", "old", true);
        let subscribing = spawn(move || {
            subscriber.subscribe("t");
            subscriber
        });
        publisher.publish("t", "", true);
        publisher.publish("t", "new", true);
        let payloads = subscribing.join().unwrap().finish(publisher);
        // Who has seen the old one sees it removed.
        let allowed: [&[&str]; 3] = [&["new"], &["", "new"], &["old", "", "new"]];
        assert!(allowed.iter().any(|allowed| payloads == *allowed), "in no order allowed: {payloads:?}");
    });
}

#[test]
fn the_last_room_for_a_session_is_given_once() {
    explore("the last room", None, || {
        let limits = Limits { sessions: Limit::at_most(1).unwrap(), ..Limits::default() };
        let commons = Arc::new(SharedCommons::new(&limits, (1, 2), &Stored::default()));
        let open = || {
            let commons = Arc::clone(&commons);
            spawn(move || commons.open_session())
        };
        let opened = [open(), open()].map(|thread| thread.join().unwrap());
        assert_eq!(opened.iter().flatten().count(), 1, "sessions where one has room");
    });
}
