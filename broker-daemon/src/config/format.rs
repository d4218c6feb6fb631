//! Which of the two formats a file is in: `culex.toml`, or mosquitto's.

use toml::de::DeTable;

use crate::config::mosquitto::{is_option, nearest_option, shown, statements};
use crate::config::problem::{ConfigError, Problem};
use crate::config::source::Source;

/// A format of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `culex.toml`.
    #[default]
    Toml,
    /// mosquitto.conf.
    Mosquitto,
}

impl Format {
    /// What the text looks like. A name that ends with `.toml` says it too.
    ///
    /// # Errors
    /// If it looks like neither.
    pub(crate) fn of(source: &Source) -> Result<Self, ConfigError> {
        if source.has_ending(".toml") {
            return Ok(Self::Toml);
        }
        let error = match DeTable::parse(source.text()) {
            // Comments alone are both.
            Ok(document) if document.get_ref().is_empty() && source.has_ending(".conf") => {
                return Ok(Self::Mosquitto);
            }
            Ok(_) => return Ok(Self::Toml),
            Err(error) => error,
        };
        let (mut theirs, mut ours) = (0_usize, 0_usize);
        for statement in statements(source.text()) {
            if statement.name.starts_with('[')
                || statement.name.contains('=')
                || statement.value.starts_with('=')
            {
                ours += 1;
            } else if is_option(statement.name) {
                theirs += 1;
            }
        }
        if theirs > ours {
            return Ok(Self::Mosquitto);
        }
        if ours > 0 {
            return Ok(Self::Toml);
        }
        Err(neither(source, &error))
    }
}

fn neither(source: &Source, error: &toml::de::Error) -> ConfigError {
    let first = statements(source.text()).next();
    let name = first.as_ref().map_or("", |statement| statement.name);
    let place = source.place(&first.as_ref().map_or(0..0, |statement| statement.span.clone()));
    let toml = error.message().trim().replace('\n', "; ");
    let message = format!(
        "this is neither TOML ({toml}) nor a file of mosquitto (unknown option `{}`)",
        shown(name).escape_debug()
    );
    let help = match nearest_option(name) {
        Some(near) => format!("did you mean mosquitto's `{near}`?"),
        None => {
            "docs/configuration.md has Culex's own settings, docs/mosquitto.md those of mosquitto".to_owned()
        }
    };
    ConfigError::alone(Problem { place, message, help: Some(help) })
}
