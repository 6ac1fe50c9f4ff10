//! Colour permutations and symmetries of ARC puzzles, and the names that puzzles have under them.

use rand::{Rng, RngExt};

use super::grid::{ArcTask, Grid, Pair};
use crate::DataError;
use crate::dihedral::Dihedral;

/// Colours that are permuted: 1 to 9.
const PERMUTED: usize = 9;

/// How an augmented puzzle's name is put together from its task, its symmetry and its colours.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum NameStyle {
    /// `<id>_t<0-7>_<10 digits>`, as HRM's builder.
    #[default]
    Hrm,
    /// `<id>|||t<0-7>|||<10 digits>`, as TRM's builder.
    Trm,
}

impl NameStyle {
    /// What stands between the parts of a name.
    pub fn separator(self) -> &'static str {
        match self {
            Self::Hrm => "_",
            Self::Trm => "|||",
        }
    }
}

/// New colours, then a symmetry. Colour 0 (black) stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ArcAugmentation {
    symmetry: Dihedral,
    colours: [u8; 10],
}

impl ArcAugmentation {
    /// Number of augmentations, 8 * 9!.
    pub const COUNT: u32 = 8 * 362_880;

    /// The augmentation that changes nothing.
    pub const IDENTITY: Self = Self {
        symmetry: Dihedral::Identity,
        colours: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    };

    /// A symmetry and the new colour of each colour.
    ///
    /// # Errors
    /// [`DataError::ArcColours`] if the colours are no permutation that keeps 0.
    pub fn new(symmetry: Dihedral, colours: [u8; 10]) -> Result<Self, DataError> {
        let mut sorted = colours;
        sorted.sort_unstable();
        if colours[0] == 0 && sorted == Self::IDENTITY.colours {
            Ok(Self { symmetry, colours })
        } else {
            Err(DataError::ArcColours {
                found: format!("{colours:?}"),
            })
        }
    }

    /// One of the 8 * 9! augmentations.
    pub fn sample<R: Rng + ?Sized>(rng: &mut R) -> Self {
        let symmetry = Dihedral::ALL[rng.random_range(0..Dihedral::ALL.len())];
        let mut colours = Self::IDENTITY.colours;
        for last in (2..colours.len()).rev() {
            colours.swap(last, rng.random_range(1..=last));
        }
        Self { symmetry, colours }
    }

    /// The symmetry.
    pub fn symmetry(&self) -> Dihedral {
        self.symmetry
    }

    /// The new colour of each colour.
    pub fn colours(&self) -> &[u8; 10] {
        &self.colours
    }

    /// A number below 8 * 9! for this augmentation alone; 0 is the identity.
    pub fn code(&self) -> u32 {
        // The rank of the permutation in factorial base.
        let mut rank = 0;
        for at in 1..=PERMUTED {
            let later = &self.colours[at + 1..];
            let smaller = later.iter().filter(|&&c| c < self.colours[at]).count();
            rank = rank * (PERMUTED + 1 - at) + smaller;
        }
        rank as u32 * 8 + u32::from(self.symmetry.id())
    }

    /// The augmentation of a [`code`](Self::code); `None` from 8 * 9! on.
    pub fn from_code(code: u32) -> Option<Self> {
        let symmetry = Dihedral::from_id((code % 8) as u8)?;
        let mut rank = (code / 8) as usize;
        let mut smaller = [0; PERMUTED + 1];
        for at in (1..=PERMUTED).rev() {
            let base = PERMUTED + 1 - at;
            smaller[at] = rank % base;
            rank /= base;
        }
        if rank != 0 {
            return None;
        }
        let mut colours = Self::IDENTITY.colours;
        for at in 1..=PERMUTED {
            // Colours from `at` on are those not yet used, in order.
            colours[at..=at + smaller[at]].rotate_right(1);
        }
        Some(Self { symmetry, colours })
    }

    /// The grid under this augmentation.
    pub fn apply(&self, grid: &Grid) -> Grid {
        grid.transform(self.symmetry).recolour(&self.colours)
    }

    /// The augmentation that undoes this one.
    #[must_use]
    pub fn inverse(&self) -> Self {
        let mut colours = [0; 10];
        for (old, &new) in self.colours.iter().enumerate() {
            colours[usize::from(new)] = old as u8;
        }
        Self {
            symmetry: self.symmetry.inverse(),
            colours,
        }
    }

    /// The task with all its grids augmented; its name stays.
    pub fn apply_task(&self, task: &ArcTask) -> ArcTask {
        let pair = |pair: &Pair| Pair {
            input: self.apply(&pair.input),
            output: pair.output.as_ref().map(|grid| self.apply(grid)),
        };
        ArcTask {
            id: task.id.clone(),
            train: task.train.iter().map(pair).collect(),
            test: task.test.iter().map(pair).collect(),
        }
    }

