//! What the server allows.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

/// The announced bounds; `GET /status` repeats them.
#[derive(Clone, Debug, PartialEq, Eq, Args, Serialize)]
pub struct Settings {
    /// Puzzles thought about at a time.
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = at_least_one)]
    pub slots: usize,
    /// Requests that may wait for a slot; the next one is turned away with 503.
    #[arg(long, default_value_t = 256, value_name = "N", value_parser = at_least_one)]
    pub queue: usize,
    /// Most segments that a request may ask for.
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_segments: u32,
    /// Most seconds on a request, waiting included.
    #[arg(long = "timeout", default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout_seconds: u64,
    /// Most bytes of a request.
    #[arg(long, default_value_t = 16384, value_name = "BYTES", value_parser = at_least_one)]
    pub max_body: usize,
}

impl Settings {
    /// Most time on a request, waiting included.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }
}

impl Default for Settings {
    /// 64 slots, 256 waiting, at most 64 segments, 10 seconds, 16 KiB.
    fn default() -> Self {
        Self {
            slots: 64,
            queue: 256,
            max_segments: 64,
            timeout_seconds: 10,
            max_body: 16384,
        }
    }
}

/// Channels and batches of the size of a typing error would take all memory.
const MOST: usize = 1 << 20;

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=MOST) => Ok(number),
        _ => Err(format!("expected 1 to {MOST}, found `{text}`")),
    }
}
