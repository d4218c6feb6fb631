//! `[listener.limits]`: what a listener has otherwise than `[limits]`.

use culex_core::limits::Limits;

use crate::config::keys::LIMITS;
use crate::config::problem::Complaint;
use crate::config::raw::unknown_key;
use crate::config::setting::Key;
use crate::config::value::Input;

/// Keys of `[limits]` that a listener may have otherwise: those that bound one connection or its session.
pub(crate) const NAMES: &[&str] = &[
    "packet_bytes",
    "subscriptions_per_session",
    "topic_levels",
    "topic_bytes",
    "in_flight",
    "incoming_in_flight",
    "queue_messages",
    "queue_bytes",
    "pre_auth_bytes",
    "connect_timeout",
    "max_keep_alive",
    "messages_per_second",
    "bytes_per_second",
];

/// What was written, in its order. It is laid over `[limits]` when all of that is read.
#[derive(Debug, Default)]
pub(crate) struct OwnLimits(Vec<(&'static Key<Limits>, Input)>);

impl OwnLimits {
    /// Whether a listener can have this limit.
    pub(crate) fn has(name: &str) -> bool {
        NAMES.contains(&name)
    }

    /// Takes a value, if it is one.
    ///
    /// # Errors
    /// A key that is not known here, or a value that is not one for it.
    pub(crate) fn set(&mut self, name: &str, input: Input) -> Result<(), Complaint> {
        let Some(key) = LIMITS.iter().find(|key| key.name == name && Self::has(name)) else {
            return Err(unknown_key(name, NAMES, "[listener.limits]"));
        };
        key.setting.apply(&mut Limits::default(), &input).map_err(|complaint| {
            let message = format!("{name}: {}", complaint.message);
            Complaint { message, help: complaint.help }
        })?;
        self.0.push((key, input));
        Ok(())
    }

    /// The limits of the listener where `all` are those of the broker; `None` if it has no own.
    pub(crate) fn over(&self, all: &Limits) -> Option<Limits> {
        let mut limits = all.clone();
        for (key, input) in &self.0 {
            // It was tried when it was taken.
            let _ = key.setting.apply(&mut limits, input);
        }
        (!self.0.is_empty()).then_some(limits)
    }
}
