//! Signatures, looked at by the reference library of the specification.

use serde_json::Value;

use crate::flask::Flask;
use crate::program::{Publisher, broker, webhook};

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

#[test]
fn the_reference_library_of_standard_webhooks_verifies_each_request() {
    let Some(flask) = Flask::start("tests/webhook/programs", "verifier", &[("SECRET", SECRET)]) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let webhook = webhook(&format!("{}/webhook", flask.url), &format!("secret = \"{SECRET}\""));
    let broker = broker(folder.path(), &webhook);
    let mut publisher = Publisher::connect(&broker);
    for (topic, payload) in [("sensors/a", "{\"x\":1}"), ("sensors/ação", "olá"), ("sensors/b", "")] {
        assert!(publisher.publish(topic, payload));
        let said: Value = serde_json::from_str(&flask.line()).unwrap();
        assert_eq!((&said["verified"], &said["topic"]), (&Value::Bool(true), &Value::from(topic)), "{said}");
    }
}

#[test]
fn a_request_that_is_signed_with_another_key_is_refused_by_it() {
    let Some(flask) = Flask::start("tests/webhook/programs", "verifier", &[("SECRET", SECRET)]) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let other = "secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"";
    let broker = broker(folder.path(), &webhook(&format!("{}/webhook", flask.url), other));
    assert!(Publisher::connect(&broker).publish("sensors/a", "1"));
    let said: Value = serde_json::from_str(&flask.line()).unwrap();
    assert_eq!(said["verified"], Value::Bool(false), "{said}");
}
