//! Reading the source: what is in a minidvodb, and whether it is still the same afterwards.
//!
//! Invariant: two equal [`Source`]s mean that no file was added, removed, replaced or written to in between:
//! size, mtime, ctime, inode, mode and owner of every file are compared, and a ctime cannot be put back.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use camino::Utf8PathBuf;

use super::outcome::classify_local;
use crate::faults::{Fault, Met};
use crate::model::{AbsolutePath, Need};

/// So many differing names are put into a message.
pub(super) const NAMED: usize = 5;
/// ext2 to ext4, XFS, btrfs, ZFS, F2FS, tmpfs and overlay, as statfs names them (linux/magic.h, and ZFS's own).
const OWN_DISKS: [u32; 7] =
    [0xEF53, 0x5846_5342, 0x9123_683E, 0x2FC1_2FC1, 0xF2F5_2010, 0x0102_1994, 0x794C_7630];
/// The file that every DVO database has.
pub const IMAGES: &str = "Images.dat";

/// What a thing in the source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A symlink, which is copied as one.
    Symlink,
    /// Anything else.
    Other,
}

/// One thing in the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path below the source, as bytes; empty for the source itself.
    pub path: Box<[u8]>,
    /// What it is.
    pub kind: Kind,
    /// Its size in bytes.
    pub size: u64,
    /// When it was written, in seconds and nanoseconds.
    pub mtime: (i64, i64),
    ctime: (i64, i64),
    inode: u64,
    mode: u32,
    owner: (u32, u32),
}

impl Entry {
    /// The permission bits and those above them.
    pub(super) fn mode(&self) -> u32 {
        self.mode & 0o7777
    }

    /// The numbers of its user and its group.
    pub(super) fn owner(&self) -> (u32, u32) {
        self.owner
    }

    /// Whether what is there now is what was seen.
    pub(super) fn is_still(&self, now: &Metadata) -> bool {
        entry(self.path.clone(), now) == *self
    }
}

/// So many files may have been cut off at once: one for each stream, and some to spare.
const CUT_OFF_MAX: usize = 64;

/// A minidvodb's folder at one moment.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// The folder, symlinks resolved.
    pub folder: Utf8PathBuf,
    /// Everything in it, sorted by path.
    pub entries: Vec<Entry>,
}

/// The folders that a minidvodb may be copied from; while none is named, all.
#[derive(Clone, Debug, Default)]
pub struct Roots(pub Vec<AbsolutePath>);

impl Roots {
    /// Whether a folder, symlinks resolved, lies under one of them, symlinks resolved too.
    fn allow(&self, folder: &Path) -> bool {
        self.0.is_empty()
            || self
                .0
                .iter()
                .any(|root| fs::canonicalize(root.as_str()).is_ok_and(|root| folder.starts_with(root)))
    }
}

