//! Being a service: what the service manager is told, who the program runs as, and what signals ask for.

pub mod dump;
pub mod manager;
pub mod pid_file;
pub mod user;
