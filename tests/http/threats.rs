//! What those who mean harm try. Each is refused, while MQTT clients notice nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use culex_tests::client::Client;
use culex_tests::wire::Connect;
use serde_json::json;

use crate::program::{ADMIN, CLIENT, Program, VIEWER, until};
use crate::request::{Answer, Request, connect};

/// A client of MQTT that was there before.
struct Canary(Client);

impl Canary {
    fn new(program: &Program) -> Self {
        let mut client = Client::open(program.broker.addr);
        client.send(Connect::new("canary").credentials("ana", b"pass-of-ana").encode());
        client.receive();
        Self(client)
    }

    /// It is served as before.
    #[track_caller]
    fn lives(&mut self) {
        self.0.quiet();
    }
}

#[track_caller]
fn rest(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset is an end too.
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

/// Nothing without credentials; the files of the page and whether the program lives are no secrets.
#[test]
fn no_token() {
    let program = Program::plain();
    for target in
        ["/api/v1/status", "/api/v1/topics/a", "/metrics", "/api/v1/stream?filter=%23", "/api/v1/config"]
    {
        let answer = Request::get(target).send(program.http);
        assert_eq!(answer.status, 401, "{target}");
        assert!(answer.head.contains("www-authenticate: bearer"), "{}", answer.head);
    }
    let file = std::fs::read_to_string(program.folder.path().join("state/http.token")).unwrap();
    assert!(program.link.ends_with(file.trim()), "the file has the token of the link");
    let answer = Request::get(&format!("/api/v1/status?token={}", file.trim())).send(program.http);
    assert_eq!(answer.status, 401, "a token in an address would be in logs");
}

#[test]
fn csrf() {
    let program = Program::with_users("allow_origins = [\"https://good.example\"]");
    let post = |origin: &str| {
        let request = Request::post("/api/v1/publish", &json!({ "topic": "a" })).header("origin", origin);
        program.send(request, CLIENT)
    };
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1", "https://good.example.evil.example"]
    {
        assert_eq!(post(origin).status, 403, "{origin}");
    }
    let answer = post("https://good.example");
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("access-control-allow-origin: https://good.example"), "{}", answer.head);
    // A form of HTML cannot say JSON.
    let form = Request::new("POST", "/api/v1/publish")
        .header("content-type", "text/plain")
        .body("{\"topic\":\"a\"}");
    assert_eq!(program.send(form, CLIENT).status, 415);
    // What browsers ask first is answered for allowed origins alone.
    for (origin, status) in [("https://good.example", 204), ("https://evil.example", 403)] {
        let preflight = Request::new("OPTIONS", "/api/v1/publish").header("origin", origin);
        assert_eq!(preflight.send(program.http).status, status, "{origin}");
    }
}

