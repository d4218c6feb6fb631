//! All webhooks of a configuration, from start to end.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwap;
use culex_core::Broker;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tracing::{error, info};

use super::breaker::Breaker;
use super::delivery::{Courier, GONE, Shared, stopped};
use super::event::EventKind;
use super::identity::{Names, revived};
use super::lane::{Lane, Session, Trouble, client_id, retire};
use super::news;
use super::request::Composer;
use super::sender::{Sender, SharedConnector};
use super::target::Target;
use crate::config::{ConfigError, Webhook, WebhookTls};
use crate::integration::{Backoff, DeadLetters, Integrations, Registration, Standing, session};
use crate::tls::client::{Connector, Roots, Settings};

/// Attempts that are on their way when everything ends have so long to be answered.
const LAST_ANSWERS: Duration = Duration::from_secs(3);
/// How long a start waits for its lanes to be subscribed.
const SUBSCRIBED: Duration = Duration::from_secs(5);

/// The webhooks of a broker. They follow a new configuration with [`Webhooks::follow`].
#[derive(Debug)]
pub struct Webhooks {
    broker: Broker,
    integrations: Integrations,
    running: Mutex<Vec<Running>>,
}

#[derive(Debug)]
struct Running {
    webhook: Webhook,
    /// For `https`.
    connector: Option<SharedConnector>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Webhooks whose files are read: nothing can go wrong any more.
#[derive(Debug)]
pub struct Prepared(Vec<(Webhook, Target, Option<SharedConnector>)>);

impl Prepared {
    /// Reads the files that webhooks name.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn read(webhooks: &[Webhook]) -> Result<Self, ConfigError> {
        let prepare = |webhook: &Webhook| {
            // A URL of a checked configuration is one.
            let Ok(target) = Target::parse(&webhook.url) else { return Ok(None) };
            let connector = connector(webhook, &target)?;
            Ok(Some((webhook.clone(), target, connector)))
        };
        let prepared = webhooks.iter().filter_map(|webhook| prepare(webhook).transpose());
        Ok(Self(prepared.collect::<Result<_, _>>()?))
    }
}

/// What secures the connections of a webhook, if they are.
pub(super) fn connector(webhook: &Webhook, target: &Target) -> Result<Option<SharedConnector>, ConfigError> {
    if !target.is_secure() {
        return Ok(None);
    }
    let own = WebhookTls::default();
    let tls = webhook.tls.as_ref().unwrap_or(&own);
    let connector = Connector::new(&Settings {
        host: target.host(),
        roots: Some(tls.ca_file.as_deref().map_or(Roots::Public, Roots::Files)),
        identity: tls.certificate.as_deref().zip(tls.key.as_deref()),
        key_permissions: tls.key_permissions,
        checks_name: true,
        version: None,
        alpn: vec!["http/1.1"],
        resumes: true,
    })?;
    Ok(Some(Arc::new(ArcSwap::from_pointee(connector))))
}

impl Webhooks {
    /// None yet.
    pub fn new(broker: &Broker, integrations: &Integrations) -> Self {
        Self { broker: broker.clone(), integrations: integrations.clone(), running: Mutex::default() }
    }

    /// These are the webhooks from now on: new ones start, others end, changed ones begin anew with what waits for them,
    /// and those that a service has disabled try again. When this returns, they miss no message any more.
    pub async fn follow(&self, prepared: Prepared) {
        let mut running = self.running.lock().await;
        let (kept, ended): (Vec<_>, Vec<_>) = std::mem::take(&mut *running).into_iter().partition(|old| {
            !*old.stop.borrow() && prepared.0.iter().any(|(webhook, ..)| *webhook == old.webhook)
        });
        end(ended).await;
        *running = kept;
        let sessions = self.sessions().await;
        let (starting, mut started) = mpsc::channel(1);
        for (webhook, target, connector) in prepared.0 {
            match running.iter().find(|old| old.webhook.name == webhook.name) {
                Some(same) => {
                    if let Some((old, new)) = same.connector.as_ref().zip(connector) {
                        old.store(new.load_full());
                    }
                }
                None => running.push(self.start(webhook, &target, connector, &sessions, &starting)),
            }
        }
        drop(starting);
        // A lane that cannot subscribe says so itself, and tries again.
        let _ = timeout(SUBSCRIBED, started.recv()).await;
        let wanted = running.iter().map(|running| ids_begin(&running.webhook.name)).collect::<Vec<_>>();
        drop(running);
        let is_other = |id: &&String| !wanted.iter().any(|wanted| id.starts_with(wanted));
        self.retire(sessions.iter().filter(is_other)).await;
    }

    /// Ends all. What is not answered within 3 s is sent again after the next start.
    pub async fn stop(&self) {
        let running = std::mem::take(&mut *self.running.lock().await);
        end(running).await;
    }

