//! A CONNECT that the front door has accepted: take-over, session, CONNACK. All of it is one turn of one shard, so
//! there is no moment at which two connections own a session.

use culex_codec::ReasonCode;

use crate::engine::connection::{Admission, Connection, Pace, State};
use crate::engine::error::{CloseReason, Refusal};
use crate::engine::keys::{ConnectionKey, SessionId, SessionKey};
use crate::engine::session::Session;
use crate::engine::store::Record;
use crate::engine::terms::Terms;
use crate::engine::timers::Timer;

use super::answers::{Answer, connack};
use super::{Effect, Event, Shard, Turn};

impl Shard {
    /// Binds a new connection to its session. CONNACK goes out when the store has what it says, and with it
    /// [`Effect::Resume`] for the bytes that came behind CONNECT.
    ///
    /// # Errors
    /// [`Refusal`]; the shard knows nothing of the connection then.
    pub fn handle_attach(
        &mut self,
        turn: &mut Turn<'_>,
        mut admission: Admission,
    ) -> Result<ConnectionKey, Refusal> {
        let result = self.try_attach(turn, &mut admission);
        if let Err(refusal) = result {
            match refusal {
                Refusal::TooManySessions => self.stats.sessions_refused += 1,
                Refusal::Superseded => self.stats.connections_superseded += 1,
                Refusal::UnsupportedVersion
                | Refusal::EmptyClientId
                | Refusal::BadCredentials
                | Refusal::NotAuthorized
                | Refusal::WillNotAuthorized
                | Refusal::Unavailable
                | Refusal::StoreFull
                | Refusal::WillTopic
                | Refusal::KeepAlive { .. }
                | Refusal::ReservedClientId => {}
            }
            self.refuse(admission, refusal);
        }
        result
    }

    fn try_attach(
        &mut self,
        turn: &mut Turn<'_>,
        admission: &mut Admission,
    ) -> Result<ConnectionKey, Refusal> {
        // All that can refuse comes before all that changes.
        self.check_newest(admission)?;
        self.check_owner(admission)?;
        self.check_will(admission)?;
        let id = self.reserve_session(turn, admission)?;
        self.take_over(turn, admission);
        let found = self.by_client_id.get(&admission.client_id).copied();
        let session_key = match found {
            Some(key) => key,
            None => self.start_session(admission, id)?,
        };
        let mut connection = Connection::new(admission, session_key, turn.now);
        // The host knows itself how fast it wants to be.
        let limits = Terms::limits(&admission.terms, &self.limits);
        connection.pace = if admission.is_trusted { None } else { Pace::of(limits) };
        let (in_flight, incoming) =
            (limits.in_flight.min(admission.receive_maximum), limits.incoming_in_flight);
        let deadline = connection.silence_deadline();
        let key = self.connections.insert(connection).ok_or(Refusal::TooManySessions)?;
        if let Some(deadline) = deadline {
            self.arm_keep_alive(key, deadline);
        }
        let Some(session) = self.sessions.get_mut(session_key.slot, session_key.generation) else {
            return Err(Refusal::TooManySessions);
        };
        session.connection = Some(key);
        let is_other = std::mem::replace(&mut session.expiry_s, admission.session_expiry_s)
            != admission.session_expiry_s;
        let is_other_wish = session.options() != admission.options;
        if is_other_wish {
            session.set_options(admission.options);
            turn.commons.set_options(self.id, session_key, admission.options);
        }
        let will = admission.will.take().map(Box::new);
        // Most clients come back as they went, and then there is nothing to keep.
        let has_news =
            found.is_none() || will.is_some() || is_other || is_other_wish || session.expiry_s != u32::MAX;
        if let Some(id) = session.id.filter(|_| has_news) {
            session.recorded_in = self.gate.record(Record::SessionBound {
                session: id,
                client_id: session.client_id.clone(),
                user_name: session.user_name.clone(),
                is_trusted: session.is_trusted,
                expiry_s: session.expiry_s,
                options: admission.options,
                will: will.clone(),
            });
        }
        session.will = will;
        session.sender.resume(in_flight);
        session.receiver.resume(incoming);
        session.terms = admission.terms.clone();
        let timer = session.timer.take();
        // Otherwise the store has said that it has what is resumed, and may be full by now. And a session of this ClientId
        // may have ended a moment ago, with this connection or with one before it.
        let is_stored = self.gate.is_stored(session.recorded_in);
        let is_promise = !is_stored || self.gate.awaits_end(&admission.client_id);
        if let Some(timer) = timer {
            self.timers.disarm(timer, Timer::SessionExpiry(session_key));
        }
        if is_other_wish {
            self.note_options(turn.now.tick, session_key);
        }
        self.stats.connections_total += 1;
        self.event(Event::Connected {
            client_id: admission.client_id.clone(),
            peer: admission.peer.clone(),
            is_resumed: found.is_some(),
        });
        let answer = Answer::ConnAck { is_session_present: found.is_some() };
        self.answer(turn, key, answer, is_promise);
        Ok(key)
    }

