//! "Did you mean …?"

/// The candidate nearest to `word`, if it is near enough to be a slip.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = normal(word);
    // A word of 20 letters may have more slips than one of 4; beyond a third it is another word.
    let most = (word.len() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &normal(candidate)), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Lower case, `-` and `_` alike, at most 64 letters (the work grows with the square).
fn normal(word: &str) -> Vec<char> {
    word.chars().take(64).map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
}

/// Letters to insert, remove, replace, or swap with their neighbour.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    let mut previous: Option<char> = None;
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        let mut left_letter: Option<char> = None;
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX / 2);
            let mut best =
                (at(&above, j) + usize::from(x != y)).min(at(&above, j + 1) + 1).min(at(&row, j) + 1);
            if j > 0 && previous == Some(*y) && left_letter == Some(*x) {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
            left_letter = Some(*y);
        }
        previous = Some(*x);
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let keys = ["in_flight", "incoming_in_flight", "queue_bytes", "queue_messages", "address"];
        for (word, expected) in [
            ("in_fligth", Some("in_flight")),
            ("inflight", Some("in_flight")),
            ("in-flight", Some("in_flight")),
            ("adress", Some("address")),
            ("queue_byte", Some("queue_bytes")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, keys), expected, "{word:?}");
        }
    }

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("", "", 0), ("a", "", 1), ("ab", "ba", 1), ("kitten", "sitting", 3), ("abc", "abc", 0)]
        {
            assert_eq!(distance(&normal(a), &normal(b)), expected, "{a} {b}");
        }
    }
}
