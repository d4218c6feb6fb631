//! Where in the byte order of Topic Names the next match of a Topic Filter can be.
//!
//! Topics below `a/` are neighbours, from `a/` up to but not including `a0` (`0` follows `/`). So a level that cannot
//! match tells the least topic that can, and all between are skipped:
//!
//! ```text
//!  filter  +/temp/#     at kitchen/lamp/1   → kitchen/temp         (the literal is still ahead)
//!                       at kitchen/temp0    → kitchen/temp/        (past "kitchen/temp" itself, not past its levels)
//!                       at kitchen/window/3 → kitchen0             (nothing more in the kitchen)
//!  filter  room/+       at room/1/lamp      → room/10              (too deep: leave room/1/)
//! ```

/// A Topic Filter with a wildcard, cut into levels.
pub(super) struct Pattern<'a> {
    /// Without the final `#`.
    levels: Vec<&'a str>,
    has_multi: bool,
}

/// What a topic that is in the store says about a Topic Filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Match,
    /// No match; the next topic may be one.
    Next,
    /// No match, nor any topic before the one written to `seek`, which is greater than the one judged.
    Seek,
    /// No match, nor any later topic.
    Past,
}

/// What stands behind some literal levels of a filter.
enum Behind {
    Nothing,
    Plus,
    Multi,
}

impl<'a> Pattern<'a> {
    /// `None` if the filter has no wildcard.
    pub(super) fn new(filter: &'a str) -> Option<Self> {
        let mut levels: Vec<_> = filter.split('/').collect();
        let has_multi = levels.pop_if(|level| *level == "#").is_some();
        (has_multi || levels.contains(&"+")).then_some(Self { levels, has_multi })
    }

    /// The least topic that can match, in `seek`.
    pub(super) fn begin(&self, seek: &mut String) {
        seek.clear();
        if let Behind::Plus = self.push_literals(0, seek)
            && !seek.is_empty()
        {
            seek.push('/');
        }
    }

    pub(super) fn judge(&self, topic: &str, seek: &mut String) -> Verdict {
        // [MQTT-4.7.2-1]; "%" follows "$".
        if topic.starts_with('$') && self.levels.first().is_none_or(|level| *level == "+") {
            replace(seek, &["%"]);
            return Verdict::Seek;
        }
        let mut start = Some(0);
        let mut plus_end = None;
        let mut is_after_plus = false;
        for (index, level) in self.levels.iter().enumerate() {
            let Some(from) = start else { return self.too_short(index, is_after_plus, topic, seek) };
            let rest = topic.get(from..).unwrap_or_default();
            let length = rest.find('/');
            let found = rest.get(..length.unwrap_or(rest.len())).unwrap_or_default();
            let end = from + found.len();
            is_after_plus = *level == "+";
            if is_after_plus {
                plus_end = Some(end);
            } else if found != *level {
                return self.mismatch(index, from, plus_end, topic, seek);
            }
            start = length.map(|_| end + 1);
        }
        if self.has_multi || start.is_none() {
            return Verdict::Match;
        }
        leave(plus_end, topic, seek)
    }

    /// All levels of the topic match, but the filter has more.
    fn too_short(&self, index: usize, is_after_plus: bool, topic: &str, seek: &mut String) -> Verdict {
        if is_after_plus {
            // "a" is before "a!/b", and that before "a/b": both could follow.
            return Verdict::Next;
        }
        replace(seek, &[topic, "/"]);
        self.push_literals(index, seek);
        Verdict::Seek
    }

    /// The topic's level from byte `from` on is not the literal that the filter has there.
    fn mismatch(
        &self,
        index: usize,
        from: usize,
        plus_end: Option<usize>,
        topic: &str,
        seek: &mut String,
    ) -> Verdict {
        replace(seek, &[topic.get(..from).unwrap_or_default()]);
        let behind = self.push_literals(index, seek);
        let (alone, with_more) = match behind {
            Behind::Nothing => (true, false),
            Behind::Plus => (false, true),
            Behind::Multi => (true, true),
        };
        if alone && seek.as_str() > topic {
            return Verdict::Seek;
        }
        if with_more {
            seek.push('/');
            if seek.as_str() > topic {
                return Verdict::Seek;
            }
        }
        leave(plus_end, topic, seek)
    }

    /// Appends the levels from `index` up to the next wildcard.
    fn push_literals(&self, index: usize, out: &mut String) -> Behind {
        for (n, level) in self.levels.iter().skip(index).enumerate() {
            if *level == "+" {
                return Behind::Plus;
            }
            if n > 0 {
                out.push('/');
            }
            out.push_str(level);
        }
        if self.has_multi { Behind::Multi } else { Behind::Nothing }
    }
}

/// Leaves all that the last `+` has matched here.
fn leave(plus_end: Option<usize>, topic: &str, seek: &mut String) -> Verdict {
    let Some(end) = plus_end else { return Verdict::Past };
    replace(seek, &[topic.get(..end).unwrap_or_default(), "0"]);
    Verdict::Seek
}

fn replace(text: &mut String, parts: &[&str]) {
    text.clear();
    text.extend(parts.iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(filter: &str, topic: &str, verdict: Verdict, expected: &str) {
        let mut seek = String::new();
        assert_eq!(Pattern::new(filter).unwrap().judge(topic, &mut seek), verdict, "{filter} at {topic}");
        if verdict == Verdict::Seek {
            assert_eq!(seek, expected, "{filter} at {topic}");
            assert!(seek.as_str() > topic);
        }
    }

    #[test]
    fn the_next_possible_topic() {
        use Verdict::{Match, Next, Past, Seek};
        check("+/temp/#", "kitchen/lamp/1", Seek, "kitchen/temp");
        check("+/temp/#", "kitchen/temp0", Seek, "kitchen0");
        check("+/temp/#", "kitchen/temp!", Seek, "kitchen/temp/");
        check("+/temp/#", "kitchen/window/3", Seek, "kitchen0");
        check("+/temp/#", "kitchen", Next, "");
        check("+/temp/#", "kitchen/temp", Match, "");
        check("+/temp/#", "kitchen/temp/a/b", Match, "");
        check("room/+", "room/1/lamp", Seek, "room/10");
        check("room/+", "room/1", Match, "");
        check("room/+", "room", Seek, "room/");
        check("room/+", "rooms", Past, "");
        check("a/+/b/c", "a/x/b", Seek, "a/x/b/c");
        check("a/+/b/c", "a/x/b/d", Seek, "a/x0");
        check("#", "$SYS/x", Seek, "%");
        check("+/x", "$SYS/x", Seek, "%");
        check("$SYS/#", "$SYS/x", Match, "");
        check("a/#", "a!", Seek, "a/");
        check("a/#", "b", Past, "");
    }

    #[test]
    fn the_first_possible_topic() {
        for (filter, first) in [("#", ""), ("+/a", ""), ("a/#", "a"), ("a/b/+/c", "a/b/"), ("/+", "")] {
            let mut seek = String::new();
            Pattern::new(filter).unwrap().begin(&mut seek);
            assert_eq!(seek, first, "{filter}");
        }
        assert!(Pattern::new("a/b").is_none());
    }
}
