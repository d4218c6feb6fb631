//! What is typed while it runs: scenarios on and off, an end of all connections, a message of the cloud.

use std::io::{self, BufRead, IsTerminal, Read};

use culex_codec::{QoS, TopicName};
use tokio::sync::mpsc;

use crate::aws_emulator::{Emulator, SCENARIOS, Scenario, ScenarioError};
use crate::cli::stdin::read_beside;

/// The longest line.
const LINE_BYTES_MAX: u64 = 4096;
/// Lines that are read before those in front of them are done.
const LINES_AHEAD: usize = 16;

const HELP: &str = "\
outage                    a scenario, from now on; also several, and NAME=VALUE
outage=off                as it usually is
off                       everything as it usually is
show                      the scenarios that are on
cut                       every connection breaks
close                     the service closes every connection, as for maintenance
publish TOPIC TEXT        a message at QoS 1, as somebody else in the cloud
scenarios                 the names of all scenarios
";

/// Lines of standard input.
pub(super) struct Orders(Option<mpsc::Receiver<String>>);

impl Orders {
    /// None are read in the background of a terminal, where that stops a program.
    pub(super) fn listen() -> Self {
        if is_in_background() {
            return Self(None);
        }
        Self(Some(read_beside(LINES_AHEAD, |input| read_line(input))))
    }

    /// The next line; waits for ever once there are no more. Dropping the future loses none.
    pub(super) async fn next(&mut self) -> String {
        if let Some(lines) = &mut self.0
            && let Some(line) = lines.recv().await
        {
            return line;
        }
        self.0 = None;
        std::future::pending().await
    }
}

/// A terminal lets only those in the foreground read.
fn is_in_background() -> bool {
    let input = io::stdin();
    input.is_terminal()
        && rustix::termios::tcgetpgrp(&input).is_ok_and(|group| group != rustix::process::getpgrp())
}

/// `None` at the end of the input. What is too long is no order, whatever it says.
fn read_line(input: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    match input.take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(String::from_utf8_lossy(&line).trim().to_owned()),
    }
}

/// Does what a line says, and gives what to answer.
pub(super) fn obey(emulator: &Emulator, line: &str) -> Result<String, String> {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    match (word, rest.trim()) {
        ("", _) => Ok(String::new()),
        ("help" | "?", "") => Ok(HELP.to_owned()),
        ("scenarios", "") => Ok(format!("{}\n", SCENARIOS.join("\n"))),
        ("show", "") => Ok(state(emulator)),
        ("off", "") => {
            emulator.change(|scenario| *scenario = Scenario::default());
            Ok(state(emulator))
        }
        ("cut", "") => {
            emulator.cut_all();
            Ok(String::new())
        }
        ("close", "") => {
            emulator.disconnect_all();
            Ok(String::new())
        }
        ("publish", rest) => publish(emulator, rest),
        _ => {
            let mut scenario = emulator.scenario();
            for text in line.split_whitespace() {
                scenario.switch(text).map_err(|error| explain(&error))?;
            }
            emulator.change(|present| *present = scenario);
            Ok(state(emulator))
        }
    }
}

/// Without the names of all, which are one word away.
fn explain(error: &ScenarioError) -> String {
    match error {
        ScenarioError::Unknown { name } => {
            format!("\"{name}\" is neither a scenario nor an order: `scenarios` and `help` say what there is")
        }
        ScenarioError::Value { .. } => error.to_string(),
    }
}

fn publish(emulator: &Emulator, rest: &str) -> Result<String, String> {
    let (topic, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    TopicName::new(topic).map_err(|error| format!("{topic:?} is no topic: {error}; `publish TOPIC TEXT`"))?;
    emulator.publish(topic, text.trim_start().to_owned(), QoS::AtLeastOnce, false);
    Ok(String::new())
}

fn state(emulator: &Emulator) -> String {
    let switched = emulator.scenario().switched();
    if switched.is_empty() {
        "everything is as usual\n".to_owned()
    } else {
        format!("on: {}\n", switched.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn scenarios_are_switched_on_and_off() {
        let emulator = Emulator::builder().build();
        let check =
            |line: &str, expected: &str| assert_eq!(obey(&emulator, line).unwrap(), expected, "{line}");
        check("", "");
        check("show", "everything is as usual\n");
        check("outage  slow=1000", "on: outage slow=1000\n");
        check("outage=off drop_puback=7", "on: drop_puback=7 slow=1000\n");
        check("off", "everything is as usual\n");
        assert!(obey(&emulator, "help").unwrap().contains("publish TOPIC TEXT"));
        assert!(obey(&emulator, "scenarios").unwrap().contains("kick_duplicate\n"));
    }

    #[tokio::test]
    async fn what_is_no_order_is_said_and_changes_nothing() {
        let emulator = Emulator::builder().build();
        for line in ["outages", "slow", "outage slow=x", "publish", "publish a/# x", "cut now"] {
            assert!(obey(&emulator, line).is_err(), "{line}");
        }
        assert_eq!(emulator.scenario(), Scenario::default());
        assert!(obey(&emulator, "outages").unwrap_err().contains("`help`"));
    }

    #[test]
    fn a_line_that_is_too_long_is_none() {
        let text = format!("show\n{}\n", "x".repeat(5000));
        let mut input = text.as_bytes();
        assert_eq!(read_line(&mut input).as_deref(), Some("show"));
        assert_eq!(read_line(&mut input).map(|line| line.len()), Some(4096));
        assert_eq!(read_line(&mut input).map(|line| line.len()), Some(5000 - 4096));
        assert_eq!(read_line(&mut input), None);
    }
}
