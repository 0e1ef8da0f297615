//! Many named values, compactly: all names in one text, and one row of fixed size for each.
//!
//! A snapshot of a large repository lists 16,384 or 65,536 roles. As a map of strings it would be slow to make, to
//! copy and to drop; as two allocations it is none of these. Lookup is by halving. Putting a new name between others
//! moves the rows behind it, so many new names are better added together ([`Extend`]).

use std::fmt;
use std::slice;

use super::canonical::{Pairs, Raw};
use super::fields::ParseError;
use super::json::escape_canonical;

/// Values by name, sorted by code point; each name once.
#[derive(Clone)]
pub struct Table<V> {
    /// The names, in no order. What a removed row leaves here stays until the table is dropped.
    names: String,
    /// By name.
    rows: Vec<Row<V>>,
}

#[derive(Debug, Clone)]
struct Row<V> {
    start: usize,
    len: usize,
    value: V,
}

impl<V> Table<V> {
    /// An empty table.
    pub fn new() -> Self {
        Self { names: String::new(), rows: Vec::new() }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&V> {
        let at = self.find(name).ok()?;
        self.rows.get(at).map(|row| &row.value)
    }

    /// The value of `name`, to edit.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut V> {
        let at = self.find(name).ok()?;
        self.rows.get_mut(at).map(|row| &mut row.value)
    }

    /// Whether `name` is there.
    pub fn contains_key(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// Sets the value of `name`; the one before, if any, is handed back. Time grows with the rows behind a new name.
    pub fn insert(&mut self, name: impl AsRef<str>, value: V) -> Option<V> {
        let name = name.as_ref();
        match self.find(name) {
            Ok(at) => self.rows.get_mut(at).map(|row| std::mem::replace(&mut row.value, value)),
            Err(at) => {
                let row = self.row(name, value);
                self.rows.insert(at, row);
                None
            }
        }
    }

    /// Takes the value of `name` out.
    pub fn remove(&mut self, name: &str) -> Option<V> {
        let at = self.find(name).ok()?;
        Some(self.rows.remove(at).value)
    }

    /// Names and values, by name.
    pub fn iter(&self) -> Iter<'_, V> {
        Iter { names: &self.names, rows: self.rows.iter() }
    }

    /// The names, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().map(|row| name_of(&self.names, row))
    }

    /// The values, by name.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.rows.iter().map(|row| &row.value)
    }

    /// From an object in canonical form, whose keys rise. An entry has about `entry` bytes. `known` reads entries of the
    /// most common form, as [`Pairs::next_known`] has it, and `read` all others.
    pub(super) fn read<'a>(
        mut pairs: Pairs<'a>,
        entry: usize,
        known: impl Fn(&'a str) -> Option<((&'a str, V), usize)>,
        read: fn(Raw<'a>) -> Result<V, ParseError>,
    ) -> Result<Self, ParseError> {
        let rows = pairs.text_len() / entry;
        let names = String::with_capacity(pairs.text_len() / 2);
        let mut table = Self { names, rows: Vec::with_capacity(rows + rows / 8 + 1) };
        loop {
            let row = if let Some((name, value)) = pairs.next_known(&known) {
                table.row(name, value)
            } else if let Some((name, value)) = pairs.next() {
                table.row(&name, read(value)?)
            } else {
                return Ok(table);
            };
            table.rows.push(row);
        }
    }

    /// Appends the canonical form.
    pub(super) fn write(&self, out: &mut String, write: fn(&V, &mut String)) {
        out.push('{');
        for (at, (name, value)) in self.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            escape_canonical(name, out);
            out.push(':');
            write(value, out);
        }
        out.push('}');
    }

    /// Where `name` is, or where it belongs. The last place is tried first: tables are mostly made in order.
    fn find(&self, name: &str) -> Result<usize, usize> {
        if self.rows.last().is_none_or(|last| name_of(&self.names, last) < name) {
            return Err(self.rows.len());
        }
        self.rows.binary_search_by(|row| name_of(&self.names, row).cmp(name))
    }

    fn row(&mut self, name: &str, value: V) -> Row<V> {
        let start = self.names.len();
        self.names.push_str(name);
        Row { start, len: name.len(), value }
    }
}

