//! The client against a server of the test's own, over a pipe in memory: every byte is seen and chosen.

use culex_codec::{ProtocolVersion, QoS, TopicFilter};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

/// A runtime whose clock moves on when there is nothing else to do: no test waits for time.
pub(super) fn run(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap().block_on(test);
}

/// Connects; gives the connection and the server's end, after CONNECT and CONNACK.
pub(super) async fn connected(
    options: &Options,
    mut session: Session,
    conn_ack: &[u8],
) -> (Connection, DuplexStream) {
    let (ours, mut theirs) = duplex(64 << 10);
    let server = async {
        let mut connect = [0; 2];
        theirs.read_exact(&mut connect).await.unwrap();
        let mut rest = vec![0; connect[1].into()];
        theirs.read_exact(&mut rest).await.unwrap();
        theirs.write_all(conn_ack).await.unwrap();
        theirs
    };
    let (connection, theirs) =
        tokio::join!(Connection::resume_over(Box::new(ours), options, &mut session), server);
    (connection.unwrap(), theirs)
}

async fn clean() -> (Connection, DuplexStream) {
    connected(&Options::default(), Session::default(), &[0x20, 2, 0, 0]).await
}

pub(super) fn persistent() -> Options {
    Options { client_id: "c".to_owned(), clean_session: false, ..Options::default() }
}

/// Polls the connection until the server has read exactly these bytes.
pub(super) async fn expect(connection: &mut Connection, theirs: &mut DuplexStream, expected: &[u8]) {
    let mut found = vec![0; expected.len()];
    tokio::select! {
        biased;
        event = connection.event() => panic!("{event:?} instead of {expected:02x?}"),
        read = theirs.read_exact(&mut found) => { read.unwrap(); }
    }
    assert_eq!(found, expected, "{found:02x?} instead of {expected:02x?}");
}

pub(super) fn message(qos: QoS) -> Publication {
    Publication::new("t", "x", qos)
}

#[test]
fn connect_has_what_the_options_say() {
    run(async {
        let (ours, mut theirs) = duplex(1024);
        let options = Options {
            client_id: "me".to_owned(),
            clean_session: false,
            keep_alive: 258,
            user_name: Some("u".to_owned()),
            password: Some(Secret::new("p")),
            will: Some(Will {
                topic: "w".to_owned(),
                payload: "b".into(),
                qos: QoS::ExactlyOnce,
                is_retained: true,
            }),
            ..Options::default()
        };
        let server = async {
            let mut found = vec![0; 2 + 10 + 4 + 3 + 3 + 3 + 3];
            theirs.read_exact(&mut found).await.unwrap();
            theirs.write_all(&[0x20, 2, 1, 0]).await.unwrap();
            found
        };
        let mut session = Session::default();
        let opened = Connection::resume_over(Box::new(ours), &options, &mut session);
        let (connection, found) = tokio::join!(opened, server);
        assert!(connection.unwrap().is_session_present());
        assert_eq!(found, b"\x10\x1a\0\x04MQTT\x04\xf4\x01\x02\0\x02me\0\x01w\0\x01b\0\x01u\0\x01p");
    });
}

#[test]
fn a_refusal_is_told() {
    run(async {
        for (code, expected) in
            [(1, Refusal::Version), (4, Refusal::Credentials), (5, Refusal::NotAuthorized)]
        {
            let (ours, mut theirs) = duplex(1024);
            theirs.write_all(&[0x20, 2, 0, code]).await.unwrap();
            let opened =
                Connection::resume_over(Box::new(ours), &Options::default(), &mut Session::default()).await;
            assert!(
                matches!(opened, Err(ClientError::Refused { refusal, .. }) if refusal == expected),
                "{opened:?}"
            );
        }
    });
}

