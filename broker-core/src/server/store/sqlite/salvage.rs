//! Reads a table around pages in which SQLite does not find its way.
//!
//! Reading goes up in the order of the keys until it fails, looks for a key beyond the failure from which it works again,
//! in steps that double, and reads down from there to the failure: what is left out lies between the two.

use std::fmt;

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::row::is_damage;
use super::schema::Table;

/// Rows of a table that cannot be reached: those between two keys, if there are any.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Gap {
    after: Option<Key>,
    before: Option<Key>,
}

impl Gap {
    /// How many rows there can be at most; `None` if nobody knows.
    pub(super) fn rows_max(&self) -> Option<u64> {
        match (self.after.as_deref(), self.before.as_deref()) {
            (Some([Value::Integer(after)]), Some([Value::Integer(before)])) => {
                Some(after.abs_diff(*before).saturating_sub(1))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.after, &self.before) {
            (None, None) => f.write_str("all rows"),
            (Some(after), None) => write!(f, "rows after {}", shown(after)),
            (None, Some(before)) => write!(f, "rows before {}", shown(before)),
            (Some(after), Some(before)) => write!(f, "rows between {} and {}", shown(after), shown(before)),
        }
    }
}

/// The columns that name a row.
type Key = Vec<Value>;
type Result<T> = rusqlite::Result<T>;

/// Gives every row that can be reached to `take`, which says whether it is good, and says what cannot. A row may come more than once: where a damage ends,
/// and where it has copied something.
///
/// # Errors
/// Of `take`, and of SQLite, damage aside.
pub(super) fn salvage(
    from: &Connection,
    table: &Table,
    take: &mut dyn FnMut(&Row<'_>) -> Result<bool>,
) -> Result<Vec<Gap>> {
    let names = match from.prepare(table.all) {
        Ok(statement) => statement.column_names().take(table.keys).map(str::to_owned).collect(),
        Err(error) if is_damage(&error) => return Ok(vec![Gap { after: None, before: None }]),
        Err(error) => return Err(error),
    };
    let mut reader = Reader { from, table: table.name, names, take };
    let (mut gaps, mut start) = (Vec::new(), None);
    loop {
        let End::Failed(after) = reader.read(start.as_ref(), Direction::Up)? else { return Ok(gaps) };
        let after = after.or(start);
        let mut next = None;
        for probe in probes(after.as_deref(), table.keys) {
            if reader.works_from(&probe)? {
                next = Some(probe);
                break;
            }
        }
        let failed = reader.read(next.as_ref(), Direction::Down)?;
        if let End::Failed(before) = failed {
            gaps.push(Gap { after, before: before.or_else(|| next.clone()) });
        }
        if next.is_none() {
            return Ok(gaps);
        }
        start = next;
    }
}

struct Reader<'a> {
    from: &'a Connection,
    table: &'static str,
    /// Of the columns that name a row.
    names: Vec<String>,
    take: &'a mut dyn FnMut(&Row<'_>) -> Result<bool>,
}

#[derive(Debug, Clone, Copy)]
enum Direction {
    Up,
    Down,
}

enum End {
    /// There is no other row in this direction.
    Reached,
    /// The last row before the damage, if there was any.
    Failed(Option<Key>),
}

