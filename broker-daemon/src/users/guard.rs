//! What guessing passwords costs: after some failures each further attempt waits, longer every time.
//!
//! Failures are counted for an address together with a user name. So a guesser slows down nobody at another address, and
//! at its own address nobody with another name: devices often share one. An address that fails with many names is slowed
//! as a whole, but never shut out.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// Failures that cost nothing: everybody mistypes.
const FREE: u32 = 3;
/// The wait after the first failure beyond; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A client is kept waiting so long; if it would be longer it is refused, so that it does not hold a connection.
const PATIENCE: Duration = Duration::from_secs(2);
/// Failures of an address, whatever the names, before it is slowed.
const FREE_OF_ADDRESS: u32 = 20;
/// What each further one costs, up to a second.
const SLOWER_BY: Duration = Duration::from_millis(50);
const SLOWEST: Duration = Duration::from_secs(1);
/// How long a failure is remembered, at least.
const MEMORY: Duration = Duration::from_secs(600);
/// Entries of half a table. Each costs some 50 bytes.
const ENTRIES: usize = 8192;

/// Whose attempt it is. Names are kept as keyed hashes: they may be long, and are chosen by the guesser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Guess {
    address: Option<IpAddr>,
    name: u64,
}

impl Guess {
    /// For the log; empty if it has none.
    pub(super) fn address_text(self) -> String {
        self.address.map(|address| address.to_string()).unwrap_or_default()
    }
}

/// Whether an attempt may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// Now.
    Open,
    /// If it is made again after this time.
    After(Duration),
    /// Not now: the wait is longer than a connection is held for.
    Closed(Duration),
}

/// Failed attempts of the last minutes.
#[derive(Debug)]
pub(super) struct Guard {
    guesses: Fading<Guess>,
    addresses: Fading<Option<IpAddr>>,
    keys: RandomState,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Guard {
    pub(super) fn new(now: Instant) -> Self {
        Self { guesses: Fading::new(now), addresses: Fading::new(now), keys: RandomState::new() }
    }

    pub(super) fn guess(&self, address: Option<IpAddr>, name: &str) -> Guess {
        Guess { address: address.map(network), name: self.keys.hash_one(name) }
    }

    /// Whether this attempt may be made.
    pub(super) fn gate(&self, guess: Guess, now: Instant) -> Gate {
        let Some(failures) = self.guesses.get(&guess, now) else { return Gate::Open };
        let until = failures.last + wait_after(failures.count);
        match until.saturating_duration_since(now) {
            Duration::ZERO => Gate::Open,
            wait if wait <= PATIENCE => Gate::After(wait),
            wait => Gate::Closed(wait),
        }
    }

    /// How much longer an attempt of this address takes than usual.
    pub(super) fn slowness(&self, guess: Guess, now: Instant) -> Duration {
        let count = self.addresses.get(&guess.address, now).map_or(0, |failures| failures.count);
        (SLOWER_BY * count.saturating_sub(FREE_OF_ADDRESS)).min(SLOWEST)
    }

    /// The attempt failed. Gives how often it has, and the wait.
    pub(super) fn failed(&mut self, guess: Guess, now: Instant) -> (u32, Duration) {
        self.addresses.count(guess.address, now);
        let count = self.guesses.count(guess, now);
        (count, wait_after(count))
    }

    /// It was the password: what its user mistyped is forgotten.
    pub(super) fn succeeded(&mut self, guess: Guess) {
        self.guesses.forget(&guess);
    }
}

fn wait_after(failures: u32) -> Duration {
    let Some(doublings) = failures.checked_sub(FREE) else { return Duration::ZERO };
    FIRST_WAIT.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_WAIT)
}

/// Whoever has one IPv6 address usually has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & (u128::MAX << 64)).into()),
    }
}

/// Counts that are forgotten after a while: when the younger half is full or old enough, the older one goes.
#[derive(Debug)]
struct Fading<K> {
    young: HashMap<K, Failures>,
    old: HashMap<K, Failures>,
    since: Instant,
}

