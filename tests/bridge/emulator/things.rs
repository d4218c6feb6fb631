//! Shadows and jobs of things, below `$aws/things/`.

use std::time::Duration;

use culex::aws_emulator::{Emulator, Limits, Policy};
use serde_json::{Value, json};

use super::peer::{Got, Peer, V3, V5, broke, publish};

const SHADOW: &str = "$aws/things/pump/shadow";

/// A client that has subscribed to all answers of a shadow, and asks.
struct Asker {
    peer: Peer,
    stem: String,
    next: u16,
}

impl Asker {
    async fn of(emulator: &Emulator, stem: &str) -> Self {
        let mut peer = Peer::connected(emulator, V3, "a").await;
        assert_eq!(peer.subscribe(&[(&format!("{stem}/#"), 1)]).await, Got::SubAck(vec![1]));
        Self { peer, stem: stem.to_owned(), next: 0 }
    }

    /// Publishes a request, and gives so many answers, with the end of their topic, without their time.
    async fn ask(&mut self, what: &str, request: &str, answers: usize) -> Vec<(String, Value)> {
        self.next += 1;
        let topic = format!("{}/{what}", self.stem);
        self.peer.send(publish(&topic, self.next, request.as_bytes())).await;
        let mut got = Vec::new();
        while got.len() < answers + 1 {
            match self.peer.next().await {
                Got::PubAck(id, 0) => {
                    assert_eq!(id, self.next);
                    got.push((String::new(), Value::Null));
                }
                Got::Message(message) => {
                    self.peer.ack(message.id.unwrap()).await;
                    let mut body: Value = serde_json::from_slice(&message.payload).unwrap();
                    let time = body.as_object_mut().unwrap().remove("timestamp");
                    assert!(time.unwrap().as_u64().unwrap() >= 1_700_000_000);
                    got.push((message.topic.strip_prefix(&self.stem).unwrap().to_owned(), body));
                }
                other => panic!("{other:?}"),
            }
        }
        got.retain(|(topic, _)| !topic.is_empty());
        got
    }

    async fn one(&mut self, what: &str, request: &str) -> (String, Value) {
        self.ask(what, request, 1).await.remove(0)
    }
}

fn strip_metadata(mut body: Value) -> Value {
    let object = body.as_object_mut().unwrap();
    object.remove("metadata");
    for view in ["previous", "current"] {
        if let Some(view) = object.get_mut(view) {
            view.as_object_mut().unwrap().remove("metadata");
        }
    }
    body
}

