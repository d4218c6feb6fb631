//! Programs such as people write in their first week with MQTT: `programs/*.py`.

use std::process::Command;

use culex_tests::tools::workspace;

use crate::actor::Actor;
use crate::kind::Kind;
use crate::setup::{Connect, Subscribe, UnderTest, Until};

fn program(paho: Kind, broker: &UnderTest, file: &str, arguments: &[&str]) -> Actor {
    let mut command = Command::new(paho.python());
    command.arg(workspace().join("tests/interop/programs").join(file));
    command.args([&broker.addr.ip().to_string(), &broker.addr.port().to_string()]).args(arguments);
    Actor::spawn(format!("{paho:?} {file} {}", arguments.join(" ")), &mut command)
}

#[test]
fn a_lamp_follows_a_switch_without_a_client_id() {
    if !Kind::Paho1.is_installed() {
        return;
    }
    let broker = UnderTest::start();
    let mut lamps: Vec<_> =
        (0..2).map(|_| program(Kind::Paho1, &broker, "lamp.py", &["casa.sala.lampada", "20"])).collect();
    // A dot is a character as any other: no level ends there, and these topics are not that topic.
    let mut other = program(Kind::Paho1, &broker, "lamp.py", &["casa/sala/lampada", "1"]);
    for lamp in lamps.iter_mut().chain([&mut other]) {
        lamp.subscribed();
    }
    program(Kind::Paho1, &broker, "switch.py", &["casa.sala.lampada", "20"]).finish();
    let expected: Vec<String> =
        ["on", "off"].iter().cycle().take(20).map(|&state| state.to_owned()).collect();
    for lamp in lamps {
        assert_eq!(lamp.finish().said, expected);
    }
    program(Kind::Paho1, &broker, "switch.py", &["casa/sala/lampada", "1"]).finish();
    assert_eq!(other.finish().said, ["on"]);
}

#[test]
fn every_subscriber_gets_every_json_document_once_and_intact() {
    let pahos = Kind::installed(&[Kind::Paho1, Kind::Paho2]);
    let Some(&first) = pahos.first() else { return };
    let broker = UnderTest::start();
    let topic = "escola/presença";
    let count = "60";
    let mut lists: Vec<_> = pahos
        .iter()
        .cycle()
        .take(4)
        .map(|&paho| program(paho, &broker, "attendance_list.py", &[topic, count]))
        .collect();
    let mut others: Vec<_> = Kind::installed(&[Kind::Mosquitto, Kind::MqttJs, Kind::Rumqttc])
        .into_iter()
        .map(|kind| {
            let what = Subscribe { filter: topic, qos: 2, until: Until::Messages(60) };
            (kind, kind.subscribe(broker.addr, &Connect::new(&format!("list{kind:?}")), &what))
        })
        .collect();
    for list in &mut lists {
        list.subscribed();
    }
    for (_, other) in &mut others {
        other.subscribed();
    }
    let sent = program(first, &broker, "attendance.py", &[topic, count]).finish().said;
    assert_eq!(sent.len(), 60);
    assert!(sent[0].starts_with("{\"matrícula\": \"2026-0000\", \"nome\": \"Conceição\""), "{}", sent[0]);
    for list in lists {
        assert_eq!(list.finish().said, sent);
    }
    for (kind, other) in others {
        let got: Vec<_> = other.finish().messages.into_iter().map(|message| message.payload).collect();
        assert_eq!(got, sent, "{kind:?}");
    }
}
