//! Data-parallel training: the slots of a batch spread over several devices of one machine.
//!
//! Every device has the weights, the moments and a share of the slots. Each differentiates the loss of its slots, the
//! gradients and metrics are summed over the devices, and each makes the same update of its copy. What is exchanged is one
//! tensor a step, so one collective does for all: the dense gradients, and the puzzle rows of all slots with their ids at the
//! places of their device, zeros at those of the others.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use burn::tensor::distributed::{ReduceOperation, all_reduce};
use burn::tensor::{DType, Device, FloatDType, Tensor};
use hrm_act::{Batch, Carry, MetricSums};
use hrm_core::Hrm;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::config::TrainConfig;
use crate::error::TrainError;
use crate::gradients::{Gradients, PuzzleGradients};
use crate::optimizer::{DenseOptimizer, Moments};
use crate::trainer::TrainState;

/// Ids are exchanged as f32, which tells whole numbers below this apart.
const MOST_IDS: usize = 1 << 24;

/// Sums over the devices of a run; each device calls it from a thread of its own.
pub(crate) trait Collective: Debug + Send + Sync {
    /// The sum of the tensors that all devices give, the same on each.
    fn sum(&self, rank: usize, tensor: Tensor<1>) -> Tensor<1>;
}

/// Burn's collective.
#[derive(Debug)]
struct AllReduce(Vec<Device>);

impl Collective for AllReduce {
    fn sum(&self, _rank: usize, tensor: Tensor<1>) -> Tensor<1> {
        all_reduce(tensor, ReduceOperation::Sum, self.0.clone()).resolve()
    }
}

/// The devices of a run but the first, whose state is the trainer's.
#[derive(Debug)]
pub(crate) struct Replicas {
    devices: Vec<Device>,
    /// Without averages and metrics: those of the first device are the run's.
    states: Vec<TrainState>,
    /// A thread for each device. They last, since a backend's queue belongs to a thread.
    pool: ThreadPool,
    collective: Arc<dyn Collective>,
}

impl Replicas {
    /// The first device included.
    pub(crate) fn num_devices(&self) -> usize {
        1 + self.devices.len()
    }

    /// Copies `state`, which keeps the first share of the slots only.
    pub(crate) fn new(
        config: &TrainConfig,
        state: &mut TrainState,
        first: &Device,
        others: &[Device],
    ) -> Result<Self, TrainError> {
        let all: Vec<Device> = [first].into_iter().chain(others).map(plain).collect();
        if let Some(twice) = (1..all.len()).find(|&i| all[..i].contains(&all[i])) {
            return Err(TrainError::Devices {
                reason: format!("{:?} is named twice", all[twice]),
            });
        }
        Self::with_collective(config, state, others, Arc::new(AllReduce(all)))
    }

    /// As [`Replicas::new`], by another way of summing.
    pub(crate) fn with_collective(
        config: &TrainConfig,
        state: &mut TrainState,
        others: &[Device],
        collective: Arc<dyn Collective>,
    ) -> Result<Self, TrainError> {
        let field = |field, expected, found| TrainError::Field {
            field,
            expected,
            found,
        };
        let shares = others.len() + 1;
        if !config.batch_size.is_multiple_of(shares * config.accumulate) {
            return Err(field(
                "batch_size",
                "a multiple of the devices times `accumulate`",
                format!(
                    "{} for {shares} devices and accumulate {}",
                    config.batch_size, config.accumulate
                ),
            ));
        }
        if config.model.num_puzzle_ids > MOST_IDS {
            return Err(field(
                "model.num_puzzle_ids",
                "at most 16777216 with several devices",
                config.model.num_puzzle_ids.to_string(),
            ));
        }
        let pool = ThreadPoolBuilder::new()
            .num_threads(others.len())
            .thread_name(|index| format!("device-{}", index + 1))
            .build()
            .map_err(TrainError::device)?;
        let rows = config.batch_size / shares;
        let whole = state.carry.take();
        let share = |rank: usize| {
            whole
                .as_ref()
                .map(|carry| carry.rows(rank * rows..(rank + 1) * rows))
        };
        let mut replicas = Self {
            devices: others.iter().map(plain).collect(),
            states: Vec::with_capacity(others.len()),
            pool,
            collective,
        };
        for (index, device) in replicas.devices.iter().enumerate() {
            let carry = share(index + 1).map(|carry| carry.to_device(device));
            replicas.states.push(copy(config, state, carry, device)?);
        }
        state.carry = share(0);
        Ok(replicas)
    }

