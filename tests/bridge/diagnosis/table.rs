//! What is set up wrongly, and how it is named.

use std::net::TcpListener;
use std::time::{Duration, SystemTime};

use culex::aws_emulator::Policy;
use culex::bridge::diagnosis::{Cause, Row, Stage, Verdict};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use super::identity::Authority;
use super::setup::Plan;

/// A name, what is wrong, and what has to be said: where, what it is, and a part of the words.
type Case = (&'static str, fn(&mut Plan), Stage, Cause, &'static str);

const YEARS: Duration = Duration::from_secs(10 * 365 * 86_400);

const CASES: &[Case] = &[
    // Files
    (
        "the key of another certificate",
        |p| {
            let (_, key) = Authority::new("a CA").client((2020, 2040));
            p.file("client.key", key);
        },
        Stage::Files,
        Cause::Key,
        "do not belong together",
    ),
    (
        "certificate and CA exchanged",
        |p| {
            p.file("client.crt", "@root.crt");
            p.file("root.crt", "@client.crt");
        },
        Stage::Files,
        Cause::Certificate,
        "exchanged",
    ),
    (
        "certificate and key exchanged",
        |p| {
            p.file("client.crt", "@client.key");
            p.file("client.key", "@client.crt");
        },
        Stage::Files,
        Cause::File,
        "exchanged",
    ),
    (
        "the client's certificate as CA",
        |p| p.file("root.crt", "@client.crt"),
        Stage::Files,
        Cause::Ca,
        "exchanged",
    ),
    ("no key file", |p| p.replace("client.key", "other.key"), Stage::Files, Cause::File, "other.key"),
    ("no CA file", |p| p.replace("root.crt", "other.crt"), Stage::Files, Cause::File, "other.crt"),
    (
        "a key with a passphrase",
        |p| {
            p.file(
                "client.key",
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n",
            );
        },
        Stage::Files,
        Cause::File,
        "passphrase",
    ),
    // Our certificate
    (
        "an expired certificate",
        |p| p.certificate((2019, 2021)),
        Stage::Certificate,
        Cause::Certificate,
        "expired on 2021-01-01",
    ),
    (
        "a certificate that is not yet valid",
        |p| p.certificate((2090, 2095)),
        Stage::Certificate,
        Cause::Certificate,
        "begins on 2090-01-01",
    ),
    (
        "a certificate of another account",
        |p| p.certificate((2020, 2090)),
        Stage::Certificate,
        Cause::Certificate,
        "not ACTIVE",
    ),
    (
        "a certificate that is INACTIVE",
        |p| p.scenario.cert_inactive = true,
        Stage::Certificate,
        Cause::Certificate,
        "describe-certificate",
    ),
    (
        "a certificate that is refused late",
        |p| p.scenario.cert_unknown_late_alert = true,
        Stage::Certificate,
        Cause::Certificate,
        "not ACTIVE",
    ),
    (
        "the same without a word, by TLS 1.2",
        |p| {
            p.scenario.cert_unknown_late_alert = true;
            p.scenario.tls12_only = true;
        },
        Stage::Connect,
        Cause::PolicyOrClientId,
        "activation",
    ),
    // The other side
    (
        "a CA file with another CA",
        |p| {
            p.file("root.crt", Authority::new("somebody else").certificate);
        },
        Stage::Server,
        Cause::Ca,
        "leave `ca_file` out",
    ),
    (
        "a proxy that opens TLS",
        |p| p.scenario.wrong_chain = true,
        Stage::Server,
        Cause::Interception,
        "Somebody else's root",
    ),
    (
        "an endpoint of somebody else",
        |p| p.scenario.wrong_server_name = true,
        Stage::Server,
        Cause::Endpoint,
        "other-ats.iot",
    ),
    (
        "an endpoint that the server does not know",
        |p| p.replace("@NAME@", "wrong-ats.iot.local-1.amazonaws.test"),
        Stage::Server,
        Cause::Endpoint,
        "describe-endpoint",
    ),
    (
        "an endpoint that is not there",
        |p| {
            // A label has 63 letters at most, so nobody is asked.
            p.replace("@8883@", &format!("{}.test:8883", "x".repeat(64)));
        },
        Stage::Network,
        Cause::Endpoint,
        "is not found",
    ),
    (
        "the endpoint where AWS IoT is configured",
        |p| p.replace("@8883@", "iot.eu-central-1.amazonaws.com"),
        Stage::Names,
        Cause::Endpoint,
        "describe-endpoint",
    ),
    (
        "the endpoint of credentials",
        |p| p.replace("@8883@", "x.credentials.iot.eu-central-1.amazonaws.com"),
        Stage::Names,
        Cause::Endpoint,
        "data endpoint",
    ),
    ("a port of HTTPS", |p| p.replace("@8883@", "127.0.0.1:8443"), Stage::Names, Cause::Port, "HTTPS"),
    (
        "a port where nobody listens",
        |p| {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            p.replace("@8883@", &format!("127.0.0.1:{port}"));
        },
        Stage::Network,
        Cause::Port,
        "nobody listens",
    ),
    (
        "port 443 without ALPN",
        |p| {
            p.replace("@8883@", "@443@");
            p.replace("[bridge.tls]", "[bridge.tls]\nalpn = \"none\"");
        },
        Stage::Alpn,
        Cause::Alpn,
        "x-amzn-mqtt-ca",
    ),
    (
        "port 443 with ALPN of custom authorizers",
        |p| {
            p.replace("@8883@", "@443@");
            p.replace("[bridge.tls]", "[bridge.tls]\nalpn = \"mqtt\"");
        },
        Stage::Alpn,
        Cause::Alpn,
        "x-amzn-mqtt-ca",
    ),
    (
        "port 443 with another ALPN",
        |p| {
            p.replace("@8883@", "@443@");
            p.replace("[bridge.tls]", "[bridge.tls]\nalpn = \"h2\"");
        },
        Stage::Alpn,
        Cause::Alpn,
        "h2 is not spoken",
    ),
    (
        "TLS 1.3 alone, and 1.2 alone there",
        |p| {
            p.scenario.tls12_only = true;
            p.replace("[bridge.tls]", "[bridge.tls]\nmin_version = \"1.3\"");
        },
        Stage::Server,
        Cause::TlsVersion,
        "min_version",
    ),
    (
        "a clock that is behind",
        |p| p.options.now = Some(SystemTime::now() - YEARS),
        Stage::Server,
        Cause::Clock,
        "behind",
    ),
    (
        "a clock that is ahead",
        |p| p.options.now = Some(SystemTime::now() + YEARS),
        Stage::Server,
        Cause::Clock,
        "ahead",
    ),
    // Policy and client id
    (
        "no policy at all",
        |p| p.scenario.policy_none = true,
        Stage::Connect,
        Cause::PolicyOrClientId,
        "iot:Connect on client/shed",
    ),
    (
        "a policy without Connect",
        |p| p.forbid("iot:Connect"),
        Stage::Connect,
        Cause::PolicyOrClientId,
        "actionType=CONNECT",
    ),
    (
        "a client id that the policy does not name",
        |p| {
            p.policy = Policy::from_json(
            "{\"Version\": \"2012-10-17\", \"Statement\": [{\"Effect\": \"Allow\", \"Action\": \"iot:Connect\", \"Resource\": \
             \"arn:aws:iot:local-1:1:client/barn\"}]}",
        )
        .unwrap();
        },
        Stage::Connect,
        Cause::PolicyOrClientId,
        "client/shed",
    ),
    (
        "the same in 5.0",
        |p| {
            p.forbid("iot:Connect");
            p.replace("client_id", "protocol = \"5.0\"\nclient_id");
        },
        Stage::Connect,
        Cause::PolicyOrClientId,
        "not authorized (0x87)",
    ),
    (
        "a policy without sessions that stay",
        |p| {
            p.policy = Policy::from_json(
            "{\"Version\": \"2012-10-17\", \"Statement\": [{\"Effect\": \"Allow\", \"Action\": \"*\", \"Resource\": \"*\", \
             \"Condition\": {\"ForAllValues:StringEquals\": {\"iot:ConnectAttributes\": [\"LastWill\"]}}}]}",
        )
        .unwrap();
        },
        Stage::Connect,
        Cause::Policy,
        "PersistentConnect",
    ),
    (
        "a policy without Subscribe",
        |p| p.forbid("iot:Subscribe"),
        Stage::Subscribe,
        Cause::Policy,
        "topicfilter/cmd/#",
    ),
    (
        "the same in 5.0",
        |p| {
            p.forbid("iot:Subscribe");
            p.replace("client_id", "protocol = \"5.0\"\nclient_id");
        },
        Stage::Subscribe,
        Cause::Policy,
        "not authorized (0x87)",
    ),
    ("a policy without Publish", |p| p.forbid("iot:Publish"), Stage::Publish, Cause::Policy, "topic/data/"),
    (
        "the same in 5.0",
        |p| {
            p.forbid("iot:Publish");
            p.replace("client_id", "protocol = \"5.0\"\nclient_id");
        },
        Stage::Publish,
        Cause::Policy,
        "not authorized (0x87)",
    ),
    (
        "a policy without RetainPublish",
        |p| {
            p.forbid("iot:RetainPublish");
            p.replace("filter = \"data/#\"", "filter = \"data/#\"\nretain = true");
        },
        Stage::Publish,
        Cause::Policy,
        "iot:RetainPublish",
    ),
    (
        "a policy without Receive",
        |p| p.forbid("iot:Receive"),
        Stage::RoundTrip,
        Cause::Policy,
        "iot:Receive on topic/both/",
    ),
    (
        "a client id that somebody else has too",
        |p| {
            p.scenario.kick_duplicate = Some(Duration::from_secs(1));
            p.options.hold = Duration::from_secs(3);
            p.options.publish = false;
        },
        Stage::ClientId,
        Cause::ClientId,
        "throws the other one out",
    ),
    (
        "the same in 5.0, which says it",
        |p| {
            p.scenario.kick_duplicate = Some(Duration::from_secs(1));
            p.options.hold = Duration::from_secs(3);
            p.options.publish = false;
            p.replace("client_id", "protocol = \"5.0\"\nclient_id");
        },
        Stage::ClientId,
        Cause::ClientId,
        "session taken over (0x8e)",
    ),
    // The rest
    (
        "5.0 where it is not spoken",
        |p| {
            p.scenario.legacy_v3_connack_to_v5 = true;
            p.replace("client_id", "protocol = \"5.0\"\nclient_id");
        },
        Stage::Connect,
        Cause::Protocol,
        "3.1.1",
    ),
    (
        "a service that closes whatever is said",
        |p| p.scenario.close_before_connack = true,
        Stage::Connect,
        Cause::Certificate,
        "in 5.0 too",
    ),
];

