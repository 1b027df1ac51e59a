//! The files that streams share. Each stream takes the next of them when it has room for more, so that all end at
//! about the same time, whatever their connections are worth.
//!
//! Invariant: a file is given out once. It does not know what becomes of it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;

use crate::transfer::source::{Entry, Kind, Source};

/// What a file costs beside its bytes, in bytes that could be sent meanwhile.
const FILE_COST_BYTES: u64 = 16 * 1024;
/// With less than this there is nothing to win: a thousand empty files, or one of 16 MiB.
const WORTH_WHILE_COST_BYTES: u64 = 1000 * FILE_COST_BYTES;
/// The windows of four sessions.
const WINDOWS_BYTES: u64 = 8 * 1024 * 1024;
/// A further connection costs at least what it takes to send this.
const STREAM_COST_BYTES: u64 = 32 * 1024 * 1024;
/// It costs both hosts the making of it, and a turn or more: it must have so long to be of use.
const STREAM_COST: Duration = Duration::from_millis(1000);
/// How fast it goes is known after this.
const TRIAL: Duration = Duration::from_millis(500);
/// Files are given out in lots of about this size, so that neighbours stay together, or one by one.
const LOT_BYTES: u64 = 4 * 1024 * 1024;

/// What is to be sent, and how far that is.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) folder: Utf8PathBuf,
    /// The large ones first, so that no stream is left alone with one at the end.
    files: Vec<Entry>,
    lots: Vec<Range<usize>>,
    next_lot: AtomicUsize,
    /// The folders and symlinks that a tar can say, each folder just before all that is in it: those go last, when
    /// nothing is written into a folder any more.
    rest: Vec<Entry>,
    bytes: u64,
    cost_bytes: u64,
    sent_bytes: AtomicU64,
    first_sent: OnceLock<Instant>,
    at_work: AtomicUsize,
    is_given_up: AtomicBool,
    /// Whether somebody takes what has arrived, to read it back.
    is_read_back: AtomicBool,
    /// What is whole at the destination, and has not been taken yet.
    arrived: Mutex<VecDeque<Sent>>,
}

/// A file that has gone out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// Its number among the files.
    pub(super) number: usize,
    /// The checksum of what was sent.
    pub(super) checksum: u128,
}

impl Sent {
    /// The checksum as rsync writes it.
    pub(super) fn hex(self) -> String {
        format!("{:032x}", self.checksum)
    }
}

/// A stream that takes files and has not come to its end there.
pub(super) struct AtWork<'a>(&'a Work);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Ordering::Release);
    }
}

impl Work {
    /// The files of a source that a tar can say everything of and that are not there yet.
    pub(super) fn new(source: &Source, is_there: impl Fn(&Entry) -> bool) -> Self {
        let can_go = |entry: &&Entry| entry.mtime.0 >= 0;
        let goes = |entry: &&Entry| can_go(entry) && entry.kind == Kind::File && !is_there(entry);
        let goes_last = |entry: &&Entry| can_go(entry) && matches!(entry.kind, Kind::Folder | Kind::Symlink);
        let mut files: Vec<Entry> = source.entries.iter().filter(goes).cloned().collect();
        let mut rest: Vec<Entry> = source.entries.iter().filter(goes_last).cloned().collect();
        rest.sort_by(|one, other| in_tree_order(&one.path, &other.path));
        let bytes = files.iter().map(|entry| entry.size).sum();
        // Stable: the small ones stay in the order of their paths.
        files.sort_by_key(|entry| std::cmp::Reverse(if entry.size < LOT_BYTES { 0 } else { entry.size }));
        let mut lots: Vec<Range<usize>> = Vec::new();
        let (mut cost_bytes, mut lot_bytes) = (0u64, LOT_BYTES);
        for (number, entry) in files.iter().enumerate() {
            let file_bytes = entry.size.saturating_add(FILE_COST_BYTES);
            cost_bytes = cost_bytes.saturating_add(file_bytes);
            match lots.last_mut() {
                Some(lot) if lot_bytes < LOT_BYTES => lot.end = number + 1,
                _ => {
                    lots.push(number..number + 1);
                    lot_bytes = 0;
                }
            }
            lot_bytes = lot_bytes.saturating_add(file_bytes);
        }
        Self {
            folder: source.folder.clone(),
            files,
            lots,
            next_lot: AtomicUsize::new(0),
            rest,
            bytes,
            cost_bytes,
            sent_bytes: AtomicU64::new(0),
            first_sent: OnceLock::new(),
            at_work: AtomicUsize::new(0),
            is_given_up: AtomicBool::new(false),
            is_read_back: AtomicBool::new(false),
            arrived: Mutex::default(),
        }
    }

