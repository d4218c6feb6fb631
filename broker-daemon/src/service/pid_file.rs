//! A file with the number of the process, for scripts that send it signals.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

/// A file that has the number of this process until this is dropped.
#[derive(Debug)]
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes it, readable for all. One that another run has left is replaced; a link is not followed, as who may write in
    /// its folder could lead it anywhere.
    ///
    /// # Errors
    /// If it cannot be written; the error names the file.
    pub fn write(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o644).custom_flags(OFlag::O_NOFOLLOW.bits());
        let written = options.open(path).and_then(|mut file| writeln!(file, "{}", std::process::id()));
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot write pid_file {}: {error}", path.display()))
        };
        written.map_err(named)?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let ours = std::process::id().to_string();
        // Another broker may have the name by now; and who gave up its privileges may not remove it any more.
        if fs::read_to_string(&self.0).is_ok_and(|found| found.trim() == ours)
            && let Err(error) = fs::remove_file(&self.0)
        {
            tracing::debug!(path = %self.0.display(), %error, "the pid_file stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_replaces_a_file_follows_no_link_and_goes_with_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        fs::write(&path, "1 of an earlier run, longer than ours\n").unwrap();
        let file = PidFile::write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        drop(file);
        assert!(!path.exists());
        let precious = folder.path().join("precious");
        fs::write(&precious, "text").unwrap();
        std::os::unix::fs::symlink(&precious, &path).unwrap();
        let error = PidFile::write(&path).unwrap_err().to_string();
        assert!(error.contains("/pid: "), "{error}");
        assert_eq!(fs::read_to_string(&precious).unwrap(), "text");
    }

    #[test]
    fn the_file_of_another_process_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let file = PidFile::write(&path).unwrap();
        fs::write(&path, "1\n").unwrap();
        drop(file);
        assert!(path.exists());
    }
}