fn name_of<'a, V>(names: &'a str, row: &Row<V>) -> &'a str {
    names.get(row.start..row.start + row.len).unwrap_or_default()
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V: fmt::Debug> fmt::Debug for Table<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<V: PartialEq> PartialEq for Table<V> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<V: Eq> Eq for Table<V> {}

impl<N: AsRef<str>, V> Extend<(N, V)> for Table<V> {
    /// Adds all; of values with one name, the last counts.
    fn extend<I: IntoIterator<Item = (N, V)>>(&mut self, values: I) {
        let mut sorted = true;
        for (name, value) in values {
            let name = name.as_ref();
            sorted &= self.rows.last().is_none_or(|last| name_of(&self.names, last) < name);
            let row = self.row(name, value);
            self.rows.push(row);
        }
        if sorted {
            return;
        }
        let names = &self.names;
        // Stable, so that of one name the newest is last; reversed, the first of each is kept.
        self.rows.sort_by(|a, b| name_of(names, a).cmp(name_of(names, b)));
        self.rows.reverse();
        self.rows.dedup_by(|a, b| name_of(names, a) == name_of(names, b));
        self.rows.reverse();
    }
}

impl<N: AsRef<str>, V> FromIterator<(N, V)> for Table<V> {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(values: I) -> Self {
        let mut table = Self::new();
        table.extend(values);
        table
    }
}

impl<'a, V> IntoIterator for &'a Table<V> {
    type Item = (&'a str, &'a V);
    type IntoIter = Iter<'a, V>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Names and values of a [`Table`], by name.
#[derive(Debug, Clone)]
pub struct Iter<'a, V> {
    names: &'a str,
    rows: slice::Iter<'a, Row<V>>,
}

impl<'a, V> Iterator for Iter<'a, V> {
    type Item = (&'a str, &'a V);
    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rows.next()?;
        Some((name_of(self.names, row), &row.value))
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rows.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    /// What is done to a table.
    #[derive(Debug, Clone)]
    enum Change {
        Insert(String, u8),
        Remove(String),
        Extend(Vec<(String, u8)>),
    }

    fn change() -> impl Strategy<Value = Change> {
        let name = "[ab\"é]{0,2}";
        prop_oneof![
            (name, any::<u8>()).prop_map(|(name, value)| Change::Insert(name, value)),
            name.prop_map(Change::Remove),
            prop::collection::vec((name, any::<u8>()), 0..6).prop_map(Change::Extend),
        ]
    }

    proptest! {
        #[test]
        fn a_table_is_a_sorted_map(changes in prop::collection::vec(change(), 0..20)) {
            let (mut table, mut map) = (Table::new(), BTreeMap::new());
            for change in changes {
                match change {
                    Change::Insert(name, value) => {
                        prop_assert_eq!(table.insert(&name, value), map.insert(name, value));
                    }
                    Change::Remove(name) => prop_assert_eq!(table.remove(&name), map.remove(&name)),
                    Change::Extend(values) => {
                        table.extend(values.clone());
                        map.extend(values);
                    }
                }
                prop_assert!(table.iter().eq(map.iter().map(|(name, value)| (name.as_str(), value))));
                prop_assert!(map.keys().all(|name| table.get(name) == map.get(name)));
                prop_assert_eq!((table.len(), table.get("c")), (map.len(), None));
                prop_assert_eq!(&table, &map.iter().collect::<Table<_>>().map_values());
            }
        }
    }

    impl Table<&u8> {
        fn map_values(&self) -> Table<u8> {
            self.iter().map(|(name, value)| (name, **value)).collect()
        }
    }
}
