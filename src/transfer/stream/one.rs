//! One stream: a tar at the far end, which unpacks what comes over one session of a connection.
//!
//! Invariant: nothing is sent before the far end has said that it is ready, and that its tar is in the folder that
//! was meant.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use super::packing::{BLOCK_BYTES, Packing, Pipe, State};
use super::work::Work;
use super::{End, Ended, Parcel};
use crate::transfer::destination::{MARK_FD, enter_folder_script};
use crate::transfer::process::{Event, Messages, Process, TICK};
use crate::transfer::rsync::{self, Lines};
use crate::transfer::shell::{Session, Sessions};
use crate::transfer::{Halt, Setting, Watch};

/// Before a word is sent, the far end has to have said that it is ready.
const READY: &str = "ready";
/// What the far end says where it cannot take a stream.
const NO_TAR: &str = "no GNU tar";
/// What ssh says where the server allows no further session (sshd_config, MaxSessions).
const REFUSED: &str = "Session open refused by peer";
/// What the far end says last, with the tar's status: that tar is gone then.
const ENDED: &str = "tar ended with";
/// What the far end says, with a number, when it is about to read that record of the archive.
const CHECKPOINT: &str = "Read checkpoint ";
/// A record of the archive has so many blocks.
const RECORD_BLOCKS: u64 = 512;
/// The far end tells after so many records how far it is.
const RECORDS_TOLD: u64 = 16;
/// After the far end's end, what is being read of the source is given so long.
const LAST_READ: Duration = Duration::from_secs(2);

/// A far end that waits for an archive.
#[derive(Debug)]
pub(super) struct Ready {
    session: Session,
    said: Said,
}

/// What a far end has said.
#[derive(Debug, Default)]
struct Said {
    lines: Lines,
    messages: Messages,
    /// So many bytes of the archive have been unpacked.
    unpacked_bytes: u64,
}

impl Said {
    fn take(&mut self, bytes: &[u8]) {
        let Self { lines, messages, unpacked_bytes } = self;
        lines.feed(bytes, &mut |line| match parse_checkpoint(line) {
            // It says so before it reads that record, with the one before just unpacked.
            Some(record) => {
                *unpacked_bytes = record.saturating_sub(1).saturating_mul(RECORD_BLOCKS * BLOCK_BYTES);
            }
            None => messages.add(&[line, b"\n"].concat()),
        });
    }

    fn text(&self) -> String {
        self.messages.text()
    }

    fn has_line(&self, line: &str) -> bool {
        self.text().lines().any(|found| found == line)
    }

    fn last_line(&self) -> String {
        self.text().lines().last().unwrap_or_default().to_owned()
    }
}

/// The number in `tar: Read checkpoint 16`.
fn parse_checkpoint(line: &[u8]) -> Option<u64> {
    let (_, number) = str::from_utf8(line).ok()?.rsplit_once(CHECKPOINT)?;
    number.parse().ok()
}

/// Starts the far end; where it cannot take a stream, says why none began.
pub(super) fn begin(
    sessions: Sessions<'_>,
    session: Session,
    parcel: &Parcel<'_>,
    setting: &Setting,
    watch: &Watch,
) -> Result<Result<Ready, End>, Halt> {
    let Session { mut process, mut stdin } = session;
    let mut said = Said::default();
    if stdin.write_all(script(parcel).as_bytes()).and_then(|()| stdin.flush()).is_ok()
        && is_ready(sessions, &mut process, &mut said, setting, watch)?
    {
        return Ok(Ok(Ready { session: Session { process, stdin }, said }));
    }
    tracing::info!("no stream: {}", said.text());
    // What ssh said may not have been heard yet.
    let _ = process.end_within(TICK);
    let has_begun = !said.has_line(NO_TAR) && !process.messages().contains(REFUSED);
    Ok(Err(if has_begun { End::Unknown } else { End::NotBegun }))
}

/// Sends what `work` gives out until there is no more, and the rest as well where it `is_last`; says how it ended
/// there, with the checksums of what went out.
pub(super) fn send(
    sessions: Sessions<'_>,
    ready: Ready,
    work: &Arc<Work>,
    is_last: bool,
    setting: &Setting,
    watch: &Watch,
) -> Result<Ended, Halt> {
    let Ready { session: Session { mut process, stdin }, mut said } = ready;
    let _at_work = work.begin();
    let state = Arc::new(State::default());
    let pipe = Pipe { stdin, state: Arc::clone(&state) };
    let packing = Packing { work: Arc::clone(work), is_last, pipe };
    let (sender, packed) = sync_channel(1);
    // A source that hangs must not hold the pass up: whoever reads it is left behind then.
    std::thread::spawn(move || sender.send(packing.run()));
    let watched = attend(sessions, &mut process, &mut said, setting, watch, work, &state);
    state.is_over.store(true, Ordering::Relaxed);
    if let Err(halt) = watched {
        process.ask_to_end();
        return Err(halt);
    }
    let checksums = packed.recv_timeout(LAST_READ).unwrap_or_default();
    let end = if said.last_line() == format!("{ENDED} 0") { End::Done } else { End::Unknown };
    if end == End::Done && !is_last {
        work.add_arrived(state.take_arrived(u64::MAX));
    }
    tracing::info!("one of the streams ended: {end:?}; the far end: {}", said.text());
    Ok(Ended { end, checksums, ..Ended::default() })
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
tar -x -p -b {RECORD_BLOCKS} --checkpoint={RECORDS_TOLD} --no-same-owner --warning=no-timestamp -f -
echo \"{ENDED} $?\"
exit
}}
",
        enter = enter_folder_script(parcel.to, parcel.folder),
    )
}

