//! `docs/examples/webhook-flask`, as its readers run it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use culex_tests::broker::Broker;
use culex_tests::tools::workspace;
use serde_json::Value;

use crate::flask::Flask;
use crate::program::{Publisher, eventually};

/// The body of what Flask answers.
fn get(url: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.") && head.contains(" 200 "), "{head}");
    body.to_owned()
}

#[test]
fn the_example_shows_what_the_webhook_brings() {
    let Some(flask) = Flask::start("docs/examples/webhook-flask", "app", &[]) else { return };
    let example = fs::read_to_string(workspace().join("docs/examples/webhook-flask/culex.toml")).unwrap();
    assert!(example.contains("http://127.0.0.1:5000"), "{example}");
    let broker = Broker::start_with_config(&example.replace("http://127.0.0.1:5000", &flask.url));
    let mut publisher = Publisher::connect(&broker);
    for value in 1..=3 {
        assert!(publisher.publish("sensors/kitchen", &format!("{{\"temperature\": {value}.5}}")));
    }
    let values = || {
        let messages: Vec<Value> = serde_json::from_str(&get(&flask.url, "/messages")).unwrap();
        messages.iter().filter_map(|message| message["payload"]["temperature"].as_f64()).collect::<Vec<_>>()
    };
    eventually("three messages", || values().len() == 3);
    assert_eq!(values(), [1.5, 2.5, 3.5]);
    let page = get(&flask.url, "/");
    assert!(page.contains("<textarea") && page.contains("<svg"), "{page}");
}
