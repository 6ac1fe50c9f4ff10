//! The scheduler: puzzles in, attempts into slots, outcomes out. It knows neither where puzzles come from nor who waits for
//! an answer; what the caller ties to a puzzle comes back with its answer.

use std::collections::{BTreeMap, VecDeque};

use super::choice::{Outcome, choose};
use super::config::{Choice, HaltRule, check_bounds};
use super::error::ReasonError;
use super::lane::{Entry, Lane, Reading, Readings, Wanted};
use super::puzzle::{Answer, Puzzle};
use super::serve::Manner;
use super::{Reasoner, check};

/// A puzzle that has been taken in and not been answered.
struct Pending<T> {
    tag: T,
    index: usize,
    puzzle: Puzzle,
    max_segments: u32,
    halt: HaltRule,
    watched: bool,
    /// By checkpoint and number of the attempt, whichever finished first.
    outcomes: BTreeMap<(usize, u32), Outcome>,
    /// Attempts not finished, waiting ones included.
    missing: u32,
    /// Segments of the attempts that are finished.
    segments: u32,
}

/// Waiting attempts of a checkpoint beyond which no puzzle is taken in, in slots.
const BACKLOG: usize = 2;

/// Puzzles being thought about.
pub(super) struct Thinking<'a, T> {
    reasoner: &'a Reasoner,
    lanes: Vec<Lane<'a>>,
    /// Attempts waiting for a slot, by checkpoint: ticket and number.
    waiting: Vec<VecDeque<(u64, u32)>>,
    pending: BTreeMap<u64, Pending<T>>,
    taken_in: u64,
    done: VecDeque<(T, Result<Answer, ReasonError>)>,
}

impl<'a, T> Thinking<'a, T> {
    pub fn new(reasoner: &'a Reasoner) -> Self {
        let lane = |model| Lane::new(model, reasoner.config.slots);
        Self {
            reasoner,
            lanes: reasoner.models.iter().map(lane).collect(),
            waiting: vec![VecDeque::new(); reasoner.models.len()],
            pending: BTreeMap::new(),
            taken_in: 0,
            done: VecDeque::new(),
        }
    }

    /// Whether a slot would stay empty if no further puzzle came, and no checkpoint lags far behind.
    pub fn wants_more(&self) -> bool {
        let mut lanes = self.lanes.iter().zip(&self.waiting);
        let hungry = lanes.any(|(lane, waiting)| waiting.len() < lane.free());
        let limit = BACKLOG.saturating_mul(self.reasoner.config.slots);
        hungry && self.waiting.iter().all(|waiting| waiting.len() <= limit)
    }

    /// Whether no puzzle is being thought about.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// A finished puzzle.
    pub fn pop(&mut self) -> Option<(T, Result<Answer, ReasonError>)> {
        self.done.pop_front()
    }

    /// Whether [`Thinking::pop`] has one.
    pub fn has_done(&self) -> bool {
        !self.done.is_empty()
    }

    /// Takes a puzzle in. One that doesn't fit the model, or can't be thought about in this manner, is done at once.
    pub fn admit(&mut self, tag: T, puzzle: Puzzle, manner: Manner) {
        let ticket = self.taken_in;
        self.taken_in += 1;
        let index = usize::try_from(ticket).unwrap_or(usize::MAX);
        let config = &self.reasoner.config;
        let max_segments = manner.max_segments.unwrap_or(config.max_segments);
        let halt = manner.halt.unwrap_or(config.halt);
        let fits = check(&self.reasoner.models, index, &puzzle)
            .and_then(|()| check_bounds(max_segments, halt))
            .and_then(
                |()| match halt == HaltRule::Verified && self.reasoner.verifier.is_none() {
                    true => Err(ReasonError::NoVerifier { field: "halt" }),
                    false => Ok(()),
                },
            );
        if let Err(error) = fits {
            self.done.push_back((tag, Err(error)));
            return;
        }
        let per_model = self.reasoner.attempts.per_model();
        for waiting in &mut self.waiting {
            waiting.extend((0..per_model).map(|number| (ticket, number)));
        }
        self.pending.insert(
            ticket,
            Pending {
                tag,
                index,
                puzzle,
                max_segments,
                halt,
                watched: manner.watched,
                outcomes: BTreeMap::new(),
                missing: per_model.saturating_mul(self.lanes.len() as u32),
                segments: 0,
            },
        );
    }

