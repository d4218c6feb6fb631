//! Section 2 of the duties: CONNECT, and how connections end.

use std::time::Duration;

use culex::aws_emulator::{DisconnectReason, Emulator, Limits, PeerIdentity, Policy, Scenario};
use culex_codec::{Auth, Packet, Properties, Property, PropertyContext, QoS, ReasonCode, TopicName, Will};
use tokio::time::{Instant, sleep};

use super::peer::{Got, Peer, V3, V5, broke, connect, properties, publish};

fn policy(statements: &str) -> Policy {
    Policy::from_json(&format!("{{\"Statement\": [{statements}]}}")).unwrap()
}

const MAY_CONNECT: &str =
    r#"{"Effect": "Allow", "Action": "iot:Connect", "Resource": "arn:aws:iot:r:1:client/a"}"#;

/// What becomes of a CONNECT of each version.
async fn check(emulator: &Emulator, id: &str, expected_v5: Got, violation: &str) {
    assert_eq!(Peer::answer(emulator, &connect(V3, id)).await, Got::Closed, "3.1.1");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(Peer::answer(emulator, &connect(V5, id)).await, expected_v5, "5.0");
    broke(emulator, &[violation]);
}

const fn refused(code: u8) -> Got {
    Got::ConnAck { present: false, code }
}

#[tokio::test(start_paused = true)]
async fn aic_con_01_levels_but_4_and_5_are_closed_without_a_word() {
    for level in [3_u8, 0x83, 0x84, 6] {
        let emulator = Emulator::builder().build();
        let mut bytes =
            if level & 0x7f == 3 { b"\x10\x0f\0\x06MQIsdp".to_vec() } else { b"\x10\x0d\0\x04MQTT".to_vec() };
        bytes.extend([level, 2, 0, 60, 0, 1, b'a']);
        let mut peer = Peer::open(&emulator, V3);
        peer.raw(&bytes).await;
        assert_eq!(peer.next().await, Got::Closed, "{level}");
        broke(&emulator, &["AIC-CON-01"]);
    }
    let scenario = Scenario { refuse_bridge_level: true, ..Scenario::default() };
    let emulator = Emulator::builder().scenario(scenario).build();
    let mut peer = Peer::open(&emulator, V3);
    let mut bytes = Vec::new();
    Packet::Connect(connect(V3, "a")).encode(V3, &mut bytes).unwrap();
    bytes[8] = 0x84; // The level, behind the name.
    peer.raw(&bytes).await;
    assert_eq!(peer.next().await, refused(ReasonCode::UnsupportedProtocolVersion.as_u8()));
}

