//! Receivers that are away, slow, wrong or hostile: nothing is lost, nobody else waits, everything is bounded.

use std::io::Write;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::program::{PATIENCE, Publisher, QUICK, broker, ctl, culex, eventually, webhook};
use crate::receiver::{Receiver, Request, say};

fn topics(requests: &[Request]) -> Vec<String> {
    requests.iter().map(|request| request.json()["topic"].as_str().unwrap().to_owned()).collect()
}

fn payloads(requests: &[Request]) -> Vec<u64> {
    requests.iter().map(|request| request.json()["payload"].as_u64().unwrap()).collect()
}

#[test]
fn a_receiver_that_is_away_for_a_while_gets_everything_in_order() {
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path(), &webhook(&format!("http://{addr}/webhook"), QUICK));
    let mut publisher = Publisher::connect(&broker);
    for number in 0..50 {
        assert!(publisher.publish(&format!("sensors/{}", number % 5), &number.to_string()));
    }
    publisher.ping();
    let receiver = Receiver::at(addr);
    let requests = receiver.wait("all of them", |requests| requests.len() >= 50);
    for topic in 0..5 {
        let name = format!("sensors/{topic}");
        let of_topic: Vec<_> =
            requests.iter().filter(|request| request.json()["topic"] == name.as_str()).cloned().collect();
        let expected: Vec<u64> = (0..50).filter(|number| number % 5 == topic).collect();
        assert_eq!(payloads(&of_topic), expected, "{name}");
    }
}

#[test]
fn a_message_that_fails_holds_up_its_lane_alone() {
    let receiver = Receiver::new(|request, stream| {
        let is_poison = request.json()["topic"] == "sensors/poison";
        say(stream, if is_poison { 500 } else { 200 }, "", "");
    });
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path(), &webhook(&receiver.url(), QUICK));
    let mut publisher = Publisher::connect(&broker);
    assert!(publisher.publish("sensors/poison", "0"));
    let is_poison = |topic: &&String| *topic == "sensors/poison";
    receiver.wait("the poison", |requests| topics(requests).iter().filter(is_poison).count() >= 3);
    for number in 0..40 {
        assert!(publisher.publish(&format!("sensors/{number}"), &number.to_string()));
    }
    // Those of three lanes of four, more or less.
    let arrived = |requests: &[Request]| topics(requests).iter().filter(|topic| !is_poison(topic)).count();
    receiver.wait("those of other lanes", |requests| arrived(requests) >= 20);
    receiver.answer(|_, stream| say(stream, 200, "", ""));
    let requests = receiver.wait("all of them", |requests| arrived(requests) >= 40);
    let poison: Vec<_> =
        requests.iter().filter(|request| request.json()["topic"] == "sensors/poison").collect();
    assert!(poison.iter().all(|request| request.id() == poison[0].id()), "one message, one id");
}

#[test]
fn what_is_refused_for_good_is_a_dead_letter_and_those_behind_it_flow() {
    let receiver = Receiver::new(|request, stream| {
        let is_refused = request.json()["payload"] == 0;
        say(stream, if is_refused { 404 } else { 200 }, "", &"no such route\n".repeat(500));
    });
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path(), &webhook(&receiver.url(), &format!("concurrency = 1\n{QUICK}")));
    let mut publisher = Publisher::connect(&broker);
    for number in 0..3 {
        assert!(publisher.publish("sensors/a", &number.to_string()));
    }
    let requests = receiver.wait("the others", |requests| payloads(requests).contains(&2));
    assert_eq!(payloads(&requests), [0, 0, 0, 1, 2]);
    let list = ctl(folder.path(), &["dead-letters", "list", "webhook/w"]);
    let letter = list.split_whitespace().find(|word| word.starts_with("webhook/w/")).unwrap().to_owned();
    assert!(list.contains("sensors/a") && list.contains("the service answered 404 Not Found"), "{list}");
    let shown = ctl(folder.path(), &["dead-letters", "show", &letter]);
    assert!(shown.contains("no such route") && shown.len() < 3000, "{shown}");
    // It is refused again, and stays.
    let kept = ctl(folder.path(), &["dead-letters", "replay", "webhook/w"]);
    assert!(kept.contains("0 replayed") && kept.contains("404"), "{kept}");
    receiver.answer(|_, stream| say(stream, 200, "", ""));
    assert_eq!(ctl(folder.path(), &["dead-letters", "replay", &letter]), "1 replayed\n");
    let requests = receiver.requests();
    assert_eq!(requests[0].id(), requests.last().unwrap().id(), "it is the same message");
    assert!(!ctl(folder.path(), &["dead-letters", "list"]).contains("webhook/w/"));
}

