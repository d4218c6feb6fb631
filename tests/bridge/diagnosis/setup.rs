//! A bridge, the stand-in for AWS IoT Core, and what a case makes wrong of the two.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use culex::aws_emulator::{Emulator, Policy, Role, SERVER_NAME, Scenario};
use culex::bridge::diagnosis::{Options, Row, diagnose};
use culex::config::{Config, Environment};

use super::identity::Authority;

/// What everybody begins with: it works.
pub(super) const CONFIG: &str = "\
[[bridge]]
name = \"aws\"
address = \"@8883@\"
preset = \"aws-iot\"
client_id = \"shed\"
[bridge.tls]
ca_file = \"@DIR@/root.crt\"
certificate = \"@DIR@/client.crt\"
key = \"@DIR@/client.key\"
server_name = \"@NAME@\"
[[bridge.out]]
filter = \"data/#\"
[[bridge.out]]
filter = \"both/#\"
[[bridge.in]]
filter = \"cmd/#\"
[[bridge.in]]
filter = \"both/#\"
";

/// What a case changes, before anything runs.
pub(super) struct Plan {
    pub(super) config: String,
    /// Files below the folder, written over those that are right.
    pub(super) files: Vec<(&'static str, String)>,
    pub(super) scenario: Scenario,
    pub(super) policy: Policy,
    pub(super) options: Options,
}

impl Plan {
    pub(super) fn new() -> Self {
        let mut options = Options::default();
        options.hold = Duration::from_millis(300);
        options.publish = true;
        Self {
            config: CONFIG.to_owned(),
            files: Vec::new(),
            scenario: Scenario::default(),
            policy: Policy::allow_all(),
            options,
        }
    }

    /// Another line for one of the configuration.
    pub(super) fn replace(&mut self, from: &str, to: &str) {
        assert!(self.config.contains(from), "{from}");
        self.config = self.config.replace(from, to);
    }

    /// Everything is allowed but this action.
    pub(super) fn forbid(&mut self, action: &str) {
        let policy = format!(
            "{{\"Version\": \"2012-10-17\", \"Statement\": [{{\"Effect\": \"Allow\", \"Action\": \"*\", \"Resource\": \"*\"}}, \
             {{\"Effect\": \"Deny\", \"Action\": \"{action}\", \"Resource\": \"*\"}}]}}"
        );
        self.policy = Policy::from_json(&policy).unwrap();
    }

    pub(super) fn file(&mut self, name: &'static str, content: impl Into<String>) {
        self.files.push((name, content.into()));
    }

    /// A certificate of this time, by a CA of its own.
    pub(super) fn certificate(&mut self, years: (i32, i32)) {
        let (certificate, key) = Authority::new("a CA").client(years);
        self.file("client.crt", certificate);
        self.file("client.key", key);
    }

    /// What is said, and all that stands behind it.
    pub(super) async fn diagnose(mut self) -> (Vec<Row>, Emulator, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let emulator = Emulator::builder()
            .policy(self.policy.clone())
            .scenario(self.scenario.clone())
            .start()
            .await
            .unwrap();
        let material = emulator.material().unwrap();
        let right = [
            ("root.crt", material.root.clone()),
            ("client.crt", material.client.certificate.clone()),
            ("client.key", material.client.key.clone()),
        ];
        let content_of = |text: &str| match text.strip_prefix('@') {
            Some(name) => right.iter().find(|(of, _)| *of == name).unwrap().1.clone(),
            None => text.to_owned(),
        };
        for (name, content) in right
            .iter()
            .map(|(name, content)| (*name, content.clone()))
            .chain(self.files.iter().map(|(name, content)| (*name, content_of(content))))
        {
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        if self.options.genuine.is_none() {
            self.options.genuine = Some(write(&folder, "genuine.crt", &material.root));
        }
        let at = |role| emulator.address(role).unwrap().to_string();
        let text = self
            .config
            .replace("@8883@", &at(Role::Port8883))
            .replace("@443@", &at(Role::Port443))
            .replace("@NAME@", SERVER_NAME)
            .replace("@DIR@", &folder.path().display().to_string());
        let file = write(&folder, "culex.toml", &text);
        let config = match Config::load(Some(&file), &Environment::default()) {
            Ok(config) => config,
            Err(error) => panic!("{error}"),
        };
        let bridge = config.bridges.first().unwrap();
        let rows = diagnose(bridge, &self.options, |_| {}).await;
        (rows, emulator, folder)
    }
}

fn write(folder: &tempfile::TempDir, name: &str, content: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    path
}