    /// A file by its number.
    pub(super) fn file(&self, number: usize) -> &Entry {
        &self.files[number]
    }

    /// Whether it is not so little that rsync does as well.
    pub(super) fn is_worth_while(&self) -> bool {
        self.cost_bytes >= WORTH_WHILE_COST_BYTES
    }

    /// Whether it is enough to wait for the window of a session again and again.
    pub(super) fn fills_windows(&self) -> bool {
        self.bytes >= WINDOWS_BYTES
    }

    /// How many streams could be worth while, `most` at most.
    pub(super) fn streams_max(&self, most: u8) -> usize {
        let worth = usize::try_from(self.cost_bytes / STREAM_COST_BYTES).unwrap_or(usize::MAX);
        worth.min(self.lots.len()).clamp(1, usize::from(most).max(1))
    }

    /// Whether another stream beside so many is worth while, by what has gone out so far.
    pub(super) fn wants_another(&self, streams: usize) -> bool {
        let spent = self.first_sent.get().map_or(Duration::ZERO, Instant::elapsed);
        let sent_bytes = self.sent_bytes();
        let left_bytes = self.bytes.saturating_sub(sent_bytes);
        !self.is_given_out()
            && !self.is_given_up()
            && is_another_worth_while(streams, spent, sent_bytes, left_bytes)
    }

    /// The numbers of the files to send next.
    pub(super) fn next(&self) -> Option<Range<usize>> {
        let lot = self.next_lot.fetch_add(1, Ordering::AcqRel);
        self.lots.get(lot).cloned()
    }

    /// A folder, or nothing, by its path below the source's folder.
    pub(super) fn folder(&self, path: &[u8]) -> Option<&Entry> {
        let found = self.rest.binary_search_by(|entry| in_tree_order(&entry.path, path));
        found.ok().map(|at| &self.rest[at]).filter(|entry| entry.kind == Kind::Folder)
    }

    /// What goes last.
    pub(super) fn rest(&self) -> &[Entry] {
        &self.rest
    }

    /// Another stream is at work until what this gives is dropped.
    pub(super) fn begin(&self) -> AtWork<'_> {
        self.at_work.fetch_add(1, Ordering::Acquire);
        AtWork(self)
    }

    /// Whether no more than one stream is at work, once every file has been given out.
    pub(super) fn is_left_to_one(&self) -> bool {
        self.at_work.load(Ordering::Acquire) <= 1
    }

    /// Whether every file has been given out.
    pub(super) fn is_given_out(&self) -> bool {
        self.next_lot.load(Ordering::Relaxed) >= self.lots.len()
    }

    /// The first file of what was given out last.
    pub(super) fn latest(&self) -> Option<&[u8]> {
        let given_out = self.next_lot.load(Ordering::Relaxed).min(self.lots.len());
        let lot = self.lots.get(given_out.checked_sub(1)?)?;
        self.files.get(lot.start).map(|entry| entry.path.as_ref())
    }

    /// So many bytes of a file more have gone out.
    pub(super) fn add_sent(&self, bytes: u64) {
        self.first_sent.get_or_init(Instant::now);
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of files that have gone out.
    pub(super) fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    /// Somebody takes what has arrived from now on, or does not any more.
    pub(super) fn set_read_back(&self, is_read_back: bool) {
        self.is_read_back.store(is_read_back, Ordering::Relaxed);
    }

    /// Whether somebody takes what has arrived.
    pub(super) fn is_read_back(&self) -> bool {
        self.is_read_back.load(Ordering::Relaxed)
    }

    /// These files have arrived.
    pub(super) fn add_arrived(&self, files: impl IntoIterator<Item = Sent>) {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).extend(files);
    }

    /// Takes as many of those that have arrived first as `count` says, of all that have.
    pub(super) fn take_arrived(&self, count: impl FnOnce(&VecDeque<Sent>) -> usize) -> Vec<Sent> {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        let count = count(&arrived).min(arrived.len());
        arrived.drain(..count).collect()
    }

    /// Nothing more is to be sent: one of the streams has met what ends the attempt.
    pub(super) fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Relaxed);
    }

    /// Whether somebody has given up.
    pub(super) fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::Relaxed)
    }
}

