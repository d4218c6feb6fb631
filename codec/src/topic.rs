//! Topic Names, Topic Filters and Share Names (3.1.1 section 4.7, 5.0 sections 4.7 and 4.8).

use std::{fmt, str::Split};

use crate::{
    error::{DecodeError, TopicError},
    text,
};

/// The name of a topic: what a PUBLISH and a Will Message carry.
///
/// At least one character, at most 65,535 bytes, no U+0000, no `+`, no `#`. Two names are the same if their bytes are
/// the same: nothing is normalised ([MQTT-4.7.3-4]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    /// The name `text`.
    ///
    /// # Errors
    /// The rule of section 4.7 that `text` breaks.
    pub fn new(text: &'a str) -> Result<Self, TopicError> {
        check_length(text)?;
        // '+' is 0x2B and '#' is 0x23: one comparison for both.
        if text::any(text.as_bytes(), |byte| (byte == 0) | (byte & 0xf7 == b'#')) {
            return Err(Self::culprit(text));
        }
        Ok(Self(text))
    }

    /// The name that the bytes of a packet spell.
    ///
    /// # Errors
    /// [`DecodeError::InvalidUtf8`], or [`DecodeError::Topic`] with the rule broken.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Ok(Self::new(text::from_utf8(bytes)?)?)
    }

    /// For text that was a name before, for example in storage of the caller's own. Anything else is the caller's
    /// mistake: it is caught in debug builds, and in others goes out as it is.
    pub fn assume_valid(text: &'a str) -> Self {
        debug_assert!(Self::new(text).is_ok(), "not a topic name");
        Self(text)
    }

    /// The text, at least one byte.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// The levels, at least one, each of which may be empty: `/a` has the levels `` and `a`.
    pub fn levels(self) -> Split<'a, char> {
        self.0.split('/')
    }

    /// Whether it starts with `$`, so that filters with a wildcard in front do not match it ([MQTT-4.7.2-1]).
    pub fn is_dollar(self) -> bool {
        self.0.starts_with('$')
    }

    fn culprit(text: &str) -> TopicError {
        for (at, byte) in text.bytes().enumerate() {
            if byte == 0 {
                return TopicError::NulCharacter { at };
            }
            if byte == b'+' || byte == b'#' {
                return TopicError::WildcardInTopicName { at };
            }
        }
        TopicError::Empty
    }
}

/// What a Subscription asks for: a topic with wildcards.
///
/// At least one character, at most 65,535 bytes, no U+0000; `+` and `#` fill a whole level, `#` the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter<'a>(&'a str);

impl<'a> TopicFilter<'a> {
    /// The filter `text`. The form of a Shared Subscription is not looked at, because in 3.x `$share` is a level like
    /// any other; see [`Self::parse_shared`].
    ///
    /// # Errors
    /// The rule of section 4.7 that `text` breaks.
    pub fn new(text: &'a str) -> Result<Self, TopicError> {
        check_length(text)?;
        let bytes = text.as_bytes();
        let mut before = b'/';
        for (at, &byte) in bytes.iter().enumerate() {
            match byte {
                0 => return Err(TopicError::NulCharacter { at }), // [MQTT-4.7.3-2]
                // [MQTT-4.7.1-3]
                b'+' if before != b'/' || bytes.get(at + 1).is_some_and(|&next| next != b'/') => {
                    return Err(TopicError::SingleLevelWildcard { at });
                }
                // [MQTT-4.7.1-2]
                b'#' if before != b'/' || at + 1 != bytes.len() => {
                    return Err(TopicError::MultiLevelWildcard { at });
                }
                _ => before = byte,
            }
        }
        Ok(Self(text))
    }

