//! Clients inside the broker's process.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a failed test is what they are for")]

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::task::Poll;
use std::time::Duration;

use culex_core::client::{self, ClientError, Connection, Event, Options, Publication, Session};

use culex_core::codec::TopicName;
use culex_core::limits::{Limit, Limits, WhenFull};
use culex_core::{
    Broker, Client, CloseReason, ConnectError, Delivery, Gone, Inbox, PublishError, QoS, Refusal, ServeError,
    SubscribeError, Threads, TopicPart,
};

/// Nothing here takes so long; it ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(20);
const ALL: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(within(test));
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("nothing happened for {PATIENCE:?}"),
    }
}

async fn start(limits: Limits) -> Broker {
    let threads = Threads::Exactly(NonZeroUsize::new(2).unwrap());
    let listen = ([127, 0, 0, 1], 0);
    Broker::builder().listen(listen).threads(threads).limits(limits).start().await.unwrap()
}

async fn broker() -> Broker {
    start(Limits::default()).await
}

/// A client over TCP.
async fn over_tcp(address: SocketAddr, client_id: &str) -> Connection {
    try_over_tcp(address, client_id).await.unwrap()
}

async fn try_over_tcp(address: SocketAddr, client_id: &str) -> Result<Connection, ClientError> {
    let mut options = Options::default();
    options.host = address.ip().to_string();
    options.port = address.port();
    options.client_id = client_id.to_owned();
    Connection::open(&options, Session::default()).await
}

async fn tcp_subscribe(connection: &mut Connection, filter: &str) {
    connection.subscribe(&[(culex_codec::TopicFilter::new(filter).unwrap(), QoS::ExactlyOnce)]).unwrap();
    while !matches!(connection.event().await.unwrap(), Event::Subscribed { .. }) {}
}

async fn tcp_publish(connection: &mut Connection, publication: Publication) {
    connection.publish(publication).unwrap();
    while !connection.is_idle() {
        connection.event().await.unwrap();
    }
}

async fn next(inbox: &mut Inbox) -> Delivery {
    within(inbox.next()).await.unwrap()
}

async fn payload(inbox: &mut Inbox) -> String {
    String::from_utf8(next(inbox).await.payload.to_vec()).unwrap()
}

async fn publish_all(client: &Client, payloads: impl Iterator<Item = u32>, qos: QoS) {
    for number in payloads {
        client.publish("t", number.to_string(), qos).await.unwrap();
    }
}

