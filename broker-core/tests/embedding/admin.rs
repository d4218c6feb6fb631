use std::collections::HashMap;
use std::time::Duration;

use culex_core::client::{Publication, Will};
use culex_core::limits::Limits;
use culex_core::{Admin, AdminError, Client, CloseReason, Cursor, Gone, QoS, SessionInfo};

use super::*;

/// Everything of a list, page by page, each cursor through its text form.
async fn pages<F>(mut page: impl FnMut(Cursor) -> F) -> Vec<SessionInfo>
where
    F: Future<Output = Result<culex_core::Page<SessionInfo>, AdminError>>,
{
    let (mut all, mut cursor) = (Vec::new(), Cursor::default());
    loop {
        let found = within(page(cursor)).await.unwrap();
        all.extend(found.items);
        let Some(next) = found.next else { return all };
        cursor = next.to_string().parse().unwrap();
        assert_eq!(cursor, next);
    }
}

async fn clients(admin: &Admin, limit: usize) -> HashMap<String, u32> {
    let mut counts = HashMap::new();
    for client in pages(|cursor| admin.clients(cursor, limit)).await {
        *counts.entry(client.client_id.to_string()).or_default() += 1;
    }
    counts
}

#[test]
fn each_client_is_listed_once_whatever_the_page() {
    for lanes in [1, 2, 4] {
        run(async move {
            let broker = start(lanes, Limits::default()).await;
            let admin = broker.admin();
            assert!(clients(&admin, 7).await.is_empty());
            let mut there = Vec::new();
            for number in 0..60 {
                there.push(broker.client(format!("stays-{number}")).await.unwrap());
            }
            let expected: HashMap<_, _> = (0..60).map(|number| (format!("stays-{number}"), 1)).collect();
            for limit in [0, 1, 7, 60, 1000, usize::MAX] {
                assert_eq!(clients(&admin, limit).await, expected, "limit {limit}, {lanes} lanes");
            }
            // Others come and go: those who stay are listed once, and nobody twice who was there once.
            let coming_and_going = async {
                for number in 0..300 {
                    let (_app, _inbox) = broker.client(format!("guest-{number}")).await.unwrap();
                }
            };
            let looking = async {
                for round in 0..30 {
                    let mut found = clients(&admin, [1, 7, 1000][round % 3]).await;
                    assert!(found.values().all(|count| *count == 1), "{found:?}");
                    found.retain(|client_id, _| client_id.starts_with("stays"));
                    assert_eq!(found, expected, "round {round}, {lanes} lanes");
                }
            };
            tokio::join!(coming_and_going, looking);
        });
    }
}

async fn keeper(broker: &Broker, name: &str) -> (Client, Inbox) {
    broker.client(name).persistent(Duration::from_secs(3600)).await.unwrap()
}

#[test]
fn sessions_are_listed_with_and_without_their_clients() {
    for lanes in [1, 2, 4] {
        run(async move {
            let broker = start(lanes, Limits::default()).await;
            let admin = broker.admin();
            for number in 0..20 {
                let (app, _inbox) = keeper(&broker, &format!("away-{number}")).await;
                app.subscribe("q", QoS::AtLeastOnce).await.unwrap();
                app.disconnect().await;
            }
            let (here, _inbox) = keeper(&broker, "here").await;
            here.publish("q", "12345", QoS::AtLeastOnce).await.unwrap();
            await_metric(&broker, "queue_messages", |count| count == 20).await;
            for limit in [1, 7, 1000] {
                let sessions = pages(|cursor| admin.sessions(cursor, limit)).await;
                assert_eq!(sessions.len(), 21);
                for session in &sessions {
                    let is_away = session.connection.is_none();
                    assert_eq!(is_away, session.client_id.starts_with("away"), "{session:?}");
                    assert_eq!((session.expiry_s, session.subscriptions), (3600, u64::from(is_away)));
                    // Topic and payload.
                    let waiting = if is_away { (1, 6) } else { (0, 0) };
                    assert_eq!((session.queue_messages, session.queue_bytes), waiting);
                    assert_eq!(admin.session(&session.client_id).await.unwrap().as_ref(), Some(session));
                }
                let listed: Vec<_> = pages(|cursor| admin.clients(cursor, limit)).await;
                assert_eq!(listed.len(), 1);
                assert_eq!(&*listed[0].connection.as_ref().unwrap().peer, "in-process");
            }
            assert_eq!(admin.session("nobody").await.unwrap(), None);
            // Somebody who is away has no connection to end.
            assert!(!admin.disconnect("away-1").await.unwrap());
            assert!(admin.end_session("away-1").await.unwrap());
            assert!(!admin.end_session("away-1").await.unwrap());
            assert_eq!(pages(|cursor| admin.sessions(cursor, 7)).await.len(), 20);
        });
    }
}

