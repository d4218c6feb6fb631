//! Room for connections: in all, from one address, and bytes before CONNECT.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;

use crate::limits::Limits;

use super::listener::Entrance;
use super::metrics::Metrics;

/// Counts connections and the bytes of those that have not said CONNECT.
pub(crate) struct Rooms {
    per_address: DashMap<IpAddr, u64>,
    connections_max: AtomicU64,
    per_address_max: AtomicU64,
    pre_auth_max: AtomicU64,
    metrics: Arc<Metrics>,
}

/// The room of one connection; given back when it is dropped.
pub(crate) struct Permit {
    rooms: Arc<Rooms>,
    address: Option<IpAddr>,
    entrance: Option<Arc<Entrance>>,
}

/// Bytes that a connection holds before its CONNECT is complete; given back when it is dropped.
pub(crate) struct PreAuthBytes {
    rooms: Arc<Rooms>,
    held: u64,
}

impl Rooms {
    pub(crate) fn new(limits: &Limits, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            per_address: DashMap::new(),
            connections_max: limits.connections.get().into(),
            per_address_max: limits.connections_per_address.get().into(),
            pre_auth_max: limits.pre_auth_total_bytes.get().into(),
            metrics,
        })
    }

    /// Other limits; who is there stays.
    pub(crate) fn set_limits(&self, limits: &Limits) {
        for (place, limit) in [
            (&self.connections_max, limits.connections),
            (&self.per_address_max, limits.connections_per_address),
            (&self.pre_auth_max, limits.pre_auth_total_bytes),
        ] {
            place.store(limit.get(), Ordering::Relaxed);
        }
    }

    /// Room for one more connection, from `address` if it has one, through `entrance` if it came through one; or the name of
    /// the limit that is in the way.
    pub(crate) fn enter(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        entrance: Option<&Arc<Entrance>>,
    ) -> Result<Permit, &'static str> {
        if !take(&self.metrics.front_door.sockets, 1, self.connections_max.load(Ordering::Relaxed)) {
            return Err("connections");
        }
        // What it has got so far is given back when it is dropped.
        let mut permit = Permit { rooms: Arc::clone(self), address: None, entrance: None };
        if let Some(entrance) = entrance {
            if !take(&entrance.connections, 1, entrance.listener.max_connections.get()) {
                return Err("max_connections");
            }
            permit.entrance = Some(Arc::clone(entrance));
        }
        if let Some(address) = address {
            permit.count_address(address)?;
        }
        Ok(permit)
    }

    fn enter_from(&self, address: IpAddr) -> bool {
        let mut count = self.per_address.entry(address).or_insert(0);
        let has_room = *count < self.per_address_max.load(Ordering::Relaxed);
        *count += u64::from(has_room);
        has_room
    }

    pub(crate) fn pre_auth(self: &Arc<Self>) -> PreAuthBytes {
        PreAuthBytes { rooms: Arc::clone(self), held: 0 }
    }
}

impl Permit {
    /// Counts a connection that was not counted for an address yet; or says the limit that is in the way.
    pub(crate) fn count_address(&mut self, address: IpAddr) -> Result<(), &'static str> {
        if self.address.is_none() {
            if !self.rooms.enter_from(address) {
                return Err("connections_per_address");
            }
            self.address = Some(address);
        }
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.rooms.metrics.front_door.sockets.fetch_sub(1, Ordering::Relaxed);
        if let Some(entrance) = &self.entrance {
            entrance.connections.fetch_sub(1, Ordering::Relaxed);
        }
        let Some(address) = self.address else { return };
        self.rooms.per_address.remove_if_mut(&address, |_, count| {
            *count = count.saturating_sub(1);
            *count == 0
        });
    }
}

impl PreAuthBytes {
    /// Room for `bytes` more; `false` if all connections together hold too many.
    pub(crate) fn grow(&mut self, bytes: u64) -> bool {
        let max = self.rooms.pre_auth_max.load(Ordering::Relaxed);
        let has_room = take(&self.rooms.metrics.front_door.pre_auth_bytes, bytes, max);
        if has_room {
            self.held += bytes;
        }
        has_room
    }
}

impl Drop for PreAuthBytes {
    fn drop(&mut self) {
        self.rooms.metrics.front_door.pre_auth_bytes.fetch_sub(self.held, Ordering::Relaxed);
    }
}

fn take(gauge: &AtomicU64, count: u64, max: u64) -> bool {
    gauge
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            held.checked_add(count).filter(|sum| *sum <= max)
        })
        .is_ok()
}
