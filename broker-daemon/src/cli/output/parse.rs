//! From `-F FORMAT` to a [`Format`].

use std::iter::Peekable;
use std::str::Chars;

use crate::cli::output::format::{Field, Format, Pad, Piece};
use crate::cli::output::json;

/// A format that was not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::cli) enum FormatError {
    /// `%` with a letter that means nothing.
    #[error("%{0} is not a conversion; known are %t %p %q %r %l %m %x %X %j %J %I %U %%")]
    Conversion(char),
    /// `%` with a letter of MQTT 5.
    #[error("%{0} prints a property of MQTT 5, which is not supported yet")]
    Property(char),
    /// `@` with a letter that means nothing.
    #[error("@{0} is not part of a time; known are @Y @m @d @H @M @S @N @s @F @T @@")]
    Time(char),
    /// `\` with a letter that means nothing.
    #[error("\\{0} is not an escape; known are \\n \\r \\t \\a \\e \\0 \\\\")]
    Escape(char),
    /// The format ends in the middle.
    #[error("it ends with a lone {0}")]
    Ends(char),
    /// A width or precision beyond reason.
    #[error("a width has at most three digits")]
    Width,
}

impl std::str::FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            let field = match letter {
                '%' => {
                    let pad = pad(&mut letters)?;
                    conversion(letters.next().ok_or(FormatError::Ends('%'))?)?.map(|field| (field, pad))
                }
                '@' => {
                    time(letters.next().ok_or(FormatError::Ends('@'))?)?.map(|field| (field, Pad::default()))
                }
                '\\' => {
                    literal.push(escape(letters.next().ok_or(FormatError::Ends('\\'))?)?);
                    continue;
                }
                other => {
                    literal.push(other);
                    continue;
                }
            };
            match field {
                None => literal.push(letter),
                Some((field, pad)) => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    pieces.push(Piece::Field(field, pad));
                }
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self { pieces })
    }
}

fn pad(letters: &mut Peekable<Chars<'_>>) -> Result<Pad, FormatError> {
    let mut pad = Pad::default();
    while let Some(flag) = letters.next_if(|letter| matches!(letter, '-' | '0')) {
        pad.is_left |= flag == '-';
        pad.is_zero |= flag == '0';
    }
    pad.width = digits(letters)?.unwrap_or_default();
    if letters.next_if_eq(&'.').is_some() {
        pad.precision = Some(digits(letters)?.unwrap_or_default());
    }
    Ok(pad)
}

fn digits(letters: &mut Peekable<Chars<'_>>) -> Result<Option<usize>, FormatError> {
    let mut number = None;
    while let Some(digit) = letters.peek().and_then(|letter| letter.to_digit(10)) {
        letters.next();
        let next = number.unwrap_or(0) * 10 + digit as usize;
        if next > 999 {
            return Err(FormatError::Width);
        }
        number = Some(next);
    }
    Ok(number)
}

/// The field of `%letter`; `None` is the letter itself.
fn conversion(letter: char) -> Result<Option<Field>, FormatError> {
    Ok(Some(match letter {
        '%' => return Ok(None),
        't' => Field::Topic,
        'p' => Field::Payload,
        'q' => Field::QoS,
        'r' => Field::Retain,
        'l' => Field::Length,
        'm' => Field::PacketId,
        'x' => Field::HexLower,
        'X' => Field::HexUpper,
        'j' => Field::Json(json::Payload::Text),
        'J' => Field::Json(json::Payload::Json),
        'I' => Field::IsoTime,
        'U' => Field::UnixTime,
        'A' | 'C' | 'D' | 'E' | 'F' | 'P' | 'R' | 'S' => return Err(FormatError::Property(letter)),
        _ => return Err(FormatError::Conversion(letter)),
    }))
}

fn time(letter: char) -> Result<Option<Field>, FormatError> {
    match letter {
        '@' => Ok(None),
        'Y' | 'm' | 'd' | 'H' | 'M' | 'S' | 'N' | 's' | 'F' | 'T' => Ok(Some(Field::Clock(letter))),
        _ => Err(FormatError::Time(letter)),
    }
}

fn escape(letter: char) -> Result<char, FormatError> {
    Ok(match letter {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'a' => '\u{7}',
        'e' => '\u{1b}',
        '0' => '\0',
        '\\' => '\\',
        _ => return Err(FormatError::Escape(letter)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_formats_are_refused() {
        for (format, expected) in [
            ("%h", FormatError::Conversion('h')),
            ("%R", FormatError::Property('R')),
            ("%", FormatError::Ends('%')),
            ("%-5", FormatError::Ends('%')),
            ("\\\"", FormatError::Escape('"')),
            ("\\", FormatError::Ends('\\')),
            ("@h", FormatError::Time('h')),
            ("%1000t", FormatError::Width),
        ] {
            assert_eq!(format.parse::<Format>(), Err(expected), "{format}");
        }
    }
}
