//! Queues of webhooks that make publishers wait (`when_full = "block"`).

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use serde_json::Value;

use crate::program::{Publisher, QUICK, broker, ctl, culex, eventually, text, webhook};
use crate::receiver::Receiver;

const MESSAGES: u64 = 100;
/// Messages that the queue holds.
const MOST: u64 = 20;

/// `culex webhook status`, as text or JSON. Its exit code says that the service is away.
fn status(folder: &Path, more: &[&str]) -> String {
    let folder = folder.display().to_string();
    text(&culex(&[&["webhook", "status", "--data-dir", &folder], more].concat()).stdout)
}

fn queue(folder: &Path) -> Value {
    let listed: Value = serde_json::from_str(&status(folder, &["--json"])).unwrap();
    listed["items"][0]["queue"].clone()
}

#[test]
fn publishers_wait_for_a_service_that_is_away_and_nothing_is_lost() {
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let more =
        format!("concurrency = 1\n[webhook.queue]\nmax_messages = {MOST}\nwhen_full = \"block\"\n{QUICK}");
    let broker = broker(folder.path(), &webhook(&format!("http://{addr}/webhook"), &more));
    let taken = Arc::new(AtomicU64::new(0));
    let (mut publisher, counted) = (Publisher::connect(&broker), Arc::clone(&taken));
    let publishing = thread::spawn(move || {
        for number in 0..MESSAGES {
            assert!(publisher.publish("sensors/a", &number.to_string()));
            counted.fetch_add(1, Ordering::Release);
        }
    });
    eventually("its queue is full", || queue(folder.path())["publishers_wait"] == true);
    eventually("what it holds is acknowledged", || taken.load(Ordering::Acquire) >= MOST);
    // Who waits for each acknowledgement has no more than one message on its way.
    assert!((MOST..=MOST + 1).contains(&queue(folder.path())["messages"].as_u64().unwrap()));
    let said = status(folder.path(), &[]);
    assert!(said.contains("w: its queue is full: whoever publishes there waits"), "{said}");
    assert!(said.contains("w: `culex webhook test -c FILE w` finds out what is wrong"), "{said}");
    let mut other = Publisher::named(&broker, "other");
    assert!(other.publish("elsewhere", "others go on"));
    assert!(taken.load(Ordering::Acquire) <= MOST + 1);

    let receiver = Receiver::at(addr);
    publishing.join().unwrap();
    let got = receiver.wait("everything", |requests| requests.len() as u64 >= MESSAGES);
    let heard: Vec<_> = got.iter().map(|request| request.json()["payload"].as_u64().unwrap()).collect();
    assert_eq!(heard, (0..MESSAGES).collect::<Vec<_>>());
    eventually("its queue is empty", || {
        let queue = queue(folder.path());
        queue["messages"] == 0 && queue["publishers_wait"] == false
    });
    let told: Value = serde_json::from_str(&ctl(folder.path(), &["--json", "status"])).unwrap();
    assert_eq!(told["messages_dropped"], 0, "{told}");
}
