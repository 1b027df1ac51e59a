//! A head start for minidvodbs of many small files: they go out as one stream of a tar, which costs less than a
//! file at a time.
//!
//! It is no more than that: rsync, which comes after it in every case, sends what did not arrive, sets what the
//! tar cannot say, and speaks of what is wrong at either end. Invariants: only an empty staging folder gets a
//! stream; a file goes into it as it was when the source was read, whole, or not at all: what is cut off has
//! not its size. It does not know what a fault is, but for those of the watch.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::ChildStdin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use xxhash_rust::xxh3::Xxh3;

use super::destination::{Identity, MARK_FD};
use super::process::{Event, Messages, Process, TICK};
use super::rsync::Checksums;
use super::script::quote;
use super::source::{Entry, Kind, Source};
use super::{Connection, Halt, Setting, Watch, rsync, ssh};

/// Files up to this size go into the stream, in bytes: larger ones cost rsync no more, and it can go on in the
/// middle of one.
const FILE_MAX_BYTES: u64 = 1024 * 1024;
/// With fewer files there is nothing to win.
const FILES_MIN: usize = 1000;
/// Before a word is sent, the far end has to have said that it is ready.
const READY: &str = "ready";
/// What the far end says where it cannot take a stream.
const NO_TAR: &str = "no GNU tar";
/// What the far end says last, with the tar's status: that tar is gone then.
const ENDED: &str = "tar ended with";
/// After the far end's end, what is being read of the source is given so long.
const LAST_READ: Duration = Duration::from_secs(2);
/// Bytes are handed to ssh in pieces of this size.
const PIECE_BYTES: usize = 256 * 1024;

/// What to send.
#[derive(Debug)]
pub struct Parcel<'a> {
    /// The source, as it was before.
    pub source: &'a Source,
    /// The empty staging folder, absolute.
    pub to: &'a str,
    /// Which folder that is.
    pub staged: Identity,
    /// Whether the checksums of what is sent are wanted.
    pub wants_checksums: bool,
}

/// Whether a source has so many small files that a stream is worth while.
pub fn is_worth_while(source: &Source) -> bool {
    source.entries.iter().filter(|entry| goes_in(entry)).nth(FILES_MIN - 1).is_some()
}

fn goes_in(entry: &Entry) -> bool {
    entry.kind == Kind::File && entry.size <= FILE_MAX_BYTES && entry.mtime.0 >= 0
}

/// What went out.
#[derive(Debug, Default)]
pub struct Streamed {
    /// Bytes of files.
    pub bytes: u64,
    /// The checksums of those files, where they were asked for.
    pub checksums: Checksums,
    /// How it ended there.
    pub end: End,
}

/// How a stream ended at the far end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// There was none.
    #[default]
    NotBegun,
    /// All of it was unpacked.
    Done,
    /// Nobody knows, or something went wrong: its tar may be at work still.
    Unknown,
}

/// Sends the small files; `progress` is told the bytes that have gone out so far. Where the far end has no GNU
/// tar, or anything else is in the way, less goes out, or nothing.
///
/// # Errors
/// A halt that the watch is due, or that this machine is the reason of.
pub fn send(
    connection: &mut Connection,
    parcel: &Parcel<'_>,
    setting: &Setting,
    watch: &Watch,
    mut progress: impl FnMut(u64),
) -> Result<Streamed, Halt> {
    let nothing = || Ok(Streamed::default());
    let Some(socket_dir) = connection.socket_dir.clone() else { return nothing() };
    let command = ssh::client(&connection.host, &socket_dir)?;
    let (mut process, stdin) = Process::start(command, &connection.group, setting, true)?;
    let Some(mut stdin) = stdin else { return nothing() };
    let mut said = Messages::default();
    if stdin.write_all(script(parcel).as_bytes()).and_then(|()| stdin.flush()).is_err()
        || !is_ready(connection, &mut process, &mut said, setting, watch)?
    {
        tracing::info!("no stream: {}", said.text());
        let end = if has_line(&said, NO_TAR) { End::NotBegun } else { End::Unknown };
        return Ok(Streamed { end, ..Streamed::default() });
    }
    let state = Arc::new(State::default());
    let packing = Packing::of(parcel, Pipe { stdin, state: Arc::clone(&state) });
    let (sender, packed) = sync_channel(1);
    // A source that hangs must not hold the pass up: whoever reads it is left behind then.
    std::thread::spawn(move || sender.send(packing.run()));
    let watched = attend(connection, &mut process, &mut said, setting, watch, &state, &mut progress);
    state.is_over.store(true, Ordering::Relaxed);
    if let Err(halt) = watched {
        process.ask_to_end();
        return Err(halt);
    }
    let checksums = packed.recv_timeout(LAST_READ).unwrap_or_default();
    let bytes = state.file_bytes.load(Ordering::Relaxed);
    let end = if last_line(&said) == format!("{ENDED} 0") { End::Done } else { End::Unknown };
    tracing::info!("stream: {bytes} bytes of files, {end:?}; the far end: {}", said.text());
    Ok(Streamed { bytes, checksums, end })
}

