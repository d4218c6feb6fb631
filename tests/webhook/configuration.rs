//! What is wrong with a `[[webhook]]` is said when the file is read, with its line and its key.

use std::fs;

use crate::program::{culex, text};

fn check(webhook: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("culex.toml");
    fs::write(&file, webhook).unwrap();
    let output = culex(&["check", &file.display().to_string()]);
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn bad_input_is_named_at_load() {
    let good = "[[webhook]]\nname = \"w\"\nurl = \"http://127.0.0.1/\"\ntopics = [\"#\"]\n";
    assert!(check(good).0, "{:?}", check(good));
    for (from, to, line, expected) in [
        ("127.0.0.1/", "127.0.0.1/#x", 3, "`url`"),
        ("127.0.0.1/", "ann:pw@127.0.0.1/", 3, "`url`"),
        ("http:", "file:", 3, "`url`"),
        ("127.0.0.1/", "169.254.169.254/latest/meta-data/", 3, "allow_link_local"),
        ("127.0.0.1/", "[fe80::1]/", 3, "allow_link_local"),
        ("127.0.0.1/", "[fd00:ec2::254]/", 3, "allow_link_local"),
        ("127.0.0.1/", "[::ffff:169.254.169.254]/", 3, "allow_link_local"),
        ("127.0.0.1/", "0.0.0.0/", 3, "127.0.0.1"),
        ("url = \"http://127.0.0.1/\"\n", "", 1, "`url`"),
        ("\"w\"", "\"a/b\"", 2, "name of a webhook"),
        ("[\"#\"]", "[\"a/#/b\"]", 4, "`topics`"),
        ("[\"#\"]", "[\"$share/g/a\"]", 4, "`topics`"),
        ("topics = [\"#\"]\n", "", 1, "`topics`"),
        ("[\"#\"]", "[\"#\"]\nsecret = \"too short\"", 5, "`secret`"),
        ("[\"#\"]", "[\"#\"]\nevents = [\"client.connected\"]", 4, "message.published"),
        ("[\"#\"]", "[\"#\"]\nbody = \"payload\"\nbatch = 2", 6, "`batch`"),
        ("[\"#\"]", "[\"#\"]\n[webhook.headers]\n\"a b\" = \"c\"", 6, "`headers`"),
        ("[\"#\"]", "[\"#\"]\n[webhook.headers]\nX = \"a\\r\\nY: b\"", 6, "`headers`"),
        ("[\"#\"]", "[\"#\"]\n[webhook.headers]\nHost = \"b\"", 6, "`headers`"),
        ("[\"#\"]", "[\"#\"]\ntimeuot = \"3s\"", 5, "timeout"),
        ("[\"#\"]", "[\"#\"]\nbatch = 1001", 5, "1 … 1,000"),
    ] {
        let (is_good, said) = check(&good.replacen(from, to, 1));
        assert!(!is_good, "{to}");
        assert!(said.contains(&format!("culex.toml:{line}:")) && said.contains(expected), "{to}: {said}");
    }
}
