//! What the server says over HTTP.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State as Shared};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use hrm::act::reasoner::Manner;
use hrm::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout_at;
use tokio_stream::wrappers::ReceiverStream;

use crate::served::Served;
use crate::settings::Settings;
use crate::thinker::{Heard, Thinker, Thought, TurnedAway};

/// Events that a slow reader may be behind.
const EVENTS: usize = 16;

/// Guesses after which it is left open whether a Sudoku has a solution: a few milliseconds.
const MAX_GUESSES: u64 = 1000;

/// What all requests share.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) thinker: Thinker,
    served: Served,
    started: Instant,
    next_example: AtomicUsize,
}

impl State {
    pub(crate) fn new(served: Served, settings: Settings, thinker: Thinker) -> Self {
        Self {
            settings,
            thinker,
            served,
            started: Instant::now(),
            next_example: AtomicUsize::new(0),
        }
    }
}

/// The body of `POST /solve` and `POST /watch`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    puzzle: String,
    /// Most segments; the training's where none is given.
    segments: Option<u32>,
    /// A [`HaltRule`] as text.
    halt: Option<String>,
    /// Row of the puzzle table.
    #[serde(default)]
    puzzle_id: u32,
    /// Whether the answer to `/solve` has the boards after every segment.
    #[serde(default)]
    trace: bool,
}

/// An answer as it is sent.
#[derive(Debug, Serialize)]
struct Solved {
    question: String,
    answer: String,
    verdict: Verdict,
    segments: u32,
    confidence: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    trace: Vec<String>,
}

/// The answer so far, as it is sent.
#[derive(Debug, Serialize)]
struct Step {
    segment: u32,
    board: String,
}

/// Why there is no answer.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    error: String,
}

impl Refusal {
    fn new(status: StatusCode, error: impl ToString) -> Self {
        Self {
            status,
            error: error.to_string(),
        }
    }

    fn bad(error: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    fn timed_out(settings: &Settings) -> Self {
        let error = format!("no answer within {} s", settings.timeout_seconds);
        Self::new(StatusCode::GATEWAY_TIMEOUT, error)
    }

    fn failed() -> Self {
        let error = "the model has stopped without an answer";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": self.error }));
        let mut response = (self.status, body).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

pub(crate) fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/solve", post(solve))
        .route("/watch", post(watch))
        .route("/example", get(example))
        .route("/health", get(health))
        .route("/status", get(status))
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "there is no such page"))
        .method_not_allowed_fallback(async || {
            Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "this page takes another method",
            )
        })
        .layer(DefaultBodyLimit::max(state.settings.max_body))
        .with_state(state)
}

async fn page() -> Html<&'static str> {
    Html(include_str!("page.html"))
}

async fn health(Shared(state): Shared<Arc<State>>) -> (StatusCode, Json<Value>) {
    match state.thinker.is_open() {
        true => (StatusCode::OK, Json(json!({ "status": "ok" }))),
        false => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({ "status": "stopping" })),
        ),
    }
}

async fn status(Shared(state): Shared<Arc<State>>) -> Json<Value> {
    let served = &state.served;
    let config = served.model.config();
    let mut task = json!({ "name": served.task.name(), "cells": config.seq_len });
    match served.task {
        Task::Sudoku(size) => {
            task["side"] = size.side().into();
            task["box_rows"] = size.box_rows().into();
            task["box_columns"] = size.box_columns().into();
        }
        Task::Maze { height, width } => {
            task["height"] = height.into();
            task["width"] = width.into();
        }
        Task::Arc | Task::Other => {}
    }
    Json(json!({
        "task": task,
        "model": {
            "checkpoint": served.name,
            "step": served.step,
            "parameters": config.num_parameters(),
        },
        "bounds": state.settings,
        "default_segments": served.default_segments(&state.settings),
        "puzzles": state.thinker.tally(),
        "uptime_seconds": state.started.elapsed().as_secs(),
    }))
}

async fn example(Shared(state): Shared<Arc<State>>) -> Result<Json<Value>, Refusal> {
    let next = state.next_example.fetch_add(1, Ordering::Relaxed);
    let examples = &state.served.examples;
    let puzzle = next
        .checked_rem(examples.len())
        .and_then(|place| examples.get(place));
    match puzzle {
        Some(puzzle) => Ok(Json(json!({ "puzzle": puzzle }))),
        None => Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "there are no examples of this task",
        )),
    }
}

/// A puzzle in the queue, with what is needed to answer.
struct Asked {
    inputs: Vec<u8>,
    thought: Thought,
    deadline: tokio::time::Instant,
    trace: bool,
}

/// Reads a request and puts its puzzle into the queue.
async fn ask(state: &State, request: Request, watched: bool) -> Result<Asked, Refusal> {
    let settings = &state.settings;
    let deadline = tokio::time::Instant::now() + settings.timeout();
    let body = read_body(settings, request, deadline).await?;
    let ask: Ask = serde_json::from_slice(&body).map_err(|error| {
        Refusal::bad(format!(
            "the body must be a JSON object with `puzzle`: {error}"
        ))
    })?;
    let served = &state.served;
    let inputs = served
        .task
        .parse(&ask.puzzle, served.model.config().seq_len)
        .map_err(|error| Refusal::bad(format!("puzzle: {error}")))?;
    if let Some(segments) = ask.segments
        && !(1..=settings.max_segments).contains(&segments)
    {
        return Err(Refusal::bad(format!(
            "segments: expected 1 to {}, found {segments}",
            settings.max_segments
        )));
    }
    let manner = Manner {
        max_segments: ask.segments,
        halt: ask.halt.as_deref().map(halt_rule).transpose()?,
        watched: watched || ask.trace,
    };
    let puzzle = Puzzle {
        inputs: inputs.clone(),
        puzzle_id: ask.puzzle_id,
    };
    let thought = state.thinker.ask(puzzle, manner).map_err(|why| {
        let error = match why {
            TurnedAway::Full => format!("{} puzzles are waiting already", settings.queue),
            TurnedAway::Stopping => "the server is stopping".to_owned(),
        };
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error)
    })?;
    Ok(Asked {
        inputs,
        thought,
        deadline,
        trace: ask.trace,
    })
}

