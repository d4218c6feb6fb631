//! The frame of the conformance suite: cases by name, where they run, and the table of results.
//!
//! A case is a function of a [`Scope`]. The [`cases!`](crate::cases) macro makes each an ordinary test and lists
//! it in a table, so that the same cases can be run against any other broker.

#![expect(
    clippy::panic,
    reason = "a case without a broker is a failed test, and the message is for the person who reads it"
)]

use std::collections::BTreeMap;
use std::env;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::broker::Broker;
use crate::client::Client;
use crate::wire::Connect;

/// One case of the suite.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The module, named after the part of the standard.
    pub module: &'static str,
    /// The function, named after the behaviour.
    pub name: &'static str,
    /// The case itself; it panics when the broker fails it.
    pub run: fn(&Scope),
    /// The configuration that the case needs; such a case has a Culex broker of its own and cannot be run
    /// against another one.
    pub config: Option<&'static str>,
}

impl Case {
    /// `module::name`, as the manifest writes it.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}::{}", self.module, self.name)
    }

    /// Runs the case as a test: against the built binary with so many shards, or against the broker in
    /// `CULEX_TEST_BROKER` if that is set, once.
    ///
    /// # Panics
    ///
    /// When the case fails.
    pub fn test(&self, shards: u16) {
        let foreign = foreign_broker();
        if foreign.is_some() && shards > 1 {
            return;
        }
        match (self.config, foreign) {
            (Some(_), Some(address)) => {
                let name = self.full_name();
                let note =
                    format!("{name}: skipped, it needs a configuration that {address} does not have\n");
                let _ = std::io::Write::write_all(&mut std::io::stderr(), note.as_bytes());
            }
            (Some(config), None) => {
                let broker = Broker::start_with_config(&format!("threads = {shards}\n{config}"));
                (self.run)(&Scope::new(broker.addr));
            }
            (None, Some(address)) => (self.run)(&Scope::new(address)),
            (None, None) => {
                let broker = shared_broker(shards);
                (self.run)(&Scope::new(broker.addr));
            }
        }
    }
}

/// The broker with so many shards that the tests of this process share. The last test that uses it ends it: a static
/// would never be dropped, and the process would stay.
fn shared_broker(shards: u16) -> Arc<Broker> {
    static SHARED: Mutex<BTreeMap<u16, Weak<Broker>>> = Mutex::new(BTreeMap::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.get(&shards).and_then(Weak::upgrade).unwrap_or_else(|| {
        let broker = Arc::new(Broker::start_with_config(&format!("threads = {shards}\n")));
        shared.insert(shards, Arc::downgrade(&broker));
        broker
    })
}

fn foreign_broker() -> Option<SocketAddr> {
    let address = env::var("CULEX_TEST_BROKER").ok()?;
    Some(resolve(&address).unwrap_or_else(|| panic!("CULEX_TEST_BROKER={address} is not HOST:PORT")))
}

/// The first address of `HOST:PORT`.
#[must_use]
pub fn resolve(address: &str) -> Option<SocketAddr> {
    address.to_socket_addrs().ok()?.next()
}

/// Where one run of a case takes place: the broker, and names that no other run uses, since the cases share the
/// broker and run side by side.
#[derive(Debug)]
pub struct Scope {
    addr: SocketAddr,
    token: String,
}

impl Scope {
    /// A new scope on the broker at `addr`.
    #[must_use]
    pub fn new(addr: SocketAddr) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        // Runs against a broker that keeps its sessions must not meet those of the run before.
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.subsec_nanos() ^ now.as_secs() as u32);
        let run = now ^ std::process::id().rotate_left(16);
        Self { addr, token: format!("{run:08x}{count:03x}") }
    }

    /// The broker.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// A string of 11 characters that every topic and client id of this scope contains.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// `TOKEN/suffix`.
    #[must_use]
    pub fn topic(&self, suffix: &str) -> String {
        format!("{}/{suffix}", self.token)
    }

    /// A client id of this scope; with a `name` of up to 12 letters and digits one that every Server takes.
    #[must_use]
    pub fn id(&self, name: &str) -> String {
        format!("{}{name}", self.token)
    }

    /// A 3.1.1 CONNECT with this scope's id `name` and Clean Session 1.
    #[must_use]
    pub fn hello(&self, name: &str) -> Connect {
        Connect::new(&self.id(name))
    }

    /// A connection on which nothing has been sent.
    #[must_use]
    #[track_caller]
    pub fn open(&self) -> Client {
        Client::open(self.addr)
    }

    /// A connected client with Clean Session 1.
    #[must_use]
    #[track_caller]
    pub fn connect(&self, name: &str) -> Client {
        self.connect_with(&self.hello(name)).0
    }

    /// A connected client with Clean Session 0, and its Session Present.
    #[must_use]
    #[track_caller]
    pub fn persistent(&self, name: &str) -> (Client, bool) {
        self.connect_with(&self.hello(name).persistent())
    }

    /// A connected client, and its Session Present.
    #[must_use]
    #[track_caller]
    pub fn connect_with(&self, connect: &Connect) -> (Client, bool) {
        let mut client = self.open();
        let session_present = client.connect(connect);
        (client, session_present)
    }

    /// A connected client that is subscribed to one filter.
    #[must_use]
    #[track_caller]
    pub fn subscriber(&self, name: &str, filter: &str, qos: u8) -> Client {
        let mut client = self.connect(name);
        let codes = client.subscribe(&[(filter, qos)]);
        assert_eq!(codes, [qos], "the subscription to {filter} was not granted");
        client
    }

    /// Ends the stored session `name`, so that a broker that is not ours is left as it was found.
    #[track_caller]
    pub fn forget(&self, name: &str) {
        self.connect(name).disconnect();
    }
}

/// Lists the cases of a module and makes tests of each: with 1, 2 and 4 shards.
///
/// `cases! { "module": first, second }`, with `; config "…": third` for those that need a broker of their own.
#[macro_export]
macro_rules! cases {
    ($module:literal: $($name:ident),* $(,)? $(; config $config:literal: $($own:ident),+ $(,)?)*) => {
        /// The cases of this module.
        pub(crate) const CASES: &[$crate::conformance::Case] = &[
            $($crate::conformance::Case {
                module: $module, name: stringify!($name), run: $name, config: None,
            },)*
            $($($crate::conformance::Case {
                module: $module, name: stringify!($own), run: $own, config: Some($config),
            },)+)*
        ];

        #[cfg(test)]
        mod cases {
            fn run(name: &str, shards: u16) {
                super::CASES.iter().find(|case| case.name == name).expect("the macro lists it").test(shards);
            }
            $(fn $name(shards: u16) { run(stringify!($name), shards); })*
            $($(fn $own(shards: u16) { run(stringify!($own), shards); })+)*
            $crate::on_shards!($($name,)* $($($own,)+)*);
        }
    };
}
