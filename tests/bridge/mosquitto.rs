//! Debian's mosquitto on the other side.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use culex::bridge::Prepared;
use culex::config::{Config, Environment};
use culex_core::QoS;
use culex_tests::mosquitto::Mosquitto;

use crate::authority::{Authority, Identity};
use crate::kit::{Ear, Here};
use crate::network::{Remote, free_port};

fn save(folder: &Path, name: &str, identity: &Identity) {
    fs::write(folder.join(format!("{name}.crt")), &identity.certificate).unwrap();
    let key = folder.join(format!("{name}.key"));
    fs::write(&key, &identity.key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
}

/// Mosquitto behind mutual TLS, with a plain listener for those who look.
fn start(folder: &Path, authority: &Authority) -> (Mosquitto, u16) {
    fs::write(folder.join("ca.crt"), &authority.pem).unwrap();
    save(folder, "server", &authority.server(&["localhost", "broker.example"]));
    save(folder, "shed", &authority.client("shed"));
    save(folder, "foreign", &Authority::new("foreign").client("shed"));
    let (path, plain) = (folder.display(), free_port());
    let listener = format!(
        "cafile {path}/ca.crt\ncertfile {path}/server.crt\nkeyfile {path}/server.key\nrequire_certificate true\n\
         use_identity_as_username true\nlistener {plain} 127.0.0.1\n"
    );
    (Mosquitto::start("", &listener), plain)
}

/// A bridge to it, with these lines in `[bridge.tls]`.
async fn bridge(here: &Here, folder: &Path, port: u16, own: &str, tls: &str) {
    let toml = format!(
        "[[bridge]]\nname = \"cloud\"\naddress = \"localhost:{port}\"\nclient_id = \"shed\"\nreconnect_max = \"1s\"\n{own}\n\
         [bridge.tls]\n{tls}\n[[bridge.out]]\nfilter = \"up/#\"\nremote_prefix = \"site/\"\nqos = 2\n[[bridge.in]]\n\
         filter = \"down/#\"\nremote_prefix = \"site/\"\nqos = 2\n"
    )
    .replace("FOLDER", &folder.display().to_string());
    let file = folder.join("culex.toml");
    fs::write(&file, toml).unwrap();
    let config = Config::load(Some(&file), &Environment::default()).unwrap();
    here.bridges.follow(Prepared::read(&config).unwrap()).await;
}

const IDENTITY: &str =
    "ca_file = \"FOLDER/ca.crt\"\ncertificate = \"FOLDER/shed.crt\"\nkey = \"FOLDER/shed.key\"";

#[tokio::test]
async fn messages_go_both_ways_over_mutual_tls() {
    if !Mosquitto::is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (mosquitto, plain) = start(folder.path(), &Authority::new("authority"));
    for own in ["", "try_private = true", "protocol = \"5.0\""] {
        let here = Here::start().await;
        bridge(&here, folder.path(), mosquitto.address.port(), own, IDENTITY).await;
        here.until_up().await;
        let mut far = Remote::connect(([127, 0, 0, 1], plain).into(), "far").await;
        far.subscribe("site/up/#").await;
        let mut near = Ear::at(&here.broker, "near", "down/#").await;
        for n in 0..100 {
            let qos = [QoS::AtLeastOnce, QoS::ExactlyOnce][n % 2];
            near.client.publish("up/1", n.to_string(), qos).await.unwrap();
        }
        // Of the two kinds each keeps its order; one of QoS 2 is there with its PUBREL.
        let mut next = [0, 1];
        for _ in 0..100 {
            let heard = far.hear().await;
            let n: usize = std::str::from_utf8(&heard.payload).unwrap().parse().unwrap();
            assert_eq!((&*heard.topic, n), ("site/up/1", next[n % 2]), "{own}");
            next[n % 2] += 2;
        }
        // The subscription of the bridge may be younger than the connection.
        let mut heard = None;
        while heard.is_none() {
            far.publish("site/down/1", "hello").await;
            let waiting = tokio::time::timeout(std::time::Duration::from_millis(200), near.hear());
            heard = waiting.await.ok();
        }
        assert_eq!(heard.unwrap().topic, "down/1");
        let state = if own.is_empty() { "$SYS/broker/connection/shed/state" } else { "nothing" };
        far.subscribe(state).await;
        if own.is_empty() {
            assert_eq!(&far.hear().await.payload[..], b"1", "as mosquitto's own bridges");
        }
        here.bridges.stop().await;
    }
}

#[tokio::test]
async fn what_is_wrong_with_tls_is_named_and_never_overlooked() {
    if !Mosquitto::is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (mosquitto, _) = start(folder.path(), &Authority::new("authority"));
    fs::write(folder.path().join("other.crt"), &Authority::new("other").pem).unwrap();
    for (tls, expected) in [
        (
            "ca_file = \"FOLDER/other.crt\"".to_owned()
                + "\ncertificate = \"FOLDER/shed.crt\"\nkey = \"FOLDER/shed.key\"",
            "not signed by this CA",
        ),
        (format!("{IDENTITY}\nserver_name = \"wrong.example\""), "has not this host name"),
        ("ca_file = \"FOLDER/ca.crt\"".to_owned(), "wants a certificate"),
    ] {
        let here = Here::start().await;
        bridge(&here, folder.path(), mosquitto.address.port(), "", &tls).await;
        let view = here.until("down", |view| view["state"] == "down").await;
        let why = view["why"].as_str().unwrap();
        assert!(why.contains(expected), "{tls}: {why}");
        here.bridges.stop().await;
    }
    for tls in [
        format!("{IDENTITY}\nserver_name = \"broker.example\""),
        format!("{IDENTITY}\nserver_name = \"any.example\"\ninsecure = true"),
    ] {
        let here = Here::start().await;
        bridge(&here, folder.path(), mosquitto.address.port(), "", &tls).await;
        here.until_up().await;
        here.bridges.stop().await;
    }
}
