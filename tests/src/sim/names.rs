//! Topics and filters of the simulation, by number, and which match.

use std::sync::LazyLock;

use culex_codec::{TopicFilter, TopicName};

/// Topics that everybody publishes to, then one that only one client publishes to and retains, then one for wills.
pub(super) const TOPICS: &[&str] = &[
    "a", "a/b", "b", "b/c", "c/d/e", "a//c", "o/0", "o/1", "o/2", "o/3", "o/4", "o/5", "o/6", "o/7", "w/0",
    "w/1", "w/2", "w/3", "w/4", "w/5", "w/6", "w/7",
];
pub(super) const SHARED_TOPICS: usize = 6;
const OWNED_FIRST: usize = 6;
const WILLS_FIRST: usize = 14;

pub(super) const FILTERS: &[&str] = &[
    "#", "+", "a/#", "a/b", "+/b", "b/+", "b/c", "c/#", "o/#", "o/+", "w/#", "o/1", "c/+/e", "a", "+/#",
    "w/+", "a/+/c", "o/2",
];
/// Everything.
pub(super) const ALL: usize = 0;
/// Wills.
pub(super) const WILLS: usize = 10;

pub(super) const fn owned_topic(client: usize) -> usize {
    OWNED_FIRST + client % 8
}

pub(super) const fn will_topic(client: usize) -> usize {
    WILLS_FIRST + client % 8
}

/// Whether a topic matches a filter, by the plain definition.
pub(super) fn matches(filter: usize, topic: usize) -> bool {
    TABLE[filter] & (1 << topic) != 0
}

static TABLE: LazyLock<Vec<u32>> = LazyLock::new(|| FILTERS.iter().map(|filter| row(filter)).collect());

fn row(filter: &str) -> u32 {
    let filter = TopicFilter::assume_valid(filter);
    (0..)
        .zip(TOPICS)
        .filter(|(_, topic)| filter.matches(TopicName::assume_valid(topic)))
        .map(|(bit, _)| 1 << bit)
        .sum()
}

pub(super) fn topic_number(name: &str) -> Option<usize> {
    TOPICS.iter().position(|topic| *topic == name)
}