#[test]
fn subscriptions_come_in_pages_in_their_order() {
    run(async {
        let broker = start(2, Limits::default()).await;
        let (app, _inbox) = broker.client("app").await.unwrap();
        let mut expected: Vec<_> = (0..25).map(|number| format!("a/{number}/+")).collect();
        for filter in &expected {
            app.subscribe(filter, QoS::AtMostOnce).await.unwrap();
        }
        expected.sort();
        let admin = broker.admin();
        for limit in [0, 1, 7, 25, 1000] {
            let (mut found, mut cursor) = (Vec::new(), Cursor::default());
            loop {
                let page = admin.subscriptions("app", cursor, limit).await.unwrap().unwrap();
                assert!(page.items.len() <= limit.max(1));
                found.extend(page.items.into_iter().map(String::from));
                let Some(next) = page.next else { break };
                cursor = next.to_string().parse().unwrap();
            }
            assert_eq!(found, expected, "limit {limit}");
        }
        assert_eq!(admin.subscriptions("nobody", Cursor::default(), 1).await.unwrap(), None);
    });
}

#[test]
fn an_operator_ends_connections_and_sessions() {
    run(async {
        let broker = start(2, Limits::default()).await;
        let admin = broker.admin();
        let (watcher, mut wills) = broker.client("watcher").await.unwrap();
        watcher.subscribe("will", QoS::AtLeastOnce).await.unwrap();
        let mut options = options(&broker, "victim");
        options.clean_session = false;
        let will = |payload: &'static str| {
            Some(Will {
                topic: "will".into(),
                payload: payload.into(),
                qos: QoS::AtLeastOnce,
                is_retained: false,
            })
        };
        options.will = will("disconnected");
        let mut victim = over_tcp(&options).await.unwrap();
        tcp_subscribe(&mut victim, &["q"]).await;
        assert!(admin.disconnect("victim").await.unwrap());
        assert_eq!(next(&mut wills).await.payload, "disconnected");
        assert!(victim.event().await.is_err());
        // The session stays, and goes on where it was.
        let info = admin.session("victim").await.unwrap().unwrap();
        assert_eq!((info.connection, info.subscriptions), (None, 1));
        watcher.publish("q", "while away", QoS::AtLeastOnce).await.unwrap();
        options.will = will("ended");
        let mut victim = over_tcp(&options).await.unwrap();
        assert!(victim.is_session_present());
        let message = loop {
            if let Event::Message(message) = victim.event().await.unwrap() {
                break message;
            }
        };
        assert_eq!(message.payload, "while away");

        assert!(admin.end_session("victim").await.unwrap());
        assert_eq!(next(&mut wills).await.payload, "ended");
        assert!(victim.event().await.is_err());
        assert_eq!(admin.session("victim").await.unwrap(), None);
        await_metric(&broker, "queue_messages", |count| count == 0).await;
        options.will = None;
        assert!(!over_tcp(&options).await.unwrap().is_session_present());

        let (app, mut inbox) = keeper(&broker, "app").await;
        assert!(admin.end_session("app").await.unwrap());
        assert!(within(inbox.next()).await.is_none());
        assert_eq!(app.ended(), Some(Gone::Closed(CloseReason::Administrative)));
        assert!(!keeper(&broker, "app").await.0.is_session_present());
    });
}

