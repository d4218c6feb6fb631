//! The configuration read again while the broker runs: everything or nothing.

use std::fmt;
use std::sync::Arc;

use culex_core::{Admin, AdminError};
use tokio::sync::Mutex;

use crate::acl::{Acl, AclError, Rules};
use crate::config::{Change, Config, ConfigError};
use crate::tls::Secured;
use crate::users::{PasswordFile, Users};

/// Reads the configuration as the start did, command line included.
type Read = Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// Knows what the broker runs with, and how to read it again.
pub struct Reloader {
    read: Read,
    /// Held over a whole reload, so that two do not mix.
    current: Mutex<Current>,
    /// Whom the broker asks for a password; `None` if it was started without users.
    users: Option<Users>,
}

/// What the broker runs with.
struct Current {
    config: Config,
    secured: Secured,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The configuration has mistakes, or a certificate or key cannot be used.
    #[error("{}", .0.problems().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Config(ConfigError),
    /// The access control list cannot be used.
    #[error(transparent)]
    Acl(#[from] AclError),
    /// The broker has stopped.
    #[error(transparent)]
    Stopped(#[from] AdminError),
}

impl Reloader {
    /// With what the broker was started with.
    pub fn new(
        config: Config,
        secured: Secured,
        users: Option<Users>,
        read: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
    ) -> Self {
        Self { read: Box::new(read), current: Mutex::new(Current { config, secured }), users }
    }

    /// Reads everything, checks everything, and only then changes anything. Files that the configuration names are read
    /// again too, whether their names have changed or not.
    ///
    /// # Errors
    /// [`ReloadError`]; the broker goes on with what it had.
    pub async fn reload(&self, admin: &Admin) -> Result<Vec<Change>, ReloadError> {
        let mut current = self.current.lock().await;
        let new = (self.read)().map_err(ReloadError::Config)?;
        let rules = rules(&new)?;
        let secured = current.secured.load_again(&new).map_err(ReloadError::Config)?;
        let file = new.auth.password_file.as_deref().map(PasswordFile::read).transpose();
        let file = file.map_err(ReloadError::Config)?;
        admin.set_access_control(rules.map(|rules| Arc::new(rules) as Arc<_>)).await?;
        current.secured.replace(&secured);
        if let (Some(users), Some(file)) = (&self.users, file) {
            users.replace(file);
        }
        let changes = current.config.changes(&new);
        for change in &changes {
            tracing::info!("reload: {change}");
        }
        tracing::info!(changes = changes.len(), "the configuration was read again");
        current.config = new;
        Ok(changes)
    }
}

/// The access control list that a configuration names.
///
/// # Errors
/// [`AclError`]; nobody should be served without the list that was asked for.
pub fn rules(config: &Config) -> Result<Option<Rules>, AclError> {
    let acl = Acl::configured(&config.acl)?;
    Ok(acl.map(|acl| Rules::new(acl, config.acl.subscribe)))
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").finish_non_exhaustive()
    }
}
