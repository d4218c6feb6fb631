//! `[[acl.rule]]`: an access control list in the configuration itself.

use crate::acl::{Access, Whose, WrittenRule, check_topic};
use crate::config::problem::Complaint;
use crate::config::setting::{Key, Setting};

/// A rule that may still be wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DraftRule {
    user: Option<String>,
    anonymous: Option<bool>,
    topic: Option<String>,
    pattern: Option<String>,
    access: Access,
}

/// Keys of `[[acl.rule]]`.
pub(crate) const ACL_RULE: &[Key<DraftRule>] = &[
    Key {
        name: "user",
        setting: Setting::Text { field: |rule| &mut rule.user },
        doc: "The user whom the rule concerns.",
    },
    Key {
        name: "anonymous",
        setting: Setting::Switch { field: |rule| &mut rule.anonymous },
        doc: "`true`: the rule concerns clients without a user name.",
    },
    Key {
        name: "topic",
        setting: Setting::Text { field: |rule| &mut rule.topic },
        doc: "A topic filter, with `user` or `anonymous`.",
    },
    Key {
        name: "pattern",
        setting: Setting::Text { field: |rule| &mut rule.pattern },
        doc: "A topic filter for everybody, without the three keys above; `%u` is the user name, `%c` the ClientId.",
    },
    Key {
        name: "access",
        setting: Setting::Choice {
            words: Access::WORDS,
            get: |rule| rule.access as usize,
            set: |rule, index| rule.access = Access::from_index(index),
        },
        doc: "What is allowed: to receive, to publish, or both; `\"deny\"` forbids both, and comes first wherever it stands.",
    },
];

impl DraftRule {
    /// The rule, which stands on this line.
    ///
    /// # Errors
    /// If it is not clear whom it concerns, or its topic is none.
    pub(crate) fn check(self, line: usize) -> Result<WrittenRule, Complaint> {
        let is_anonymous = self.anonymous == Some(true);
        let (whose, topic) = match (self.user, self.topic, self.pattern) {
            (None, None, Some(pattern)) if !is_anonymous => (Whose::Everybody, pattern),
            (Some(user), Some(topic), None) if !is_anonymous => (Whose::User(user.into()), topic),
            (None, Some(topic), None) if is_anonymous => (Whose::Anonymous, topic),
            (_, _, _) => {
                return Err(Complaint::new("it is not clear whom this rule concerns, and with which topic").help(
                    "a rule has `user` and `topic`, or `anonymous = true` and `topic`, or `pattern` alone, which is for everybody",
                ));
            }
        };
        check_topic(&whose, &topic).map_err(Complaint::new)?;
        Ok(WrittenRule { whose, access: self.access, topic: topic.into(), line })
    }

    /// The rule as it is written.
    pub(crate) fn of(rule: &WrittenRule) -> Self {
        let topic = rule.topic.to_string();
        let draft = Self { access: rule.access, ..Self::default() };
        match &rule.whose {
            Whose::Everybody => Self { pattern: Some(topic), ..draft },
            Whose::User(user) => Self { user: Some(user.to_string()), topic: Some(topic), ..draft },
            Whose::Anonymous => Self { anonymous: Some(true), topic: Some(topic), ..draft },
        }
    }
}
