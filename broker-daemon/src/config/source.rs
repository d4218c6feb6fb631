//! The text of a configuration file: read with a size limit, freed of a byte order mark, with line and column of each
//! byte.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::config::problem::{Complaint, Place};

/// A larger file is not a configuration (somebody named a database or a device).
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A file as text.
#[derive(Debug)]
pub(crate) struct Source {
    name: String,
    folder: PathBuf,
    text: String,
}

impl Source {
    /// Reads `path`.
    ///
    /// # Errors
    /// If it cannot be read, is too large or not UTF-8.
    pub(crate) fn read(path: &Path) -> Result<Self, Complaint> {
        let bytes = read_bounded(path)?;
        let text = decode(bytes)?;
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Ok(Self { name: path.display().to_string(), folder, text })
    }

    /// A text that is not in a file; `${file:…}` in it is relative to the working directory.
    #[cfg(test)]
    pub(crate) fn of(name: &str, text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
        Self { name: name.to_owned(), folder: PathBuf::new(), text }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether its name ends so, in upper or lower case.
    pub(crate) fn has_ending(&self, ending: &str) -> bool {
        self.name.to_ascii_lowercase().ends_with(ending)
    }

    /// The folder that relative paths in this file start from.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The line of a span of bytes, from 1.
    pub(crate) fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        before.bytes().filter(|byte| *byte == b'\n').count() + 1
    }

    /// The place of a span of bytes.
    pub(crate) fn place(&self, span: &Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line = self.line(span);
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Place::Position { file: self.name.clone(), line, column }
    }
}

/// Reads a small file.
///
/// # Errors
/// If it cannot be read or is larger than 1 MiB.
pub(crate) fn read_bounded(path: &Path) -> Result<Vec<u8>, Complaint> {
    let bytes = read_at_most(path, FILE_BYTES_MAX)?;
    bytes.ok_or_else(|| Complaint::new("this file is larger than 1 MiB; is it a configuration?"))
}

/// Reads a file; `None` if it is larger than that.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn read_at_most(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, Complaint> {
    let cannot = |error: std::io::Error| {
        let complaint = Complaint::new(format!("cannot read this file: {}", crate::cli::human::io(&error)));
        if error.kind() == std::io::ErrorKind::NotFound {
            complaint.help("check the path; it is relative to the present folder")
        } else {
            complaint
        }
    };
    let mut bytes = Vec::new();
    File::open(path).map_err(cannot)?.take(bytes_max + 1).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(if bytes.len() as u64 > bytes_max { None } else { Some(bytes) })
}

/// Text from bytes: a UTF-8 byte order mark is dropped, UTF-16 (Notepad's "Unicode") is named.
fn decode(bytes: Vec<u8>) -> Result<String, Complaint> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Complaint::new("this file is UTF-16 text").help("save it as UTF-8 in the editor"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes().iter().take(valid).filter(|byte| **byte == b'\n').count() + 1;
        Complaint::new(format!("line {line} is not UTF-8 text")).help("save it as UTF-8 in the editor")
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}
