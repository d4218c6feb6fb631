//! Messages in by HTTP and out by MQTT, and the other way round.

use std::io::{BufReader, Write};
use std::net::TcpListener;

use culex_tests::client::Client;
use culex_tests::http::read_body;
use culex_tests::parse::Received;
use culex_tests::wire::{self, Connect, Publish};
use serde_json::{Value, json};

use crate::program::{ADMIN, CLIENT, Program};
use crate::request::Request;

/// Topics of any characters, reproducible.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        // Knuth's MMIX; the high bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn topic(&mut self) -> String {
        const STRANGE: [char; 24] = [
            '/', '/', '/', '%', '?', '&', '=', ' ', '.', ':', ';', '"', '\\', '\'', '<', '\n', '\r', '\t',
            'é', '漢', '😀', '\u{7f}', '\u{feff}', '$',
        ];
        let length = 1 + self.below(20);
        let mut topic: String = (0..length)
            .map(|_| match self.below(3) {
                0 => STRANGE[usize::try_from(self.below(24)).unwrap()],
                _ => char::from(b'a' + u8::try_from(self.below(26)).unwrap()),
            })
            .collect();
        // `#` does not match those with a dollar in front.
        if topic.starts_with('$') {
            topic.insert(0, 'x');
        }
        topic
    }
}

fn encoded(topic: &str, keeps_slashes: bool) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' => char::from(byte).to_string(),
        b'/' if keeps_slashes => "/".to_owned(),
        _ => format!("%{byte:02X}"),
    };
    topic.bytes().map(encode).collect()
}

fn subscriber(program: &Program, filter: &str) -> Client {
    let mut client = Client::open(program.broker.addr);
    client.send(Connect::new("reader").credentials("ana", b"pass-of-ana").encode());
    client.receive();
    client.send(wire::subscribe(1, &[(filter, 1)]));
    client.receive();
    client
}

#[test]
fn a_thousand_random_topics_through_http_are_read_by_mqtt() {
    let program = Program::with_users("");
    let mut client = subscriber(&program, "#");
    let seed = 0x5eed_cafe;
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    for n in 0..1000_u32 {
        let topic = random.topic();
        let payload = format!("{n}");
        let request = match n % 3 {
            0 => Request::post("/api/v1/publish", &json!({ "topic": topic, "payload": payload, "qos": 1 })),
            1 => Request::new("PUT", &format!("/api/v1/topics/{}", encoded(&topic, false)))
                .body(payload.clone()),
            _ => Request::new("PUT", &format!("/api/v1/topics/{}", encoded(&topic, true)))
                .body(payload.clone()),
        };
        let answer = program.send(request, ADMIN);
        assert_eq!(answer.status, 200, "{topic:?}: {}", answer.text());
        let Received::Publish(got) = client.receive() else { panic!("no message for {topic:?}") };
        assert_eq!((got.topic.as_str(), got.payload.as_slice()), (topic.as_str(), payload.as_bytes()));
        client.send(wire::puback(got.id.unwrap()));
        if n % 3 != 0 {
            let path = format!("/api/v1/topics/{}", encoded(&topic, n % 2 == 0));
            assert_eq!(program.send(Request::get(&path), ADMIN).text(), payload, "{topic:?}");
        }
    }
}

#[test]
fn null_is_a_payload_and_none_is_empty() {
    let program = Program::with_users("");
    let mut client = subscriber(&program, "#");
    for (body, payload) in [
        (json!({ "topic": "a", "payload": null, "qos": 1 }), &b"null"[..]),
        (json!({ "topic": "b", "payload": null, "payload_encoding": "json", "qos": 1 }), b"null"),
        (json!({ "topic": "c", "qos": 1 }), b""),
    ] {
        let answer = program.send(Request::post("/api/v1/publish", &body), ADMIN);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let Received::Publish(got) = client.receive() else { panic!("no message: {body}") };
        assert_eq!(got.payload, payload, "{body}");
        client.send(wire::puback(got.id.unwrap()));
    }
    let text = json!({ "topic": "d", "payload": null, "payload_encoding": "text" });
    assert_eq!(program.send(Request::post("/api/v1/publish", &text), ADMIN).status, 400);
}

#[test]
fn what_mqtt_retains_http_reads_as_it_is() {
    let program = Program::with_users("");
    let mut client = subscriber(&program, "nothing");
    for (topic, payload, kind) in [
        ("r/json", &b"{\"b\": 1.50, \"a\": [1e2]}"[..], "application/json"),
        ("r/text", "olá".as_bytes(), "text/plain; charset=utf-8"),
        ("r/binary", b"\xff\x00\x01", "application/octet-stream"),
    ] {
        client.send(Publish::new(topic, payload).qos(1, 1).retained().encode());
        client.receive();
        let answer = program.send(Request::get(&format!("/api/v1/topics/{topic}")), CLIENT);
        assert_eq!(answer.body, payload, "{topic}");
        assert!(answer.head.contains(&format!("content-type: {kind}")), "{}", answer.head);
    }
    assert_eq!(program.send(Request::new("PUT", "/api/v1/topics/r/text").body(""), CLIENT).status, 200);
    assert_eq!(program.send(Request::get("/api/v1/topics/r/text"), CLIENT).status, 404);
}