#[tokio::test(start_paused = true)]
async fn aic_con_02_what_comes_before_connack_closes() {
    for is_together in [true, false] {
        let emulator = Emulator::builder().build();
        let mut peer = Peer::open(&emulator, V3);
        let mut bytes = Vec::new();
        Packet::Connect(connect(V3, "a")).encode(V3, &mut bytes).unwrap();
        let early = Packet::Publish(publish("t", 1, b"early"));
        if is_together {
            early.encode(V3, &mut bytes).unwrap();
            peer.raw(&bytes).await;
        } else {
            peer.raw(&bytes).await;
            sleep(Duration::from_millis(49)).await;
            peer.send(early).await;
        }
        assert_eq!(peer.next().await, Got::Closed);
        broke(&emulator, &["AIC-CON-02"]);
    }
    let emulator = Emulator::builder().build();
    let started = Instant::now();
    Peer::connected(&emulator, V3, "a").await;
    assert_eq!(started.elapsed(), Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn aic_con_03_a_client_id_has_128_bytes_at_most() {
    let emulator = Emulator::builder().build();
    Peer::connected(&emulator, V3, &"a".repeat(128)).await;
    check(&emulator, &"a".repeat(129), refused(0x85), "AIC-CON-03").await;
}

#[tokio::test(start_paused = true)]
async fn aic_con_04_ids_with_a_dollar_are_reserved_and_with_wildcards_have_no_events() {
    let emulator = Emulator::builder().build();
    let mut reader = Peer::connected(&emulator, V3, "reader").await;
    reader.subscribe(&[("$aws/events/presence/#", 0)]).await;
    Peer::connected(&emulator, V3, "a+b").await.disconnect().await;
    Peer::connected(&emulator, V3, "c").await.disconnect().await;
    assert_eq!(reader.message().await.topic, "$aws/events/presence/connected/c");
    check(&Emulator::builder().build(), "$a", refused(0x85), "AIC-CON-04").await;
}

#[tokio::test(start_paused = true)]
async fn aic_con_05_an_empty_client_id_is_assigned_in_5_0_alone() {
    let emulator = Emulator::builder().build();
    let peer = Peer::connected(&emulator, V5, "").await;
    assert!(peer.announced.contains("AssignedClientIdentifier"), "{}", peer.announced);
    broke(&emulator, &[]);
    assert_eq!(Peer::answer(&emulator, &connect(V3, "")).await, Got::Closed);
    broke(&emulator, &["AIC-CON-05"]);
}

#[tokio::test(start_paused = true)]
async fn aic_con_06_one_connect_per_second_and_client_id() {
    let emulator = Emulator::builder().build();
    Peer::connected(&emulator, V5, "a").await.disconnect().await;
    Peer::connected(&emulator, V5, "b").await.disconnect().await;
    assert_eq!(Peer::answer(&emulator, &connect(V5, "a")).await, refused(0x97));
    broke(&emulator, &["AIC-CON-06"]);
    sleep(Duration::from_secs(1)).await;
    Peer::connected(&emulator, V5, "a").await;
}

#[tokio::test(start_paused = true)]
async fn aic_con_07_connects_per_second_of_the_account() {
    let emulator = Emulator::builder().limits(Limits { connects_per_second: 2, ..Limits::default() }).build();
    for id in ["a", "b"] {
        Peer::connected(&emulator, V5, id).await;
    }
    assert_eq!(Peer::answer(&emulator, &connect(V5, "c")).await, refused(0x97));
    broke(&emulator, &["AIC-CON-07"]);
}

#[tokio::test(start_paused = true)]
async fn aic_con_08_the_newer_connection_of_a_client_id_wins() {
    let emulator = Emulator::builder().build();
    for (version, said) in [(V3, None), (V5, Some(Got::Disconnect(0x8e)))] {
        let mut old = Peer::connected(&emulator, version, "a").await;
        sleep(Duration::from_secs(1)).await;
        let mut new = Peer::connected(&emulator, version, "a").await;
        if let Some(said) = said {
            assert_eq!(old.next().await, said);
        }
        assert_eq!(old.next().await, Got::Closed);
        assert_eq!(new.publish("t", 1, "x").await, Got::PubAck(1, 0));
        let reason = emulator.observations().disconnects.iter().last().unwrap().reason;
        assert_eq!(reason, DisconnectReason::DuplicateClientId);
        sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn aic_con_09_what_is_no_packet_or_out_of_place_closes() {
    let second = {
        let mut bytes = Vec::new();
        Packet::Connect(connect(V3, "a")).encode(V3, &mut bytes).unwrap();
        bytes
    };
    for bytes in [&second[..], b"\x00\x00", b"\x80\x00", b"\xd0\x00", b"\x20\x02\0\0", b"\x3e\x00"] {
        let emulator = Emulator::builder().build();
        let mut peer = Peer::connected(&emulator, V3, "a").await;
        peer.raw(bytes).await;
        assert_eq!(peer.next().await, Got::Closed, "{bytes:?}");
        broke(&emulator, &["AIC-CON-09"]);
        assert_eq!(
            emulator.observations().disconnects.iter().last().unwrap().reason,
            DisconnectReason::ClientError
        );
    }
    let emulator = Emulator::builder().build();
    let mut peer = Peer::open(&emulator, V3);
    peer.send(Packet::PingReq).await;
    assert_eq!(peer.next().await, Got::Closed);
    broke(&emulator, &["AIC-CON-09"]);
}

#[tokio::test(start_paused = true)]
async fn aic_con_10_keep_alive_is_clamped_and_enforced() {
    for (asked, effective) in [(0, 1200), (1, 30), (29, 30), (60, 60), (1200, 1200), (u16::MAX, 1200)] {
        let emulator = Emulator::builder().build();
        let mut wanted = connect(V5, "a");
        wanted.keep_alive = asked;
        let (mut peer, _) = Peer::accepted(&emulator, &wanted).await;
        assert!(peer.announced.contains(&format!("ServerKeepAlive({effective})")), "{}", peer.announced);
        let started = Instant::now();
        assert_eq!(peer.next().await, Got::Disconnect(0x8d));
        assert_eq!(started.elapsed(), Duration::from_millis(effective * 1500), "{asked}");
        broke(&emulator, &[]);
    }
}

#[tokio::test(start_paused = true)]
async fn aic_con_11_any_packet_is_a_sign_of_life() {
    let emulator = Emulator::builder().build();
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    for id in 1..=4 {
        sleep(Duration::from_secs(89)).await;
        assert_eq!(peer.publish("t", id, "x").await, Got::PubAck(id, 0));
    }
    sleep(Duration::from_secs(89)).await;
    peer.send(Packet::PingReq).await;
    assert_eq!(peer.next().await, Got::PingResp);
    peer.is_quiet_for(Duration::from_millis(89_900)).await;
    assert_eq!(peer.next().await, Got::Closed);
    assert_eq!(
        emulator.observations().disconnects.iter().last().unwrap().reason,
        DisconnectReason::KeepAliveTimeout
    );
}

#[tokio::test(start_paused = true)]
async fn aic_con_12_an_unauthorised_connect_of_3_1_1_gets_no_connack() {
    let emulator = Emulator::builder().policy(policy(MAY_CONNECT)).build();
    Peer::connected(&emulator, V3, "a").await;
    check(&emulator, "b", refused(0x87), "AIC-CON-12").await;
    sleep(Duration::from_secs(2)).await;
    emulator.change(|scenario| scenario.connack_on_refusal = true);
    assert_eq!(Peer::answer(&emulator, &connect(V3, "b")).await, refused(0x87));
}

#[tokio::test(start_paused = true)]
async fn aic_con_14_a_will_has_qos_1_at_most() {
    for version in [V3, V5] {
        let emulator = Emulator::builder().build();
        let mut wanted = connect(version, "a");
        wanted.will = Some(will("t", QoS::ExactlyOnce));
        let expected = if version == V5 { refused(0x9b) } else { Got::Closed };
        assert_eq!(Peer::answer(&emulator, &wanted).await, expected);
        broke(&emulator, &["AIC-CON-14"]);
    }
}

pub(crate) fn will(topic: &str, qos: QoS) -> Will<'_> {
    let topic = TopicName::new(topic).unwrap();
    Will { topic, payload: b"gone", qos, retain: false, properties: Properties::EMPTY }
}

#[tokio::test(start_paused = true)]
async fn aic_con_15_persistent_sessions_are_authorised_separately() {
    let condition = r#"{"Effect": "Allow", "Action": "iot:Connect", "Resource": "*",
        "Condition": {"ForAllValues:StringEquals": {"iot:ConnectAttributes": ["LastWill"]}}},
        {"Effect": "Allow", "Action": "iot:Publish", "Resource": "*"}"#;
    let emulator = Emulator::builder().policy(policy(condition)).build();
    let mut wanted = connect(V3, "a");
    wanted.will = Some(will("t", QoS::AtLeastOnce));
    Peer::accepted(&emulator, &wanted).await;
    sleep(Duration::from_secs(2)).await;
    wanted.clean_start = false;
    assert_eq!(Peer::answer(&emulator, &wanted).await, Got::Closed);
    broke(&emulator, &["AIC-CON-15"]);
}

#[tokio::test(start_paused = true)]
async fn aic_con_16_the_service_closes_connections_by_itself() {
    let emulator = Emulator::builder().build();
    let mut v3 = Peer::connected(&emulator, V3, "a").await;
    let mut v5 = Peer::connected(&emulator, V5, "b").await;
    emulator.disconnect_all();
    assert_eq!(v3.next().await, Got::Closed);
    assert_eq!(v5.next().await, Got::Disconnect(0x98));
    assert_eq!(v5.next().await, Got::Closed);
    broke(&emulator, &[]);
}

#[tokio::test(start_paused = true)]
async fn aic_con_18_there_is_no_enhanced_authentication() {
    let emulator = Emulator::builder().build();
    let mut peer = Peer::connected(&emulator, V5, "a").await;
    let method = properties(&[Property::AuthenticationMethod("x")], PropertyContext::Auth);
    let properties = Properties::from_trusted_bytes(&method);
    peer.send(Auth { reason_code: ReasonCode::ReAuthenticate, properties }).await;
    assert_eq!(peer.next().await, Got::Disconnect(0x82));
    assert_eq!(peer.next().await, Got::Closed);
    broke(&emulator, &["AIC-CON-18"]);
}

#[tokio::test(start_paused = true)]
async fn aic_net_04_a_custom_authoriser_wants_user_name_and_password() {
    let emulator = Emulator::builder().build();
    for (password, expected) in [(None, refused(0x86)), (Some(&b"secret"[..]), refused(0))] {
        let mut wanted = connect(V5, "a");
        (wanted.user_name, wanted.password) = (Some("user?x-amz-customauthorizer-name=mine"), password);
        let mut peer = Peer::open_as(&emulator, V5, PeerIdentity::CustomAuthorizer);
        peer.send(wanted).await;
        assert_eq!(peer.next().await, expected);
        sleep(Duration::from_secs(2)).await;
    }
    broke(&emulator, &["AIC-NET-04"]);
}

#[tokio::test(start_paused = true)]
async fn aic_tls_07_a_certificate_is_registered_and_active() {
    use culex::aws_emulator::{Fingerprint, Registration, Status};
    let mut off = Registration::active(Policy::allow_all());
    off.status = Status::Revoked;
    let revoked = Fingerprint::named("revoked");
    let emulator = Emulator::builder().register(revoked.clone(), off).build();
    for fingerprint in [Fingerprint::named("unknown"), revoked] {
        let mut peer = Peer::open_as(&emulator, V5, PeerIdentity::Certificate(fingerprint));
        peer.send(connect(V5, "a")).await;
        assert_eq!(peer.next().await, refused(0x87));
        sleep(Duration::from_secs(2)).await;
    }
    broke(&emulator, &["AIC-TLS-07"]);
}
