//! A process that may have few files open, and clients that take them all.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use culex_tests::broker::Broker;
use culex_tests::client::{Client, Next};
use culex_tests::parse::Received;
use culex_tests::wire::Connect;

use crate::process::{cpu, within};

/// `secret`, by `culex passwd --compat -I 1000`.
const USERS: &str = "ann:$7$1000$fjbKOU0W3gMNv55B$RDC9PFgMm3FhoJTYnvxEOLFS4HGzRD/9U/1Ok76OVXzyVhjjANYilhs6qtQYft6csxMyAXujRK8yCEJQT6Cd4w==\n";
const FILES: u32 = 64;

/// A broker that asks for passwords and may have few files.
fn start(folder: &tempfile::TempDir) -> Broker {
    let users = folder.path().join("users");
    std::fs::write(&users, USERS).unwrap();
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[auth]\npassword_file = {users:?}\n\
         [limits]\nconnect_timeout = \"30 s\"\n"
    );
    let limit = format!("ulimit -n {FILES} && exec \"$@\"");
    Broker::start_below(&["sh", "-c", &limit, "sh"], &config).unwrap_or_else(|ended| panic!("{ended:?}"))
}

/// CONNACK's code for ann with this password, or for nobody.
fn answer(address: SocketAddr, password: Option<&[u8]>) -> Option<u8> {
    let mut client = Client::open(address);
    let connect = Connect::new("somebody");
    let connect = match password {
        Some(password) => connect.credentials("ann", password),
        None => connect,
    };
    client.send(connect.encode());
    match client.next_within(Duration::from_secs(50)) {
        Next::Packet(Received::ConnAck { code, .. }) => Some(code),
        Next::Packet(_) | Next::Closed | Next::Silence => None,
    }
}

#[test]
fn fd_exhaustion_pauses_accepting_and_cve_2017_7652_a_reload_meanwhile_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(&folder);
    let mut client = Client::open(broker.addr);
    client.send(Connect::new("ann").credentials("ann", b"secret").encode());
    client.expect(&Received::ConnAck { session_present: false, code: 0 });
    // More than it can have; the rest waits in the system's queue.
    let crowd: Vec<_> = (0..2 * FILES).map(|_| TcpStream::connect(broker.addr).unwrap()).collect();
    assert!(
        within(Duration::from_secs(10), || broker.log().contains("cannot accept connections")),
        "{}",
        broker.log()
    );

    // Nobody gets in, but nobody spins, and those who are there are served.
    let before = cpu(&broker);
    std::thread::sleep(Duration::from_secs(1));
    let used = cpu(&broker) - before;
    assert!(used < Duration::from_millis(500), "{used:?} of CPU time in a second");
    client.send([0xc0, 0]);
    client.expect(&Received::PingResp);

    // No file can be read now. What was in force stays so.
    assert!(Command::new("kill").args(["-HUP", &broker.pid().to_string()]).status().unwrap().success());
    let is_answered =
        || broker.log().contains("nothing was changed") || broker.log().contains("was read again");
    assert!(within(Duration::from_secs(10), is_answered), "{}", broker.log());
    client.send([0xc0, 0]);
    client.expect(&Received::PingResp);

    drop(crowd);
    let mut said = None;
    assert!(
        within(Duration::from_secs(50), || {
            said = answer(broker.addr, Some(b"secret"));
            said == Some(0)
        }),
        "{said:?}"
    );
    assert_eq!(answer(broker.addr, None), Some(5));
    assert_eq!(answer(broker.addr, Some(b"guess")), Some(4));
}