#[test]
fn a_silent_server_is_not_waited_for() {
    run(async {
        let (ours, _theirs) = duplex(1024);
        let opened =
            Connection::resume_over(Box::new(ours), &Options::default(), &mut Session::default()).await;
        assert!(matches!(opened, Err(ClientError::ConnectTimeout { seconds: 10, .. })), "{opened:?}");
    });
}

#[test]
fn nonsense_instead_of_a_conn_ack_is_an_error() {
    run(async {
        for bytes in [&b"GET /"[..], &[0x20, 2, 0, 9], &[0xd0, 0], &[0x20, 3, 0, 0, 0]] {
            let (ours, mut theirs) = duplex(1024);
            theirs.write_all(bytes).await.unwrap();
            let opened =
                Connection::resume_over(Box::new(ours), &Options::default(), &mut Session::default()).await;
            assert!(
                matches!(opened, Err(ClientError::Malformed(_) | ClientError::Protocol(_))),
                "{opened:?}"
            );
        }
    });
}

#[test]
fn another_protocol_is_named() {
    run(async {
        let alert = [0x15, 3, 3, 0, 2, 2, 10];
        for (bytes, expected) in [(&b"HTTP/1.1 400"[..], Foreign::Http), (&alert, Foreign::Tls)] {
            let (ours, mut theirs) = duplex(1024);
            theirs.write_all(bytes).await.unwrap();
            let opened =
                Connection::resume_over(Box::new(ours), &Options::default(), &mut Session::default()).await;
            assert!(matches!(opened, Err(ClientError::Foreign(found)) if found == expected), "{opened:?}");
        }
    });
}

#[test]
fn qos_0_ends_when_it_is_written() {
    run(async {
        let (mut connection, mut theirs) = clean().await;
        assert_eq!(connection.publish(message(QoS::AtMostOnce)).unwrap(), None);
        assert!(!connection.is_idle());
        assert_eq!(connection.event().await.unwrap(), Event::Written);
        assert!(connection.is_idle());
        let mut found = [0; 6];
        theirs.read_exact(&mut found).await.unwrap();
        assert_eq!(&found, b"\x30\x04\0\x01tx");
    });
}

#[test]
fn qos_2_takes_four_packets() {
    run(async {
        let (mut connection, mut theirs) = clean().await;
        let packet_id = connection.publish(message(QoS::ExactlyOnce)).unwrap().unwrap();
        assert_eq!(connection.event().await.unwrap(), Event::Written);
        expect(&mut connection, &mut theirs, b"\x34\x06\0\x01t\0\x01x").await;
        theirs.write_all(&[0x50, 2, 0, 1]).await.unwrap();
        expect(&mut connection, &mut theirs, &[0x62, 2, 0, 1]).await;
        // A repeated PUBREC gets another PUBREL.
        theirs.write_all(&[0x50, 2, 0, 1]).await.unwrap();
        expect(&mut connection, &mut theirs, &[0x62, 2, 0, 1]).await;
        assert!(!connection.is_idle());
        theirs.write_all(&[0x70, 2, 0, 1]).await.unwrap();
        assert_eq!(connection.event().await.unwrap(), Event::Published { packet_id, reason: Reason::new(0) });
        assert!(connection.is_idle());
    });
}

#[test]
fn the_window_is_bounded() {
    run(async {
        let options = Options { in_flight: 2, ..Options::default() };
        let (mut connection, mut theirs) = connected(&options, Session::default(), &[0x20, 2, 0, 0]).await;
        for _ in 0..2 {
            assert!(connection.has_room());
            connection.publish(message(QoS::AtLeastOnce)).unwrap();
        }
        assert!(!connection.has_room());
        assert!(matches!(connection.publish(message(QoS::AtLeastOnce)), Err(ClientError::WindowFull)));
        theirs.write_all(&[0x40, 2, 0, 1]).await.unwrap();
        while !matches!(connection.event().await.unwrap(), Event::Published { .. }) {}
        assert!(connection.has_room());
    });
}

