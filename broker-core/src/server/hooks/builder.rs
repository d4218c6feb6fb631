//! How an embedder sets hooks.

use std::sync::Arc;

use crate::server::broker::BrokerBuilder;

use super::{Access, Answer, Authenticator, Decision, Message};

impl BrokerBuilder {
    /// Asks about each CONNECT whether its client may come in: a closure that answers with a `bool` or a [`Decision`], or
    /// an [`Authenticator`]. May be called several times; they are asked in this order until one does not answer
    /// [`Decision::NotMine`]. All together have what is left of
    /// [`Limits::connect_timeout`](crate::limits::Limits::connect_timeout), and at most
    /// [`Limits::hook_timeout`](crate::limits::Limits::hook_timeout); a panic or no answer is
    /// [`Decision::Unavailable`]. Without this hook all clients come in. See [`hooks`](crate::hooks).
    ///
    /// A session belongs to the user name that it began with. Who comes in with its ClientId and another user name, or
    /// none, ends it as by a take-over, gets nothing of it, and begins a new one (session present 0). So that no user
    /// can end the sessions of others, accept only ClientIds that are the user's own. A ClientId of an in-process client
    /// is refused to all others with 0x02, without asking, until that session has ended.
    ///
    /// ```
    /// # use culex_core::{Broker, hooks::Login};
    /// let builder = Broker::builder().authenticate(|login: Login| async move {
    ///     login.user_name() == Some("ann") && login.password() == Some(b"secret".as_slice())
    /// });
    /// ```
    pub fn authenticate<A: Authenticator>(mut self, authenticator: A) -> Self {
        let authenticator = Arc::new(authenticator);
        self.hooks.authenticate.push(Arc::new(move |login| -> Answer<Decision> {
            let authenticator = Arc::clone(&authenticator);
            Box::pin(async move { authenticator.authenticate(login).await })
        }));
        self
    }

    /// Asks about each PUBLISH, each filter of a SUBSCRIBE and each will whether its client may. A message that it may
    /// not publish is acknowledged and dropped (3.1.1 has no better answer [MQTT-3.3.5-2]), a filter is answered with
    /// 0x80, and a CONNECT whose will it may not publish with 0x05. What a client publishes to `$SYS` is not asked about,
    /// as it is always dropped. Without this hook all is allowed. See [`hooks`](crate::hooks).
    ///
    /// ```
    /// # use culex_core::{Broker, hooks::Access};
    /// let builder = Broker::builder().authorize(|access: Access| async move {
    ///     access.topic().starts_with("public/")
    /// });
    /// ```
    pub fn authorize<H, F>(mut self, hook: H) -> Self
    where
        H: Fn(Access) -> F + Send + Sync + 'static,
        F: Future<Output = bool> + Send + 'static,
    {
        self.hooks.authorize = Some(Arc::new(move |access| -> Answer<bool> { Box::pin(hook(access)) }));
        self
    }

    /// Hands over each message of a client that is allowed, before anybody has it. What comes back is delivered, and
    /// retained if it says so; `None` drops it. Both are acknowledged to the client. A changed topic is not authorized
    /// again.
    ///
    /// A will is handed over when its client connects ([`Message::is_will`]), as nobody could wait for an answer when it
    /// is published; `None` lets the client in without it. See [`hooks`](crate::hooks).
    ///
    /// ```
    /// # use culex_core::{Broker, hooks::Message};
    /// let builder = Broker::builder().on_publish(|mut message: Message| async move {
    ///     let upper = message.payload().to_ascii_uppercase();
    ///     message.set_payload(upper).ok()?;
    ///     Some(message)
    /// });
    /// ```
    pub fn on_publish<H, F>(mut self, hook: H) -> Self
    where
        H: Fn(Message) -> F + Send + Sync + 'static,
        F: Future<Output = Option<Message>> + Send + 'static,
    {
        self.hooks.on_publish =
            Some(Arc::new(move |message| -> Answer<Option<Message>> { Box::pin(hook(message)) }));
        self
    }
}
