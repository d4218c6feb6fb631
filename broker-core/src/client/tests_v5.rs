//! The client in 5.0, and what a bridge needs of it in 3.1.1.

use std::time::Duration;

use culex_codec::{
    PropertiesBuf, Property, PropertyContext, ProtocolVersion, QoS, ReasonCode, RetainHandling,
    SubscriptionId, SubscriptionOptions, TopicFilter,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;

use super::tests::{connected, expect, manual, message, persistent, run};
use super::*;

fn v5() -> Options {
    Options { version: ProtocolVersion::V5, client_id: "c".to_owned(), ..Options::default() }
}

/// CONNACK with these properties.
fn conn_ack(is_session_present: bool, properties: &[u8]) -> Vec<u8> {
    let len = u8::try_from(properties.len()).unwrap();
    [&[0x20, len + 3, u8::from(is_session_present), 0, len], properties].concat()
}

async fn opened(options: &Options, properties: &[u8]) -> (Connection, DuplexStream) {
    connected(options, Session::default(), &conn_ack(false, properties)).await
}

/// The CONNECT of a client with these options.
async fn connect_of(options: &Options) -> Vec<u8> {
    let (ours, mut theirs) = duplex(1024);
    let server = async {
        let mut found = vec![0; 2];
        theirs.read_exact(&mut found).await.unwrap();
        found.resize(2 + usize::from(found[1]), 0);
        theirs.read_exact(&mut found[2..]).await.unwrap();
        found
    };
    let mut session = Session::default();
    tokio::select! {
        _ = Connection::resume_over(Box::new(ours), options, &mut session) => panic!("nobody answered"),
        found = server => found,
    }
}

#[test]
fn connect_asks_for_what_the_options_say() {
    run(async {
        assert_eq!(
            connect_of(&v5()).await,
            b"\x10\x0e\0\x04MQTT\x05\x02\0\x3c\0\0\x01c",
            "nothing more than needed"
        );
        let kept = Options { clean_session: false, ..v5() };
        assert_eq!(
            connect_of(&kept).await,
            b"\x10\x13\0\x04MQTT\x05\0\0\x3c\x05\x11\xff\xff\xff\xff\0\x01c",
            "without Clean Start the session stays, as in 3.1.1"
        );
        let all = Options {
            session_expiry_s: Some(3600),
            receive_maximum: 100,
            packet_bytes_max: 0x2_0000,
            ..v5()
        };
        assert_eq!(
            connect_of(&all).await,
            b"\x10\x1b\0\x04MQTT\x05\x02\0\x3c\x0d\x11\0\0\x0e\x10\x21\0\x64\x27\0\x02\0\0\0\x01c"
        );
        let bridge = Options { is_bridge: true, ..persistent() };
        assert_eq!(connect_of(&bridge).await, b"\x10\x0d\0\x04MQTT\x84\0\0\x3c\0\x01c", "mosquitto's sign");
    });
}

#[test]
fn what_the_server_grants_is_told_and_obeyed() {
    run(async {
        let properties = b"\x11\0\0\0\x3c\x13\0\x1e\x21\0\x02\x22\0\x08\x24\x01\x25\0\x27\0\0\0\x20\x28\x01\x2a\0\x12\0\x01x";
        let options = Options { session_expiry_s: Some(3600), ..v5() };
        let (mut connection, mut theirs) = opened(&options, properties).await;
        let granted = connection.granted();
        assert_eq!((granted.session_expiry_s, granted.keep_alive_s, granted.receive_maximum), (60, 30, 2));
        assert_eq!((granted.qos_max, granted.packet_bytes_max), (QoS::AtLeastOnce, 32));
        assert_eq!((granted.topic_alias_maximum, granted.is_retain_available), (8, false));
        assert_eq!((granted.is_wildcard_available, granted.is_shared_available), (true, false));
        assert_eq!(granted.assigned_client_id.as_deref(), Some("x"));

        let large = Publication::new("t", vec![0; 30], QoS::AtMostOnce);
        for (publication, expected) in [
            (message(QoS::ExactlyOnce), ReasonCode::QoSNotSupported),
            (message(QoS::AtLeastOnce).retained(), ReasonCode::RetainNotSupported),
            (large, ReasonCode::PacketTooLarge),
        ] {
            let refused = connection.publish(publication);
            assert!(matches!(refused, Err(ClientError::NotGranted(code)) if code == expected), "{refused:?}");
        }
        let filter = "f".repeat(30);
        let refused = connection.subscribe(&[(TopicFilter::new(&filter).unwrap(), QoS::AtMostOnce)]);
        assert!(matches!(refused, Err(ClientError::NotGranted(ReasonCode::PacketTooLarge))), "{refused:?}");
        for id in 1..=2 {
            let packet_id = connection.publish(message(QoS::AtLeastOnce)).unwrap().unwrap();
            assert_eq!(packet_id.get(), id + 1, "the SUBSCRIBE had one");
        }
        assert!(!connection.has_room(), "Receive Maximum");
        let mut found = [0; 18];
        tokio::select! {
            biased;
            _ = async { loop { connection.event().await.unwrap(); } } => {}
            read = theirs.read_exact(&mut found) => { read.unwrap(); }
        }
        assert_eq!(
            &found, b"\x32\x07\0\x01t\0\x02\0x\x32\x07\0\x01t\0\x03\0x",
            "nothing of what was refused"
        );
    });
}

#[test]
fn before_5_0_everything_is_granted() {
    run(async {
        let (connection, _theirs) = connected(&persistent(), Session::default(), &[0x20, 2, 1, 0]).await;
        let granted = connection.granted();
        assert_eq!((granted.is_session_present, granted.session_expiry_s), (true, u32::MAX));
        assert_eq!((granted.keep_alive_s, granted.qos_max), (60, QoS::ExactlyOnce));
        assert_eq!((granted.receive_maximum, granted.packet_bytes_max), (65_535, 268_435_460));
    });
}

#[test]
fn a_message_that_is_refused_is_an_event_and_the_next_one_goes_on() {
    run(async {
        let (mut connection, mut theirs) = opened(&v5(), b"").await;
        for (ack, code, text) in [
            (&b"\x40\x03\0\x01\x87"[..], 0x87, "not authorized (0x87)"),
            (b"\x40\x08\0\x02\x97\x04\x1f\0\x01q", 0x97, "quota exceeded (0x97), with the words \"q\""),
            (b"\x40\x03\0\x03\x10", 0x10, "no matching subscribers (0x10)"),
        ] {
            let sent = connection.publish(message(QoS::AtLeastOnce)).unwrap().unwrap();
            assert_eq!(connection.event().await.unwrap(), Event::Written);
            theirs.write_all(ack).await.unwrap();
            let Event::Published { packet_id, reason } = connection.event().await.unwrap() else { panic!() };
            assert_eq!(packet_id, sent);
            assert_eq!((reason.code, reason.is_error()), (code, code >= 0x80));
            assert_eq!(reason.to_string(), text);
        }
        let sent = connection.publish(message(QoS::ExactlyOnce)).unwrap().unwrap();
        assert_eq!(connection.event().await.unwrap(), Event::Written);
        theirs.write_all(b"\x50\x03\0\x04\x90").await.unwrap();
        let ended = Event::Published { packet_id: sent, reason: Reason::new(0x90) };
        assert_eq!(connection.event().await.unwrap(), ended);
        assert!(connection.is_idle(), "no PUBREL follows");
    });
}

#[test]
fn refusals_and_ends_are_said_in_words() {
    run(async {
        let (mut connection, mut theirs) = opened(&v5(), b"").await;
        theirs.write_all(b"\xe0\x01\x8e").await.unwrap();
        let error = connection.event().await.unwrap_err();
        assert_eq!(error.to_string(), "the broker closed the connection: session taken over (0x8e)");

        for (answer, expected) in [
            (&b"\x20\x03\0\x97\0"[..], "the broker refused the connection: quota exceeded (0x97)"),
            (
                b"\x20\x07\0\x85\x04\x1f\0\x01q",
                "the broker refused the connection: it does not accept this client id; it says: client identifier not valid \
                 (0x85), with the words \"q\"",
            ),
        ] {
            let (ours, mut theirs) = duplex(1024);
            theirs.write_all(answer).await.unwrap();
            let refused = Connection::resume_over(Box::new(ours), &v5(), &mut Session::default()).await;
            assert_eq!(refused.unwrap_err().to_string(), expected);
        }
    });
}

#[test]
fn the_keep_alive_of_the_server_counts() {
    run(async {
        let (mut connection, mut theirs) = opened(&v5(), b"\x13\0\x0a").await;
        let begin = Instant::now();
        expect(&mut connection, &mut theirs, &[0xc0, 0]).await;
        assert_eq!(begin.elapsed().as_secs(), 10);
        let error = connection.event().await.unwrap_err();
        assert!(matches!(error, ClientError::Silent), "{error:?}");
        assert_eq!(begin.elapsed().as_secs(), 15, "half of the Keep Alive is less than 30 s");
    });
}

#[test]
fn a_ping_has_30_seconds_and_an_owner_who_was_busy_finds_its_answer() {
    run(async {
        let options = Options { keep_alive: 1200, ..persistent() };
        let (mut connection, mut theirs) = connected(&options, Session::default(), &[0x20, 2, 0, 0]).await;
        let begin = Instant::now();
        expect(&mut connection, &mut theirs, &[0xc0, 0]).await;
        theirs.write_all(&[0xd0, 0]).await.unwrap();
        tokio::time::advance(Duration::from_secs(600)).await;
        expect(&mut connection, &mut theirs, &[0xc0, 0]).await;
        assert_eq!(begin.elapsed().as_secs(), 2400);
        assert!(matches!(connection.event().await, Err(ClientError::Silent)));
        assert_eq!(begin.elapsed().as_secs(), 2430);
    });
}

#[test]
fn properties_go_with_the_message() {
    run(async {
        let (mut connection, mut theirs) = opened(&v5(), b"").await;
        theirs.write_all(b"\x30\x12\0\x01t\x0d\x0b\x05\x26\0\x03hop\0\x01a\x01\x01x").await.unwrap();
        let Event::Message(found) = connection.event().await.unwrap() else { panic!() };
        assert_eq!(found.user_properties().collect::<Vec<_>>(), [("hop", "a")]);
        let properties = found.properties.as_properties(PropertyContext::Publish).unwrap();
        assert_eq!(properties.iter().count(), 2, "the Subscription Identifier was for us");
        assert_eq!(&found.payload[..], b"x");

        let on = Publication::new("u", found.payload, QoS::AtMostOnce).with_properties(found.properties);
        connection.publish(on.clone()).unwrap();
        assert_eq!(connection.event().await.unwrap(), Event::Written);
        let mut sent = [0; 18];
        theirs.read_exact(&mut sent).await.unwrap();
        assert_eq!(&sent, b"\x30\x10\0\x01u\x0b\x26\0\x03hop\0\x01a\x01\x01x");

        let mut foreign = PropertiesBuf::new();
        foreign.push(Property::SubscriptionIdentifier(SubscriptionId::new(1).unwrap())).unwrap();
        let refused = connection.publish(Publication { properties: foreign, ..on.clone() });
        assert!(matches!(refused, Err(ClientError::ForeignProperty)), "{refused:?}");

        let (mut old, mut theirs) = connected(&persistent(), Session::default(), &[0x20, 2, 0, 0]).await;
        old.publish(on).unwrap();
        assert_eq!(old.event().await.unwrap(), Event::Written);
        let mut sent = [0; 6];
        theirs.read_exact(&mut sent).await.unwrap();
        assert_eq!(&sent, b"\x30\x04\0\x01ux", "3.1.1 has none");
    });
}

#[test]
fn a_subscription_has_options_and_its_refusal_a_reason() {
    run(async {
        let (mut connection, mut theirs) = opened(&v5(), b"").await;
        let options = SubscriptionOptions {
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::DoNotSend,
            ..SubscriptionOptions::new(QoS::AtLeastOnce)
        };
        let packet_id = connection.subscribe(&[(TopicFilter::new("a").unwrap(), options)]).unwrap();
        expect(&mut connection, &mut theirs, b"\x82\x07\0\x01\0\0\x01a\x2d").await;
        theirs.write_all(b"\x90\x08\0\x01\x04\x1f\0\x01q\x87").await.unwrap();
        let expected = Event::Subscribed { packet_id, codes: vec![0x87], text: Some("q".into()) };
        assert_eq!(connection.event().await.unwrap(), expected);
    });
}

#[test]
fn a_message_is_sent_again_over_the_same_connection_in_3_1_1_alone() {
    run(async {
        let (mut connection, mut theirs) =
            connected(&persistent(), Session::default(), &[0x20, 2, 0, 0]).await;
        let packet_id = connection.publish(message(QoS::AtLeastOnce)).unwrap().unwrap();
        assert_eq!(connection.event().await.unwrap(), Event::Written);
        assert!(connection.resend(packet_id).unwrap());
        assert_eq!(connection.event().await.unwrap(), Event::Written);
        let twice = b"\x32\x06\0\x01t\0\x01x\x3a\x06\0\x01t\0\x01x";
        expect(&mut connection, &mut theirs, twice).await;
        theirs.write_all(&[0x40, 2, 0, 1]).await.unwrap();
        assert!(matches!(connection.event().await.unwrap(), Event::Published { .. }));
        assert!(!connection.resend(packet_id).unwrap(), "it is acknowledged");
        // The answer to the second one means nothing.
        theirs.write_all(&[0x40, 2, 0, 1]).await.unwrap();
        expect(&mut connection, &mut theirs, &[0xc0, 0]).await;

        let (mut connection, _theirs) = opened(&v5(), b"").await;
        let packet_id = connection.publish(message(QoS::AtLeastOnce)).unwrap().unwrap();
        assert!(!connection.resend(packet_id).unwrap());
    });
}

#[test]
fn a_server_that_repeats_without_reading_our_repetitions_does_not_make_us_grow() {
    run(async {
        let (ours, mut theirs) = duplex(1 << 10);
        theirs.write_all(&[0x20, 2, 0, 0]).await.unwrap();
        let mut connection =
            Connection::resume_over(Box::new(ours), &persistent(), &mut Session::default()).await.unwrap();
        let large = Publication::new("t", vec![0; 100 << 10], QoS::AtLeastOnce);
        let packet_id = connection.publish(large).unwrap().unwrap();
        let times = (0..10).take_while(|_| connection.resend(packet_id).is_ok()).count();
        assert!((1..4).contains(&times), "{times}");
        assert!(matches!(connection.resend(packet_id), Err(ClientError::WindowFull)));
    });
}

#[test]
fn what_was_in_flight_and_is_not_granted_any_more_ends() {
    run(async {
        let options = Options { clean_session: false, ..v5() };
        let (mut connection, theirs) = connected(&options, Session::default(), &conn_ack(true, b"")).await;
        let first = connection.publish(message(QoS::AtLeastOnce)).unwrap().unwrap();
        let second = connection.publish(message(QoS::ExactlyOnce)).unwrap().unwrap();
        let third = connection.publish(message(QoS::AtLeastOnce).retained()).unwrap().unwrap();
        drop(theirs);
        let session = connection.into_session();
        let (mut connection, mut theirs) =
            connected(&options, session, &conn_ack(true, b"\x24\x01\x25\0")).await;
        for (packet_id, code) in [(second, 0x9b), (third, 0x9a)] {
            let reason = Reason::new(code);
            assert_eq!(connection.event().await.unwrap(), Event::Published { packet_id, reason });
        }
        expect(&mut connection, &mut theirs, b"\x3a\x07\0\x01t\0\x01\0x").await;
        assert_eq!((connection.in_flight(), first.get()), (1, 1));
    });
}

#[test]
fn a_server_must_keep_to_the_receive_maximum() {
    run(async {
        let options = Options { version: ProtocolVersion::V5, receive_maximum: 2, ..manual() };
        let (mut connection, mut theirs) = opened(&options, b"").await;
        let mut packet_ids = Vec::new();
        for id in 1..=2 {
            theirs.write_all(&[0x32, 7, 0, 1, b't', 0, id, 0, b'x']).await.unwrap();
            let Event::Message(found) = connection.event().await.unwrap() else { panic!() };
            packet_ids.push(found.packet_id.unwrap());
        }
        connection.acknowledge(packet_ids[0]).unwrap();
        theirs.write_all(&[0x32, 7, 0, 1, b't', 0, 3, 0, b'x']).await.unwrap();
        assert!(matches!(connection.event().await.unwrap(), Event::Message(_)), "there was room again");
        theirs.write_all(&[0x32, 7, 0, 1, b't', 0, 4, 0, b'x']).await.unwrap();
        let error = connection.event().await.unwrap_err();
        assert!(matches!(error, ClientError::Protocol(_)), "{error:?}");
    });
}
