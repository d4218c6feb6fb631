//! Bridges of mosquitto's file.

use std::path::Path;
use std::time::Duration;

use culex_codec::QoS;
use culex_core::client::Secret;
use culex_core::limits::Limit;

use super::{check, config, notes};
use crate::config::{Bridge, BridgeProtocol, Mapping};

const CLOUD: &str = "connection cloud\naddress example.org:8883\ntopic # out 1\n";

fn bridge(text: &str) -> Bridge {
    let mut bridges = config(text).bridges;
    assert_eq!(bridges.len(), 1, "{text}");
    bridges.remove(0)
}

fn mapping(filter: &str, qos: QoS, local: Option<&str>, remote: Option<&str>) -> Mapping {
    Mapping {
        filter: filter.to_owned(),
        qos,
        local_prefix: local.map(str::to_owned),
        remote_prefix: remote.map(str::to_owned),
        ..Mapping::default()
    }
}

#[test]
fn everything_of_a_bridge_has_its_place() {
    let text = "connection cloud\naddress example.org:8883 [::1]:1 192.0.2.1\naddresses fallback.example\n\
                topic a/+ out 2 local/ remote/\ntopic b in 0\ntopic c both 1 \"\" there/ # said\n\
                topic \"\" out 1 one/here one/there\ntopic d\nremote_clientid me\nremote_username ana\nremote_password a b\n\
                cleansession true\nkeepalive_interval 5\nrestart_timeout 5 120\ntry_private false\nnotifications true\n\
                notifications_local_only true\nnotification_topic up\nbridge_protocol_version mqttv50\n\
                bridge_outgoing_retain false\nbridge_capath /ca\nbridge_certfile a b.crt\nbridge_keyfile k\nbridge_insecure \
                true\nbridge_alpn mqtt\nbridge_tls_version tlsv1.3\nbridge_attempt_unsubscribe false\nstart_type automatic\n\
                round_robin false\n";
    assert_eq!(notes(text), [""; 0]);
    let found = bridge(text);
    let addresses: Vec<_> = found.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["example.org:8883", "[::1]:1", "192.0.2.1:1883", "fallback.example:1883"]);
    let once = |mapping: Mapping| Mapping { retain: Some(false), ..mapping };
    assert_eq!(
        found.outgoing,
        [
            once(mapping("a/+", QoS::ExactlyOnce, Some("local/"), Some("remote/"))),
            once(mapping("c", QoS::AtLeastOnce, None, Some("there/"))),
            once(mapping("", QoS::AtLeastOnce, Some("one/here"), Some("one/there"))),
            once(mapping("d", QoS::AtMostOnce, None, None)),
        ]
    );
    assert_eq!(
        found.incoming,
        [mapping("b", QoS::AtMostOnce, None, None), mapping("c", QoS::AtLeastOnce, None, Some("there/"))]
    );
    assert_eq!((found.client_id.as_deref(), found.user.as_deref()), (Some("me"), Some("ana")));
    assert_eq!(found.password, Some(Secret::new("a b")));
    assert_eq!((found.clean_start, found.keep_alive), (Some(true), Duration::from_secs(5)));
    assert_eq!((found.reconnect_min.as_secs(), found.reconnect_max.as_secs()), (5, 120));
    assert_eq!((found.try_private, found.protocol), (Some(false), BridgeProtocol::V5));
    assert_eq!((found.notifications, found.notifications_local_only), (Some(true), Some(true)));
    assert_eq!(found.state_topic(), "up");
    let tls = found.tls.unwrap();
    assert_eq!(tls.ca_file.as_deref(), Some(Path::new("/ca")));
    assert_eq!(tls.certificate.as_deref(), Some(Path::new("a b.crt")));
    assert_eq!((tls.insecure, &tls.alpn[..]), (Some(true), &["mqtt".to_owned()][..]));
}

#[test]
fn what_is_not_said_is_as_in_mosquitto() {
    let found = bridge(CLOUD);
    assert_eq!((found.tls.is_some(), found.try_private), (false, Some(true)), "the bridge bit is tried");
    assert_eq!((found.clean_start, found.protocol), (None, BridgeProtocol::V311));
    assert!(found.notifies_remote());
    assert_eq!(found.client_id_of(0, "host"), "host.cloud");
    assert_eq!(bridge(&format!("{CLOUD}bridge_protocol_version mqttv50\n")).try_private, None);
    let found = bridge(&format!("{CLOUD}restart_timeout 30\nusername a\npassword b\nclientid c\n"));
    assert_eq!(found.reconnect_min, found.reconnect_max);
    assert_eq!((found.user.as_deref(), found.client_id.as_deref()), (Some("a"), Some("c")));
}

