//! Puzzle ids of ARC tasks and their augmentations, named when asked.

use super::augment::{ArcAugmentation, NameStyle};

/// The name of the id without a puzzle.
pub const BLANK: &str = "<blank>";

/// Which task and augmentation each puzzle id stands for: 0 is blank, then the tasks in the order of their
/// names, each followed by its augmentations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArcNames {
    style: NameStyle,
    tasks: Vec<String>,
    /// The first id of each task, and the number of ids.
    first_ids: Vec<u32>,
    /// Code of the augmentation of each id; 0 for blank and for a task itself.
    codes: Vec<u32>,
}

impl ArcNames {
    /// No ids but blank.
    pub(super) fn new(style: NameStyle) -> Self {
        Self {
            style,
            tasks: Vec::new(),
            first_ids: vec![1],
            codes: vec![0],
        }
    }

    /// Gives ids to a task, whose name sorts after those before, and to its augmentations. Returns the first.
    pub(super) fn push(&mut self, task: &str, augmentations: &[u32]) -> u32 {
        debug_assert!(self.tasks.last().is_none_or(|last| last.as_str() < task));
        let first = self.codes.len() as u32;
        self.tasks.push(task.to_owned());
        self.codes.push(0);
        self.codes.extend_from_slice(augmentations);
        self.first_ids.push(self.codes.len() as u32);
        first
    }

    /// Number of ids, blank among them.
    pub fn len(&self) -> usize {
        self.codes.len()
    }

    /// Whether only the blank id is there.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// How names are put together.
    pub fn style(&self) -> NameStyle {
        self.style
    }

    /// Names of the tasks, sorted.
    pub fn tasks(&self) -> &[String] {
        &self.tasks
    }

    /// The ids of a task: its own, then its augmentations'. `None` for a name that is no task's.
    pub fn ids(&self, task: &str) -> Option<std::ops::Range<u32>> {
        let at = self.tasks.binary_search_by(|name| name.as_str().cmp(task));
        at.ok().map(|at| self.first_ids[at]..self.first_ids[at + 1])
    }

    /// Task and augmentation of an id; `None` for blank and where there is no such id.
    pub fn puzzle(&self, id: u32) -> Option<(&str, ArcAugmentation)> {
        let code = *self.codes.get(id as usize)?;
        let task = self.first_ids.partition_point(|&first| first <= id);
        let task = self.tasks.get(task.checked_sub(1)?)?;
        Some((task, ArcAugmentation::from_code(code)?))
    }

    /// The name of an id; `None` where there is no such id.
    pub fn name(&self, id: u32) -> Option<String> {
        if id == 0 {
            return Some(BLANK.to_owned());
        }
        let (task, augmentation) = self.puzzle(id)?;
        Some(augmentation.name(task, self.style))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_tasks_with_their_augmentations() {
        let mut names = ArcNames::new(NameStyle::Hrm);
        assert_eq!(names.push("a", &[1, 8]), 1);
        assert_eq!(names.push("b", &[]), 4);
        let listed: Vec<String> = (0..names.len() as u32)
            .filter_map(|id| names.name(id))
            .collect();
        assert_eq!(
            listed,
            ["<blank>", "a", "a_t1_0123456789", "a_t0_0123456798", "b"]
        );
        assert_eq!(names.ids("a"), Some(1..4));
        assert_eq!(names.ids("b"), Some(4..5));
        assert_eq!(names.ids("c"), None);
        assert_eq!(names.name(5), None);
        assert_eq!(names.puzzle(0), None);
        assert_eq!(names.puzzle(4), Some(("b", ArcAugmentation::IDENTITY)));
    }
}
