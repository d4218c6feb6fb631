//! Iteration over properties that have been checked.

use std::iter::FusedIterator;

use super::value::{Property, Raw};
use crate::reader::Reader;

/// Iterator over [`Properties`](super::Properties).
#[derive(Clone, Debug)]
pub struct PropertiesIter<'a> {
    reader: Reader<'a>,
}

impl<'a> PropertiesIter<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { reader: Reader::new(bytes) }
    }
}

impl<'a> Iterator for PropertiesIter<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        if self.reader.is_empty() {
            return None;
        }
        let property = Raw::read(&mut self.reader).and_then(|(id, raw)| Property::from_raw(id, raw));
        if property.is_err() {
            // Only bytes that were trusted and should not have been.
            self.reader.take_rest();
        }
        property.ok()
    }
}

impl FusedIterator for PropertiesIter<'_> {}
