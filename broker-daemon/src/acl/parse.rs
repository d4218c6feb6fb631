//! mosquitto's file: `user`, `topic`, `pattern`, one a line.

use std::fmt;

use super::Acl;
use super::rule::{Access, Whose, WrittenRule, check_topic};

/// What is wrong in a line, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// Reads a file.
///
/// # Errors
/// All mistakes at once. A file without any rule is one too: it would deny everything to everybody, which is more
/// likely a file that was cut off than what anybody wants.
pub fn parse(text: &[u8]) -> Result<Acl, Vec<Mistake>> {
    let mut acl = Acl::default();
    let mut mistakes = Vec::new();
    let mut section = Whose::Anonymous;
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line_number = number + 1;
        match statement(line, &section) {
            Ok(None) => {}
            Ok(Some(Statement::User(name))) => {
                acl.users.entry(name.into()).or_default();
                section = Whose::User(name.into());
            }
            Ok(Some(Statement::Topic(access, topic))) => {
                acl.add(&WrittenRule {
                    whose: section.clone(),
                    access,
                    topic: topic.into(),
                    line: line_number,
                });
            }
            Ok(Some(Statement::Pattern(access, topic))) => {
                acl.add(&WrittenRule {
                    whose: Whose::Everybody,
                    access,
                    topic: topic.into(),
                    line: line_number,
                });
            }
            Err(what) => mistakes.push(Mistake { line: line_number, what }),
        }
    }
    let is_empty = acl.patterns.is_empty() && acl.anonymous.is_empty() && acl.users.is_empty();
    if is_empty && mistakes.is_empty() {
        let what = "no rule in the whole file, so nobody could do anything; to say just that, write `pattern deny #`";
        mistakes.push(Mistake { line: 1, what: what.to_owned() });
    }
    if mistakes.is_empty() { Ok(acl) } else { Err(mistakes) }
}

enum Statement<'a> {
    User(&'a str),
    Topic(Access, &'a str),
    Pattern(Access, &'a str),
}

fn statement<'a>(line: &'a [u8], section: &Whose) -> Result<Option<Statement<'a>>, String> {
    let line = std::str::from_utf8(line).map_err(|_| "this is not UTF-8".to_owned())?;
    let line = line.trim_ascii_end();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim_ascii();
    match word {
        "user" if rest.is_empty() => Err("`user` without a name; write `user ann`".to_owned()),
        "user" => Ok(Some(Statement::User(rest))),
        "topic" => {
            let (access, topic) = access_and_topic(word, rest)?;
            check_topic(section, topic)?;
            Ok(Some(Statement::Topic(access, topic)))
        }
        "pattern" => {
            let (access, topic) = access_and_topic(word, rest)?;
            check_topic(&Whose::Everybody, topic)?;
            Ok(Some(Statement::Pattern(access, topic)))
        }
        _ if word.is_empty() || word.starts_with('\t') => {
            Err("a line does not begin with a space; remove it".to_owned())
        }
        _ => Err(format!(
            "`{}` is not known; a line begins with `user`, `topic`, `pattern` or `#`",
            word.escape_debug()
        )),
    }
}

fn access_and_topic<'a>(word: &str, rest: &'a str) -> Result<(Access, &'a str), String> {
    if rest.is_empty() {
        return Err(format!("`{word}` without a topic; write `{word} readwrite a/b`"));
    }
    // A rule without a word for the access is one word; a topic with a space needs one.
    match rest.split_once(' ') {
        None => Ok((Access::ReadWrite, rest)),
        Some((first, topic)) => match Access::of_word(first) {
            Some(access) => Ok((access, topic.trim_ascii())),
            None => Err(format!(
                "`{}` is not an access; it is `read`, `write`, `readwrite` or `deny`, and must be there if the topic has a space",
                first.escape_debug()
            )),
        },
    }
}
