//! Names of the puzzle ids, held compactly: a million of them are common.

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::HashSet;
use std::fmt;

/// Names by puzzle id, 0 being `<blank>`; written as a JSON array of strings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identifiers {
    text: String,
    /// Where each name ends.
    ends: Vec<u32>,
}

impl Identifiers {
    /// Name of the blank id.
    pub const BLANK: &str = "<blank>";

    /// The blank name alone.
    pub fn blank() -> Self {
        [Self::BLANK].into_iter().collect()
    }

    /// Appends the name of the next id; `None` if all names together grow beyond 4 GiB.
    pub fn push(&mut self, name: &str) -> Option<u32> {
        let end = u32::try_from(self.text.len() + name.len()).ok()?;
        let id = u32::try_from(self.ends.len()).ok()?;
        self.text.push_str(name);
        self.ends.push(end);
        Some(id)
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no names.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Name of an id.
    pub fn get(&self, id: u32) -> Option<&str> {
        let at = id as usize;
        let end = *self.ends.get(at)? as usize;
        let start = at
            .checked_sub(1)
            .map_or(0, |before| self.ends[before] as usize);
        self.text.get(start..end)
    }

    /// Names in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len() as u32).filter_map(|id| self.get(id))
    }

    /// A name that stands for two ids, if there is one.
    pub fn duplicate(&self) -> Option<&str> {
        // Sets of our own are sorted behind the blank id; that is seen without a table.
        let rest = || self.iter().skip(1);
        if rest().zip(rest().skip(1)).all(|(a, b)| a < b)
            && rest().all(|name| name != self.get(0).unwrap_or_default())
        {
            return None;
        }
        let mut seen = HashSet::with_capacity(self.len());
        self.iter().find(|name| !seen.insert(*name))
    }
}

/// # Panics
/// If all names together are longer than 4 GiB.
impl<S: AsRef<str>> FromIterator<S> for Identifiers {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        let mut identifiers = Self::default();
        for name in names {
            let pushed = identifiers.push(name.as_ref());
            assert!(pushed.is_some(), "names of more than 4 GiB");
        }
        identifiers
    }
}

impl Serialize for Identifiers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Identifiers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Identifiers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of names")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Identifiers, A::Error> {
                let mut identifiers = Identifiers::default();
                while let Some(name) = names.next_element::<std::borrow::Cow<'de, str>>()? {
                    let pushed = identifiers.push(&name);
                    pushed.ok_or_else(|| de::Error::custom("expected less than 4 GiB of names"))?;
                }
                Ok(identifiers)
            }
        }
        deserializer.deserialize_seq(Names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_json() {
        let names: Identifiers = ["<blank>", "a\"b", "", "ü"].into_iter().collect();
        let json = serde_json::to_string(&names).unwrap();
        assert_eq!(json, r#"["<blank>","a\"b","","ü"]"#);
        let read: Identifiers = serde_json::from_str(&json).unwrap();
        assert_eq!(read, names);
        assert_eq!(read.get(1), Some("a\"b"));
        assert_eq!(read.get(2), Some(""));
        assert_eq!(read.get(4), None);
    }

    #[test]
    fn duplicates_are_found_sorted_or_not() {
        let duplicate = |names: &[&str]| {
            let names: Identifiers = names.iter().collect();
            names.duplicate().map(str::to_owned)
        };
        assert_eq!(duplicate(&["<blank>", "a", "b"]), None);
        assert_eq!(duplicate(&["<blank>", "b", "a"]), None);
        assert_eq!(duplicate(&["<blank>", "a", "a"]), Some("a".to_owned()));
        assert_eq!(duplicate(&["<blank>", "b", "a", "b"]), Some("b".to_owned()));
        assert_eq!(duplicate(&["a", "a", "b"]), Some("a".to_owned()));
        assert_eq!(duplicate(&[]), None);
    }
}
