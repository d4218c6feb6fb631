//! The broker's start and end.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use crate::certificates::Authority;
use crate::harness::{Broker, Running, Subscriber, Tools, culex, run, run_ok, text};

#[test]
fn it_says_what_to_do_next() {
    let broker = Broker::culex(&[]);
    let rest: Vec<_> = std::iter::from_fn(|| broker.running.line()).take(6).collect();
    let banner = rest.join("\n");
    assert!(banner.starts_with("Only this computer can connect."), "{banner}");
    let port = broker.port;
    assert!(banner.contains(&format!("  culex sub -p {port} -t 'hello/#' -v")), "{banner}");
    assert!(banner.contains(&format!("  culex pub -p {port} -t hello/world -m hi")), "{banner}");
    // Any user name and password will do.
    run_ok(Tools::Culex.publish(&broker, &["-t", "a", "-m", "x", "-u", "me", "-P", "secret", "-q", "1"]));
    assert_eq!(broker.running.terminate(), Some(0));
}

#[cfg(feature = "store-sqlite")]
#[test]
fn state_is_kept_in_the_directory_for_one_broker_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let arguments = ["--data-dir", state.to_str().unwrap()];
    let broker = Broker::culex(&arguments);
    broker.running.line_with(&format!("are kept in {} (power", state.display()));
    run_ok(Tools::Culex.publish(&broker, &["-t", "a", "-m", "kept", "-r", "-q", "1"]));
    let second = run(culex(&[&["-p", "0"], &arguments[..]].concat()));
    assert_eq!(second.status.code(), Some(5));
    let stderr = text(&second.stderr);
    assert!(stderr.contains("in use by process") && stderr.contains("--ephemeral"), "{stderr}");
    assert_eq!(broker.running.terminate(), Some(0));
    let broker = Broker::culex(&arguments);
    let found = run_ok(Tools::Culex.subscribe(&broker, &["-t", "a", "-C", "1"]));
    assert_eq!(found.trim_end(), "kept");
    assert_eq!(broker.running.terminate(), Some(0));
}

#[cfg(feature = "store-sqlite")]
#[test]
fn without_a_word_state_is_kept_for_each_port() {
    let folder = tempfile::tempdir().unwrap();
    // Free a moment ago. If another program has taken it, the broker says so and ends.
    for _ in 0..20 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let mut command = culex(&["-p", &port]);
        command.env("XDG_STATE_HOME", folder.path());
        let running = Running::start(command);
        if running.line().is_none() {
            continue;
        }
        let state = folder.path().join("culex").join(format!("port-{port}"));
        running.line_with(&format!("are kept in {} (power", state.display()));
        assert!(state.join("culex.db").exists());
        assert_eq!(running.terminate(), Some(0));
        return;
    }
    panic!("no free port");
}

#[cfg(feature = "store-sqlite")]
#[test]
fn a_directory_that_cannot_be_made_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    // Also for root, who may write everywhere.
    let inside = file.join("state");
    let refused = run(culex(&["-p", "0", "--data-dir", inside.to_str().unwrap()]));
    assert_eq!(refused.status.code(), Some(5));
    let stderr = text(&refused.stderr);
    for expected in [inside.to_str().unwrap(), "`--data-dir DIR`", "`--ephemeral`"] {
        assert!(stderr.contains(expected), "{stderr}");
    }
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[cfg(feature = "store-sqlite")]
#[test]
fn a_file_of_another_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("culex.db"), "mine").unwrap();
    let refused = run(culex(&["-p", "0", "--data-dir", folder.path().to_str().unwrap()]));
    assert_eq!(refused.status.code(), Some(5));
    assert!(text(&refused.stderr).contains("not a store of Culex"), "{}", text(&refused.stderr));
    assert_eq!(std::fs::read(folder.path().join("culex.db")).unwrap(), b"mine");
}

#[test]
fn a_broker_may_keep_nothing() {
    let broker = Broker::culex(&["--ephemeral"]);
    broker.running.line_with("Sessions and retained messages end with the broker");
    assert_eq!(broker.running.terminate(), Some(0));
}

#[test]
fn it_ends_in_order_with_clients_connected() {
    let broker = Broker::culex(&[]);
    let subscriber = Subscriber::start(Tools::Culex, &broker, &["-t", "a", "--quiet"]);
    assert_eq!(broker.running.terminate(), Some(0));
    drop(subscriber);
}

/// The signal is caught before anybody can know that it runs.
#[test]
fn a_signal_right_after_the_banner_is_a_clean_end() {
    for _ in 0..20 {
        assert_eq!(Broker::culex(&[]).running.terminate(), Some(0));
    }
}

