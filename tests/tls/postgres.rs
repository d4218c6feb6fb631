//! A PostgreSQL server of a test's own: a new cluster behind a Unix socket, which ends with the test.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use culex_tests::tools::is_installed;

use crate::program::text;

/// A running server.
pub(crate) struct Postgres {
    programs: PathBuf,
    folder: tempfile::TempDir,
}

impl Postgres {
    /// With these statements carried out; `None` where PostgreSQL is not installed.
    pub(crate) fn start(statements: &str) -> Option<Self> {
        let programs = programs();
        if !is_installed("PostgreSQL", programs.is_some()) {
            return None;
        }
        let server = Self { programs: programs?, folder: tempfile::tempdir().unwrap() };
        if is_root() {
            // It refuses to run as root; its package has made this user.
            assert!(
                Command::new("chown").arg("postgres").arg(server.folder.path()).status().unwrap().success()
            );
        }
        server.run("initdb", &["--auth=trust", "--username=culex", "--encoding=UTF8", "--no-sync"]);
        let options =
            format!("-c listen_addresses='' -c unix_socket_directories='{}'", server.socket().display());
        let log = server.socket().join("log").display().to_string();
        server.run("pg_ctl", &["start", "-w", "-o", &options, "-l", &log]);
        server.query(statements);
        Some(server)
    }

    /// How libpq finds it.
    pub(crate) fn address(&self) -> String {
        format!("host={} user=culex dbname=postgres", self.socket().display())
    }

    /// Rows in lines, columns divided by `|`.
    pub(crate) fn query(&self, statements: &str) -> String {
        let output = Command::new(self.programs.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statements, &self.address()])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{statements}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn socket(&self) -> &Path {
        self.folder.path()
    }

    /// A program about the cluster, as a user that it accepts. Its output goes nowhere, or a server that stays would hold it.
    fn run(&self, program: &str, arguments: &[&str]) {
        let program = self.programs.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.args(arguments).arg("-D").arg(self.folder.path().join("data")).current_dir("/");
        let status =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(status.success(), "{command:?}: {status}");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.run("pg_ctl", &["stop", "-m", "immediate"]);
    }
}

/// The folder of the newest version; Debian keeps them out of the search path.
fn programs() -> Option<PathBuf> {
    let versions = Path::new("/usr/lib/postgresql").read_dir().into_iter().flatten().filter_map(Result::ok);
    let mut folders: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort_by(|a, b| b.cmp(a));
    folders.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    folders.into_iter().find(|folder| folder.join("initdb").is_file() && folder.join("pg_ctl").is_file())
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout == b"0\n")
}