impl<K: Eq + Hash> Fading<K> {
    fn new(now: Instant) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), since: now }
    }

    fn get(&self, key: &K, now: Instant) -> Option<Failures> {
        let found = self.young.get(key).or_else(|| self.old.get(key)).copied();
        found.filter(|failures| now.saturating_duration_since(failures.last) < MEMORY)
    }

    fn count(&mut self, key: K, now: Instant) -> u32 {
        let count = self.get(&key, now).map_or(0, |failures| failures.count).saturating_add(1);
        if self.young.len() >= ENTRIES || now.saturating_duration_since(self.since) >= MEMORY {
            self.old = std::mem::take(&mut self.young);
            self.since = now;
        }
        self.young.insert(key, Failures { count, last: now });
        count
    }

    fn forget(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn password_guessing_gets_slower_with_each_failure() {
        let mut now = Instant::now();
        let mut guard = Guard::new(now);
        let guess = guard.guess(address("192.0.2.1"), "ann");
        let mut waits = Vec::new();
        for _ in 0..12 {
            assert_eq!(guard.gate(guess, now), Gate::Open);
            let (_, wait) = guard.failed(guess, now);
            if !wait.is_zero() {
                assert_ne!(guard.gate(guess, now + wait - Duration::from_nanos(1)), Gate::Open);
            }
            waits.push(wait.as_millis());
            now += wait;
        }
        let expected = [0, 0, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000, 30_000];
        assert_eq!(waits, expected);
        // A day of guessing is less than 3,000 passwords.
        assert!(24 * 3600 / LONGEST_WAIT.as_secs() < 3000);
    }

    #[test]
    fn short_waits_are_waited_and_long_ones_refused() {
        let now = Instant::now();
        let mut guard = Guard::new(now);
        let guess = guard.guess(address("192.0.2.1"), "ann");
        let gates: Vec<_> = (0..6)
            .map(|_| {
                guard.failed(guess, now);
                guard.gate(guess, now)
            })
            .collect();
        let after = |ms| Gate::After(Duration::from_millis(ms));
        let closed = Gate::Closed(Duration::from_secs(4));
        assert_eq!(gates, [Gate::Open, Gate::Open, after(500), after(1000), after(2000), closed]);
    }

    #[test]
    fn only_this_user_at_this_address_waits() {
        let now = Instant::now();
        let mut guard = Guard::new(now);
        let guess = guard.guess(address("192.0.2.1"), "ann");
        for _ in 0..10 {
            guard.failed(guess, now);
        }
        for (other, name) in [("192.0.2.1", "bob"), ("192.0.2.2", "ann"), ("192.0.2.1", ""), ("::1", "ann")] {
            assert_eq!(guard.gate(guard.guess(address(other), name), now), Gate::Open, "{other} {name}");
        }
        // An IPv4 address that came in over IPv6 is the same one.
        let mapped = guard.guess(address("::ffff:192.0.2.1"), "ann");
        assert_ne!(guard.gate(mapped, now), Gate::Open);
        guard.succeeded(guess);
        assert_eq!(guard.gate(guess, now), Gate::Open);
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let now = Instant::now();
        let mut guard = Guard::new(now);
        for host in 0..10 {
            let guess = guard.guess(address(&format!("2001:db8::{host}")), "ann");
            guard.failed(guess, now);
        }
        let gate = |text| guard.gate(guard.guess(address(text), "ann"), now);
        assert_ne!(gate("2001:db8::ffff:0:0:1"), Gate::Open);
        assert_eq!(gate("2001:db8:0:1::1"), Gate::Open);
    }

    #[test]
    fn an_address_with_many_names_is_slowed_and_never_shut_out() {
        let now = Instant::now();
        let mut guard = Guard::new(now);
        let mut slowest = Vec::new();
        for number in 0..100 {
            let guess = guard.guess(address("192.0.2.1"), &number.to_string());
            assert_eq!(guard.gate(guess, now), Gate::Open);
            guard.failed(guess, now);
            slowest.push(guard.slowness(guess, now).as_millis());
        }
        assert_eq!((slowest[19], slowest[20], slowest[99]), (0, 50, 1000));
        assert_eq!(guard.slowness(guard.guess(address("192.0.2.2"), "1"), now), Duration::ZERO);
    }

    #[test]
    fn failures_are_forgotten() {
        let now = Instant::now();
        let mut guard = Guard::new(now);
        let guess = guard.guess(address("192.0.2.1"), "ann");
        for _ in 0..50 {
            guard.failed(guess, now);
        }
        let later = now + MEMORY;
        assert_eq!((guard.gate(guess, later), guard.slowness(guess, later)), (Gate::Open, Duration::ZERO));
        assert_eq!(guard.failed(guess, later), (1, Duration::ZERO));
    }

    #[test]
    fn the_table_is_bounded_and_keeps_who_goes_on_guessing() {
        let now = Instant::now();
        let mut guard = Guard::new(now);
        let guess = guard.guess(address("192.0.2.1"), "ann");
        for number in 0..100_000 {
            if number % 1000 == 0 {
                guard.failed(guess, now);
            }
            let other = guard.guess(address("192.0.2.9"), &number.to_string());
            guard.failed(other, now);
            assert!(guard.guesses.young.len() + guard.guesses.old.len() <= 2 * ENTRIES);
        }
        assert_eq!(guard.failed(guess, now).0, 101);
    }
}
