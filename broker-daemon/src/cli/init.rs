//! `culex init`: sets up a broker with a password, and with TLS if it is wanted, and prints the clients' side.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::cli::human;
use crate::config::{PORT, TLS_PORT};
use crate::exit::Exit;
use crate::init::{self, Wanted, files, guide};
use crate::users::check_name;

/// What is set up, and where.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    culex init                              for programs on this computer\n  \
    culex init --lan --tls /etc/culex       for devices in the house\n  \
    culex init --tls --name broker.example  with another name in the certificate")]
pub(super) struct Arguments {
    /// Let other computers connect
    #[arg(long)]
    lan: bool,
    /// Secure the connections: a private CA, and a certificate of this computer
    #[arg(long)]
    tls: bool,
    /// The user of the clients, with a generated password
    #[arg(long, value_name = "NAME", default_value = "device")]
    user: String,
    /// Where it listens; 1883, or 8883 with --tls
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// One more name or address for the certificate
    #[arg(long = "name", value_name = "NAME", requires = "tls")]
    names: Vec<String>,
    /// The folder; made if it is not there
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    match set_up(arguments) {
        Ok(text) => super::print(&text),
        Err(message) => {
            human::complain(message);
            Exit::Failed
        }
    }
}

fn set_up(arguments: &Arguments) -> Result<String, String> {
    check_name(&arguments.user).map_err(|complaint| complaint.message)?;
    let folder = &arguments.folder;
    let failed =
        |error: io::Error| format!("cannot use the folder {}: {}", folder.display(), human::io(&error));
    fs::create_dir_all(folder).map_err(failed)?;
    let folder = fs::canonicalize(folder).map_err(failed)?;
    if folder.to_str().is_none() {
        return Err(format!("{}: the name of the folder is not UTF-8 text", folder.display()));
    }
    // Those of TLS too: a key must not change its owner because a certificate is wanted later.
    let there: Vec<_> =
        init::names(true).filter(|name| folder.join(name).symlink_metadata().is_ok()).collect();
    if !there.is_empty() {
        return Err(found(&folder, &there));
    }
    let wanted = Wanted {
        folder,
        is_lan: arguments.lan,
        is_tls: arguments.tls,
        user: arguments.user.clone(),
        port: arguments.port.unwrap_or(if arguments.tls { TLS_PORT } else { PORT }),
        names: arguments.names.clone(),
    };
    let made = init::make(&wanted).map_err(|error| error.to_string())?;
    files::write_all(&wanted.folder, &made.files).map_err(|error| error.to_string())?;
    if wanted.is_lan && !wanted.is_tls {
        human::note(
            "warning: without --tls everybody in the network can read the password and every message",
        );
    }
    let mut text = format!("Written to {}:\n", wanted.folder.display());
    for file in &made.files {
        text.push_str(&format!("  {:<11} {}\n", file.name, purpose(file.name)));
    }
    let config = wanted.folder.join("culex.toml");
    text.push_str(&format!("\nStart the broker:\n  culex -c {}\n\n", guide::for_shell(config)));
    text.push_str(&guide::text(&wanted, &made));
    Ok(text)
}

/// What a second run says.
fn found(folder: &Path, there: &[&str]) -> String {
    let mut text = format!("nothing is written: {} has already\n", folder.display());
    for name in there {
        text.push_str(&format!("  {name:<11} {}\n", purpose(name)));
    }
    let config = guide::for_shell(folder.join("culex.toml"));
    text.push_str(&format!("Start that broker with `culex -c {config}`, or name another folder"));
    text
}

fn purpose(name: &str) -> &'static str {
    match name {
        "culex.toml" => "the configuration",
        "users" => "the password of the user, hashed",
        "ca.crt" => "the private CA, for clients; 10 years",
        "ca.key" => "its key: who has it is trusted by every client; the broker does not need it",
        "server.crt" => "the certificate of this computer; 825 days, the longest that Apple's systems accept",
        _ => "its key",
    }
}
