//! Where the tasks of a broker run.

use std::io;

use tokio::runtime::{Builder, Handle};

/// The embedder's runtime, or one of the broker's own.
pub(super) enum Runtime {
    Shared(Handle),
    Own(tokio::runtime::Runtime),
}

impl Runtime {
    /// A runtime on one thread: the work is done by the lanes.
    pub(super) fn own() -> io::Result<Self> {
        let builder = &mut Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("culex-runtime").enable_all().build().map(Self::Own)
    }

    pub(super) fn handle(&self) -> &Handle {
        match self {
            Self::Shared(handle) => handle,
            Self::Own(runtime) => runtime.handle(),
        }
    }

    /// Ends a runtime of the broker's own, from wherever the last handle is dropped: nothing waits.
    pub(super) fn end(self) {
        match self {
            Self::Shared(_) => {}
            Self::Own(runtime) => runtime.shutdown_background(),
        }
    }
}
