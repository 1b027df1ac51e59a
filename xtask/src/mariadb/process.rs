//! The server's process, and the shell that ends it when we die without having done so ourselves.
//!
//! Invariant: only this process is signalled, and never after it was waited for; whatever kills us, Ctrl-C in
//! the terminal or SIGKILL, the server does not outlive us.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::processes::{self, Signal, wait_until};

/// A server that was started and not yet waited for.
#[derive(Debug)]
pub(super) struct Process {
    server: Child,
    /// Waits for the end of its standard input, which is a pipe that only we hold open.
    guard: Child,
}

impl Process {
    /// Starts the server, then its guard. `mark` is an argument of the server's that no other process has.
    pub(super) fn start(command: &mut Command, log: File, mark: &str) -> io::Result<Process> {
        let program = command.get_program().to_string_lossy().into_owned();
        // In groups of their own, so that a Ctrl-C in our terminal reaches neither of them, but through us both.
        let mut server = with_pinned_environment(command)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
        match start_guard(server.id(), mark) {
            Ok(guard) => Ok(Process { server, guard }),
            Err(error) => {
                end(&mut server);
                Err(error)
            }
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.server.id()
    }

    pub(super) fn has_ended(&mut self) -> bool {
        matches!(self.server.try_wait(), Ok(Some(_)) | Err(_))
    }

    /// Asks the server to end in order and waits for it; a server that takes longer than `limit` is killed.
    pub(super) fn stop(mut self, limit: Duration) -> io::Result<ExitStatus> {
        processes::signal(self.id(), Signal::TERM)?;
        if wait_until(limit, || self.has_ended()) {
            self.server.wait()
        } else {
            let seconds = limit.as_secs();
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("mariadbd did not stop in {seconds} s and was killed"),
            ))
        }
    }

    #[cfg(test)]
    pub(super) fn guard(&mut self) -> &mut Child {
        &mut self.guard
    }
}

/// Kills what still runs, a paused server too. The guard goes first, while the server's process id cannot
/// belong to anybody else.
impl Drop for Process {
    fn drop(&mut self) {
        end(&mut self.guard);
        end(&mut self.server);
    }
}

/// The option without which root may not start the server.
pub(super) fn user_option() -> Option<&'static str> {
    rustix::process::geteuid().is_root().then_some("--user=root")
}

/// English messages, the time zone UTC, and no password or address from the environment.
pub(super) fn with_pinned_environment(command: &mut Command) -> &mut Command {
    for name in ["MYSQL_PWD", "MYSQL_HOST", "MYSQL_TCP_PORT", "MYSQL_UNIX_PORT", "MYSQL_HOME"] {
        command.env_remove(name);
    }
    command.env("LC_ALL", "C").env("TZ", "UTC")
}

fn start_guard(server: u32, mark: &str) -> io::Result<Child> {
    // The argument is asked for because the number may belong to another process by then.
    const SCRIPT: &str = "read -r _
        grep -qaF -e \"$2\" \"/proc/$1/cmdline\" && kill -KILL \"$1\"";
    Command::new("/bin/sh")
        .args(["-c", SCRIPT, "sh", &server.to_string(), mark])
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// Both steps fail only for a process that has ended, which is what is wanted.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
