//! Everything that touches a destination: ssh, rsync, scripts there, and reading the source.
//!
//! Invariants: no name ever reaches a shell as code: here arguments go in vectors, there one fixed command
//! reads a script with quoted names from its standard input. No child outlives the pass by a second: all
//! run in one process group with a guard that ends it. Only this part starts rsync and ssh; it knows the
//! model, and nothing of the ledger.

mod account;
pub mod destination;
mod df;
pub mod exact;
pub mod exchange;
#[cfg(test)]
#[path = "../../tests/fuzz/transfer.rs"]
mod fuzz;
pub mod guard;
pub mod inspect;
pub mod inventory;
pub mod manifest;
mod outcome;
mod process;
pub mod readback;
pub mod rsync;
mod script;
mod shell;
pub mod source;
mod ssh;
pub mod stream;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;

use crate::error::{Error, Exit};
use crate::faults::{Fault, Met};
use crate::signals::Stop;

pub use shell::{Connection, Session};

/// Why a transfer stopped before its end.
#[derive(Debug)]
pub enum Halt {
    /// It met a fault.
    Fault(Met),
    /// A signal to this program asks it to stop.
    Signal(Exit),
    /// One of its children was ended by a signal from outside: interrupted, and no fault.
    Cut(String),
    /// The whole command cannot go on.
    Error(Error),
}

impl Halt {
    /// A fault with its message.
    pub fn fault(fault: Fault, message: impl Into<String>) -> Self {
        Self::Fault(Met::new(fault, message))
    }
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Met> for Halt {
    fn from(met: Met) -> Self {
        Self::Fault(met)
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Making a connection: ssh's ConnectTimeout.
    pub connect: Duration,
    /// An answer from the destination's shell.
    pub answer: Duration,
    /// Sending without anything moving.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            answer: Duration::from_secs(60),
            stall: Duration::from_secs(600),
        }
    }
}

/// What children are given of this program's environment, and the limits.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    /// PATH, HOME and the like; all else is cleared, RSYNC_* among it.
    pub environment: Vec<(String, std::ffi::OsString)>,
    /// An ssh_config to use instead of the user's own.
    pub ssh_config: Option<Utf8PathBuf>,
    /// How long things may take.
    pub limits: Limits,
}

/// What every wait looks at: whether to stop, and until when to go on.
#[derive(Clone, Debug)]
pub struct Watch {
    stop: Stop,
    deadline: Instant,
    deadline_s: u32,
    is_late: Option<Arc<AtomicBool>>,
}

impl Watch {
    /// A watch that ends the attempt after `deadline_s` seconds.
    pub fn new(stop: Stop, deadline_s: u32) -> Self {
        Self {
            stop,
            deadline: Instant::now() + Duration::from_secs(u64::from(deadline_s)),
            deadline_s,
            is_late: None,
        }
    }

    /// A watch that also ends what it watches once that is of no use any more.
    #[must_use]
    pub fn until(&self, is_late: Arc<AtomicBool>) -> Self {
        Self { is_late: Some(is_late), ..self.clone() }
    }

    /// # Errors
    /// The halt that is due: a signal, or the deadline.
    pub fn check(&self) -> Result<(), Halt> {
        if let Some(exit) = self.stop.requested() {
            return Err(Halt::Signal(exit));
        }
        if Instant::now() >= self.deadline {
            return Err(Halt::fault(
                Fault::Deadline,
                format!("the attempt took longer than its deadline of {} s", self.deadline_s),
            ));
        }
        if self.is_late.as_ref().is_some_and(|is_late| is_late.load(Ordering::Relaxed)) {
            return Err(Halt::Cut("it is of no use any more".to_owned()));
        }
        Ok(())
    }
}