#[test]
fn the_access_control_list_decides_as_for_mqtt() {
    let program = Program::with_users("");
    let put = Request::new("PUT", "/api/v1/topics/secret/a").body("x");
    assert_eq!(program.send(put.clone(), CLIENT).status, 403);
    assert_eq!(program.send(put, ADMIN).status, 200);
    assert_eq!(program.send(Request::get("/api/v1/topics/secret/a"), CLIENT).status, 403);
    assert_eq!(program.send(Request::get("/api/v1/topics/secret/a"), ADMIN).text(), "x");
    let topics =
        |who| program.send(Request::get("/api/v1/retained"), who).json()["items"].as_array().unwrap().len();
    assert_eq!((topics(CLIENT), topics(ADMIN)), (0, 1));
    assert_eq!(program.send(Request::get("/api/v1/stream?filter=secret/%23"), CLIENT).status, 403);
    let batch = json!({ "messages": [{ "topic": "secret/b" }, { "topic": "open/b" }] });
    let results = program.send(Request::post("/api/v1/publish/batch", &batch), CLIENT).json();
    let statuses: Vec<_> =
        results["results"].as_array().unwrap().iter().map(|one| one["status"].clone()).collect();
    assert_eq!(statuses, [403, 200]);
    // A stream of everything brings what may be received alone.
    let target = "/api/v1/stream?filter=%23&max_events=1&timeout=30";
    let stream =
        Request::get(target).header("connection", "close").header("authorization", CLIENT).open(program.http);
    let text = crate::streams::read_until(&stream, ": open");
    assert!(!text.contains("secret"), "{text}");
    program.send(Request::new("PUT", "/api/v1/topics/secret/c").body("hidden"), ADMIN);
    program.send(Request::new("PUT", "/api/v1/topics/open/c").body("shown"), ADMIN);
    let text = crate::streams::read_until(&stream, "event: end");
    assert!(text.contains("shown") && !text.contains("hidden"), "{text}");
}

#[test]
fn a_batch_keeps_its_order() {
    let program = Program::with_users("");
    let mut client = subscriber(&program, "batch/#");
    let messages: Vec<_> = (0..500).map(|n| json!({ "topic": "batch/x", "payload": n, "qos": 1 })).collect();
    let answer =
        program.send(Request::post("/api/v1/publish/batch", &json!({ "messages": messages })), CLIENT);
    assert_eq!(answer.status, 200, "{}", answer.text());
    for n in 0..500 {
        let Received::Publish(got) = client.receive() else { panic!("message {n} is missing") };
        assert_eq!(String::from_utf8(got.payload.clone()).unwrap(), n.to_string());
        client.send(wire::puback(got.id.unwrap()));
    }
}

#[test]
fn a_request_with_a_known_key_publishes_nothing() {
    let program = Program::with_users("");
    let mut client = subscriber(&program, "once/#");
    let publish = |topic: &str, who: &str| {
        let body = json!({ "topic": topic, "payload": "x" });
        program.send(Request::post("/api/v1/publish", &body).header("idempotency-key", "k-1"), who)
    };
    let first = publish("once/a", CLIENT);
    let second = publish("once/a", CLIENT);
    assert_eq!((first.status, second.status, &first.body), (200, 200, &second.body));
    assert!(second.head.contains("idempotent-replayed: true"), "{}", second.head);
    assert_eq!(publish("once/b", CLIENT).status, 422, "another request with that key");
    assert_eq!(publish("once/c", ADMIN).status, 200, "the key of somebody else");
    for expected in ["once/a", "once/c"] {
        let Received::Publish(got) = client.receive() else { panic!("no message") };
        assert_eq!(got.topic, expected);
    }
    client.quiet();
}

/// The body of the next request that somebody sends there; it is answered with 200.
fn next_body(service: &TcpListener) -> Value {
    let mut stream = BufReader::new(service.accept().unwrap().0);
    let body = read_body(&mut stream).unwrap();
    let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    stream.get_mut().write_all(answer).unwrap();
    serde_json::from_slice(&body).unwrap()
}

#[test]
fn a_webhook_is_told_whose_message_came_by_http() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", service.local_addr().unwrap());
    let hook = format!("[[webhook]]\nname = \"w\"\nurl = \"{url}\"\ntopics = [\"#\"]\n");
    let program = Program::with_users(&hook);
    let publish = Request::post("/api/v1/publish", &json!({ "topic": "a", "payload": 1, "qos": 1 }));
    let batch = Request::post(
        "/api/v1/publish/batch",
        &json!({ "messages": [{ "topic": "b", "payload": 2, "qos": 2 }] }),
    );
    let put = Request::new("PUT", "/api/v1/topics/c").body("3");
    for (request, who, name, topic) in
        [(publish, CLIENT, "carl", "a"), (batch, ADMIN, "ana", "b"), (put, CLIENT, "carl", "c")]
    {
        assert_eq!(program.send(request, who).status, 200);
        let body = next_body(&service);
        let client_id = format!("$culex/http/user/{name}");
        assert_eq!(
            (&body["topic"], &body["username"], &body["client_id"]),
            (&topic.into(), &name.into(), &client_id.into()),
            "{body}"
        );
    }
}

#[test]
fn what_is_retained_by_http_belongs_to_its_user() {
    let program = Program::with_users("");
    for (topic, who) in [("open/carl", CLIENT), ("open/ana", ADMIN)] {
        let put = Request::new("PUT", &format!("/api/v1/topics/{topic}")).body("x");
        assert_eq!(program.send(put, who).status, 200);
    }
    // From now on carl may not publish there, so what he has retained reaches no new subscription.
    std::fs::write(program.folder.path().join("acl"), "user ana\ntopic #\nuser carl\ntopic read #\n")
        .unwrap();
    assert_eq!(program.send(Request::post("/api/v1/reload", &json!({})), ADMIN).status, 200);
    let mut client = subscriber(&program, "open/#");
    let Received::Publish(got) = client.receive() else { panic!("no message") };
    assert_eq!(got.topic, "open/ana");
    client.send(wire::puback(got.id.unwrap()));
    client.quiet();
}
