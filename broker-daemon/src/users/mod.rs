//! Users and their passwords: who may come in.
//!
//! ```text
//!  attempt ─► gate ─► remembered? ─yes─► in
//!              │           └─no─► queue ─► thread: hash, or that of somebody else ─► in / refused, counted
//!              └─ too many failures: wait, or refused
//! ```
//!
//! [`PasswordFile`] is mosquitto's password file, read strictly. [`Users`] decides by it, and [`Anonymous`] about clients
//! without a user name; both are [`Authenticator`]s. The table of users is replaced as a whole ([`Users::replace`]).

mod anonymous;
pub(crate) mod edit;
mod file;
mod guard;
pub(crate) mod hash;
mod pool;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use culex_core::hooks::{Authenticator, Decision, Login};
use tokio::time::{Instant, sleep};
use tracing::{error, warn};

use crate::config::ConfigError;

pub use self::anonymous::Anonymous;
pub use self::file::PasswordFile;
pub(crate) use self::file::check_name;
use self::guard::{Gate, Guard, Guess};
use self::pool::{Overloaded, Pool, Turn};
use self::table::{Place, Table};

/// Lets in who knows the password of a user. A handle: clones are the same users.
///
/// Every user name is decided here, so put it last among several authenticators. A hash takes some 30 ms on a thread of
/// its own; what proved right is remembered until [`Users::replace`], so that who comes back costs microseconds.
#[derive(Clone)]
pub struct Users {
    inner: Arc<Inner>,
}

struct Inner {
    /// What is remembered of passwords is worth nothing without it.
    key: [u8; 32],
    table: ArcSwap<Table>,
    guard: Mutex<Guard>,
    pool: Pool,
}

impl Users {
    /// Reads a password file.
    ///
    /// # Errors
    /// As [`PasswordFile::read`], and if the system has no random numbers.
    pub fn open(path: &Path) -> Result<Self, ConfigError> {
        let file = PasswordFile::read(path)?;
        Self::of(file).map_err(|error| ConfigError::of_file(path, error.to_string()))
    }

    /// The users of a file that is read already.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn of(file: PasswordFile) -> io::Result<Self> {
        tell(&file);
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        let inner = Inner {
            key,
            table: ArcSwap::from_pointee(Table::new(file, key)),
            guard: Mutex::new(Guard::new(Instant::now())),
            pool: Pool::of_this_machine(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Takes the users of another file from now on, all at once; what was remembered of the old ones is forgotten. Who is
    /// connected stays.
    pub fn replace(&self, file: PasswordFile) {
        tell(&file);
        self.inner.table.store(Arc::new(Table::new(file, self.inner.key)));
    }

    /// How many users there are.
    pub fn count(&self) -> usize {
        self.inner.table.load().count()
    }

    /// Whether this is the password of this user; `address` is where the attempt comes from.
    ///
    /// [`Decision::BadCredentials`] if not, and it takes as long for a user that does not exist.
    /// [`Decision::Unavailable`] if too many attempts wait, or too many of this user and address have failed: it may be
    /// tried again later. Waits for up to 2 s after failures, for up to 5 s for a thread.
    pub async fn check(&self, address: Option<IpAddr>, name: &str, password: &[u8]) -> Decision {
        let guess = self.guard().guess(address, name);
        loop {
            let table = self.inner.table.load_full();
            match self.try_for(guess, &table, table.place(name), password).await {
                // It was right for users that were replaced while it waited.
                Ok(true) if !Arc::ptr_eq(&table, &self.inner.table.load()) => {}
                Ok(true) => {
                    self.guard().succeeded(guess);
                    return Decision::Accept;
                }
                Ok(false) => return Decision::BadCredentials,
                Err(Overloaded) => return Decision::Unavailable,
            }
        }
    }

    async fn try_for(
        &self,
        guess: Guess,
        table: &Arc<Table>,
        place: Place,
        password: &[u8],
    ) -> Result<bool, Overloaded> {
        let (turn, is_counted) = loop {
            self.wait_at_gate(guess).await?;
            let is_wrong = match table.recall(place, password) {
                Some(true) => return Ok(true),
                // It counts before anybody can try another one. The hash is made all the same, for its time.
                Some(false) => {
                    self.fail(guess);
                    true
                }
                None => false,
            };
            let slowness = self.guard().slowness(guess, Instant::now());
            if !slowness.is_zero() {
                sleep(slowness).await;
            }
            let turn = self.inner.pool.turn().await?;
            // While it waited, others may have failed, or proved it.
            let is_first = table.recall(place, password).is_none()
                && self.guard().gate(guess, Instant::now()) == Gate::Open;
            if is_wrong || is_first {
                break (turn, is_wrong);
            }
        };
        let is_right = self.hash(turn, table, place, password).await?;
        if !is_right && !is_counted {
            self.fail(guess);
        }
        Ok(is_right)
    }

    async fn hash(
        &self,
        turn: Turn,
        table: &Arc<Table>,
        place: Place,
        password: &[u8],
    ) -> Result<bool, Overloaded> {
        let (table, password) = (Arc::clone(table), Box::<[u8]>::from(password));
        let verified = turn.run(move || table.verify(place, &password)).await?;
        verified.map_err(|reason| {
            error!(%reason, "cannot check a password");
            Overloaded
        })
    }

    async fn wait_at_gate(&self, guess: Guess) -> Result<(), Overloaded> {
        loop {
            let gate = self.guard().gate(guess, Instant::now());
            match gate {
                Gate::Open => return Ok(()),
                Gate::After(wait) => sleep(wait).await,
                Gate::Closed(_) => return Err(Overloaded),
            }
        }
    }

    fn fail(&self, guess: Guess) {
        let (failures, wait) = self.guard().failed(guess, Instant::now());
        if !wait.is_zero() && failures.is_power_of_two() {
            let address = guess.address_text();
            warn!(address, failures, next_attempt_in = ?wait, "wrong passwords for one user from one address");
        }
    }

    fn guard(&self) -> MutexGuard<'_, Guard> {
        self.inner.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Authenticator for Users {
    async fn authenticate(&self, login: Login) -> Decision {
        let Some(name) = login.user_name() else { return Decision::NotMine };
        match login.password() {
            Some(password) => self.check(login.address().map(|address| address.ip()), name, password).await,
            // Whoever the user is: nobody is without a password.
            None => Decision::BadCredentials,
        }
    }
}

/// Without any of them.
impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("count", &self.count()).finish()
    }
}

fn tell(file: &PasswordFile) {
    if let Some(warning) = file.warning() {
        warn!("{warning}");
    }
}
