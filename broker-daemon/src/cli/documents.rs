//! Shell completions and man pages, from the definition of the command line itself.

use std::path::{Path, PathBuf};

use clap_complete::Shell;
use clap_mangen::Man as Page;

use crate::cli::human;
use crate::exit::Exit;

/// Which shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  culex completions bash > /etc/bash_completion.d/culex")]
pub(super) struct Completions {
    /// bash, zsh, fish, elvish or powershell
    shell: Shell,
}

/// Where to.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  culex man /usr/local/share/man/man1\n  culex man - | man -l -")]
pub(super) struct Man {
    /// An existing folder, or - to print the main page
    #[arg(value_name = "DIR")]
    to: PathBuf,
}

pub(super) fn completions(arguments: &Completions, mut command: clap::Command) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "culex", &mut script);
    super::print(&String::from_utf8_lossy(&script))
}

pub(super) fn man(arguments: &Man, mut command: clap::Command) -> Exit {
    command.build();
    if arguments.to == Path::new("-") {
        return super::print(&String::from_utf8_lossy(&render(&command)));
    }
    match write_all(&arguments.to, &command) {
        Ok(()) => Exit::Ok,
        Err((path, error)) => {
            human::complain(format_args!("cannot write {}: {}", path.display(), human::io(&error)));
            Exit::Failed
        }
    }
}

fn render(command: &clap::Command) -> Vec<u8> {
    let mut page = Vec::new();
    // Writing to a vector cannot fail.
    let _ = Page::new(command.clone()).render(&mut page);
    page
}

/// `culex.1`, and `culex-pub.1` and so on for the sub-commands.
fn write_all(folder: &Path, command: &clap::Command) -> Result<(), (PathBuf, std::io::Error)> {
    let write = |name: String, command: &clap::Command| {
        let path = folder.join(format!("{name}.1"));
        std::fs::write(&path, render(command)).map_err(|error| (path, error))
    };
    write("culex".to_owned(), command)?;
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let name = format!("culex-{}", sub.get_name());
        // clap_mangen takes the title from the command's name, which has to live as long as the program.
        let named = sub.clone().display_name(name.clone());
        write(name, &named)?;
    }
    Ok(())
}
