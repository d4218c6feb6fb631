//! The service manager that started this program, if one did: systemd, or another that has its protocol (sd_notify(3)).
//! Without one all of this does nothing.

use std::time::Duration;

use culex_core::Admin;
use sd_notify::NotifyState;
use tokio::time::{Instant, sleep_until, timeout};

/// The broker serves; `status` is what `systemctl status` shows.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// What `systemctl status` shows from now on.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// The broker ends, in order.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The configuration is read again, until this is dropped: whether it was taken or not, the broker is ready again.
#[derive(Debug)]
#[must_use]
pub struct Reloading(());

impl Reloading {
    /// Tells of it, with the time at which it began.
    pub fn begin() -> Self {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::debug!(%error, "the service manager is not told of the reload"),
        }
        Self(())
    }
}

impl Drop for Reloading {
    fn drop(&mut self) {
        tell(&[NotifyState::Ready]);
    }
}

/// How long the service manager waits for a sign of life before it ends this program; `None` if it does not want any.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Gives a sign of life twice in each `period`, as long as every lane and the store answer ([`Admin::probe`]); so a broker
/// whose threads hang is ended and started again, and one that is busy is not.
pub async fn give_signs_of_life(admin: &Admin, period: Duration) {
    loop {
        let next = Instant::now() + period / 2;
        let probe = admin.probe();
        tokio::pin!(probe);
        let answered = match timeout(period / 2, &mut probe).await {
            Ok(answered) => answered,
            Err(_) => {
                let limit = period.as_secs_f32();
                tracing::error!(
                    "a lane or the store does not answer; without an answer within {limit} s the service manager ends this program"
                );
                probe.await
            }
        };
        // A broker that has ended says so itself.
        if answered.is_err() {
            return;
        }
        tell(&[NotifyState::Watchdog]);
        sleep_until(next).await;
    }
}

fn tell(state: &[NotifyState<'_>]) {
    // Whoever is not listening any more is not waited for either.
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}
