//! Who the broker runs as. A start as root, for a port below 1024 or a key that only root can read, goes on as another
//! user as soon as it has both.

use std::ffi::CString;
use std::io;

use nix::unistd::{Gid, Uid, User, initgroups, setgid, setuid};

/// Whom a start as root becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Successor {
    name: String,
    uid: Uid,
    gid: Gid,
}

impl Successor {
    /// Of the setting `user`: `None` if this program is not root, and so cannot become anybody, or is to stay root.
    ///
    /// # Errors
    /// If the system has no such user.
    pub fn choose(user: Option<&str>) -> io::Result<Option<Self>> {
        match user {
            Some(name) if !Uid::effective().is_root() => {
                tracing::info!(
                    "user = \"{}\" is ignored: only root can become another user",
                    name.escape_debug()
                );
                Ok(None)
            }
            None | Some("root") => Ok(None),
            Some(name) => match User::from_name(name)? {
                Some(User { uid, gid, .. }) => Ok(Some(Self { name: name.to_owned(), uid, gid })),
                None => Err(io::Error::other(format!(
                    "user: there is no user {0} on this computer; `useradd --system {0}` makes it",
                    name.escape_debug()
                ))),
            },
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Becomes it, with its groups and no others, for all threads of the process, and makes sure that there is no way
    /// back.
    ///
    /// # Errors
    /// If the system does not let us. What the process is then is not certain: it should end.
    pub fn take_over(&self) -> io::Result<()> {
        let name = CString::new(self.name.as_str())?;
        // In this order: who is not root any more may change no group.
        initgroups(&name, self.gid)?;
        setgid(self.gid)?;
        setuid(self.uid)?;
        let is_back =
            !self.uid.is_root() && (setuid(Uid::from_raw(0)).is_ok() || setgid(Gid::from_raw(0)).is_ok());
        if is_back || Uid::effective() != self.uid || Gid::effective() != self.gid {
            return Err(io::Error::other(format!(
                "the privileges of root could not be given up for those of {}",
                self.name
            )));
        }
        tracing::info!(user = self.name, "the privileges of root are given up");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_becomes_somebody_else() {
        let found = Successor::choose(Some("no such user here"));
        if Uid::effective().is_root() {
            assert!(found.unwrap_err().to_string().contains("there is no user no such user here"));
        } else {
            assert_eq!(found.unwrap(), None);
        }
        assert_eq!(Successor::choose(Some("root")).unwrap(), None);
        assert_eq!(Successor::choose(None).unwrap(), None);
    }
}