    /// A slow old attempt must not end the newer connection.
    fn check_newest(&self, admission: &Admission) -> Result<(), Refusal> {
        let owner =
            self.by_client_id.get(&admission.client_id).and_then(|key| self.session(*key)?.connection);
        let is_newer = |owner: &Connection| {
            owner.accept_number > admission.accept_number && owner.is_trusted == admission.is_trusted
        };
        match owner.and_then(|key| self.connections.get(key)) {
            Some(owner) if is_newer(owner) => Err(Refusal::Superseded),
            Some(_) | None => Ok(()),
        }
    }

    /// A session of the host's own client, connected or not, is nobody else's, and nobody else ends it.
    fn check_owner(&self, admission: &Admission) -> Result<(), Refusal> {
        match self.old_session(admission) {
            Some(old) if old.is_trusted && !admission.is_trusted => Err(Refusal::ReservedClientId),
            Some(_) | None => Ok(()),
        }
    }

    /// [MQTT-3.1.2-8] promises that the will is published, so one that may not be is refused now.
    fn check_will(&self, admission: &Admission) -> Result<(), Refusal> {
        let Some(will) = admission.will.as_ref().filter(|_| !admission.is_trusted) else { return Ok(()) };
        match self.gatekeeper.newcomer(admission) {
            Some(rights) if !rights.may_publish(will.topic()) => Err(Refusal::WillNotAuthorized),
            Some(_) | None => Ok(()),
        }
    }

    fn old_session(&self, admission: &Admission) -> Option<&Session> {
        self.by_client_id.get(&admission.client_id).and_then(|key| self.session(*key))
    }

    /// Room for a session that will start and outlive its connection. One that goes on has its room.
    fn reserve_session(&self, turn: &Turn<'_>, admission: &Admission) -> Result<Option<SessionId>, Refusal> {
        let goes_on = self
            .old_session(admission)
            .is_some_and(|old| !admission.clean_start && old.belongs_to(admission) && old.expiry_s > 0);
        if admission.session_expiry_s == 0 || goes_on {
            return Ok(None);
        }
        turn.commons.open_session().map(Some).ok_or(Refusal::TooManySessions)
    }

    /// Ends an older connection of this ClientId [MQTT-3.1.4-2], and the older session if a clean one is wanted
    /// [MQTT-3.1.2-6] or if it is of somebody else, who would otherwise be read.
    fn take_over(&mut self, turn: &mut Turn<'_>, admission: &Admission) {
        let Some(old) = self.by_client_id.get(&admission.client_id).copied() else { return };
        if let Some(owner) = self.session(old).and_then(|session| session.connection) {
            self.stats.connections_taken_over += 1;
            self.close(turn, owner, CloseReason::TakenOver);
        }
        let Some(session) = self.session(old) else { return };
        let is_foreign = !session.belongs_to(admission);
        if admission.clean_start || is_foreign {
            self.stats.sessions_of_others_ended += u64::from(is_foreign);
            self.end_session(turn, old);
        }
    }

    fn start_session(&mut self, admission: &Admission, id: Option<SessionId>) -> Result<SessionKey, Refusal> {
        let mut session =
            Session::new(admission.client_id.clone(), self.limits.in_flight, self.limits.incoming_in_flight);
        session.user_name = admission.user_name.clone();
        session.is_trusted = admission.is_trusted;
        session.expiry_s = admission.session_expiry_s;
        session.id = id;
        let (slot, generation) = self.sessions.insert(session).ok_or(Refusal::TooManySessions)?;
        let key = SessionKey { slot, generation };
        self.by_client_id.insert(admission.client_id.clone(), key);
        self.stats.sessions_persistent += u64::from(id.is_some());
        Ok(key)
    }

    /// CONNACK leaves, then what is in flight once more, then the queue; then packets are read.
    pub(super) fn open(&mut self, turn: &mut Turn<'_>, key: ConnectionKey, is_session_present: bool) {
        self.connections.send(key, &connack(is_session_present, ReasonCode::Success)); // [MQTT-3.2.0-1]
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.state = State::Open;
        // The time that the store took is not the client's.
        connection.last_packet = turn.now.tick;
        let session = connection.session;
        self.send_more(turn, session);
        self.effects.push_back(Effect::Resume { connection: key });
    }
}
