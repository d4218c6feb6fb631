//! Who may publish and receive what: mosquitto's access control lists, in its file or as `[[acl.rule]]`.
//!
//! ```text
//!   acl file ──parse──► Acl { anonymous, users, patterns } ──rights(user, client)──► Rights: the rules of one client
//!                                                                                        │
//!                              publish, receive a topic; subscribe to a filter ──decide──┴─► Decision: which rule
//! ```
//!
//! The decisions are mosquitto's. First the rules of the client's section: those under `user NAME`, or those before the
//! first `user` for a client without a user name. Then the `pattern` rules, which are for everybody. In each of the two,
//! `deny` comes first, wherever it stands in the file; otherwise the first rule that matches decides. Where no rule
//! matches, the answer is no.
//!
//! A user name or ClientId in a pattern is one level, literally. One with `+`, `#` or `/` would be more, so a client of
//! such a name gets nothing by patterns.

mod control;
mod file;
mod filter;
mod parse;
mod rule;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

pub use self::control::{Rules, Subscribing};
pub use self::file::AclError;
pub use self::parse::{Mistake, parse};
pub(crate) use self::rule::check_topic;
pub use self::rule::{Access, Action, Decision, Rule, Whose, WrittenRule};

use culex_core::codec::TopicName;

use self::filter::{covers, overlaps};
use self::rule::Template;

/// All rules of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acl {
    /// Rules for clients without a user name.
    anonymous: Vec<Arc<Rule>>,
    users: HashMap<Box<str>, Vec<Arc<Rule>>>,
    patterns: Vec<Template>,
}

/// The rules that concern one client, in the order in which they decide.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rights {
    /// Its own section.
    own: Vec<Arc<Rule>>,
    /// Patterns with its names in them.
    patterns: Vec<Arc<Rule>>,
    /// Its user name or ClientId is more than one level, so no pattern is for it.
    is_without_patterns: bool,
}

impl Acl {
    /// The list of these rules, in their order; each is to have a topic that [`Whose`] it is may have. Without any rule
    /// nobody may anything.
    pub fn of(rules: &[WrittenRule]) -> Self {
        let mut acl = Self::default();
        rules.iter().for_each(|rule| acl.add(rule));
        acl
    }

    fn add(&mut self, written: &WrittenRule) {
        let WrittenRule { whose, access, topic, line } = written;
        let (access, line) = (*access, *line);
        let rule = || Arc::new(Rule { access, topic: topic.clone(), line });
        match whose {
            Whose::Anonymous => insert(&mut self.anonymous, rule(), |rule| rule.access),
            Whose::User(name) => {
                insert(self.users.entry(name.clone()).or_default(), rule(), |rule| rule.access);
            }
            Whose::Everybody => {
                let template = Template { access, topic: topic.clone(), line };
                insert(&mut self.patterns, template, |template| template.access);
            }
        }
    }

    /// The rules for a client. `None` is a client without a user name, which is not one with an empty name.
    pub fn rights(&self, user_name: Option<&str>, client_id: &str) -> Rights {
        let own = match user_name {
            None => self.anonymous.clone(),
            Some(name) => self.users.get(name).cloned().unwrap_or_default(),
        };
        let is_without_patterns = !self.patterns.is_empty() && self.is_unsafe(user_name, client_id);
        let patterns = if is_without_patterns {
            Vec::new()
        } else {
            let filled = self.patterns.iter().filter_map(|template| template.fill(user_name, client_id));
            filled.map(Arc::new).collect()
        };
        Rights { own, patterns, is_without_patterns }
    }

    /// Whether a name that would be put into a pattern is not one level. As in mosquitto a wildcard in either name is
    /// enough; a `/` counts where the name is used.
    fn is_unsafe(&self, user_name: Option<&str>, client_id: &str) -> bool {
        let has_wildcard = |name: &str| name.contains(['+', '#']);
        let used = |names: fn(&Template) -> bool| self.patterns.iter().any(names);
        user_name.is_some_and(|name| has_wildcard(name) || (name.contains('/') && used(Template::has_user)))
            || has_wildcard(client_id)
            || (client_id.contains('/') && used(Template::has_client))
    }
}

/// Denials stand before all else; the others keep their order.
fn insert<R>(rules: &mut Vec<R>, rule: R, access: fn(&R) -> Access) {
    if access(&rule) == Access::Deny {
        let place = rules.iter().take_while(|rule| access(rule) == Access::Deny).count();
        rules.insert(place, rule);
    } else {
        rules.push(rule);
    }
}

impl Rights {
    /// Whether the client may do this with a topic.
    pub fn decide(&self, action: Action, topic: TopicName<'_>) -> Decision<'_> {
        let stages = [&self.own, &self.patterns];
        for rules in stages {
            if let Some(rule) = rules.iter().find(|rule| rule.decides(action, topic)) {
                return Decision::By(rule);
            }
        }
        self.no_rule()
    }

    /// Whether a subscription with this filter can ever deliver anything: something that it matches may be received, and
    /// is not denied as a whole before.
    pub fn decide_subscribe(&self, filter: &str) -> Decision<'_> {
        let stages = [&self.own, &self.patterns];
        for rules in stages {
            for rule in rules {
                let is_decisive = match rule.access {
                    Access::Deny => covers(&rule.topic, filter),
                    Access::Read | Access::ReadWrite => overlaps(&rule.topic, filter),
                    Access::Write => false,
                };
                if is_decisive {
                    return Decision::By(rule);
                }
            }
        }
        self.no_rule()
    }

    fn no_rule(&self) -> Decision<'_> {
        if self.is_without_patterns { Decision::UnsafeName } else { Decision::NoRule }
    }
}
