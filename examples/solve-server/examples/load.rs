//! Many clients at once: each asks again as soon as it has an answer. Counts what comes back, and watches the server's memory.
//!
//! ```text
//! cargo run --release -p solve-server -- --checkpoint run &
//! cargo run --release -p solve-server --example load -- --clients 200 --seconds 60 --pid $!
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::{Value, json};

/// Ask a solve-server as many clients at once.
#[derive(Parser)]
struct Options {
    /// The server.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// Clients, each with a connection of its own.
    #[arg(long, default_value_t = 200)]
    clients: usize,
    /// How long.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Of these clients every n-th watches the segments; 0 for none.
    #[arg(long, default_value_t = 10)]
    watch_every: usize,
    /// Process of the server, to sample its resident memory (Linux).
    #[arg(long)]
    pid: Option<u32>,
}

/// What the answers were.
#[derive(Default)]
struct Counts {
    solved: u64,
    verified: u64,
    turned_away: u64,
    /// Anything else, by what it was.
    errors: BTreeMap<String, u64>,
    /// Milliseconds of each answer.
    times: Vec<f32>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_idle_connections(0)
        .build()
        .into();
    let puzzles = examples(&agent, &options.url)?;
    let start = Instant::now();
    let end = start + Duration::from_secs(options.seconds);
    let (counts, memory) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..options.clients)
            .map(|client| {
                let (options, puzzles) = (&options, &puzzles);
                scope.spawn(move || ask_until(options, puzzles, client, end))
            })
            .collect();
        let memory = options.pid.map(|pid| sample(pid, end));
        let mut all = Counts::default();
        for client in clients {
            match client.join() {
                Ok(counts) => all.add(counts),
                Err(_) => *all.errors.entry("a client panicked".into()).or_default() += 1,
            }
        }
        (all, memory.transpose())
    });
    let seconds = start.elapsed().as_secs_f64();
    report(&options, counts, seconds);
    if let Some(samples) = memory? {
        let at = |share: f64| samples[((samples.len() - 1) as f64 * share) as usize];
        println!(
            "resident memory in MiB: {:.1} at the start, {:.1} after a quarter, {:.1} after a half, {:.1} at the end",
            at(0.0),
            at(0.25),
            at(0.5),
            at(1.0)
        );
    }
    Ok(())
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.solved += other.solved;
        self.verified += other.verified;
        self.turned_away += other.turned_away;
        self.times.extend(other.times);
        for (what, count) in other.errors {
            *self.errors.entry(what).or_default() += count;
        }
    }
}

/// The puzzles that the server offers.
fn examples(agent: &ureq::Agent, url: &str) -> Result<Vec<String>> {
    let mut puzzles = Vec::new();
    for _ in 0..24 {
        let mut response = agent
            .get(format!("{url}/example"))
            .call()
            .with_context(|| format!("cannot reach {url}"))?;
        let example: Value = response.body_mut().read_json()?;
        match example["puzzle"].as_str() {
            Some(puzzle) => puzzles.push(puzzle.to_owned()),
            None => bail!("{url}/example: {example}"),
        }
    }
    Ok(puzzles)
}

/// One client, on a connection that is kept.
fn ask_until(options: &Options, puzzles: &[String], client: usize, end: Instant) -> Counts {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let watches = options.watch_every > 0 && client.is_multiple_of(options.watch_every);
    let path = if watches { "watch" } else { "solve" };
    let url = format!("{}/{path}", options.url);
    let mut counts = Counts::default();
    let mut asked = client;
    while Instant::now() < end {
        let puzzle = &puzzles[asked % puzzles.len()];
        asked += 1;
        let start = Instant::now();
        let answer = agent
            .post(&url)
            .send_json(json!({ "puzzle": puzzle }))
            .and_then(|mut response| {
                Ok((
                    response.status().as_u16(),
                    response.body_mut().read_to_string()?,
                ))
            });
        match answer {
            Ok((200, text)) if text.contains("\"answer\":") => {
                counts.solved += 1;
                counts.verified += u64::from(text.contains("\"verdict\":\"verified\""));
                counts.times.push(start.elapsed().as_secs_f32() * 1e3);
            }
            Ok((503, _)) => {
                counts.turned_away += 1;
                std::thread::sleep(Duration::from_secs(1));
            }
            Ok((status, text)) => {
                *counts
                    .errors
                    .entry(format!("{status}: {text}"))
                    .or_default() += 1;
            }
            Err(error) => *counts.errors.entry(error.to_string()).or_default() += 1,
        }
    }
    counts
}

/// Resident memory of a process once a second, in MiB.
fn sample(pid: u32, end: Instant) -> Result<Vec<f64>> {
    let path = format!("/proc/{pid}/status");
    let mut samples = Vec::new();
    loop {
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| {
            line.trim()
                .trim_end_matches("kB")
                .trim()
                .parse::<f64>()
                .ok()
        });
        samples.push(kib.with_context(|| format!("{path}: no VmRSS"))? / 1024.0);
        if Instant::now() >= end {
            return Ok(samples);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn report(options: &Options, mut counts: Counts, seconds: f64) {
    counts.times.sort_unstable_by(f32::total_cmp);
    let at = |share: f64| {
        let place = (counts.times.len().saturating_sub(1)) as f64 * share;
        counts.times.get(place as usize).copied().unwrap_or(0.0)
    };
    println!(
        "{} clients, {seconds:.1} s: {} answers ({} verified), {:.0} a second; {} turned away; {} errors",
        options.clients,
        counts.solved,
        counts.verified,
        counts.solved as f64 / seconds,
        counts.turned_away,
        counts.errors.values().sum::<u64>(),
    );
    println!(
        "milliseconds to an answer: median {:.0}, 99 of 100 within {:.0}, longest {:.0}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    for (what, count) in &counts.errors {
        println!("error, {count} times: {what}");
    }
}