    /// Sums ones over the devices, to learn at the start whether they can.
    pub(crate) fn try_out(&self, first: &Device) -> Result<(), TrainError> {
        let refused = |reason: String| TrainError::Devices { reason };
        let shares = self.devices.len() + 1;
        let expected = shares as f32;
        let meeting = Meeting::default();
        let one = |rank: usize, device: &Device| {
            let tried = meeting.attend(|| {
                let ones = Tensor::<1>::ones([1], device);
                meeting.wait(shares);
                catch_unwind(AssertUnwindSafe(|| {
                    self.collective.sum(rank, ones).try_into_vec_as::<f32>()
                }))
            });
            match tried {
                None => Err("one of them can't compute".to_owned()),
                Some(Err(_)) => {
                    Err("their backend has no sum over devices (CUDA has, with NCCL)".into())
                }
                Some(Ok(Err(error))) => Err(format!("summing over them failed: {error}")),
                Some(Ok(Ok(sum))) if sum == [expected] => Ok(()),
                Some(Ok(Ok(sum))) => {
                    Err(format!("ones on each sum to {sum:?}, expected {expected}"))
                }
            }
        };
        let mut here = Ok(());
        let there: Vec<Mutex<Result<(), String>>> =
            self.devices.iter().map(|_| Mutex::new(Ok(()))).collect();
        self.pool.in_place_scope(|scope| {
            scope.spawn_broadcast(|_, thread| {
                let index = thread.index();
                *lock(&there[index]) = one(index + 1, &self.devices[index]);
            });
            here = one(0, &plain(first));
        });
        here.map_err(refused)?;
        there
            .into_iter()
            .try_for_each(|tried| tried.into_inner().unwrap_or_else(PoisonError::into_inner))
            .map_err(refused)
    }

    /// All devices but the first.
    pub(crate) fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// How it sums.
    pub(crate) fn collective(&self) -> &Arc<dyn Collective> {
        &self.collective
    }

    /// One step on all devices. `batches` holds the whole batch once for each device, on it; gives the first device's state,
    /// the learning rate used and the metrics of all slots.
    ///
    /// # Panics
    /// If the part of a device does: with its words, after all have stopped.
    pub(crate) fn step(
        &mut self,
        config: &TrainConfig,
        state: TrainState,
        batches: Vec<Batch>,
    ) -> (TrainState, f64, MetricSums) {
        let shares = self.states.len() + 1;
        let part = |rank: usize, batch: &Batch| {
            let rows = batch.batch_size() / shares;
            batch.rows(rank * rows..(rank + 1) * rows)
        };
        let meeting = Meeting::default();
        let exchange = Exchange {
            shares,
            collective: self.collective.as_ref(),
            meeting: &meeting,
        };
        // Faults are found, and rates lowered, by what the first device tells.
        let progress = &state.progress;
        let mut batches = batches.iter().enumerate();
        let mine = batches.next().map(|(rank, batch)| part(rank, batch));
        let jobs: Vec<Mutex<Option<(TrainState, Batch)>>> = self
            .states
            .drain(..)
            .zip(batches)
            .map(|(mut replica, (rank, batch))| {
                replica.progress.clone_from(progress);
                Mutex::new(Some((replica, part(rank, batch))))
            })
            .collect();
        let done: Vec<Mutex<Option<TrainState>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
        let mut first = None;
        self.pool.in_place_scope(|scope| {
            scope.spawn_broadcast(|_, thread| {
                let index = thread.index();
                let job = lock(&jobs[index]).take();
                *lock(&done[index]) = job.and_then(|(replica, batch)| {
                    let sum = |gradients, metrics| exchange.sum(index + 1, gradients, metrics);
                    meeting.attend(|| replica.train(config, batch, sum).0)
                });
            });
            first = mine.and_then(|batch| {
                let sum = |gradients, metrics| exchange.sum(0, gradients, metrics);
                meeting.attend(|| state.train(config, batch, sum))
            });
        });
        meeting.end();
        self.states = done
            .into_iter()
            .filter_map(|state| state.into_inner().unwrap_or_else(PoisonError::into_inner))
            .collect();
        first.expect("a batch for each device")
    }

