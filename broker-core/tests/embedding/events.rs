use std::collections::HashMap;
use std::time::Duration;

use culex_codec::TopicFilter;
use culex_core::client::{ClientError, Session, Will};
use culex_core::hooks::{Access, Login};
use culex_core::limits::{Limit, Limits};
use culex_core::{CloseReason, Event, Events, QoS, Refusal};

use super::*;

/// An event in a line, and whose it is.
fn line(event: &Event) -> (String, String) {
    let (client_id, text) = match event {
        Event::Connected { client_id, is_resumed, .. } => (client_id, format!("connected {is_resumed}")),
        Event::Refused { client_id, refusal, .. } => (client_id, format!("refused {refusal:?}")),
        Event::AuthenticationFailed { client_id, user_name, .. } => {
            (client_id, format!("authentication failed {user_name:?}"))
        }
        Event::Disconnected { client_id, reason, .. } => (client_id, format!("disconnected {reason:?}")),
        Event::Subscribed { client_id, filter, granted } => {
            (client_id, format!("subscribed {filter} {granted:?}"))
        }
        Event::Unsubscribed { client_id, filter } => (client_id, format!("unsubscribed {filter}")),
        Event::Slowed { client_id, limit } => (client_id, format!("slowed {limit}")),
        Event::QueueFull { client_id } => (client_id, "queue full".to_owned()),
        Event::Dropped { client_id, dropped } => (client_id, format!("dropped {dropped}")),
        Event::Unreadable { client_id, dropped } => (client_id, format!("unreadable {dropped}")),
        Event::StoreFull { .. } | Event::StoreRecovered { .. } => panic!("there is no store"),
        other => panic!("{other:?} is new"),
    };
    (client_id.to_string(), text)
}

async fn all(mut events: Events) -> HashMap<String, Vec<String>> {
    let mut lines: HashMap<String, Vec<String>> = HashMap::new();
    while let Some(event) = within(events.next()).await {
        let (client_id, line) = line(&event);
        lines.entry(client_id).or_default().push(line);
    }
    assert_eq!(events.dropped(), 0);
    lines
}

#[test]
fn events_of_each_client_come_in_order() {
    for lanes in [1, 2, 4] {
        run(events_on(lanes));
    }
}

