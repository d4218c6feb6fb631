//! `conformance/manifest.toml` and `conformance/statements.txt`, read.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::Deserialize;

/// Which case tests which statement.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// One row per statement that binds a Server.
    pub statement: Vec<Row>,
    /// Cases of behaviour that no numbered statement describes.
    #[serde(default)]
    pub beyond: Vec<Beyond>,
}

/// One statement.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// `MQTT-x.y.z-n`.
    pub id: String,
    /// Tested or not.
    pub status: Status,
    /// `module::name` of each case that would fail if the statement were broken.
    #[serde(default)]
    pub tests: Vec<String>,
    /// For [`Status::Later`]: the part of Culex that brings it.
    pub step: Option<String>,
    /// Deviation, choice or limit, where there is something to say.
    pub note: Option<String>,
}

/// Whether a statement is tested.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// At least one case fails when the broker breaks it.
    Tested,
    /// It concerns a part that is not built yet.
    Later,
}

/// Cases that no numbered statement describes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beyond {
    /// `module::name`.
    pub tests: Vec<String>,
    /// Where the behaviour comes from.
    pub reason: String,
}

impl Manifest {
    /// Parses the manifest.
    ///
    /// # Errors
    ///
    /// Where the text is not a manifest.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        toml::from_str(text).context("manifest.toml")
    }

    /// The statements that each case tests.
    #[must_use]
    pub fn statements_by_test(&self) -> BTreeMap<String, Vec<String>> {
        let mut map: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for row in &self.statement {
            for test in &row.tests {
                map.entry(test.clone()).or_default().push(row.id.clone());
            }
        }
        map
    }
}

/// Whom a statement binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binds {
    /// The Server.
    Server,
    /// Client and Server alike.
    Both,
    /// The Client, and a Server has to notice when it is broken.
    Detect,
    /// The Client only.
    Client,
}

/// One line of `statements.txt`.
#[derive(Clone, Debug)]
pub struct Statement {
    /// `MQTT-x.y.z-n`.
    pub id: String,
    /// Whom it binds.
    pub binds: Binds,
    /// The rule in a few words.
    pub rule: String,
}

/// Parses lines of `MQTT-x.y.z-n S rule`, leaving out empty lines and those that begin with `#`.
///
/// # Errors
///
/// The first line that has another form.
pub fn parse_statements(text: &str) -> anyhow::Result<Vec<Statement>> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.splitn(3, ' ');
            let (Some(id), Some(binds), Some(rule)) = (words.next(), words.next(), words.next()) else {
                anyhow::bail!("not a statement: {line}");
            };
            let binds = match binds {
                "S" => Binds::Server,
                "B" => Binds::Both,
                "D" => Binds::Detect,
                "C" => Binds::Client,
                _ => anyhow::bail!("whom does it bind? {line}"),
            };
            Ok(Statement { id: id.to_owned(), binds, rule: rule.to_owned() })
        })
        .collect()
}