#[test]
fn an_option_belongs_to_the_connection_before_it() {
    let text = format!(
        "{CLOUD}clientid one\nlistener 1 127.0.0.1\nallow_anonymous true\nconnection other\naddress b\ntopic x in\nclientid two\n"
    );
    let bridges = config(&text).bridges;
    assert_eq!(bridges[0].client_id.as_deref(), Some("one"));
    assert_eq!((bridges[1].name.as_str(), bridges[1].client_id.as_deref()), ("other", Some("two")));
    check(
        "topic # both\nlog_type all\n",
        &[
            "m.conf:1:1: `topic` belongs to a bridge, and there is no `connection` before it | put it below its `connection NAME`",
        ],
    );
    check(
        &format!("{CLOUD}clientid a\nclientid b\n"),
        &["m.conf:5:1: `clientid` is said twice | mosquitto takes it once; remove one of the lines"],
    );
}

#[test]
fn queues_of_bridges() {
    let text = format!("queue_qos0_messages true\nmax_queued_messages 100000\n{CLOUD}");
    let found = bridge(&text);
    assert_eq!(found.queue.qos0, Some(true));
    assert_eq!(Some(found.queue.max_messages), Limit::at_most(100_000));
    assert_eq!(
        notes(&text),
        [
            "m.conf:1:1: `queue_qos0_messages true` is for bridges alone: QoS 0 does not wait for a client that is away",
        ]
    );
    check(
        "queue_qos0_messages true\n",
        &[
            "m.conf:1:1: `queue_qos0_messages true` is not supported: QoS 0 does not wait for a client that is away | remove it, and \
         publish with QoS 1 what must not be lost",
        ],
    );
    assert_eq!(config("queue_qos0_messages false\n").bridges, []);
}

#[test]
fn mistakes_are_named_with_their_lines() {
    let with = |line: &str| format!("{CLOUD}{line}\n");
    for (text, expected) in [
        (
            with("start_type lazy"),
            "m.conf:4:1: `start_type lazy` is not supported: a bridge connects when the broker starts | write \
                                   `start_type automatic`",
        ),
        (
            with("topic a sideways"),
            "m.conf:4:1: topic: expected `out`, `in` or `both`, found `sideways` | `topic FILTER out 1 \
                                    LOCAL-PREFIX REMOTE-PREFIX`",
        ),
        (with("topic a out 3"), "m.conf:4:1: topic: expected QoS 0, 1 or 2, found `3`"),
        (
            with("topic \"\" out 1 a"),
            "m.conf:4:1: topic: without a filter both prefixes are needed | `topic \"\" out 1 LOCAL-TOPIC \
                                      REMOTE-TOPIC` is one topic with another name there",
        ),
        (
            with("topic a/#/b out"),
            "m.conf:4:1: \"a/#/b\" here is no topic filter: '#' at byte 2 of a topic filter is not the whole last level",
        ),
        (with("topic a in 0 x+ "), "m.conf:4:1: \"x+\" cannot stand before a topic: it has a wildcard"),
        (
            with("address a:0"),
            "m.conf:4:1: `a:0` is not the name of a computer with a port | for example `address \
                               mqtt.example.org:8883`",
        ),
        (
            with("restart_timeout soon"),
            "m.conf:4:1: restart_timeout: `soon` is no time | write one or two whole numbers of \
                                        seconds: `restart_timeout 5 120`",
        ),
        (
            with("bridge_protocol_version mqttv31"),
            "m.conf:4:1: bridge_protocol_version: `mqttv31` is not spoken | `mqttv311` and \
                                                   `mqttv50` are",
        ),
        (
            with("bridge_tls_version tlsv1.1"),
            "m.conf:4:1: bridge_tls_version: expected `tlsv1.2` or `tlsv1.3`, found `tlsv1.1` | \
                                              older versions are broken, and not spoken",
        ),
        (
            with("bridge_certfile c"),
            "m.conf:4:1: `bridge_certfile` needs its key | add `bridge_keyfile FILE`",
        ),
        (
            with("bridge_alpn x"),
            "m.conf:4:1: TLS of a bridge needs the CA of the other broker | add `bridge_cafile FILE`, or \
                                 `bridge_tls_use_os_certs true` for the public ones",
        ),
        (
            with("bridge_psk x"),
            "m.conf:4:1: `bridge_psk` is not supported: keys that are shared in advance are not spoken | give the \
                                bridge a certificate (`bridge_certfile`, `bridge_keyfile`), or a password",
        ),
        (with("bridge_cafil c"), "m.conf:4:1: unknown option `bridge_cafil` | did you mean `bridge_cafile`?"),
        (with("remote_password p"), "m.conf:4:1: a password needs a `user` | add `user = \"NAME\"`"),
        (
            "connection a\ntopic b\n".to_owned(),
            "m.conf:1:1: this bridge has no `address` | add `address HOST:PORT` below its \
                                                `connection`",
        ),
        (
            "connection a\naddress b\n".to_owned(),
            "m.conf:1:1: this bridge has no `topic`, so nothing would go over it | add `topic \
                                                  FILTER out 1` below its `connection`, or `in`, or `both`",
        ),
        (format!("{CLOUD}{CLOUD}"), "m.conf:4:1: an earlier bridge has the name \"cloud\" already"),
    ] {
        check(&text, &[expected]);
    }
}

