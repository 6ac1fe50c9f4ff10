//! Serves a model over HTTP: one thread thinks, all requests share its slots, and who asks may watch.
//!
//! ```text
//! client ── POST /solve ──┐                    ┌─ bounded queue ─> one thread: Reasoner::serve
//! client ── POST /watch ──┴─ axum on tokio ────┘        │          (slots refilled after every segment)
//!              ^                                         └─ full: 503, Retry-After
//!              └────────── segments and the answer, over a channel of the request's own ──────┘
//! ```
//!
//! The library part exists so that tests can start a server; [`serve`] is all of it.

mod api;
mod served;
mod server;
mod settings;
mod thinker;

pub use served::Served;
pub use server::serve;
pub use settings::Settings;
