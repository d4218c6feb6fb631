//! Lines of mosquitto's file: `name value`. A comment begins in the first column; what stands behind a value is its part,
//! or not read, as the option has it.

use std::ops::Range;

/// A line that says something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct Statement<'a> {
    /// The first word. Words end at spaces alone.
    pub(in crate::config) name: &'a str,
    /// The rest of the line, without blanks around it.
    pub(in crate::config) value: &'a str,
    /// Where the name stands, in bytes.
    pub(in crate::config) span: Range<usize>,
}

/// Every line that is neither empty nor a comment.
pub(in crate::config) fn statements(text: &str) -> impl Iterator<Item = Statement<'_>> {
    let mut begin = 0;
    text.split('\n').filter_map(move |line| {
        let at = begin;
        begin += line.len() + 1;
        statement(line, at)
    })
}

fn statement(line: &str, at: usize) -> Option<Statement<'_>> {
    if line.starts_with('#') {
        return None;
    }
    let line = line.trim_end_matches('\r');
    let trimmed = line.trim_start_matches(' ');
    let (name, value) = trimmed.split_once(' ').unwrap_or((trimmed, ""));
    if name.is_empty() {
        return None;
    }
    let start = at + line.len() - trimmed.len();
    Some(Statement { name, value: value.trim_matches([' ', '\t']), span: start..start + name.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_name_and_the_rest() {
        let text = "# c\nport 1883\r\n\n  user  a b \t\n   \n # x\n\tport 1\nlog_dest";
        let found: Vec<_> = statements(text).map(|s| (s.name, s.value, text.get(s.span).unwrap())).collect();
        assert_eq!(
            found,
            [
                ("port", "1883", "port"),
                ("user", "a b", "user"),
                ("#", "x", "#"),
                ("\tport", "1", "\tport"),
                ("log_dest", "", "log_dest"),
            ]
        );
    }
}
