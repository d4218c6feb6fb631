//! What is wrong with a configuration, where it says so, and how to mend it.

use std::fmt;

use crate::config::format::Format;

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
    /// The file, if it is in one.
    fn file(&self) -> Option<&str> {
        match self {
            Self::File { file } | Self::Position { file, .. } => Some(file),
            Self::Environment { .. } | Self::CommandLine => None,
        }
    }

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

/// Something that the user should know of a file that is taken all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What it is about.
    pub place: Place,
    /// What is ignored, or is otherwise than it was.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// All errors of a configuration, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
    format: Format,
}

impl ConfigError {
    /// The errors; at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The format of the file that has them.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// The same errors, of a file in this format.
    pub(crate) fn in_format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// An error about a file as a whole.
    pub(crate) fn of_file(path: &std::path::Path, message: String) -> Self {
        let place = Place::File { file: path.display().to_string() };
        Self::alone(Problem { place, message, help: None })
    }

    /// These errors, if there are any.
    pub(crate) fn all(problems: Vec<Problem>) -> Option<Self> {
        (!problems.is_empty()).then(|| Self { problems, format: Format::default() })
    }

    /// An error that stands alone.
    pub(crate) fn alone(problem: Problem) -> Self {
        Self { problems: vec![problem], format: Format::default() }
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
        // Files in the order in which they were named first.
        let mut files: Vec<String> = Vec::new();
        for file in self.problems.iter().filter_map(|problem| problem.place.file()) {
            if !files.iter().any(|known| known == file) {
                files.push(file.to_owned());
            }
        }
        let number = |place: &Place| match place.file() {
            Some(file) => files.iter().position(|known| known == file),
            None => Some(usize::MAX),
        };
        self.problems.sort_by_key(|problem| (number(&problem.place), problem.place.order()));
        ConfigError { problems: self.problems, format: Format::default() }
    }
}