    /// Forgets the puzzles that nobody waits for any more.
    pub fn drop_if(&mut self, gone: impl Fn(&T) -> bool) {
        let tickets: Vec<u64> = (self.pending.iter())
            .filter(|(_, pending)| gone(&pending.tag))
            .map(|(&ticket, _)| ticket)
            .collect();
        for ticket in tickets {
            self.pending.remove(&ticket);
            self.release(ticket);
        }
    }

    /// Gives up everything, with the same error for all.
    pub fn fail(&mut self, error: &ReasonError) {
        for (_, pending) in std::mem::take(&mut self.pending) {
            self.done.push_back((pending.tag, Err(error.clone())));
        }
        self.waiting.iter_mut().for_each(VecDeque::clear);
    }

    /// Fills the free slots and makes one segment of every checkpoint. `watch` hears the answers after the segment, as
    /// answers to the puzzle itself, where answers are read after every segment: of the first attempt alone.
    pub fn step(&mut self, mut watch: impl FnMut(&mut T, u32, &[u8])) -> Result<(), ReasonError> {
        for number in 0..self.lanes.len() {
            self.fill(number);
            let wanted = self.wanted(number);
            let readings = self.lanes[number].advance(wanted)?;
            let finished = match readings {
                Readings::All(readings) => self.follow(number, readings, &mut watch),
                Readings::QValues(values) => {
                    self.read_finished(number, |lane, row, segments, pending| {
                        let wants = |&(q_halt, q_continue)| {
                            lane.wants_halt(pending.halt, q_halt, q_continue)
                        };
                        segments >= pending.max_segments || values.get(row).is_some_and(wants)
                    })?
                }
                Readings::None => self.read_finished(number, |_, _, segments, pending| {
                    segments >= pending.max_segments
                })?,
            };
            for (row, reading) in finished {
                self.finish(number, row, reading);
            }
        }
        Ok(())
    }

    /// Gives waiting attempts to free slots, and shrinks the batch where fewer are left than it holds.
    fn fill(&mut self, number: usize) {
        let free = self.lanes[number].free();
        let mut entries = Vec::with_capacity(free.min(self.waiting[number].len()));
        while entries.len() < free {
            let Some((ticket, attempt)) = self.waiting[number].pop_front() else {
                break;
            };
            let entry = match self.pending.get(&ticket) {
                Some(pending) => {
                    self.reasoner
                        .entry(ticket, attempt, pending.index, &pending.puzzle)
                }
                None => continue,
            };
            match entry {
                Ok(entry) => entries.push(entry),
                Err(error) => {
                    entries.retain(|entry: &Entry| entry.ticket != ticket);
                    self.release(ticket);
                    if let Some(pending) = self.pending.remove(&ticket) {
                        self.done.push_back((pending.tag, Err(error)));
                    }
                }
            }
        }
        self.lanes[number].place(&entries);
    }

    /// What the puzzles in the slots need to be read after the next segment.
    fn wanted(&self, number: usize) -> Wanted {
        if self.reasoner.config.trace {
            return Wanted::Answers;
        }
        let slots = self.lanes[number].slots.iter().flatten();
        slots
            .filter_map(|slot| self.pending.get(&slot.ticket))
            .map(|pending| match pending.watched {
                true => Wanted::Answers,
                false => Wanted::by(pending.halt),
            })
            .max()
            .unwrap_or(Wanted::Nothing)
    }

