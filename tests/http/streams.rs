//! Server-sent events.

use std::io::Read;
use std::net::TcpStream;

use serde_json::json;

use crate::program::{ADMIN, CLIENT, Program, VIEWER, until};
use crate::request::Request;

/// Reads until this comes, or the end.
#[track_caller]
pub(crate) fn read_until(mut stream: &TcpStream, part: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains(part) {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "it ended without {part}: {text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    text
}

#[test]
fn it_begins_with_what_is_retained_and_ends_when_it_was_told_to() {
    let program = Program::with_users("");
    program.send(Request::new("PUT", "/api/v1/topics/s/a").body("{\"t\":21.50}"), CLIENT);
    program.send(Request::new("PUT", "/api/v1/topics/s/b").body("line\nbreak"), CLIENT);
    let answer = program.send(Request::get("/api/v1/stream?filter=s/a&filter=s/b&max_events=2"), CLIENT);
    let text = answer.text();
    assert!(answer.head.contains("content-type: text/event-stream"), "{}", answer.head);
    let data = |topic: &str, payload: &str, encoding: &str| {
        let start = format!(
            "data: {{\"topic\":\"{topic}\",\"payload\":{payload},\"payload_encoding\":\"{encoding}\""
        );
        assert!(text.contains(&format!("event: message\n{start}")), "{text}");
    };
    data("s/a", "{\"t\":21.50}", "json");
    data("s/b", "\"line\\nbreak\"", "text");
    assert!(text.ends_with("event: end\ndata: {\"reason\":\"max_events\"}\n\n"), "{text}");
    let nothing = program.send(Request::get("/api/v1/stream?filter=nothing&timeout=1"), CLIENT).text();
    assert!(nothing.ends_with("event: end\ndata: {\"reason\":\"timeout\"}\n\n"), "{nothing}");
}

#[test]
fn there_are_no_more_than_max_streams() {
    let program = Program::with_users("max_streams = 2");
    let open = || {
        let stream =
            Request::get("/api/v1/stream?filter=x").header("authorization", CLIENT).open(program.http);
        read_until(&stream, ": open");
        stream
    };
    let (first, _second) = (open(), open());
    let refused = program.send(Request::get("/api/v1/stream?filter=x"), CLIENT);
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.head.contains("retry-after:"), "{}", refused.head);
    drop(first);
    // The broker hears of it in its own time.
    until(|| program.number(VIEWER, "culex_http_streams") < 2.0);
    open();
}

#[test]
fn a_reader_that_does_not_read_loses_messages_and_nobody_else_does() {
    let program = Program::with_users("");
    let slow =
        Request::get("/api/v1/stream?filter=flood/%23").header("authorization", CLIENT).open(program.http);
    read_until(&slow, ": open");
    let quick = Request::get("/api/v1/stream?filter=flood/last&max_events=1")
        .header("authorization", CLIENT)
        .open(program.http);
    read_until(&quick, ": open");
    // More than sockets and the queue of a stream hold.
    let payload = "x".repeat(8 << 10);
    let batch: Vec<_> = (0..100).map(|_| json!({ "topic": "flood/x", "payload": payload })).collect();
    let batch = Request::post("/api/v1/publish/batch", &json!({ "messages": batch }));
    for _ in 0..40 {
        assert_eq!(program.send(batch.clone(), ADMIN).status, 200);
    }
    let last = Request::post("/api/v1/publish", &json!({ "topic": "flood/last", "qos": 1 }));
    assert_eq!(program.send(last, ADMIN).status, 200);
    read_until(&quick, "event: end");
    // Now it reads, and is told what it has missed.
    read_until(&slow, "event: dropped");
    assert!(program.number(VIEWER, "culex_http_stream_dropped_total") > 0.0);
}
