//! A password file that is changed: lines that are not meant stay as they are, and it is replaced in one step.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::file::Line;
use super::hash::Hash;

/// Who may read a new password file: its owner.
const MODE: u32 = 0o600;

/// The lines of a password file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    lines: Vec<String>,
}

impl Lines {
    pub(crate) fn parse(text: &str) -> Self {
        Self { lines: text.lines().map(str::to_owned).collect() }
    }

    /// Gives a user this hash; true if it had one.
    pub(crate) fn set(&mut self, name: &str, hash: &Hash) -> bool {
        let new = format!("{name}:{hash}");
        let mut is_known = false;
        self.lines.retain_mut(|line| {
            let is_meant = is_of(line, name);
            if is_meant && !is_known {
                line.clone_from(&new);
                is_known = true;
                return true;
            }
            !is_meant
        });
        if !is_known {
            self.lines.push(new);
        }
        is_known
    }

    /// Removes a user; false if there is none of this name.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        let before = self.lines.len();
        self.lines.retain(|line| !is_of(line, name));
        self.lines.len() < before
    }

    /// Hashes the passwords that are written plainly; says of how many users.
    ///
    /// # Errors
    /// If one cannot be hashed; nothing is changed then.
    pub(crate) fn hash_plain(&mut self, hash: impl Fn(&[u8]) -> io::Result<Hash>) -> io::Result<usize> {
        let mut count = 0;
        let mut hashed = Vec::with_capacity(self.lines.len());
        for line in &self.lines {
            hashed.push(match line.split_once(':') {
                // A broken hash is not a password.
                Some((name, password)) if is_record(line) && !password.trim_start().starts_with('$') => {
                    count += 1;
                    format!("{}:{}", name.trim(), hash(password.as_bytes())?)
                }
                _ => line.clone(),
            });
        }
        self.lines = hashed;
        Ok(count)
    }

    /// As the file has it.
    pub(crate) fn text(&self) -> String {
        self.lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }
}

fn is_record(line: &str) -> bool {
    matches!(Line::split(line), Some(Ok(_)))
}

fn is_of(line: &str, name: &str) -> bool {
    matches!(Line::split(line), Some(Ok(record)) if record.name == name)
}

/// Changes the file at `path`, or makes it. Two programs that do so at once change it one after the other. Whoever reads
/// it meanwhile, or after a crash, finds the old file or the new one. An existing file keeps owner and mode, a new one is
/// for its owner alone.
///
/// # Errors
/// If it cannot be read or written; whatever `change` says. The file is as it was then.
pub(crate) fn edit<E: From<io::Error>>(
    path: &Path,
    change: impl FnOnce(Option<String>) -> Result<String, E>,
) -> Result<(), E> {
    // A link stays one.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let folder_file = File::open(&folder)?;
    // Where folders cannot be locked, the last one wins.
    let _lock = folder_file.lock();
    let (old, metadata) = match fs::read_to_string(&path) {
        Ok(text) => (Some(text), Some(fs::metadata(&path)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (None, None),
        Err(error) => return Err(error.into()),
    };
    let new = change(old)?;
    let temporary = Temporary::beside(&path, &folder)?;
    if let Some(metadata) = metadata {
        let file = &temporary.file;
        file.set_permissions(Permissions::from_mode(metadata.mode() & 0o777))?;
        let now = file.metadata()?;
        if (now.uid(), now.gid()) != (metadata.uid(), metadata.gid()) {
            fchown(file, Some(metadata.uid()), Some(metadata.gid()))?;
        }
    }
    temporary.become_file(&path, &new)?;
    folder_file.sync_all()?;
    Ok(())
}

/// The new file before it has its name. Removed if it never gets it.
struct Temporary {
    file: File,
    path: PathBuf,
}

impl Temporary {
    fn beside(path: &Path, folder: &Path) -> io::Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{:016x}", u64::from_le_bytes(random)));
        let path = folder.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&path)?;
        Ok(Self { file, path })
    }

    fn become_file(mut self, path: &Path, text: &str) -> io::Result<()> {
        self.file.write_all(text.as_bytes())?;
        self.file.sync_all()?;
        fs::rename(&self.path, path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // It is gone if it has its name.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::super::hash::Method;
    use super::*;

    fn hash() -> Hash {
        Hash::create(Method::Sha512, b"x").unwrap()
    }

    #[test]
    fn other_lines_stay_as_they_are() {
        let text = "# comment: here\n\nann:1\n broken\nbob : 2\nann:3\n";
        let mut lines = Lines::parse(text);
        let hash = hash();
        assert!(lines.set("ann", &hash));
        assert_eq!(lines.text(), format!("# comment: here\n\nann:{hash}\n broken\nbob : 2\n"));
        assert!(!lines.set("eve", &hash));
        assert!(lines.remove("bob") && !lines.remove("bob") && !lines.remove("# comment"));
        assert_eq!(lines.text(), format!("# comment: here\n\nann:{hash}\n broken\neve:{hash}\n"));
    }

    #[test]
    fn plain_passwords_are_hashed_and_hashes_are_not() {
        let known = hash().to_string();
        let mut lines = Lines::parse(&format!("# a:b\nann:se:cret \nbob:{known}\neve:$6$broken\n\nzoe:\n"));
        let count = lines.hash_plain(|password| Hash::create(Method::Sha512, password)).unwrap();
        assert_eq!(count, 2);
        let text = lines.text();
        let found: Vec<_> = text.lines().collect();
        assert_eq!((found[0], found[2], found[3]), ("# a:b", &*format!("bob:{known}"), "eve:$6$broken"));
        let ann = Hash::parse(found[1].strip_prefix("ann:").unwrap()).unwrap();
        assert!(ann.matches(b"se:cret ").unwrap());
    }

    #[test]
    fn a_file_is_replaced_whole_and_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        let mode = || fs::metadata(&path).unwrap().mode() & 0o777;
        let write = |text: &str| edit::<io::Error>(&path, |_| Ok(text.to_owned()));
        write("one\n").unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode()), ("one\n", 0o600));
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let reader = File::open(&path).unwrap();
        write("two\n").unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode()), ("two\n", 0o640));
        assert_eq!(
            io::read_to_string(reader).unwrap(),
            "one\n",
            "who reads the old file reads it to its end"
        );
        let failed = edit::<io::Error>(&path, |old| {
            assert_eq!(old.as_deref(), Some("two\n"));
            Err(io::Error::other("no"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        edit::<io::Error>(&link, |_| Ok("three\n".to_owned())).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left");
    }
}
