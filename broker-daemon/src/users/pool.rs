//! Where passwords are hashed: on threads that may block, few at a time, with a bounded queue before them.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Attempts that wait for a thread. Each is a connection before its CONNACK, which `pre_auth_total_bytes` bounds too.
const QUEUE: usize = 16_384;
/// How long an attempt waits for a thread. CONNECT has 10 s in all.
const PATIENCE: Duration = Duration::from_secs(5);

/// The hashing threads, taken from those of tokio for blocking work.
#[derive(Debug)]
pub(super) struct Pool {
    room: Semaphore,
    threads: Arc<Semaphore>,
}

/// The right to hash once.
#[derive(Debug)]
pub(super) struct Turn {
    permit: OwnedSemaphorePermit,
}

/// No thread in time, or the work was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overloaded;

impl Pool {
    /// Half the cores: the other half is for those who are connected.
    pub(super) fn of_this_machine() -> Self {
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        Self::new((cores / 2).max(1), QUEUE)
    }

    pub(super) fn new(threads: usize, queue: usize) -> Self {
        Self { room: Semaphore::new(queue), threads: Arc::new(Semaphore::new(threads)) }
    }

    /// Waits for its turn; whoever came first is first. Who gives up leaves the queue.
    pub(super) async fn turn(&self) -> Result<Turn, Overloaded> {
        let _place = self.room.try_acquire().map_err(|_| Overloaded)?;
        match timeout(PATIENCE, Arc::clone(&self.threads).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Turn { permit }),
            Ok(Err(_)) | Err(_) => Err(Overloaded),
        }
    }
}

impl Turn {
    /// Does the work. The turn lasts until it is done, even if nobody waits for it any more.
    pub(super) async fn run<R: Send + 'static>(
        self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Overloaded> {
        let run = move || {
            let result = work();
            drop(self.permit);
            result
        };
        spawn_blocking(run).await.map_err(|_| Overloaded)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_overload_is_refused_after_a_bounded_wait() {
        let pool = Pool::new(1, 2);
        let (release, wait) = mpsc::channel::<()>();
        let turn = pool.turn().await.unwrap();
        let slow = tokio::spawn(turn.run(move || wait.recv()));
        // The clock goes on by itself while all wait; a thread that blocks would stop it, so it is moved here.
        let (first, second, third, ()) = tokio::join!(pool.turn(), pool.turn(), pool.turn(), async {
            tokio::task::yield_now().await;
            tokio::time::advance(PATIENCE).await;
        });
        assert!(first.is_err() && second.is_err(), "no thread in time");
        assert_eq!(third.unwrap_err(), Overloaded, "no place in the queue");
        release.send(()).unwrap();
        assert_eq!(slow.await.unwrap(), Ok(Ok(())));
        assert_eq!(pool.turn().await.unwrap().run(|| 7).await, Ok(7));
    }

    #[tokio::test]
    async fn who_gives_up_leaves_the_queue_and_a_panic_its_thread() {
        let pool = Arc::new(Pool::new(1, 1));
        let turn = pool.turn().await.unwrap();
        let waiting = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.turn().await }
        });
        while pool.room.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        waiting.abort();
        assert!(waiting.await.is_err());
        assert_eq!(pool.room.available_permits(), 1);
        let lost = turn.run(|| panic!("on purpose")).await;
        assert_eq!(lost, Err::<(), _>(Overloaded));
        assert!(pool.turn().await.is_ok());
    }
}
