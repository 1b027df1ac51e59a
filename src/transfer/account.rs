//! The account of a child: its command line when it starts, and how it ended.
//!
//! Invariant: each child that starts is told of twice, as events, and its end once, whoever noticed it; what a
//! child said is clipped. Where the events go is not known here. The environment is not told.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};
use std::time::Instant;

use crate::ui;

/// So much of what a child said is told, in bytes.
const SAID_MAX_BYTES: usize = 2000;

/// The account of a child that runs.
#[derive(Debug)]
pub(super) struct Account {
    program: String,
    pid: u32,
    began: Instant,
    is_closed: bool,
}

impl Account {
    /// Tells that a child has started.
    pub(super) fn open(command: &Command, pid: u32) -> Self {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        tracing::info!("child {pid} started: {}", ui::command_line(words));
        let program = command.get_program().to_string_lossy();
        let program = program.rsplit('/').next().unwrap_or_default().to_owned();
        Self { program, pid, began: Instant::now(), is_closed: false }
    }

    /// Tells that it has ended.
    pub(super) fn close(&mut self, status: ExitStatus, said: &str) {
        self.tell_end("ended", status, said);
    }

    /// Tells that it was ended because it is not needed any more, unless its end was told before.
    pub(super) fn close_early(&mut self, status: ExitStatus, said: &str) {
        self.tell_end("was ended by the pass", status, said);
    }

    fn tell_end(&mut self, verb: &str, status: ExitStatus, said: &str) {
        if std::mem::replace(&mut self.is_closed, true) {
            return;
        }
        tracing::info!(
            "child {} ({}) {verb}: {} after {:.3} s{}",
            self.pid,
            self.program,
            how(status),
            self.began.elapsed().as_secs_f64(),
            said_in(said, SAID_MAX_BYTES)
        );
    }
}

/// "exit 0", "signal 9".
fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// "; it said: ...", clipped; nothing where nothing was said.
pub(super) fn said_in(said: &str, max_bytes: usize) -> String {
    match said.trim() {
        "" => String::new(),
        said => format!("; it said: {}", ui::clip_middle(said, max_bytes)),
    }
}
