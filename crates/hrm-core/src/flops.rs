//! Counted work: the multiplications and additions of the matrix products, for rates in GFLOP/s.

use crate::config::{GradientSpan, HaltHead, HrmConfig, Levels, MixerKind};

/// Floating-point operations of one puzzle. Products count two each; norms, softmax and the like are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flops {
    /// One segment without gradient, heads included.
    pub segment: u64,
    /// One training step: the segment, the backward pass of its differentiated updates and heads (twice their forward
    /// work), and the segment of the q target where there is one.
    pub training_step: u64,
}

impl HrmConfig {
    /// Counts the work of one puzzle, of a configuration that [`HrmConfig::validate`] accepts. `max_segments` says whether training has a
    /// q target (M > 1).
    pub fn flops(&self, max_segments: u32) -> Flops {
        let (d, l) = (self.hidden_size as u64, self.total_len() as u64);
        let swiglu = |width: usize| 6 * width as u64 * self.swiglu_width(width) as u64;
        let mixer = match self.mixer {
            // Projections of every position, then scores and values over all pairs.
            MixerKind::Attention => l * 8 * d * d + 4 * l * l * d,
            MixerKind::Mlp => d * swiglu(self.total_len()),
        };
        let block = mixer + l * swiglu(self.hidden_size);
        let (h_layers, l_layers) = match self.levels {
            Levels::Separate { h_layers, l_layers } => (h_layers, l_layers),
            Levels::Shared { layers } => (layers, layers),
        };
        let (slow, fast) = (h_layers as u64 * block, l_layers as u64 * block);
        let (n, t) = (self.h_cycles as u64, self.l_cycles as u64);
        let updates = n * (t * fast + slow);
        let heads = 2 * d * (self.seq_len * self.vocab_size + 2) as u64;
        let tracked = match self.gradient {
            GradientSpan::LastUpdate => fast + slow,
            GradientSpan::LastCycle => t * fast + slow,
        };
        let target = match self.halt_head {
            HaltHead::QLearning if max_segments > 1 => updates + 4 * d,
            _ => 0,
        };
        Flops {
            segment: updates + heads,
            training_step: updates + heads + 2 * (tracked + heads) + target,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{HrmConfig, Levels, PuzzleEmbeddingConfig, Sizes};

    const SIZES: Sizes = Sizes {
        seq_len: 3,
        vocab_size: 5,
        num_puzzle_ids: 1,
    };

    #[test]
    fn a_tiny_model_counted_by_hand() {
        let config = HrmConfig {
            hidden_size: 4,
            num_heads: 1,
            levels: Levels::Separate {
                h_layers: 1,
                l_layers: 2,
            },
            h_cycles: 2,
            l_cycles: 3,
            puzzle_embedding: None,
            ..HrmConfig::hrm(SIZES)
        };
        // 3 positions of width 4, inner width 256. A block: projections 3 * 2 * 4 * 4 * 4 = 384, scores and values
        // 2 * (2 * 3 * 3 * 4) = 144, SwiGLU 3 * 2 * 3 * 4 * 256 = 18432.
        let block = 384 + 144 + 18_432;
        // 2 cycles of 3 fast updates (2 blocks) and 1 slow one (1 block): 14 blocks. Heads: 3 * 2 * 5 * 4 + 2 * 2 * 4.
        let heads = 120 + 16;
        let flops = config.flops(16);
        assert_eq!(flops.segment, 14 * block + heads);
        // Backward: twice the last fast and the last slow update. Target: another 14 blocks and the q head.
        let without_target = 14 * block + heads + 2 * (3 * block + heads);
        assert_eq!(flops.training_step, without_target + 14 * block + 16);
        assert_eq!(config.flops(1).segment, flops.segment);
        assert_eq!(config.flops(1).training_step, without_target);
    }

    #[test]
    fn a_tiny_trm_counted_by_hand() {
        let config = HrmConfig {
            hidden_size: 4,
            num_heads: 1,
            expansion: 90.0,
            puzzle_embedding: Some(PuzzleEmbeddingConfig {
                dim: 4,
                positions: Some(2),
            }),
            ..HrmConfig::trm_mlp(SIZES)
        };
        // 5 positions of width 4, inner widths 512 of 90 * 5 * 2/3 = 300 and 256 of 90 * 4 * 2/3 = 240. A block: a SwiGLU over
        // the positions of 4 columns, 4 * 3 * 2 * 5 * 512 = 61440, and one over each position, 5 * 3 * 2 * 4 * 256 = 30720.
        let block = 61_440 + 30_720;
        // 3 cycles of 6 fast updates and 1 slow one, all of the same 2 blocks: 42. Heads: 3 * 2 * 5 * 4 + 2 * 2 * 4.
        let heads = 120 + 16;
        let flops = config.flops(16);
        assert_eq!(flops.segment, 42 * block + heads);
        // Backward: twice the last cycle. No target.
        let backward = 2 * (14 * block + heads);
        assert_eq!(flops.training_step, 42 * block + heads + backward);
    }
}