#[tokio::test(start_paused = true)]
async fn aic_top_03_a_shadow_is_updated_read_and_deleted() {
    for stem in [SHADOW, "$aws/things/pump/shadow/name/site"] {
        let emulator = Emulator::builder().build();
        let mut asker = Asker::of(&emulator, stem).await;
        let (topic, body) = asker.one("get", "").await;
        assert_eq!((topic.as_str(), &body["code"]), ("/get/rejected", &json!(404)));

        let request =
            json!({"state": {"desired": {"on": true}, "reported": {"on": false}}, "clientToken": "t"});
        let answers = asker.ask("update", &request.to_string(), 3).await;
        let answers: Vec<_> =
            answers.into_iter().map(|(topic, body)| (topic, strip_metadata(body))).collect();
        let state = json!({"desired": {"on": true}, "reported": {"on": false}});
        let expected = [
            ("/update/accepted", json!({"state": state, "version": 1, "clientToken": "t"})),
            (
                "/update/documents",
                json!({
                    "previous": {"state": {}, "version": 0},
                    "current": {"state": state, "version": 1},
                    "clientToken": "t",
                }),
            ),
            ("/update/delta", json!({"state": {"on": true}, "version": 1, "clientToken": "t"})),
        ];
        assert_eq!(answers, expected.map(|(topic, body)| (topic.to_owned(), body)));

        // Once it is as it shall be, there is no delta.
        let answers = asker.ask("update", r#"{"state": {"reported": {"on": true}}, "version": 1}"#, 2).await;
        assert_eq!(answers[1].0, "/update/documents");
        let (topic, body) = asker.one("get", "{}").await;
        let state = json!({"desired": {"on": true}, "reported": {"on": true}});
        assert_eq!((topic.as_str(), &body["state"], &body["version"]), ("/get/accepted", &state, &json!(2)));
        assert!(body["metadata"]["reported"]["on"]["timestamp"].is_u64());

        assert_eq!(asker.one("delete", "").await, ("/delete/accepted".to_owned(), json!({"version": 2})));
        assert_eq!(asker.one("delete", "").await.1["code"], 404);
        broke(&emulator, &[]);
    }
}

#[tokio::test(start_paused = true)]
async fn aic_top_04_what_a_shadow_does_not_take_is_rejected_with_its_code() {
    let emulator = Emulator::builder().limits(Limits { shadows: 1, ..Limits::default() }).build();
    let mut asker = Asker::of(&emulator, SHADOW).await;
    asker.ask("update", r#"{"state": {"reported": {"a": 1}}}"#, 2).await;
    let large = json!({"state": {"reported": {"b": "x".repeat(8200)}}}).to_string();
    // Each is small enough, and both together are not.
    let half = |name: &str| json!({"state": {"reported": {name: "x".repeat(4100)}}}).to_string();
    let deep = (0..9).fold("1".to_owned(), |inner, _| format!("{{\"a\": {inner}}}"));
    asker.ask("update", &half("c"), 2).await;
    for (request, code) in [
        ("{", 400),
        ("{}", 400),
        (&format!("{{\"state\": {{\"desired\": {deep}}}}}"), 400),
        (r#"{"state": {}, "clientToken": 7}"#, 400),
        (r#"{"state": {"reported": {"a": 2}}, "version": 1}"#, 409),
        (&large, 413),
        (&half("d"), 413),
    ] {
        let (topic, body) = asker.one("update", request).await;
        assert_eq!((topic.as_str(), &body["code"]), ("/update/rejected", &json!(code)), "{request}");
        assert!(body["message"].is_string());
    }
    assert_eq!(asker.one("get", "").await.1["version"], 2);
    broke(&emulator, &[]);

    let name = "n".repeat(65);
    let emulator = Emulator::builder().build();
    let mut asker = Asker::of(&emulator, &format!("{SHADOW}/name/{name}")).await;
    assert_eq!(asker.one("get", "").await.1["code"], 400);
}

#[tokio::test(start_paused = true)]
async fn aic_top_04_there_is_room_for_so_many_shadows() {
    let emulator = Emulator::builder().limits(Limits { shadows: 1, ..Limits::default() }).build();
    let mut asker = Asker::of(&emulator, SHADOW).await;
    asker.ask("update", r#"{"state": {}}"#, 2).await;
    asker.stem = format!("{SHADOW}/name/other");
    assert_eq!(asker.one("update", r#"{"state": {}}"#).await.1["code"], 429);
}

#[tokio::test(start_paused = true)]
async fn aic_top_04_an_update_counts_as_four_publishes_of_the_account() {
    let limits = Limits { account_publishes_per_second: 5, ..Limits::default() };
    let emulator = Emulator::builder().limits(limits).build();
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    let update = format!("{SHADOW}/update");
    for (topic, id) in [(update.as_str(), 1), ("t", 2)] {
        assert_eq!(peer.publish(topic, id, "{}").await, Got::PubAck(id, 0));
    }
    peer.send(publish("t", 3, b"x")).await;
    peer.is_quiet_for(Duration::from_secs(5)).await;
    broke(&emulator, &["AIC-ACC-01"]);
}

#[tokio::test(start_paused = true)]
async fn aic_top_03_answers_of_shadows_need_the_right_to_receive() {
    let policy = Policy::from_json(
        r#"{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"},
            {"Effect": "Deny", "Action": "iot:Receive", "Resource": "arn:aws:iot:r:1:topic/$aws/*"}]}"#,
    );
    let emulator = Emulator::builder().policy(policy.unwrap()).build();
    let mut peer = Peer::connected(&emulator, V5, "a").await;
    peer.subscribe(&[(&format!("{SHADOW}/get/+"), 1)]).await;
    assert_eq!(peer.publish(&format!("{SHADOW}/get"), 1, "").await, Got::PubAck(1, 0));
    peer.is_quiet_for(Duration::from_secs(5)).await;
    assert_eq!(emulator.observations().not_received, 1);
}

#[tokio::test(start_paused = true)]
async fn aic_top_06_requests_of_jobs_are_answered_without_a_subscription() {
    for subscribes in [false, true] {
        let emulator = Emulator::builder().build();
        let mut peer = Peer::connected(&emulator, V3, "a").await;
        if subscribes {
            peer.subscribe(&[("$aws/things/pump/jobs/#", 1)]).await;
        }
        let cases = [
            ("get", "{\"clientToken\": \"t\"}", "accepted", "queuedJobs", json!([])),
            ("start-next", "", "accepted", "clientToken", Value::Null),
            ("$next/get", "", "accepted", "code", Value::Null),
            ("7/get", "{}", "rejected", "code", json!("ResourceNotFound")),
            ("7/update", "{\"status\": \"SUCCEEDED\"}", "rejected", "code", json!("ResourceNotFound")),
            ("get", "{", "rejected", "code", json!("InvalidJson")),
        ];
        for (id, (what, request, answer, key, value)) in (1..).zip(cases) {
            let topic = format!("$aws/things/pump/jobs/{what}");
            peer.send(publish(&topic, id, request.as_bytes())).await;
            let mut got = [peer.next().await, peer.next().await];
            got.sort_by_key(|got| matches!(got, Got::Message(_)));
            let [Got::PubAck(acknowledged, 0), Got::Message(message)] = got else { panic!("{got:?}") };
            peer.ack(message.id.unwrap()).await;
            assert_eq!((acknowledged, message.topic), (id, format!("{topic}/{answer}")));
            let body: Value = serde_json::from_slice(&message.payload).unwrap();
            assert_eq!(body.get(key).unwrap_or(&Value::Null), &value, "{body}");
        }
        peer.is_quiet_for(Duration::from_secs(1)).await;
        broke(&emulator, &[]);
    }
}