    /// The rows that stop, by rules that need no answers, with their answers.
    fn read_finished(
        &self,
        number: usize,
        stops: impl Fn(&Lane<'_>, usize, u32, &Pending<T>) -> bool,
    ) -> Result<Vec<(usize, Reading)>, ReasonError> {
        let lane = &self.lanes[number];
        let rows: Vec<usize> = (lane.slots.iter().enumerate())
            .filter_map(|(row, slot)| slot.as_ref().map(|slot| (row, slot)))
            .filter(|(row, slot)| {
                let pending = self.pending.get(&slot.ticket);
                pending.is_some_and(|pending| stops(lane, *row, slot.segments, pending))
            })
            .map(|(row, _)| row)
            .collect();
        let readings = lane.read_rows(&rows)?;
        Ok(rows.into_iter().zip(readings).collect())
    }

    /// Takes note of every row's answer, and gives back the rows that stop.
    fn follow(
        &mut self,
        number: usize,
        readings: Vec<Reading>,
        watch: &mut impl FnMut(&mut T, u32, &[u8]),
    ) -> Vec<(usize, Reading)> {
        let config = &self.reasoner.config;
        let lane = &mut self.lanes[number];
        let mut finished = Vec::new();
        for (row, reading) in readings.into_iter().enumerate() {
            let wants = |rule| lane.wants_halt(rule, reading.q_halt, reading.q_continue);
            let wants = [HaltRule::QHalt, HaltRule::Likely].map(wants);
            let Some(Some(slot)) = lane.slots.get_mut(row) else {
                continue;
            };
            if slot.segments > 1 && slot.tokens == reading.tokens {
                slot.unchanged += 1;
            } else {
                slot.unchanged = 0;
            }
            slot.tokens.clone_from(&reading.tokens);
            if config.trace {
                slot.trace.push(reading.tokens.clone());
                slot.trace_q_halt.push(reading.q_halt);
            }
            let Some(pending) = self.pending.get_mut(&slot.ticket) else {
                continue;
            };
            let back = || {
                self.reasoner
                    .map_back(slot.number, pending.index, &pending.puzzle, &reading.tokens)
            };
            let accepted = || {
                let (verifier, tokens) = (self.reasoner.verifier.as_deref(), back());
                // One of another length is an error when the row stops.
                let whole = tokens.len() == reading.tokens.len();
                verifier.is_some_and(|verifier| whole && verifier.verify(&pending.puzzle, &tokens))
            };
            let halts = match pending.halt {
                HaltRule::Fixed => false,
                HaltRule::QHalt => wants[0],
                HaltRule::Likely => wants[1],
                HaltRule::Stable { segments } => slot.unchanged >= segments,
                HaltRule::Verified => accepted(),
            };
            if number == 0 && slot.number == 0 && (pending.watched || config.trace) {
                watch(&mut pending.tag, slot.segments, &reading.tokens);
            }
            if halts || slot.segments >= pending.max_segments {
                finished.push((row, reading));
            }
        }
        finished
    }

    /// A row stops: its slot is free, and its puzzle may be answered.
    fn finish(&mut self, number: usize, row: usize, reading: Reading) {
        let Some(slot) = self.lanes[number].slots.get_mut(row).and_then(Option::take) else {
            return;
        };
        let Some(pending) = self.pending.get_mut(&slot.ticket) else {
            return;
        };
        let reasoner = self.reasoner;
        let (index, puzzle) = (pending.index, &pending.puzzle);
        let back = |tokens: &[u8]| reasoner.map_back(slot.number, index, puzzle, tokens);
        let tokens = back(&reading.tokens);
        let error = (tokens.len() != reading.tokens.len()).then_some(ReasonError::View {
            index,
            expected: reading.tokens.len(),
            found: tokens.len(),
        });
        let verifier = reasoner.verifier.as_deref();
        let judge = verifier.filter(|_| error.is_none());
        let verified = judge.map(|verifier| verifier.verify(puzzle, &tokens));
        let outcome = Outcome {
            trace: slot.trace.iter().map(|tokens| back(tokens)).collect(),
            trace_q_halt: slot.trace_q_halt,
            tokens,
            segments: slot.segments,
            q_halt: reading.q_halt,
            q_continue: reading.q_continue,
            verified,
        };
        pending.outcomes.insert((number, slot.number), outcome);
        pending.segments = pending.segments.saturating_add(slot.segments);
        pending.missing -= 1;
        let choice = reasoner.attempts.choice;
        let decided = choice == Choice::Verified && verified == Some(true);
        if pending.missing > 0 && !decided && error.is_none() {
            return;
        }
        let given_up = self.release(slot.ticket);
        let Some(pending) = self.pending.remove(&slot.ticket) else {
            return;
        };
        if let Some(error) = error {
            self.done.push_back((pending.tag, Err(error)));
            return;
        }
        let segments = pending.segments.saturating_add(given_up);
        let (index, puzzle) = (pending.index, &pending.puzzle);
        let outcomes = pending.outcomes.into_values().collect();
        let answer = choose(choice, index, puzzle, outcomes, segments, verifier);
        // There is one: an outcome was added above.
        if let Some(answer) = answer {
            self.done.push_back((pending.tag, Ok(answer)));
        }
    }

    /// Takes the attempts of a puzzle off the slots and out of the queues; returns the segments made on them.
    fn release(&mut self, ticket: u64) -> u32 {
        for waiting in &mut self.waiting {
            waiting.retain(|&(waiting, _)| waiting != ticket);
        }
        let mut segments = 0;
        for slot in self.lanes.iter_mut().flat_map(|lane| &mut lane.slots) {
            if let Some(gone) = slot.take_if(|slot| slot.ticket == ticket) {
                segments += gone.segments;
            }
        }
        segments
    }
}
