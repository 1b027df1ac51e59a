//! Children: started in their group with a clean environment, read without ever being waited for blindly.
//!
//! Invariant: what a child prints is taken in bounded pieces, and of its messages a bounded part is kept, so
//! that a child that prints gigabytes costs no memory and cannot block on a full pipe.

use std::io::Read;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::account::Account;
use super::guard::ProcessGroup;
use super::{Halt, Setting, Watch};
use crate::error::IoContext as _;

/// How often a wait looks up.
pub(super) const TICK: Duration = Duration::from_millis(100);
/// After a child's end, so long for the last of its output, which a grandchild may hold open.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// A child that is asked to end is given so long.
const MANNERS: Duration = Duration::from_millis(900);
const CHUNK_BYTES: usize = 64 * 1024;
/// A child that prints many short lines is read at this pace, so that not each of them wakes two threads.
const GATHERING: Duration = Duration::from_millis(2);

/// The first and last of what a child says.
#[derive(Debug, Default)]
pub(super) struct Messages {
    head: Vec<u8>,
    tail: Vec<u8>,
    is_cut: bool,
}

impl Messages {
    const PART_BYTES: usize = 4096;

    pub(super) fn add(&mut self, bytes: &[u8]) {
        let room = Self::PART_BYTES.saturating_sub(self.head.len());
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(first);
        self.tail.extend_from_slice(rest);
        if self.tail.len() > Self::PART_BYTES {
            let surplus = self.tail.len() - Self::PART_BYTES;
            self.tail.drain(..surplus);
            self.is_cut = true;
        }
    }

    /// The text, lossily, without blank lines.
    pub(super) fn text(&self) -> String {
        let mut bytes = self.head.clone();
        if self.is_cut {
            bytes.extend_from_slice(b"\n[...]\n");
        }
        bytes.extend_from_slice(&self.tail);
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> =
            text.split(['\n', '\r']).map(str::trim_end).filter(|line| !line.is_empty()).collect();
        lines.join("\n")
    }
}

/// What a child gives when it is asked.
#[derive(Debug)]
pub(super) enum Event {
    /// Some of its standard output.
    Output(Vec<u8>),
    /// Nothing for the time that was asked for.
    Nothing,
    /// It has closed its outputs, or has ended.
    End,
}

enum Piece {
    Output(Vec<u8>),
    Message(Vec<u8>),
}

/// Bytes that a child has moved, through pipes and files alike, as the kernel counts them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved {
    pub(super) read_bytes: u64,
    pub(super) written_bytes: u64,
}

/// A running child.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    pieces: Receiver<Piece>,
    messages: Messages,
    program: String,
    account: Account,
}

/// How a child ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its exit code; none where a signal ended it.
    pub(super) code: Option<i32>,
    /// The signal that ended it.
    pub(super) signal: Option<i32>,
    /// What it said on standard error.
    pub(super) messages: String,
}

