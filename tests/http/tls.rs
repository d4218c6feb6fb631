//! The API within TLS, spoken by OpenSSL's client.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use culex_tests::tools::has;

use crate::program::Program;
use crate::request::{Answer, connect};

/// What the server answers to a client that knows this certificate.
fn ask(program: &Program, certificate: &Path, target: &str) -> Option<Answer> {
    let mut child = Command::new("openssl")
        .args([
            "s_client",
            "-quiet",
            "-verify_return_error",
            "-verify_hostname",
            "localhost",
            "-alpn",
            "http/1.1",
        ])
        .args(["-connect", &program.http.to_string(), "-CAfile", &certificate.display().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let authorization = program.bearer();
    let request = format!(
        "GET {target} HTTP/1.1\r\nhost: localhost\r\nauthorization: {authorization}\r\nconnection: close\r\n\r\n"
    );
    // A client that does not trust the server has gone by now.
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(request.as_bytes());
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    (!output.stdout.is_empty()).then(|| Answer::parse(&output.stdout))
}

#[test]
fn it_is_spoken_within_tls_and_a_reload_changes_the_certificate() {
    if !has("openssl") {
        return;
    }
    let (program, certificate) = Program::with_tls();
    assert!(program.link.starts_with("https://"), "{}", program.link);
    let metrics = ask(&program, &certificate, "/metrics").unwrap().text();
    assert!(
        metrics.contains("culex_tls_certificate_not_after_timestamp_seconds{listener=\"http\"} "),
        "{metrics}"
    );
    // Without TLS nothing is said in clear.
    let mut plain = connect(program.http);
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = std::io::Read::read_to_end(&mut plain, &mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");

    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let new = program.folder.path().join("new.crt");
    std::fs::write(&new, other.cert.pem()).unwrap();
    assert!(ask(&program, &new, "/healthz").is_none(), "it is not trusted yet");
    std::fs::write(program.folder.path().join("http.key"), other.signing_key.serialize_pem()).unwrap();
    std::fs::write(&certificate, other.cert.pem()).unwrap();
    let status = Command::new("kill").args(["-HUP", &program.broker.pid().to_string()]).status().unwrap();
    assert!(status.success());
    let began = Instant::now();
    while ask(&program, &new, "/healthz").is_none() {
        assert!(began.elapsed() < Duration::from_secs(60), "{}", program.broker.log());
    }
}