/// Polls a future so many times, as long as it is not ready, and drops it.
async fn begin<T>(future: impl Future<Output = T>, polls: u32) {
    let mut future = std::pin::pin!(future);
    for _ in 0..polls {
        if poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Waits until a number of the broker is as expected.
async fn await_metric(broker: &Broker, name: &str, expected: impl Fn(u64) -> bool) {
    within(async {
        while !expected(broker.metrics().get(name).unwrap()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[test]
fn messages_of_every_qos_go_between_clients_in_process_and_over_tcp() {
    run(async {
        let broker = broker().await;
        let (app, mut inbox) = broker.client("app").await.unwrap();
        let (other, mut others) = broker.client("").await.unwrap();
        assert!(other.client_id().starts_with("auto-") && !app.is_session_present());
        let mut socket = over_tcp(broker.local_addrs()[0], "socket").await;
        for qos in ALL {
            assert_eq!(app.subscribe("up/+", qos).await.unwrap(), qos);
            other.subscribe("down/#", qos).await.unwrap();
            tcp_subscribe(&mut socket, "down/#").await;

            app.publish("down/x", format!("{qos:?}"), qos).await.unwrap();
            let message = next(&mut others).await;
            assert_eq!((&*message.topic, message.qos), ("down/x", qos));
            let message = loop {
                if let Event::Message(message) = socket.event().await.unwrap() {
                    break message;
                }
            };
            assert_eq!((&message.payload[..], message.qos), (format!("{qos:?}").as_bytes(), qos));

            tcp_publish(&mut socket, Publication::new("up/y", "from outside", qos)).await;
            let message = next(&mut inbox).await;
            assert_eq!((&message.payload[..], message.qos), (&b"from outside"[..], qos));
        }
        app.unsubscribe("up/+").await.unwrap();
        tcp_publish(&mut socket, Publication::new("up/y", "unheard", QoS::AtLeastOnce)).await;
        app.subscribe("end", QoS::AtMostOnce).await.unwrap();
        app.publish("end", "", QoS::AtMostOnce).await.unwrap();
        assert_eq!(next(&mut inbox).await.topic, "end");
    });
}

#[test]
fn a_retained_message_is_kept_and_removed() {
    run(async {
        let broker = broker().await;
        let (app, mut inbox) = broker.client("app").await.unwrap();
        app.send(Publication::new("r", "kept", QoS::AtLeastOnce).retained()).await.unwrap();
        app.subscribe("r", QoS::AtLeastOnce).await.unwrap();
        let message = next(&mut inbox).await;
        assert!(message.is_retained && &message.payload[..] == b"kept");
        app.send(Publication::new("r", "", QoS::AtLeastOnce).retained()).await.unwrap();
        await_metric(&broker, "retained_messages", |count| count == 0).await;
    });
}

#[test]
fn a_persistent_session_gets_what_was_queued_in_order() {
    run(async {
        let broker = broker().await;
        let connect = || broker.client("app").persistent(Duration::MAX).connect();
        let (app, inbox) = connect().await.unwrap();
        assert!(!app.is_session_present());
        app.subscribe("t", QoS::ExactlyOnce).await.unwrap();
        app.disconnect().await;
        assert_eq!(app.ended(), Some(Gone::Disconnected));
        assert_eq!(app.publish("t", "", QoS::AtMostOnce).await, Err(PublishError::Gone(Gone::Disconnected)));
        drop(inbox);

        let (source, _inbox) = broker.client("source").await.unwrap();
        publish_all(&source, 0..300, QoS::ExactlyOnce).await;
        let (app, mut inbox) = connect().await.unwrap();
        assert!(app.is_session_present());
        for number in 0..300 {
            assert_eq!(payload(&mut inbox).await, number.to_string());
        }

        // Dropping everything is an end in order too, and the session stays.
        drop((app, inbox));
        await_metric(&broker, "connections", |count| count == 1).await;
        publish_all(&source, 300..301, QoS::AtLeastOnce).await;
        let (_app, mut inbox) = connect().await.unwrap();
        assert_eq!(payload(&mut inbox).await, "300");

        // A clean client ends the session.
        let (app, _inbox) = broker.client("app").await.unwrap();
        assert!(!app.is_session_present());
    });
}

#[test]
fn a_session_with_options_of_its_own_gets_what_it_wants() {
    run(async {
        let broker = broker().await;
        let part = |index| TopicPart::new(index, 2, 0).unwrap();
        let connect = |index| {
            let limit = Limit::at_most(50).unwrap();
            let client = broker.client(format!("part {index}")).persistent(Duration::MAX).no_local();
            let client = client.retain_as_published().queue_qos0().max_age(Duration::MAX);
            let client = client.queue_limits(limit, Limit::Unlimited, WhenFull::DropOldest);
            client.only(part(index)).inbox_messages(1).connect()
        };
        for index in 0..2 {
            let (app, mut inbox) = connect(index).await.unwrap();
            app.subscribe("t/+", QoS::AtLeastOnce).await.unwrap();
            app.subscribe(&format!("own/{index}/+"), QoS::AtLeastOnce).await.unwrap();
            let mut own = (0..).map(|number| format!("own/{index}/{number}"));
            let own = own.find(|topic| part(index).has(TopicName::new(topic).unwrap())).unwrap();
            app.publish(&own, "", QoS::AtLeastOnce).await.unwrap();
            app.subscribe("end", QoS::AtLeastOnce).await.unwrap();
            assert!(is_empty(&mut inbox), "nothing of its own");
        }
        let (source, _inbox) = broker.client("source").await.unwrap();
        for number in 0..200 {
            let message = Publication::new(format!("t/{number}"), "", QoS::AtMostOnce).retained();
            source.send(message).await.unwrap();
        }
        await_metric(&broker, "dropped_queue_full", |count| count == 100).await;
        let info = broker.admin().session("part 0").await.unwrap().unwrap();
        assert_eq!(info.queue_messages, 50);
        let mut seen = Vec::new();
        for index in 0..2 {
            let (_app, mut inbox) = connect(index).await.unwrap();
            for _ in 0..50 {
                let message = next(&mut inbox).await;
                assert!(message.is_retained && message.qos == QoS::AtLeastOnce);
                seen.push(message.topic.to_string());
            }
            assert!(is_empty(&mut inbox) && inbox.dropped() == 0);
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 100, "each topic comes to one of them");
    });
}

/// Over two lanes, from clients in the process and over sockets.
#[test]
fn a_full_queue_that_blocks_makes_publishers_wait_and_drops_nothing() {
    const EACH: u32 = 200;
    run(async {
        let broker = broker().await;
        let connect = || {
            let limit = Limit::at_most(100).unwrap();
            let client = broker.client("integration").persistent(Duration::MAX);
            client.queue_limits(limit, Limit::Unlimited, WhenFull::Block).connect()
        };
        let (integration, inbox) = connect().await.unwrap();
        integration.subscribe("t", QoS::ExactlyOnce).await.unwrap();
        drop((integration, inbox));
        let mut publishers = tokio::task::JoinSet::new();
        for number in 0..6 {
            let broker = broker.clone();
            publishers.spawn(async move {
                let (client, _inbox) = broker.client(format!("inside {number}")).await.unwrap();
                publish_all(&client, number * EACH..(number + 1) * EACH, QoS::AtLeastOnce).await;
            });
        }
        for number in 6..12 {
            let address = broker.local_addrs()[0];
            publishers.spawn(async move {
                let mut socket = over_tcp(address, &format!("outside {number}")).await;
                for payload in number * EACH..(number + 1) * EACH {
                    tcp_publish(&mut socket, Publication::new("t", payload.to_string(), QoS::AtLeastOnce))
                        .await;
                }
            });
        }
        await_metric(&broker, "publishers_waiting", |count| count == 12).await;
        assert_eq!(broker.metrics().get("queues_full"), Some(1));
        let queued = broker.metrics().get("queue_messages").unwrap();
        // Each sends the next message when it has the answer to the last one.
        assert!((100..=124).contains(&queued), "{queued}");
        let admin = broker.admin();
        assert!(admin.session("integration").await.unwrap().unwrap().queue_is_full);

        // Others go on, and who waits can be ended.
        let (other, _inbox) = broker.client("other").await.unwrap();
        other.publish("free", "", QoS::ExactlyOnce).await.unwrap();
        let mut ended = over_tcp(broker.local_addrs()[0], "ended").await;
        ended.publish(Publication::new("t", "never", QoS::AtLeastOnce)).unwrap();
        begin(ended.event(), 1000).await;
        await_metric(&broker, "publishers_waiting", |count| count == 13).await;
        assert!(admin.disconnect("ended").await.unwrap());
        await_metric(&broker, "publishers_waiting", |count| count == 12).await;

        let (_integration, mut inbox) = connect().await.unwrap();
        let mut next_of = (0..12).map(|number| number * EACH).collect::<Vec<_>>();
        for _ in 0..12 * EACH {
            let heard: u32 = payload(&mut inbox).await.parse().unwrap();
            let expected = &mut next_of[(heard / EACH) as usize];
            assert_eq!(heard, *expected);
            *expected += 1;
        }
        while let Some(done) = publishers.join_next().await {
            done.unwrap();
        }
        await_metric(&broker, "queue_messages", |count| count == 0).await;
        let dropped = ["dropped_queue_full", "dropped_queue_total"].map(|name| broker.metrics().get(name));
        assert_eq!(dropped, [Some(0), Some(0)]);
        assert_eq!(broker.metrics().get("publishers_waiting"), Some(0));
    });
}

/// Whether there is nothing in an inbox now.
fn is_empty(inbox: &mut Inbox) -> bool {
    let mut next = std::pin::pin!(inbox.next());
    next.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_pending()
}

#[test]
fn a_session_that_expires_is_gone() {
    run(async {
        let broker = broker().await;
        let (app, _) = broker.client("app").persistent(Duration::from_millis(1)).await.unwrap();
        await_metric(&broker, "sessions_persistent", |count| count == 1).await;
        app.disconnect().await;
        await_metric(&broker, "sessions_persistent", |count| count == 0).await;
    });
}

#[test]
fn what_was_not_acknowledged_by_hand_comes_again_and_the_rest_does_not() {
    run(async {
        let broker = broker().await;
        let connect = || broker.client("app").persistent(Duration::MAX).manual_ack().connect();
        let (app, mut inbox) = connect().await.unwrap();
        app.subscribe("t", QoS::ExactlyOnce).await.unwrap();
        let (source, _inbox) = broker.client("source").await.unwrap();
        publish_all(&source, 0..2, QoS::AtLeastOnce).await;
        publish_all(&source, 2..5, QoS::ExactlyOnce).await;
        let mut messages = Vec::new();
        for _ in 0..5 {
            messages.push(next(&mut inbox).await);
        }
        // 3 cannot leave before 2, but it was dealt with, and at QoS 2 that is remembered.
        for place in [1, 0, 3, 3] {
            messages[place].ack();
        }
        app.disconnect().await;
        messages[2].ack();

        let (_app, mut inbox) = connect().await.unwrap();
        for expected in ["2", "4"] {
            let message = next(&mut inbox).await;
            assert_eq!((&message.payload[..], message.is_duplicate), (expected.as_bytes(), true));
            message.ack();
        }
        await_metric(&broker, "queue_messages", |count| count == 0).await;
    });
}

#[test]
fn taking_out_acknowledges_and_the_rest_waits_in_the_session() {
    run(async {
        let broker = broker().await;
        let (app, mut inbox) =
            broker.client("app").persistent(Duration::MAX).inbox_messages(2).await.unwrap();
        app.subscribe("t", QoS::AtLeastOnce).await.unwrap();
        let (source, _inbox) = broker.client("source").await.unwrap();
        publish_all(&source, 0..50, QoS::AtLeastOnce).await;
        await_metric(&broker, "queue_messages", |count| count == 50).await;
        for number in 0..20 {
            assert_eq!(payload(&mut inbox).await, number.to_string());
        }
        await_metric(&broker, "queue_messages", |count| count == 30).await;
        drop((app, inbox));
        let (_app, mut inbox) = broker.client("app").persistent(Duration::MAX).await.unwrap();
        for number in 20..50 {
            assert_eq!(payload(&mut inbox).await, number.to_string());
        }
        assert_eq!(inbox.dropped(), 0);
    });
}

#[test]
fn qos_0_beyond_the_inbox_is_dropped_and_counted() {
    run(async {
        let broker = broker().await;
        let (app, mut inbox) = broker.client("app").inbox_messages(10).await.unwrap();
        app.subscribe("t", QoS::AtMostOnce).await.unwrap();
        publish_all(&app, 0..100, QoS::AtMostOnce).await;
        // An answer comes behind them.
        app.subscribe("end", QoS::AtLeastOnce).await.unwrap();
        assert_eq!(inbox.dropped(), 90);
        for number in 0..10 {
            assert_eq!(payload(&mut inbox).await, number.to_string());
        }
        app.publish("t", "again", QoS::AtMostOnce).await.unwrap();
        assert_eq!(payload(&mut inbox).await, "again");
    });
}

/// Whatever the bounds, the loop that receives may publish and wait, at every QoS and to itself.
#[test]
fn publishing_from_the_loop_that_receives_does_not_stand_still() {
    for (messages, bytes) in [(1, 1), (1, 1 << 20), (100, 1), (3, 5000)] {
        run(async move {
            let broker = broker().await;
            let builder = broker.client("app").inbox_messages(messages).inbox_bytes(bytes);
            let (app, mut inbox) = builder.await.unwrap();
            app.subscribe("work", QoS::AtLeastOnce).await.unwrap();
            app.subscribe("result", QoS::ExactlyOnce).await.unwrap();
            let (source, mut results) = broker.client("source").await.unwrap();
            source.subscribe("result", QoS::ExactlyOnce).await.unwrap();
            let feed = tokio::spawn(async move {
                for _ in 0..200 {
                    source.publish("work", vec![b'x'; 2000], QoS::AtLeastOnce).await.unwrap();
                }
                for _ in 0..200 {
                    next(&mut results).await;
                }
            });
            let mut work = 0;
            while work < 200 {
                let message = next(&mut inbox).await;
                if message.topic == "work" {
                    let payload = message.payload.clone();
                    app.publish("result", payload, QoS::ExactlyOnce).await.unwrap();
                    app.publish("nobody", "", ALL[work % 3]).await.unwrap();
                    work += 1;
                }
            }
            feed.await.unwrap();
        });
    }
}

#[test]
fn a_full_inbox_is_not_filled_further() {
    run(async {
        let broker = broker().await;
        let (app, mut inbox) = broker.client("app").inbox_bytes(10_000).await.unwrap();
        app.subscribe("t", QoS::AtLeastOnce).await.unwrap();
        let (source, _inbox) = broker.client("source").await.unwrap();
        for number in 0_u8..40 {
            source.publish("t", vec![number; 100_000], QoS::AtLeastOnce).await.unwrap();
        }
        // What the inbox and one message may hold, and the pipe.
        let sent = broker.metrics().get("bytes_sent").unwrap();
        assert!(sent < 500_000, "{sent} of 4,000,000 bytes were fetched");
        for number in 0..40 {
            assert_eq!(next(&mut inbox).await.payload[99_999], number);
        }
        drop(app);
    });
}

#[test]
fn dropping_a_publish_harms_nothing() {
    run(async {
        let broker = broker().await;
        let (app, mut inbox) = broker.client("app").await.unwrap();
        app.subscribe("t", QoS::ExactlyOnce).await.unwrap();
        for round in 0_u32..300 {
            begin(app.publish("t", round.to_string(), QoS::ExactlyOnce), round % 5).await;
        }
        app.publish("t", "end", QoS::ExactlyOnce).await.unwrap();
        let mut last = None;
        loop {
            let payload = payload(&mut inbox).await;
            if payload == "end" {
                break;
            }
            let number: u32 = payload.parse().unwrap();
            assert!(last < Some(number), "{number} after {last:?}");
            last = Some(number);
        }
        assert!(last.is_some());
    });
}

#[test]
fn a_client_with_the_same_id_takes_over() {
    run(async {
        let broker = broker().await;
        for is_persistent in [false, true] {
            let connect = || async {
                let builder = broker.client("app");
                let expiry = Duration::from_secs(60);
                let builder = if is_persistent { builder.persistent(expiry) } else { builder };
                builder.await.unwrap()
            };
            let (first, mut first_inbox) = connect().await;
            let waiting = tokio::spawn(async move { first_inbox.next().await.is_none() });
            let (second, mut second_inbox) = connect().await;
            assert!(within(waiting).await.unwrap());
            assert_eq!(first.ended(), Some(Gone::TakenOver));
            let result = first.publish("t", "", QoS::AtLeastOnce).await;
            assert_eq!(result, Err(PublishError::Gone(Gone::TakenOver)));

            let refused = try_over_tcp(broker.local_addrs()[0], "app").await;
            let is_refused =
                matches!(refused, Err(ClientError::Refused { refusal: client::Refusal::ClientId, .. }));
            assert!(is_refused, "the network does not get the host's client id");
            second.subscribe("t", QoS::AtLeastOnce).await.unwrap();
            let _third = connect().await;
            assert!(within(second_inbox.next()).await.is_none());
            assert_eq!(second.ended(), Some(Gone::TakenOver));
            let result = second.subscribe("t", QoS::AtLeastOnce).await;
            assert_eq!(result, Err(SubscribeError::Gone(Gone::TakenOver)));
        }
        let mut socket = over_tcp(broker.local_addrs()[0], "network").await;
        let (_own, _inbox) = broker.client("network").await.unwrap();
        assert!(within(socket.event()).await.is_err(), "the host ends a session of the network");
    });
}

/// Publishers that take each other over in the middle of everything: what was acknowledged comes exactly once, and what
/// was not is finished by the next one.
#[test]
fn qos_2_stays_exactly_once_over_take_overs() {
    run(async {
        let broker = broker().await;
        let (_reader, mut inbox) = {
            let (reader, inbox) = broker.client("reader").await.unwrap();
            reader.subscribe("t", QoS::ExactlyOnce).await.unwrap();
            (reader, inbox)
        };
        let mut publishers = Vec::new();
        for round in 0..20 {
            let (app, _inbox) = broker.client("app").persistent(Duration::MAX).await.unwrap();
            publishers.push(tokio::spawn(async move {
                let _inbox = _inbox;
                for number in 0.. {
                    if app.publish("t", format!("{round}/{number}"), QoS::ExactlyOnce).await.is_err() {
                        return number;
                    }
                }
                0
            }));
            tokio::task::yield_now().await;
        }
        let (last, _inbox) = broker.client("app").persistent(Duration::MAX).await.unwrap();
        last.publish("t", "end", QoS::ExactlyOnce).await.unwrap();
        let mut found = vec![0; 20];
        loop {
            let payload = payload(&mut inbox).await;
            let Some((round, number)) = payload.split_once('/') else { break };
            let round: usize = round.parse().unwrap();
            assert_eq!(found[round], number.parse::<u32>().unwrap(), "each once and in order");
            found[round] += 1;
        }
        for (round, publisher) in publishers.into_iter().enumerate() {
            let acknowledged = publisher.await.unwrap();
            assert!((acknowledged..=acknowledged + 1).contains(&found[round]), "{acknowledged} {found:?}");
        }
    });
}

#[test]
fn an_operator_ends_a_client() {
    run(async {
        let broker = broker().await;
        let (app, mut inbox) = broker.client("app").await.unwrap();
        broker.admin().disconnect("app").await.unwrap();
        assert!(within(inbox.next()).await.is_none());
        assert_eq!(app.ended(), Some(Gone::Closed(CloseReason::Administrative)));
    });
}

#[test]
fn shutdown_ends_everybody_who_waits() {
    run(async {
        let broker = broker().await;
        let (app, mut inbox) = broker.client("app").inbox_bytes(1).await.unwrap();
        let waiting = tokio::spawn(async move { inbox.next().await.is_none() });
        // One whose inbox is full and is not emptied, one whose messages are not acknowledged.
        let (full, _full_inbox) =
            broker.client("full").inbox_bytes(1).persistent(Duration::MAX).await.unwrap();
        full.subscribe("t", QoS::AtLeastOnce).await.unwrap();
        publish_all(&app, 0..200, QoS::AtLeastOnce).await;
        let flood = tokio::spawn(async move {
            loop {
                if let Err(error) = app.publish("t", vec![0; 1000], QoS::ExactlyOnce).await {
                    return error;
                }
            }
        });
        within(broker.shutdown(PATIENCE)).await.unwrap();
        assert!(within(waiting).await.unwrap());
        assert_eq!(within(flood).await.unwrap(), PublishError::Gone(Gone::Stopped));
        assert_eq!(full.ended(), Some(Gone::Stopped));
        let error = broker.client("late").await.unwrap_err();
        assert_eq!(error, ConnectError::Serve(ServeError::Stopped));
    });
}

#[test]
fn clients_do_not_keep_the_broker() {
    run(async {
        let broker = broker().await;
        let (app, mut inbox) = broker.client("app").await.unwrap();
        drop(broker);
        assert!(within(inbox.next()).await.is_none());
        assert_eq!(app.ended(), Some(Gone::Stopped));
    });
}

#[test]
fn invalid_arguments_are_told_and_the_client_goes_on() {
    run(async {
        let limits =
            Limits { packet_bytes: 1000, topic_levels: Limit::at_most(3).unwrap(), ..Limits::default() };
        let broker = start(Limits { subscriptions_per_session: Limit::at_most(1).unwrap(), ..limits }).await;
        let (app, mut inbox) = broker.client("app").await.unwrap();
        for topic in ["", "a/+", "#", "a\0b"] {
            let result = app.publish(topic, "", QoS::AtLeastOnce).await;
            assert!(matches!(result, Err(PublishError::Topic(_))), "{topic:?}: {result:?}");
        }
        let result = app.publish("a/b/c/d", "", QoS::AtMostOnce).await;
        assert!(matches!(result, Err(PublishError::Limit(_))), "{result:?}");
        assert_eq!(app.publish("$SYS/x", "", QoS::AtMostOnce).await, Err(PublishError::Reserved));
        for qos in ALL {
            let result = app.publish("a", vec![0; 1000], qos).await;
            assert!(matches!(result, Err(PublishError::TooLarge { max: 1000, .. })), "{result:?}");
        }
        let result = app.publish("a", vec![0; 300 << 20], QoS::AtMostOnce).await;
        assert!(matches!(result, Err(PublishError::TooLarge { .. })), "{result:?}");
        for filter in ["", "a/#/b", "a+"] {
            let result = app.subscribe(filter, QoS::AtLeastOnce).await;
            assert!(matches!(result, Err(SubscribeError::Filter(_))), "{filter:?}: {result:?}");
        }
        assert!(matches!(app.unsubscribe("a/b/c/d").await, Err(SubscribeError::Limit(_))));
        app.subscribe("a", QoS::ExactlyOnce).await.unwrap();
        assert_eq!(app.subscribe("b", QoS::AtMostOnce).await, Err(SubscribeError::Refused));
        // The largest packet: fixed header 3, topic 3, Packet Identifier 2.
        app.publish("a", vec![7; 992], QoS::ExactlyOnce).await.unwrap();
        assert_eq!(next(&mut inbox).await.payload.len(), 992);

        let error = broker.client("a\0b").await.unwrap_err();
        assert!(matches!(error, ConnectError::ClientId(_)), "{error}");
        let error = broker.client("").persistent(PATIENCE).await.unwrap_err();
        assert_eq!(error, ConnectError::Refused(Refusal::EmptyClientId));
    });
}

#[test]
fn the_limits_of_connections_and_sessions_hold() {
    run(async {
        let at_most = |count| Limit::at_most(count).unwrap();
        let broker = start(Limits { connections: at_most(2), ..Limits::default() }).await;
        let (_one, _inbox) = broker.client("one").await.unwrap();
        let (two, _two_inbox) = broker.client("two").await.unwrap();
        let error = broker.client("three").await.unwrap_err();
        assert_eq!(error, ConnectError::Serve(ServeError::TooMany("connections")));
        two.disconnect().await;
        await_metric(&broker, "sockets", |count| count == 1).await;
        broker.client("three").await.unwrap();
    });
}

#[test]
fn a_client_that_nobody_waits_for_any_more_leaves_again() {
    run(async {
        let broker = broker().await;
        for polls in 0..4 {
            begin(broker.client("app").connect(), polls).await;
        }
        await_metric(&broker, "sockets", |count| count == 0).await;
        broker.shutdown(PATIENCE).await.unwrap();
    });
}

#[test]
fn what_waits_behind_much_to_write_is_not_forgotten() {
    // One thread, so the driver finds all of it at once.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(within(async {
        let broker = broker().await;
        let (app, _inbox) = broker.client("app").await.unwrap();
        for _ in 0..3 {
            for _ in 0..9 {
                app.publish("t", vec![0; 100_000], QoS::AtMostOnce).await.unwrap();
            }
            app.subscribe("other", QoS::AtMostOnce).await.unwrap();
        }
    }));
}
