//! Names of the puzzle ids, held compactly: a million of them are common.

use crate::arc::{ArcAugmentation, NameStyle};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

/// Set in an entry's code where the name is in TRM's style.
const TRM: u32 = 1 << 31;

/// Names by puzzle id, 0 being `<blank>`; written as a JSON array of strings.
///
/// Names of augmented ARC puzzles (`007bbfb7_t3_0912345678`) are held as that of their task and a code, 8 bytes
/// each, and put together when asked for.
#[derive(Clone, Debug, Default)]
pub struct Identifiers {
    text: String,
    /// Where each name in `text` ends.
    ends: Vec<u32>,
    entries: Vec<Entry>,
}

/// A name in the text, and the code of the augmentation behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    base: u32,
    code: u32,
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
        let (base, code) = split(name);
        self.push_entry(base, code)
    }

    /// Whether a name is held as that of an augmented ARC puzzle.
    pub(crate) fn is_augmented(name: &str) -> bool {
        split(name).1 != 0
    }

    /// Appends the name of an ARC task's puzzle; `None` as [`Identifiers::push`].
    pub(crate) fn push_arc(&mut self, task: &str, code: u32, style: NameStyle) -> Option<u32> {
        match (code, style) {
            (0, _) => self.push(task),
            (_, NameStyle::Hrm) => self.push_entry(task, code),
            (_, NameStyle::Trm) => self.push_entry(task, code | TRM),
        }
    }

    fn push_entry(&mut self, base: &str, code: u32) -> Option<u32> {
        let id = u32::try_from(self.entries.len()).ok()?;
        let last = self.ends.len().checked_sub(1);
        let base = match last {
            Some(last) if self.base(last as u32) == Some(base) => last as u32,
            _ => {
                let end = u32::try_from(self.text.len() + base.len()).ok()?;
                self.text.push_str(base);
                self.ends.push(end);
                self.ends.len() as u32 - 1
            }
        };
        self.entries.push(Entry { base, code });
        Some(id)
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no names.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Name of an id.
    pub fn get(&self, id: u32) -> Option<Cow<'_, str>> {
        let entry = self.entries.get(id as usize)?;
        let base = self.base(entry.base)?;
        if entry.code == 0 {
            return Some(Cow::Borrowed(base));
        }
        let style = match entry.code & TRM {
            0 => NameStyle::Hrm,
            _ => NameStyle::Trm,
        };
        let augmentation = ArcAugmentation::from_code(entry.code & !TRM)?;
        Some(Cow::Owned(augmentation.name(base, style)))
    }

    /// The ARC task and the augmentation that an id's name tells; a name without augmentation is a task's own.
    /// `None` where there is no such id.
    pub fn arc_puzzle(&self, id: u32) -> Option<(&str, ArcAugmentation)> {
        let entry = self.entries.get(id as usize)?;
        let augmentation = ArcAugmentation::from_code(entry.code & !TRM)?;
        Some((self.base(entry.base)?, augmentation))
    }

    /// Names in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = Cow<'_, str>> {
        (0..self.entries.len() as u32).filter_map(|id| self.get(id))
    }

    /// A name that stands for two ids, if there is one.
    pub fn duplicate(&self) -> Option<Cow<'_, str>> {
        let bases = || (0..self.ends.len() as u32).filter_map(|base| self.base(base));
        let mut seen = HashSet::with_capacity(self.ends.len());
        if bases().all(|base| seen.insert(base)) {
            // Then names are equal only where task and code are.
            let mut entries: Vec<(Entry, u32)> = (0..)
                .map_while(|id| Some((*self.entries.get(id as usize)?, id)))
                .collect();
            entries.sort_unstable();
            let twice = entries.windows(2).find(|pair| pair[0].0 == pair[1].0)?;
            return self.get(twice[1].1);
        }
        let mut seen = HashSet::with_capacity(self.len());
        self.iter().find(|name| !seen.insert(name.clone()))
    }

    /// A name of the text.
    fn base(&self, at: u32) -> Option<&str> {
        let end = *self.ends.get(at as usize)? as usize;
        let start = match at {
            0 => 0,
            _ => self.ends[at as usize - 1] as usize,
        };
        self.text.get(start..end)
    }
}

/// The task's part of a name and the code of the augmentation behind it; 0 where there is none.
fn split(name: &str) -> (&str, u32) {
    for (style, flag) in [(NameStyle::Hrm, 0), (NameStyle::Trm, TRM)] {
        if let Ok((task, augmentation)) = ArcAugmentation::parse_name(name, style)
            && augmentation != ArcAugmentation::IDENTITY
        {
            return (task, augmentation.code() | flag);
        }
    }
    (name, 0)
}

impl PartialEq for Identifiers {
    /// Whether all names are equal.
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for Identifiers {}

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
                while let Some(name) = names.next_element::<Cow<'de, str>>()? {
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
        assert_eq!(read.get(1).as_deref(), Some("a\"b"));
        assert_eq!(read.get(2).as_deref(), Some(""));
        assert_eq!(read.get(4), None);
    }

    #[test]
    fn names_of_augmented_puzzles_come_back_as_they_were() {
        let given = [
            "a_t3_0912345678",
            "a",
            "a_t0_0123456789",
            "a_t8_0123456789",
            "a_t1_1023456789",
            "a|||t7|||0123456798",
            "a_t7_0123456798",
            "_t1_0123456789",
            "",
        ];
        let names: Identifiers = given.iter().collect();
        assert_eq!(names.iter().collect::<Vec<_>>(), given);
        assert_eq!(names.duplicate(), None);
        assert_eq!(names.arc_puzzle(0).unwrap().0, "a");
        assert_eq!(names.arc_puzzle(2).unwrap().0, "a_t0_0123456789");
        assert_eq!(names.arc_puzzle(5).unwrap(), names.arc_puzzle(6).unwrap());
        let mut twice = names.clone();
        twice.push("a_t3_0912345678");
        assert_eq!(twice.duplicate().as_deref(), Some("a_t3_0912345678"));
    }

    #[test]
    fn duplicates_are_found_sorted_or_not() {
        let duplicate = |names: &[&str]| {
            let names: Identifiers = names.iter().collect();
            names.duplicate().map(Cow::into_owned)
        };
        assert_eq!(duplicate(&["<blank>", "a", "b"]), None);
        assert_eq!(duplicate(&["<blank>", "b", "a"]), None);
        assert_eq!(duplicate(&["<blank>", "a", "a"]), Some("a".to_owned()));
        assert_eq!(duplicate(&["<blank>", "b", "a", "b"]), Some("b".to_owned()));
        assert_eq!(duplicate(&["a", "a", "b"]), Some("a".to_owned()));
        assert_eq!(duplicate(&[]), None);
    }
}
