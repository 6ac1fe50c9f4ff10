//! `solve-server --checkpoint RUN`: the server as a program.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use solve_server::{Served, Settings, serve};
use tokio::net::TcpListener;

/// Serve a checkpoint over HTTP, with a page that shows it thinking.
#[derive(Parser)]
struct Options {
    /// Run folder (its last checkpoint) or checkpoint file.
    #[arg(long, value_name = "RUN|FILE")]
    checkpoint: PathBuf,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: String,
    /// What computes; HRM_DEVICE where it is not given.
    #[arg(long, value_name = "D")]
    device: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(options: Options) -> Result<()> {
    let device = hrm::device::choose(options.device.as_deref())?;
    let served = Served::open(&options.checkpoint, &device)?;
    eprintln!("{}", served.describe());
    // The model computes in a thread of its own; two are enough for what is read and written.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(&options.listen)
            .await
            .with_context(|| format!("cannot listen on {}", options.listen))?;
        println!("http://{}", listener.local_addr()?);
        serve(listener, served, options.settings, stop_signal()?).await
    })?;
    eprintln!("stopped; every accepted puzzle was answered or given up by its client");
    Ok(())
}

/// Done at Ctrl-C or SIGTERM; the second one ends the program at once.
fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static> {
    let mut signals = Signals::new()?;
    Ok(async move {
        signals.next().await;
        let _ = writeln!(
            std::io::stderr(),
            "stopping: finishing what is in flight; once more to stop at once"
        );
        tokio::spawn(async move {
            signals.next().await;
            std::process::exit(1);
        });
    })
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            // Without signals the server runs until it is killed.
            std::future::pending::<()>().await;
        }
    }
}