impl Source {
    /// Finds the folder of a minidvodb, symlinks resolved, and makes sure that it is one.
    ///
    /// # Errors
    /// 201 where it is not there, is not a folder or has no `Images.dat`; 202 where it can't be read; 204 where
    /// it lies under no root.
    pub fn find(path: &AbsolutePath, roots: &Roots) -> Result<Utf8PathBuf, Met> {
        let top = Path::new(path.as_str());
        let met = |error: &std::io::Error| {
            Met::new(classify_local(error, true), format!("cannot read the source {path}: {error}"))
        };
        let folder = fs::canonicalize(top).map_err(|error| met(&error))?;
        if !roots.allow(&folder) {
            let leads =
                if folder == top { String::new() } else { format!(", which leads to {}", folder.display()) };
            let message =
                format!("the source {path}{leads} lies under no folder that minidvodbs may be copied from");
            return Err(Met::new(Fault::SourceOutside, message));
        }
        let meta = fs::metadata(&folder).map_err(|error| met(&error))?;
        if !meta.is_dir() {
            return Err(Met::new(Fault::SourceMissing, format!("the source {path} is not a folder")));
        }
        match fs::metadata(folder.join(IMAGES)) {
            Ok(images) if images.is_file() => {}
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(Met::new(
                    Fault::SourceUnreadable,
                    format!("cannot read {path}/{IMAGES}: {error}"),
                ));
            }
            _ => {
                let message = format!("the source {path} holds no {IMAGES}, so it is no DVO database");
                return Err(Met::new(Fault::SourceMissing, message));
            }
        }
        Utf8PathBuf::try_from(folder).map_err(|error| {
            Met::new(
                Fault::SourceMissing,
                format!("the source {path} leads to a path that is not UTF-8: {error}"),
            )
        })
    }

    /// Reads the folder of a minidvodb.
    ///
    /// # Errors
    /// As [`Self::find`]; 203 where something vanishes meanwhile.
    pub fn read(path: &AbsolutePath, roots: &Roots) -> Result<Self, Met> {
        let folder = Self::find(path, roots)?;
        let mut entries = Vec::new();
        each_in(&folder, path, &mut |entry| entries.push(entry))?;
        entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { folder, entries })
    }

    /// Shows everything in the folder of a minidvodb, itself first, so that nothing of it is kept.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn each(path: &AbsolutePath, roots: &Roots, see: &mut dyn FnMut(Entry)) -> Result<(), Met> {
        each_in(&Self::find(path, roots)?, path, see)
    }

    /// What is at a path below the folder.
    pub(super) fn at(&self, path: &[u8]) -> Option<&Entry> {
        let found = self.entries.binary_search_by(|entry| entry.path.as_ref().cmp(path));
        found.ok().map(|at| &self.entries[at])
    }

    /// The mode of the folder itself.
    pub fn mode(&self) -> Option<u32> {
        self.at(b"").map(|entry| entry.mode)
    }

    /// The size of all files, in bytes.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().filter(|entry| entry.kind == Kind::File).map(|entry| entry.size).sum()
    }

    /// The number of files.
    pub fn files(&self) -> u64 {
        self.entries.iter().filter(|entry| entry.kind == Kind::File).count() as u64
    }

    /// A name that nothing in the source has: `stem`, or with a number.
    pub fn free_name(&self, stem: &str) -> String {
        let is_taken = |name: &str| {
            self.entries.iter().any(|entry| entry.path.rsplit(|&b| b == b'/').next() == Some(name.as_bytes()))
        };
        let mut name = stem.to_owned();
        let mut number = 1;
        while is_taken(&name) {
            name = format!("{stem}-{number}");
            number += 1;
        }
        name
    }

    /// The paths that are not the same in `later`, at most `most` of them.
    pub fn changed_in<'a>(&'a self, later: &'a Self, most: usize) -> Vec<String> {
        let (mut old, mut new) = (self.entries.iter().peekable(), later.entries.iter().peekable());
        let mut changed = Vec::new();
        while changed.len() < most {
            let differing = match (old.peek(), new.peek()) {
                (None, None) => break,
                (Some(a), Some(b)) if a.path == b.path => {
                    let differs = a != b;
                    let path = &a.path;
                    old.next();
                    new.next();
                    if !differs {
                        continue;
                    }
                    path
                }
                (Some(a), Some(b)) if a.path < b.path => {
                    let path = &a.path;
                    old.next();
                    path
                }
                (Some(a), None) => {
                    let path = &a.path;
                    old.next();
                    path
                }
                (_, Some(b)) => {
                    let path = &b.path;
                    new.next();
                    path
                }
            };
            changed.push(shown(differing));
        }
        changed
    }

    /// How what lies in a folder at the destination differs from this, by presence, kind, size and time, in
    /// words; nothing where it does not. A folder's size and time are its file system's own business, and so is
    /// a symlink's time.
    pub fn differs_from(&self, there: &[Staged]) -> Option<String> {
        self.differences(there, true)
    }

    /// How what lies in a folder at the destination could never be completed to be this: as
    /// [`Self::differs_from`], but for what is missing there.
    pub fn conflicts_with(&self, there: &[Staged]) -> Option<String> {
        self.differences(there, false)
    }

    fn differences(&self, there: &[Staged], counts_missing: bool) -> Option<String> {
        let mut there: HashMap<&[u8], &Staged> = there.iter().map(|staged| (&*staged.path, staged)).collect();
        let mut differences = Vec::new();
        for entry in &self.entries {
            let is_equal = match (entry.kind, there.remove(&*entry.path)) {
                (_, None) if !counts_missing => continue,
                (_, None) => {
                    differences.push(format!("{} is missing there", shown(&entry.path)));
                    continue;
                }
                (Kind::File, Some(staged)) => staged.is_as(entry),
                (Kind::Symlink, Some(staged)) => staged.kind == Kind::Symlink && staged.size == entry.size,
                (kind, Some(staged)) => staged.kind == kind,
            };
            if !is_equal {
                differences.push(format!("{} differs", shown(&entry.path)));
            }
        }
        let mut extra: Vec<_> =
            there.into_keys().map(|path| format!("{} is extra there", shown(path))).collect();
        extra.sort_unstable();
        differences.append(&mut extra);
        summed_up(&differences)
    }

    /// Files whose end a stream did not bring: what lies there of them is shorter than they are. Names that are no
    /// text are left out.
    pub fn cut_off<'s>(&self, staged: &'s [Staged]) -> Vec<&'s str> {
        let whole = |staged: &Staged| {
            self.at(&staged.path).filter(|entry| entry.kind == Kind::File).map_or(0, |entry| entry.size)
        };
        let is_cut = |staged: &&Staged| staged.kind == Kind::File && staged.size < whole(staged);
        let names = staged.iter().filter(is_cut).filter_map(|staged| std::str::from_utf8(&staged.path).ok());
        names.take(CUT_OFF_MAX).collect()
    }

    /// Whether a listed folder has a thing that is of another kind here: who writes by its path might end elsewhere.
    pub(super) fn is_other_kind_in(&self, there: &[Staged]) -> bool {
        there.iter().any(|there| self.at(&there.path).is_some_and(|entry| entry.kind != there.kind))
    }

    /// Whether the source lies on a disk of this machine, so that whatever anybody writes to it is seen here at once. A
    /// file system that is not known counts as one of somebody else's.
    pub fn is_on_own_disk(&self) -> bool {
        rustix::fs::statfs(self.folder.as_str()).is_ok_and(|stats| OWN_DISKS.contains(&(stats.f_type as u32)))
    }

    /// What of a listed folder is as it is here, by kind, size and time.
    pub fn unchanged(&self, there: Vec<Staged>) -> Vec<Staged> {
        let is_unchanged = |there: &Staged| {
            there.kind == Kind::File && self.at(&there.path).is_some_and(|entry| there.is_as(entry))
        };
        there.into_iter().filter(is_unchanged).collect()
    }

    /// What is still to be sent, given what lies in the staging folder, in blocks of the destination.
    pub fn need(&self, staged: &[Staged], partial_name: &str, block_bytes: u64) -> Need {
        let mut staged: Vec<&Staged> = staged.iter().collect();
        staged.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let find = |path: &[u8]| {
            staged.binary_search_by(|staged| staged.path.as_ref().cmp(path)).ok().map(|at| staged[at])
        };
        let mut need = Need::default();
        for entry in &self.entries {
            let there = find(&entry.path);
            let whole = match entry.kind {
                Kind::File => Need::of_file(entry.size, block_bytes),
                Kind::Folder => Need::of_file(1, block_bytes),
                Kind::Symlink | Kind::Other => Need::of_file(0, block_bytes),
            };
            match there {
                None => need += whole,
                Some(there) if entry.kind == Kind::File && !there.is_as(entry) => {
                    need += Need { inodes: 0, ..whole };
                }
                Some(_) => {}
            }
            if entry.kind == Kind::File
                && let Some(partial) = find(&partial_path(&entry.path, partial_name))
            {
                need.bytes = need.bytes.saturating_sub(partial.size.min(whole.bytes));
            }
        }
        need
    }
}

