//! A device with small buffers and one cipher suite, such as an ESP8266 with BearSSL and `setBufferSizes(512, 512)`, played by
//! another TLS library than ours.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;

use culex_tests::parse::{Received, parse};
use culex_tests::tools::has;
use culex_tests::wire::{self, Connect, Publish};

use crate::program::Program;

const RECORD_BYTES: usize = 512;
/// What TLS 1.2 adds to the content of a record: nonce and tag of AES-GCM.
const OVERHEAD: usize = 24;

/// Carries one connection to the broker, and gives the lengths of the records that come back.
fn measure(listener: &TcpListener, broker: SocketAddr) -> Vec<usize> {
    let device = listener.accept().unwrap().0;
    let server = TcpStream::connect(broker).unwrap();
    let (mut from, mut to) = (device.try_clone().unwrap(), server.try_clone().unwrap());
    let up = thread::spawn(move || io::copy(&mut from, &mut to));
    let (mut from, mut to, mut records) = (server, device, Vec::new());
    let mut head = [0; 5];
    while from.read_exact(&mut head).is_ok() {
        let mut content = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
        from.read_exact(&mut content).unwrap();
        records.push(content.len());
        if to.write_all(&head).and_then(|()| to.write_all(&content)).is_err() {
            break;
        }
    }
    drop((from, to));
    let _ = up.join();
    records
}

#[test]
fn a_device_with_small_buffers_and_one_suite_gets_everything() {
    const SUITE: &str = "ECDHE-ECDSA-AES128-GCM-SHA256";
    if !has("openssl") {
        return;
    }
    let program = Program::start(|_, _| format!("max_fragment_size = {RECORD_BYTES}"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, broker) = (listener.local_addr().unwrap(), program.broker.addr);
    let records = thread::spawn(move || measure(&listener, broker));
    let mut device = Command::new("openssl")
        .args(["s_client", "-quiet", "-verify_return_error", "-connect", &address.to_string()])
        .args(["-servername", "localhost", "-verify_hostname", "localhost", "-tls1_2", "-cipher", SUITE])
        .args(["-groups", "P-256", "-max_send_frag", &RECORD_BYTES.to_string(), "-CAfile"])
        .arg(program.path("ca.crt"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut input, mut output) = (device.stdin.take().unwrap(), device.stdout.take().unwrap());
    let payload: Vec<u8> = (0..20_000).map(|n| (n / 251 + n) as u8).collect();
    let mut bytes = Connect::new("esp8266").encode();
    bytes.extend(wire::subscribe(1, &[("esp/echo", 1)]));
    for id in 1..=3 {
        bytes.extend(Publish::new("esp/echo", &payload).qos(1, id).encode());
    }
    let writer = thread::spawn(move || input.write_all(&bytes).map(|()| input));
    let (mut came, mut echoes, mut acknowledged, mut chunk) = (Vec::new(), 0, 0, [0; 4096]);
    while echoes < 3 || acknowledged < 3 {
        let count = output.read(&mut chunk).unwrap();
        assert!(count > 0, "it ended after {echoes} echoes and {acknowledged} acknowledgements");
        came.extend_from_slice(&chunk[..count]);
        while let Some((packet, used)) = parse(&came).unwrap() {
            came.drain(..used);
            match packet {
                Received::Publish(publish) => {
                    assert!(publish.payload == payload);
                    echoes += 1;
                }
                Received::PubAck(_) => acknowledged += 1,
                Received::ConnAck { code: 0, .. } | Received::SubAck(..) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    let mut input = writer.join().unwrap().unwrap();
    input.write_all(wire::DISCONNECT).unwrap();
    drop(input);
    device.wait().unwrap();
    let records = records.join().unwrap();
    assert!(records.len() > 3 * payload.len() / RECORD_BYTES, "{records:?}");
    assert!(records.iter().all(|len| *len <= RECORD_BYTES + OVERHEAD), "{records:?}");
}
