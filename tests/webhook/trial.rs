//! `culex webhook test`: what is wrong, and what to do about it.

use std::fs;

use crate::flask::Flask;
use crate::program::{culex, text};
use crate::receiver::{Receiver, say};

/// Tries a webhook at this URL: whether it was taken, and what was printed.
fn try_at(url: &str, more: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("culex.toml");
    fs::write(&file, format!("[[webhook]]\nname = \"w\"\nurl = \"{url}\"\ntopics = [\"#\"]\n{more}\n"))
        .unwrap();
    let output = culex(&["webhook", "test", "w", "-c", &file.display().to_string()]);
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn a_forgotten_import_in_flask_is_seen_and_explained() {
    let Some(flask) = Flask::start("tests/webhook/programs", "forgotten", &[]) else { return };
    let (is_taken, said) = try_at(&format!("{}/webhook", flask.url), "");
    assert!(!is_taken);
    for part in ["answer 500", "Internal Server Error", "from flask import Flask, request"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let Some(flask) = Flask::start("tests/webhook/programs", "course", &[]) else { return };
    let (is_taken, said) = try_at(&format!("{}/webhook", flask.url), "");
    assert!(is_taken && said.contains("Webhook received") && said.contains("has taken it"), "{said}");
    let (is_taken, said) = try_at(&format!("{}/webhook/", flask.url), "");
    assert!(!is_taken && said.contains("answer 404") && said.contains("route of the receiver"), "{said}");
    let (is_taken, said) = try_at(&format!("{}/webhook", flask.url), "method = \"PUT\"");
    assert!(!is_taken && said.contains("answer 405") && said.contains("methods=[\"POST\"]"), "{said}");
    let (is_taken, said) = try_at(&format!("{}/webhook", flask.url), "body = \"cloudevents\"");
    assert!(is_taken, "get_json() takes every +json: {said}");
}

#[test]
fn each_answer_has_its_hint() {
    for (status, hint) in [
        (400, "could not read the body"),
        (401, "webhook.headers"),
        (415, "Content-Type"),
        (503, "is it running"),
    ] {
        let receiver = Receiver::new(move |_, stream| say(stream, status, "", "because"));
        let (is_taken, said) = try_at(&receiver.url(), "");
        assert!(!is_taken && said.contains(hint) && said.contains("because"), "{status}: {said}");
    }
    let (is_taken, said) = try_at("http://127.0.0.1:1/", "");
    assert!(!is_taken && said.contains("is the receiver running"), "{said}");
}

#[test]
fn secrets_are_not_shown() {
    let receiver = Receiver::good();
    let more = "secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n[webhook.headers]\nAuthorization = \"Bearer s3cr3t\"";
    let (is_taken, said) = try_at(&receiver.url(), more);
    assert!(is_taken, "{said}");
    assert_eq!(receiver.requests()[0].head["authorization"], "Bearer s3cr3t");
    assert!(!said.contains("s3cr3t") && !said.contains("MfKQ9r8") && said.contains("(hidden)"), "{said}");
}