#[test]
fn retained_messages_come_in_pages() {
    run(async {
        let broker = start(2, Limits::default()).await;
        let (app, _inbox) = broker.client("app").await.unwrap();
        let mut expected = Vec::new();
        for number in 0..30 {
            let topic = format!("r/{number}");
            app.send(Publication::new(&topic, topic.clone(), QoS::AtLeastOnce).retained()).await.unwrap();
            app.send(Publication::new(format!("other/{number}"), "x", QoS::AtLeastOnce).retained())
                .await
                .unwrap();
            expected.push(topic);
        }
        expected.sort();
        let admin = broker.admin();
        for limit in [0, 1, 7, 30, 1000] {
            let (mut found, mut cursor) = (Vec::new(), Cursor::default());
            loop {
                let page = admin.retained("r/#", cursor, limit).unwrap();
                assert!(page.items.len() <= limit.max(1));
                for info in page.items {
                    assert_eq!((&*info.payload, info.qos), (info.topic.as_bytes(), QoS::AtLeastOnce));
                    found.push(String::from(info.topic));
                }
                let Some(next) = page.next else { break };
                cursor = next.to_string().parse().unwrap();
            }
            assert_eq!(found, expected, "limit {limit}");
        }
        assert!(matches!(admin.retained("r/#/x", Cursor::default(), 1), Err(AdminError::Filter(_))));
    });
}

#[test]
fn a_cursor_of_another_list_is_refused() {
    run(async {
        let broker = start(2, Limits::default()).await;
        let (app, _inbox) = broker.client("app").await.unwrap();
        let (_other, _other_inbox) = broker.client("other").await.unwrap();
        for filter in ["a", "b"] {
            app.subscribe(filter, QoS::AtMostOnce).await.unwrap();
        }
        let admin = broker.admin();
        let of_clients = admin.clients(Cursor::default(), 1).await.unwrap().next.unwrap();
        let of_filters =
            admin.subscriptions("app", Cursor::default(), 1).await.unwrap().unwrap().next.unwrap();
        assert_eq!(admin.clients(of_filters.clone(), 1).await, Err(AdminError::Cursor));
        assert_eq!(admin.sessions(of_filters, 1).await, Err(AdminError::Cursor));
        assert_eq!(admin.subscriptions("app", of_clients.clone(), 1).await, Err(AdminError::Cursor));
        assert_eq!(admin.retained("#", of_clients, 1), Err(AdminError::Cursor));
        // One of a broker with more lanes.
        let foreign: Cursor = "7.0".parse().unwrap();
        assert_eq!(admin.clients(foreign, 1).await, Err(AdminError::Cursor));
        assert_eq!("nonsense".parse::<Cursor>(), Err(AdminError::Cursor));
    });
}

#[test]
fn a_stopped_broker_says_so() {
    for lanes in [1, 4] {
        run(async move {
            let broker = start(lanes, Limits::default()).await;
            let (app, _inbox) = broker.client("app").await.unwrap();
            app.send(Publication::new("r", "x", QoS::AtLeastOnce).retained()).await.unwrap();
            let admin = broker.admin();
            within(broker.shutdown(PATIENCE)).await.unwrap();
            for admin in [admin, broker.admin()] {
                let start = Cursor::default;
                assert_eq!(within(admin.clients(start(), 1)).await, Err(AdminError::Stopped));
                assert_eq!(within(admin.sessions(start(), 1)).await, Err(AdminError::Stopped));
                assert_eq!(within(admin.session("app")).await, Err(AdminError::Stopped));
                assert_eq!(within(admin.subscriptions("app", start(), 1)).await, Err(AdminError::Stopped));
                assert_eq!(within(admin.disconnect("app")).await, Err(AdminError::Stopped));
                assert_eq!(within(admin.end_session("app")).await, Err(AdminError::Stopped));
                assert_eq!(admin.retained("#", start(), 1), Err(AdminError::Stopped));
            }
        });
    }
}