#[test]
fn dead_letters_survive_a_restart_and_are_purged() {
    let receiver = Receiver::new(|_, stream| say(stream, 422, "", ""));
    let folder = tempfile::tempdir().unwrap();
    let hook = webhook(&receiver.url(), QUICK);
    let mut first = broker(folder.path(), &hook);
    assert!(Publisher::connect(&first).publish("sensors/a", "1"));
    let list = || ctl(folder.path(), &["dead-letters", "list", "webhook/w"]);
    eventually("the dead letter", || list().contains("422"));
    // In order, so that the message is acknowledged: otherwise it would come again.
    first.terminate();
    assert!(first.wait(PATIENCE).success());
    let _second = broker(folder.path(), &hook);
    assert!(list().contains("422"));
    assert!(ctl(folder.path(), &["dead-letters", "purge", "webhook/w"]).contains('1'));
    assert!(!list().contains("422"));
}

#[test]
fn gone_is_for_ever() {
    let receiver = Receiver::new(|_, stream| say(stream, 410, "", ""));
    let folder = tempfile::tempdir().unwrap();
    let hook = webhook(&receiver.url(), QUICK);
    let first = broker(folder.path(), &hook);
    let mut publisher = Publisher::connect(&first);
    assert!(publisher.publish("sensors/a", "1"));
    eventually("it says so", || first.log().contains("410 Gone"));
    let before = receiver.requests().len();
    for number in 2..10 {
        assert!(publisher.publish(&format!("sensors/{number}"), &number.to_string()));
    }
    publisher.ping();
    assert_eq!(receiver.requests().len(), before);
    drop((publisher, first));
    receiver.answer(|_, stream| say(stream, 200, "", ""));
    let _second = broker(folder.path(), &hook);
    let mut arrived =
        payloads(&receiver.wait("all that waited", |requests| requests.len() >= before + 9)[before..]);
    arrived.sort_unstable();
    assert_eq!(arrived, (1..10).collect::<Vec<_>>());
}

/// Other requests of the same moment may be answered otherwise, and later.
#[test]
fn who_is_gone_stays_in_the_list() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Mutex::new(held);
    let receiver = Receiver::new(move |request, stream| {
        if request.json()["payload"] == "held" {
            let _ = held.lock().unwrap().recv_timeout(PATIENCE);
            say(stream, 200, "", "");
        } else {
            say(stream, 410, "", "");
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path(), &webhook(&receiver.url(), &format!("concurrency = 16\n{QUICK}")));
    let mut publisher = Publisher::connect(&broker);
    let listed = || -> serde_json::Value {
        let data = folder.path().display().to_string();
        let output = culex(&["webhook", "status", "--json", "--data-dir", &data]);
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["items"][0].clone()
    };
    assert!(publisher.publish("sensors/held", "held"));
    receiver.wait("the one that is held", |requests| requests.len() == 1);
    // Some of them are in other lanes.
    for number in 0..8 {
        assert!(publisher.publish(&format!("sensors/{number}"), "gone"));
    }
    eventually("it is disabled", || listed()["state"] == "disabled");
    release.send(()).unwrap();
    eventually("the one that was held is taken", || listed()["out"]["delivered"] == 1);
    eventually("it is disabled all the same", || listed()["state"] == "disabled");
    publisher.ping();
    assert_eq!(listed()["state"], "disabled");
}

#[test]
fn a_receiver_that_asks_for_time_gets_it() {
    let times = Arc::new(Mutex::new(Vec::new()));
    let count = Arc::new(AtomicUsize::new(0));
    let receiver = {
        let times = Arc::clone(&times);
        Receiver::new(move |_, stream| {
            times.lock().unwrap().push(Instant::now());
            let is_first = count.fetch_add(1, Ordering::Relaxed) == 0;
            say(stream, if is_first { 429 } else { 200 }, "retry-after: 1\r\n", "");
        })
    };
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path(), &webhook(&receiver.url(), QUICK));
    assert!(Publisher::connect(&broker).publish("sensors/a", "1"));
    receiver.wait("both attempts", |requests| requests.len() >= 2);
    eventually("both answers", || times.lock().unwrap().len() >= 2);
    let times = times.lock().unwrap();
    assert!(times[1] - times[0] >= Duration::from_secs(1), "{:?}", times[1] - times[0]);
}

