//! SIGINT, SIGTERM and SIGHUP as a wish that is looked at where it is safe to stop.
//!
//! Invariant: a signal never ends the process in the middle of something; the exit code tells which it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::error::{Error, Exit, IoContext};

/// Whether somebody wants the program to stop.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    signal: Arc<AtomicUsize>,
}

impl Stop {
    /// Catches the signals from now on.
    ///
    /// # Errors
    /// 78 where the system refuses.
    pub fn on_signals() -> Result<Self, Error> {
        let stop = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let number = usize::try_from(signal).map_err(Error::bug)?;
            signal_hook::flag::register_usize(signal, Arc::clone(&stop.signal), number)
                .or_configuration("cannot catch signals")?;
        }
        Ok(stop)
    }

    /// The exit code to stop with, if a signal has come.
    pub fn requested(&self) -> Option<Exit> {
        match i32::try_from(self.signal.load(Ordering::Relaxed)) {
            Ok(0) | Err(_) => None,
            Ok(SIGINT) => Some(Exit::Interrupted),
            Ok(_) => Some(Exit::Terminated),
        }
    }
}