    fn start(
        &self,
        webhook: Webhook,
        target: &Target,
        connector: Option<SharedConnector>,
        sessions: &[String],
        starting: &mpsc::Sender<()>,
    ) -> Running {
        let registration = self.integrations.register(&format!("webhook/{}", webhook.name));
        registration.set_sessions(ids_of(&webhook));
        let (stop, stopping) = watch::channel(false);
        let retry = &webhook.retry;
        let shared = Arc::new(Shared {
            composer: Composer::new(&webhook, &target.authority()),
            breaker: Breaker::new(Backoff::new(retry.min, retry.max, Duration::ZERO)),
            meter: Arc::clone(registration.meter()),
            letters: DeadLetters::new(&self.broker, registration.name()),
            stop: stop.clone(),
            is_disabled: AtomicBool::new(false),
            webhook: webhook.clone(),
        });
        let courier =
            || Courier::new(Arc::clone(&shared), Sender::new(&webhook, target.clone(), connector.clone()));
        let names = Arc::new(Names::new(seed()));
        let mut tasks = JoinSet::new();
        let own = ids_of(&webhook);
        let begin = ids_begin(&webhook.name);
        let left = sessions.iter().filter(|id| id.starts_with(&begin) && !own.contains(id));
        let parts = (0..webhook.concurrency).map(Session::Part).take(own.len());
        for session in parts.chain(left.cloned().map(Session::Left)) {
            let lane = Lane {
                broker: self.broker.clone(),
                courier: courier(),
                names: Arc::clone(&names),
                stop: stopping.clone(),
                session,
                starting: Some(starting.clone()),
            };
            tasks.spawn(lane.run());
        }
        if webhook.events.iter().any(|event| *event != EventKind::MessagePublished) {
            // From here on, so that nothing is missed until the task runs.
            let heard = (self.broker.events(), self.integrations.changes());
            tasks.spawn(news::run(heard, names, courier(), stopping.clone()));
        }
        info!(webhook = webhook.name, url = webhook.url, lanes = webhook.concurrency, "webhook started");
        let task = tokio::spawn(run(tasks, registration, courier(), stopping));
        Running { webhook, connector, stop, task }
    }

    /// Sessions of webhooks that are no more.
    async fn retire(&self, sessions: impl Iterator<Item = &String>) {
        for id in sessions {
            match retire(&self.broker, id).await {
                Ok(_) | Err(Trouble::Over) => {}
                Err(Trouble::Told(why)) => error!(client_id = id, "its messages go on to wait: {why}"),
            }
        }
    }

    async fn sessions(&self) -> Vec<String> {
        let is_own = |id: &str| id.strip_prefix(super::CLIENT_ID).is_some_and(|rest| rest.starts_with('/'));
        session::ids(&self.broker.admin(), is_own).await
    }
}

/// A webhook from its start to its end: its lanes, and dead letters that come back meanwhile.
async fn run(
    mut lanes: JoinSet<()>,
    mut registration: Registration,
    mut courier: Courier,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let handback = tokio::select! {
            () = stopped(&mut stop) => break,
            handback = registration.back.recv() => handback,
        };
        let Some(handback) = handback else { break };
        let outcome = courier.try_once(&revived(&handback.letter)).await;
        // Whoever asked may have gone.
        let _ = handback.done.send(outcome);
    }
    let meter = Arc::clone(registration.meter());
    while lanes.join_next().await.is_some() {}
    if courier.is_disabled() {
        // It is listed as what it is until the configuration changes or the broker ends.
        meter.set_standing(Standing::Disabled, GONE);
        registration.back.close();
        while registration.back.try_recv().is_ok() {}
        std::future::pending::<()>().await;
    }
}

async fn end(mut running: Vec<Running>) {
    for one in &running {
        if one.stop.send_replace(true) {
            // It has ended by itself.
            one.task.abort();
        }
    }
    for one in &mut running {
        if timeout(LAST_ANSWERS, &mut one.task).await.is_err() {
            one.task.abort();
        }
    }
}

/// The beginning of the ClientIds of a webhook.
fn ids_begin(name: &str) -> String {
    format!("{}/{name}/", super::CLIENT_ID)
}

/// The ClientIds of a webhook's lanes.
fn ids_of(webhook: &Webhook) -> Vec<String> {
    if !webhook.events.contains(&EventKind::MessagePublished) {
        return Vec::new();
    }
    let lanes = webhook.concurrency;
    (0..lanes).map(|index| client_id(&webhook.name, index, lanes)).collect()
}

fn seed() -> u128 {
    let mut seed = [0; 16];
    match getrandom::fill(&mut seed) {
        Ok(()) => u128::from_be_bytes(seed),
        // Names of events are then those of the time.
        Err(_) => {
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos()
        }
    }
}
