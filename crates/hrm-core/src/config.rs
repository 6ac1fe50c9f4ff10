//! What makes a model: sizes, and the four choices in which HRM and TRM differ.

use burn::tensor::FloatDType;
use serde::{Deserialize, Serialize};

use crate::error::ConfigError;

/// Sizes that come with the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    /// Cells of a puzzle, S.
    pub seq_len: usize,
    /// Number of token ids, V.
    pub vocab_size: usize,
    /// Rows of the puzzle table; id 0 is the blank puzzle.
    pub num_puzzle_ids: usize,
}

/// The networks that play the roles of the slow level H and the fast level L.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Levels {
    /// HRM: a network of its own for each level.
    Separate {
        /// Blocks of the slow level.
        h_layers: usize,
        /// Blocks of the fast level.
        l_layers: usize,
    },
    /// TRM: one network plays both roles.
    Shared {
        /// Blocks of the level.
        layers: usize,
    },
}

/// How much of the recurrence is differentiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GradientSpan {
    /// HRM's one-step gradient: the very last update of each level. Memory doesn't grow with the cycles.
    LastUpdate,
    /// TRM: the whole last outer cycle, `l_cycles` updates of z_L and one of z_H.
    LastCycle,
}

/// How the positions of a sequence exchange information.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MixerKind {
    /// Full multi-head attention.
    Attention,
    /// A SwiGLU over the positions (TRM's `mlp_t`), for short sequences of a fixed length.
    Mlp,
}

/// How a position is told from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PositionKind {
    /// Rotary angles on queries and keys.
    Rope,
    /// A learned table added to the input.
    Learned,
    /// None: the MLP mixer knows the positions by itself.
    None,
}

/// What the q head decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HaltHead {
    /// HRM: halt when q_halt > q_continue; q_continue is learned from a bootstrapped target.
    QLearning,
    /// TRM: halt when q_halt > 0; q_continue is not trained.
    HaltOnly,
}

/// The number type of the computation. Weights, norms, q values and losses are f32 whatever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComputeType {
    /// 32-bit floats.
    #[default]
    F32,
    /// bfloat16, the published setting on GPUs.
    Bf16,
    /// 16-bit floats, for inference only.
    F16,
}

impl ComputeType {
    /// The type of its tensors; a [`DType`](burn::tensor::DType) is made of it by `into`.
    pub fn float_type(self) -> FloatDType {
        match self {
            Self::F32 => FloatDType::F32,
            Self::Bf16 => FloatDType::BF16,
            Self::F16 => FloatDType::F16,
        }
    }
}

/// Embedding of the puzzle's identity, placed in front of its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PuzzleEmbeddingConfig {
    /// Values of one row, E.
    pub dim: usize,
    /// Positions that a row is padded to, P; `None` takes as few as hold `dim` values.
    #[serde(default)]
    pub positions: Option<usize>,
}

/// Configuration of an [`Hrm`](crate::Hrm).
///
/// [`HrmConfig::hrm`] and [`HrmConfig::trm`] give the published models; every field may be changed afterwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HrmConfig {
    /// Cells of a puzzle, S.
    pub seq_len: usize,
    /// Number of token ids, V.
    pub vocab_size: usize,
    /// Rows of the puzzle table; id 0 is the blank puzzle.
    pub num_puzzle_ids: usize,
    /// Width of the residual stream, D.
    pub hidden_size: usize,
    /// Attention heads.
    pub num_heads: usize,
    /// A SwiGLU is `expansion * 2/3` times as wide as its input, rounded up to a multiple of 256.
    pub expansion: f64,
    /// One network for each level, or one for both.
    pub levels: Levels,
    /// Which updates are differentiated.
    pub gradient: GradientSpan,
    /// Attention, or an MLP over the positions.
    pub mixer: MixerKind,
    /// Position information.
    pub position: PositionKind,
    /// Outer cycles of a segment, N: updates of z_H.
    pub h_cycles: usize,
    /// Updates of z_L in each outer cycle, T.
    pub l_cycles: usize,
    /// Puzzle embedding; `None` turns it off.
    pub puzzle_embedding: Option<PuzzleEmbeddingConfig>,
    /// What the q head decides.
    pub halt_head: HaltHead,
    /// Number type of the computation.
    #[serde(default)]
    pub compute: ComputeType,
}

