//! A bridge to the stand-in for AWS IoT Core over TLS: what it says in its handshake, and what is said of a wrong one.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use culex::aws_emulator::{Emulator, Role, SERVER_NAME};
use culex::bridge::Prepared;
use culex::config::{Config, Environment};
use serde_json::Value;

use crate::kit::Here;

/// What becomes of a bridge to port 443 that asks for this protocol of a server with this name.
async fn connect(alpn: &str, server_name: &str, state: &str) -> (Value, Emulator) {
    let emulator = Emulator::builder().start().await.unwrap();
    let material = emulator.material().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("root.crt", &material.root),
        ("client.crt", &material.client.certificate),
        ("client.key", &material.client.key),
    ] {
        fs::write(folder.path().join(name), content).unwrap();
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let address = emulator.address(Role::Port443).unwrap();
    let dir = folder.path().display();
    let file = folder.path().join("culex.toml");
    let text = format!(
        "[[bridge]]\nname = \"aws\"\naddress = \"{address}\"\npreset = \"aws-iot\"\nclient_id = \"shed\"\n\
         [bridge.tls]\nca_file = \"{dir}/root.crt\"\ncertificate = \"{dir}/client.crt\"\nkey = \"{dir}/client.key\"\n\
         server_name = \"{server_name}\"\nalpn = \"{alpn}\"\n[[bridge.out]]\nfilter = \"t/#\"\n"
    );
    fs::write(&file, text).unwrap();
    let config = Config::load(Some(&file), &Environment::default()).unwrap();
    let here = Here::start().await;
    here.bridges.follow(Prepared::read(&config).unwrap()).await;
    let view = here.until(state, |view| view["state"] == state).await;
    here.bridges.stop().await;
    (view, emulator)
}

#[tokio::test]
async fn aic_net_03_tls_04_alpn_and_name_open_port_443() {
    let (_, emulator) = connect("x-amzn-mqtt-ca", SERVER_NAME, "up").await;
    emulator.violations().are_exactly(&[]).unwrap();
    assert_eq!(emulator.observations().connects.total(), 1);
}

#[tokio::test]
async fn aic_net_03_another_protocol_is_refused_and_named() {
    let (view, emulator) = connect("h2", SERVER_NAME, "down").await;
    assert!(view.to_string().contains("does not know this application protocol"), "{view:#}");
    assert_eq!(emulator.observations().connects.total(), 0);
}

#[tokio::test]
async fn aic_tls_04_another_name_is_refused_and_named() {
    let (view, emulator) = connect("x-amzn-mqtt-ca", "example.org", "down").await;
    assert!(view.to_string().contains("a host name which is not its own"), "{view:#}");
    assert!(emulator.violations().count("AIC-TLS-04") >= 1);
}
