//! Writing an archive into a stream.
//!
//! Invariant: a file that cannot be written whole ends the stream, so that what arrives of it has not its size.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::ChildStdin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use camino::Utf8Path;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use xxhash_rust::xxh3::Xxh3;

use super::work::Work;
use crate::transfer::rsync::Checksums;
use crate::transfer::source::Entry;

/// Bytes are handed to ssh in pieces of this size.
const PIECE_BYTES: usize = 256 * 1024;
/// What the pipe to ssh is to hold, in bytes: as much as the system gives anybody.
const PIPE_BYTES: usize = 1024 * 1024;

/// How far a stream is.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Nothing may be written any more.
    pub(super) is_over: AtomicBool,
    /// Bytes that ssh has taken.
    pub(super) written_bytes: AtomicU64,
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
    pub(super) wants_checksums: bool,
    pub(super) pipe: Pipe,
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
    /// Writes until it is done or cannot be written any more; says the checksums of what went out.
    pub(super) fn run(self) -> Checksums {
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
        let Self { work, wants_checksums, pipe } = self;
        rustix::io::ioctl_fionbio(&pipe.stdin, true)?;
        // A larger pipe spares turns between the two ends; where the system allows none, it stays as it is.
        let _ = rustix::pipe::fcntl_setpipe_size(&pipe.stdin, PIPE_BYTES);
        let state = Arc::clone(&pipe.state);
        let mut archive = tar::Builder::new(BufWriter::with_capacity(PIECE_BYTES, pipe));
        // Declared after the archive: dropped before it.
        let mut ended_early = EndedEarly(Some(Arc::clone(&state)));
        while let Some(lot) = work.next() {
            for entry in lot {
                let Some(file) = open(&work.folder, entry) else { continue };
                let hasher = wants_checksums.then(Xxh3::new);
                let mut reader = Exactly { file, left: entry.size, hasher, state: &state, work: &work };
                if entry.mtime.1 != 0 {
                    // What rsync sets of a file that it does not send is the seconds only.
                    let mtime = format!("{}.{:09}", entry.mtime.0, entry.mtime.1);
                    archive.append_pax_extensions([("mtime", mtime.as_bytes())])?;
                }
                archive.append_data(&mut header(entry), OsStr::from_bytes(&entry.path), &mut reader)?;
                if let Some(hasher) = reader.hasher {
                    checksums.by_path.insert(entry.path.clone(), format!("{:032x}", hasher.digest128()));
                }
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
    work: &'a Work,
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
        self.work.add_sent(count as u64);
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        Ok(count)
    }
}