    /// The slots of all devices, in the order of the batch, on the first.
    pub(crate) fn gather(&self, first: &Carry, device: &Device) -> Carry {
        let others = self.states.iter().filter_map(|state| state.carry.as_ref());
        let others = others.map(|carry| carry.clone().to_device(device));
        Carry::cat([first.clone()].into_iter().chain(others).collect())
    }
}

fn plain(device: &Device) -> Device {
    device.clone().without_autodiff()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the devices' threads meet before they sum. One that panics on the way there would be waited for in the sum for ever;
/// here the others learn of it.
#[derive(Default)]
struct Meeting {
    state: Mutex<Attendance>,
    changed: Condvar,
}

#[derive(Default)]
struct Attendance {
    there: usize,
    /// The first panic.
    failed: Option<Box<dyn Any + Send>>,
}

impl Meeting {
    /// Does the work of a device, which meets the others in it. None if it panics; they don't wait for it then.
    fn attend<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(done) => Some(done),
            Err(panic) => {
                lock(&self.state).failed.get_or_insert(panic);
                self.changed.notify_all();
                None
            }
        }
    }

    /// Waits until as many devices are here.
    fn wait(&self, devices: usize) {
        let mut state = lock(&self.state);
        state.there += 1;
        self.changed.notify_all();
        while state.there < devices && state.failed.is_none() {
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        if state.there < devices {
            drop(state);
            // Without a word: the one that failed has said why.
            resume_unwind(Box::new("another device failed"));
        }
    }

    /// Goes on with the panic, if there was one.
    fn end(&self) {
        let failed = lock(&self.state).failed.take();
        if let Some(panic) = failed {
            resume_unwind(panic);
        }
    }
}

/// What another device needs of a state to make the same updates.
fn copy(
    config: &TrainConfig,
    state: &TrainState,
    carry: Option<Carry>,
    device: &Device,
) -> Result<TrainState, TrainError> {
    let model = on_device(config, &state.model, device)?;
    let there = |(name, moments): (&String, &Moments)| {
        let moments = Moments {
            m: moments.m.clone().to_device(device),
            v: moments.v.clone().map(|v| v.to_device(device)),
        };
        (name.clone(), moments)
    };
    Ok(TrainState {
        step: state.step,
        model: config.freeze.apply(model),
        optimizer: DenseOptimizer {
            step: state.optimizer.step,
            moments: state.optimizer.moments.iter().map(there).collect(),
        },
        ema: None,
        carry,
        window: None,
        progress: state.progress.clone(),
    })
}

/// A trainable model of the configuration on a device, with the weights of another, which may be plain and elsewhere.
pub(crate) fn on_device(
    config: &TrainConfig,
    model: &Hrm,
    device: &Device,
) -> Result<Hrm, TrainError> {
    let fresh = Hrm::new(&config.model, config.seed, &device.clone().autodiff())?;
    let weights = model.weights().into_iter();
    let mut values: BTreeMap<String, Tensor<1>> =
        weights.map(|weight| (weight.name, weight.value)).collect();
    Ok(
        fresh.map_weights(|name, _role, old| match values.remove(name) {
            // Those of a frozen model are in its compute type.
            Some(value) => value.cast(FloatDType::F32).to_device(&old.device()),
            None => old,
        }),
    )
}

