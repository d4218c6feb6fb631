//! One line of an access control list.

use std::fmt;

use culex_core::codec::{TopicFilter, TopicName};

/// What a rule allows, or that it forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Receive.
    Read,
    /// Publish.
    Write,
    /// Both; what a rule without a word means (default).
    #[default]
    ReadWrite,
    /// Neither. Comes before all other rules of its section.
    Deny,
}

/// A rule as somebody wrote it.
#[derive(Debug, Clone)]
pub struct WrittenRule {
    /// Whom it concerns.
    pub whose: Whose,
    /// What it allows.
    pub access: Access,
    /// A Topic Filter; `%u` and `%c` stand for names in one for everybody.
    pub topic: Box<str>,
    /// Line in its file, from 1.
    pub line: usize,
}

/// Whom a rule concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Clients without a user name.
    Anonymous,
    /// A user.
    User(Box<str>),
    /// Every client.
    Everybody,
}

/// Whether they say the same, wherever they stand.
impl PartialEq for WrittenRule {
    fn eq(&self, other: &Self) -> bool {
        (&self.whose, self.access, &self.topic) == (&other.whose, other.access, &other.topic)
    }
}

impl Eq for WrittenRule {}

/// Whether a rule for these may have this topic.
///
/// # Errors
/// Why not, and how to mend it.
pub(crate) fn check_topic(whose: &Whose, topic: &str) -> Result<(), String> {
    if let Err(error) = TopicFilter::new(topic) {
        return Err(format!("`{}` is not a topic filter: {error}", topic.escape_debug()));
    }
    if *whose != Whose::Everybody && (topic.contains("%u") || topic.contains("%c")) {
        return Err(format!(
            "`{}`: %u and %c mean something in a `pattern` only; make the rule one, or name the topic",
            topic.escape_debug()
        ));
    }
    Ok(())
}

/// What a client wants to do with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Publish to it, also as Will Message.
    Publish,
    /// Receive a message from it: live, retained, from a queue, or again.
    Receive,
}

/// A rule, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What it allows.
    pub access: Access,
    /// Topics it is about; of a pattern with the client's names in place.
    pub topic: Box<str>,
    /// Line in its file, from 1.
    pub line: usize,
}

impl Rule {
    /// Whether this rule says yes or no to this.
    pub(super) fn decides(&self, action: Action, topic: TopicName<'_>) -> bool {
        let is_about = match self.access {
            Access::Deny | Access::ReadWrite => true,
            Access::Read => action == Action::Receive,
            Access::Write => action == Action::Publish,
        };
        is_about && TopicFilter::assume_valid(&self.topic).matches(topic)
    }
}

/// The answer, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision<'a> {
    /// This rule decides; see [`Rule::access`].
    By(&'a Rule),
    /// No rule is about it: no.
    NoRule,
    /// Only patterns could be about it, and the user name or ClientId is not one level: no.
    UnsafeName,
}

impl Decision<'_> {
    /// Whether it is a yes.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::By(rule) if rule.access != Access::Deny)
    }

    /// The line of the rule that decides.
    pub const fn line(&self) -> Option<usize> {
        match self {
            Self::By(rule) => Some(rule.line),
            Self::NoRule | Self::UnsafeName => None,
        }
    }

    /// The rule that decides, with the client's names in place, or why there is none.
    pub fn reason(&self) -> String {
        match self {
            Self::By(rule) => format!("{} {}", rule.access, rule.topic),
            Self::NoRule => "no rule allows it".to_owned(),
            Self::UnsafeName => {
                "no rule of its own allows it, and patterns are not for a user name or ClientId \
                                 with +, # or /"
                    .to_owned()
            }
        }
    }
}

impl fmt::Display for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line() {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.reason())
    }
}

impl Access {
    /// In the order of the words.
    const ALL: [Self; 4] = [Self::Read, Self::Write, Self::ReadWrite, Self::Deny];
    /// How each is written.
    pub(crate) const WORDS: &'static [&'static str] = &["read", "write", "readwrite", "deny"];

    pub(crate) fn from_index(index: usize) -> Self {
        Self::ALL.get(index).copied().unwrap_or_default()
    }

    /// The access of this word.
    pub(super) fn of_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().position(|known| *known == word).map(Self::from_index)
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::WORDS.get(*self as usize).unwrap_or(&""))
    }
}

/// A `pattern` rule, with places for names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    pub(super) access: Access,
    pub(super) topic: Box<str>,
    pub(super) line: usize,
}

impl Template {
    pub(super) fn has_user(&self) -> bool {
        self.topic.contains("%u")
    }

    pub(super) fn has_client(&self) -> bool {
        self.topic.contains("%c")
    }

    /// The rule for one client; none if it needs a user name and there is none, or would be no filter.
    pub(super) fn fill(&self, user_name: Option<&str>, client_id: &str) -> Option<Rule> {
        let user_name = if self.has_user() { user_name? } else { "" };
        let mut topic = String::with_capacity(self.topic.len() + user_name.len() + client_id.len());
        let mut rest = &*self.topic;
        // One pass: a name that contains `%c` or `%u` is not filled in again.
        while let Some((before, after)) = rest.split_once('%') {
            topic.push_str(before);
            if let Some(after) = after.strip_prefix('u') {
                topic.push_str(user_name);
                rest = after;
            } else if let Some(after) = after.strip_prefix('c') {
                topic.push_str(client_id);
                rest = after;
            } else {
                topic.push('%');
                rest = after;
            }
        }
        topic.push_str(rest);
        TopicFilter::new(&topic).ok()?;
        Some(Rule { access: self.access, topic: topic.into(), line: self.line })
    }
}
