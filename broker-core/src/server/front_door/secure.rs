//! The handshake of TLS before CONNECT, and CONNECT through it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::engine::Admission;
use crate::engine::error::Refusal;

use super::super::socket::Waiting;
use super::super::tls::{Certified, End, Greeting, PLAINTEXT_BYTES_MAX, Session, Tls};
use super::super::transport::{self, Transport};
use super::connect::Beginning;
use super::turn_away::Turned;
use super::{Caller, FrontDoor, IntoTransport};

/// Bytes of one read.
const READ_BYTES: usize = 4 << 10;
/// What a connection counts for in `pre_auth_total_bytes` from its accept: keys, transcript, messages of a handshake, a
/// record. A longer message counts as what it is.
const HANDSHAKE_BYTES: usize = 16 << 10;

impl FrontDoor {
    /// Does the handshake. A client that is not accepted is told why.
    pub(super) async fn receive_tls(
        &self,
        mut stream: Waiting,
        caller: &Caller,
        beginning: &mut Beginning,
        tls: &Tls,
    ) -> Option<Secured> {
        let greeting = tls.greeting();
        let secured = self.secure(&mut stream, &greeting, beginning);
        let session = match caller.deadline.keep(secured, Turned::LateHandshake).await {
            Ok(session) => session,
            Err(turned) => {
                self.note_turned(&caller.peer, &turned);
                // The alert is on its way, and would be lost if the close were a reset because of unread bytes.
                let _ = stream.shutdown().await;
                let _ = stream.try_read(&mut [0; READ_BYTES]);
                return None;
            }
        };
        let cells = &self.metrics.front_door;
        cells.tls_handshakes.fetch_add(1, Ordering::Relaxed);
        cells.tls_handshakes_resumed.fetch_add(u64::from(session.is_resumed()), Ordering::Relaxed);
        beginning.certified = greeting.certify(session.peer_certificates());
        Some(Secured { stream, session })
    }

    /// The Server's side of a handshake.
    async fn secure(
        &self,
        stream: &mut Waiting,
        greeting: &Greeting,
        beginning: &mut Beginning,
    ) -> Result<Session, Turned> {
        let mut reserved = HANDSHAKE_BYTES;
        self.reserve(beginning, reserved as u64)?;
        let mut session = Session::new(Arc::clone(&greeting.config)).map_err(|error| refused(&error))?;
        loop {
            session.advance();
            let is_sent = stream.write_all(session.outgoing()).await;
            session.sent(session.outgoing().len());
            match session.end() {
                Some(End::Failed(error)) => return Err(refused(error)),
                Some(End::Closed) => return Err(Turned::Gone),
                None if is_sent.is_err() => return Err(Turned::Gone),
                None if !session.is_handshaking() => return Ok(session),
                None => {}
            }
            let more = session.incoming_len().saturating_sub(reserved);
            self.reserve(beginning, more as u64)?;
            reserved += more;
            let mut bytes = [0; READ_BYTES];
            match stream.read(&mut bytes).await {
                Ok(0) | Err(_) => return Err(Turned::Gone),
                Ok(count) => session.feed(bytes.get(..count).unwrap_or_default()),
            }
        }
    }
}

