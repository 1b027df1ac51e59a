//! The log's file: appended to by several processes at once, and never larger than it may be.
//!
//! `log/minidvodbcopy.log` is the newest, `.1` the one before, and so on. Invariants: whole lines only, each in
//! one write under a lock on the folder, so that nobody writes into a file that another is just putting aside;
//! a line that a killed process left unfinished is ended by the next one, and what a full disk cut off is taken
//! back. Nobody waits long for the lock: without it a line is appended all the same, as far as the bound
//! allows. Nothing is written through a symlink, or into what is no plain file.

use std::fs::File;
use std::io::{self, Error, ErrorKind};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use fs2::FileExt as _;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, renameat, statat};

const NAME: &str = "minidvodbcopy.log";
/// A file is put aside before it gets larger than this.
const FILE_MAX_BYTES: u64 = 4 << 20;
/// Without the lock nobody can put the file aside: then this is the most that it gets.
const UNLOCKED_MAX_BYTES: u64 = 2 * FILE_MAX_BYTES;
/// So many files that were put aside are kept.
const KEPT: u32 = 9;
/// Somebody who holds the lock so long has been stopped, or has a disk that hangs.
const PATIENCE: Duration = Duration::from_secs(1);
/// Lines that come before there is a state folder: of a command that makes it.
const HELD_MAX_BYTES: usize = 64 * 1024;

/// The log's files in a state folder.
#[derive(Debug)]
pub(super) struct LogFile {
    state_dir: Utf8PathBuf,
    open: Option<Open>,
    held: String,
    patience: Duration,
}

/// The folder and the newest file in it.
#[derive(Debug)]
struct Open {
    folder: File,
    file: File,
}

impl LogFile {
    /// The log of a state folder; opens nothing yet.
    pub(super) fn new(state_dir: &Utf8Path) -> Self {
        Self { state_dir: state_dir.to_owned(), open: None, held: String::new(), patience: PATIENCE }
    }

    /// The newest file.
    pub(super) fn path(&self) -> Utf8PathBuf {
        self.folder_path().join(NAME)
    }

    fn folder_path(&self) -> Utf8PathBuf {
        self.state_dir.join("log")
    }

    /// Writes lines, or keeps them until there is a state folder.
    pub(super) fn append(&mut self, lines: &str) -> io::Result<()> {
        if self.open.is_none() && !self.state_dir.is_dir() {
            if self.held.len() + lines.len() <= HELD_MAX_BYTES {
                self.held.push_str(lines);
            }
            return Ok(());
        }
        let held = std::mem::take(&mut self.held);
        let result = if held.is_empty() { self.append_now(lines) } else { self.append_now(&(held + lines)) };
        if result.is_err() {
            // What is there may have been mended by the next time.
            self.open = None;
        }
        result
    }

    fn append_now(&mut self, lines: &str) -> io::Result<()> {
        let open = match self.open.take() {
            Some(open) => open,
            None => Open::in_folder(&self.folder_path())?,
        };
        let open = self.open.insert(open);
        if !lock(&open.folder, self.patience) {
            // One wait is enough for a pass.
            self.patience = Duration::ZERO;
            open.follow()?;
            return open.write(lines, false);
        }
        let result = open.follow().and_then(|()| {
            if open.file.metadata()?.len() + lines.len() as u64 > FILE_MAX_BYTES {
                open.put_aside()?;
            }
            open.write(lines, true)
        });
        let _ = fs2::FileExt::unlock(&open.folder);
        result
    }
}

impl Open {
    /// Makes the folder, if need be, and opens what is in it.
    fn in_folder(path: &Utf8Path) -> io::Result<Self> {
        match mkdirat(CWD, path.as_std_path(), Mode::from_raw_mode(0o700)) {
            Err(error) if error != rustix::io::Errno::EXIST => return Err(error.into()),
            _ => {}
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = File::from(openat(CWD, path.as_std_path(), flags, Mode::empty())?);
        if folder.metadata()?.mode() & 0o022 != 0 {
            return Err(Error::new(ErrorKind::PermissionDenied, format!("others can write to {path}")));
        }
        let file = newest(&folder)?;
        Ok(Self { folder, file })
    }

    /// Goes over to the file that has the name now: another process may have put ours aside.
    fn follow(&mut self) -> io::Result<()> {
        let ours = self.file.metadata()?;
        match statat(&self.folder, NAME, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(named) if (named.st_dev, named.st_ino) == (ours.dev(), ours.ino()) => Ok(()),
            _ => newest(&self.folder).map(|file| self.file = file),
        }
    }

    /// Renames the newest file to `.1`, `.1` to `.2`, as far as there is no gap; the last one goes.
    fn put_aside(&mut self) -> io::Result<()> {
        let name = |number: u32| if number == 0 { NAME.to_owned() } else { format!("{NAME}.{number}") };
        let is_there = |number: u32| statat(&self.folder, name(number), AtFlags::SYMLINK_NOFOLLOW).is_ok();
        let free = (1..KEPT).find(|&number| !is_there(number)).unwrap_or(KEPT);
        for number in (0..free).rev() {
            renameat(&self.folder, name(number), &self.folder, name(number + 1))?;
        }
        self.file = newest(&self.folder)?;
        Ok(())
    }

    /// Appends lines in one write, behind a line feed where a line was left unfinished. Says so where that was
    /// too much for the disk: without the lock, what was written of it stays.
    fn write(&self, lines: &str, is_locked: bool) -> io::Result<()> {
        let before = self.file.metadata()?.len();
        if before + lines.len() as u64 > UNLOCKED_MAX_BYTES {
            return Err(Error::new(ErrorKind::FileTooLarge, "it is full, and its lock is not to be had"));
        }
        let mut last = [b'\n'];
        if before > 0 {
            self.file.read_exact_at(&mut last, before - 1)?;
        }
        let whole = if last == [b'\n'] { lines.to_owned() } else { format!("\n{lines}") };
        if io::Write::write(&mut &self.file, whole.as_bytes())? == whole.len() {
            return Ok(());
        }
        if is_locked {
            self.file.set_len(before)?;
        }
        Err(ErrorKind::StorageFull.into())
    }
}

/// Opens the newest file, made if need be, if it can be trusted to be one.
fn newest(folder: &File) -> io::Result<File> {
    let flags = OFlags::RDWR
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::CLOEXEC;
    let file = File::from(openat(folder, NAME, flags, Mode::from_raw_mode(0o600))?);
    if !file.metadata()?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "it is no plain file"));
    }
    Ok(file)
}

/// Takes the folder's lock, unless somebody has it for longer than `patience`.
fn lock(folder: &File, patience: Duration) -> bool {
    let began = Instant::now();
    loop {
        match folder.try_lock_exclusive() {
            Ok(()) => return true,
            Err(error) if error.kind() == ErrorKind::WouldBlock && began.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(_) => return false,
        }
    }
}
