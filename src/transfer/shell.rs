//! A connection to a destination: one shell there (or here, for `localhost`) that scripts are fed to.
//!
//! Invariant: the destination's login shell is given one fixed word, `/bin/sh -s`; everything else travels on
//! that shell's standard input. Each script runs in a subshell without standard input, and its end is marked
//! by a word that only this connection knows, so that what it prints cannot be taken for its end.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command};
use std::time::{Duration, Instant};

use xshell::{Shell, cmd};

use super::account::said_in;
use super::guard::ProcessGroup;
use super::process::{Ended, Event, Process, TICK};
use super::{Halt, Setting, Watch, outcome, ssh};
use crate::error::IoContext as _;
use crate::faults::Fault;
use crate::model::Host;

/// The most memory that a script there may use, in KiB: a tool that prints without end would otherwise fill the
/// host's, should its shell keep what it says.
const MEMORY_MAX_KIB: u64 = 2 * 1024 * 1024;
/// The most that the answer to a greeting may have, in bytes.
const GREETING_MAX_BYTES: usize = 16 * 1024;
/// The most that a script's answer may have.
const ANSWER_MAX_BYTES: usize = 1024 * 1024;
/// The mark, and behind it a blank, the status and a newline: while they may still be coming, so much is kept.
const STATUS_MAX_BYTES: usize = 16;
/// The most that a script's number and the dash before it take.
const NUMBER_MAX_BYTES: usize = 21;
/// The most that the list of a folder may have: some two million files.
const LONG_ANSWER_MAX_BYTES: usize = 256 * 1024 * 1024;
/// A session that is not needed is given so long to end.
const LEAVING: Duration = Duration::from_secs(2);
/// The most of a login shell's rubbish that is shown, and of what a failed script printed.
const RUBBISH_MAX_BYTES: usize = 400;

/// What a script printed, on both outputs, and its exit status.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: i32,
    pub(super) output: Vec<u8>,
}

impl Answer {
    /// The output as text, lossily.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).trim_end().to_owned()
    }
}

/// What it takes to have further sessions over a connection, beside whatever else is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sessions<'a> {
    host: &'a Host,
    socket_dir: &'a Path,
    group: &'a ProcessGroup,
}

impl Sessions<'_> {
    /// Begins one.
    pub(super) fn begin(&self, setting: &Setting) -> Result<Session, Halt> {
        let command = ssh::client(self.host, self.socket_dir)?;
        let (process, stdin) = with_stdin(Process::start(command, self.group, setting, true)?)?;
        Ok(Session { process, stdin })
    }

    /// Fails where somebody killed the guard.
    pub(super) fn check_guard(&self) -> Result<(), Halt> {
        check_guard(self.group)
    }
}

fn with_stdin((process, stdin): (Process, Option<ChildStdin>)) -> Result<(Process, ChildStdin), Halt> {
    let stdin = stdin.ok_or_else(|| crate::error::Error::bug("a shell without standard input"))?;
    Ok((process, stdin))
}

fn check_guard(group: &ProcessGroup) -> Result<(), Halt> {
    if group.is_guarded() {
        Ok(())
    } else {
        Err(Halt::Cut("the guard of the child processes was killed".to_owned()))
    }
}

/// A session beside a connection's own: a shell there, which reads its script, and what the script reads, from standard
/// input. To begin one takes a turn or two with the host.
#[derive(Debug)]
pub struct Session {
    pub(super) process: Process,
    pub(super) stdin: ChildStdin,
}

impl Session {
    /// Ends it in order: a server that allows few of them has room for another one then.
    pub(super) fn leave(mut self) {
        drop(self.stdin);
        let _ = self.process.end_within(LEAVING);
    }
}

/// A connection, with everything that runs over it.
#[derive(Debug)]
pub struct Connection {
    // Declared first: dropped first, so that the group is ended before its members are waited for.
    pub(super) group: ProcessGroup,
    process: Process,
    stdin: ChildStdin,
    mark: String,
    /// The number of the script sent last: what an earlier one, given up, still says is not taken for its answer.
    number: u64,
    /// The number of the script whose answer was taken last.
    answered: u64,
    received: Vec<u8>,
    /// The short name of the script sent last, and when that was.
    asked: (&'static str, Instant),
    /// What the fastest answer took.
    round_trip: Duration,
    /// The folder with the master's socket; none for `localhost`.
    pub(super) socket_dir: Option<PathBuf>,
    /// Where it leads to.
    pub host: Host,
}

impl Connection {
    /// The process id of its ssh.
    pub(super) fn client_id(&self) -> u32 {
        self.process.id()
    }

