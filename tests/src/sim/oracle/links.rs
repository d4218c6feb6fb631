//! Connections: one owner of a session, closed for a reason that holds, wills exactly when due.

use culex_core::engine::error::{CloseReason, Refusal};
use culex_core::engine::question::HookFailure;

use crate::sim::network::Link;
use crate::sim::report::Reach;

use super::{LinkState, Oracle};

impl Oracle {
    pub(in crate::sim) fn on_dial(&mut self, client: usize, is_clean: bool) {
        self.links.push(LinkState { client, is_clean, ..LinkState::default() });
    }

    /// Whether the broker that a connection came to has crashed.
    pub(super) fn is_outlived(&self, link: Option<usize>) -> bool {
        link.is_some_and(|link| self.links[link].is_outlived)
    }

    pub(in crate::sim) fn set_will(&mut self, link: usize, will: usize) {
        self.links[link].will = Some(will);
    }

    /// A shard has taken a connection. Says whether an attempt came in after a newer one had gone.
    pub(in crate::sim) fn on_attached(&mut self, link: usize, now: u64) -> bool {
        let client = self.links[link].client;
        self.links[link].is_attached = true;
        self.come_back(link, now);
        let newer =
            self.links.get(link + 1..).unwrap_or_default().iter().filter(|other| other.client == client);
        let (mut is_stale, mut has_newer_owner) = (false, false);
        for other in newer {
            is_stale |= other.is_attached;
            has_newer_owner |= other.is_attached && !other.is_ending && other.closed.is_none();
        }
        if has_newer_owner {
            self.fail(format!("L{link} takes the session of c{client} from a newer connection"));
        }
        if is_stale {
            self.reach(Reach::StaleAttach);
            for message in self.messages.iter_mut().filter(|message| message.link == link) {
                message.is_late = true;
            }
        }
        is_stale
    }

    pub(in crate::sim) fn on_ending(&mut self, link: usize) {
        self.links[link].is_ending = true;
    }

    pub(in crate::sim) fn on_refused(&mut self, link: usize, refusal: Refusal) {
        let client = self.links[link].client;
        if refusal != Refusal::Superseded {
            // It changes nothing: see the end of a connection for take-over.
            let is_live =
                |other: &LinkState| other.client == client && other.is_attached && other.closed.is_none();
            if self.links.iter().take(link).any(is_live) {
                self.reach(Reach::RefusedBesideLive);
            }
            return;
        }
        self.reach(Reach::RefusedSuperseded);
        let newer = self.links.get(link + 1..).unwrap_or_default();
        let is_right = newer.iter().any(|other| other.client == client && other.is_attached);
        if !is_right {
            self.fail(format!("L{link} is superseded, but by nobody"));
        }
    }

    pub(in crate::sim) fn on_closed(&mut self, index: usize, link: &Link, reason: CloseReason, now: u64) {
        let has_disconnected = link.disconnect_end.is_some_and(|end| link.handled >= end);
        let reach = match reason {
            CloseReason::Disconnected => Reach::ClosedDisconnected,
            CloseReason::Lost => Reach::ClosedLost,
            CloseReason::KeepAlive => Reach::ClosedKeepAlive,
            CloseReason::TakenOver => Reach::ClosedTakenOver,
            CloseReason::PartialPacket if self.may_close_partial => Reach::ClosedPartial,
            CloseReason::Hook(failure) => match link.asked {
                Some(asked) if failure == HookFailure::Late && now >= asked.deadline => Reach::ClosedHookLate,
                Some(asked) if asked.failure == Some(failure) => Reach::ClosedHook,
                asked => return self.fail(format!("L{index} is closed at {now}: {failure}, but {asked:?}")),
            },
            CloseReason::Malformed(_)
            | CloseReason::Protocol(_)
            | CloseReason::Transport(_)
            | CloseReason::Refused(_)
            | CloseReason::PartialPacket
            | CloseReason::StoreFull
            | CloseReason::Administrative
            | CloseReason::Internal => {
                return self.fail(format!("L{index} of a correct client is closed: {reason}"));
            }
            _ => return self.fail(format!("L{index} is closed for a new reason: {reason}")),
        };
        self.reach(reach);
        if link.asked.is_some() {
            if reason == CloseReason::KeepAlive {
                self.fail(format!("L{index} is closed for keep alive while a hook is asked"));
            } else if reason == CloseReason::TakenOver {
                self.reach(Reach::ClosedWhileAsked);
            } else if reason == CloseReason::Lost {
                self.reach(Reach::LostWhileAsked);
            }
        }
        if self.links[index].closed.is_some() {
            self.fail(format!("L{index} is closed twice"));
        }
        self.links[index].closed = Some(reason);
        if reason == CloseReason::Disconnected && link.disconnect_end.is_none() {
            self.fail(format!("L{index} is closed for a DISCONNECT that nobody sent"));
        }
        if reason == CloseReason::TakenOver {
            let client = self.links[index].client;
            let mut newer = self.links.get(index + 1..).unwrap_or_default().iter();
            if !newer.any(|other| other.client == client && other.is_attached) {
                self.fail(format!("L{index} is taken over by nobody"));
            }
        }
        if reason != CloseReason::Disconnected && has_disconnected {
            self.fail(format!("L{index} is closed ({reason}) after its DISCONNECT was handled"));
        }
        if reason == CloseReason::KeepAlive {
            let due = link.heard + u64::from(link.keep_alive) * 1500;
            if link.keep_alive == 0 || now < due {
                self.fail(format!("L{index} is closed for silence at {now}, due at {due}"));
            }
            self.reach(Reach::KeepAliveInTime);
        }
        self.end_will(index, reason);
        self.leave(index, now);
    }

    fn end_will(&mut self, link: usize, reason: CloseReason) {
        let Some(will) = self.links[link].will else { return };
        let now = self.tick();
        let is_due = reason != CloseReason::Disconnected;
        self.messages[will].closed = Some(now);
        self.messages[will].is_handled = is_due;
        self.wills_due += u64::from(is_due);
        self.reach(if is_due { Reach::WillPublished } else { Reach::WillDiscarded });
    }

    /// A client got a will.
    pub(super) fn check_will(&mut self, message: usize) {
        let link = self.messages[message].link;
        match self.links[link].closed {
            Some(_) if self.links[link].is_will_lost => {
                self.fail(format!("m{message}, the will of L{link}, is published, but nobody has kept it"));
            }
            None => self.fail(format!("m{message}, the will of L{link}, is published while that is alive")),
            Some(CloseReason::Disconnected) => {
                self.fail(format!("m{message}, the will of L{link}, is published after DISCONNECT"));
            }
            Some(_) => self.reach(Reach::WillReceived),
        }
    }

    /// No client has two connections, and none is silent for longer than it may.
    pub(in crate::sim) fn check_owners(&mut self, clients: usize) {
        for client in 0..clients {
            let owners = self
                .links
                .iter()
                .filter(|link| link.client == client && link.is_attached && link.closed.is_none())
                .count();
            if owners > 1 {
                self.fail(format!("{owners} connections own the session of c{client}"));
            }
        }
    }

    pub(in crate::sim) fn check_silence(&mut self, links: &[Link], now: u64) {
        for (index, link) in links.iter().enumerate().filter(|(_, link)| link.key().is_some()) {
            let due = link.heard + u64::from(link.keep_alive) * 1500;
            // A part of a large packet is given more time.
            if link.keep_alive > 0 && now > due && link.up.received.is_empty() {
                self.fail(format!(
                    "L{index} has been silent since {}, and was due at {due}, now {now}",
                    link.heard
                ));
            }
        }
    }
}
