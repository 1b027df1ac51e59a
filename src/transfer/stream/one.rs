//! One stream: a tar at the far end, which unpacks what comes over one connection.
//!
//! Invariant: nothing is sent before the far end has said that it is ready, and that its tar is in the folder that
//! was meant.

use std::io::Write as _;
use std::process::ChildStdin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use super::packing::{Packing, Pipe, State};
use super::work::Work;
use super::{End, Ended, Parcel};
use crate::transfer::destination::{MARK_FD, enter_folder_script};
use crate::transfer::process::{Event, Messages, Process, TICK};
use crate::transfer::rsync;
use crate::transfer::{Connection, Halt, Setting, Watch, ssh};

/// Before a word is sent, the far end has to have said that it is ready.
const READY: &str = "ready";
/// What the far end says where it cannot take a stream.
const NO_TAR: &str = "no GNU tar";
/// What the far end says last, with the tar's status: that tar is gone then.
const ENDED: &str = "tar ended with";
/// After the far end's end, what is being read of the source is given so long.
const LAST_READ: Duration = Duration::from_secs(2);

/// A far end that waits for an archive.
#[derive(Debug)]
pub(super) struct Ready {
    process: Process,
    stdin: ChildStdin,
    said: Messages,
}

/// Starts the far end; where it cannot take a stream, says why none began.
pub(super) fn begin(
    connection: &mut Connection,
    parcel: &Parcel<'_>,
    setting: &Setting,
    watch: &Watch,
) -> Result<Result<Ready, End>, Halt> {
    let Some(socket_dir) = connection.socket_dir.clone() else { return Ok(Err(End::NotBegun)) };
    let command = ssh::client(&connection.host, &socket_dir)?;
    let (mut process, stdin) = Process::start(command, &connection.group, setting, true)?;
    let Some(mut stdin) = stdin else { return Ok(Err(End::NotBegun)) };
    let mut said = Messages::default();
    if stdin.write_all(script(parcel).as_bytes()).and_then(|()| stdin.flush()).is_ok()
        && is_ready(connection, &mut process, &mut said, setting, watch)?
    {
        return Ok(Ok(Ready { process, stdin, said }));
    }
    tracing::info!("no stream: {}", said.text());
    Ok(Err(if has_line(&said, NO_TAR) { End::NotBegun } else { End::Unknown }))
}

/// Sends what `work` gives out until there is no more, and the rest as well where it `is_last`; says how it ended
/// there, with the checksums of what went out.
pub(super) fn send(
    connection: &mut Connection,
    ready: Ready,
    work: &Arc<Work>,
    is_last: bool,
    setting: &Setting,
    watch: &Watch,
) -> Ended {
    let Ready { mut process, stdin, mut said } = ready;
    let _at_work = work.begin();
    let state = Arc::new(State::default());
    let pipe = Pipe { stdin, state: Arc::clone(&state) };
    let packing = Packing { work: Arc::clone(work), is_last, pipe };
    let (sender, packed) = sync_channel(1);
    // A source that hangs must not hold the pass up: whoever reads it is left behind then.
    std::thread::spawn(move || sender.send(packing.run()));
    let watched = attend(connection, &mut process, &mut said, setting, watch, work, &state);
    state.is_over.store(true, Ordering::Relaxed);
    if let Err(halt) = watched {
        process.ask_to_end();
        return Err(halt);
    }
    let checksums = packed.recv_timeout(LAST_READ).unwrap_or_default();
    let end = if last_line(&said) == format!("{ENDED} 0") { End::Done } else { End::Unknown };
    tracing::info!("one of the streams ended: {end:?}; the far end: {}", said.text());
    Ok((end, checksums))
}

/// What is done there. The shell has read all of it before it says that it is ready, so that what comes after
/// is the tar's alone. The open folder marks it for a later attempt, should it be left behind.
fn script(parcel: &Parcel<'_>) -> String {
    format!(
        "{{
LC_ALL=C; export LC_ALL; umask 077
exec 2>&1
unset TAR_OPTIONS TAPE POSIXLY_CORRECT
{enter}exec {MARK_FD}<. || exit
case $(tar --version) in 'tar (GNU tar)'*) ;; *) echo '{NO_TAR}'; exit;; esac
echo {READY}
tar -x -p -b 512 --no-same-owner --warning=no-timestamp -f -
echo \"{ENDED} $?\"
exit
}}
",
        enter = enter_folder_script(parcel.to, parcel.folder),
    )
}

fn has_line(said: &Messages, line: &str) -> bool {
    said.text().lines().any(|found| found == line)
}

fn last_line(said: &Messages) -> String {
    said.text().lines().last().unwrap_or_default().to_owned()
}

fn is_ready(
    connection: &mut Connection,
    process: &mut Process,
    said: &mut Messages,
    setting: &Setting,
    watch: &Watch,
) -> Result<bool, Halt> {
    let began = Instant::now();
    while began.elapsed() < setting.limits.answer {
        match process.next(TICK) {
            Event::Output(bytes) => said.add(&bytes),
            Event::Nothing => {}
            Event::End => return Ok(false),
        }
        if has_line(said, READY) {
            return Ok(true);
        }
        watch.check()?;
        connection.check_guard()?;
    }
    Ok(false)
}

/// Waits for the far end, which ends when everything has come, or when it can take no more.
fn attend(
    connection: &mut Connection,
    process: &mut Process,
    said: &mut Messages,
    setting: &Setting,
    watch: &Watch,
    work: &Work,
    state: &State,
) -> Result<(), Halt> {
    let mut dog = rsync::Watchdog::new(Some(setting.limits.stall));
    loop {
        match process.next(TICK) {
            Event::Output(bytes) => said.add(&bytes),
            Event::Nothing => {}
            Event::End => return Ok(()),
        }
        watch.check()?;
        connection.check_guard()?;
        if work.is_given_up() {
            return Err(Halt::Cut("another stream has met what ends the attempt".to_owned()));
        }
        dog.look(|| {
            let waits_for_others = state.waits_for_others.load(Ordering::Relaxed);
            let written_bytes = state.written_bytes.load(Ordering::Relaxed);
            Some(written_bytes + if waits_for_others { work.sent_bytes() } else { 0 })
        })?;
    }
}
