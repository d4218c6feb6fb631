//! A name that leads to another address the second time (DNS rebinding), end to end: the resolver of the system reads its
//! answers from a file that the test writes, by `libnss_wrapper`.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use culex_tests::broker::Broker;
use culex_tests::tools::is_installed;

use crate::program::{Publisher, QUICK, eventually, webhook};
use crate::receiver::{Receiver, say};

/// Answers getaddrinfo from a file.
fn wrapper() -> Option<String> {
    let folders = ["/usr/lib", "/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"];
    let found = folders.iter().map(|folder| format!("{folder}/libnss_wrapper.so"));
    let found = found.into_iter().find(|path| Path::new(path).exists());
    is_installed("libnss-wrapper", found.is_some()).then_some(found).flatten()
}

#[test]
fn threats_ssrf_a_name_that_leads_elsewhere_the_second_time_is_not_followed() {
    let Some(wrapper) = wrapper() else { return };
    // Each request needs a connection of its own, and with it a look at the name.
    let receiver = Receiver::new(|_, stream| {
        say(stream, 200, "connection: close\r\n", "");
        let _ = stream.shutdown(std::net::Shutdown::Both);
    });
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    // It reads the file again when the second of its last change is another one.
    let lead = |address: &str, second: u64| {
        fs::write(&hosts, format!("{address} hook.test\n")).unwrap();
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        File::options().write(true).open(&hosts).unwrap().set_modified(changed).unwrap();
    };
    lead("127.0.0.1", 1);
    let url = format!("http://hook.test:{}/webhook", receiver.addr.port());
    let toml = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[store]\ndirectory = {:?}\n{}",
        folder.path().join("data").display().to_string(),
        webhook(&url, &format!("concurrency = 1\n{QUICK}"))
    );
    let preload = format!("LD_PRELOAD={wrapper}");
    let names = format!("NSS_WRAPPER_HOSTS={}", hosts.display());
    let broker =
        Broker::start_below(&["env", &preload, &names], &toml).unwrap_or_else(|ended| panic!("{ended}"));
    let mut publisher = Publisher::connect(&broker);
    assert!(publisher.publish("sensors/a", "1"));
    receiver.wait("the first", |requests| requests.len() == 1);
    lead("169.254.169.254", 2);
    assert!(publisher.publish("sensors/a", "2"));
    let why = "169.254.169.254 is where clouds keep the keys of their machines, and nothing is sent there";
    eventually("it says why", || broker.log().contains(why));
    assert_eq!(receiver.requests().len(), 1);
    // What has waited is sent when the name leads back.
    lead("127.0.0.1", 3);
    let requests = receiver.wait("the second", |requests| requests.len() == 2);
    assert_eq!(requests[1].json()["payload"], 2);
}
