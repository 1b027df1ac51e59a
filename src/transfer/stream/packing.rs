//! Writing an archive into a stream.
//!
//! Invariant: a file that cannot be written whole ends the stream, so that what arrives of it has not its size.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::ChildStdin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use camino::Utf8Path;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Advice;
use xxhash_rust::xxh3::Xxh3;

use super::work::{Sent, Work};
use crate::transfer::rsync::{Checksum, Checksums};
use crate::transfer::source::{Entry, Kind};

/// How rsync calls the checksums that are made here.
pub(super) const ALGORITHM: &str = "xxh128";
/// Bytes are read, and handed to ssh, in pieces of this size, which stay near the processor meanwhile.
const PIECE_BYTES: usize = 128 * 1024;
/// The blocks of a tar have so many bytes.
pub(super) const BLOCK_BYTES: u64 = 512;
/// What the pipe to ssh is to hold, in bytes.
const PIPE_BYTES: usize = 256 * 1024;
/// So many files are opened before it is their turn, and so much of a file is read, in bytes.
const FILES_AHEAD: usize = 8;
const BYTES_AHEAD: u64 = 2 * 1024 * 1024;
/// So often a stream looks if the others have come to their end.
const LOOK: Duration = Duration::from_millis(3);

/// How far a stream is.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Nothing may be written any more.
    pub(super) is_over: AtomicBool,
    /// Bytes that ssh has taken.
    pub(super) written_bytes: AtomicU64,
    /// It has sent its files, and others have not.
    pub(super) waits_for_others: AtomicBool,
    /// The files of the archive that may not have arrived, each with where it ends there.
    under_way: Mutex<VecDeque<(u64, Sent)>>,
}

impl State {
    fn went_out(&self, end: u64, file: Sent) {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).push_back((end, file));
    }

    /// The files that have arrived where so many bytes of the archive have.
    pub(super) fn take_arrived(&self, archive_bytes: u64) -> Vec<Sent> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let count = under_way.partition_point(|(end, _)| *end <= archive_bytes);
        under_way.drain(..count).map(|(_, file)| file).collect()
    }
}

/// ssh's standard input, written to without ever being waited for blindly. Once it is over nothing is written
/// any more, not even the end that the archive gets when it is dropped: that could pass for the rest of a file.
pub(super) struct Pipe {
    pub(super) stdin: ChildStdin,
    pub(super) state: Arc<State>,
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
pub(super) struct Packing {
    pub(super) work: Arc<Work>,
    /// Whether it sends the folders, when all others have come to their end.
    pub(super) is_last: bool,
    pub(super) pipe: Pipe,
}

type Archive = tar::Builder<BufWriter<Pipe>>;

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
    /// Writes until it is done or cannot be written any more; says the checksums of what went out.
    pub(super) fn run(self) -> Checksums {
        let mut checksums = Checksums { algorithm: ALGORITHM.to_owned(), ..Checksums::default() };
        if let Err(error) = self.write(&mut checksums) {
            tracing::info!("the stream was broken off: {error}");
        }
        checksums
    }

    fn write(self, checksums: &mut Checksums) -> io::Result<()> {
        let Self { work, is_last, pipe } = self;
        rustix::io::ioctl_fionbio(&pipe.stdin, true)?;
        // A larger pipe spares turns between the two ends; where the system allows none, it stays as it is.
        let _ = rustix::pipe::fcntl_setpipe_size(&pipe.stdin, PIPE_BYTES);
        let state = Arc::clone(&pipe.state);
        let mut archive = tar::Builder::new(BufWriter::with_capacity(PIECE_BYTES, pipe));
        // Declared after the archive: dropped before it.
        let mut ended_early = EndedEarly(Some(Arc::clone(&state)));
        let mut inside: &[u8] = b"";
        let mut piece = vec![0; PIECE_BYTES];
        while let Some(lot) = work.next() {
            for (number, file) in Ahead::of(&work, lot) {
                let entry = work.file(number);
                let parent = parent(&entry.path);
                enter(&mut archive, &work, inside, parent)?;
                inside = parent;
                let hasher = Xxh3::new();
                let mut body =
                    Exactly { file, size: entry.size, left: entry.size, hasher, state: &state, work: &work };
                append_time(&mut archive, entry)?;
                // What it has comes behind it, in larger pieces than the archive would ask for.
                archive.append_data(&mut header(entry), name(&entry.path), io::empty())?;
                body.send(&mut piece, archive.get_mut())?;
                // Nobody may have written while it was read: its checksum is what counts later.
                if !entry.is_still(&body.file.metadata()?) {
                    return Err(io::Error::other("a file of the source changed while it was read"));
                }
                let sent = Sent { number, checksum: body.hasher.digest128() };
                let checksum = Checksum { hex: sent.hex(), is_there: false };
                checksums.by_path.insert(entry.path.clone(), checksum);
                if work.is_read_back() {
                    let buffered = archive.get_ref().buffer().len() as u64;
                    let end = state.written_bytes.load(Ordering::Relaxed) + buffered;
                    state.went_out(end, sent);
                }
            }
        }
        if is_last {
            wait_for_others(&mut archive, &work, &state)?;
            append_rest(&mut archive, &work)?;
        }
        ended_early.0 = None;
        archive.into_inner()?.flush()
    }
}

/// The files of a lot, opened some time before it is their turn: the disk reads meanwhile.
struct Ahead<'a> {
    work: &'a Work,
    lot: Range<usize>,
    opened: VecDeque<(usize, File)>,
}

impl<'a> Ahead<'a> {
    fn of(work: &'a Work, lot: Range<usize>) -> Self {
        Self { work, lot, opened: VecDeque::with_capacity(FILES_AHEAD) }
    }
}

