//! The slots of one checkpoint: what is on the device, and what the host knows of each row.
//!
//! Rows come and go by gathering: the rows that stay and the new ones, side by side, then the wanted ones in their places.
//! No arithmetic touches a row that stays. The batch has few sizes only (the slots halved again and again), so that a
//! device which prepares kernels for each size is done after the first few.

use burn::tensor::{Device, Int, Tensor, TensorData, Transaction};
use hrm_core::ops::on_pool;
use hrm_core::{HaltHead, Hrm, LatentState, truncated_normal};

use super::config::HaltRule;
use super::error::{ReasonError, device_error};
use super::symmetry::generator;

/// An attempt waiting for a slot.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The puzzle that it belongs to.
    pub ticket: u64,
    /// Number of the attempt among those of this checkpoint.
    pub number: u32,
    /// `[S]`, the view.
    pub inputs: Vec<u8>,
    /// Of the view.
    pub puzzle_id: u32,
    /// Seed, stream and standard deviation of the noise on the initial states.
    pub noise: Option<(u64, u32, f32)>,
}

/// An attempt being thought about.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    /// The puzzle that it belongs to.
    pub ticket: u64,
    /// Number of the attempt among those of this checkpoint.
    pub number: u32,
    /// Segments made.
    pub segments: u32,
    /// The answer after the last segment; empty unless answers are read after every segment.
    pub tokens: Vec<u8>,
    /// Segments since the answer last changed.
    pub unchanged: u32,
    /// Answers of the view, where a trace is kept.
    pub trace: Vec<Vec<u8>>,
    /// q_halt after the same segments.
    pub trace_q_halt: Vec<f32>,
}

/// What the host must know of the rows after a segment, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wanted {
    /// Nothing: all go on to their last segment.
    Nothing,
    /// The q values.
    QValues,
    /// Every row's answer.
    Answers,
}

impl Wanted {
    /// What a rule looks at.
    pub fn by(halt: HaltRule) -> Self {
        match halt {
            HaltRule::Fixed => Self::Nothing,
            HaltRule::QHalt | HaltRule::Likely => Self::QValues,
            HaltRule::Stable { .. } | HaltRule::Verified => Self::Answers,
        }
    }
}

/// A row as read off the device after its last segment, or after any where all are read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    /// `[S]`, of the view.
    pub tokens: Vec<u8>,
    pub q_halt: f32,
    pub q_continue: f32,
}

/// What the segment just made says of the rows, before anyone is told to stop.
pub(super) enum Readings {
    /// Every row's answer: `[B]`.
    All(Vec<Reading>),
    /// The q values of every row, answers not read: `[B]`.
    QValues(Vec<(f32, f32)>),
    /// Nothing read.
    None,
}

/// The tensors of the rows.
#[derive(Debug)]
struct Rows {
    /// `[B, L, D]`.
    x: Tensor<3>,
    latent: LatentState,
}

/// The slots of one checkpoint.
#[derive(Debug)]
pub(super) struct Lane<'a> {
    model: &'a Hrm,
    device: Device,
    most: usize,
    /// `[B]`; none where a row only fills the batch up.
    pub slots: Vec<Option<Slot>>,
    rows: Option<Rows>,
}

impl<'a> Lane<'a> {
    pub fn new(model: &'a Hrm, most: usize) -> Self {
        Self {
            model,
            device: model.device(),
            most,
            slots: Vec::new(),
            rows: None,
        }
    }

