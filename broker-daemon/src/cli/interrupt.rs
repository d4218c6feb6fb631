//! Ctrl-C and SIGTERM, and the signals of an operator.

/// A file that may not become larger is an error of the write, as on a full disk, and not the end of the program: from now
/// on, for the whole process. Needs a runtime.
pub(super) fn outlive_file_size_limit() {
    // On MIPS 25 is SIGCONT, and the signal another.
    #[cfg(all(unix, not(any(target_arch = "mips", target_arch = "mips64"))))]
    {
        const SIGXFSZ: i32 = 25;
        // A signal that was caught once stays caught. If it cannot be, the limit ends the program, as usual.
        let _ = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::from_raw(SIGXFSZ));
    }
}

/// Catches the signals that ask the program to end, from its creation on: one that comes early waits here.
#[derive(Debug)]
pub(super) struct Interrupt {
    #[cfg(unix)]
    signals: Option<(tokio::signal::unix::Signal, tokio::signal::unix::Signal)>,
}

impl Interrupt {
    /// Starts to catch them; needs a runtime. If the system does not let us, they end the program as usual.
    pub(super) fn catch() -> Self {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let signals =
                signal(SignalKind::interrupt()).and_then(|i| Ok((i, signal(SignalKind::terminate())?)));
            Self { signals: signals.ok() }
        }
        #[cfg(not(unix))]
        Self {}
    }

    /// Waits for the next one.
    pub(super) async fn wait(&mut self) {
        #[cfg(unix)]
        if let Some((interrupt, terminate)) = &mut self.signals {
            tokio::select! {
                Some(()) = interrupt.recv() => return,
                Some(()) = terminate.recv() => return,
                else => {}
            }
        }
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_ok() {
            return;
        }
        std::future::pending().await
    }
}

/// What an operator orders by a signal, with mosquitto's meanings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// SIGHUP: the configuration is to be read again.
    Reload,
    /// SIGUSR1: everything is to be on the disk.
    Save,
    /// SIGUSR2: the subscriptions are to be logged.
    Dump,
}

/// Catches the signals of an operator.
#[derive(Debug)]
pub(super) struct Orders {
    #[cfg(unix)]
    signals: Option<[tokio::signal::unix::Signal; 3]>,
}

impl Orders {
    /// Starts to catch them; needs a runtime.
    pub(super) fn catch() -> Self {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let all = || {
                Ok::<_, std::io::Error>([
                    signal(SignalKind::hangup())?,
                    signal(SignalKind::user_defined1())?,
                    signal(SignalKind::user_defined2())?,
                ])
            };
            Self { signals: all().ok() }
        }
        #[cfg(not(unix))]
        Self {}
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) -> Order {
        #[cfg(unix)]
        if let Some([hangup, save, dump]) = &mut self.signals {
            tokio::select! {
                Some(()) = hangup.recv() => return Order::Reload,
                Some(()) = save.recv() => return Order::Save,
                Some(()) = dump.recv() => return Order::Dump,
                else => {}
            }
        }
        std::future::pending().await
    }
}