#[test]
fn an_endless_reply_and_one_that_never_comes_harm_nobody() {
    let receiver = Receiver::new(|request, stream| match request.json()["topic"].as_str() {
        Some("sensors/endless") => {
            let _ = stream.write_all(b"HTTP/1.1 200 X\r\n\r\n");
            while stream.write_all(&[b'x'; 8192]).is_ok() {}
        }
        // It answers when the other side has lost patience.
        Some("sensors/silent") => drop(std::io::Read::read(stream, &mut [0; 16])),
        _ => say(stream, 200, "", ""),
    });
    let folder = tempfile::tempdir().unwrap();
    let hook = webhook(
        &receiver.url(),
        &format!("timeout = \"1s\"\nconnect_timeout = \"1s\"\nconcurrency = 64\n{QUICK}"),
    );
    let broker = broker(folder.path(), &hook);
    let mut publisher = Publisher::connect(&broker);
    assert!(publisher.publish("sensors/endless", "0"));
    assert!(publisher.publish("sensors/silent", "0"));
    for number in 0..20 {
        assert!(publisher.publish(&format!("sensors/{number}"), &number.to_string()));
        publisher.ping();
    }
    let requests = receiver.wait("all the others", |requests| {
        let topics = topics(requests);
        (0..20).all(|number| topics.contains(&format!("sensors/{number}")))
    });
    let endless = topics(&requests).iter().filter(|topic| *topic == "sensors/endless").count();
    assert_eq!(endless, 1, "its head was an answer");
}

#[test]
fn threats_ssrf_a_redirect_is_not_followed() {
    let inside = Receiver::good();
    let place = inside.url();
    let receiver = Receiver::new(move |_, stream| say(stream, 307, &format!("location: {place}\r\n"), ""));
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path(), &webhook(&receiver.url(), QUICK));
    assert!(Publisher::connect(&broker).publish("sensors/a", "1"));
    let list = || ctl(folder.path(), &["dead-letters", "list", "webhook/w"]);
    eventually("the dead letter", || list().contains("redirects are not followed"));
    assert!(inside.requests().is_empty());
}

#[test]
fn threats_ssrf_a_topic_stays_in_its_header_field() {
    let receiver = Receiver::good();
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path(), &webhook(&receiver.url(), "body = \"payload\""));
    let topic = "sensors/a\r\nX-Evil: 1%0d%0aHost: elsewhere/../../b?c";
    assert!(Publisher::connect(&broker).publish(topic, "x"));
    let request = receiver.wait("it", |requests| !requests.is_empty())[0].clone();
    assert_eq!(request.head[""], "POST /webhook HTTP/1.1");
    assert!(!request.head.contains_key("x-evil"), "{:?}", request.head);
    assert_eq!(request.head["host"], receiver.addr.to_string());
    assert!(request.head["x-culex-topic"].starts_with("sensors/a%0D%0AX-Evil%3A"), "{:?}", request.head);
}

#[test]
fn threats_a_queue_that_nobody_empties_is_bounded() {
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let hook = webhook(
        &format!("http://{addr}/webhook"),
        &format!("concurrency = 1\n[webhook.queue]\nmax_messages = 200\n{QUICK}"),
    );
    let broker = broker(folder.path(), &hook);
    let mut publisher = Publisher::connect(&broker);
    for number in 0..1000 {
        assert!(publisher.publish("sensors/a", &number.to_string()));
    }
    let receiver = Receiver::at(addr);
    let arrived = payloads(&receiver.wait("the newest", |requests| payloads(requests).last() == Some(&999)));
    assert!((200..=210).contains(&arrived.len()), "{arrived:?}");
    assert!(broker.log().contains("dropped"), "{}", broker.log());
}