impl Reader<'_> {
    /// Reads from `start` on, or all.
    fn read(&mut self, start: Option<&Key>, direction: Direction) -> Result<End> {
        let mut last = None;
        match self.read_to(start, direction, &mut last) {
            Ok(()) => Ok(End::Reached),
            Err(error) if is_damage(&error) => Ok(End::Failed(last)),
            Err(error) => Err(error),
        }
    }

    fn read_to(&mut self, start: Option<&Key>, direction: Direction, last: &mut Option<Key>) -> Result<()> {
        let mut statement = self.from.prepare(&self.query(start, direction))?;
        let mut rows = statement.query(params_from_iter(start.into_iter().flatten()))?;
        while let Some(row) = rows.next()? {
            // The key of a row that is damaged leads anywhere.
            if !(self.take)(row)? {
                continue;
            }
            *last = Some((0..self.names.len()).map(|column| row.get(column)).collect::<Result<_>>()?);
        }
        Ok(())
    }

    /// Whether there is a row from here on, and SQLite finds it.
    fn works_from(&self, start: &Key) -> Result<bool> {
        let mut statement = self.from.prepare(&self.query(Some(start), Direction::Up))?;
        let mut rows = statement.query(params_from_iter(start))?;
        match rows.next() {
            Ok(row) => Ok(row.is_some()),
            Err(error) if is_damage(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn query(&self, start: Option<&Key>, direction: Direction) -> String {
        let (relation, order) = match direction {
            Direction::Up => (">=", "ASC"),
            Direction::Down => ("<=", "DESC"),
        };
        let names = self.names.join(", ");
        let limit = match (start.map(Vec::as_slice), self.names.as_slice()) {
            (None, _) => String::new(),
            (Some([_]), [name, ..]) => format!("WHERE {name} {relation} ?1"),
            (Some(_), _) => format!("WHERE ({names}) {relation} (?1, ?2)"),
        };
        let order: Vec<_> = self.names.iter().map(|name| format!("{name} {order}")).collect();
        format!("SELECT * FROM {} {limit} ORDER BY {}", self.table, order.join(", "))
    }
}

/// Keys beyond one from which reading does not go on, nearest first.
fn probes(after: Option<&[Value]>, keys: usize) -> Vec<Key> {
    match after {
        Some([Value::Integer(only)]) => numbers_beyond(*only).map(|number| vec![number]).collect(),
        Some([Value::Text(only)]) => texts_beyond(only).into_iter().map(|text| vec![text]).collect(),
        Some([Value::Integer(first), second]) => {
            let (seconds, least) = match second {
                Value::Text(second) => (texts_beyond(second), Value::Text(String::new())),
                Value::Integer(second) => (numbers_beyond(*second).collect(), Value::Integer(i64::MIN)),
                Value::Null | Value::Real(_) | Value::Blob(_) => (Vec::new(), Value::Null),
            };
            let near = seconds.into_iter().map(|second| vec![Value::Integer(*first), second]);
            near.chain(numbers_beyond(*first).map(|number| vec![number, least.clone()])).collect()
        }
        // Nothing was read: the first key may be a number or a text.
        None if keys > 0 => {
            let keys = numbers_beyond(-1).chain(texts_beyond(""));
            keys.map(|first| vec![first]).collect()
        }
        Some(_) | None => Vec::new(),
    }
}

fn numbers_beyond(number: i64) -> impl Iterator<Item = Value> {
    (0..63).filter_map(move |power| Some(Value::Integer(number.checked_add(1 << power)?)))
}

/// Texts that have less and less in common with it, from the next one to the next first character.
fn texts_beyond(text: &str) -> Vec<Value> {
    let beyond = |(at, character): (usize, char)| {
        let next = (u32::from(character) + 1..=u32::from(char::MAX)).find_map(char::from_u32)?;
        Some(Value::Text(format!("{}{next}", text.get(..at)?)))
    };
    let mut texts = vec![Value::Text(format!("{text}\u{1}"))];
    texts.extend(text.char_indices().rev().take(TEXT_STEPS).filter_map(beyond));
    // The first characters, if the text is longer than that.
    let rest = text.chars().count().saturating_sub(TEXT_STEPS);
    let first: Vec<_> = text.char_indices().take(rest.min(TEXT_STEPS)).collect();
    texts.extend(first.into_iter().rev().filter_map(beyond));
    if text.is_empty() {
        texts.extend((1..7).map(|power| Value::Text(char::from(1_u8 << power).to_string())));
    }
    texts
}

/// Characters at each end of a text that are stepped over one by one.
const TEXT_STEPS: usize = 64;

fn shown(key: &[Value]) -> String {
    let part = |value: &Value| match value {
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => format!("{:?}", text.chars().take(SHOWN_MAX).collect::<String>()),
        Value::Null | Value::Real(_) | Value::Blob(_) => "?".to_owned(),
    };
    key.iter().map(part).collect::<Vec<_>>().join(" ")
}

/// Characters of a key that a message has.
const SHOWN_MAX: usize = 100;