#[test]
fn what_was_not_acknowledged_is_sent_again_in_order() {
    run(async {
        let (mut connection, mut theirs) =
            connected(&persistent(), Session::default(), &[0x20, 2, 1, 0]).await;
        connection.publish(message(QoS::ExactlyOnce)).unwrap();
        connection.publish(message(QoS::AtLeastOnce)).unwrap();
        assert_eq!(connection.event().await.unwrap(), Event::Written);
        theirs.write_all(&[0x50, 2, 0, 1]).await.unwrap();
        expect(&mut connection, &mut theirs, b"\x34\x06\0\x01t\0\x01x\x32\x06\0\x01t\0\x02x\x62\x02\0\x01")
            .await;
        drop(theirs);
        assert!(matches!(connection.event().await, Err(ClientError::Closed)));

        let session = connection.into_session();
        let (mut connection, mut theirs) = connected(&persistent(), session, &[0x20, 2, 1, 0]).await;
        expect(&mut connection, &mut theirs, b"\x62\x02\0\x01\x3a\x06\0\x01t\0\x02x").await;

        // A Server without our Session starts anew.
        let session = connection.into_session();
        let (connection, _theirs) = connected(&persistent(), session, &[0x20, 2, 0, 0]).await;
        assert!(connection.is_idle());
    });
}

#[test]
fn a_session_is_still_there_if_nobody_waits_for_its_connection() {
    run(async {
        let (mut connection, _theirs) = connected(&persistent(), Session::default(), &[0x20, 2, 0, 0]).await;
        connection.publish(message(QoS::AtLeastOnce)).unwrap();
        let mut session = connection.into_session();
        let (ours, _theirs) = duplex(1024);
        let (options, moment) = (persistent(), std::time::Duration::from_millis(1));
        let resuming = Connection::resume_over(Box::new(ours), &options, &mut session);
        tokio::time::timeout(moment, resuming).await.expect_err("nobody answers");
        assert_eq!(session.in_flight(), 1);
        let (mut connection, mut theirs) = connected(&options, session, &[0x20, 2, 1, 0]).await;
        expect(&mut connection, &mut theirs, b"\x3a\x06\0\x01t\0\x01x").await;
    });
}

// With real sockets, so with real time.
#[tokio::test]
async fn a_session_is_still_there_if_the_server_refuses() {
    let (mut connection, _theirs) = connected(&persistent(), Session::default(), &[0x20, 2, 0, 0]).await;
    connection.publish(message(QoS::AtLeastOnce)).unwrap();
    let mut session = connection.into_session();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let options = Options { host: "127.0.0.1".to_owned(), port, ..persistent() };
    let refuses = async {
        let (mut theirs, _) = listener.accept().await.unwrap();
        theirs.write_all(&[0x20, 2, 0, 3]).await.unwrap();
        theirs
    };
    let (refused, _theirs) = tokio::join!(Connection::resume(&options, &mut session), refuses);
    assert!(matches!(refused, Err(ClientError::Refused { .. })), "{refused:?}");
    assert_eq!(session.in_flight(), 1);
}

#[test]
fn a_smaller_window_sends_the_rest_again_as_it_gets_room() {
    run(async {
        let (mut connection, theirs) = connected(&persistent(), Session::default(), &[0x20, 2, 1, 0]).await;
        for _ in 0..2 {
            connection.publish(message(QoS::AtLeastOnce)).unwrap();
        }
        assert_eq!(connection.event().await.unwrap(), Event::Written);
        drop(theirs);

        let options = Options { in_flight: 1, ..persistent() };
        let session = connection.into_session();
        let (mut connection, mut theirs) = connected(&options, session, &[0x20, 2, 1, 0]).await;
        expect(&mut connection, &mut theirs, b"\x3a\x06\0\x01t\0\x01x").await;
        theirs.write_all(&[0x40, 2, 0, 1]).await.unwrap();
        assert!(matches!(connection.event().await.unwrap(), Event::Published { .. }));
        expect(&mut connection, &mut theirs, b"\x3a\x06\0\x01t\0\x02x").await;
    });
}

