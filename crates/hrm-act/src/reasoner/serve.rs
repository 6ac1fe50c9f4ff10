//! A reasoner that lives in one thread and is fed through a channel: requests take slots as they get free, so that all
//! who wait share one batch. Without an async runtime, clocks or threads of its own.

use std::sync::mpsc::{Receiver, TryRecvError};

use super::Reasoner;
use super::config::HaltRule;
use super::error::ReasonError;
use super::puzzle::{Answer, Puzzle};
use super::thinking::Thinking;

/// Where an answer goes. Every closure that takes the answer is one.
pub trait Reply: Send {
    /// Takes the answer; called once, unless the request is cancelled.
    fn answer(self: Box<Self>, answer: Result<Answer, ReasonError>);

    /// Hears the answer so far after every segment of the first attempt, where the request is watched or the configuration
    /// asks for a trace.
    fn segment(&mut self, segment: u32, tokens: &[u8]) {
        let _ = (segment, tokens);
    }

    /// Whether nobody waits any more. Asked between segments; the slot is then free for others.
    fn is_cancelled(&self) -> bool {
        false
    }
}

impl<F: FnOnce(Result<Answer, ReasonError>) + Send> Reply for F {
    fn answer(self: Box<Self>, answer: Result<Answer, ReasonError>) {
        (*self)(answer);
    }
}

/// A puzzle with the one who waits for its answer.
pub struct Request {
    /// The puzzle.
    pub puzzle: Puzzle,
    /// Where the answer goes.
    pub reply: Box<dyn Reply>,
    /// How this puzzle is thought about, where it is to differ from the reasoner's configuration.
    pub manner: Manner,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("puzzle", &self.puzzle)
            .field("manner", &self.manner)
            .finish_non_exhaustive()
    }
}

/// What one request may ask of the thinking. Requests with different wishes share the slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// Most segments, at least 1; the configuration's where none is given.
    pub max_segments: Option<u32>,
    /// When to stop before that; the configuration's where none is given.
    pub halt: Option<HaltRule>,
    /// Whether the reply hears every segment.
    pub watched: bool,
}

impl Request {
    /// A request whose answer goes to `reply`, thought about as the reasoner is configured.
    pub fn new(puzzle: Puzzle, reply: impl Reply + 'static) -> Self {
        Self {
            puzzle,
            reply: Box::new(reply),
            manner: Manner::default(),
        }
    }

    /// The same, thought about in another manner. One that is out of range, or asks for a verifier that the reasoner
    /// doesn't have, is an error of this request alone.
    #[must_use]
    pub fn with_manner(mut self, manner: Manner) -> Self {
        self.manner = manner;
        self
    }
}

impl Reasoner {
    /// Answers requests until every sender is dropped and the last request is answered. Meant for a thread of its own.
    ///
    /// Requests are received only as slots get free, so the bound of a [`sync_channel`](std::sync::mpsc::sync_channel) is
    /// the limit of the queue: its `try_send` tells a server when to turn clients away.
    ///
    /// # Errors
    /// If the options lack a verifier or a symmetry, or the device fails. Requests taken in by then get the same error as
    /// their answer; those still in the channel are dropped with it.
    ///
    /// # Panics
    /// If a verifier, a symmetry or a reply does: it runs on this thread, and requests taken in are dropped without an answer.
    pub fn serve(&self, requests: &Receiver<Request>) -> Result<(), ReasonError> {
        self.check_options()?;
        let mut thinking: Thinking<'_, Box<dyn Reply>> = Thinking::new(self);
        let mut open = true;
        loop {
            while let Some((reply, answer)) = thinking.pop() {
                reply.answer(answer);
            }
            thinking.drop_if(|reply| reply.is_cancelled());
            if open && thinking.is_idle() {
                // Nothing to think about: wait.
                match requests.recv() {
                    Ok(request) => admit(&mut thinking, request),
                    Err(_) => open = false,
                }
            }
            while open && thinking.wants_more() {
                match requests.try_recv() {
                    Ok(request) => admit(&mut thinking, request),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => open = false,
                }
            }
            if !thinking.is_idle() {
                let segment =
                    thinking.step(|reply, segment, tokens| reply.segment(segment, tokens));
                if let Err(error) = segment {
                    thinking.fail(&error);
                    while let Some((reply, answer)) = thinking.pop() {
                        reply.answer(answer);
                    }
                    return Err(error);
                }
            } else if !open && !thinking.has_done() {
                return Ok(());
            }
        }
    }
}

fn admit(thinking: &mut Thinking<'_, Box<dyn Reply>>, request: Request) {
    if !request.reply.is_cancelled() {
        thinking.admit(request.reply, request.puzzle, request.manner);
    }
}
