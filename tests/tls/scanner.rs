//! What a scanner of TLS servers, sslyze, says of a listener.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use culex_tests::tools::python;

use crate::program::{Program, text};

#[test]
fn a_scanner_finds_nothing_old_and_nothing_weak() {
    let Some(python) = python("scanner") else { return };
    let program = Program::plain();
    let found = program.path("found.json");
    let output = Command::new(python)
        .args([
            "-m",
            "sslyze",
            "--sslv2",
            "--sslv3",
            "--tlsv1",
            "--tlsv1_1",
            "--tlsv1_2",
            "--tlsv1_3",
            "--reneg",
        ])
        .args(["--heartbleed", "--openssl_ccs", "--robot", "--compression", "--fallback", "--ems"])
        .arg(format!("--json_out={}", found.display()))
        .arg(format!("localhost:{}", program.broker.addr.port()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let found: Value = serde_json::from_slice(&fs::read(found).unwrap()).unwrap();
    let found = &found["server_scan_results"][0]["scan_result"];
    let result = |scan: &str| {
        assert_eq!(found[scan]["status"], "COMPLETED", "{scan}: {}", text(&output));
        &found[scan]["result"]
    };
    let suites = |scan: &str| {
        let accepted = result(scan)["accepted_cipher_suites"].as_array().unwrap();
        let mut names: Vec<_> =
            accepted.iter().map(|suite| suite["cipher_suite"]["name"].as_str().unwrap()).collect();
        names.sort_unstable();
        names
    };
    for old in ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"] {
        let scan = format!("{old}_cipher_suites");
        assert_eq!(suites(&scan), Vec::<&str>::new(), "{old}");
        assert_eq!(result(&scan)["is_tls_version_supported"], false, "{old}");
    }
    assert_eq!(
        suites("tls_1_2_cipher_suites"),
        [
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        ]
    );
    assert_eq!(
        suites("tls_1_3_cipher_suites"),
        ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]
    );
    for (scan, key, good) in [
        ("tls_compression", "supports_compression", false),
        ("openssl_ccs_injection", "is_vulnerable_to_ccs_injection", false),
        ("heartbleed", "is_vulnerable_to_heartbleed", false),
        ("tls_fallback_scsv", "supports_fallback_scsv", true),
        ("session_renegotiation", "is_vulnerable_to_client_renegotiation_dos", false),
        ("tls_extended_master_secret", "supports_ems_extension", true),
    ] {
        assert_eq!(result(scan)[key], good, "{scan}");
    }
    assert_eq!(result("session_renegotiation")["client_renegotiations_success_count"], 0);
    let robot = result("robot")["robot_result"].as_str().unwrap();
    assert!(robot.starts_with("NOT_VULNERABLE"), "{robot}");
}