/// The first few differences, and how many more there are; nothing where there is none.
fn summed_up(differences: &[String]) -> Option<String> {
    let named = differences.get(..NAMED).unwrap_or(differences).join(", ");
    match differences.len().checked_sub(NAMED) {
        _ if differences.is_empty() => None,
        None | Some(0) => Some(named),
        Some(more) => Some(format!("{named}, and {more} more")),
    }
}

/// Where rsync keeps the part of a file that has arrived.
pub(super) fn partial_path(path: &[u8], partial_name: &str) -> Vec<u8> {
    let at = path.iter().rposition(|&b| b == b'/').map_or(0, |slash| slash + 1);
    let mut partial = path[..at].to_vec();
    partial.extend_from_slice(partial_name.as_bytes());
    partial.push(b'/');
    partial.extend_from_slice(&path[at..]);
    partial
}

/// One thing in a folder at the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    /// Its path below the folder.
    pub path: Box<[u8]>,
    /// Its size in bytes.
    pub size: u64,
    /// When it was written, in whole seconds.
    pub mtime_s: i64,
    /// What it is.
    pub kind: Kind,
}

impl Staged {
    fn is_as(&self, entry: &Entry) -> bool {
        self.kind == Kind::File && self.size == entry.size && self.mtime_s == entry.mtime.0
    }
}