async fn events_on(lanes: usize) {
    let limits = Limits { queue_messages: Limit::at_most(2).unwrap(), ..Limits::default() };
    let builder = builder(lanes)
        .limits(limits)
        .authenticate(|login: Login| async move { login.user_name() != Some("eve") })
        .authorize(|access: Access| async move { access.topic() != "secret" });
    let broker = builder.start().await.unwrap();
    let events = broker.events();

    // Over a socket: one filter is refused, and the end is without DISCONNECT.
    let mut lost = over_tcp(&options(&broker, "lost")).await.unwrap();
    assert_eq!(tcp_subscribe(&mut lost, &["a", "secret"]).await, [1, 0x80]);
    lost.unsubscribe(&[TopicFilter::new("a").unwrap()]).unwrap();
    while !matches!(lost.event().await.unwrap(), culex_core::client::Event::Unsubscribed { .. }) {}
    drop(lost);

    let mut eve = options(&broker, "eve");
    eve.user_name = Some("eve".into());
    assert!(matches!(over_tcp(&eve).await, Err(ClientError::Refused { .. })));
    let mut refused = options(&broker, "refused");
    refused.will =
        Some(Will { topic: "secret".into(), payload: "".into(), qos: QoS::AtMostOnce, is_retained: false });
    assert!(matches!(over_tcp(&refused).await, Err(ClientError::Refused { .. })));

    // In the process: a session that is full and resumed, and an operator.
    let keeper = || broker.client("keeper").persistent(Duration::MAX).connect();
    let (app, inbox) = keeper().await.unwrap();
    app.subscribe("q", QoS::AtLeastOnce).await.unwrap();
    app.disconnect().await;
    drop(inbox);
    let (source, _source_inbox) = broker.client("source").await.unwrap();
    for _ in 0..3 {
        source.publish("q", "x", QoS::AtLeastOnce).await.unwrap();
    }
    let (again, _again_inbox) = keeper().await.unwrap();
    again.disconnect().await;

    let mut options = options(&broker, "moved");
    options.clean_session = false;
    let _first = Connection::open(&options, Session::default()).await.unwrap();
    let second = Connection::open(&options, Session::default()).await.unwrap();
    second.disconnect().await.unwrap();
    assert!(broker.admin().disconnect("source").await.unwrap());
    within(broker.shutdown(PATIENCE)).await.unwrap();

    let mut lines = all(events).await;
    let mut of = |client_id: &str| lines.remove(client_id).unwrap_or_default();
    let expected: [&str; 5] = [
        "connected false",
        "subscribed a Some(AtLeastOnce)",
        "subscribed secret None",
        "unsubscribed a",
        "disconnected Lost",
    ];
    assert_eq!(of("lost"), expected, "{lanes} lanes");
    assert_eq!(of("eve"), [r#"authentication failed Some("eve")"#]);
    assert_eq!(of("refused"), [format!("refused {:?}", Refusal::WillNotAuthorized)]);
    let expected = [
        "connected false",
        "subscribed q Some(AtLeastOnce)",
        "disconnected Disconnected",
        "dropped 1",
        "connected true",
        "disconnected Disconnected",
    ];
    assert_eq!(of("keeper"), expected, "{lanes} lanes");
    let expected =
        ["connected false", "disconnected TakenOver", "connected true", "disconnected Disconnected"];
    assert_eq!(of("moved"), expected, "{lanes} lanes");
    let ended = format!("disconnected {:?}", CloseReason::Administrative);
    assert_eq!(of("source"), ["connected false", &ended]);
    assert!(lines.is_empty(), "{lines:?}");
}

#[test]
fn a_slow_reader_loses_the_oldest_and_knows_how_many() {
    run(async {
        const BEHIND_MAX: usize = 4096;
        for surplus in [0, 1, 1500] {
            let broker = start(2, Limits::default()).await;
            let (app, _inbox) = broker.client("app").await.unwrap();
            let (mut slow, quick) = (broker.events(), broker.events());
            for number in 0..BEHIND_MAX + surplus {
                app.subscribe(&number.to_string(), QoS::AtMostOnce).await.unwrap();
                // The quick one stays in time and loses nothing.
                if number % 1000 == 0 {
                    assert_eq!(quick.dropped(), 0);
                }
            }
            // One more event, of which nobody knows when it comes, would push another out.
            for number in surplus..BEHIND_MAX + surplus {
                let event = within(slow.next()).await.unwrap();
                assert_eq!(line(&event).1, format!("subscribed {number} Some(AtMostOnce)"));
                assert_eq!(slow.dropped(), surplus as u64);
            }
            drop(quick);
            // It is in time again.
            app.subscribe("again", QoS::AtMostOnce).await.unwrap();
            assert_eq!(line(&within(slow.next()).await.unwrap()).1, "subscribed again Some(AtMostOnce)");
            assert_eq!(slow.dropped(), surplus as u64);
            within(broker.shutdown(PATIENCE)).await.unwrap();
        }
    });
}

#[test]
fn the_stream_ends_with_the_broker_and_never_begins_after_it() {
    run(async {
        let broker = start(2, Limits::default()).await;
        let mut waiting = broker.events();
        let waiting = tokio::spawn(async move { waiting.next().await.is_none() });
        within(broker.shutdown(PATIENCE)).await.unwrap();
        assert!(within(waiting).await.unwrap());
        assert!(within(broker.events().next()).await.is_none());

        // Without shutdown too.
        let broker = start(1, Limits::default()).await;
        let mut events = broker.events();
        drop(broker);
        assert!(within(events.next()).await.is_none());
    });
}

#[test]
fn a_dropped_next_loses_no_event() {
    run(async {
        let broker = start(1, Limits::default()).await;
        let mut events = broker.events();
        let (app, _inbox) = broker.client("app").await.unwrap();
        for number in 0..50 {
            // Never ready in time, or ready and taken: either way nothing is skipped.
            assert!(within(events.next()).await.is_some());
            let mut pending = Box::pin(events.next());
            let is_ready = std::future::poll_fn(|context| {
                std::task::Poll::Ready(pending.as_mut().poll(context).is_ready())
            });
            assert!(!is_ready.await);
            drop(pending);
            app.subscribe(&number.to_string(), QoS::AtMostOnce).await.unwrap();
        }
    });
}
