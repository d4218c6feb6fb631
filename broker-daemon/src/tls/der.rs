//! The little of DER (X.690) that is needed to say what a certificate is: elements with their tag, one after another.
//! Trust is never decided here; webpki does that.

/// What is left of a sequence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Der<'a>(&'a [u8]);

/// Tags that are looked for.
pub(super) mod tag {
    pub(in super::super) const BOOLEAN: u8 = 0x01;
    pub(in super::super) const INTEGER: u8 = 0x02;
    pub(in super::super) const OCTET_STRING: u8 = 0x04;
    pub(in super::super) const OID: u8 = 0x06;
    pub(in super::super) const UTC_TIME: u8 = 0x17;
    pub(in super::super) const GENERALIZED_TIME: u8 = 0x18;
    pub(in super::super) const SEQUENCE: u8 = 0x30;
    pub(in super::super) const SET: u8 = 0x31;
    /// `[0]`, `[1]`… with an element inside.
    pub(in super::super) const fn explicit(number: u8) -> u8 {
        0xa0 | number
    }
}

impl<'a> Der<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next element: its tag and content.
    pub(super) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (len, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The content of the next element if it has this tag; otherwise that is left where it is.
    pub(super) fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let (found, content) = ahead.next()?;
        if found != tag {
            return None;
        }
        *self = ahead;
        Some(content)
    }

    /// What is in the next element, which must have this tag.
    pub(super) fn enter(&mut self, tag: u8) -> Option<Self> {
        self.expect(tag).map(Self)
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_never_believed() {
        for bytes in
            [&[0x30][..], &[0x30, 5, 1], &[0x30, 0x84, 255, 255, 255, 255], &[0x30, 0x80], &[0x30, 0x85, 0]]
        {
            assert!(Der::new(bytes).next().is_none(), "{bytes:?}");
        }
        let mut der = Der::new(&[2, 1, 7, 4, 0x81, 1, 9]);
        assert_eq!(der.expect(tag::SEQUENCE), None);
        assert_eq!(der.expect(tag::INTEGER), Some(&[7][..]));
        assert_eq!(der.next(), Some((tag::OCTET_STRING, &[9][..])));
        assert!(der.is_empty());
    }
}
