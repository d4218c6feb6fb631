//! Files that are new: all of them, or none.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Its name in the folder.
    pub name: &'static str,
    /// What it has.
    pub text: String,
    /// Who may read it: 0600 its owner, 0644 everybody.
    pub mode: u32,
}

impl NewFile {
    /// For everybody.
    pub fn public(name: &'static str, text: String) -> Self {
        Self { name, text, mode: 0o644 }
    }

    /// For its owner alone.
    pub fn secret(name: &'static str, text: String) -> Self {
        Self { name, text, mode: 0o600 }
    }
}

/// Writes all files into the folder. One that is there already is not touched, and then none of the others stays.
///
/// # Errors
/// If one is there, or cannot be written; the error names it.
pub fn write_all(folder: &Path, files: &[NewFile]) -> io::Result<()> {
    let mut written = Written(Vec::new());
    for file in files {
        let path = folder.join(file.name);
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot write {}: {error}", path.display()))
        };
        let mut options = OpenOptions::new();
        let mut open = options.write(true).create_new(true).mode(file.mode).open(&path).map_err(named)?;
        written.0.push(path.clone());
        open.write_all(file.text.as_bytes()).and_then(|()| open.sync_all()).map_err(named)?;
    }
    written.0.clear();
    Ok(())
}

/// Removed if it is not all.
struct Written(Vec<PathBuf>);

impl Drop for Written {
    fn drop(&mut self) {
        for path in &self.0 {
            // The error before this one is told.
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_there_stays_and_no_other_comes() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("b"), "precious").unwrap();
        let files = [NewFile::public("a", "1".into()), NewFile::secret("b", "2".into())];
        let error = write_all(folder.path(), &files).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert!(error.to_string().contains("/b: "), "{error}");
        assert_eq!(fs::read_to_string(folder.path().join("b")).unwrap(), "precious");
        assert!(!folder.path().join("a").exists());
    }
}