    /// Connects to `host`, and makes sure that its shell answers with nothing but what it is asked.
    ///
    /// # Errors
    /// 211 to 214 where it does not come about.
    pub fn open(host: &Host, setting: &Setting, watch: &Watch) -> Result<Self, Halt> {
        let socket_dir = if host.is_local() { None } else { Some(ssh::socket_dir()?) };
        let group = ProcessGroup::start(socket_dir.as_deref())?;
        let command = match &socket_dir {
            Some(dir) => ssh::master(host, dir, setting)?,
            None => {
                let shell = Shell::new().or_configuration("cannot find the working folder")?;
                cmd!(shell, "/bin/sh -s").into()
            }
        };
        let (process, stdin) = with_stdin(Process::start(command, &group, setting, true)?)?;
        let mark = format!("minidvodbcopy-{:016x}", rand_u64()?);
        let mut connection = Self {
            group,
            process,
            stdin,
            mark,
            number: 0,
            answered: 0,
            received: Vec::new(),
            asked: ("", Instant::now()),
            round_trip: Duration::MAX,
            socket_dir,
            host: host.clone(),
        };
        connection.greet(setting, watch)?;
        Ok(connection)
    }

    fn greet(&mut self, setting: &Setting, watch: &Watch) -> Result<(), Halt> {
        let patience = setting.limits.connect + setting.limits.answer;
        self.send("greeting", "")?;
        let answer = self.answer_of(GREETING_MAX_BYTES, patience, watch)?;
        if answer.output.is_empty() {
            return Ok(());
        }
        let shown = &answer.output[..answer.output.len().min(RUBBISH_MAX_BYTES)];
        Err(Halt::fault(
            Fault::HostTools,
            format!(
                "the login shell of {} prints, unasked: {}",
                self.host,
                String::from_utf8_lossy(shown).trim()
            ),
        ))
    }

    /// Runs a script and waits for its end; `name` is what it is called in the file log.
    pub(super) fn run(
        &mut self,
        name: &'static str,
        script: &str,
        patience: Duration,
        watch: &Watch,
    ) -> Result<Answer, Halt> {
        self.send(name, script)?;
        self.answer(patience, watch)
    }

    /// Runs a script with a long answer.
    pub(super) fn run_long(
        &mut self,
        name: &'static str,
        script: &str,
        patience: Duration,
        watch: &Watch,
    ) -> Result<Answer, Halt> {
        self.send(name, script)?;
        self.answer_of(LONG_ANSWER_MAX_BYTES, patience, watch)
    }

    /// Runs a command of this machine beside whatever else is under way, with something to read; gives what it prints
    /// to `take`, and lets `look` say from time to time whether to go on.
    pub(super) fn run_beside(
        &mut self,
        command: Command,
        input: Option<&str>,
        setting: &Setting,
        watch: &Watch,
        mut take: impl FnMut(&[u8]),
        mut look: impl FnMut(&Process) -> Result<(), Halt>,
    ) -> Result<Ended, Halt> {
        let (mut process, stdin) = Process::start(command, &self.group, setting, input.is_some())?;
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            // Whoever does not read it ends, and says why.
            let _ = stdin.write_all(input.as_bytes());
        }
        loop {
            match process.next(TICK) {
                Event::Output(bytes) => take(&bytes),
                Event::Nothing => {}
                Event::End => break,
            }
            let verdict = watch.check().and_then(|()| self.check_guard()).and_then(|()| look(&process));
            if verdict.is_err() {
                process.ask_to_end();
                verdict?;
            }
        }
        process.end(watch)
    }

