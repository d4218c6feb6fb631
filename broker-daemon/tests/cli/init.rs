//! `culex init`: what it writes is a broker that starts, and what it prints works as it stands there.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::harness::{Running, culex, has_mosquitto, run, run_ok, text};

/// Sets up a broker in a folder of its own and starts it, as the printed line says. Gives also what was printed.
fn set_up(options: &[&str]) -> (tempfile::TempDir, Running, String) {
    // A port that was free a moment ago is tried until it is.
    for _ in 0..20 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let named = folder.path().join("it's here");
        let port = port.to_string();
        let mut command = culex(&[&["init", "-p", &port], options].concat());
        command.arg(&named);
        let printed = run_ok(command);
        assert!(printed.contains(&format!("culex -c '{}", folder.path().display())), "{printed}");
        let mut command = culex(&["--ephemeral", "-c"]);
        command.arg(named.join("culex.toml"));
        let running = Running::start_both(command);
        while let Some(line) = running.line() {
            if line.starts_with("listening on ") {
                return (folder, running, printed);
            }
        }
    }
    panic!("no port is free");
}

/// Runs the printed line that begins so.
fn run_printed(printed: &str, beginning: &str) -> std::process::Output {
    let line = printed.lines().find(|line| line.starts_with(beginning)).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", line]);
    run(shell)
}

#[test]
fn what_it_prints_connects_to_what_it_wrote() {
    if !has_mosquitto() {
        return;
    }
    for options in [&[][..], &["--tls"], &["--tls", "--lan", "--user", "it's $me"]] {
        let (folder, broker, printed) = set_up(options);
        let sent = run_printed(&printed, "mosquitto_pub ");
        assert!(sent.status.success() && sent.stderr.is_empty(), "{options:?}: {}", text(&sent.stderr));
        // Without the password nobody comes in.
        let password = printed.split(", password ").nth(1).unwrap().split(' ').next().unwrap();
        assert_eq!(password.len(), 20);
        let wrong = run_printed(&printed.replace(password, "wrong"), "mosquitto_pub ");
        assert!(!wrong.status.success());
        assert_eq!(broker.terminate(), Some(0));
        drop(folder);
    }
}

#[test]
fn files_are_for_whom_they_are_and_stay() {
    let folder = tempfile::tempdir().unwrap();
    let init = |options: &[&str]| {
        let mut command = culex(&[&["init"], options].concat());
        command.arg(folder.path());
        command
    };
    let printed = run_ok(init(&["--tls", "--name", "broker.example"]));
    let names = ["culex.toml", "users", "ca.crt", "ca.key", "server.crt", "server.key"];
    for (name, mode) in names.iter().zip([0o644, 0o600, 0o644, 0o600, 0o644, 0o600]) {
        let found = fs::metadata(folder.path().join(name)).unwrap().mode() & 0o777;
        assert_eq!(found, mode, "{name}");
        assert!(printed.contains(&format!("  {name} ")), "{printed}");
    }
    assert!(
        run_ok({
            let mut command = culex(&["check", "-c"]);
            command.arg(folder.path().join("culex.toml"));
            command
        })
        .contains("culex.toml")
    );
    let before: Vec<_> = names.map(|name| fs::read(folder.path().join(name)).unwrap()).into();
    for options in [&["--tls"][..], &[]] {
        let again = run(init(options));
        assert_eq!(again.status.code(), Some(1));
        let said = text(&again.stderr);
        assert!(
            said.contains("nothing is written") && said.contains("server.crt  the certificate"),
            "{said}"
        );
    }
    let after: Vec<_> = names.map(|name| fs::read(folder.path().join(name)).unwrap()).into();
    assert_eq!(before, after);
    certificate_is_as_it_should(folder.path());
}

/// As OpenSSL sees it.
fn certificate_is_as_it_should(folder: &Path) {
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(folder).output();
        output.map(|output| text(&output.stdout) + &text(&output.stderr))
    };
    let Ok(verified) =
        openssl(&["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "ca.crt", "server.crt"])
    else {
        println!("skipped: openssl is not installed");
        return;
    };
    assert_eq!(verified, "server.crt: OK\n");
    let shown = openssl(&["x509", "-in", "server.crt", "-noout", "-text"]).unwrap();
    for part in [
        "ASN1 OID: prime256v1",
        "DNS:broker.example",
        "DNS:localhost",
        "IP Address:127.0.0.1",
        "TLS Web Server Authentication",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let within = |days: u32| {
        openssl(&["x509", "-in", "server.crt", "-noout", "-checkend", &(days * 86_400).to_string()]).unwrap()
    };
    assert!(within(823).contains("will not expire") && within(825).contains("will expire"));
}
