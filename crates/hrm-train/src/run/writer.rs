//! Files written beside the training: one thread, at most one job in flight.

use std::thread::{self, JoinHandle};

use crate::error::TrainError;

/// Writes in the background. Dropping it waits for the job at hand.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    job: Option<JoinHandle<Result<(), TrainError>>>,
}

impl Writer {
    /// Starts a job, after the one before has ended.
    ///
    /// # Errors
    /// That of the job before; then this one isn't started. Or if no thread can be had.
    pub(crate) fn submit(
        &mut self,
        job: impl FnOnce() -> Result<(), TrainError> + Send + 'static,
    ) -> Result<(), TrainError> {
        self.wait()?;
        let thread = thread::Builder::new()
            .name("hrm-checkpoint".to_owned())
            .spawn(job)
            .map_err(TrainError::io("start", "a thread that writes checkpoints"))?;
        self.job = Some(thread);
        Ok(())
    }

    /// The error of the job, if it has ended with one. Waits for nothing.
    pub(crate) fn poll(&mut self) -> Result<(), TrainError> {
        match &self.job {
            Some(job) if job.is_finished() => self.wait(),
            _ => Ok(()),
        }
    }

    /// Waits until nothing is in flight.
    pub(crate) fn wait(&mut self) -> Result<(), TrainError> {
        match self.job.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(ended)) => ended,
            // A bug in the job is the caller's bug as if it had run there.
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(job) = self.job.take() {
            // Whoever cares for the error has waited for it.
            let _ = job.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn failure() -> TrainError {
        TrainError::io("write", "x")(std::io::Error::other("full"))
    }

    #[test]
    fn one_job_at_a_time_and_its_error_comes_at_the_next_occasion() {
        let mut writer = Writer::default();
        let (go, gate) = mpsc::channel::<()>();
        let waiting = move || gate.recv().map_err(|_| failure());
        writer.submit(waiting).unwrap();
        writer.poll().unwrap();
        go.send(()).unwrap();
        writer.submit(|| Err(failure())).unwrap();
        let error = writer.submit(|| Ok(())).unwrap_err();
        assert!(matches!(error, TrainError::Io { .. }), "{error}");
        writer.submit(|| Ok(())).unwrap();
        writer.wait().unwrap();
        writer.submit(|| Err(failure())).unwrap();
        while writer.job.as_ref().is_some_and(|job| !job.is_finished()) {
            thread::yield_now();
        }
        assert!(writer.poll().is_err());
        writer.poll().unwrap();
    }
}