    /// Starts a script; [`Self::answer`] waits for its end.
    pub(super) fn send(&mut self, name: &'static str, script: &str) -> Result<(), Halt> {
        self.asked = (name, Instant::now());
        self.number += 1;
        let body = if script.is_empty() { ":" } else { script };
        let framed = format!(
            "(\nLC_ALL=C; export LC_ALL; umask 077; ulimit -v {MEMORY_MAX_KIB} 2>/dev/null\n{body}\n) </dev/null 2>&1\nprintf '\\n%s %d\\n' {}-{} \"$?\"\n",
            self.mark, self.number
        );
        let written = self.stdin.write_all(framed.as_bytes()).and_then(|()| self.stdin.flush());
        written.map_err(|_| self.lost())
    }

    /// Waits for the end of the script sent last.
    pub(super) fn answer(&mut self, patience: Duration, watch: &Watch) -> Result<Answer, Halt> {
        self.answer_of(ANSWER_MAX_BYTES, patience, watch)
    }

    /// Runs a script whose answer is taken piece by piece, so that none of it is kept; `patience` is for each
    /// piece. Returns the exit status.
    pub(super) fn run_stream(
        &mut self,
        name: &'static str,
        script: &str,
        patience: Duration,
        watch: &Watch,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<i32, Halt> {
        self.send(name, script)?;
        let answer = self.stream(patience, watch, take);
        self.ended(answer).map(|answer| answer.status)
    }

    fn answer_of(&mut self, max_bytes: usize, patience: Duration, watch: &Watch) -> Result<Answer, Halt> {
        let answer = self.wait_for_answer(max_bytes, patience, watch);
        self.ended(answer)
    }

    /// Writes the end of a script into the file log; a command of it that a signal ended was interrupted.
    fn ended(&mut self, answer: Result<Answer, Halt>) -> Result<Answer, Halt> {
        let (name, took) = (self.asked.0, self.asked.1.elapsed());
        let seconds = took.as_secs_f64();
        let how = match &answer {
            Ok(Answer { status: 0, .. }) => "status 0".to_owned(),
            Ok(answer) => format!("status {}{}", answer.status, said_in(&answer.text(), RUBBISH_MAX_BYTES)),
            Err(_) => "no answer".to_owned(),
        };
        tracing::info!("script {name} after {seconds:.3} s: {how}");
        let answer = answer?;
        self.round_trip = self.round_trip.min(took);
        match outcome::signal_of(answer.status) {
            Some(signal) => Err(Halt::Cut(format!(
                "a command of '{name}' at {} was ended there by signal {signal}",
                self.host
            ))),
            None => Ok(answer),
        }
    }

    fn wait_for_answer(
        &mut self,
        max_bytes: usize,
        patience: Duration,
        watch: &Watch,
    ) -> Result<Answer, Halt> {
        let began = Instant::now();
        let mut searched = 0;
        loop {
            if let Some(answer) = self.take_answer(&mut searched) {
                return Ok(answer);
            }
            self.hear(watch)?;
            if self.received.len() > max_bytes {
                return Err(self.prints_without_end());
            }
            self.check_patience(began, patience)?;
        }
    }

    fn stream(
        &mut self,
        patience: Duration,
        watch: &Watch,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<Answer, Halt> {
        let kept = self.mark.len() + NUMBER_MAX_BYTES + STATUS_MAX_BYTES;
        let (mut heard_at, mut taken, mut searched) = (Instant::now(), 0usize, 0usize);
        loop {
            if let Some(answer) = self.take_answer(&mut searched) {
                take(&answer.output);
                return Ok(Answer { output: Vec::new(), ..answer });
            }
            // The end of it may be the beginning of the mark.
            let sure = self.received.len().saturating_sub(kept);
            take(&self.received[..sure]);
            self.received.drain(..sure);
            (taken, searched) = (taken + sure, searched.saturating_sub(sure));
            if self.hear(watch)? {
                heard_at = Instant::now();
            }
            if taken + self.received.len() > LONG_ANSWER_MAX_BYTES {
                return Err(self.prints_without_end());
            }
            self.check_patience(heard_at, patience)?;
        }
    }

    /// Waits a moment for more of an answer; says whether some came.
    fn hear(&mut self, watch: &Watch) -> Result<bool, Halt> {
        let heard = match self.process.next(TICK) {
            Event::Output(bytes) => {
                self.received.extend_from_slice(&bytes);
                true
            }
            Event::Nothing => false,
            Event::End => return Err(self.lost()),
        };
        watch.check()?;
        self.check_guard()?;
        Ok(heard)
    }

    fn prints_without_end(&self) -> Halt {
        let shown = &self.received[..self.received.len().min(RUBBISH_MAX_BYTES)];
        let shown = String::from_utf8_lossy(shown);
        let message = format!("the shell of {} prints without end: {}", self.host, shown.trim());
        Halt::fault(Fault::HostTools, message)
    }

    fn check_patience(&self, since: Instant, patience: Duration) -> Result<(), Halt> {
        if since.elapsed() <= patience {
            return Ok(());
        }
        let message = format!("{} did not answer within {} s", self.host, patience.as_secs());
        Err(Halt::fault(Fault::HostUnreachable, message))
    }

    /// The answer up to the mark, if the mark has come.
    fn take_answer(&mut self, searched: &mut usize) -> Option<Answer> {
        let mark = format!("\n{}-{} ", self.mark, self.number);
        let from = searched.saturating_sub(mark.len());
        let Some(found) = find(&self.received[from..], mark.as_bytes()) else {
            *searched = self.received.len();
            return None;
        };
        let at = from + found;
        let status_at = at + mark.len();
        // The rest of its line may still be on the way: then it is found here again.
        *searched = status_at;
        let length = self.received[status_at..].iter().position(|&b| b == b'\n')?;
        let status =
            std::str::from_utf8(&self.received[status_at..status_at + length]).ok()?.trim().parse().ok()?;
        let rest = self.received.split_off(status_at + length + 1);
        let mut output = std::mem::replace(&mut self.received, rest);
        output.truncate(at);
        if self.answered + 1 < self.number {
            drop_given_up(&mut output, &self.mark);
        }
        self.answered = self.number;
        Some(Answer { status, output })
    }

    /// Fails where somebody killed the guard: without it, children could outlive this process.
    pub(super) fn check_guard(&self) -> Result<(), Halt> {
        check_guard(&self.group)
    }

    /// What further sessions need; none where it leads to this machine.
    pub(super) fn sessions(&self) -> Option<Sessions<'_>> {
        let (host, group) = (&self.host, &self.group);
        self.socket_dir.as_deref().map(|socket_dir| Sessions { host, socket_dir, group })
    }

    /// Begins a further session before it is needed; none where it leads to this machine.
    ///
    /// # Errors
    /// A halt that this machine is the reason of.
    pub fn begin_session(&self, setting: &Setting) -> Result<Option<Session>, Halt> {
        self.sessions().map(|sessions| sessions.begin(setting)).transpose()
    }

    /// What it takes to the host and back, and something more: its fastest answer so far.
    pub(super) fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// Why the connection is gone: what ssh said, or the signal that ended it.
    pub(super) fn lost(&mut self) -> Halt {
        match self.process.end_within(Duration::from_secs(3)) {
            Some(ended) => {
                let output = String::from_utf8_lossy(&self.received).trim().to_owned();
                outcome::of_connection(&self.host, &ended, &output)
            }
            None => Halt::fault(
                Fault::HostUnreachable,
                format!(
                    "the connection to {} does not answer any more; {}",
                    self.host,
                    self.process.messages()
                ),
            ),
        }
    }

    /// Whether the connection has ended by itself.
    pub(super) fn is_gone(&mut self) -> bool {
        self.process.end_within(Duration::from_millis(300)).is_some()
    }
}

/// Takes away what scripts that were given up before have said until their end.
fn drop_given_up(output: &mut Vec<u8>, mark: &str) {
    let earlier = format!("\n{mark}-");
    while let Some(found) = find(output, earlier.as_bytes()) {
        let line = found + 1;
        let end = output[line..].iter().position(|&b| b == b'\n').map_or(output.len(), |at| line + at + 1);
        output.drain(..end);
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn rand_u64() -> Result<u64, Halt> {
    use std::io::Read as _;
    let mut bytes = [0u8; 8];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .or_configuration("cannot read /dev/urandom")?;
    Ok(u64::from_le_bytes(bytes))
}