/// What the tutorial of AWS has people write: it works as it is.
const TUTORIAL: &str = "\
connection awsiot
address a1b2c3d4e5f6g7-ats.iot.eu-central-1.amazonaws.com:8883
topic awsiot_to_localgateway in 1
topic localgateway_to_awsiot out 1
topic both_directions both 1
bridge_protocol_version mqttv311
bridge_insecure false
cleansession true
clientid bridgeawsiot
start_type automatic
notifications false
log_type all
bridge_cafile /etc/mosquitto/certs/rootCA.pem
bridge_certfile /etc/mosquitto/certs/cert.crt
bridge_keyfile /etc/mosquitto/certs/private.key
";

#[test]
fn the_file_of_the_tutorial_works_as_it_is() {
    assert_eq!(notes(TUTORIAL), [""; 0]);
    let found = bridge(TUTORIAL);
    assert!(found.is_aws_iot());
    assert_eq!((found.try_private, found.notifications), (None, Some(false)));
    assert_eq!((found.outgoing.len(), found.incoming.len()), (2, 2));
    assert_eq!(found.client_id.as_deref(), Some("bridgeawsiot"));
    let tls = found.tls.unwrap();
    assert_eq!(tls.ca_file.as_deref(), Some(Path::new("/etc/mosquitto/certs/rootCA.pem")));
    assert!(tls.certificate.is_some() && tls.key.is_some());
}

#[test]
fn what_aws_would_not_accept_is_one_line_each() {
    let text = TUTORIAL
        .replace("notifications false", "notifications true")
        .replace("bridge_insecure false", "bridge_insecure true")
        .replace("both_directions both 1", "both_directions both 2")
        + "try_private true\nkeepalive_interval 10\nbridge_outgoing_retain true\nbridge_max_packet_size 1000\n";
    assert_eq!(
        notes(&text),
        [
            "m.conf:16:1: `try_private true` is not done: AWS IoT does not take connections of bridges (level 0x84)",
            "m.conf:11:1: the state of this bridge is published here alone: AWS reserves topics that begin with `$`",
            "m.conf:17:1: `keepalive_interval 10` is 30 here: AWS IoT wants 30 to 1200 seconds",
            "m.conf:7:1: `bridge_insecure true` is ignored: the certificate of AWS IoT has the name of its endpoint",
            "m.conf:18:1: `bridge_outgoing_retain true` needs a policy with `iot:RetainPublish`; without it AWS IoT closes the connection",
            "m.conf:5:1: QoS 2 of this topic is QoS 1 here: AWS IoT has no QoS 2",
            "m.conf:19:1: `bridge_max_packet_size` is ignored: messages go out whatever their size",
        ]
    );
    let found = bridge(&text);
    assert!(!found.notifies_remote());
    assert_eq!((found.keep_alive.as_secs(), found.outgoing[1].qos), (30, QoS::AtLeastOnce));
    check(
        &TUTORIAL.replace("clientid bridgeawsiot\n", ""),
        &[
            "m.conf:1:1: AWS IoT knows a bridge by its client id, and this one has none | add `remote_clientid ID` with the one that \
         its policy allows (`client/…`); two bridges with the same one throw each other out again and again",
        ],
    );
    check(
        &TUTORIAL.replace(":8883", ""),
        &[
            "m.conf:2:1: a1b2c3d4e5f6g7-ats.iot.eu-central-1.amazonaws.com:1883: AWS IoT speaks TLS alone, not on port 1883 | take port \
         8883, or 443 through a strict firewall",
        ],
    );
}

/// A file that was written with care, and is longer.
#[test]
fn a_careful_file_works_too() {
    let text = "persistence true\npersistence_location /var/lib/mosquitto/\nqueue_qos0_messages true\nmax_queued_messages 100000\n\
                max_inflight_messages 20\nconnection awsiot\naddress a-ats.iot.eu-west-1.amazonaws.com:8883\n\
                remote_clientid site1\ntopic # out 1 site1/dt/ dt/site1/\ntopic # in  1 site1/cmd/ cmd/site1/\n\
                bridge_protocol_version mqttv311\ncleansession false\nstart_type automatic\nkeepalive_interval 60\n\
                restart_timeout 5 120\ntry_private false\nnotifications true\nnotifications_local_only true\n\
                bridge_attempt_unsubscribe false\nbridge_outgoing_retain false\nbridge_max_packet_size 131072\n\
                bridge_cafile   /etc/mosquitto/certs/AmazonRootCA1.pem\nbridge_certfile /etc/mosquitto/certs/site1.cert.pem\n\
                bridge_keyfile  /etc/mosquitto/certs/site1.private.key\nbridge_insecure false\nbridge_tls_version tlsv1.2\n";
    let notes = notes(text);
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].starts_with("m.conf:3:1: `queue_qos0_messages true` is for bridges alone"), "{notes:?}");
    assert!(notes[1].contains("mosquitto.db"), "{notes:?}");
    let found = bridge(text);
    assert_eq!(found.outgoing[0].remote_filter(), "dt/site1/#");
    assert_eq!(found.incoming[0].local_filter(), "site1/cmd/#");
}
