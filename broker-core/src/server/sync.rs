//! The locks and atomics of what threads share: `parking_lot` and `std`, or loom's where the tests of
//! `interleavings` run every order in which threads can meet.

#[cfg(not(all(test, culex_loom)))]
pub(crate) use {
    parking_lot::{Mutex, RwLock},
    std::sync::atomic::{AtomicU64, AtomicUsize},
};

#[cfg(all(test, culex_loom))]
pub(crate) use {
    self::modelled::{Mutex, RwLock},
    loom::sync::atomic::{AtomicU64, AtomicUsize},
};

/// loom's locks without their poison, as `parking_lot` has them.
#[cfg(test)]
#[cfg(culex_loom)]
mod modelled {
    use loom::sync::{self, MutexGuard, RwLockReadGuard, RwLockWriteGuard};

    pub(crate) struct Mutex<T>(sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }

    pub(crate) struct RwLock<T>(sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(sync::RwLock::new(value))
        }

        pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0.read().unwrap()
        }

        pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0.write().unwrap()
        }
    }
}