impl Iterator for Ahead<'_> {
    type Item = (usize, File);

    fn next(&mut self) -> Option<Self::Item> {
        while self.opened.len() < FILES_AHEAD
            && let Some(number) = self.lot.next()
        {
            let entry = self.work.file(number);
            if let Some(file) = open(&self.work.folder, entry) {
                expect_reading(&file, 0);
                if entry.size > BYTES_AHEAD {
                    expect_reading(&file, BYTES_AHEAD);
                }
                self.opened.push_back((number, file));
            }
        }
        self.opened.pop_front()
    }
}

/// Tells the system which part of a file will be read soon. It is advice: nothing depends on it.
fn expect_reading(file: &File, from: u64) {
    let _ = rustix::fs::fadvise(file, from, NonZeroU64::new(BYTES_AHEAD), Advice::WillNeed);
}

/// Makes the folders on the way from one folder to another. Several tars that miss the same one would otherwise
/// get into each other's way. A folder may not be writable in the end: it is so for now.
fn enter(archive: &mut Archive, work: &Work, from: &[u8], to: &[u8]) -> io::Result<()> {
    let is_inside = |folder: &[u8]| from == folder || from.starts_with(&[folder, b"/"].concat());
    let ends = to.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    for end in ends.chain([to.len()]) {
        let folder = &to[..end];
        if folder.is_empty() || is_inside(folder) {
            continue;
        }
        if let Some(entry) = work.folder(folder) {
            let mut header = header(entry);
            header.set_mode(entry.mode() | 0o700);
            // Not its time: should the right one never come, rsync has to see that.
            header.set_mtime(0);
            archive.append_data(&mut header, name(folder), io::empty())?;
        }
    }
    Ok(())
}

/// What is written into a folder changes its time.
fn wait_for_others(archive: &mut Archive, work: &Work, state: &State) -> io::Result<()> {
    archive.get_mut().flush()?;
    state.waits_for_others.store(true, Ordering::Relaxed);
    while !work.is_left_to_one() {
        if state.is_over.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        std::thread::sleep(LOOK);
    }
    state.waits_for_others.store(false, Ordering::Relaxed);
    Ok(())
}

/// Symlinks as they are, and folders with their times, those that no file has led to among them.
fn append_rest(archive: &mut Archive, work: &Work) -> io::Result<()> {
    for entry in work.rest() {
        let path = work.folder.as_std_path().join(OsStr::from_bytes(&entry.path));
        if !fs::symlink_metadata(&path).is_ok_and(|now| entry.is_still(&now)) {
            continue;
        }
        let mut header = header(entry);
        if entry.kind == Kind::Folder {
            append_time(archive, entry)?;
            archive.append_data(&mut header, name(&entry.path), io::empty())?;
        } else if let Ok(target) = fs::read_link(&path) {
            append_time(archive, entry)?;
            archive.append_link(&mut header, name(&entry.path), target)?;
        }
    }
    Ok(())
}

/// What rsync sets of a thing that it does not send is the seconds only.
fn append_time(archive: &mut Archive, entry: &Entry) -> io::Result<()> {
    if entry.mtime.1 == 0 {
        return Ok(());
    }
    let mtime = format!("{}.{:09}", entry.mtime.0, entry.mtime.1);
    archive.append_pax_extensions([("mtime", mtime.as_bytes())])
}

/// The folder that a thing lies in, by its path below the source's; empty for that one.
fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|&byte| byte == b'/').map_or(b"", |slash| &path[..slash])
}

/// A path in an archive.
fn name(path: &[u8]) -> &OsStr {
    OsStr::from_bytes(if path.is_empty() { b"." } else { path })
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

/// Of a folder and a symlink it has no size. The bits above the permissions are left to rsync, but for a folder's.
fn header(entry: &Entry) -> tar::Header {
    let (kind, size, mode) = match entry.kind {
        Kind::Folder => (tar::EntryType::Directory, 0, entry.mode()),
        Kind::Symlink => (tar::EntryType::Symlink, 0, entry.mode()),
        Kind::File | Kind::Other => (tar::EntryType::Regular, entry.size, entry.mode() & 0o777),
    };
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mtime(entry.mtime.0.cast_unsigned());
    header.set_mode(mode);
    header
}

/// So many bytes of a file, neither more nor fewer: else it is over.
struct Exactly<'a> {
    file: File,
    size: u64,
    left: u64,
    hasher: Xxh3,
    state: &'a State,
    work: &'a Work,
}

impl Exactly<'_> {
    fn give_up(&self, error: io::Error) -> io::Error {
        self.state.is_over.store(true, Ordering::Relaxed);
        error
    }

    /// Writes them, piece by piece, and what fills the last block.
    fn send(&mut self, piece: &mut [u8], to: &mut impl Write) -> io::Result<()> {
        while self.left > 0 {
            let count = self.read(piece)?;
            to.write_all(&piece[..count])?;
        }
        let over = (self.size % BLOCK_BYTES) as usize;
        if over > 0 { to.write_all(&[0; BLOCK_BYTES as usize][over..]) } else { Ok(()) }
    }

    /// Reads more of them: at least one.
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(piece.len());
        let count = loop {
            match self.file.read(&mut piece[..most]) {
                Ok(0) => return Err(self.give_up(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.give_up(error)),
            }
        };
        let before = self.size - self.left;
        self.left -= count as u64;
        let now = before + count as u64;
        if now / BYTES_AHEAD > before / BYTES_AHEAD && self.left > 0 {
            expect_reading(&self.file, (now / BYTES_AHEAD + 1) * BYTES_AHEAD);
        }
        self.work.add_sent(count as u64);
        self.hasher.update(&piece[..count]);
        Ok(count)
    }
}
