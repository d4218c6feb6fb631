//! Wakes a poll at a moment, to the microsecond: the timeout of a poll itself is in milliseconds.

use std::io;
use std::time::Duration;

use mio::{Registry, Token};

/// Its events have this token.
pub(super) const ALARM: Token = Token(usize::MAX);

/// A timer of the system.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(super) struct Alarm(std::os::fd::OwnedFd);

#[cfg(target_os = "linux")]
impl Alarm {
    pub(super) fn new(registry: &Registry) -> io::Result<Self> {
        use std::os::fd::AsRawFd as _;

        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        registry.register(&mut mio::unix::SourceFd(&timer.as_raw_fd()), ALARM, mio::Interest::READABLE)?;
        Ok(Self(timer))
    }

    /// Sets it, in place of what it was set to; gives how long the poll may wait for it by itself. Its event need not be
    /// read: setting it again makes a new edge.
    pub(super) fn set(&self, after: Duration) -> io::Result<Option<Duration>> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        // Zero would turn it off.
        let after = after.max(Duration::from_nanos(1));
        let value = Timespec::try_from(after).map_err(io::Error::other)?;
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
        Ok(None)
    }
}

/// Where there is none: the timeout of the poll.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub(super) struct Alarm;

#[cfg(not(target_os = "linux"))]
impl Alarm {
    pub(super) fn new(_registry: &Registry) -> io::Result<Self> {
        Ok(Self)
    }

    pub(super) fn set(&self, after: Duration) -> io::Result<Option<Duration>> {
        Ok(Some(after))
    }
}
