//! The signal of a terminal that goes away.

#![allow(unsafe_code)]

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Has `listen` take signals over. Where the end of a terminal was to be ignored, as under `nohup`, it stays so.
pub(crate) fn kept<T>(listen: impl FnOnce() -> T) -> T {
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: to ignore a signal needs no handler that could be called at a wrong time.
    let set = || unsafe { sigaction(Signal::SIGHUP, &ignore) };
    let before = set();
    let listening = listen();
    if before.is_ok_and(|before| matches!(before.handler(), SigHandler::SigIgn)) {
        let _ = set();
    }
    listening
}