#[test]
fn messages_that_wait_share_a_request_and_one_bad_one_is_given_up_alone() {
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let hook = webhook(&format!("http://{addr}/webhook"), &format!("concurrency = 1\nbatch = 100\n{QUICK}"));
    let broker = broker(folder.path(), &hook);
    let mut publisher = Publisher::connect(&broker);
    for number in 0..30 {
        assert!(publisher.publish("sensors/a", &number.to_string()));
    }
    let receiver = Receiver::at(addr);
    let taken = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&taken);
    receiver.answer(move |request, stream| {
        let numbers: Vec<_> =
            request.json().as_array().unwrap().iter().map(|event| event["payload"].clone()).collect();
        let is_bad = numbers.contains(&7.into());
        if !is_bad {
            seen.lock().unwrap().extend(numbers);
        }
        say(stream, if is_bad { 400 } else { 200 }, "", "");
    });
    eventually("all but the bad one", || taken.lock().unwrap().len() >= 29);
    let list = || ctl(folder.path(), &["dead-letters", "list", "webhook/w"]);
    eventually("one dead letter", || list().matches("webhook/w/").count() == 1);
    assert!(receiver.requests().len() < 120);
}

#[test]
fn a_message_says_who_published_it_and_when_it_was_accepted() {
    let receiver = Receiver::good();
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path(), &webhook(&receiver.url(), QUICK));
    assert!(Publisher::connect(&broker).publish("sensors/a", "1"));
    let message = receiver.wait("it", |requests| !requests.is_empty())[0].json();
    assert_eq!(
        (&message["client_id"], &message["username"]),
        (&"publisher".into(), &serde_json::Value::Null)
    );
    assert!(message["timestamp"].as_str().unwrap().ends_with('Z'), "{message}");
}

#[test]
fn another_number_of_lanes_loses_nothing() {
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{addr}/webhook");
    let folder = tempfile::tempdir().unwrap();
    let first = broker(folder.path(), &webhook(&url, &format!("concurrency = 3\n{QUICK}")));
    let mut publisher = Publisher::connect(&first);
    for number in 0..30 {
        assert!(publisher.publish(&format!("sensors/{number}"), &number.to_string()));
    }
    drop((publisher, first));
    let receiver = Receiver::at(addr);
    let second = broker(folder.path(), &webhook(&url, &format!("concurrency = 2\n{QUICK}")));
    assert!(Publisher::connect(&second).publish("sensors/new", "30"));
    let is_whole = |requests: &[Request]| {
        let payloads = payloads(requests);
        (0..=30).all(|number| payloads.contains(&number))
    };
    receiver.wait("all of them", is_whole);
    let sessions = || ctl(folder.path(), &["sessions"]);
    eventually("the old sessions end", || !sessions().contains("-of-3"));
    assert_eq!(sessions().matches("-of-2").count(), 2);
}

#[test]
fn a_reload_starts_changes_and_ends_webhooks() {
    let (first, second) = (Receiver::good(), Receiver::good());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hook.url");
    std::fs::write(&file, first.url()).unwrap();
    let url = format!("${{file:{}}}", file.display());
    let broker = broker(&folder.path().join("data"), &webhook(&url, QUICK));
    let mut publisher = Publisher::connect(&broker);
    assert!(publisher.publish("sensors/a", "1"));
    first.wait("the first", |requests| !requests.is_empty());
    std::fs::write(&file, second.url()).unwrap();
    let said = ctl(&folder.path().join("data"), &["reload"]);
    assert!(said.contains("webhook w: url"), "{said}");
    assert!(publisher.publish("sensors/a", "2"));
    let requests = second.wait("the second", |requests| !requests.is_empty());
    assert_eq!(payloads(&requests), [2]);
    assert_eq!(first.requests().len(), 1);
}