fn judge(case: &Case, rows: &[Row]) -> Result<(), String> {
    let (name, _, stage, cause, part) = case;
    let lines = rows.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let Some(row) = rows.iter().find(|row| row.verdict == Verdict::Bad) else {
        return Err(format!("{name}: nothing was found\n{lines}"));
    };
    let found = row.finding.as_ref().map(|finding| finding.cause);
    if (row.stage, found) != (*stage, Some(*cause)) {
        return Err(format!("{name}: {:?} {found:?} instead of {stage:?} {cause:?}\n{lines}", row.stage));
    }
    if !row.to_string().contains(part) {
        return Err(format!("{name}: nothing of {part:?}\n{lines}"));
    }
    Ok(())
}

/// Each against a stand-in of its own, all at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_that_is_wrong_is_named() {
    let mut running = JoinSet::new();
    for case in CASES {
        running.spawn(async move {
            let mut plan = Plan::new();
            (case.1)(&mut plan);
            let (rows, _emulator, _folder) = plan.diagnose().await;
            judge(case, &rows)
        });
    }
    let mut wrong = Vec::new();
    while let Some(judged) = running.join_next().await {
        wrong.extend(judged.unwrap().err());
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), CASES.len(), wrong.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_right_is_not_wrong() {
    for version in ["3.1.1", "5.0"] {
        let mut plan = Plan::new();
        plan.replace("client_id", &format!("protocol = \"{version}\"\nclient_id"));
        let (rows, emulator, _folder) = plan.diagnose().await;
        let lines = rows.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(rows.iter().all(|row| row.verdict != Verdict::Bad), "{lines}");
        for stage in [
            Stage::Files,
            Stage::Server,
            Stage::Certificate,
            Stage::Connect,
            Stage::Subscribe,
            Stage::Publish,
            Stage::RoundTrip,
            Stage::ClientId,
        ] {
            assert!(
                rows.iter().any(|row| row.stage == stage && row.verdict == Verdict::Good),
                "{stage:?}\n{lines}"
            );
        }
        // The diagnosis itself breaks no rule of the service.
        assert!(emulator.violations().counts().is_empty(), "{:?}\n{lines}", emulator.violations().counts());
    }
}