/// Largest size of any dimension, a bound against nonsense from files.
const MAX_DIM: usize = 1 << 20;
/// Largest number of puzzle ids.
const MAX_PUZZLE_IDS: usize = 1 << 26;
/// Longest sequence. Its rotary table is made whatever the weights are, so a small file must not ask for a large one.
const MAX_LEN: usize = 1 << 16;
/// Most dense parameters, and most values of the puzzle table; all, where a number holds no more.
const MAX_VALUES: usize = match 1usize.checked_shl(40) {
    Some(limit) => limit,
    None => usize::MAX - 1,
};

impl HrmConfig {
    /// The published HRM (section "Hierarchical Reasoning Model" of the paper): width 512, 4 + 4 blocks, 2 x 2 cycles,
    /// rotary positions, one-step gradient, 27 million parameters on Sudoku.
    pub fn hrm(sizes: Sizes) -> Self {
        Self {
            seq_len: sizes.seq_len,
            vocab_size: sizes.vocab_size,
            num_puzzle_ids: sizes.num_puzzle_ids,
            hidden_size: 512,
            num_heads: 8,
            expansion: 4.0,
            levels: Levels::Separate {
                h_layers: 4,
                l_layers: 4,
            },
            gradient: GradientSpan::LastUpdate,
            mixer: MixerKind::Attention,
            position: PositionKind::Rope,
            h_cycles: 2,
            l_cycles: 2,
            puzzle_embedding: Some(PuzzleEmbeddingConfig {
                dim: 512,
                positions: None,
            }),
            halt_head: HaltHead::QLearning,
            compute: ComputeType::F32,
        }
    }

    /// The published TRM with attention: one shared level of 2 blocks, 3 x 6 cycles, gradient through the last cycle,
    /// 16 puzzle positions (arXiv 2510.04871).
    pub fn trm(sizes: Sizes) -> Self {
        Self {
            levels: Levels::Shared { layers: 2 },
            gradient: GradientSpan::LastCycle,
            h_cycles: 3,
            l_cycles: 6,
            puzzle_embedding: Some(PuzzleEmbeddingConfig {
                dim: 512,
                positions: Some(16),
            }),
            halt_head: HaltHead::HaltOnly,
            ..Self::hrm(sizes)
        }
    }

    /// The published TRM with an MLP over the positions, the better one on Sudoku (arXiv 2510.04871).
    pub fn trm_mlp(sizes: Sizes) -> Self {
        Self {
            mixer: MixerKind::Mlp,
            position: PositionKind::None,
            ..Self::trm(sizes)
        }
    }

    /// Puzzle positions in front of the cells, P.
    pub fn puzzle_len(&self) -> usize {
        self.puzzle_embedding.map_or(0, |puzzle| {
            puzzle
                .positions
                .unwrap_or_else(|| puzzle.dim.div_ceil(self.hidden_size.max(1)))
        })
    }

    /// Sequence length L = P + S.
    pub fn total_len(&self) -> usize {
        self.puzzle_len().saturating_add(self.seq_len)
    }