fn each_in(folder: &camino::Utf8Path, path: &AbsolutePath, see: &mut dyn FnMut(Entry)) -> Result<(), Met> {
    let meta = fs::metadata(folder).map_err(|error| {
        Met::new(classify_local(&error, true), format!("cannot read the source {path}: {error}"))
    })?;
    see(entry(Box::default(), &meta));
    walk(folder.as_std_path(), see)
}

fn walk(folder: &Path, see: &mut dyn FnMut(Entry)) -> Result<(), Met> {
    let top_bytes = folder.as_os_str().len();
    let mut waiting: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        let met = |error: &std::io::Error| {
            let shown = shown(folder.as_os_str().as_bytes());
            Met::new(classify_local(error, false), format!("cannot read the source folder {shown}: {error}"))
        };
        for found in fs::read_dir(&folder).map_err(|error| met(&error))? {
            let found = found.map_err(|error| met(&error))?;
            let meta = found.metadata().map_err(|error| met(&error))?;
            let path = found.path();
            let below = path.as_os_str().as_bytes().get(top_bytes + 1..).unwrap_or_default();
            see(entry(below.into(), &meta));
            if meta.is_dir() {
                waiting.push(path);
            }
        }
    }
    Ok(())
}

fn entry(path: Box<[u8]>, meta: &Metadata) -> Entry {
    let kind = if meta.is_file() {
        Kind::File
    } else if meta.is_dir() {
        Kind::Folder
    } else if meta.is_symlink() {
        Kind::Symlink
    } else {
        Kind::Other
    };
    Entry {
        path,
        kind,
        size: meta.size(),
        mtime: (meta.mtime(), meta.mtime_nsec()),
        ctime: (meta.ctime(), meta.ctime_nsec()),
        inode: meta.ino(),
        mode: meta.mode(),
        owner: (meta.uid(), meta.gid()),
    }
}

