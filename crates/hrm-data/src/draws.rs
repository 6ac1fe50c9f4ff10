//! Random draws addressed by (seed, stream, counter): any draw can be made again without making
//! those before it, so a position is restored in O(1).

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The generator behind one draw.
pub(crate) type DrawRng = ChaCha8Rng;

/// What a draw is for; draws for different purposes never share random numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stream {
    /// Order of the groups; counted by epoch.
    Order = 0,
    /// Puzzle and examples taken from a group; counted by groups drawn.
    Puzzle = 1,
    /// Augmentation of an example; counted by examples drawn.
    Augmentation = 2,
    /// Exploration of a batch; counted by batches.
    Exploration = 3,
}

/// All draws of a seed.
#[derive(Clone, Debug)]
pub(crate) struct Draws {
    base: ChaCha8Rng,
}

impl Draws {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            base: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// The generator of draw number `counter` (below 2^61) of a stream, at its start.
    pub(crate) fn at(&self, stream: Stream, counter: u64) -> DrawRng {
        let mut rng = self.base.clone();
        rng.set_stream(counter << 3 | stream as u64);
        rng
    }
}
