//! A slab whose handles carry a generation: a slot is used again, a handle never means two things.

use super::chunks::Chunks;

/// Values by `(slot, generation)`.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    slots: Chunks<Slot<T>>,
    free: Vec<u32>,
    len: usize,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { slots: Chunks::default(), free: Vec::new(), len: 0 }
    }
}

impl<T> Slots<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, slot: u32, generation: u32) -> Option<&T> {
        self.slots.get(slot as usize).filter(|found| found.generation == generation)?.value.as_ref()
    }

    pub(crate) fn get_mut(&mut self, slot: u32, generation: u32) -> Option<&mut T> {
        self.slots.get_mut(slot as usize).filter(|found| found.generation == generation)?.value.as_mut()
    }

    /// Puts a value in and returns `(slot, generation)`; `None` if 2³² slots are taken.
    pub(crate) fn insert(&mut self, value: T) -> Option<(u32, u32)> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = u32::try_from(self.slots.len()).ok()?;
                self.slots.push(Slot { generation: 0, value: None });
                slot
            }
        };
        let place = self.slots.get_mut(slot as usize)?;
        place.value = Some(value);
        self.len += 1;
        Some((slot, place.generation))
    }

    /// Takes a value out. A slot whose generation is used up is not used again.
    pub(crate) fn remove(&mut self, slot: u32, generation: u32) -> Option<T> {
        let place = self.slots.get_mut(slot as usize).filter(|found| found.generation == generation)?;
        let value = place.value.take()?;
        self.len -= 1;
        if let Some(next) = generation.checked_add(1) {
            place.generation = next;
            self.free.push(slot);
        }
        Some(value)
    }

    /// Every slot from `slot` on, with its value if it has one.
    pub(crate) fn slots_from(&self, slot: u32) -> impl Iterator<Item = (u32, Option<&T>)> {
        (slot..).zip(self.slots.iter_from(slot as usize)).map(|(slot, place)| (slot, place.value.as_ref()))
    }

    /// All values with their handles, in the order of the slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, u32, &T)> {
        self.slots
            .iter_from(0)
            .zip(0..)
            .filter_map(|(place, slot)| place.value.as_ref().map(|value| (slot, place.generation, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_handle_finds_nothing_in_a_reused_slot() {
        let mut slots = Slots::default();
        let first = slots.insert("a").unwrap();
        assert_eq!(slots.remove(first.0, first.1), Some("a"));
        let second = slots.insert("b").unwrap();
        assert_eq!(first.0, second.0, "the slot is reused");
        assert_eq!(slots.get(first.0, first.1), None);
        assert_eq!(slots.remove(first.0, first.1), None);
        assert_eq!(slots.get(second.0, second.1), Some(&"b"));
        assert_eq!(slots.len(), 1);
        assert_eq!(slots.iter().collect::<Vec<_>>(), [(second.0, second.1, &"b")]);
    }
}
