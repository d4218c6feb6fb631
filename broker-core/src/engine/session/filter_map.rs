//! Something per Topic Filter. Most sessions have one or two subscriptions, and the first node of a tree would cost
//! them 300 bytes; some have thousands, and a list would cost those their time.

use std::collections::BTreeMap;

/// Ordered by filter, so that no hash decides an order of ours.
#[derive(Debug)]
pub(crate) enum FilterMap<V> {
    /// Sorted; up to [`FEW_MAX`].
    Few(Vec<(Box<str>, V)>),
    /// More.
    Many(BTreeMap<Box<str>, V>),
}

const FEW_MAX: usize = 16;

impl<V> FilterMap<V> {
    pub(super) const fn new() -> Self {
        Self::Few(Vec::new())
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Few(entries) => entries.len(),
            Self::Many(entries) => entries.len(),
        }
    }

    pub(super) fn contains(&self, filter: &str) -> bool {
        match self {
            Self::Few(entries) => find(entries, filter).is_ok(),
            Self::Many(entries) => entries.contains_key(filter),
        }
    }

    /// Inserts a value unless there is one.
    pub(super) fn insert_new(&mut self, filter: &str, value: V) {
        match self {
            Self::Few(entries) => {
                let Err(place) = find(entries, filter) else { return };
                if entries.len() == FEW_MAX {
                    let mut many: BTreeMap<_, _> = std::mem::take(entries).into_iter().collect();
                    many.insert(filter.into(), value);
                    *self = Self::Many(many);
                    return;
                }
                entries.reserve_exact(1);
                entries.insert(place, (filter.into(), value));
            }
            Self::Many(entries) => {
                entries.entry(filter.into()).or_insert(value);
            }
        }
    }

    /// Removes a value; `false` if there is none.
    pub(super) fn remove(&mut self, filter: &str) -> bool {
        match self {
            Self::Few(entries) => match find(entries, filter) {
                Ok(place) => {
                    entries.remove(place);
                    true
                }
                Err(_) => false,
            },
            Self::Many(entries) => entries.remove(filter).is_some(),
        }
    }

    /// Takes one out.
    pub(crate) fn pop(&mut self) -> Option<Box<str>> {
        match self {
            Self::Few(entries) => entries.pop().map(|(filter, _)| filter),
            Self::Many(entries) => entries.pop_first().map(|(filter, _)| filter),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        let (few, many) = match self {
            Self::Few(entries) => (Some(entries.iter()), None),
            Self::Many(entries) => (None, Some(entries.iter())),
        };
        let few = few.into_iter().flatten().map(|(filter, value)| (&**filter, value));
        few.chain(many.into_iter().flatten().map(|(filter, value)| (&**filter, value)))
    }
}

fn find<V>(entries: &[(Box<str>, V)], filter: &str) -> Result<usize, usize> {
    entries.binary_search_by(|(own, _)| (**own).cmp(filter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_many_behave_alike() {
        let mut map = FilterMap::new();
        let mut model = BTreeMap::new();
        for step in 0..2000_u32 {
            let filter = format!("f/{}", step.wrapping_mul(2_654_435_761) % 37);
            if step % 3 == 0 {
                assert_eq!(map.remove(&filter), model.remove(&filter).is_some());
            } else {
                map.insert_new(&filter, step);
                model.entry(filter.clone()).or_insert(step);
            }
            assert_eq!((map.len(), map.contains(&filter)), (model.len(), model.contains_key(&filter)));
            assert!(map.iter().eq(model.iter().map(|(filter, value)| (&**filter, value))));
        }
        assert!(matches!(map, FilterMap::Many(_)));
    }
}
