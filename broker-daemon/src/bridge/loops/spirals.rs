//! Topics that grow by the same prefixes in each round, so that no message comes back as the same.

/// So many rounds are no chance.
const ROUNDS: usize = 16;
/// Places where a round may end that are tried: prefixes of other brokers may contain ours.
const ENDS_MAX: usize = 8;

/// What a topic that begins with the prefix `added` has grown by in each of 16 rounds; `None` if it has not.
pub(in crate::bridge) fn grown_by<'a>(topic: &'a str, added: &str) -> Option<&'a str> {
    if added.is_empty() {
        return None;
    }
    topic.match_indices(added).skip(1).take(ENDS_MAX).find_map(|(end, _)| {
        let round = topic.get(..end)?;
        let mut rest = topic;
        for _ in 0..ROUNDS {
            rest = rest.strip_prefix(round)?;
        }
        Some(round)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_rounds_are_seen() {
        for (round, added) in [("p/", "p/"), ("p/q/", "p/"), ("a/ba/", "a/"), ("p", "p"), ("é/x/", "é/")] {
            let grown = |rounds: usize| round.repeat(rounds) + "x";
            assert_eq!(grown_by(&grown(ROUNDS), added), Some(round));
            assert_eq!(grown_by(&grown(ROUNDS - 1), added), None, "{round}");
            assert_eq!(grown_by(&grown(ROUNDS), ""), None, "no prefix of ours");
        }
        assert_eq!(grown_by("p/x", "p/"), None);
    }
}
