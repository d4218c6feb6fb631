//! Hooks: what an embedder wants to decide. They run as tokio tasks and answer as messages, so whatever a hook does,
//! it holds up the client that it was asked about, and nobody else.
//!
//! | hook | asked about | answers | without it |
//! | --- | --- | --- | --- |
//! | [`authenticate`](crate::BrokerBuilder::authenticate) | each CONNECT, in order until one decides | [`Decision`] or `bool` | all come in |
//! | [`authorize`](crate::BrokerBuilder::authorize) | each PUBLISH, each filter of a SUBSCRIBE, each will | `bool` | all is allowed |
//! | [`on_publish`](crate::BrokerBuilder::on_publish) | each message that is allowed, each will | the message, a changed one, or `None` | delivered as it is |
//!
//! A hook that panics, or takes longer than [`Limits::hook_timeout`](crate::limits::Limits::hook_timeout), ends the
//! connection of its client (a CONNECT is refused with 0x03, server unavailable), and is logged and counted. A hook must
//! not block its thread: use [`tokio::task::spawn_blocking`] for what does.
//!
//! A client's packets are asked about one after another, so they keep their order; while one is asked about, no other
//! is read, a PINGREQ neither. A QoS 2 message that its client repeats is not asked about again once it was taken; any
//! other repetition is a message of its own. What was decided is not asked again: to take a right away, end the
//! session.
//!
//! In-process clients of the embedder are never asked about. A hook that holds a [`Broker`](crate::Broker) keeps it
//! alive until [`shutdown`](crate::Broker::shutdown); let it hold a [`WeakBroker`](crate::WeakBroker).

mod access;
mod authenticator;
mod builder;
mod guard;
mod login;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use crate::engine::Admission;
use crate::engine::error::Refusal;
use crate::engine::keys::ConnectionKey;
use crate::engine::question::{Asks, HookFailure, MessageBounds, Question, Verdict};
use crate::limits::Limits;

use super::lane::LaneMessage;
use super::mailbox::Mailbox;

pub use self::access::{Access, Action};
pub use self::authenticator::Authenticator;
pub(crate) use self::guard::Asking;
use self::guard::{Reply, guarded};
pub use self::login::{Decision, Login};
pub use crate::engine::question::{Message, MessageError};

type Answer<R> = Pin<Box<dyn Future<Output = R> + Send>>;
type Hook<T, R> = Arc<dyn Fn(T) -> Answer<R> + Send + Sync>;

/// The hooks that an embedder has set.
#[derive(Clone, Default)]
pub(crate) struct HookSet {
    /// Asked in this order until one decides.
    authenticate: Vec<Hook<Login, Decision>>,
    authorize: Option<Hook<Access, bool>>,
    on_publish: Option<Hook<Message, Option<Message>>>,
}

/// The hooks of a running broker.
pub(crate) struct Hooks {
    set: HookSet,
    timeout: Duration,
    bounds: MessageBounds,
    runtime: Handle,
}

impl std::fmt::Debug for HookSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HookSet")
            .field("authenticate", &self.authenticate.len())
            .field("authorize", &self.authorize.is_some())
            .field("on_publish", &self.on_publish.is_some())
            .finish()
    }
}

impl HookSet {
    /// What the shards have to ask about.
    pub(crate) fn asks(&self) -> Asks {
        Asks {
            publish: self.authorize.is_some() || self.on_publish.is_some(),
            subscribe: self.authorize.is_some(),
        }
    }
}

impl Hooks {
    pub(crate) fn new(set: HookSet, limits: &Limits, runtime: Handle) -> Self {
        Self { set, timeout: limits.hook_timeout, bounds: MessageBounds::from(limits), runtime }
    }

