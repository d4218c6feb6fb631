//! What is wrong with a configuration, where it says so, and how to mend it.

use std::fmt;

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The whole file.
    File {
        /// Its name as the user wrote it.
        file: String,
    },
    /// A position in the file.
    Position {
        /// Its name as the user wrote it.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        name: String,
    },
    /// The command line.
    CommandLine,
}

impl Place {
    /// Position in the file, or (0, 0): the order in which problems are shown.
    fn order(&self) -> (usize, usize) {
        match self {
            Self::Position { line, column, .. } => (*line, *column),
            Self::File { .. } => (0, 0),
            Self::Environment { .. } | Self::CommandLine => (usize::MAX, 0),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file } => f.write_str(file),
            Self::Position { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::Environment { name } => write!(f, "environment variable {name}"),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

/// One error of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// How to mend it, if we know.
    pub help: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

/// All errors of a configuration, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    /// The errors; at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// An error about a file as a whole.
    pub(crate) fn of_file(path: &std::path::Path, message: String) -> Self {
        let place = Place::File { file: path.display().to_string() };
        Self::alone(Problem { place, message, help: None })
    }

    /// An error that stands alone.
    pub(crate) fn alone(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// What is wrong with a value, before it is known where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Complaint {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Collects problems, so that the user sees all of them at once.
#[derive(Debug, Default)]
pub(crate) struct Report {
    problems: Vec<Problem>,
}

impl Report {
    pub(crate) fn add(&mut self, place: Place, complaint: Complaint) {
        self.problems.push(Problem { place, message: complaint.message, help: complaint.help });
    }

    /// # Errors
    /// If anything was added.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, ConfigError> {
        if self.problems.is_empty() { Ok(value) } else { Err(self.fail()) }
    }

    /// What was added.
    pub(crate) fn fail(mut self) -> ConfigError {
        self.problems.sort_by_key(|problem| problem.place.order());
        ConfigError { problems: self.problems }
    }
}
