//! The configuration read again while the broker runs: everything or nothing.

use std::fmt;
use std::sync::{Arc, OnceLock};

use culex_core::{AdminError, Broker, OpenedListeners, StartError};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::acl::{Acl, AclError, Rules};
use crate::api::Live;
use crate::bridge::{Bridges, Prepared};
use crate::config::change::matching;
use crate::config::{Change, Config, ConfigError, Follows, Listener};
use crate::service::manager::Reloading;
use crate::telemetry;
use crate::tls::{HttpTls, Secured};
use crate::users::{Anonymous, PasswordFile, Users};
use crate::webhook::{self, Webhooks};

/// Reads the configuration as the start did, command line included.
type Read = Arc<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// Knows what the broker runs with, and how to read it again.
pub struct Reloader {
    read: Read,
    /// Held over a whole reload, so that two do not mix.
    current: Mutex<Current>,
    /// Whom the broker asks for a password, and whom it does not; `None` if it was started without users.
    users: Option<(Users, Anonymous)>,
    /// What follows with the bridges, once there is a broker.
    bridges: OnceLock<Bridges>,
    /// And with the webhooks.
    webhooks: OnceLock<Arc<Webhooks>>,
    /// What the HTTP API follows.
    http: Arc<Live>,
}

/// What the broker runs with.
struct Current {
    /// What was read last.
    config: Config,
    /// What is listened on, with the numbers that the broker has for it.
    listeners: Vec<(Listener, usize)>,
    /// Of those listeners, in that order.
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
    /// A new listener cannot be opened.
    #[error(transparent)]
    Listen(#[from] StartError),
    /// The broker has stopped.
    #[error(transparent)]
    Stopped(#[from] AdminError),
}

impl Reloader {
    /// With what the broker was started with.
    pub fn new(
        config: Config,
        secured: Secured,
        users: Option<(Users, Anonymous)>,
        http: Arc<Live>,
        read: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
    ) -> Self {
        let listeners = config.listeners.iter().cloned().zip(0..).collect();
        let current = Current { config, listeners, secured };
        let (bridges, webhooks) = (OnceLock::new(), OnceLock::new());
        Self { read: Arc::new(read), current: Mutex::new(current), users, http, bridges, webhooks }
    }

    /// What was read last.
    pub(crate) async fn config(&self) -> Config {
        self.current.lock().await.config.clone()
    }

    /// What is listened on, with the time at which its certificate expires, in seconds since 1970.
    pub(crate) async fn listeners(&self) -> Vec<(Listener, Option<i64>)> {
        let current = self.current.lock().await;
        let listeners = current.listeners.iter().enumerate();
        listeners.map(|(at, (listener, _))| (listener.clone(), current.secured.expires(at))).collect()
    }

    /// These follow too.
    pub fn set_bridges(&self, bridges: Bridges) {
        // There is one broker.
        let _ = self.bridges.set(bridges);
    }

    /// And these.
    pub fn set_webhooks(&self, webhooks: Arc<Webhooks>) {
        let _ = self.webhooks.set(webhooks);
    }

    /// Reads everything, checks everything, opens every new listener, and only then changes anything. Files that the
    /// configuration names are read again too, whether their names have changed or not.
    ///
    /// # Errors
    /// [`ReloadError`]; the broker goes on with what it had.
    pub async fn reload(&self, broker: &Broker) -> Result<Vec<Change>, ReloadError> {
        let mut current = self.current.lock().await;
        let _reloading = Reloading::begin();
        // Names of listeners may be looked up, which takes its time; everybody is served meanwhile.
        let read = Arc::clone(&self.read);
        let new = spawn_blocking(move || read()).await.map_err(|_| AdminError::Stopped)?;
        let new = new.map_err(ReloadError::Config)?;
        let rules = rules(&new)?;
        let secured = current.secured.load_again(&new).map_err(ReloadError::Config)?;
        let bridges = Prepared::read(&new).map_err(ReloadError::Config)?;
        let webhooks = webhook::Prepared::read(&new.webhooks).map_err(ReloadError::Config)?;
        let http_tls = HttpTls::load(&new).map_err(ReloadError::Config)?;
        let file = new.auth.password_file.as_deref().map(PasswordFile::read).transpose();
        let file = file.map_err(ReloadError::Config)?;
        // Whether anybody is asked for a password is settled at the start; a listener that was written for the other case
        // has to wait.
        let keeps_users = file.is_some() == self.users.is_some();
        let plan = keeps_users.then(|| current.plan(&new, &secured, broker)).transpose()?;
        // First, because a listener without limits of its own has these.
        broker.set_limits(&new.limits).await?;
        broker.admin().set_access_control(rules.clone().map(|rules| rules as Arc<_>)).await?;
        // Whether it is secured cannot change while it is open.
        let http_tls = http_tls.filter(|_| self.http.tls().is_some());
        self.http.replace(new.http.as_ref(), rules, http_tls);
        if let (Some((users, _)), Some(file)) = (&self.users, file) {
            users.replace(file);
        }
        match plan {
            Some(plan) => {
                let anonymous = self.users.as_ref().map(|(_, anonymous)| anonymous);
                current.change_listeners(plan, secured, anonymous, broker).await;
            }
            None => current.secured.replace(&secured),
        }
        telemetry::set_level(new.log.level);
        if let Some(running) = self.bridges.get() {
            running.follow(bridges).await;
        }
        if let Some(running) = self.webhooks.get() {
            running.follow(webhooks).await;
        }
        let follows = Follows { listeners: keeps_users, users: keeps_users && self.users.is_some() };
        let changes = current.config.changes(&new, follows);
        for change in &changes {
            tracing::info!("reload: {change}");
        }
        tracing::info!(changes = changes.len(), "the configuration was read again");
        current.config = new;
        Ok(changes)
    }
}

/// What becomes of the listeners.
struct Plan {
    /// Those of the new configuration, each with its place among the old ones if it is there already.
    listeners: Vec<(Listener, Option<usize>)>,
    /// The others, open.
    opened: OpenedListeners,
}

impl Current {
    /// Opens what is new. Nothing else is changed yet.
    fn plan(&self, new: &Config, secured: &Secured, broker: &Broker) -> Result<Plan, StartError> {
        let places = matching(self.listeners.iter().map(|(listener, _)| listener), &new.listeners);
        let listeners: Vec<_> = new.listeners.iter().cloned().zip(places).collect();
        let is_new = |(number, (listener, place)): (usize, &(Listener, Option<usize>))| {
            place.is_none().then(|| listener.build(secured.of(number)))
        };
        let opened = broker.open_listeners(listeners.iter().enumerate().filter_map(is_new))?;
        Ok(Plan { listeners, opened })
    }

    /// From now on it is so.
    async fn change_listeners(
        &mut self,
        plan: Plan,
        secured: Secured,
        anonymous: Option<&Anonymous>,
        broker: &Broker,
    ) {
        let Plan { listeners, opened } = plan;
        let places: Vec<_> = listeners.iter().map(|(_, place)| *place).collect();
        self.secured.follow(secured, &places);
        let mut numbers = opened.numbers();
        let old = std::mem::take(&mut self.listeners);
        let number_of = |place: Option<usize>| match place {
            Some(place) => old.get(place).map(|(_, number)| *number),
            None => numbers.next(),
        };
        let new = places.iter().copied().map(number_of);
        let new: Vec<_> = listeners
            .into_iter()
            .zip(new)
            .filter_map(|((listener, _), number)| Some((listener, number?)))
            .collect();
        if let Some(anonymous) = anonymous {
            anonymous
                .replace(new.iter().map(|(listener, number)| (*number, listener.admits_anonymous(true))));
        }
        let is_gone = |number: &usize| new.iter().all(|(_, kept)| kept != number);
        let gone: Vec<_> = old.into_iter().map(|(_, number)| number).filter(is_gone).collect();
        for (number, ((listener, of_broker), place)) in new.iter().zip(&places).enumerate() {
            if place.is_some() {
                broker.change_listener(*of_broker, listener.build(self.secured.of(number)));
            }
        }
        opened.accept();
        self.listeners = new;
        broker.close_listeners(&gone).await;
    }
}

/// The access control list that a configuration names.
///
/// # Errors
/// [`AclError`]; nobody should be served without the list that was asked for.
pub fn rules(config: &Config) -> Result<Option<Arc<Rules>>, AclError> {
    let acl = Acl::configured(&config.acl)?;
    Ok(acl.map(|acl| Arc::new(Rules::new(acl, config.acl.subscribe, config.acl.checks_retain_source()))))
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").finish_non_exhaustive()
    }
}
