//! What cannot be a store: one clear error, and nothing is touched.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use super::*;

/// Everything in a directory that could change, by name.
fn look(directory: &Path) -> Vec<(String, Option<Vec<u8>>)> {
    let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap());
    let mut files: Vec<_> = files
        .map(|file| {
            let is_file = file.file_type().unwrap().is_file();
            (file.file_name().into_string().unwrap(), is_file.then(|| fs::read(file.path()).unwrap()))
        })
        .collect();
    files.sort();
    files
}

/// A directory with a file of this name, made by `make`, is refused and not touched; says why.
fn refused(name: &str, make: impl FnOnce(&Path)) -> String {
    let directory = tempfile::tempdir().unwrap();
    make(&directory.path().join(name));
    let before = look(directory.path());
    let error = SqliteStore::open(directory.path(), Durability::Power).unwrap_err();
    if name == "culex.db" {
        assert_eq!(look(directory.path()), before);
        let of_repair = repair(directory.path()).unwrap_err();
        assert_eq!(of_repair.to_string(), error.to_string());
        assert_eq!(look(directory.path()), before);
    }
    error.to_string()
}

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn what_is_no_file_is_refused() {
    for name in ["culex.db", "culex.lock", "culex.db-wal"] {
        let no_store = format!("{name} is not a store of Culex, and was left as it is");
        for (make, expected) in [
            (fifo as fn(&Path), &*no_store),
            (|path| fs::create_dir(path).unwrap(), &no_store),
            (|path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()), &no_store),
            (|path| symlink(path, path).unwrap(), "symbolic link"),
            (|path| symlink("nowhere", path).unwrap(), "no such file"),
        ] {
            let error = refused(name, make);
            assert!(error.contains(expected), "{name}: {error}");
        }
    }
}

#[test]
fn a_directory_that_is_a_file_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = SqliteStore::open(file.path(), Durability::Power).unwrap_err().to_string();
    assert!(error.contains(&*file.path().to_string_lossy()), "{error}");
    assert_eq!(fs::read(file.path()).unwrap(), b"");
}

#[test]
fn a_store_that_others_can_read_is_refused() {
    for name in ["culex.db", "culex.db-wal"] {
        let directory = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(directory.path(), Durability::Kill).unwrap();
        store.load().unwrap();
        store.commit(&[], WallTime(1)).unwrap();
        // As a killed broker leaves it.
        store.has_begun = false;
        store.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
        drop(store);
        let path = directory.path().join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let before = look(directory.path());
        let error = SqliteStore::open(directory.path(), Durability::Power).unwrap_err();
        assert!(matches!(error, StoreError::Exposed { mode: 0o644, .. }), "{error}");
        assert!(error.to_string().contains(&format!("chmod 600 {}", path.display())), "{error}");
        let changed: Vec<_> =
            look(directory.path()).into_iter().filter(|file| !before.contains(file)).collect();
        assert!(changed.iter().all(|(name, _)| name == "culex.lock"), "{changed:?}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        SqliteStore::open(directory.path(), Durability::Power).unwrap().load().unwrap();
    }
}

/// Runs `test` where `mount` with these options gives `directory`; needs the rights to do so.
fn mounted(options: &[&str], make: impl FnOnce(&Path), remount: &[&str], test: impl FnOnce(&Path)) {
    let directory = tempfile::tempdir().unwrap();
    let mount = |options: &[&str]| {
        let done = Command::new("mount").args(options).arg(directory.path()).output();
        done.is_ok_and(|output| output.status.success())
    };
    if !mount(options) {
        assert!(std::env::var_os("CULEX_REQUIRE_MOUNT").is_none(), "mount {options:?} is not allowed");
        println!("skipped: mount {options:?} is not allowed");
        return;
    }
    make(directory.path());
    let tested = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        assert!(remount.is_empty() || mount(remount));
        test(directory.path());
    }));
    assert!(Command::new("umount").arg(directory.path()).status().unwrap().success());
    tested.unwrap();
}

#[test]
fn a_disk_that_is_full_at_the_start_leaves_no_half_store() {
    let tmpfs = ["-t", "tmpfs", "-o", "size=32k", "tmpfs"];
    mounted(
        &tmpfs,
        |_| (),
        &[],
        |directory| {
            let error = SqliteStore::open(directory, Durability::Power).unwrap_err().to_string();
            assert!(error.contains("full") || error.contains("no space"), "{error}");
            let names: Vec<_> = look(directory).into_iter().map(|(name, _)| name).collect();
            assert_eq!(names, ["culex.lock"]);
        },
    );
}

#[test]
fn a_file_system_that_cannot_be_written_is_refused() {
    let make = |directory: &Path| {
        SqliteStore::open(directory, Durability::Power).unwrap().load().unwrap();
    };
    mounted(&["-t", "tmpfs", "-o", "size=16m", "tmpfs"], make, &["-o", "remount,ro"], |directory| {
        let before = look(directory);
        let error = SqliteStore::open(directory, Durability::Power).unwrap_err().to_string();
        assert!(error.contains("read-only file system"), "{error}");
        assert_eq!(look(directory), before);
    });
}

#[test]
fn a_store_that_was_taken_away_is_missed() {
    let directory = tempfile::tempdir().unwrap();
    SqliteStore::open(directory.path(), Durability::Power).unwrap().load().unwrap();
    let main = directory.path().join("culex.db");
    fs::remove_file(&main).unwrap();
    let error = SqliteStore::open(directory.path(), Durability::Power).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(!main.exists());
    // An empty one begins when that is what is wanted.
    assert_eq!(repair(directory.path()).unwrap().damages.len(), 1);
    SqliteStore::open(directory.path(), Durability::Power).unwrap().load().unwrap();
}

#[test]
fn a_repair_that_was_cut_short_is_done_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(directory.path(), Durability::Kill).unwrap();
    store.load().unwrap();
    for number in 0..5 {
        store.commit(&[], WallTime(10_000 * number)).unwrap();
        store.write(&[Record::SessionEnded { session: SessionId(9) }], WallTime(number)).unwrap();
    }
    let paths = Paths::of(directory.path());
    let log = fs::read(&paths.log).unwrap();
    assert!(log.len() > 4096);
    drop(store);
    let flip = |path: &Path, at: usize| {
        let mut bytes = fs::read(path).unwrap();
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    flip(&paths.main, 57);
    // Before the new file took its place.
    fs::write(directory.path().join("culex.db.repaired"), b"half of it").unwrap();
    fs::write(directory.path().join("culex.db.mended"), b"half of it").unwrap();
    assert!(SqliteStore::open(directory.path(), Durability::Power).is_err());
    let first = repair(directory.path()).unwrap();
    assert_eq!(first.aside.len(), 1, "{first:?}");
    // Before the old log was removed.
    fs::write(&paths.log, &log).unwrap();
    fs::set_permissions(&paths.log, fs::Permissions::from_mode(0o600)).unwrap();
    let refused = SqliteStore::open(directory.path(), Durability::Power).unwrap_err();
    assert!(refused.to_string().contains("older than the file"), "{refused}");
    let second = repair(directory.path()).unwrap();
    assert_eq!(second.stored.alive_at, first.stored.alive_at);
    SqliteStore::open(directory.path(), Durability::Power).unwrap().load().unwrap();
    assert!(repair(directory.path()).unwrap().damages.is_empty());
    let names: Vec<_> = look(directory.path()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names.iter().filter(|name| !name.contains(".damaged-")).collect::<Vec<_>>(),
        ["culex.db", "culex.lock", "culex.reserve"]
    );
}