    /// The filter that the bytes of a packet spell.
    ///
    /// # Errors
    /// [`DecodeError::InvalidUtf8`], or [`DecodeError::Topic`] with the rule broken.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Ok(Self::new(text::from_utf8(bytes)?)?)
    }

    /// For text that was a filter before, for example in storage of the caller's own. Anything else is the caller's
    /// mistake: it is caught in debug builds.
    pub fn assume_valid(text: &'a str) -> Self {
        debug_assert!(Self::new(text).is_ok(), "not a topic filter");
        Self(text)
    }

    /// For text that was checked when its packet was decoded.
    pub(crate) const fn from_checked(text: &'a str) -> Self {
        Self(text)
    }

    /// The text, at least one byte.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// The levels, at least one, each of which may be empty.
    pub fn levels(self) -> Split<'a, char> {
        self.0.split('/')
    }

    /// Whether it starts with `$`.
    pub fn is_dollar(self) -> bool {
        self.0.starts_with('$')
    }

    /// Whether it has a `+` or a `#`, so may match more than one topic.
    pub fn has_wildcard(self) -> bool {
        self.0.bytes().any(|byte| byte == b'+' || byte == b'#')
    }

    /// Whether a message on `name` is wanted. One step per level, no recursion, no memory: the plain definition, which
    /// an index of filters can be tested against.
    pub fn matches(self, name: TopicName<'_>) -> bool {
        // [MQTT-4.7.2-1]
        if name.is_dollar() && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut names = name.levels();
        for level in self.levels() {
            if level == "#" {
                return true; // also the parent: `a/#` matches `a`
            }
            match names.next() {
                Some(part) if level == "+" || level == part => {}
                Some(_) | None => return false,
            }
        }
        names.next().is_none()
    }

    /// The Share Name and the filter proper of `$share/name/filter`; `None` for every other filter, also for one that
    /// starts so but lacks the rest.
    pub fn shared(self) -> Option<(ShareName<'a>, Self)> {
        self.parse_shared().ok().flatten()
    }

    /// As [`Self::shared`], but tells a filter that is not shared, `Ok(None)`, from one that wants to be.
    ///
    /// # Errors
    /// [`TopicError::MalformedShare`] if it starts with `$share/` and no Share Name with a filter follows
    /// ([MQTT-4.8.2-1], [MQTT-4.8.2-2] of 5.0).
    pub fn parse_shared(self) -> Result<Option<(ShareName<'a>, Self)>, TopicError> {
        let Some(rest) = self.0.strip_prefix("$share/") else {
            return Ok(None);
        };
        let (name, filter) = rest.split_once('/').ok_or(TopicError::MalformedShare)?;
        let name = ShareName::new(name)?;
        if filter.is_empty() {
            return Err(TopicError::MalformedShare);
        }
        // What follows a '/' in a valid filter is a valid filter.
        Ok(Some((name, Self(filter))))
    }
}

/// The name of a group that shares a Subscription: at least one character, none of them `/`, `+`, `#` or U+0000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareName<'a>(&'a str);

impl<'a> ShareName<'a> {
    /// The name `text`.
    ///
    /// # Errors
    /// [`TopicError::MalformedShare`] if a rule of 5.0 section 4.8.2 is broken, [`TopicError::TooLong`],
    /// [`TopicError::NulCharacter`].
    pub fn new(text: &'a str) -> Result<Self, TopicError> {
        if text.is_empty() || text.contains(['/', '+', '#']) {
            return Err(TopicError::MalformedShare);
        }
        check_length(text)?;
        match text::nul_at(text.as_bytes()) {
            None => Ok(Self(text)),
            Some(at) => Err(TopicError::NulCharacter { at }),
        }
    }

    /// The name that the bytes of a packet spell.
    ///
    /// # Errors
    /// [`DecodeError::InvalidUtf8`], or [`DecodeError::Topic`] with the rule broken.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Ok(Self::new(text::from_utf8(bytes)?)?)
    }

    /// The text, at least one byte.
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

impl fmt::Display for TopicName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Display for TopicFilter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Display for ShareName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