/// Sums what the devices have found.
struct Exchange<'a> {
    shares: usize,
    collective: &'a dyn Collective,
    meeting: &'a Meeting,
}

impl Exchange<'_> {
    /// The gradients and metrics of all slots from those of the share of the device `rank`.
    fn sum(
        &self,
        rank: usize,
        gradients: Gradients,
        metrics: MetricSums,
    ) -> (Gradients, MetricSums) {
        let Gradients { dense, puzzles } = gradients;
        let mut pack = Pack::default();
        pack.push(metrics.tensor());
        let dense: Vec<(String, DType)> = dense
            .into_iter()
            .map(|(name, gradient)| {
                let dtype = gradient.dtype();
                pack.push(gradient);
                (name, dtype)
            })
            .collect();
        let puzzles = puzzles.map(|PuzzleGradients { ids, rows }| {
            let ([b, e], id_type, dtype) = (rows.dims(), ids.dtype(), rows.dtype());
            pack.push(self.at_its_place(rank, ids.float()));
            pack.push(self.at_its_place(rank, rows.reshape([b * e])));
            ([b * self.shares, e], id_type, dtype)
        });
        let mut sums = pack.unpack(|flat| self.sum_all(rank, flat));
        let mut next = || sums.next().expect("as many parts as were packed");
        let metrics = MetricSums::from_tensor(next());
        let dense = dense
            .into_iter()
            .map(|(name, dtype)| (name, next().cast(dtype)))
            .collect();
        let puzzles = puzzles.map(|(shape, id_type, dtype)| PuzzleGradients {
            ids: next().int().cast(id_type),
            rows: next().reshape(shape).cast(dtype),
        });
        (Gradients { dense, puzzles }, metrics)
    }

    fn sum_all(&self, rank: usize, flat: Tensor<1>) -> Tensor<1> {
        self.meeting.wait(self.shares);
        let sum = catch_unwind(AssertUnwindSafe(|| self.collective.sum(rank, flat)));
        sum.unwrap_or_else(|_| {
            // The others are in the sum already, and no one can call them back.
            eprintln!(
                "error: device {rank} has failed in the sum over the devices; the process ends"
            );
            std::process::abort()
        })
    }

    /// With zeros where the other devices' values go.
    fn at_its_place(&self, rank: usize, values: Tensor<1>) -> Tensor<1> {
        let [n] = values.dims();
        let device = values.device();
        let zeros = |shares: usize| {
            (shares > 0).then(|| Tensor::zeros([n * shares], (&device, values.dtype())))
        };
        let parts = [
            zeros(rank),
            Some(values.clone()),
            zeros(self.shares - 1 - rank),
        ];
        Tensor::cat(parts.into_iter().flatten().collect(), 0)
    }
}

/// Tensors laid end to end in f32.
#[derive(Default)]
struct Pack {
    parts: Vec<Tensor<1>>,
    lengths: Vec<usize>,
}

impl Pack {
    fn push(&mut self, part: Tensor<1>) {
        self.lengths.push(part.dims()[0]);
        self.parts.push(part.cast(DType::F32));
    }

