//! From a CONNECT packet to what the shard needs to know of it.

use std::sync::Arc;

use bytes::Bytes;
use culex_codec::{Connect, ProtocolVersion, QoS, TopicName};

use crate::engine::error::Refusal;
use crate::engine::options::SessionOptions;
use crate::engine::question::{Identity, Message};
use crate::engine::terms::Terms;
use crate::engine::topics::TopicLimits;
use crate::limits::Limits;

/// Who connects and how; owned, so that it can travel to the shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// Protocol version of the connection.
    pub version: ProtocolVersion,
    /// The ClientId, never empty.
    pub client_id: Box<str>,
    /// The user it authenticated as. Whoever has this ClientId under another name has another session.
    pub user_name: Option<Box<str>>,
    /// Whether the identity is the host's own word: nobody has to authenticate or authorize this connection, and no
    /// other may have its ClientId as long as its session is there.
    pub is_trusted: bool,
    /// Start without the state of an earlier session (Clean Session in 3.x).
    pub clean_start: bool,
    /// Seconds that the session outlives its connection; 0 it does not, `u32::MAX` for ever (5.0 Session Expiry
    /// Interval). In 3.x it follows from Clean Session.
    pub session_expiry_s: u32,
    /// Seconds; 0 is off.
    pub keep_alive: u16,
    /// QoS 1 and 2 messages that the Client takes at a time (5.0 Receive Maximum; 65,535 in 3.x).
    pub receive_maximum: u16,
    /// The Will Message.
    pub will: Option<Will>,
    /// What holds for it; `None` if that is what holds for everybody.
    pub terms: Option<Arc<Terms>>,
    /// What its session wants. A peer has none, but for a bridge that says so (protocol level with bit 0x80).
    pub options: SessionOptions,
    /// Whether an [`Origin`](crate::engine::Origin) stands behind each payload that it gets.
    pub tells_origin: bool,
    /// Order of accept() over the whole broker.
    pub accept_number: u64,
    /// Address of the peer, for the log.
    pub peer: Box<str>,
}

impl Admission {
    /// It came in where these terms hold, at a broker with these limits. To be called once, before anybody is asked about
    /// its will.
    ///
    /// # Errors
    /// [`Refusal::WillTopic`].
    pub fn enter(&mut self, terms: Arc<Terms>, all: &Limits) -> Result<(), Refusal> {
        if let (Some(mount), Some(will)) = (&terms.mount_point, &mut self.will) {
            let topic = mount.join(&will.topic).map_err(|_| Refusal::WillTopic)?;
            TopicLimits::from(terms.limits_or(all)).check(&topic).map_err(|_| Refusal::WillTopic)?;
            will.topic = topic.into();
        }
        // A limit of the broker alone.
        if !self.clean_start {
            self.session_expiry_s = all.session_expiry_s();
        }
        self.terms = Some(terms);
        Ok(())
    }

    /// Who it is about, for the host.
    pub(crate) fn identity(&self) -> Identity {
        Identity::new(&self.client_id, self.user_name.as_deref())
    }
}

/// A Will Message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    topic: Box<str>,
    /// The Application Message.
    pub payload: Bytes,
    /// QoS it is published with.
    pub qos: QoS,
    /// Whether it is retained.
    pub is_retain: bool,
}

impl Will {
    /// `topic` is a valid Topic Name.
    pub fn new(topic: TopicName<'_>, payload: Bytes, qos: QoS, is_retain: bool) -> Self {
        Self { topic: topic.as_str().into(), payload, qos, is_retain }
    }

    /// The Will Topic.
    pub fn topic(&self) -> TopicName<'_> {
        TopicName::assume_valid(&self.topic)
    }
}

/// What a host made of the message that it was asked about.
impl From<Message> for Will {
    fn from(message: Message) -> Self {
        Self {
            topic: message.topic().into(),
            payload: message.payload().clone(),
            qos: message.qos(),
            is_retain: message.is_retain(),
        }
    }
}

/// Checks a CONNECT against the rules that need no secret and no session. `generated_id` stands in for an empty
/// ClientId [MQTT-3.1.3-6].
///
/// # Errors
/// [`Refusal`] with the code for CONNACK.
pub fn admit(
    connect: &Connect<'_>,
    generated_id: impl FnOnce() -> Box<str>,
    limits: &Limits,
    accept_number: u64,
    peer: Box<str>,
) -> Result<Admission, Refusal> {
    if connect.version == ProtocolVersion::V5 {
        return Err(Refusal::UnsupportedVersion);
    }
    let client_id = match connect.client_id.as_str() {
        // [MQTT-3.1.3-8]; 3.1 knows no empty ClientId at all.
        "" if !connect.clean_start || connect.version == ProtocolVersion::V31 => {
            return Err(Refusal::EmptyClientId);
        }
        "" => generated_id(),
        id => id.into(),
    };
    check_keep_alive(connect.keep_alive, limits)?;
    let topic_limits = TopicLimits::from(limits);
    let will = match connect.will {
        Some(will) if topic_limits.check(will.topic.as_str()).is_err() => return Err(Refusal::WillTopic),
        Some(will) => Some(Will {
            topic: will.topic.as_str().into(),
            payload: Bytes::copy_from_slice(will.payload),
            qos: will.qos,
            is_retain: will.retain,
        }),
        None => None,
    };
    Ok(Admission {
        version: connect.version,
        client_id,
        user_name: connect.user_name.map(Into::into),
        is_trusted: false,
        clean_start: connect.clean_start,
        session_expiry_s: if connect.clean_start { 0 } else { limits.session_expiry_s() },
        keep_alive: connect.keep_alive,
        receive_maximum: u16::MAX,
        will,
        terms: None,
        options: if connect.is_bridge { SessionOptions::BRIDGE } else { SessionOptions::default() },
        tells_origin: false,
        accept_number,
        peer,
    })
}

/// 3.x cannot be told a shorter one. None at all is longer than any.
fn check_keep_alive(keep_alive_s: u16, limits: &Limits) -> Result<(), Refusal> {
    let max_s = limits.max_keep_alive;
    let asked_s = if keep_alive_s == 0 { u64::MAX } else { u64::from(keep_alive_s) };
    if max_s.is_exceeded_by(asked_s) {
        return Err(Refusal::KeepAlive { keep_alive_s, max_s: max_s.get() });
    }
    Ok(())
}