    /// Width of one head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_heads.max(1)
    }

    /// The sizes that come with the data.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            seq_len: self.seq_len,
            vocab_size: self.vocab_size,
            num_puzzle_ids: self.num_puzzle_ids,
        }
    }

    /// Inner width of a SwiGLU over `width` values: the next multiple of 256 of `round(expansion * width * 2/3)`.
    pub fn swiglu_width(&self, width: usize) -> usize {
        let wanted = (self.expansion * width as f64 * 2.0 / 3.0).round() as usize;
        wanted.div_ceil(256).saturating_mul(256)
    }

    /// Blocks of the slow level (0 where the levels are shared) and of the fast or shared one.
    pub fn layers(&self) -> (usize, usize) {
        match self.levels {
            Levels::Separate { h_layers, l_layers } => (h_layers, l_layers),
            Levels::Shared { layers } => (0, layers),
        }
    }

    /// Trained dense parameters: all but the puzzle table and the initial states. `usize::MAX` where there are more than a
    /// number holds.
    pub fn num_parameters(&self) -> usize {
        let d = self.hidden_size;
        let product = |factors: &[usize]| {
            let times = |product: usize, &factor: &usize| product.saturating_mul(factor);
            factors.iter().fold(1, times)
        };
        let mixer = match self.mixer {
            MixerKind::Attention => product(&[4, d, d]),
            MixerKind::Mlp => {
                let len = self.total_len();
                product(&[3, len, self.swiglu_width(len)])
            }
        };
        let block = mixer.saturating_add(product(&[3, d, self.swiglu_width(d)]));
        let (h, l) = self.layers();
        let learned = match self.position {
            PositionKind::Learned => product(&[self.total_len(), d]),
            PositionKind::Rope | PositionKind::None => 0,
        };
        [
            product(&[2, self.vocab_size, d]),
            product(&[2, d]),
            2,
            learned,
            product(&[h.saturating_add(l), block]),
        ]
        .into_iter()
        .fold(0, usize::saturating_add)
    }

    /// Checks every field against the others.
    ///
    /// # Errors
    /// The first field that describes no model.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let (h, l) = self.layers();
        let mut positive = vec![
            ("seq_len", self.seq_len),
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_heads", self.num_heads),
            ("h_cycles", self.h_cycles),
            ("l_cycles", self.l_cycles),
            ("levels.layers", l),
        ];
        if let Levels::Separate { .. } = self.levels {
            positive.push(("levels.h_layers", h));
        }
        if let Some(puzzle) = &self.puzzle_embedding {
            positive.push(("puzzle_embedding.dim", puzzle.dim));
            positive.push(("num_puzzle_ids", self.num_puzzle_ids));
        }
        for (field, found) in positive {
            if found == 0 {
                return Err(ConfigError::Zero { field });
            }
            let limit = match field {
                "num_puzzle_ids" => MAX_PUZZLE_IDS,
                _ => MAX_DIM,
            };
            if found > limit {
                return Err(ConfigError::TooLarge {
                    field,
                    found,
                    limit,
                });
            }
        }
        if !self.hidden_size.is_multiple_of(self.num_heads) || !self.head_dim().is_multiple_of(2) {
            return Err(ConfigError::Heads {
                num_heads: self.num_heads,
                hidden_size: self.hidden_size,
            });
        }
        if !(self.expansion > 0.0 && self.expansion <= 1024.0) {
            return Err(ConfigError::Expansion {
                found: self.expansion,
            });
        }
        if let Some(PuzzleEmbeddingConfig {
            dim,
            positions: Some(positions),
        }) = self.puzzle_embedding
        {
            if positions.saturating_mul(self.hidden_size) < dim {
                return Err(ConfigError::PuzzlePositions {
                    dim,
                    hidden_size: self.hidden_size,
                    needed: dim.div_ceil(self.hidden_size),
                    positions,
                });
            }
            if positions > MAX_DIM {
                return Err(ConfigError::TooLarge {
                    field: "puzzle_embedding.positions",
                    found: positions,
                    limit: MAX_DIM,
                });
            }
        }
        let dim = self.puzzle_embedding.map_or(0, |puzzle| puzzle.dim);
        let table = self.num_puzzle_ids.saturating_mul(dim);
        for (field, found, limit) in [
            ("seq_len + puzzle positions", self.total_len(), MAX_LEN),
            ("parameters", self.num_parameters(), MAX_VALUES),
            ("num_puzzle_ids * puzzle_embedding.dim", table, MAX_VALUES),
        ] {
            if found > limit {
                return Err(ConfigError::TooLarge {
                    field,
                    found,
                    limit,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUDOKU: Sizes = Sizes {
        seq_len: 81,
        vocab_size: 11,
        num_puzzle_ids: 1,
    };

    #[test]
    fn swiglu_widths_by_hand() {
        let config = HrmConfig::hrm(SUDOKU);
        assert_eq!(config.swiglu_width(512), 1536); // 1365.3 -> 1536
        assert_eq!(config.swiglu_width(97), 512); // 258.7 -> 512
        assert_eq!(config.swiglu_width(96), 256); // 256 exactly
    }

    #[test]
    fn published_hrm_has_27_million_parameters() {
        assert_eq!(HrmConfig::hrm(SUDOKU).num_parameters(), 27_275_266);
    }

    #[test]
    fn puzzle_positions_hold_the_embedding() {
        let mut config = HrmConfig::hrm(SUDOKU);
        config.puzzle_embedding = Some(PuzzleEmbeddingConfig {
            dim: 513,
            positions: None,
        });
        assert_eq!(config.puzzle_len(), 2);
        config.puzzle_embedding = Some(PuzzleEmbeddingConfig {
            dim: 513,
            positions: Some(1),
        });
        assert!(matches!(
            config.validate(),
            Err(ConfigError::PuzzlePositions { needed: 2, .. })
        ));
        assert_eq!(HrmConfig::trm_mlp(SUDOKU).total_len(), 97);
    }

    #[test]
    fn nonsense_is_named() {
        let bad = |change: fn(&mut HrmConfig)| {
            let mut config = HrmConfig::hrm(SUDOKU);
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert!(bad(|c| c.num_heads = 7).contains("num_heads"));
        assert!(bad(|c| c.h_cycles = 0).contains("h_cycles"));
        assert!(bad(|c| c.expansion = f64::NAN).contains("expansion"));
        assert!(bad(|c| c.seq_len = usize::MAX).contains("seq_len"));
        assert!(bad(|c| c.hidden_size = 0).contains("hidden_size"));
        assert!(bad(|c| c.num_heads = 0).contains("num_heads"));
        assert!(bad(|c| (c.hidden_size, c.num_heads) = (6, 2)).contains("an even width"));
        assert!(bad(|c| c.expansion = 0.0).contains("expansion"));
        assert!(bad(|c| c.num_puzzle_ids = 0).contains("num_puzzle_ids"));
        let levels = |c: &mut HrmConfig| c.levels = Levels::Shared { layers: 0 };
        assert!(bad(levels).contains("`levels.layers`"));
        let h_layers = |c: &mut HrmConfig| {
            c.levels = Levels::Separate {
                h_layers: 0,
                l_layers: 1,
            };
        };
        assert!(bad(h_layers).contains("`levels.h_layers`"));
        let l_layers = |c: &mut HrmConfig| {
            c.levels = Levels::Separate {
                h_layers: 1,
                l_layers: 0,
            };
        };
        assert!(bad(l_layers).contains("`levels.layers`"));
        let row = |c: &mut HrmConfig| {
            c.puzzle_embedding = Some(PuzzleEmbeddingConfig {
                dim: 0,
                positions: None,
            });
        };
        assert!(bad(row).contains("puzzle_embedding.dim"));
    }

    #[test]
    fn sizes_that_no_memory_holds_are_errors_and_overflow_nothing() {
        let bad = |change: fn(&mut HrmConfig)| {
            let mut config = HrmConfig::hrm(SUDOKU);
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert_eq!(
            bad(|c| c.seq_len = 1 << 16),
            "`seq_len + puzzle positions` = 65537 is more than the 65536 that are supported"
        );
        let positions = |c: &mut HrmConfig| {
            c.puzzle_embedding = Some(PuzzleEmbeddingConfig {
                dim: 512,
                positions: Some(1 << 20),
            });
        };
        assert!(bad(positions).starts_with("`seq_len + puzzle positions` = 1048657"));
        let wide = |c: &mut HrmConfig| {
            c.hidden_size = 1 << 20;
            c.expansion = 1024.0;
            c.levels = Levels::Shared { layers: 1 << 20 };
        };
        assert!(bad(wide).starts_with("`parameters` = "));
        let table = |c: &mut HrmConfig| {
            c.num_puzzle_ids = 1 << 26;
            c.puzzle_embedding = Some(PuzzleEmbeddingConfig {
                dim: 1 << 20,
                positions: None,
            });
        };
        assert!(bad(table).contains("num_puzzle_ids * puzzle_embedding.dim"));

        let huge = HrmConfig {
            hidden_size: usize::MAX,
            seq_len: usize::MAX,
            ..HrmConfig::trm_mlp(SUDOKU)
        };
        assert_eq!(huge.num_parameters(), usize::MAX);
        assert!(huge.validate().is_err());
        let none = HrmConfig {
            hidden_size: 0,
            num_heads: 0,
            ..HrmConfig::hrm(SUDOKU)
        };
        assert_eq!((none.puzzle_len(), none.head_dim()), (512, 0));
    }
}