#[test]
fn dns_rebinding() {
    let program = Program::with_users("allow_hosts = [\"broker.example\"]");
    for (host, status) in [
        ("127.0.0.1", 200),
        ("localhost:9883", 200),
        ("[::1]", 200),
        ("broker.example", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
    ] {
        let answer = program.send(Request::get("/api/v1/me").header("host", host), CLIENT);
        assert_eq!(answer.status, status, "{host}: {}", answer.text());
    }
    // An address with another host in the request line counts as that.
    let answer = program.send(Request::get("http://evil.example/api/v1/me"), CLIENT);
    assert_eq!(answer.status, 421);
}

/// Whoever sends its head byte by byte is closed when its time is over, and holds up nobody.
#[test]
fn slow_headers() {
    let program = Program::with_users("");
    let mut canary = Canary::new(&program);
    let slow: Vec<_> = (0..50)
        .map(|_| {
            let mut stream = connect(program.http);
            stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: 127").unwrap();
            stream
        })
        .collect();
    assert_eq!(Request::get("/healthz").send(program.http).status, 200);
    canary.lives();
    for stream in &slow {
        let answer = rest(stream);
        assert!(answer.is_empty() || Answer::parse(&answer).status == 408, "{answer:?}");
    }
}

#[test]
fn more_connections_than_allowed() {
    let program = Program::with_users("max_connections = 4");
    let mut canary = Canary::new(&program);
    let held: Vec<_> = (0..4)
        .map(|_| {
            let stream = Request::get("/healthz").open(program.http);
            crate::streams::read_until(&stream, "ok");
            stream
        })
        .collect();
    assert!(rest(&connect(program.http)).is_empty(), "closed at once");
    canary.lives();
    drop(held);
    // The broker hears of it in its own time.
    until(|| !rest(&Request::get("/healthz").header("connection", "close").open(program.http)).is_empty());
    assert!(program.number(VIEWER, "culex_http_connections_refused_total") >= 1.0);
}

#[test]
fn a_body_of_a_gigabyte() {
    let program = Program::with_users("body_bytes = \"64KiB\"");
    let mut canary = Canary::new(&program);
    let announced =
        Request::post("/api/v1/publish", &json!({ "topic": "a" })).header("content-length", "1073741824");
    assert_eq!(program.send(announced, CLIENT).status, 413);
    // One that does not say how long it is, and does not end.
    let request = Request::new("PUT", "/api/v1/topics/a").header("transfer-encoding", "chunked");
    let mut stream = request.header("authorization", CLIENT).open(program.http);
    let chunk = [b"2000\r\n".as_slice(), &[b'x'; 0x2000], b"\r\n"].concat();
    let mut sent = 0_u64;
    while stream.write_all(&chunk).is_ok() && sent < 1 << 30 {
        sent += chunk.len() as u64;
    }
    assert!(sent < 64 << 20, "{sent} bytes were taken");
    canary.lives();
    assert_eq!(program.send(Request::get("/api/v1/topics/a"), CLIENT).status, 404, "nothing was published");
}

#[test]
fn a_head_that_is_too_large() {
    let program = Program::with_users("");
    let large = "x".repeat(100 << 10);
    let status = |request: Request, address: SocketAddr| {
        let bytes = rest(&request.header("connection", "close").open(address));
        if bytes.is_empty() { 431 } else { Answer::parse(&bytes).status }
    };
    assert_eq!(status(Request::get("/healthz").header("x", &large), program.http), 431);
    assert_eq!(status(Request::get(&format!("/{large}")), program.http), 431);
    let many = (0..200).fold(Request::get("/healthz"), |request, n| request.header(&format!("x{n}"), "y"));
    assert_eq!(status(many, program.http), 431);
}

/// A topic is a topic, whatever a file system would make of it.
#[test]
fn a_topic_with_dots_leads_nowhere() {
    let program = Program::with_users("");
    for path in ["../../etc/passwd", "..%2F..%2Fetc%2Fshadow", "%2e%2e/%2e%2e/x", "a//../b"] {
        let target = format!("/api/v1/topics/{path}");
        assert_eq!(program.send(Request::get(&target), ADMIN).status, 404, "{path}");
        assert_eq!(program.send(Request::new("PUT", &target).body(path), ADMIN).status, 200, "{path}");
        assert_eq!(program.send(Request::get(&target), ADMIN).text(), path, "{path}");
    }
    assert_eq!(program.send(Request::get("/../../etc/passwd"), ADMIN).status, 404);
    let topics = program.send(Request::get("/api/v1/retained"), ADMIN).text();
    assert!(topics.contains("\"../../etc/passwd\"") && topics.contains("\"a//../b\""), "{topics}");
}

#[test]
fn a_bomb_of_nested_json() {
    let program = Program::with_users("");
    let mut canary = Canary::new(&program);
    for depth in [100, 10_000, 400_000] {
        let bomb = format!("{{\"topic\":\"a\",\"payload\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        let request =
            Request::new("POST", "/api/v1/publish").header("content-type", "application/json").body(bomb);
        let answer = program.send(request, CLIENT);
        assert_eq!(answer.status, 400, "{depth}: {}", answer.text());
        assert!(answer.text().contains("64 levels"), "{}", answer.text());
    }
    // As a payload of its own it is bytes like others, and reaches a stream as text.
    let bomb = "[".repeat(100_000);
    assert_eq!(program.send(Request::new("PUT", "/api/v1/topics/bomb").body(bomb), CLIENT).status, 200);
    let events = program.send(Request::get("/api/v1/stream?filter=bomb&max_events=1"), CLIENT).text();
    assert!(events.contains("\"payload_encoding\":\"text\""), "{}", events.len());
    canary.lives();
}

/// Guessing is slowed as for MQTT, and names that do not exist look the same.
#[test]
fn guessing_passwords() {
    let program = Program::with_users("");
    let statuses: Vec<_> =
        (0..8).map(|_| program.send(Request::get("/api/v1/me"), "Basic YW5hOndyb25n").status).collect();
    assert!(statuses.iter().all(|status| matches!(status, 401 | 503)), "{statuses:?}");
    assert!(statuses.contains(&503), "it was never slowed: {statuses:?}");
    assert_eq!(program.send(Request::get("/api/v1/me"), "Basic bm9ib2R5Ong=").status, 401);
    assert_eq!(program.send(Request::get("/api/v1/me"), VIEWER).status, 200, "others notice nothing");
}