#[test]
fn a_qos_2_message_comes_once() {
    run(async {
        let (mut connection, mut theirs) =
            connected(&persistent(), Session::default(), &[0x20, 2, 1, 0]).await;
        let publish = b"\x34\x06\0\x01t\0\x07x";
        theirs.write_all(publish).await.unwrap();
        let Event::Message(message) = connection.event().await.unwrap() else { panic!() };
        assert_eq!(
            (message.topic.as_str(), &message.payload[..], message.qos),
            ("t", &b"x"[..], QoS::ExactlyOnce)
        );
        expect(&mut connection, &mut theirs, &[0x50, 2, 0, 7]).await;

        // Also over a lost connection.
        let session = connection.into_session();
        let (mut connection, mut theirs) = connected(&persistent(), session, &[0x20, 2, 1, 0]).await;
        theirs.write_all(b"\x3c\x06\0\x01t\0\x07x").await.unwrap();
        expect(&mut connection, &mut theirs, &[0x50, 2, 0, 7]).await;
        theirs.write_all(&[0x62, 2, 0, 7]).await.unwrap();
        expect(&mut connection, &mut theirs, &[0x70, 2, 0, 7]).await;
        theirs.write_all(publish).await.unwrap();
        assert!(matches!(connection.event().await.unwrap(), Event::Message(_)));
    });
}

/// `culex sub -C 1` takes one message and leaves the next one to the Session's next connection.
#[test]
fn disconnect_ends_what_began_and_takes_nothing_new() {
    run(async {
        let (mut connection, mut theirs) = clean().await;
        theirs.write_all(b"\x34\x06\0\x01t\0\x07x").await.unwrap();
        assert!(matches!(connection.event().await.unwrap(), Event::Message(_)));
        let server = release_7(&mut theirs, b"\x34\x06\0\x01t\0\x08x\x62\x02\0\x07");
        let (disconnected, ()) = tokio::join!(connection.disconnect(), server);
        disconnected.unwrap();
    });
}

/// Waits for PUBREC of message 7, sends these packets, PUBREL of it among them, and expects PUBCOMP, DISCONNECT and the end.
async fn release_7(theirs: &mut DuplexStream, packets: &[u8]) {
    let mut rec = [0; 4];
    theirs.read_exact(&mut rec).await.unwrap();
    assert_eq!(rec, [0x50, 2, 0, 7]);
    theirs.write_all(packets).await.unwrap();
    let mut rest = Vec::new();
    theirs.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, [0x70, 2, 0, 7, 0xe0, 0]);
}

/// A message whose PUBREC was lost with the connection is not new: the Server waits for it.
#[test]
fn disconnect_ends_what_an_earlier_connection_began() {
    run(async {
        let (mut connection, mut theirs) =
            connected(&persistent(), Session::default(), &[0x20, 2, 1, 0]).await;
        theirs.write_all(b"\x34\x06\0\x01t\0\x07x").await.unwrap();
        assert!(matches!(connection.event().await.unwrap(), Event::Message(_)));
        let session = connection.into_session();
        let (connection, mut theirs) = connected(&persistent(), session, &[0x20, 2, 1, 0]).await;
        theirs.write_all(b"\x3c\x06\0\x01t\0\x07x").await.unwrap();
        let server = release_7(&mut theirs, &[0x62, 2, 0, 7]);
        let (disconnected, ()) = tokio::join!(connection.disconnect(), server);
        disconnected.unwrap();
    });
}