/// The order of two paths in which all that a folder has follows it at once: `n0`, `n0/file`, `n0-x`.
fn in_tree_order(one: &[u8], other: &[u8]) -> std::cmp::Ordering {
    let rank = |&byte: &u8| if byte == b'/' { 0 } else { byte };
    one.iter().map(rank).cmp(other.iter().map(rank))
}

/// At the rate so far, what is left takes so long that one stream more has the time to be of use.
fn is_another_worth_while(streams: usize, spent: Duration, sent_bytes: u64, left_bytes: u64) -> bool {
    let needed = STREAM_COST.as_millis() * (streams as u128 + 1);
    spent >= TRIAL && u128::from(left_bytes) * spent.as_millis() > u128::from(sent_bytes) * needed
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;
    use crate::model::AbsolutePath;
    use crate::transfer::source::Roots;

    fn work(sizes: &[u64]) -> (tempfile::TempDir, Source) {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("Images.dat"), "").unwrap();
        for (number, &size) in sizes.iter().enumerate() {
            File::create(root.path().join(format!("{number:05}"))).unwrap().set_len(size).unwrap();
        }
        let path = AbsolutePath::parse(root.path().to_str().unwrap()).unwrap();
        let source = Source::read(&path, &Roots::default()).unwrap();
        (root, source)
    }

    fn names(work: &Work, lot: Range<usize>) -> Vec<&str> {
        lot.map(|number| std::str::from_utf8(&work.file(number).path).unwrap()).collect()
    }

    #[test]
    fn every_file_is_given_out_once_the_largest_first_and_small_ones_together() {
        let (_root, source) = work(&[1, 9 << 20, 2, 30 << 20, 3 << 20, 3 << 20, 4]);
        let work = Work::new(&source, |entry| &*entry.path == b"00002");
        let mut lots = Vec::new();
        while let Some(lot) = work.next() {
            lots.push(names(&work, lot).join(" "));
        }
        assert_eq!(lots, ["00003", "00001", "00000 00004 00005", "00006 Images.dat"]);
        assert!(work.is_given_out());
        assert_eq!(work.latest(), Some(&b"00006"[..]));
    }

    #[test]
    fn a_folder_is_followed_by_all_that_it_has() {
        let mut paths = [&b"n0-x"[..], b"n0/a", b"n0", b"", b"n0/a b", b"n0/a/b"];
        paths.sort_by(|one, other| in_tree_order(one, other));
        assert_eq!(paths, [&b""[..], b"n0", b"n0/a", b"n0/a/b", b"n0/a b", b"n0-x"]);
    }

    #[test]
    fn a_connection_more_must_have_the_time_to_be_of_use() {
        let judge = |streams, spent_ms, sent_bytes, left_bytes| {
            is_another_worth_while(streams, Duration::from_millis(spent_ms), sent_bytes, left_bytes)
        };
        // A hundred megabytes a second, two seconds left, or three.
        assert!(!judge(1, 1000, 100_000_000, 199_000_000));
        assert!(judge(1, 1000, 100_000_000, 201_000_000));
        assert!(!judge(2, 1000, 100_000_000, 299_000_000));
        assert!(judge(2, 1000, 100_000_000, 301_000_000));
        // Nothing is known yet, or nothing moves.
        assert!(!judge(1, 100, 0, u64::MAX));
        assert!(judge(7, 1000, 0, 1));
        assert!(!judge(1, 1000, 1, 0));
        assert!(judge(7, u64::MAX, 1, u64::MAX));
    }

    #[test]
    fn a_connection_more_must_be_worth_it() {
        let streams = |sizes: &[u64], most| {
            let work = Work::new(&work(sizes).1, |_| false);
            if work.is_worth_while() { work.streams_max(most) } else { 0 }
        };
        assert_eq!(streams(&[1; 900], 4), 0);
        assert_eq!(streams(&[1; 1100], 4), 1);
        assert_eq!(streams(&[20 << 20], 4), 1);
        assert_eq!(streams(&[1 << 40], 4), 2, "the file, and what is small");
        assert_eq!(streams(&[40 << 20; 3], 4), 3);
        assert_eq!(streams(&[40 << 20; 30], 4), 4);
        assert_eq!(streams(&[40 << 20; 30], 1), 1);
        assert!(!Work::new(&work(&[40 << 20; 30]).1, |_| true).is_worth_while());
    }
}
