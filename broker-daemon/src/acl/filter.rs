//! What two Topic Filters have in common. Level by level, no recursion, no memory.

/// Whether some topic matches both.
pub(super) fn overlaps(one: &str, other: &str) -> bool {
    if is_hidden(one, other) || is_hidden(other, one) {
        return false;
    }
    let (mut ones, mut others) = (one.split('/'), other.split('/'));
    loop {
        match (ones.next(), others.next()) {
            // `a/#` matches `a` too, so the end of the other is no matter.
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some(a), Some(b)) if a == b || a == "+" || b == "+" => {}
            (Some(_), Some(_)) | (Some(_), None) | (None, Some(_)) => return false,
        }
    }
}

/// Whether every topic that `filter` matches is matched by `rule`.
pub(super) fn covers(rule: &str, filter: &str) -> bool {
    if is_hidden(rule, filter) {
        return false;
    }
    let (mut rules, mut filters) = (rule.split('/'), filter.split('/'));
    loop {
        match (rules.next(), filters.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(a), Some(b)) if a == b => {}
            (Some(_), Some(_)) | (Some(_), None) | (None, Some(_)) => return false,
        }
    }
}

/// Whether `wild` begins with a wildcard, which does not match what begins with `$` [MQTT-4.7.2-1].
fn is_hidden(wild: &str, dollar: &str) -> bool {
    wild.starts_with(['+', '#']) && dollar.starts_with('$')
}