    pub fn live(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    /// Slots that may take an attempt.
    pub fn free(&self) -> usize {
        self.most - self.live()
    }

    /// Gives the entries, at most as many as are free, a row each; makes the batch as small as holds all.
    ///
    /// # Panics
    /// If there are more entries than free slots.
    pub fn place(&mut self, entries: &[Entry]) {
        assert!(
            entries.len() <= self.free(),
            "more attempts than free slots"
        );
        let live = self.live();
        let size = batch_size(self.most, live + entries.len());
        if size == 0 {
            self.slots.clear();
            self.rows = None;
            return;
        }
        if live == 0 {
            self.slots.clear();
            self.rows = None;
        }
        let old = self.slots.len();
        if entries.is_empty() && size == old {
            return;
        }
        let mut slots: Vec<Option<Slot>> = Vec::with_capacity(size);
        // Row of the old batch, or old + row of the new ones, that each row of the batch is taken from.
        let mut source: Vec<i32> = Vec::with_capacity(size);
        if size == old {
            slots.append(&mut self.slots);
            source.extend((0..old).map(|row| row as i32));
        } else {
            for (row, slot) in self.slots.drain(..).enumerate() {
                if slot.is_some() {
                    slots.push(slot);
                    source.push(row as i32);
                }
            }
            slots.resize(size, None);
            // What only fills up is a copy of a row that is there.
            source.resize(size, source.first().copied().unwrap_or(old as i32));
        }
        let mut free = 0;
        for (number, entry) in entries.iter().enumerate() {
            while slots[free].is_some() {
                free += 1;
            }
            slots[free] = Some(Slot {
                ticket: entry.ticket,
                number: entry.number,
                segments: 0,
                tokens: Vec::new(),
                unchanged: 0,
                trace: Vec::new(),
                trace_q_halt: Vec::new(),
            });
            source[free] = (old + number) as i32;
        }
        self.slots = slots;
        let new = (!entries.is_empty()).then(|| self.fresh(entries));
        let rows = match (self.rows.take(), new) {
            (Some(old), Some(new)) => old.beside(new),
            (Some(old), None) => old,
            (None, new) => {
                // The new rows are the batch, filled up already.
                self.rows = new;
                return;
            }
        };
        let source = Tensor::from_data(TensorData::new(source, [size]), &self.device);
        self.rows = Some(rows.take(&source));
    }

    /// The initial rows of the entries, filled up to one of the batch sizes by the last entry.
    fn fresh(&self, entries: &[Entry]) -> Rows {
        let config = self.model.config();
        let (s, l, d) = (config.seq_len, config.total_len(), config.hidden_size);
        let n = batch_size(self.most, entries.len());
        let filled = || {
            let last = entries.len() - 1;
            (0..n).map(move |row| &entries[row.min(last)])
        };
        let inputs: Vec<i32> = filled()
            .flat_map(|entry| entry.inputs.iter().map(|&token| i32::from(token)))
            .collect();
        // Checked to be below the rows of the table, at most 2^26; without a table no one looks at them.
        let ids: Vec<i32> = filled().map(|entry| entry.puzzle_id as i32).collect();
        let inputs: Tensor<2, Int> =
            Tensor::from_data(TensorData::new(inputs, [n, s]), &self.device);
        let ids: Tensor<1, Int> = Tensor::from_data(TensorData::new(ids, [n]), &self.device);
        let LatentState { mut z_h, mut z_l } = self.model.initial_state();
        z_h = z_h.expand([n, l, d]);
        z_l = z_l.expand([n, l, d]);
        if entries.iter().any(|entry| entry.noise.is_some()) {
            let (mut on_h, mut on_l) = (Vec::new(), Vec::new());
            for entry in filled() {
                match entry.noise {
                    Some((seed, stream, std)) => {
                        let rng = &mut generator(seed, stream);
                        on_h.extend(truncated_normal(l * d, f64::from(std), rng));
                        on_l.extend(truncated_normal(l * d, f64::from(std), rng));
                    }
                    None => {
                        on_h.resize(on_h.len() + l * d, 0.0);
                        on_l.resize(on_l.len() + l * d, 0.0);
                    }
                }
            }
            let noise = |values: Vec<f32>, z: &Tensor<3>| {
                let noise: Tensor<3> =
                    Tensor::from_data(TensorData::new(values, [n, l, d]), &self.device);
                noise.cast(z.dtype())
            };
            z_h = z_h.clone() + noise(on_h, &z_h);
            z_l = z_l.clone() + noise(on_l, &z_l);
        }
        Rows {
            x: self.model.embed(inputs, self.model.puzzle_rows(ids)),
            latent: LatentState { z_h, z_l },
        }
    }

    /// One segment of every row, and as much of its outcome as is wanted on the host.
    pub fn advance(&mut self, wanted: Wanted) -> Result<Readings, ReasonError> {
        let Some(Rows { x, latent }) = self.rows.take() else {
            return Ok(Readings::None);
        };
        let model = self.model;
        let latent = on_pool(&x.device(), || model.advance(latent, x.clone()));
        let z_h = latent.z_h.clone();
        self.rows = Some(Rows { x, latent });
        for slot in self.slots.iter_mut().flatten() {
            slot.segments += 1;
        }
        match wanted {
            Wanted::Answers => Ok(Readings::All(read(self.model, z_h)?)),
            Wanted::QValues => {
                let (q_halt, q_continue) = self.model.q_values(z_h);
                let values = Tensor::cat(vec![q_halt, q_continue], 0)
                    .try_into_vec_as::<f32>()
                    .map_err(device_error)?;
                let (q_halt, q_continue) = values.split_at(self.slots.len());
                let pairs = q_halt.iter().copied().zip(q_continue.iter().copied());
                Ok(Readings::QValues(pairs.collect()))
            }
            Wanted::Nothing => Ok(Readings::None),
        }
    }

    /// Whether the q head wants to stop, by a rule that asks it alone.
    pub fn wants_halt(&self, rule: HaltRule, q_halt: f32, q_continue: f32) -> bool {
        match (rule, self.model.config().halt_head) {
            (HaltRule::Likely, _) | (HaltRule::QHalt, HaltHead::HaltOnly) => q_halt > 0.0,
            (HaltRule::QHalt, HaltHead::QLearning) => q_halt > q_continue,
            (HaltRule::Fixed | HaltRule::Stable { .. } | HaltRule::Verified, _) => false,
        }
    }

    /// Reads some rows, in the order given.
    pub fn read_rows(&self, wanted: &[usize]) -> Result<Vec<Reading>, ReasonError> {
        let (Some(rows), Some(&last)) = (&self.rows, wanted.last()) else {
            return Ok(Vec::new());
        };
        let size = batch_size(self.most, wanted.len());
        let z_h = rows.latent.z_h.clone();
        let z_h = if wanted.len() == self.slots.len() {
            z_h
        } else {
            let mut index: Vec<i32> = wanted.iter().map(|&row| row as i32).collect();
            index.resize(size, last as i32);
            z_h.select(
                0,
                Tensor::from_data(TensorData::new(index, [size]), &self.device),
            )
        };
        let mut readings = read(self.model, z_h)?;
        readings.truncate(wanted.len());
        Ok(readings)
    }
}

impl Rows {
    /// Both batches in one, `self` first.
    fn beside(self, other: Self) -> Self {
        let cat = |a, b| Tensor::cat(vec![a, b], 0);
        Self {
            x: cat(self.x, other.x),
            latent: LatentState {
                z_h: cat(self.latent.z_h, other.latent.z_h),
                z_l: cat(self.latent.z_l, other.latent.z_l),
            },
        }
    }

