// Not part of the crate. `.ci/purity-selftest` appends this to a copy of the engine and expects the purity check to report
// every line marked `IMPURE`, each on its own: a ban that stopped working is then a failing build, not a silent hole.
mod purity_probe {
    pub(crate) fn clock() -> bool {
        let started = std::time::Instant::now(); // IMPURE
        started.elapsed().is_zero() // IMPURE
    }
    pub(crate) fn wall_clock() -> bool {
        std::time::SystemTime::now() > std::time::UNIX_EPOCH // IMPURE
    }
    pub(crate) fn socket(address: &str) -> bool {
        std::net::TcpStream::connect(address).is_ok() // IMPURE
    }
    pub(crate) fn file(name: &str) -> bool {
        std::fs::File::open(name).is_ok() // IMPURE
    }
    pub(crate) fn file_read(name: &str) -> usize {
        std::fs::read(name).map_or(0, |bytes| bytes.len()) // IMPURE
    }
    pub(crate) fn environment() -> bool {
        std::env::var_os("HOME").is_some() // IMPURE
    }
    pub(crate) fn thread() {
        std::thread::yield_now(); // IMPURE
    }
    pub(crate) struct Locked(pub(crate) std::sync::Mutex<u8>); // IMPURE
    pub(crate) struct Waits(pub(crate) std::sync::Condvar); // IMPURE
    pub(crate) struct Counts(pub(crate) std::sync::atomic::AtomicU64); // IMPURE
    pub(crate) struct RandomOrder(pub(crate) std::collections::HashMap<u8, u8>); // IMPURE
    pub(crate) struct Channel(pub(crate) std::sync::mpsc::Receiver<u8>); // IMPURE
    pub(crate) fn process() -> u32 {
        std::process::id() // IMPURE
    }
}