impl Process {
    /// Starts `command` in the group, with only what `setting` allows of the environment.
    pub(super) fn start(
        mut command: Command,
        group: &ProcessGroup,
        setting: &Setting,
        has_stdin: bool,
    ) -> Result<(Self, Option<ChildStdin>), Halt> {
        let program = command.get_program().to_string_lossy().into_owned();
        command.env_clear().envs(setting.environment.iter().map(|(key, value)| (key, value)));
        command.env("LC_ALL", "C").current_dir("/");
        command.stdin(if has_stdin { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        group.adopt(&mut command);
        let mut child = command.spawn().map_err(|error| cannot_start(&program, &error))?;
        let account = Account::open(&command, child.id());
        let (sender, pieces) = sync_channel(16);
        if let Some(output) = child.stdout.take() {
            pump(output, sender.clone(), Piece::Output);
        }
        if let Some(errors) = child.stderr.take() {
            pump(errors, sender, Piece::Message);
        }
        let stdin = child.stdin.take();
        Ok((Self { child, pieces, messages: Messages::default(), program, account }, stdin))
    }

    /// The next of what it does, within `patience`.
    pub(super) fn next(&mut self, patience: Duration) -> Event {
        let began = Instant::now();
        loop {
            match self.pieces.recv_timeout(patience.saturating_sub(began.elapsed())) {
                Ok(Piece::Output(bytes)) => return Event::Output(bytes),
                Ok(Piece::Message(bytes)) => {
                    self.messages.add(&bytes);
                    if began.elapsed() >= patience {
                        return Event::Nothing;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Event::End,
                Err(RecvTimeoutError::Timeout) if self.has_ended() => return self.last_words(),
                Err(RecvTimeoutError::Timeout) => return Event::Nothing,
            }
        }
    }

    /// The child is gone and something still holds its outputs open: what comes soon is taken.
    fn last_words(&mut self) -> Event {
        match self.pieces.recv_timeout(LAST_WORDS) {
            Ok(Piece::Output(bytes)) => Event::Output(bytes),
            Ok(Piece::Message(bytes)) => {
                self.messages.add(&bytes);
                Event::Nothing
            }
            Err(_) => Event::End,
        }
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// What it has said so far on standard error.
    pub(super) fn messages(&self) -> String {
        self.messages.text()
    }

    /// Waits for its end, while `watch` agrees.
    pub(super) fn end(mut self, watch: &Watch) -> Result<Ended, Halt> {
        while !matches!(self.next(TICK), Event::End) {
            watch.check()?;
        }
        loop {
            if let Some(status) =
                self.child.try_wait().or_configuration(format!("cannot wait for {}", self.program))?
            {
                return Ok(self.ended(status));
            }
            watch.check()?;
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Asks it to end, and gives it a moment: rsync then keeps what has arrived of a file.
    pub(super) fn ask_to_end(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.end_within(MANNERS);
    }

    /// How it ended, if it ends within `patience`.
    pub(super) fn end_within(&mut self, patience: Duration) -> Option<Ended> {
        let began = Instant::now();
        loop {
            if matches!(self.next(Duration::from_millis(20)), Event::End)
                && let Ok(Some(status)) = self.child.try_wait()
            {
                return Some(self.ended(status));
            }
            if began.elapsed() >= patience {
                return None;
            }
        }
    }

    fn ended(&mut self, status: ExitStatus) -> Ended {
        self.account.close(status, &self.messages.text());
        Ended { code: status.code(), signal: status.signal(), messages: self.messages.text() }
    }

    /// Its process.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has read and written so far.
    pub(super) fn moved(&self) -> Option<Moved> {
        let text = std::fs::read_to_string(format!("/proc/{}/io", self.child.id())).ok()?;
        let count =
            |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok());
        Some(Moved { read_bytes: count("rchar:")?, written_bytes: count("wchar:")? })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Waiting reaps it; one that has ended by itself is not disturbed.
        let _ = self.child.kill();
        if let Ok(status) = self.child.wait() {
            self.account.close_early(status, &self.messages.text());
        }
    }
}

fn cannot_start(program: &str, error: &std::io::Error) -> Halt {
    let failure = crate::error::Error::configuration(format!("cannot start {program}: {error}"));
    match error.kind() {
        std::io::ErrorKind::NotFound => failure
            .hint(format!("install {program} on this machine, or put its folder into PATH of the cron job"))
            .into(),
        _ => failure.into(),
    }
}

fn pump(mut from: impl Read + Send + 'static, to: SyncSender<Piece>, wrap: fn(Vec<u8>) -> Piece) {
    std::thread::spawn(move || {
        let mut buffer = vec![0u8; CHUNK_BYTES];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    if to.send(wrap(buffer[..count].to_vec())).is_err() {
                        break;
                    }
                    if count < CHUNK_BYTES / 4 {
                        std::thread::sleep(GATHERING);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_endless_messages_the_first_and_the_last_are_kept() {
        let mut messages = Messages::default();
        messages.add(b"first\n");
        for _ in 0..100_000 {
            messages.add(b"noise noise noise\n");
        }
        messages.add(b"last\n");
        let text = messages.text();
        assert!(text.starts_with("first\n") && text.ends_with("last") && text.contains("[...]"));
        assert!(text.len() < 10_000);
    }
}
