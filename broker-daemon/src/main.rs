//! `culex`: wiring only.

use std::process::ExitCode;

/// The system's allocator keeps freed memory of many short-lived connections; jemalloc gives it back.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    culex::cli::run().into()
}
