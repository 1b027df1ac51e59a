//! What ends a command early: a sentence, a way out, and the exit code of the table.
//!
//! Invariant: every error has one of the documented exit codes. Faults of single copies are not errors:
//! they are recorded in the ledger (`faults`). This module must not know who raises what.

use std::fmt;

/// The exit codes of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// A copy faulted in this pass, or a check found something.
    Faulted = 1,
    /// Usage, or a value refused.
    Usage = 2,
    /// A bug in this program.
    Bug = 70,
    /// Try again later: somebody else holds what is needed.
    TryAgain = 75,
    /// Configuration, or the ledger.
    Configuration = 78,
    /// Ended by SIGINT.
    Interrupted = 130,
    /// Ended by SIGTERM (or SIGHUP).
    Terminated = 143,
}

/// An error that ends the command.
#[derive(Debug)]
pub struct Error {
    /// The code that the process exits with.
    pub exit: Exit,
    message: String,
    hints: Vec<String>,
}

/// The result of everything that can end a command.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with its exit code.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string(), hints: Vec::new() }
    }

    /// A usage error, or a value that is refused: exit 2.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Something in the configuration or the ledger must be mended first: exit 78.
    pub fn configuration(message: impl fmt::Display) -> Self {
        Self::new(Exit::Configuration, message)
    }

    /// Somebody else holds what is needed: exit 75.
    pub fn try_again(message: impl fmt::Display) -> Self {
        Self::new(Exit::TryAgain, message)
    }

    /// A state that this program believes to be impossible: exit 70.
    pub fn bug(message: impl fmt::Display) -> Self {
        Self::new(Exit::Bug, message).hint("this is a bug in minidvodbcopy: please report this line")
    }

    /// The same error with the place in front that it was met at: "FILE:LINE".
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// The same error with another exit code.
    #[must_use]
    pub fn with_exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// What happened, without the ways out.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The ways out.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// The same error with a way out added.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hints.push(hint.to_string());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.hints.iter().try_for_each(|hint| write!(f, "\n  hint: {hint}"))
    }
}

impl std::error::Error for Error {}

/// Gives an input or output error its path and what was tried.
pub trait IoContext<T> {
    /// Turns the error into one of the configuration, with `what` in front: "cannot read /x".
    fn or_configuration(self, what: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> IoContext<T> for std::result::Result<T, E> {
    fn or_configuration(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Error::configuration(format!("{what}: {error}")))
    }
}