    /// The rows of an index, `[B']`.
    fn take(self, index: &Tensor<1, Int>) -> Self {
        let rows = |z: Tensor<3>| z.select(0, index.clone());
        Self {
            x: rows(self.x),
            latent: LatentState {
                z_h: rows(self.latent.z_h),
                z_l: rows(self.latent.z_l),
            },
        }
    }
}

/// The answers and q values of `[B, L, D]`.
fn read(model: &Hrm, z_h: Tensor<3>) -> Result<Vec<Reading>, ReasonError> {
    let output = model.read_out(z_h);
    let [b, s, _] = output.logits.dims();
    let tokens: Tensor<2, Int> = output.logits.argmax(2).reshape([b, s]);
    let q = Tensor::cat(vec![output.q_halt, output.q_continue], 0);
    let read = Transaction::default()
        .register(tokens)
        .register(q)
        .try_execute()
        .map_err(device_error)?;
    let [tokens, q]: [TensorData; 2] = read
        .try_into()
        .map_err(|_| device_error("a read gave another number of tensors"))?;
    let tokens: Vec<u8> = tokens.iter::<u8>().collect();
    let q: Vec<f32> = q.iter::<f32>().collect();
    if tokens.len() != b * s || q.len() != 2 * b {
        return Err(device_error("a read gave another number of values"));
    }
    let (q_halt, q_continue) = q.split_at(b);
    let readings = tokens.chunks_exact(s).zip(q_halt).zip(q_continue);
    Ok(readings
        .map(|((tokens, &q_halt), &q_continue)| Reading {
            tokens: tokens.to_vec(),
            q_halt,
            q_continue,
        })
        .collect())
}

/// The smallest of `most`, half of it, a quarter, ... that holds `needed` rows; 0 for none.
fn batch_size(most: usize, needed: usize) -> usize {
    if needed == 0 {
        return 0;
    }
    let mut size = most;
    while size > 1 && size.div_ceil(2) >= needed {
        size = size.div_ceil(2);
    }
    size
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hrm_core::{HrmConfig, Levels, PuzzleEmbeddingConfig, Sizes};
    use proptest::prelude::*;

    use super::*;

    /// A small TRM that changes its states gently, so that 1e-5 tells an error from the rounding of another batch size.
    fn model() -> Hrm {
        let sizes = Sizes {
            seq_len: 5,
            vocab_size: 7,
            num_puzzle_ids: 3,
        };
        let config = HrmConfig {
            hidden_size: 16,
            num_heads: 2,
            levels: Levels::Shared { layers: 1 },
            puzzle_embedding: Some(PuzzleEmbeddingConfig {
                dim: 16,
                positions: Some(2),
            }),
            ..HrmConfig::trm(sizes)
        };
        let model = Hrm::new(&config, 1, &Device::flex()).unwrap().frozen();
        model.map_weights(|name, _, value| match name.contains("level") {
            true => value * 0.6,
            false => value,
        })
    }

    fn entry(number: u64) -> Entry {
        Entry {
            ticket: number,
            number: 0,
            inputs: (0..5)
                .map(|cell| ((number + cell * cell) % 7) as u8)
                .collect(),
            puzzle_id: (number % 3) as u32,
            noise: number.is_multiple_of(2).then_some((number, 1, 0.5)),
        }
    }

    /// The plain loop on one attempt.
    fn plain(model: &Hrm, number: u64, segments: u32) -> Tensor<3> {
        let rows = Lane::new(model, 1).fresh(&[entry(number)]);
        let mut latent = rows.latent;
        for _ in 0..segments {
            latent = model.advance(latent, rows.x.clone());
        }
        latent.z_h
    }

    fn values(x: Tensor<3>) -> Vec<f32> {
        x.into_data().iter::<f32>().collect()
    }

    #[test]
    fn noise_is_on_both_states_as_strong_as_wished() {
        let model = model();
        let states = |noise| {
            let entry = Entry { noise, ..entry(0) };
            let LatentState { z_h, z_l } = Lane::new(&model, 1).fresh(&[entry]).latent;
            [z_h, z_l].map(values)
        };
        let plain = states(None);
        for std in [0.25f32, 2.0] {
            let noise: [Vec<f32>; 2] = std::array::from_fn(|state| {
                let noisy = &states(Some((3, 1, std)))[state];
                noisy
                    .iter()
                    .zip(&plain[state])
                    .map(|(a, b)| a - b)
                    .collect()
            });
            assert_ne!(noise[0], noise[1]);
            for noise in noise {
                let squares: f32 = noise.iter().map(|x| x * x).sum();
                let found = (squares / noise.len() as f32).sqrt() / std;
                assert!((0.75..1.25).contains(&found), "{found} of {std}");
            }
        }
    }

    /// Bits of z_H, z_L and x of the row of each live ticket.
    fn bits(lane: &Lane<'_>) -> BTreeMap<u64, Vec<u32>> {
        let rows = lane.rows.as_ref();
        let live = lane.slots.iter().enumerate();
        live.filter_map(|(row, slot)| {
            let (rows, slot) = (rows?, slot.as_ref()?);
            let tensors = [&rows.latent.z_h, &rows.latent.z_l, &rows.x];
            let bits = tensors.iter().flat_map(|x| {
                let row = (**x).clone().narrow(0, row, 1);
                values(row).into_iter().map(f32::to_bits)
            });
            Some((slot.ticket, bits.collect()))
        })
        .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Random halting patterns: who stays keeps every bit through refills and shrinking, and has the logits of the
        /// plain loop after as many segments.
        #[test]
        fn refill_touches_halted_slots_only(
            most in 1..9usize,
            steps in prop::collection::vec((any::<u16>(), 0..9usize), 1..8),
        ) {
            let model = model();
            let mut lane = Lane::new(&model, most);
            let mut next = 0;
            for (halting, arriving) in steps {
                for (row, slot) in lane.slots.iter_mut().enumerate() {
                    if halting >> row & 1 == 1 {
                        *slot = None;
                    }
                }
                let before = bits(&lane);
                let arriving = arriving.min(lane.free());
                let entries: Vec<Entry> = (next..next + arriving as u64).map(entry).collect();
                next += arriving as u64;
                lane.place(&entries);
                let after = bits(&lane);
                prop_assert_eq!(after.len(), before.len() + arriving);
                prop_assert_eq!(lane.slots.len(), batch_size(most, after.len()));
                for (ticket, row) in &before {
                    prop_assert_eq!(after.get(ticket), Some(row));
                }
                for number in entries.iter().map(|entry| entry.ticket) {
                    let fresh = Lane::new(&model, 1).fresh(&[entry(number)]);
                    let z_h: Vec<u32> = values(fresh.latent.z_h).into_iter().map(f32::to_bits).collect();
                    prop_assert_eq!(&after[&number][..z_h.len()], &z_h[..]);
                }
                lane.advance(Wanted::Nothing).unwrap();
                let Some(rows) = &lane.rows else { continue };
                let logits = model.read_out(rows.latent.z_h.clone()).logits;
                for (row, slot) in lane.slots.iter().enumerate() {
                    let Some(slot) = slot else { continue };
                    let plain = plain(&model, slot.ticket, slot.segments);
                    let plain = values(model.read_out(plain).logits);
                    let found = values(logits.clone().narrow(0, row, 1));
                    for (a, b) in found.iter().zip(&plain) {
                        prop_assert!((a - b).abs() < 1e-5, "{} {}", a, b);
                    }
                }
            }
        }
    }

    #[test]
    fn batch_sizes_by_hand() {
        let sizes = |most: usize| (0..=most).map(|n| batch_size(most, n)).collect::<Vec<_>>();
        assert_eq!(sizes(8), [0, 1, 2, 4, 4, 8, 8, 8, 8]);
        assert_eq!(sizes(6), [0, 1, 2, 3, 6, 6, 6]);
        assert_eq!(sizes(5), [0, 1, 2, 3, 5, 5]);
        assert_eq!(sizes(1), [0, 1]);
    }
}