fn is_ready(
    sessions: Sessions<'_>,
    process: &mut Process,
    said: &mut Said,
    setting: &Setting,
    watch: &Watch,
) -> Result<bool, Halt> {
    let began = Instant::now();
    while began.elapsed() < setting.limits.answer {
        match process.next(TICK) {
            Event::Output(bytes) => said.take(&bytes),
            Event::Nothing => {}
            Event::End => return Ok(false),
        }
        if said.has_line(READY) {
            return Ok(true);
        }
        watch.check()?;
        sessions.check_guard()?;
    }
    Ok(false)
}

/// Waits for the far end, which ends when everything has come, or when it can take no more.
fn attend(
    sessions: Sessions<'_>,
    process: &mut Process,
    said: &mut Said,
    setting: &Setting,
    watch: &Watch,
    work: &Work,
    state: &State,
) -> Result<(), Halt> {
    let mut dog = rsync::Watchdog::new(Some(setting.limits.stall));
    loop {
        match process.next(TICK) {
            Event::Output(bytes) => {
                said.take(&bytes);
                work.add_arrived(state.take_arrived(said.unpacked_bytes));
            }
            Event::Nothing => {}
            Event::End => return Ok(()),
        }
        watch.check()?;
        sessions.check_guard()?;
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::MetadataExt as _;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::model::AbsolutePath;
    use crate::transfer::destination::Identity;
    use crate::transfer::source::{Roots, Source};

    /// An archive of many files, and where each of them ends there.
    fn archive(top: &std::path::Path) -> (Vec<u8>, Vec<(String, u64, u64)>) {
        let mut archive = tar::Builder::new(Vec::new());
        for number in 0..300u64 {
            let (name, content) =
                (format!("{number:03}"), vec![number as u8; (number * 977) as usize % 300_000]);
            fs::write(top.join(&name), content).unwrap();
            archive.append_path_with_name(top.join(&name), &name).unwrap();
        }
        let bytes = archive.into_inner().unwrap();
        let mut read = tar::Archive::new(&bytes[..]);
        let ends = read.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let name = entry.path().unwrap().to_str().unwrap().to_owned();
            (name, entry.size(), entry.raw_file_position() + entry.size())
        });
        let ends = ends.collect();
        (bytes, ends)
    }

    #[test]
    fn what_is_said_to_be_unpacked_is_there_whole() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(here.path().join("Images.dat"), "").unwrap();
        let (bytes, files) = archive(here.path());
        let meta = fs::metadata(there.path()).unwrap();
        let path = AbsolutePath::parse(here.path().to_str().unwrap()).unwrap();
        let parcel = Parcel {
            source: &Source::read(&path, &Roots::default()).unwrap(),
            staged: &[],
            partial_name: "",
            to: there.path().to_str().unwrap(),
            folder: Identity { device: meta.dev(), inode: meta.ino() },
            streams_max: 1,
            is_read_back: true,
        };
        let mut shell = Command::new("/bin/sh");
        let mut shell = shell.arg("-s").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut stdin, mut stdout) = (shell.stdin.take().unwrap(), shell.stdout.take().unwrap());
        let (mut said, mut piece) = (Said::default(), [0; 4096]);
        let mut hear = |said: &mut Said, enough: &dyn Fn(&Said) -> bool| {
            while !enough(said) {
                let count = stdout.read(&mut piece).unwrap();
                assert!(count > 0, "{}", said.text());
                said.take(&piece[..count]);
            }
        };
        stdin.write_all(script(&parcel).as_bytes()).unwrap();
        hear(&mut said, &|said| said.has_line(READY));
        let told = RECORDS_TOLD * RECORD_BLOCKS * BLOCK_BYTES;
        let mut were_there = 0;
        for (number, part) in bytes.chunks(told as usize).enumerate() {
            stdin.write_all(part).unwrap();
            stdin.flush().unwrap();
            // With all of that in hand it asks for the next record, but one.
            if part.len() as u64 == told {
                let least = (number as u64 + 1) * told - RECORD_BLOCKS * BLOCK_BYTES;
                hear(&mut said, &|said| said.unpacked_bytes >= least);
            }
            let unpacked = files.iter().filter(|(_, _, end)| *end <= said.unpacked_bytes);
            for (name, size, _) in unpacked.clone() {
                let content = fs::read(there.path().join(name)).unwrap();
                assert_eq!(content.len() as u64, *size, "{name} of {} bytes", said.unpacked_bytes);
            }
            were_there = unpacked.count();
        }
        drop(stdin);
        hear(&mut said, &|said| said.has_line("tar ended with 0"));
        assert!(shell.wait().unwrap().success());
        assert_eq!(said.text(), "ready\ntar ended with 0");
        assert!(were_there > 200, "{were_there}");
    }

    #[test]
    fn a_number_that_is_none_or_too_large_says_nothing_of_what_is_there() {
        assert_eq!(parse_checkpoint(b"tar: Read checkpoint 16"), Some(16));
        assert_eq!(parse_checkpoint(b"/bin/tar: Read checkpoint 032"), Some(32));
        for line in
            [&b"tar: Read checkpoint "[..], b"tar: Read checkpoint -1", b"Read checkpoint 1x", b"\xff", b""]
        {
            assert_eq!(parse_checkpoint(line), None, "{line:?}");
        }
        let mut said = Said::default();
        said.take(b"tar: Read checkpoint 0\ntar: Read checkpoint 18446744073709551615\nmore");
        assert_eq!(said.unpacked_bytes, u64::MAX);
        assert_eq!(said.text(), "");
    }
}
