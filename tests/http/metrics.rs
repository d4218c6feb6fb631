//! The page for Prometheus, read by its own client library and scraped by itself.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use culex_tests::tools::{has, python};
use serde_json::json;

use crate::program::{Program, VIEWER, until};
use crate::request::Request;

/// Prints each family with its type and the number of its samples; fails where names or values are not by the conventions.
const PARSE: &str = "import sys
from prometheus_client.parser import text_string_to_metric_families
seen = set()
for family in text_string_to_metric_families(sys.stdin.read()):
    assert family.documentation and family.type in ('counter', 'gauge', 'histogram'), family
    assert family.name.startswith('culex_') and family.name not in seen, family.name
    seen.add(family.name)
    for sample in family.samples:
        assert sample.value >= 0, sample
        if family.type == 'counter': assert sample.name.endswith('_total'), sample
        if family.type == 'gauge': assert not sample.name.endswith('_total'), sample
    print(family.type, family.name, len(family.samples))
";

#[test]
fn prometheus_own_library_understands_every_line() {
    let program = Program::with_users("");
    program.send(
        Request::post("/api/v1/publish", &json!({ "topic": "a", "payload": 1, "qos": 2, "retain": true })),
        VIEWER,
    );
    let Some(python) = python("http") else { return };
    let mut child = Command::new(python)
        .args(["-c", PARSE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let page = program.send(Request::get("/metrics"), VIEWER);
    assert!(page.head.contains("content-type: text/plain; version=0.0.4"), "{}", page.head);
    child.stdin.take().unwrap().write_all(&page.body).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), page.text());
    let families = String::from_utf8(output.stdout).unwrap();
    for family in [
        "counter culex_messages_received 3",
        "counter culex_messages_sent 3",
        "counter culex_messages_dropped",
        "gauge culex_connections 1",
        "gauge culex_retained_messages 1",
        "gauge culex_slowest_queue_messages",
        "histogram culex_store_commit_seconds 7",
        "histogram culex_turn_seconds 9",
        "counter culex_http_requests 5",
        "counter culex_connect_unauthorized 1",
    ] {
        assert!(families.contains(family), "no {family} in\n{families}");
    }
    assert_eq!(program.number(VIEWER, "culex_messages_received_total{qos=\"2\"}"), 1.0);
    assert_eq!(program.number(VIEWER, "culex_retained_messages"), 1.0);
}

/// Ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn prometheus_itself_scrapes_it() {
    if !has("prometheus") {
        return;
    }
    let program = Program::with_users("");
    let folder = program.folder.path();
    let config = format!(
        "scrape_configs:\n  - job_name: culex\n    scrape_interval: 100ms\n    scrape_timeout: 100ms\n    static_configs: [{{targets: ['{}']}}]\n    \
         basic_auth: {{username: vera, password: pass-of-vera}}\n",
        program.http
    );
    std::fs::write(folder.join("prometheus.yml"), config).unwrap();
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
        .args(["--web.listen-address=127.0.0.1:0", "--log.level=info"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Ended(child);
    let log = BufReader::new(child.0.stderr.take().unwrap());
    // It says that it listens, and not on which port, so what it asks for is what is looked at.
    drop(std::thread::spawn(move || log.lines().map_while(Result::ok).count()));
    let scrapes = || program.number(VIEWER, "culex_http_requests_total{code=\"2xx\"}");
    let before = scrapes();
    let refused = || program.number(VIEWER, "culex_http_unauthorized_total");
    // Our own requests are counted too, one each.
    let mut asked = 0.0;
    until(|| {
        asked += 1.0;
        scrapes() > before + asked + 3.0
    });
    assert_eq!(refused(), 0.0);
    drop(child);
}