/// Whoever sends again has to know when there is room for more.
#[test]
fn what_is_sent_again_is_told_when_it_is_written() {
    run(async {
        let (mut connection, mut theirs) = clean().await;
        let payload = vec![0; 100 << 10];
        let packet_id =
            connection.publish(Publication::new("t", payload, QoS::AtLeastOnce)).unwrap().unwrap();
        let sink = tokio::spawn(async move { tokio::io::copy(&mut theirs, &mut tokio::io::sink()).await });
        assert_eq!(connection.event().await.unwrap(), Event::Written);
        while connection.resend(packet_id).is_ok() {}
        assert!(matches!(connection.resend(packet_id), Err(ClientError::WindowFull)));
        assert_eq!(connection.event().await.unwrap(), Event::Written);
        assert!(connection.resend(packet_id).unwrap());
        sink.abort();
    });
}

#[test]
fn requests_are_answered_once() {
    run(async {
        let (mut connection, mut theirs) = clean().await;
        let filter = TopicFilter::new("a/+").unwrap();
        let packet_id = connection.subscribe(&[(filter, QoS::AtLeastOnce)]).unwrap();
        expect(&mut connection, &mut theirs, b"\x82\x08\0\x01\0\x03a/+\x01").await;
        theirs.write_all(&[0x90, 3, 0, 1, 1]).await.unwrap();
        assert_eq!(
            connection.event().await.unwrap(),
            Event::Subscribed { packet_id, codes: vec![1], text: None }
        );
        theirs.write_all(&[0x90, 3, 0, 1, 1]).await.unwrap();
        assert!(matches!(connection.event().await, Err(ClientError::Protocol(_))));
        assert!(connection.subscribe::<QoS>(&[]).is_err());
    });
}

#[test]
fn a_ping_keeps_the_connection_and_its_lack_ends_it() {
    run(async {
        let (mut connection, mut theirs) = clean().await;
        for _ in 0..3 {
            expect(&mut connection, &mut theirs, &[0xc0, 0]).await;
            theirs.write_all(&[0xd0, 0]).await.unwrap();
        }
        expect(&mut connection, &mut theirs, &[0xc0, 0]).await;
        assert!(matches!(connection.event().await, Err(ClientError::Silent)));
    });
}

#[test]
fn a_connection_that_is_held_is_kept_and_not_read() {
    run(async {
        let (mut connection, mut theirs) = clean().await;
        theirs.write_all(b"\x30\x04\0\x01tx").await.unwrap();
        for _ in 0..3 {
            let mut ping = [0; 2];
            tokio::select! {
                biased;
                error = connection.hold() => panic!("{error}"),
                read = theirs.read_exact(&mut ping) => { read.unwrap(); }
            }
            assert_eq!(ping, [0xc0, 0]);
        }
        assert!(matches!(connection.event().await.unwrap(), Event::Message(_)));
        // The answers may be on their way.
        let (event, _) = tokio::join!(connection.event(), async {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            theirs.write_all(&[0xd0, 0, 0xd0, 0, 0xd0, 0, 0x30, 4, 0, 1, b't', b'y']).await.unwrap();
        });
        assert!(matches!(event.unwrap(), Event::Message(_)));
        expect(&mut connection, &mut theirs, &[0xc0, 0]).await;
        assert!(matches!(connection.event().await, Err(ClientError::Silent)));
    });
}

#[test]
fn packets_may_come_byte_by_byte_and_several_at_once() {
    run(async {
        let (mut connection, mut theirs) = clean().await;
        let publish = b"\x30\x04\0\x01tx";
        for byte in publish {
            theirs.write_all(&[*byte]).await.unwrap();
            tokio::select! {
                biased;
                event = connection.event() => assert!(matches!(event.unwrap(), Event::Message(_))),
                () = std::future::ready(()) => {}
            }
        }
        theirs.write_all(&publish.repeat(3)).await.unwrap();
        for _ in 0..3 {
            assert!(matches!(connection.event().await.unwrap(), Event::Message(_)));
        }
    });
}