    /// The name of a task's puzzle under this augmentation; the identity's is the task's own.
    pub fn name(&self, id: &str, style: NameStyle) -> String {
        if *self == Self::IDENTITY {
            return id.to_owned();
        }
        let separator = style.separator();
        let digits: String = self.colours.iter().map(|c| char::from(b'0' + c)).collect();
        format!("{id}{separator}t{}{separator}{digits}", self.symmetry.id())
    }

    /// Takes a puzzle's name apart into its task's name and its augmentation. A name that does not end in an
    /// augmentation is a task's own.
    ///
    /// # Errors
    /// [`DataError::ArcColours`] if it ends in ten digits that are no permutation keeping 0.
    pub fn parse_name(name: &str, style: NameStyle) -> Result<(&str, Self), DataError> {
        let separator = style.separator();
        let own = Ok((name, Self::IDENTITY));
        let Some((head, digits)) = name.rsplit_once(separator) else {
            return own;
        };
        let Some((id, symmetry)) = head.rsplit_once(separator) else {
            return own;
        };
        let symmetry = match symmetry.as_bytes() {
            [b't', digit @ b'0'..=b'7'] => Dihedral::from_id(digit - b'0'),
            _ => None,
        };
        let Some(symmetry) = symmetry else { return own };
        let Ok(digits) = <[u8; 10]>::try_from(digits.as_bytes()) else {
            return own;
        };
        if !digits.iter().all(u8::is_ascii_digit) {
            return own;
        }
        Self::new(symmetry, digits.map(|digit| digit - b'0')).map(|augmentation| (id, augmentation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    proptest! {
        #[test]
        fn a_code_means_one_augmentation(code in 0u32..8 * 362_880) {
            let augmentation = ArcAugmentation::from_code(code).unwrap();
            prop_assert_eq!(augmentation.code(), code);
            prop_assert!(ArcAugmentation::new(augmentation.symmetry, augmentation.colours).is_ok());
        }

        #[test]
        fn the_inverse_gives_the_grid_back(
            seed: u64, height in 1usize..=30, width in 1usize..=30,
        ) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let cells = (0..height * width).map(|_| rng.random_range(0..10)).collect();
            let grid = Grid::new(height, width, cells).unwrap();
            let augmentation = ArcAugmentation::sample(&mut rng);
            prop_assert_eq!(augmentation.inverse().apply(&augmentation.apply(&grid)), grid);
            for style in [NameStyle::Hrm, NameStyle::Trm] {
                let name = augmentation.name("a_b|||c", style);
                let parsed = ArcAugmentation::parse_name(&name, style).unwrap();
                prop_assert_eq!(parsed, ("a_b|||c", augmentation));
            }
        }
    }

    #[test]
    fn names_are_those_of_the_builders() {
        let augmentation =
            ArcAugmentation::new(Dihedral::FlipUpDown, [0, 9, 8, 7, 6, 5, 4, 3, 2, 1]).unwrap();
        assert_eq!(
            augmentation.name("007bbfb7", NameStyle::Hrm),
            "007bbfb7_t5_0987654321"
        );
        assert_eq!(
            augmentation.name("007bbfb7", NameStyle::Trm),
            "007bbfb7|||t5|||0987654321"
        );
        assert_eq!(
            ArcAugmentation::IDENTITY.name("007bbfb7", NameStyle::Trm),
            "007bbfb7"
        );
    }

    #[test]
    fn names_without_an_augmentation_are_tasks() {
        for name in [
            "007bbfb7",
            "a_t8_0123456789",
            "a_t1_012345678",
            "a_b_c",
            "",
            "_",
            "a_t1_012345678x",
        ] {
            assert_eq!(
                ArcAugmentation::parse_name(name, NameStyle::Hrm).unwrap(),
                (name, ArcAugmentation::IDENTITY)
            );
        }
        let error = ArcAugmentation::parse_name("a_t1_1023456789", NameStyle::Hrm).unwrap_err();
        assert_eq!(
            error.to_string(),
            "expected a permutation of the colours 0 to 9 that keeps 0, \
             found [1, 0, 2, 3, 4, 5, 6, 7, 8, 9]"
        );
    }

    #[test]
    fn the_identity_has_code_0_and_the_codes_end_at_8_times_9_factorial() {
        assert_eq!(ArcAugmentation::IDENTITY.code(), 0);
        assert_eq!(ArcAugmentation::from_code(8 * 362_880), None);
        assert_eq!(ArcAugmentation::from_code(u32::MAX), None);
    }
}
