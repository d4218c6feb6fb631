//! HTTPS of the endpoint: `POST /topics/…`, over real sockets of loopback.

use culex::aws_emulator::{Emulator, Limits, Policy, Role};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::peer::{Peer, V5, broke};
use super::tls::Dial;

const CERTIFIED: (Role, &[&str]) = (Role::Port443, &["x-amzn-http-ca"]);
const SIGNED: &str = "authorization: AWS4-HMAC-SHA256 Credential=A/20260102/local-1/iotdata/aws4_request, SignedHeaders=host, Signature=00\r\n";

/// One request, and its answer: the status, and the body.
async fn ask(
    emulator: &Emulator,
    (role, alpn): (Role, &'static [&'static str]),
    head: &str,
    body: &[u8],
) -> (u16, Value) {
    let mut dial = Dial { role, alpn, ..Dial::new(emulator) };
    if role == Role::Port443 && alpn != ["x-amzn-http-ca"] {
        dial.identity = None;
    }
    let mut stream = dial.dial(emulator).await.unwrap();
    let (first, more) = head.split_once('\n').unwrap_or((head, ""));
    let length = body.len();
    let head = format!(
        "{first} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n{more}\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // What is too large is answered before it is read.
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap_or_else(|| panic!("{answer:?}")).parse().unwrap();
    (status, serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap_or_default())
}

#[tokio::test]
async fn aic_net_06_a_certificate_publishes_over_ports_8443_and_443() {
    let emulator = Emulator::builder().start().await.unwrap();
    let mut reader = Peer::connected(&emulator, V5, "reader").await;
    reader.subscribe(&[("site/#", 1)]).await;
    for how in [(Role::Port8443, &[][..]), (Role::Port8443, &["http/1.1"]), CERTIFIED] {
        let (status, body) = ask(&emulator, how, "POST /topics/site%2Fpump?qos=1", b"on").await;
        assert_eq!((status, &body["message"]), (200, &Value::from("OK")));
        assert!(body["traceId"].is_string());
        let message = reader.take().await;
        assert_eq!((message.topic.as_str(), &message.payload[..], message.qos), ("site/pump", &b"on"[..], 1));
    }
    broke(&emulator, &[]);
}

#[tokio::test]
async fn aic_net_06_query_and_headers_are_the_properties_of_the_message() {
    let emulator = Emulator::builder().start().await.unwrap();
    let mut reader = Peer::connected(&emulator, V5, "reader").await;
    reader.subscribe(&[("t", 1)]).await;
    // `[{"name": "value"}, {"name": "again"}]`, and `7`.
    let head = "POST /topics/t?qos=1&retain=true&contentType=text%2Fplain&responseTopic=answers%2F1&messageExpiry=60\n\
        x-amz-mqtt5-payload-format-indicator: UTF8_DATA\r\n\
        x-amz-mqtt5-correlation-data: Nw==\r\n\
        x-amz-mqtt5-user-properties: W3sibmFtZSI6ICJ2YWx1ZSJ9LCB7Im5hbWUiOiAiYWdhaW4ifV0=\r\n";
    assert_eq!(ask(&emulator, CERTIFIED, head, b"x").await.0, 200);
    let properties = reader.take().await.properties;
    for expected in [
        "PayloadFormatIndicator(true)",
        "ContentType(\"text/plain\")",
        "answers/1",
        "CorrelationData",
        "UserProperty(\"name\", \"value\")",
        "UserProperty(\"name\", \"again\")",
        "MessageExpiryInterval(",
    ] {
        assert!(properties.contains(expected), "{expected}: {properties}");
    }
    assert!(emulator.deliveries()[0].retain);
    broke(&emulator, &[]);
}

#[tokio::test]
async fn aic_net_06_without_a_certificate_somebody_signs_or_an_authoriser_decides() {
    let emulator = Emulator::builder().start().await.unwrap();
    for alpn in [&[][..], &["http/1.1"]] {
        let head = format!("POST /topics/t\n{SIGNED}");
        assert_eq!(ask(&emulator, (Role::Port443, alpn), &head, b"x").await.0, 200);
    }
    let head = "POST /topics/t\nx-amz-customauthorizer-name: mine\r\n";
    assert_eq!(ask(&emulator, (Role::Port443, &[]), head, b"x").await.0, 200);
    broke(&emulator, &[]);
    assert_eq!(ask(&emulator, (Role::Port443, &[]), "POST /topics/t", b"x").await.0, 403);
    broke(&emulator, &["AIC-NET-06"]);
    assert_eq!(emulator.deliveries().len(), 3);
}

#[tokio::test]
async fn https_keeps_the_rules_of_messages() {
    let policy = r#"{"Statement": [{"Effect": "Allow", "Action": "iot:Publish", "Resource": "*"},
        {"Effect": "Deny", "Action": "iot:Publish", "Resource": "arn:aws:iot:r:1:topic/secret"}]}"#;
    let cases = [
        ("POST /topics/1/2/3/4/5/6/7/8/9", 400, "AIC-PUB-05"),
        ("POST /topics/$SYS/x", 400, "AIC-TOP-01"),
        ("POST /topics/a%2Fb?qos=2", 400, "AIC-PUB-02"),
        ("POST /topics/$aws/rules/r/t?retain=true", 400, "AIC-RET-03"),
        ("POST /topics/a?qos=x", 400, "AIC-NET-06"),
        ("POST /topics/", 400, "AIC-NET-06"),
        ("POST /topics/a%2F%23", 400, "AIC-NET-06"),
        ("POST /topics/secret", 403, "AIC-POL-04"),
        ("POST /topics/a?retain=true", 403, "AIC-POL-06"),
    ];
    for (head, expected, id) in cases {
        let policy = Policy::from_json(policy).unwrap();
        let emulator = Emulator::builder().policy(policy).start().await.unwrap();
        let (status, body) = ask(&emulator, CERTIFIED, head, b"x").await;
        assert_eq!(status, expected, "{head}: {body}");
        assert!(body["message"].is_string());
        broke(&emulator, &[id]);
        assert_eq!(emulator.deliveries(), []);
    }
}

#[tokio::test]
async fn aic_pub_03_and_acc_01_over_https() {
    let emulator = Emulator::builder().start().await.unwrap();
    assert_eq!(ask(&emulator, CERTIFIED, "POST /topics/t", &vec![b'x'; 131_072]).await.0, 200);
    broke(&emulator, &[]);
    assert_eq!(ask(&emulator, CERTIFIED, "POST /topics/t", &vec![b'x'; 131_073]).await.0, 413);
    broke(&emulator, &["AIC-PUB-03"]);
    let limits = Limits { account_publishes_per_second: 0, ..Limits::default() };
    let emulator = Emulator::builder().limits(limits).start().await.unwrap();
    assert_eq!(ask(&emulator, CERTIFIED, "POST /topics/t", b"x").await.0, 429);
    broke(&emulator, &["AIC-ACC-01"]);
}

#[tokio::test]
async fn what_https_does_not_have_is_not_found() {
    let emulator = Emulator::builder().start().await.unwrap();
    for (head, status) in
        [("GET /", 404), ("GET /topics/t", 405), ("PUT /mqtt", 405), ("POST /things/a/shadow", 404)]
    {
        assert_eq!(ask(&emulator, (Role::Port8443, &[]), head, b"").await.0, status, "{head}");
    }
    broke(&emulator, &[]);
}
