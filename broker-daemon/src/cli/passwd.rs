//! `culex passwd`: adds, changes and removes users of a password file, with mosquitto_passwd's options.

use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use crate::cli::{human, secret};
use crate::exit::Exit;
use crate::users::edit::{Lines, edit};
use crate::users::hash::{Hash, Method, ROUNDS_MAX};
use crate::users::{PasswordFile, check_name};

/// Which user of which file.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "culex passwd [-c | -D] [--compat] FILE USER\n       \
                      culex passwd [-c] [--compat] -b FILE USER PASSWORD\n       \
                      culex passwd [--compat] -U FILE",
    after_help = "Examples:\n  \
        culex passwd -c users ann               make the file and its first user\n  \
        culex passwd users bob                  add bob, or give him another password\n  \
        culex passwd -D users bob               remove him\n  \
        echo secret | culex passwd users eve    without a terminal: a line of standard input\n\
        \n\
        Put `password_file = \"users\"` under [auth] of culex.toml."
)]
pub(super) struct Arguments {
    /// Make the file anew, with this user alone
    #[arg(short, conflicts_with_all = ["delete", "upgrade"])]
    create: bool,
    /// Remove the user
    #[arg(short = 'D', conflicts_with_all = ["batch", "upgrade"])]
    delete: bool,
    /// Take the password from the command line, where others on this computer can see it
    #[arg(short, requires = "password", conflicts_with = "upgrade")]
    batch: bool,
    /// Hash all passwords that the file has plainly
    #[arg(short = 'U', conflicts_with_all = ["user", "password"])]
    upgrade: bool,
    /// A hash that mosquitto can read too ($7$)
    #[arg(long, conflicts_with = "hash")]
    compat: bool,
    /// argon2id (default), sha512-pbkdf2 (the same as --compat) or sha512
    #[arg(short = 'H', value_name = "HASH", value_enum)]
    hash: Option<HashName>,
    /// Rounds of --compat; mosquitto_passwd has 101
    #[arg(short = 'I', long, value_name = "N", default_value = "210000",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(ROUNDS_MAX)))]
    iterations: u32,
    /// The password file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Whose password
    #[arg(value_name = "USER", required_unless_present = "upgrade")]
    user: Option<String>,
    /// The password, with -b
    #[arg(value_name = "PASSWORD", requires = "batch")]
    password: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum HashName {
    Argon2id,
    Sha512Pbkdf2,
    Sha512,
}

impl Arguments {
    fn method(&self) -> Method {
        match self.hash {
            Some(HashName::Sha512) => Method::Sha512,
            Some(HashName::Argon2id) => Method::Argon2id,
            None if !self.compat => Method::Argon2id,
            // OWASP's figure for PBKDF2 with HMAC-SHA-512 is the default.
            None | Some(HashName::Sha512Pbkdf2) => {
                Method::Pbkdf2(NonZeroU32::new(self.iterations).unwrap_or(NonZeroU32::MIN))
            }
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let done = match &arguments.user {
        None => upgrade(arguments),
        Some(user) if arguments.delete => delete(&arguments.file, user),
        Some(user) => set(arguments, user),
    };
    match done {
        Ok(done) => {
            note_mistakes(&arguments.file);
            super::print(&format!("{done}\n"))
        }
        Err(Failure(message)) => {
            human::complain(message);
            Exit::Failed
        }
    }
}

/// Why nothing was changed.
struct Failure(String);

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(human::io(&error).to_string())
    }
}

fn set(arguments: &Arguments, user: &str) -> Result<String, Failure> {
    check_name(user).map_err(|complaint| Failure(complaint.message))?;
    // Before anybody has typed a password for nothing.
    if !arguments.create && !arguments.file.exists() {
        return Err(missing(&arguments.file));
    }
    let password = match &arguments.password {
        Some(password) => secret::check(password.clone().into_bytes()),
        None => secret::ask_new(user),
    };
    let hash = Hash::create(arguments.method(), &password.map_err(Failure)?)?;
    if arguments.method() == Method::Sha512 {
        human::note(
            "warning: sha512 is one round, and so fast to guess; --compat suits mosquitto from 2.0 on",
        );
    }
    let mut done = "";
    change(&arguments.file, |old| {
        let mut lines = match old {
            Some(text) if !arguments.create => Lines::parse(&text),
            None if !arguments.create => return Err(missing(&arguments.file)),
            Some(_) | None => Lines::default(),
        };
        done = if lines.set(user, &hash) { "has a new password" } else { "is added" };
        Ok(lines.text())
    })?;
    Ok(format!("{user} {done} in {}", arguments.file.display()))
}

fn delete(file: &Path, user: &str) -> Result<String, Failure> {
    change(file, |old| {
        let mut lines = Lines::parse(&old.ok_or_else(|| missing(file))?);
        if !lines.remove(user) {
            return Err(Failure(format!("{} has no user {user}; nothing is changed", file.display())));
        }
        Ok(lines.text())
    })?;
    Ok(format!("{user} is removed from {}", file.display()))
}

fn upgrade(arguments: &Arguments) -> Result<String, Failure> {
    let file = &arguments.file;
    let mut count = 0;
    change(file, |old| {
        let mut lines = Lines::parse(&old.ok_or_else(|| missing(file))?);
        count = lines.hash_plain(|password| Hash::create(arguments.method(), password))?;
        Ok(lines.text())
    })?;
    Ok(format!("{count} plain passwords are hashed in {}", file.display()))
}

/// Every error names the file.
fn change(
    file: &Path,
    change: impl FnOnce(Option<String>) -> Result<String, Failure>,
) -> Result<(), Failure> {
    let mut own = None;
    let edited = edit(file, |old| {
        change(old).map_err(|Failure(message)| {
            own = Some(message);
            Failure(String::new())
        })
    });
    edited.map_err(|Failure(message)| {
        Failure(own.unwrap_or_else(|| format!("cannot change {}: {message}", file.display())))
    })
}

fn missing(file: &Path) -> Failure {
    Failure(format!("there is no file {}; `culex passwd -c` makes it", file.display()))
}

/// The file is changed, but a broker might not take it, because of other lines.
fn note_mistakes(file: &Path) {
    match PasswordFile::read(file) {
        Ok(file) => {
            if let Some(warning) = file.warning() {
                human::note(format_args!("warning: {warning}"));
            }
        }
        Err(error) => {
            for problem in error.problems() {
                human::note(format_args!("warning: {problem}"));
            }
        }
    }
}
