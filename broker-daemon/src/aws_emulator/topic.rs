//! Topics as AWS has them: short, of few levels, some reserved; and `#` is not its own parent.

use super::limits::Limits;

/// What a topic or filter that begins with `$` is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Not reserved.
    Plain,
    /// `$aws/rules/<rule>/<topic>`, which goes past the message broker. AIC-TOP-02
    BasicIngest,
    /// A request to, or an answer of, shadow or jobs of a thing, as `thing` tells apart. AIC-TOP-03, AIC-TOP-06
    Thing,
    /// `$aws/events/…`. AIC-TOP-07
    Events,
    /// Any other. AIC-TOP-01
    Reserved,
}

/// What kind of topic it is.
pub(super) fn kind(topic: &str) -> Kind {
    if !topic.starts_with('$') {
        return Kind::Plain;
    }
    let mut levels = topic.split('/');
    match (levels.next(), levels.next()) {
        (Some("$aws"), Some("rules")) if levels.next().is_some_and(|rule| !rule.is_empty()) => {
            // The rule alone is no topic.
            if levels.next().is_some_and(|topic| !topic.is_empty()) {
                Kind::BasicIngest
            } else {
                Kind::Reserved
            }
        }
        (Some("$aws"), Some("things")) if levels.next().is_some_and(|thing| !thing.is_empty()) => {
            match levels.next() {
                Some("shadow" | "jobs") => Kind::Thing,
                Some(_) | None => Kind::Reserved,
            }
        }
        (Some("$aws"), Some("events")) => Kind::Events,
        (_, _) => Kind::Reserved,
    }
}

/// The part whose length counts: without `$aws/rules/<rule>/`.
fn counted(topic: &str) -> &str {
    let rest = topic.strip_prefix("$aws/rules/").and_then(|rest| rest.split_once('/'));
    rest.map_or(topic, |(_, topic)| topic)
}

/// Whether it is short enough, and has few enough levels. AIC-PUB-05
pub(super) fn fits(topic: &str, limits: &Limits) -> bool {
    let counted = counted(topic);
    counted.len() <= limits.topic_bytes && counted.matches('/').count() <= limits.topic_slashes
}

/// Whether messages on `topic` are for `filter`, which is not shared. One step per level.
pub(super) fn matches(filter: &str, topic: &str) -> bool {
    // AIC-SUB-05
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut names = topic.split('/');
    for level in filter.split('/') {
        let name = names.next();
        match (level, name) {
            // AIC-SUB-04: at least one level, unlike in the standard.
            ("#", name) => return name.is_some(),
            ("+", Some(_)) => {}
            (level, Some(name)) if level == name => {}
            (_, Some(_) | None) => return false,
        }
    }
    names.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aic_sub_04_a_number_sign_does_not_match_its_parent() {
        let check =
            |filter, topic, expected| assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        check("sensor/#", "sensor", false);
        check("sensor/#", "sensor/", true);
        check("sensor/#", "sensor/a/b", true);
        check("#", "a", true);
        check("+/b", "a/b", true);
        check("+", "a/b", false);
        check("a/+", "a", false);
        check("a/b", "a/b", true);
    }

    #[test]
    fn aic_sub_05_wildcards_in_front_do_not_match_reserved_topics() {
        assert!(!matches("#", "$aws/events/a"));
        assert!(!matches("+/events/a", "$aws/events/a"));
        assert!(matches("$aws/events/#", "$aws/events/a"));
    }

    #[test]
    fn kinds_of_reserved_topics() {
        let check = |topic, expected| assert_eq!(kind(topic), expected, "{topic}");
        check("a/b", Kind::Plain);
        check("$aws/rules/store/a/b", Kind::BasicIngest);
        check("$aws/rules/store", Kind::Reserved);
        check("$aws/rules//a", Kind::Reserved);
        check("$aws/things/pump/shadow/update", Kind::Thing);
        check("$aws/things/pump/jobs/get", Kind::Thing);
        check("$aws/things/pump/else", Kind::Reserved);
        check("$aws/events/presence/connected/a", Kind::Events);
        check("$SYS/broker", Kind::Reserved);
        check("$", Kind::Reserved);
    }

    #[test]
    fn aic_pub_05_the_rule_of_basic_ingest_is_not_counted() {
        let limits = Limits::default();
        let check = |topic: &str, expected| assert_eq!(fits(topic, &limits), expected, "{topic}");
        check("1/2/3/4/5/6/7/8", true);
        check("1/2/3/4/5/6/7/8/9", false);
        check("$aws/rules/r/1/2/3/4/5/6/7/8", true);
        check(&"a".repeat(256), true);
        check(&"a".repeat(257), false);
        check(&format!("$aws/rules/r/{}", "a".repeat(256)), true);
    }
}