/// A path of bytes for people: control characters escaped.
pub fn shown(path: &[u8]) -> String {
    if path.is_empty() { ".".to_owned() } else { String::from_utf8_lossy(path).escape_debug().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> (tempfile::TempDir, AbsolutePath) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("n0000")).unwrap();
        fs::write(dir.path().join(IMAGES), "images").unwrap();
        fs::write(dir.path().join("n0000/0148.cpm"), "measurements").unwrap();
        let path = AbsolutePath::parse(dir.path().to_str().unwrap()).unwrap();
        (dir, path)
    }

    #[test]
    fn a_file_rewritten_with_the_same_size_and_its_time_put_back_is_a_change() {
        let (dir, path) = database();
        let before = Source::read(&path, &Roots::default()).unwrap();
        assert_eq!(before, Source::read(&path, &Roots::default()).unwrap());
        let file = dir.path().join("n0000/0148.cpm");
        let mtime = fs::metadata(&file).unwrap().modified().unwrap();
        fs::write(&file, "MEASUREMENTS").unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_modified(mtime).unwrap();
        let after = Source::read(&path, &Roots::default()).unwrap();
        assert_eq!(before.changed_in(&after, 5), ["n0000/0148.cpm"]);
    }

    #[test]
    fn added_and_removed_files_are_changes() {
        let (dir, path) = database();
        let before = Source::read(&path, &Roots::default()).unwrap();
        fs::remove_file(dir.path().join("n0000/0148.cpm")).unwrap();
        fs::write(dir.path().join("n0000/0149.cpm"), "x").unwrap();
        let after = Source::read(&path, &Roots::default()).unwrap();
        assert_eq!(before.changed_in(&after, 5), ["n0000", "n0000/0148.cpm", "n0000/0149.cpm"]);
        assert_eq!(before.changed_in(&after, 1).len(), 1);
    }

    #[test]
    fn what_is_staged_need_not_be_sent() {
        let (_dir, path) = database();
        let source = Source::read(&path, &Roots::default()).unwrap();
        // Two folders, a file of 6 bytes and one of 12: a block each.
        assert_eq!(source.need(&[], "p", 4096), Need { bytes: 4 * 4096, inodes: 4 });
        let entry = source.entries.iter().find(|entry| &*entry.path == b"n0000/0148.cpm").unwrap();
        let staged =
            |path: &[u8], size, mtime_s| Staged { path: path.into(), size, mtime_s, kind: Kind::File };
        let same = staged(b"n0000/0148.cpm", 12, entry.mtime.0);
        assert_eq!(source.need(&[same], "p", 4096), Need { bytes: 3 * 4096, inodes: 3 });
        let older = staged(b"n0000/0148.cpm", 12, entry.mtime.0 - 9);
        assert_eq!(source.need(&[older], "p", 4096), Need { bytes: 4 * 4096, inodes: 3 });
        let part = staged(b"n0000/p/0148.cpm", 5, 0);
        assert_eq!(source.need(&[part], "p", 4096).bytes, 4 * 4096 - 5);
    }

    #[test]
    fn every_difference_of_a_listing_is_named() {
        let (_dir, path) = database();
        let source = Source::read(&path, &Roots::default()).unwrap();
        let equal: Vec<Staged> = (source.entries.iter())
            .map(|e| Staged { path: e.path.clone(), size: e.size, mtime_s: e.mtime.0, kind: e.kind })
            .collect();
        assert_eq!(source.differs_from(&equal), None);
        let changed = |change: fn(&mut Staged)| {
            let mut there = equal.clone();
            change(there.iter_mut().find(|staged| &*staged.path == b"n0000/0148.cpm").unwrap());
            source.differs_from(&there).unwrap()
        };
        assert_eq!(changed(|staged| staged.size += 1), "n0000/0148.cpm differs");
        assert_eq!(changed(|staged| staged.mtime_s -= 1), "n0000/0148.cpm differs");
        assert_eq!(changed(|staged| staged.kind = Kind::Symlink), "n0000/0148.cpm differs");
        let moved = changed(|staged| staged.path = b"n0000/x"[..].into());
        assert_eq!(moved, "n0000/0148.cpm is missing there, n0000/x is extra there");
        let nothing = source.differs_from(&[]).unwrap();
        assert_eq!(
            nothing,
            ". is missing there, Images.dat is missing there, n0000 is missing there, n0000/0148.cpm is missing there"
        );
    }

    #[test]
    fn the_partial_folder_gets_a_name_that_the_source_does_not_have() {
        let (dir, path) = database();
        fs::create_dir(dir.path().join("n0000/partial")).unwrap();
        assert_eq!(Source::read(&path, &Roots::default()).unwrap().free_name("partial"), "partial-1");
        assert_eq!(Source::read(&path, &Roots::default()).unwrap().free_name("other"), "other");
    }

    #[test]
    fn what_is_no_database_is_missing() {
        let (dir, path) = database();
        fs::remove_file(dir.path().join(IMAGES)).unwrap();
        assert_eq!(Source::read(&path, &Roots::default()).unwrap_err().fault, Fault::SourceMissing);
        let nowhere = AbsolutePath::parse("/nowhere/at/all").unwrap();
        assert_eq!(Source::read(&nowhere, &Roots::default()).unwrap_err().fault, Fault::SourceMissing);
    }
}
