//! What the programs that measure brokers share.

pub mod broker;
pub mod certificates;
pub mod client;
pub mod cpu;
pub mod disk;
pub mod scenario;

/// A figure, or why there is none.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Whether the command line begins by asking for help. Then it is printed: the head of the program's source, which says how it is used.
#[expect(clippy::print_stdout, reason = "its result is what it prints")]
pub fn is_help(source: &str) -> bool {
    let is_asked = std::env::args().nth(1).is_some_and(|word| word == "--help" || word == "-h");
    if is_asked {
        let head = source.lines().map_while(|line| line.strip_prefix("//!"));
        head.for_each(|line| println!("{}", line.strip_prefix(' ').unwrap_or(line)));
    }
    is_asked
}
