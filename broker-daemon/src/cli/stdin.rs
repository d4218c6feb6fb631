//! Standard input beside other work.

use std::io::{self, StdinLock};

use tokio::sync::mpsc;

/// What `read` gives until it gives nothing, at most so many `ahead` of who takes it. A thread reads: standard input cannot be
/// waited for in any other way everywhere. It ends with its input, or with the program.
pub(super) fn read_beside<T: Send + 'static>(
    ahead: usize,
    mut read: impl FnMut(&mut StdinLock<'_>) -> Option<T> + Send + 'static,
) -> mpsc::Receiver<T> {
    let (sender, receiver) = mpsc::channel(ahead);
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        while let Some(line) = read(&mut input) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