fn check_length(text: &str) -> Result<(), TopicError> {
    match text.len() {
        0 => Err(TopicError::Empty), // [MQTT-4.7.3-1]
        bytes if bytes > text::BYTES_MAX => Err(TopicError::TooLong { bytes }), // [MQTT-4.7.3-3]
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_name(text: &str, expected: Result<(), TopicError>) {
        assert_eq!(TopicName::new(text).map(|_| ()), expected, "{text:?}");
    }

    #[track_caller]
    fn check_filter(text: &str, expected: Result<(), TopicError>) {
        assert_eq!(TopicFilter::new(text).map(|_| ()), expected, "{text:?}");
    }

    #[test]
    fn rules_for_topic_names() {
        for text in ["a", "/", "//", "a/b c", "$SYS/x", "é/x", "\u{feff}", "\u{ffff}", "\u{1}"] {
            check_name(text, Ok(()));
        }
        check_name("", Err(TopicError::Empty));
        check_name("a/+", Err(TopicError::WildcardInTopicName { at: 2 }));
        check_name("#", Err(TopicError::WildcardInTopicName { at: 0 }));
        check_name("a#b", Err(TopicError::WildcardInTopicName { at: 1 }));
        check_name("ab\0", Err(TopicError::NulCharacter { at: 2 }));
        check_name(&"x".repeat(65_535), Ok(()));
        check_name(&"x".repeat(65_536), Err(TopicError::TooLong { bytes: 65_536 }));
    }

    #[test]
    fn rules_for_topic_filters() {
        for text in ["a", "/", "#", "+", "+/+", "a/#", "/#", "a/+/b", "$share/g/#", "$SYS/#", "é/+", "+/a/#"]
        {
            check_filter(text, Ok(()));
        }
        let plus = |at| Err(TopicError::SingleLevelWildcard { at });
        let hash = |at| Err(TopicError::MultiLevelWildcard { at });
        check_filter("", Err(TopicError::Empty));
        check_filter("a\0", Err(TopicError::NulCharacter { at: 1 }));
        check_filter("a+", plus(1));
        check_filter("+a", plus(0));
        check_filter("++", plus(0));
        check_filter("a/+b/c", plus(2));
        check_filter("+#", plus(0));
        check_filter("a#", hash(1));
        check_filter("#/a", hash(0));
        check_filter("##", hash(0));
        check_filter("a/#/", hash(2));
        check_filter("#+", hash(0));
        check_filter(&"/".repeat(65_535), Ok(()));
        check_filter(&"/".repeat(65_536), Err(TopicError::TooLong { bytes: 65_536 }));
    }

    #[test]
    fn matching() {
        for (filter, name, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
            ("a/b", "a/B", false),
            ("/a", "a", false),
            ("a/", "a", false),
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("sport/#", "sports", false),
            ("#", "a", true),
            ("#", "/", true),
            ("#", "a/b/c", true),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("+/tennis/#", "sport/tennis", true),
            ("#", "$SYS/x", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("+", "$SYS", false),
            ("$SYS/#", "$SYS", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("a/#", "a/$b", true),
            ("a/+", "a/$b", true),
            ("e\u{301}", "é", false),
        ] {
            let matches = TopicFilter::new(filter).unwrap().matches(TopicName::new(name).unwrap());
            assert_eq!(matches, expected, "{filter} {name}");
        }
    }

    #[test]
    fn many_levels_need_no_stack() {
        let deep = "/".repeat(65_535);
        assert!(TopicFilter::new(&deep).unwrap().matches(TopicName::new(&deep).unwrap()));
        let plus = format!("{}+", "+/".repeat(32_767));
        assert!(!TopicFilter::new(&plus).unwrap().matches(TopicName::new(&deep).unwrap()));
        assert_eq!(TopicName::new(&deep).unwrap().levels().count(), 65_536);
    }

    #[test]
    fn shared_subscriptions() {
        for (text, expected) in [
            ("$share/g/a/+", Ok(Some(("g", "a/+")))),
            ("$share/g//", Ok(Some(("g", "/")))),
            ("$share/g/$share/h/x", Ok(Some(("g", "$share/h/x")))),
            ("a/b", Ok(None)),
            ("$share", Ok(None)),
            ("$shared/g/a", Ok(None)),
            ("a/$share/g/a", Ok(None)),
            ("$share/", Err(TopicError::MalformedShare)),
            ("$share/g", Err(TopicError::MalformedShare)),
            ("$share/g/", Err(TopicError::MalformedShare)),
            ("$share//a", Err(TopicError::MalformedShare)),
            ("$share/+/a", Err(TopicError::MalformedShare)),
            ("$share/#", Err(TopicError::MalformedShare)),
        ] {
            let filter = TopicFilter::new(text).unwrap();
            let parts =
                filter.parse_shared().map(|parts| parts.map(|(name, rest)| (name.as_str(), rest.as_str())));
            assert_eq!(parts, expected, "{text}");
            assert_eq!(filter.shared().is_some(), matches!(expected, Ok(Some(_))));
        }
        assert_eq!(ShareName::new("a\0"), Err(TopicError::NulCharacter { at: 1 }));
        assert!(ShareName::from_bytes(b"\xff").is_err());
    }
}