#[test]
fn a_server_that_does_not_read_is_not_read() {
    run(async {
        // The pipe holds little, so acknowledgements pile up on our side.
        let (ours, mut theirs) = duplex(4 << 10);
        theirs.write_all(&[0x20, 2, 0, 0]).await.unwrap();
        let opened =
            Connection::resume_over(Box::new(ours), &Options::default(), &mut Session::default()).await;
        let mut connection = opened.unwrap();
        let publish = b"\x32\x06\0\x01t\0\x01x";
        let mut sent = 0_usize;
        // The clock is virtual and moves only when nothing else can: this second is "both sides are stuck".
        loop {
            tokio::select! {
                biased;
                written = theirs.write_all(publish) => { written.unwrap(); sent += 1; }
                event = connection.event() => { event.unwrap(); }
                () = tokio::time::sleep(std::time::Duration::from_secs(1)) => break,
            }
        }
        // 4 bytes for each acknowledgement: a mebibyte, and what the pipes and one read hold.
        assert!((262_144..300_000).contains(&sent), "{sent}");
    });
}

#[test]
fn a_password_is_never_shown() {
    let options = Options { password: Some(Secret::new("hunter2")), ..Options::default() };
    assert!(!format!("{options:?}").contains("hunter2"));
    assert_eq!(options.version, ProtocolVersion::V311);
}

pub(super) fn manual() -> Options {
    Options { is_manual_ack: true, ..persistent() }
}

#[test]
fn acknowledgements_of_the_owner_leave_in_the_order_of_the_messages() {
    run(async {
        let (mut connection, mut theirs) = connected(&manual(), Session::default(), &[0x20, 2, 1, 0]).await;
        theirs
            .write_all(b"\x32\x06\0\x01t\0\x05x\x34\x06\0\x01t\0\x06x\x32\x06\0\x01t\0\x07x")
            .await
            .unwrap();
        let mut packet_ids = Vec::new();
        while packet_ids.len() < 3 {
            let Event::Message(message) = connection.event().await.unwrap() else { panic!() };
            packet_ids.push(message.packet_id.unwrap());
        }
        for packet_id in [packet_ids[2], packet_ids[1], packet_ids[1]] {
            connection.acknowledge(packet_id).unwrap();
            assert!(connection.is_idle(), "nothing leaves before the first one");
        }
        connection.acknowledge(packet_ids[0]).unwrap();
        expect(&mut connection, &mut theirs, &[0x40, 2, 0, 5, 0x50, 2, 0, 6, 0x40, 2, 0, 7]).await;
        theirs.write_all(&[0x62, 2, 0, 6]).await.unwrap();
        expect(&mut connection, &mut theirs, &[0x70, 2, 0, 6]).await;
    });
}

#[test]
fn what_the_owner_did_not_acknowledge_comes_again_and_what_it_did_does_not() {
    run(async {
        let (mut connection, mut theirs) = connected(&manual(), Session::default(), &[0x20, 2, 1, 0]).await;
        theirs.write_all(b"\x34\x06\0\x01t\0\x05x\x34\x06\0\x01t\0\x06x").await.unwrap();
        let Event::Message(first) = connection.event().await.unwrap() else { panic!() };
        let Event::Message(second) = connection.event().await.unwrap() else { panic!() };
        // Its PUBREC waits for the first one and never leaves.
        connection.acknowledge(second.packet_id.unwrap()).unwrap();

        let session = connection.into_session();
        let (mut connection, mut theirs) = connected(&manual(), session, &[0x20, 2, 1, 0]).await;
        theirs.write_all(b"\x3c\x06\0\x01t\0\x05x\x3c\x06\0\x01t\0\x06x").await.unwrap();
        let Event::Message(again) = connection.event().await.unwrap() else { panic!() };
        assert_eq!((again.packet_id, again.is_duplicate), (first.packet_id, true));
        connection.acknowledge(again.packet_id.unwrap()).unwrap();
        expect(&mut connection, &mut theirs, &[0x50, 2, 0, 5, 0x50, 2, 0, 6]).await;
    });
}
