//! Why the broker does not start, and what helps.

use std::io;
use std::net::SocketAddr;

use culex_core::{Address, StartError, StoreError};

use crate::cli::human;
use crate::cli::state::State;
use crate::exit::Exit;
use crate::service::user::Successor;

/// Tells the user, and gives the exit code.
#[expect(clippy::wildcard_enum_match_arm, reason = "every other error is told as it is")]
pub(super) fn explain(error: StartError, state: &State, successor: Option<&Successor>) -> Exit {
    match error {
        StartError::AfterBind(error) => {
            human::complain(error);
            Exit::Failed
        }
        StartError::Store(StoreError::Damaged { path, what }) => {
            let directory = path.parent().unwrap_or(&path).display();
            human::complain(format_args!(
                "{}: damaged: {what}. `culex store check {directory}` says all; `culex store repair {directory}` goes on \
                 with what can be read and keeps the damaged files",
                path.display()
            ));
            Exit::Storage
        }
        StartError::Store(error) => {
            let of_successor = successor.and_then(|successor| cannot_have(state, successor));
            human::complain(format_args!(
                "{error}. {}Take another directory: `--data-dir DIR`, or none: `--ephemeral`",
                of_successor.unwrap_or_default()
            ));
            Exit::Storage
        }
        StartError::Bind { address, source } => {
            human::complain(cannot_bind(&address, &source));
            Exit::CannotBind
        }
        error => {
            human::complain(error);
            Exit::Internal
        }
    }
}

/// What to do about a directory that root's successor cannot have.
fn cannot_have(state: &State, successor: &Successor) -> Option<String> {
    let (directory, name) = (state.directory()?.display(), successor.name());
    Some(format!(
        "The broker runs as {name} (`user`), whose own the directory must be: \
         `mkdir -p {directory} && chown -R {name}: {directory}`. "
    ))
}

/// Why an address cannot be listened on, and how to mend it.
fn cannot_bind(address: &Address, error: &io::Error) -> String {
    let help = match address {
        Address::Ip(address) => help_of_port(*address, error.kind()),
        Address::Unix(path) => help_of_socket(&path.display().to_string(), error.kind()),
    };
    format!("cannot listen on {address}: {}{help}", human::io(error))
}

fn help_of_socket(path: &str, kind: io::ErrorKind) -> String {
    if kind == io::ErrorKind::AddrInUse {
        ". Another program listens there. Stop it, or take another path".to_owned()
    } else if kind == io::ErrorKind::AlreadyExists {
        format!(". What is there is no socket, so it was left alone; is {path} the path that was meant?")
    } else if kind == io::ErrorKind::NotFound {
        ". Its folder must be there before".to_owned()
    } else {
        String::new()
    }
}

fn help_of_port(address: SocketAddr, kind: io::ErrorKind) -> String {
    if kind == io::ErrorKind::AddrInUse {
        let port = address.port().checked_add(1).unwrap_or(crate::config::PORT);
        format!(
            ". Another program, perhaps a broker, has that port. Stop it, or take another port: `culex -p {port}`"
        )
    } else if kind == io::ErrorKind::PermissionDenied {
        format!(". Ports below 1024 need privileges. Take another port: `culex -p {}`", crate::config::PORT)
    } else if kind == io::ErrorKind::AddrNotAvailable {
        let all = if address.is_ipv4() { "0.0.0.0" } else { "[::]" };
        format!(". This computer has no such address; {all} means all that it has")
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_cannot_be_had_is_explained() {
        let address = Address::Ip("127.0.0.1:1883".parse().unwrap());
        for (kind, expected) in [
            (io::ErrorKind::AddrInUse, "`culex -p 1884`"),
            (io::ErrorKind::PermissionDenied, "need privileges"),
            (io::ErrorKind::AddrNotAvailable, "0.0.0.0"),
        ] {
            let message = cannot_bind(&address, &io::Error::from(kind));
            assert!(message.starts_with("cannot listen on 127.0.0.1:1883: "), "{message}");
            assert!(message.contains(expected), "{message}");
        }
    }
}
