//! What of a model stays as it is in a training that starts from weights at hand.

use burn::module::Module;
use hrm_core::{Hrm, HrmConfig, WeightRole};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;

/// Weights that a run leaves as they are: they get no gradient, no update, no weight decay and no average.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Freeze {
    /// None: all are trained.
    #[default]
    Nothing,
    /// All but the puzzle table (TRM's `freeze_weights`): new puzzles are learned by their rows alone.
    AllButPuzzles,
    /// The slow level.
    HLevel,
    /// The fast level.
    LLevel,
    /// Both levels, or the shared one: embeddings and heads are trained.
    Levels,
}

impl Freeze {
    /// Whether the dense optimizer trains the weight of an official name.
    pub fn trains(self, name: &str, role: WeightRole) -> bool {
        let h = name.starts_with("H_level.");
        let l = name.starts_with("L_level.");
        let frozen = match self {
            Self::Nothing => false,
            Self::AllButPuzzles => true,
            Self::HLevel => h,
            Self::LLevel => l,
            Self::Levels => h || l,
        };
        role == WeightRole::Dense && !frozen
    }

    /// The model with gradients for what is trained only.
    pub(crate) fn apply(self, mut model: Hrm) -> Hrm {
        if self == Self::AllButPuzzles {
            return model.no_grad();
        }
        if matches!(self, Self::HLevel | Self::Levels) {
            model.h_level = model.h_level.map(Module::no_grad);
        }
        if matches!(self, Self::LLevel | Self::Levels) {
            model.l_level = model.l_level.no_grad();
        }
        model
    }

    /// Refuses what the model doesn't have.
    pub(crate) fn check(self, model: &HrmConfig) -> Result<(), TrainError> {
        let shared = matches!(model.levels, hrm_core::Levels::Shared { .. });
        let expected = match self {
            Self::AllButPuzzles if model.puzzle_embedding.is_none() => {
                "another than all_but_puzzles, as the model has no puzzle table"
            }
            Self::HLevel | Self::LLevel if shared => {
                "levels, as the model has one level for both roles"
            }
            _ => return Ok(()),
        };
        let found = match self {
            Self::AllButPuzzles => "all_but_puzzles",
            Self::HLevel => "h_level",
            _ => "l_level",
        };
        Err(TrainError::Field {
            field: "freeze",
            expected,
            found: found.to_owned(),
        })
    }
}
