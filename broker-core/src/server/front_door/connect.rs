//! The CONNECT packet: read as it comes, within a budget, and checked.

use std::sync::Arc;

use culex_codec::{Decoded, Packet, PacketType, ProtocolVersion, decode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::Instant;

use crate::engine::{Admission, admit};

use super::super::admit::PreAuthBytes;
use super::super::hooks::Login;
#[cfg(feature = "tls")]
use super::super::tls::Certified;
use super::turn_away::Turned;
use super::{Caller, FrontDoor, generated_client_id};

/// Bytes of one read.
const READ_BYTES: usize = 1024;

/// What has come of a connection's first packet.
pub(super) struct Beginning {
    /// Behind what has come stands the room for the next read.
    bytes: Vec<u8>,
    len: usize,
    budget: PreAuthBytes,
    /// Who the client is by its certificate.
    #[cfg(feature = "tls")]
    pub(super) certified: Certified,
}

/// A CONNECT that is complete, and what follows it.
pub(super) struct Arrival {
    pub(super) admission: Admission,
    login: Option<Login>,
    pub(super) unread: Vec<u8>,
}

impl FrontDoor {
    pub(super) fn begin(&self) -> Beginning {
        Beginning {
            bytes: Vec::new(),
            len: 0,
            budget: self.rooms.pre_auth(),
            #[cfg(feature = "tls")]
            certified: Certified::Unasked,
        }
    }

    /// Counts `bytes` that are held for the connection.
    pub(super) fn reserve(&self, beginning: &mut Beginning, bytes: u64) -> Result<(), Turned> {
        if beginning.budget.grow(bytes) {
            return Ok(());
        }
        Err(Turned::OverBudget(self.limits().pre_auth_total_bytes.get(), "pre_auth_total_bytes"))
    }

    /// Reads CONNECT, behind what has come already, and asks whether it may come in. Gives the stream back with what was
    /// read behind it, or `None` if it does not get in.
    pub(super) async fn receive_rest<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut stream: S,
        caller: &Caller,
        mut beginning: Beginning,
        begun: Result<Option<Arrival>, Turned>,
    ) -> Option<(S, Admission, Vec<u8>)> {
        let (peer, deadline) = (&caller.peer, caller.deadline);
        let read = async {
            match begun? {
                Some(arrival) => Ok(arrival),
                None => self.read_connect(&mut stream, caller, &mut beginning).await,
            }
        };
        let result = match deadline.keep(read, Turned::Late).await {
            Ok(arrival) => self.ask_hooks(arrival, deadline.at).await,
            Err(turned) => Err(turned),
        };
        // The bytes count until it is admitted.
        drop(beginning);
        match result {
            Ok((admission, unread)) => Some((stream, admission, unread)),
            Err(turned) => {
                self.turn_away(stream, peer, &turned).await;
                None
            }
        }
    }

    async fn read_connect<S: AsyncRead + Unpin>(
        &self,
        stream: &mut S,
        caller: &Caller,
        beginning: &mut Beginning,
    ) -> Result<Arrival, Turned> {
        loop {
            let count = match stream.read(self.room(beginning, caller)?).await {
                Ok(0) => return Err(Turned::Gone),
                Err(error) => return Err(Turned::of_read(&error)),
                Ok(count) => count,
            };
            if let Some(arrival) = self.examine(beginning, count, caller)? {
                return Ok(arrival);
            }
        }
    }

    /// Where the next bytes go. What follows a CONNECT of the allowed size does not count: it stays where it is.
    pub(super) fn room<'a>(
        &self,
        beginning: &'a mut Beginning,
        caller: &Caller,
    ) -> Result<&'a mut [u8], Turned> {
        let bytes_max = caller.limits().pre_auth_bytes;
        let left = (bytes_max as usize).saturating_sub(beginning.len);
        beginning.bytes.resize(beginning.len + left.min(READ_BYTES), 0);
        match beginning.bytes.get_mut(beginning.len..) {
            Some(room) if !room.is_empty() => Ok(room),
            _ => Err(Turned::OverBudget(u64::from(bytes_max), "pre_auth_bytes")),
        }
    }

    /// Looks at `count` bytes that were read into the room: is the packet complete?
    pub(super) fn examine(
        &self,
        beginning: &mut Beginning,
        count: usize,
        caller: &Caller,
    ) -> Result<Option<Arrival>, Turned> {
        self.reserve(beginning, count as u64)?;
        beginning.len += count;
        let bytes = beginning.bytes.get(..beginning.len).unwrap_or_default();
        // Before anything else, and before anything is kept for it: is it a CONNECT?
        if bytes.first().is_some_and(|first| first >> 4 != PacketType::Connect as u8) {
            return Err(Turned::NotConnect);
        }
        let limits = caller.limits();
        let max = limits.pre_auth_bytes.min(limits.packet_bytes);
        let (connect, len) = match decode(bytes, ProtocolVersion::V311, max)? {
            Decoded::Incomplete { .. } => return Ok(None),
            Decoded::Packet { packet: Packet::Connect(connect), len } => (connect, len),
            Decoded::Packet { .. } => return Err(Turned::NotConnect),
        };
        if caller.entrance.as_ref().is_some_and(|entrance| !entrance.listener.speaks(connect.version)) {
            return Err(Turned::NotSpoken(connect.version));
        }
        let label = caller.peer.label.clone();
        let refused = |refusal| {
            let client_id = connect.client_id.as_str().into();
            Turned::Refused { refusal, version: connect.version, client_id }
        };
        let admission = admit(&connect, generated_client_id, limits, caller.number, label);
        let mut admission = admission.map_err(refused)?;
        if let Some(terms) = caller.terms() {
            admission.enter(Arc::clone(terms), &caller.all).map_err(refused)?;
        }
        #[cfg(feature = "tls")]
        let is_certified = beginning.certified.apply(&mut admission)?;
        #[cfg(not(feature = "tls"))]
        let is_certified = false;
        let login = || self.hooks.login(&admission, connect.password, caller.peer.listener);
        let login = if is_certified { None } else { login() };
        let unread = bytes.get(len..).unwrap_or_default().to_vec();
        Ok(Some(Arrival { admission, login, unread }))
    }

    /// Whether a hook has to be asked about it.
    pub(super) fn is_asked(&self, arrival: &Arrival) -> bool {
        self.hooks.is_asked(&arrival.admission, arrival.login.as_ref())
    }

    async fn ask_hooks(&self, arrival: Arrival, deadline: Instant) -> Result<(Admission, Vec<u8>), Turned> {
        let Arrival { mut admission, login, unread } = arrival;
        match self.hooks.admit(&mut admission, login, deadline).await {
            Ok(()) => Ok((admission, unread)),
            Err(refusal) => {
                let Admission { version, client_id, user_name, .. } = admission;
                Err(Turned::NotAdmitted { refusal, version, client_id, user_name })
            }
        }
    }
}