/// Whoever publishes nothing without leave.
#[tokio::test]
async fn nothing_is_published_without_leave() {
    let mut plan = Plan::new();
    plan.options.publish = false;
    let (rows, emulator, _folder) = plan.diagnose().await;
    assert!(rows.iter().any(|row| row.stage == Stage::Publish && row.verdict == Verdict::Skipped));
    assert!(emulator.deliveries().is_empty());
}

/// A message without a payload and with RETAIN leaves nothing where nobody else publishes. A topic that is named in the
/// configuration may have a Retained Message.
#[tokio::test]
async fn what_is_retained_on_the_other_side_stays() {
    for (filter, is_tried) in [("data/#", true), ("data/status", false)] {
        let mut plan = Plan::new();
        plan.replace("filter = \"data/#\"", &format!("filter = \"{filter}\"\nretain = true"));
        let (_rows, emulator, _folder) = plan.diagnose().await;
        let deliveries = emulator.deliveries();
        assert!(!deliveries.is_empty());
        assert_eq!(deliveries.iter().any(|delivery| delivery.retain), is_tried, "{filter}: {deliveries:?}");
    }
}

/// A port of something else: it answers, and not by TLS.
#[tokio::test]
async fn a_port_without_tls_is_named() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Whoever only looks whether somebody answers is gone.
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let mut plan = Plan::new();
    plan.replace("@8883@", &address.to_string());
    let (rows, _emulator, _folder) = plan.diagnose().await;
    let case: Case = ("no TLS", |_| {}, Stage::Server, Cause::Port, "speaks no TLS");
    judge(&case, &rows).unwrap();
    server.abort();
}