/// The body, if it is no longer than allowed and comes in time.
async fn read_body(
    settings: &Settings,
    request: Request,
    deadline: tokio::time::Instant,
) -> Result<Bytes, Refusal> {
    let too_large = || {
        let error = format!("expected at most {} bytes, found more", settings.max_body);
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, error)
    };
    // Said before it is sent, it need not be sent at all.
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced: Option<u64> = announced.and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|bytes| bytes > settings.max_body as u64) {
        return Err(too_large());
    }
    match timeout_at(deadline, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(refused)) if refused.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(too_large()),
        Ok(Err(refused)) => Err(Refusal::new(refused.status(), refused.body_text())),
        Err(_) => {
            let error = format!("no whole request within {} s", settings.timeout_seconds);
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, error))
        }
    }
}

/// A halting rule as `hrm solve` has it.
fn halt_rule(text: &str) -> Result<HaltRule, Refusal> {
    text.parse()
        .map_err(|error: ReasonError| Refusal::bad(format!("halt: {error}")))
}

/// What is sent of an answer.
fn solved(
    state: &State,
    inputs: &[u8],
    answer: Result<Answer, ReasonError>,
) -> Result<Solved, Refusal> {
    let answer = answer.map_err(|error| match error {
        ReasonError::Device { .. } => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error),
        // The reasoner counts the puzzles of all clients.
        ReasonError::PuzzleId { rows, found, .. } => Refusal::bad(format!(
            "puzzle_id: expected one below {rows}, found {found}"
        )),
        ReasonError::Token {
            cell,
            vocab_size,
            found,
            ..
        } => Refusal::bad(format!(
            "puzzle: expected tokens below {vocab_size}, found {found} in cell {cell}"
        )),
        _ => Refusal::bad(error),
    })?;
    let task = state.served.task;
    let note = (answer.verified == Some(false))
        .then(|| task.objection(inputs, &answer.tokens, MAX_GUESSES));
    Ok(Solved {
        question: task.line(inputs),
        answer: task.line(&answer.tokens),
        verdict: answer.verdict(0.0),
        segments: answer.segments,
        confidence: answer.confidence,
        note: note.flatten(),
        trace: Vec::new(),
    })
}

async fn solve(
    Shared(state): Shared<Arc<State>>,
    request: Request,
) -> Result<Json<Solved>, Refusal> {
    let mut asked = ask(&state, request, false).await?;
    let mut trace = Vec::new();
    loop {
        match timeout_at(asked.deadline, asked.thought.next()).await {
            Ok(Some(Heard::Segment { tokens, .. })) if asked.trace => {
                trace.push(state.served.task.line(&tokens));
            }
            Ok(Some(Heard::Segment { .. })) => {}
            Ok(Some(Heard::Answer(answer))) => {
                let solved = solved(&state, &asked.inputs, answer)?;
                return Ok(Json(Solved { trace, ..solved }));
            }
            Ok(None) => return Err(Refusal::failed()),
            Err(_) => return Err(Refusal::timed_out(&state.settings)),
        }
    }
}

/// The segments as they are thought, then the answer: events `segment`, and `answer` or `failed`.
async fn watch(
    Shared(state): Shared<Arc<State>>,
    request: Request,
) -> Result<impl IntoResponse, Refusal> {
    let asked = ask(&state, request, true).await?;
    let (events, stream) = mpsc::channel(EVENTS);
    tokio::spawn(async move {
        let deadline = asked.deadline;
        tokio::select! {
            told = timeout_at(deadline, tell(&state, asked, &events)) => if told.is_err() {
                let refusal = Refusal::timed_out(&state.settings);
                // A reader that is behind gets no reason.
                let _ = events.try_send(Ok(failed(&refusal)));
            },
            // The reader has gone; the thought is dropped, which gives the puzzle up.
            () = events.closed() => {}
        }
    });
    Ok(Sse::new(ReceiverStream::new(stream)).keep_alive(KeepAlive::default()))
}

/// Passes on what is heard of a puzzle.
async fn tell(state: &State, mut asked: Asked, events: &mpsc::Sender<Result<Event, Infallible>>) {
    loop {
        let (event, last) = match asked.thought.next().await {
            Some(Heard::Segment { segment, tokens }) => {
                let board = state.served.task.line(&tokens);
                (event("segment", &Step { segment, board }), false)
            }
            Some(Heard::Answer(answer)) => match solved(state, &asked.inputs, answer) {
                Ok(solved) => (event("answer", &solved), true),
                Err(refusal) => (failed(&refusal), true),
            },
            None => (failed(&Refusal::failed()), true),
        };
        if events.send(Ok(event)).await.is_err() || last {
            return;
        }
    }
}

fn failed(refusal: &Refusal) -> Event {
    let status = refusal.status.as_u16();
    event(
        "failed",
        &json!({ "status": status, "error": refusal.error }),
    )
}

fn event(name: &str, data: &impl Serialize) -> Event {
    let event = Event::default().event(name);
    // Numbers, strings and lists of them: they are always JSON, and JSON without line ends is always an event.
    event.json_data(data).unwrap_or_default()
}
