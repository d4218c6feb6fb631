//! A client that subscribes, unsubscribes, and ends its session: what it was told is done stays done.

use culex_core::engine::store::StoredSession;
use culex_tests::wire::{self, Connect};

use super::chance::Chance;
use super::link::{Got, Link};
use super::network::Network;

#[derive(Debug)]
pub(crate) struct Switch {
    id: &'static str,
    link: Link,
    /// What the broker has confirmed.
    session: bool,
    filters: [bool; 2],
    /// What it was asked for and has not confirmed.
    asked: Option<Asked>,
    /// Filters whose last packet may have been handled or not, as the connection was left before it was confirmed.
    unsure: [bool; 2],
}

#[derive(Debug, Clone, Copy)]
enum Asked {
    Session(bool),
    Filter(usize, bool),
}

const FILTERS: [&str; 2] = ["s/0", "s/+/x"];

impl Switch {
    pub(crate) fn new(id: &'static str) -> Self {
        Self {
            id,
            link: Link::default(),
            session: false,
            filters: [false; 2],
            asked: None,
            unsure: [false; 2],
        }
    }

    pub(crate) fn id(&self) -> &str {
        self.id
    }

    pub(crate) fn step(&mut self, net: &mut dyn Network, chance: &mut Chance) {
        if self.link.is_away() || chance.below(5) == 0 {
            let is_persistent = chance.below(4) != 0;
            let connect = Connect::new(self.id);
            if matches!(self.asked, Some(Asked::Session(_))) {
                // What a second one would find is not known.
                return;
            }
            if let Some(Asked::Filter(filter, is_on)) = self.asked {
                self.filters[filter] = is_on;
                self.unsure[filter] = true;
            }
            self.asked = Some(Asked::Session(is_persistent));
            self.link.connect(net, &if is_persistent { connect.persistent() } else { connect });
        } else if self.link.is_open && self.session && self.asked.is_none() {
            let (filter, is_on) = (chance.below(2), chance.below(2) == 0);
            self.asked = Some(Asked::Filter(filter, is_on));
            let packet = if is_on {
                wire::subscribe(1, &[(FILTERS[filter], 1)])
            } else {
                wire::unsubscribe(1, &[FILTERS[filter]])
            };
            self.link.send(net, &packet);
        }
    }

    pub(crate) fn read(&mut self, net: &mut dyn Network) {
        for got in self.link.read(net) {
            match (got, self.asked.take()) {
                (Got::ConnAck { is_session_present }, Some(Asked::Session(is_persistent))) => {
                    assert_eq!(is_session_present, is_persistent && self.session);
                    if !is_session_present {
                        self.filters = [false; 2];
                        self.unsure = [false; 2];
                    }
                    self.session = is_persistent;
                    self.link.is_open = true;
                }
                (Got::SubAck | Got::UnsubAck, Some(Asked::Filter(filter, is_on))) => {
                    self.filters[filter] = is_on;
                    self.unsure[filter] = false;
                }
                (other, asked) => panic!("{other:?} for {asked:?}"),
            }
        }
    }

    /// The crash decides what was asked for and not confirmed.
    pub(crate) fn check(&self, stored: Option<&StoredSession>) {
        let (mut session, mut filters) = (Some(self.session), self.filters.map(Some));
        match self.asked {
            Some(Asked::Session(is_persistent)) if is_persistent == self.session => {}
            Some(Asked::Session(_)) => session = None,
            Some(Asked::Filter(filter, _)) => filters[filter] = None,
            None => {}
        }
        for (filter, is_unsure) in filters.iter_mut().zip(self.unsure) {
            *filter = filter.filter(|_| !is_unsure);
        }
        assert!(session.is_none_or(|session| session == stored.is_some()), "{self:?}: {stored:?}");
        let Some(stored) = stored else { return };
        for (filter, is_on) in FILTERS.iter().zip(filters) {
            let found = stored.subscriptions.iter().any(|subscription| &*subscription.filter == *filter);
            assert!(is_on.is_none_or(|is_on| is_on == found) || !self.session, "{self:?}: {stored:?}");
        }
    }

    /// To be called with the state after the crash, which is what counts from now on.
    pub(crate) fn forget_connection(&mut self) {
        self.link.forget();
    }

    /// Takes over what the crash decided.
    pub(crate) fn decide(&mut self, stored: Option<&StoredSession>) {
        (self.asked, self.unsure) = (None, [false; 2]);
        self.session = stored.is_some();
        self.filters = FILTERS.map(|filter| {
            let mut found = stored.into_iter().flat_map(|stored| &stored.subscriptions);
            found.any(|subscription| &*subscription.filter == filter)
        });
    }
}
