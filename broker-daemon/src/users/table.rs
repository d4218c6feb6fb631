//! The users of one password file, and which of their passwords are known to be right.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::file::PasswordFile;
use super::hash::CannotHash;

type Proof = [u8; 32];

pub(super) struct Table {
    file: PasswordFile,
    /// Of each user, what the right password leaves: a keyed hash of name, record and password. It ends with the table.
    remembered: Box<[OnceLock<Proof>]>,
    key: [u8; 32],
    stand_ins: RandomState,
}

/// A user, or who stands in for one that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) index: usize,
    pub(super) exists: bool,
}

impl Table {
    /// `key` is for what is remembered.
    pub(super) fn new(file: PasswordFile, key: [u8; 32]) -> Self {
        let remembered = file.users.iter().map(|_| OnceLock::new()).collect();
        Self { file, remembered, key, stand_ins: RandomState::new() }
    }

    pub(super) fn count(&self) -> usize {
        self.file.count()
    }

    /// Where a user is. For an unknown name it is that of another user, always the same for this name: so the time that
    /// an answer takes says nothing about who exists, even if the file has hashes of several costs.
    pub(super) fn place(&self, name: &str) -> Place {
        match self.file.names.get(name) {
            Some(index) => Place { index: *index, exists: true },
            None => {
                let users = u64::try_from(self.count()).unwrap_or(u64::MAX).max(1);
                let index = self.stand_ins.hash_one(name) % users;
                Place { index: usize::try_from(index).unwrap_or(0), exists: false }
            }
        }
    }

    /// Whether this is the password, as far as it is known; `None` if it has not been proved yet.
    pub(super) fn recall(&self, place: Place, password: &[u8]) -> Option<bool> {
        let remembered = self.remembered.get(place.index).filter(|_| place.exists)?.get()?;
        Some(self.proof(place, password)?.ct_eq(remembered).into())
    }

    /// Hashes, and remembers what proves right. Slow.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub(super) fn verify(&self, place: Place, password: &[u8]) -> Result<bool, CannotHash> {
        let Some(hash) = self.file.users.get(place.index) else { return Ok(false) };
        let is_right = hash.matches(password)? && place.exists;
        if is_right
            && let (Some(cell), Some(proof)) = (self.remembered.get(place.index), self.proof(place, password))
        {
            // Somebody else may have proved it at the same time.
            let _ = cell.set(proof);
        }
        Ok(is_right)
    }

    fn proof(&self, place: Place, password: &[u8]) -> Option<Proof> {
        let record = self.file.users.get(place.index)?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        // Index and record have a fixed length within a table.
        mac.update(&place.index.to_le_bytes());
        mac.update(record.digest());
        mac.update(password);
        Some(mac.finalize().into_bytes().into())
    }
}