/// What is done there. The shell has read all of it before it says that it is ready, so that what comes after
/// is the tar's alone. The open folder marks it for a later attempt, should it be left behind.
fn script(parcel: &Parcel<'_>) -> String {
    format!(
        "{{
LC_ALL=C; export LC_ALL; umask 077
exec 2>&1
unset TAR_OPTIONS TAPE POSIXLY_CORRECT
cd -P -- {to} || exit
[ \"$(stat -c '%d %i' -- .)\" = '{device} {inode}' ] || exit
exec {MARK_FD}<. || exit
case $(tar --version) in 'tar (GNU tar)'*) ;; *) echo '{NO_TAR}'; exit;; esac
echo {READY}
tar -x -p -b 512 --no-same-owner --warning=no-timestamp -f -
echo \"{ENDED} $?\"
exit
}}
",
        to = quote(parcel.to),
        device = parcel.staged.device,
        inode = parcel.staged.inode,
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
    state: &State,
    progress: &mut impl FnMut(u64),
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
        dog.look(|| {
            progress(state.file_bytes.load(Ordering::Relaxed));
            Some(state.written_bytes.load(Ordering::Relaxed))
        })?;
    }
}

/// How far a stream is.
#[derive(Debug, Default)]
struct State {
    /// Nothing may be written any more.
    is_over: AtomicBool,
    /// Bytes that ssh has taken.
    written_bytes: AtomicU64,
    /// Bytes of whole files.
    file_bytes: AtomicU64,
}

/// ssh's standard input, written to without ever being waited for blindly. Once it is over nothing is written
/// any more, not even the end that the archive gets when it is dropped: that could pass for the rest of a file.
struct Pipe {
    stdin: ChildStdin,
    state: Arc<State>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let patience = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        loop {
            if self.state.is_over.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            match self.stdin.write(bytes) {
                Ok(count) => {
                    self.state.written_bytes.fetch_add(count as u64, Ordering::Relaxed);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut wanted = [PollFd::from_borrowed_fd(self.stdin.as_fd(), PollFlags::OUT)];
                    // Whatever becomes of it, the next try tells.
                    let _ = poll(&mut wanted, Some(&patience));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.state.is_over.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What writes the archive: it has all that it needs, so that it can be left behind.
struct Packing {
    folder: Utf8PathBuf,
    entries: Vec<Entry>,
    wants_checksums: bool,
    pipe: Pipe,
}

/// Ends a stream where its archive is dropped before its time, whyever that is.
struct EndedEarly(Option<Arc<State>>);

impl Drop for EndedEarly {
    fn drop(&mut self) {
        if let Some(state) = &self.0 {
            state.is_over.store(true, Ordering::Relaxed);
        }
    }
}

impl Packing {
    fn of(parcel: &Parcel<'_>, pipe: Pipe) -> Self {
        Self {
            folder: parcel.source.folder.clone(),
            entries: parcel.source.entries.iter().filter(|entry| goes_in(entry)).cloned().collect(),
            wants_checksums: parcel.wants_checksums,
            pipe,
        }
    }

    /// Writes until it is done or cannot be written any more; says the checksums of what went out.
    fn run(self) -> Checksums {
        let mut checksums = Checksums::default();
        if self.wants_checksums {
            "xxh128".clone_into(&mut checksums.algorithm);
        }
        if let Err(error) = self.write(&mut checksums) {
            tracing::info!("the stream was broken off: {error}");
        }
        checksums
    }

    fn write(self, checksums: &mut Checksums) -> io::Result<()> {
        let Self { folder, entries, wants_checksums, pipe } = self;
        rustix::io::ioctl_fionbio(&pipe.stdin, true)?;
        let state = Arc::clone(&pipe.state);
        let mut archive = tar::Builder::new(BufWriter::with_capacity(PIECE_BYTES, pipe));
        // Declared after the archive: dropped before it.
        let mut ended_early = EndedEarly(Some(Arc::clone(&state)));
        for entry in entries {
            let Some(file) = open(&folder, &entry) else { continue };
            let hasher = wants_checksums.then(Xxh3::new);
            let mut reader = Exactly { file, left: entry.size, hasher, state: &state };
            if entry.mtime.1 != 0 {
                // What rsync sets of a file that it does not send is the seconds only.
                let mtime = format!("{}.{:09}", entry.mtime.0, entry.mtime.1);
                archive.append_pax_extensions([("mtime", mtime.as_bytes())])?;
            }
            archive.append_data(&mut header(&entry), OsStr::from_bytes(&entry.path), &mut reader)?;
            state.file_bytes.fetch_add(entry.size, Ordering::Relaxed);
            if let Some(hasher) = reader.hasher {
                checksums.by_path.insert(entry.path, format!("{:032x}", hasher.digest128()));
            }
        }
        ended_early.0 = None;
        archive.into_inner()?.flush()
    }
}

/// A file of the source, if it is still the one that was seen. rsync speaks of it where it is not, or cannot be
/// read.
fn open(folder: &Utf8Path, entry: &Entry) -> Option<File> {
    let path = folder.as_std_path().join(OsStr::from_bytes(&entry.path));
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let now = file.metadata().ok()?;
    entry.is_still(&now).then_some(file)
}

fn header(entry: &Entry) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(entry.size);
    header.set_mtime(entry.mtime.0.cast_unsigned());
    header.set_mode(entry.mode() & 0o777);
    header
}

/// So many bytes of a file, neither more nor fewer: else it is over.
struct Exactly<'a> {
    file: File,
    left: u64,
    hasher: Option<Xxh3>,
    state: &'a State,
}

impl Exactly<'_> {
    fn give_up(&self, error: io::Error) -> io::Error {
        self.state.is_over.store(true, Ordering::Relaxed);
        error
    }
}

impl Read for Exactly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = loop {
            match self.file.read(&mut buffer[..most]) {
                Ok(0) => return Err(self.give_up(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.give_up(error)),
            }
        };
        self.left -= count as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        Ok(count)
    }
}
