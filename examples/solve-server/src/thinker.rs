//! The one thread that thinks, as the rest of the server sees it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, RwLock};
use std::thread::{Builder, JoinHandle};

use hrm::act::reasoner::{Manner, Reply, Request};
use hrm::prelude::*;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

/// Hands puzzles to the thread.
#[derive(Debug)]
pub(crate) struct Thinker {
    /// None once no more is accepted.
    requests: RwLock<Option<SyncSender<Request>>>,
    counts: Arc<Counts>,
}

/// The thread itself.
pub(crate) struct Worker {
    /// Ends when the thread does.
    pub(crate) ended: oneshot::Receiver<()>,
    pub(crate) thread: JoinHandle<Result<(), ReasonError>>,
}

/// What became of the puzzles since the start.
#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    answered: AtomicU64,
    segments: AtomicU64,
    abandoned: AtomicU64,
    turned_away: AtomicU64,
}

/// [`Counts`] at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    /// Puzzles taken into the queue.
    pub(crate) accepted: u64,
    /// Puzzles answered, errors included.
    pub(crate) answered: u64,
    /// Puzzles given up because nobody waited any more.
    pub(crate) abandoned: u64,
    /// Puzzles turned away because the queue was full.
    pub(crate) turned_away: u64,
    /// Puzzles waiting or being thought about.
    pub(crate) in_flight: u64,
    /// Segments of the answers.
    pub(crate) segments: u64,
}

/// Why a puzzle is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TurnedAway {
    /// The queue is full.
    Full,
    /// The server is stopping.
    Stopping,
}

/// What comes from the thread.
#[derive(Debug)]
pub(crate) enum Heard {
    /// The answer so far.
    Segment { segment: u32, tokens: Vec<u8> },
    /// The answer; the last.
    Answer(Result<Answer, ReasonError>),
}

/// A puzzle being thought about. Dropping it gives the puzzle up.
#[derive(Debug)]
pub(crate) struct Thought {
    heard: mpsc::UnboundedReceiver<Heard>,
}

impl Thought {
    /// The next segment, where the puzzle is watched, or the answer; none if the thread has ended without one.
    pub(crate) async fn next(&mut self) -> Option<Heard> {
        self.heard.recv().await
    }
}

/// The thread's side of a [`Thought`]. The channel has no bound of its own: a puzzle has at most so many segments.
struct Teller {
    heard: mpsc::UnboundedSender<Heard>,
    counts: Arc<Counts>,
    answered: bool,
}

impl Reply for Teller {
    fn answer(mut self: Box<Self>, answer: Result<Answer, ReasonError>) {
        self.answered = true;
        if let Ok(answer) = &answer {
            let segments = u64::from(answer.total_segments);
            self.counts.segments.fetch_add(segments, Ordering::Relaxed);
        }
        // Whoever has gone needs no answer.
        let _ = self.heard.send(Heard::Answer(answer));
    }

    fn segment(&mut self, segment: u32, tokens: &[u8]) {
        let tokens = tokens.to_vec();
        let _ = self.heard.send(Heard::Segment { segment, tokens });
    }

    fn is_cancelled(&self) -> bool {
        self.heard.is_closed()
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        let count = match self.answered {
            true => &self.counts.answered,
            false => &self.counts.abandoned,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Thinker {
    /// Starts the thread. `queue` requests may wait for a slot.
    pub(crate) fn start(reasoner: Reasoner, queue: usize) -> std::io::Result<(Self, Worker)> {
        let (requests, received) = sync_channel(queue);
        let (alive, ended) = oneshot::channel::<()>();
        let thread = Builder::new().name("thinker".to_owned()).spawn(move || {
            // Dropped when the thread ends, also by a panic.
            let _alive = alive;
            reasoner.serve(&received)
        })?;
        let thinker = Self {
            requests: RwLock::new(Some(requests)),
            counts: Arc::default(),
        };
        Ok((thinker, Worker { ended, thread }))
    }

    /// Puts a puzzle into the queue.
    pub(crate) fn ask(&self, puzzle: Puzzle, manner: Manner) -> Result<Thought, TurnedAway> {
        let (heard, hears) = mpsc::unbounded_channel();
        let open = self.requests.read();
        let open = open.unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(requests) = open.as_ref() else {
            return Err(TurnedAway::Stopping);
        };
        let teller = Teller {
            heard,
            counts: Arc::clone(&self.counts),
            answered: false,
        };
        let request = Request::new(puzzle, teller).with_manner(manner);
        // Counted first: the thread may have answered before the next line.
        self.counts.accepted.fetch_add(1, Ordering::Relaxed);
        let refused = match requests.try_send(request) {
            Ok(()) => return Ok(Thought { heard: hears }),
            Err(TrySendError::Full(_)) => TurnedAway::Full,
            Err(TrySendError::Disconnected(_)) => TurnedAway::Stopping,
        };
        // It was never in the queue, and dropping its teller has counted it as abandoned.
        self.counts.accepted.fetch_sub(1, Ordering::Relaxed);
        self.counts.abandoned.fetch_sub(1, Ordering::Relaxed);
        self.counts.turned_away.fetch_add(1, Ordering::Relaxed);
        Err(refused)
    }

    /// Takes no more puzzles; the thread ends when the last one is answered.
    pub(crate) fn close(&self) {
        let mut open = self
            .requests
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *open = None;
    }

    /// Whether puzzles are taken.
    pub(crate) fn is_open(&self) -> bool {
        self.requests
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .is_some()
    }

    /// What became of the puzzles so far.
    pub(crate) fn tally(&self) -> Tally {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (answered, abandoned) = (read(&self.counts.answered), read(&self.counts.abandoned));
        let accepted = read(&self.counts.accepted);
        Tally {
            accepted,
            answered,
            abandoned,
            turned_away: read(&self.counts.turned_away),
            in_flight: accepted.saturating_sub(answered + abandoned),
            segments: read(&self.counts.segments),
        }
    }
}