#[test]
fn a_port_that_is_taken_is_explained() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let output = run(culex(&["-p", &port.to_string()]));
    assert_eq!(output.status.code(), Some(3));
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains(&format!("cannot listen on 127.0.0.1:{port}: address already in use")),
        "{stderr}"
    );
    assert!(stderr.contains("`culex -p "), "{stderr}");
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn a_configuration_is_obeyed_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("culex.toml");
    let path = file.to_str().unwrap();
    let write = |text: &str| std::fs::write(&file, text).unwrap();

    // Windows line ends and a byte order mark.
    write("\u{feff}[[listener]]\r\naddress = \"127.0.0.1:0\"\r\n[limits]\r\npacket_bytes = 100\r\n");
    assert!(run_ok(culex(&["check", "-c", path])).contains("is correct"));
    let broker = Broker::culex(&["-c", path]);
    run_ok(Tools::Culex.publish(&broker, &["-t", "a", "-m", "small", "-q", "1"]));
    let large = "x".repeat(100);
    let refused = run(Tools::Culex.publish(&broker, &["-t", "a", "-m", &large, "-q", "1"]));
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stderr));
    drop(broker);

    write("[[listener]]\naddress = \"0.0.0.0:0\"\n");
    for arguments in [&["-c", path][..], &["check", "-c", path], &["check", path]] {
        let output = run(culex(arguments));
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let stderr = text(&output.stderr);
        assert!(stderr.contains("culex.toml:2:11: other computers can reach 0.0.0.0:0"), "{stderr}");
        assert!(stderr.contains("allow_anonymous = true"), "{stderr}");
    }

    write("[limits]\nin_fligth = 1\nconnections = 0\n");
    let stderr = text(&run(culex(&["check", "-c", path])).stderr);
    for expected in [":2:1: ", "did you mean `in_flight`?", ":3:15: ", "a limit cannot be 0", "2 errors"] {
        assert!(stderr.contains(expected), "{stderr}");
    }
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(files.len(), 1, "check writes nothing");
}

#[test]
fn a_check_names_every_file_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("culex.toml");
    let hook = "[[webhook]]\nname = \"a\"\nurl = \"https://127.0.0.1/\"\ntopics = [\"x\"]\n\
                [webhook.tls]\nca_file = \"no-hook-ca\"\n";
    let check = |config: &str| {
        std::fs::write(&file, config).unwrap();
        let output = run(culex(&["check", file.to_str().unwrap()]));
        (output.status.code(), text(&output.stderr))
    };

    let others = "[auth]\npassword_file = \"no-users\"\n[acl]\nfile = \"no-acl\"\n\
                  [http.tls]\ncertificate = \"no-page-crt\"\nkey = \"no-page-key\"\n\
                  [[listener]]\naddress = \"127.0.0.1:0\"\n[listener.tls]\ncertificate = \"no-crt\"\nkey = \"no-key\"\n";
    let (code, stderr) = check(&format!("{others}{hook}"));
    assert_eq!(code, Some(1), "{stderr}");
    for expected in ["no-users", "no-acl", "no-page-crt", "no-crt", "no-hook-ca", "errors"] {
        assert!(stderr.contains(expected), "{expected}: {stderr}");
    }
    let (code, stderr) = check(hook);
    assert_eq!(code, Some(4), "{stderr}");

    // What is wrong in the configuration hides nothing: both in one run.
    let wrong = "[limits]\nin_fligth = 1\n";
    let (code, stderr) = check(&format!("{wrong}{others}{hook}"));
    assert_eq!(code, Some(1), "{stderr}");
    for expected in ["did you mean `in_flight`?", "no-users", "no-acl", "no-page-crt", "no-crt", "no-hook-ca"]
    {
        assert!(stderr.contains(expected), "{expected}: {stderr}");
    }

    // A file is named once, where the configuration names it.
    let (own_certificate, own_key) = Authority::new().identity("client");
    let (certificate, key) = (folder.path().join("client.crt"), folder.path().join("client.key"));
    std::fs::write(&certificate, own_certificate).unwrap();
    std::fs::write(&key, own_key).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (code, stderr) = check(&format!(
        "[[bridge]]\nname = \"a\"\naddress = \"127.0.0.1:9\"\n[[bridge.out]]\nfilter = \"x\"\n[bridge.tls]\n\
         certificate = {certificate:?}\nkey = {key:?}\n"
    ));
    assert_eq!((code, stderr.matches("every user of this computer").count()), (Some(1), 1), "{stderr}");
}

#[test]
fn environment_variables_are_obeyed() {
    let mut command = culex(&["-p", "0"]);
    command.env("CULEX__LISTENER__0__ADDRESS", "[::1]:1883");
    let running = Running::start(command);
    // A machine without IPv6 cannot show it.
    match running.line() {
        Some(_) => assert!(running.line_with("listening on ").contains("[::1]:")),
        None => println!("skipped: no IPv6 loopback"),
    }
    let mut command = culex(&[]);
    command.env("CULEX__LIMITS__IN_FLIHT", "1");
    let output = run(command);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("did you mean `in_flight`?"), "{}", text(&output.stderr));
}

#[test]
fn log_lines_can_be_json() {
    let mut command = culex(&["-p", "0", "-v", "--log-format", "json"]);
    command.env_remove("CULEX__LOG__FORMAT");
    let running = Running::start_stderr(command);
    let line = running.line().unwrap();
    let object: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert!(object["timestamp"].is_string() && object["level"].is_string(), "{line}");
}