    /// Asks about a packet. The answer goes to `mailbox`, whatever becomes of the hook; its time is measured by the
    /// shard.
    pub(crate) fn ask(
        self: &Arc<Self>,
        question: Question,
        connection: ConnectionKey,
        mailbox: Arc<Mailbox<LaneMessage>>,
    ) -> Asking {
        let hooks = Arc::clone(self);
        let reply = Reply::new(mailbox, connection);
        let task = self.runtime.spawn(async move {
            let verdict = guarded(hooks.judge(question)).await.unwrap_or_else(Verdict::Failed);
            reply.give(verdict);
        });
        Asking::from(task.abort_handle())
    }

    async fn judge(&self, question: Question) -> Verdict {
        match question {
            Question::Publish(message) => {
                if !self.is_authorized(|| Access::to_publish(&message)).await {
                    return Verdict::Refused;
                }
                let message = self.change(message).await;
                message.map_or(Verdict::Dropped, |message| Verdict::Deliver(Box::new(message)))
            }
            Question::Subscribe { identity, filters } => {
                let mut granted = Vec::with_capacity(filters.len());
                for request in filters.iter() {
                    granted.push(self.is_authorized(|| Access::to_subscribe(&identity, request)).await);
                }
                Verdict::Granted(granted)
            }
        }
    }

    async fn is_authorized(&self, access: impl FnOnce() -> Access) -> bool {
        match &self.set.authorize {
            Some(authorize) => authorize(access()).await,
            None => true,
        }
    }

    async fn change(&self, message: Message) -> Option<Message> {
        match &self.set.on_publish {
            Some(on_publish) => on_publish(message).await,
            None => Some(message),
        }
    }

    /// What `authenticate` is to be asked; `None` if there is no such hook, and then nothing is copied.
    pub(crate) fn login(
        &self,
        admission: &Admission,
        password: Option<&[u8]>,
        listener: Option<usize>,
    ) -> Option<Login> {
        (!self.set.authenticate.is_empty()).then(|| Login::new(admission, password, listener))
    }

    /// Whether a hook is asked about a CONNECT at all.
    pub(crate) fn is_asked(&self, admission: &Admission, login: Option<&Login>) -> bool {
        login.is_some() || (admission.will.is_some() && self.set.asks().publish)
    }

    /// Whether a CONNECT gets in, and with which will. Whether it has an answer or not, it ends at `deadline`.
    pub(crate) async fn admit(
        &self,
        admission: &mut Admission,
        login: Option<Login>,
        deadline: Instant,
    ) -> Result<(), Refusal> {
        if !self.is_asked(admission, login.as_ref()) {
            return Ok(());
        }
        let deadline = deadline.min(Instant::now() + self.timeout);
        let judged = timeout_at(deadline, guarded(self.judge_connect(admission, login))).await;
        let failure = match judged {
            Ok(Ok(result)) => return result,
            Ok(Err(failure)) => failure,
            Err(_) => HookFailure::Late,
        };
        warn!(client_id = &*admission.client_id, peer = %admission.peer, "no answer about a CONNECT: {failure}");
        Err(Refusal::Unavailable)
    }

    async fn authenticate(&self, login: Login) -> Result<(), Refusal> {
        for authenticate in &self.set.authenticate {
            match authenticate(login.clone()).await {
                Decision::Accept => return Ok(()),
                Decision::BadCredentials => return Err(Refusal::BadCredentials),
                Decision::NotAuthorized => return Err(Refusal::NotAuthorized),
                Decision::Unavailable => return Err(Refusal::Unavailable),
                Decision::NotMine => {}
            }
        }
        Err(if login.user_name().is_some() { Refusal::BadCredentials } else { Refusal::NotAuthorized })
    }

    async fn judge_connect(&self, admission: &mut Admission, login: Option<Login>) -> Result<(), Refusal> {
        if let Some(login) = login {
            self.authenticate(login).await?;
        }
        let Some(will) = &admission.will else { return Ok(()) };
        let message = Message::of_will(admission.identity(), will, self.bounds);
        if !self.is_authorized(|| Access::to_publish(&message)).await {
            return Err(Refusal::WillNotAuthorized);
        }
        if self.set.on_publish.is_some() {
            admission.will = self.change(message).await.map(Into::into);
        }
        Ok(())
    }
}
