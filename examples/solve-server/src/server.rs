//! From a listener to the last answer.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::api::{self, State};
use crate::served::Served;
use crate::settings::Settings;
use crate::thinker::{Thinker, Worker};

/// Time that a client has for reading its answer while the server stops.
const GRACE: Duration = Duration::from_secs(1);

/// Serves until `stop` is done; then takes no more puzzles, answers those in flight, and returns.
///
/// # Errors
/// If the model can't be used, the device fails, or the listener does.
pub async fn serve(
    listener: TcpListener,
    served: Served,
    settings: Settings,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let reasoner = served.reasoner(&settings)?;
    let (thinker, worker) = Thinker::start(reasoner, settings.queue)?;
    let Worker { ended, thread } = worker;
    let state = Arc::new(State::new(served, settings, thinker));

    let (stopping, mut stops) = watch::channel(false);
    let signal = {
        let state = Arc::clone(&state);
        async move {
            tokio::select! {
                () = stop => {}
                // A thread that thinks no more has failed: there is nothing left to serve.
                _ = ended => {}
            }
            state.thinker.close();
            // The other end waits until the server is done.
            let _ = stopping.send(true);
        }
    };
    let server = axum::serve(listener, api::router(Arc::clone(&state)));
    let server = server.with_graceful_shutdown(signal);
    tokio::select! {
        done = server => done.context("the listener failed")?,
        // A client that has opened a connection and says nothing, or doesn't read, is not waited for.
        () = async {
            // An error means that the server ended: the other branch.
            let _ = stops.wait_for(|stopping| *stopping).await;
            drained(&state).await;
        } => {}
    }
    state.thinker.close();
    let thread = tokio::task::spawn_blocking(move || thread.join());
    match thread.await.context("waiting for the model's thread")? {
        Ok(done) => Ok(done?),
        Err(_) => Err(anyhow!("the model's thread panicked")),
    }
}

/// Waits until nothing has been in flight for the time of [`GRACE`], at most until every request must have timed out.
async fn drained(state: &State) {
    let start = Instant::now();
    let mut busy = start;
    while start.elapsed() < state.settings.timeout() + GRACE && busy.elapsed() < GRACE {
        if state.thinker.tally().in_flight > 0 {
            busy = Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
