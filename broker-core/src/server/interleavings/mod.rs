//! What threads share, in every order in which they can meet; `.ci/run loom` runs it.
//!
//! loom runs a model again and again, each time with another order of the steps on its locks and atomics and with
//! other values that an atomic may still show. A model in which every thread waits for ever fails as a deadlock.

mod commons;
mod mailbox;
mod side;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// In words. A turn of a shard takes more than loom's 4096.
const STACK: usize = 1 << 16;

/// All interleavings; `Some(n)` says that a thread is preempted at most n times in each, where all would be too many.
type Preemptions = Option<usize>;

/// Runs `model` once per interleaving and says how many there were. `LOOM_MAX_PREEMPTIONS` overrides the bound.
fn explore(name: &str, preemptions: Preemptions, model: impl Fn() + Clone + Send + Sync + 'static) {
    let runs = Arc::new(AtomicU64::new(0));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(preemptions);
    let bound =
        builder.preemption_bound.map_or("any number of".to_owned(), |bound| format!("at most {bound}"));
    let (begin, count) = (Instant::now(), Arc::clone(&runs));
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        spawn(model.clone()).join().unwrap();
    });
    let (runs, took) = (runs.load(Ordering::Relaxed), begin.elapsed());
    // Past the capture of the test harness, which shows nothing of a test that passes.
    let _ = writeln!(io::stderr(), "{name}: {runs} interleavings, {bound} preemptions, {took:.1?}");
}

/// A thread of the model.
fn spawn<R: Send + 'static>(run: impl FnOnce() -> R + Send + 'static) -> loom::thread::JoinHandle<R> {
    loom::thread::Builder::new().stack_size(STACK).spawn(run).unwrap()
}