/// Why a handshake failed, for whoever reads the log.
fn refused(error: &Error) -> Turned {
    Turned::Handshake(explain(error).map_or_else(|| error.to_string(), str::to_owned))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the texts of rustls are good enough for the others")]
fn explain(error: &Error) -> Option<&'static str> {
    Some(match error {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "this is not TLS; does the client connect without it?"
        }
        Error::NoCertificatesPresented => {
            "the client shows no certificate, and here it must (require_certificate)"
        }
        Error::InvalidCertificate(error) => match error {
            // A CA that was made anew has the name of the old one, but not its key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "the client's certificate is not signed by a CA of client_ca, or its chain is not complete"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the client's certificate has expired"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the client's certificate is not valid yet; are the clocks right?"
            }
            CertificateError::Revoked => "the client's certificate is revoked",
            CertificateError::UnknownRevocationStatus => {
                "no CRL is from the CA that signed the client's certificate"
            }
            CertificateError::ExpiredRevocationList
            | CertificateError::ExpiredRevocationListContext { .. } => {
                "the CRL of the client's CA has expired"
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                "the client's certificate is not one for clients (extended key usage)"
            }
            _ => return None,
        },
        Error::AlertReceived(AlertDescription::UnknownCA) => {
            "the client does not trust this broker's certificate; give it the CA (mosquitto_pub --cafile FILE)"
        }
        Error::AlertReceived(AlertDescription::BadCertificate | AlertDescription::CertificateUnknown) => {
            "the client does not accept this broker's certificate; is the host name that it connects to in it?"
        }
        Error::AlertReceived(AlertDescription::CertificateExpired) => {
            "the client says that this broker's certificate has expired; are the clocks right?"
        }
        Error::NoApplicationProtocol => "the client wants an application protocol (ALPN) that is not in alpn",
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic
            | PeerIncompatible::SupportedVersionsExtensionRequired,
        ) => "the client is too old: it offers no version of TLS that is allowed here (min_version)",
        Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => {
            "the client offers no cipher suite with ECDHE and AEAD"
        }
        _ => return None,
    })
}

impl Certified {
    /// Puts the user of the certificate into a CONNECT. Whether there is one: then nobody is asked for a password.
    pub(super) fn apply(&self, admission: &mut Admission) -> Result<bool, Turned> {
        match self {
            Self::Unasked => Ok(false),
            Self::As(name) => {
                admission.user_name = Some(name.clone());
                Ok(true)
            }
            Self::Nameless => Err(Turned::NotAdmitted {
                refusal: Refusal::BadCredentials,
                version: admission.version,
                client_id: admission.client_id.clone(),
                user_name: admission.user_name.clone(),
            }),
        }
    }
}

/// A connection after its handshake, for a task that waits for CONNECT.
pub(super) struct Secured {
    stream: Waiting,
    session: Session,
}

impl IntoTransport for Secured {
    fn into_transport(self) -> io::Result<Transport> {
        let socket = self.stream.into_socket()?;
        Ok(Transport::Tls(Box::new(transport::Tls::new(socket, self.session))))
    }
}

impl Secured {
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.session.outgoing().is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, self.session.outgoing()))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.session.sent(sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while buffer.remaining() > 0 {
            let count = this.session.read(buffer.initialize_unfilled());
            if count > 0 {
                buffer.advance(count);
                return Poll::Ready(Ok(()));
            }
            match this.session.end() {
                Some(End::Closed) => return Poll::Ready(Ok(())),
                Some(End::Failed(_)) => {
                    // The alert.
                    ready!(this.poll_send(context))?;
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                }
                None => {}
            }
            // An answer of rustls itself, such as the refusal to renegotiate. It need not be through before the next read.
            if let Poll::Ready(Err(error)) = this.poll_send(context) {
                return Poll::Ready(Err(error));
            }
            let mut storage = [0; READ_BYTES];
            let mut came = ReadBuf::new(&mut storage);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut came))?;
            if came.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.session.feed(came.filled());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Secured {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(context))?;
        let (now, _) = bytes.split_at(bytes.len().min(PLAINTEXT_BYTES_MAX));
        this.session.encrypt(now)?;
        // What does not fit now goes before the next.
        match this.poll_send(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(now.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.session.close();
        ready!(this.poll_send(context))?;
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_handshake_says_what_to_do() {
        for (error, expected) in [
            (Error::InvalidMessage(InvalidMessage::InvalidContentType), "not TLS"),
            (Error::NoCertificatesPresented, "shows no certificate"),
            (Error::AlertReceived(AlertDescription::UnknownCA), "--cafile"),
            (Error::InvalidCertificate(CertificateError::Revoked), "revoked"),
        ] {
            let text = refused(&error).to_string();
            assert!(text.contains(expected), "{text}");
        }
    }
}