    fn unpack(
        self,
        change: impl FnOnce(Tensor<1>) -> Tensor<1>,
    ) -> impl Iterator<Item = Tensor<1>> {
        let flat = change(Tensor::cat(self.parts, 0));
        let mut start = 0;
        self.lengths.into_iter().map(move |length| {
            let part = flat.clone().narrow(0, start, length);
            start += length;
            part
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Barrier;

    use burn::tensor::{Int, TensorData};
    use hrm_data::sudoku::{Generator, SudokuSize};
    use hrm_data::{Augmentation, PuzzleSet};

    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::preset::Preset;
    use crate::trainer::Trainer;

    /// Sums in the order of the ranks, on the host.
    #[derive(Debug)]
    pub(crate) struct OnHost {
        all_there: Barrier,
        given: Mutex<Vec<Vec<f32>>>,
    }

    impl OnHost {
        pub(crate) fn new(devices: usize) -> Arc<Self> {
            Arc::new(Self {
                all_there: Barrier::new(devices),
                given: Mutex::new(vec![Vec::new(); devices]),
            })
        }
    }

    impl Collective for OnHost {
        fn sum(&self, rank: usize, tensor: Tensor<1>) -> Tensor<1> {
            let device = tensor.device();
            lock(&self.given)[rank] = tensor.into_data().try_to_vec::<f32>().unwrap();
            self.all_there.wait();
            let sum = {
                let given = lock(&self.given);
                let add = |a: Vec<f32>, b: &Vec<f32>| a.iter().zip(b).map(|(a, b)| a + b).collect();
                given[1..].iter().fold(given[0].clone(), add)
            };
            self.all_there.wait();
            Tensor::from_data(TensorData::from(sum.as_slice()), &device)
        }
    }

    /// Spreads a run on the CPU over itself.
    pub(crate) fn spread(trainer: &mut Trainer, devices: usize) -> Result<(), TrainError> {
        let others = vec![Device::flex(); devices - 1];
        trainer.spread(|config, state, _| {
            Replicas::with_collective(config, state, &others, OnHost::new(devices)).map(Some)
        })
    }

    fn puzzles() -> Arc<PuzzleSet> {
        let puzzles = Generator::new(SudokuSize::Four).puzzles(12, 1).unwrap();
        Arc::new(PuzzleSet::from_sudokus(&puzzles, SudokuSize::Four, Augmentation::Sudoku).unwrap())
    }

    /// A run whose slots share three puzzle ids within and across the devices.
    fn trainer(preset: &str, accumulate: usize) -> Trainer {
        let set = puzzles();
        let mut config = Preset::by_name(preset).unwrap().config(&set);
        config.model.hidden_size = 32;
        config.model.num_heads = 2;
        config.model.num_puzzle_ids = 3;
        config.batch_size = 12;
        config.accumulate = accumulate;
        config.steps = 10;
        config.seed = 3;
        config.act.exploration = 0.5;
        config.act.max_segments = 3;
        config.gradient_clip = Some(1.0);
        config.log_every = 4;
        config.schedule.warmup_steps = 3;
        let mut trainer = Trainer::new(config, set, &Device::flex()).unwrap();
        share_ids(&mut trainer);
        trainer
    }

    fn share_ids(trainer: &mut Trainer) {
        trainer.before_step(|_, batch| {
            let ids = [2, 0, 2, 1, 0, 2, 1, 1, 2, 0, 2, 0];
            batch.puzzle_ids = Tensor::<1, Int>::from_data(ids, &Device::flex());
        });
    }

    fn steps(trainer: &mut Trainer, count: usize) -> Vec<crate::StepReport> {
        trainer.take(count).map(Result::unwrap).collect()
    }

    /// Weights, averages, moments, slots and metrics, in bits.
    fn tensors(trainer: &Trainer) -> BTreeMap<String, burn::tensor::TensorData> {
        trainer.snapshot().unwrap().tensors
    }

    #[test]
    fn devices_make_the_steps_of_as_many_parts() {
        for (preset, devices) in [
            ("hrm-small", 2),
            ("hrm-small", 3),
            ("trm-small-mlp", 2),
            ("trm-small-mlp", 4),
        ] {
            let (mut whole, mut parts) = (trainer(preset, 1), trainer(preset, devices));
            spread(&mut whole, devices).unwrap();
            assert_eq!(steps(&mut whole, 10), steps(&mut parts, 10), "{preset}");
            let (whole, parts) = (tensors(&whole), tensors(&parts));
            assert!(whole.keys().any(|name| name.contains("puzzle_emb")));
            assert_eq!(whole, parts, "{preset}, {devices} devices");
        }
    }

    #[test]
    fn every_device_holds_the_same_weights() {
        let mut run = trainer("hrm-small", 2);
        spread(&mut run, 3).unwrap();
        steps(&mut run, 6);
        let values = |state: &TrainState| -> BTreeMap<String, burn::tensor::TensorData> {
            let weights = state.model.weights().into_iter();
            weights
                .map(|weight| (weight.name, weight.value.into_data()))
                .collect()
        };
        let first = values(run.state());
        for replica in &run.replicas().unwrap().states {
            assert_eq!(replica.step, 6);
            assert_eq!(values(replica), first);
        }
    }

    #[test]
    fn a_run_changes_its_devices_at_a_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint.safetensors");
        let mut unbroken = trainer("trm-small-mlp", 3);
        let expected = steps(&mut unbroken, 10);

        let mut run = trainer("trm-small-mlp", 1);
        spread(&mut run, 3).unwrap();
        assert_eq!(steps(&mut run, 5), expected[..5]);
        run.save(&path).unwrap();
        // On one device in three parts, then on three again.
        let checkpoint = Checkpoint::read(&path)
            .unwrap()
            .with_config(unbroken.config().clone());
        let mut run = Trainer::resume(checkpoint, puzzles(), &Device::flex()).unwrap();
        share_ids(&mut run);
        assert_eq!(steps(&mut run, 2), expected[5..7]);
        run.save(&path).unwrap();
        let config = trainer("trm-small-mlp", 1).config().clone();
        let checkpoint = Checkpoint::read(&path).unwrap().with_config(config);
        let mut run = Trainer::resume(checkpoint, puzzles(), &Device::flex()).unwrap();
        share_ids(&mut run);
        spread(&mut run, 3).unwrap();
        assert_eq!(steps(&mut run, 3), expected[7..]);
        assert_eq!(tensors(&run), tensors(&unbroken));
        // Back to one device: nothing of the slots is lost.
        run.data_parallel(&[]).unwrap();
        assert_eq!(tensors(&run), tensors(&unbroken));
    }

    #[test]
    fn a_device_that_fails_ends_the_step_on_all_with_its_words() {
        for failing in 0..3 {
            let (told, hear) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                let device = Device::flex();
                let run = trainer("hrm-small", 1);
                let (config, mut state) = (run.config(), run.state().clone());
                let mut replicas = Replicas::with_collective(
                    config,
                    &mut state,
                    &vec![device.clone(); 2],
                    OnHost::new(3),
                )
                .unwrap();
                let host = run.sampler().clone().next_batch();
                let mut batches = vec![Batch::from_host(&host, &device); 3];
                // One cell more than the model has.
                batches[failing].inputs = Tensor::zeros([12, 17], &device);
                let stepped = AssertUnwindSafe(|| replicas.step(config, state, batches).1);
                let panic = catch_unwind(stepped).unwrap_err();
                let words = match panic.downcast_ref::<&str>() {
                    Some(words) => Some(words.to_string()),
                    None => panic.downcast_ref::<String>().cloned(),
                };
                told.send(words.unwrap_or_default()).unwrap();
            });
            let words = hear.recv_timeout(std::time::Duration::from_secs(120));
            let words = words.expect("no device waits for ever");
            assert!(
                !words.is_empty() && !words.contains("another device"),
                "{words}"
            );
        }
    }

    #[test]
    fn what_cannot_train_together_is_refused_and_the_run_stays() {
        let mut run = trainer("hrm-small", 1);
        steps(&mut run, 2);
        let before = tensors(&run);
        let error = spread(&mut run, 5).unwrap_err().to_string();
        assert!(
            error.contains("`batch_size`") && error.contains("5 devices"),
            "{error}"
        );
        let error = run.data_parallel(&[Device::flex()]).unwrap_err();
        assert!(error.to_string().contains("named twice"), "{error}");
        // The CPU has no collective.
        let all = vec![Device::flex(); 2];
        let error = run.spread(|config, state, _| {
            let collective = Arc::new(AllReduce(all.clone()));
            Replicas::with_collective(config, state, &all[1..], collective).map(Some)
        });
        let error = error.unwrap_err().to_string();
        assert!(error.contains("no sum over devices"), "{error}");
        assert_eq!(tensors(&run), before);
        steps(&mut run, 1);
    }
}
