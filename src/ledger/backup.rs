//! Backups of the ledger, putting one back, and making the file small again.
//!
//! Invariant: only a ledger that passed the full check is kept as a backup, so that damage never pushes out
//! the last good one. What is replaced is kept.

use std::fs;
use std::io::{ErrorKind, Read, Seek as _, SeekFrom, Write as _};
use std::ops::RangeInclusive;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;

use super::open::{open_for_reading, open_for_writing, sync_folder_of};
use super::{Census, Failure, Ledger};
use crate::error::{Error, IoContext, Result};

/// So many daily backups are kept.
const KEPT: usize = 7;
/// A backup this old is due for the next; a little less than a day, for passes that come a bit early.
const DAY_S: i64 = 24 * 3600 - 600;
/// A file is compacted when so much of what it takes of the disk is free: a change of all that there is leaves half.
const FREE_MAX_PERCENT: u64 = 33;
/// A smaller one is not worth it; while a larger one is compacted, others would wait for longer than they do.
const COMPACTED_BYTES: RangeInclusive<u64> = 16 << 20..=256 << 20;
const PREFIX: &str = "ledger-";
const SUFFIX: &str = ".redb";
const STAMP: &str = "%Y%m%dT%H%M%SZ";

impl Ledger {
    /// Checks everything in the ledger.
    ///
    /// # Errors
    /// As [`Ledger::read`].
    pub fn check(&self) -> Result<Census> {
        self.read(super::Snapshot::check_all)
    }

    /// Once a day: the full check, then a backup, and the oldest ones go; and the file is made small again, where
    /// that pays. Nothing where there is no ledger.
    ///
    /// # Errors
    /// As [`Ledger::read`]; 78 where the backup can't be written.
    pub fn back_up_daily(&self, now: Timestamp) -> Result<()> {
        // One from the future was made by a clock that has been set back, and says nothing.
        let is_fresh = self
            .daily()
            .iter()
            .filter_map(|path| made_at(path))
            .any(|made| (0..DAY_S).contains(&(now.as_second() - made.as_second())));
        if is_fresh || !self.exists() {
            return Ok(());
        }
        self.check()?;
        let stamp = now.strftime(STAMP).to_string();
        self.explain(self.back_up(&stamp))?;
        self.drop_oldest()?;
        if self.explain(self.is_wasteful())? {
            match self.compact() {
                Ok((before, after)) => tracing::info!("ledger compacted, from {before} bytes to {after}"),
                // It works as it is: a disk that is full must not end a pass. Damage does.
                Err(error) => {
                    tracing::warn!("the ledger could not be compacted: {error}");
                    self.check()?;
                }
            }
        }
        Ok(())
    }

    /// Whether the file takes much more of the disk than what is in it: after very many changes at once. What it has
    /// free is used again by later changes, so that otherwise it does not grow.
    fn is_wasteful(&self) -> Result<bool, Failure> {
        let meta = fs::metadata(&self.file).or_configuration(&self.file)?;
        // Without the holes that nothing was ever written to.
        let on_disk = meta.blocks() * 512;
        if !COMPACTED_BYTES.contains(&on_disk) {
            return Ok(false);
        }
        let db = open_for_writing(self, false)?;
        let txn = db.begin_write()?;
        let used = txn.stats()?;
        txn.abort()?;
        db.close()?;
        let free = on_disk.saturating_sub(used.allocated_pages() * used.page_size() as u64);
        Ok(free > on_disk / 100 * FREE_MAX_PERCENT)
    }

    /// Copies the ledger to `backup/ledger-STAMP.redb`.
    pub(super) fn back_up(&self, stamp: &str) -> Result<Utf8PathBuf, Failure> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.backup_dir)
            .or_configuration(format!("cannot make the folder {}", self.backup_dir))?;
        let to = free_name(&self.backup_dir, &format!("{PREFIX}{stamp}"));
        self.copy_to(&to)?;
        Ok(to)
    }

    /// Checks the ledger and copies it to a file that is not there yet.
    ///
    /// # Errors
    /// As [`Ledger::read`]; 2 where the file is there.
    pub fn back_up_to(&self, to: &Utf8Path) -> Result<()> {
        if to.symlink_metadata().is_ok() {
            return Err(Error::usage(format!("{to} is already there, and a backup replaces nothing"))
                .hint("name a file that does not exist"));
        }
        self.check()?;
        self.explain(self.copy_to(to))
    }

    /// The name for a backup made by hand, in the backup folder.
    pub fn backup_name(&self, now: Timestamp) -> Utf8PathBuf {
        free_name(&self.backup_dir, &format!("by-hand-{}", now.strftime(STAMP)))
    }

    /// Copies the file while it is open for reading, so that nobody writes meanwhile.
    fn copy_to(&self, to: &Utf8Path) -> Result<(), Failure> {
        let folder = to.parent().filter(|parent| !parent.as_str().is_empty()).unwrap_or(Utf8Path::new("."));
        let db = open_for_reading(self)?;
        let mut temporary = tempfile::Builder::new()
            .prefix(".ledger.copy.")
            .tempfile_in(folder)
            .or_configuration(format!("cannot write into {folder}"))?;
        let mut source = fs::File::open(&self.file).or_configuration(format!("cannot read {}", self.file))?;
        copy_with_holes(&mut source, temporary.as_file_mut())
            .or_configuration(format!("cannot copy the ledger to {to}"))?;
        drop(db);
        temporary.as_file().sync_all().or_configuration(format!("cannot flush {to}"))?;
        temporary.persist(to).or_configuration(format!("cannot make {to}"))?;
        sync_folder_of(&folder.join("x"))
    }

    /// All files in the backup folder that were copied from a sound ledger.
    fn backups(&self) -> Vec<Utf8PathBuf> {
        let Ok(entries) = self.backup_dir.read_dir_utf8() else { return Vec::new() };
        let is_backup = |name: &str| {
            name.ends_with(SUFFIX) && [PREFIX, "by-hand-"].iter().any(|prefix| name.starts_with(prefix))
        };
        let names = entries.flatten().filter(|entry| is_backup(entry.file_name()));
        names.map(|entry| entry.path().to_owned()).collect()
    }

    /// The daily backups, oldest first.
    fn daily(&self) -> Vec<Utf8PathBuf> {
        let mut paths = self.backups();
        paths.retain(|path| {
            made_at(path).is_some() && path.file_name().is_some_and(|name| name.starts_with(PREFIX))
        });
        paths.sort();
        paths
    }

    /// The newest backup, by the time in its name, or else by the file's.
    pub fn newest_backup(&self) -> Option<Utf8PathBuf> {
        self.backups().into_iter().max_by_key(|path| {
            made_at(path).map(Timestamp::as_second).or_else(|| {
                let modified = fs::metadata(path).ok()?.modified().ok()?;
                Timestamp::try_from(modified).ok().map(Timestamp::as_second)
            })
        })
    }

    fn drop_oldest(&self) -> Result<()> {
        let backups = self.daily();
        for path in &backups[..backups.len().saturating_sub(KEPT)] {
            fs::remove_file(path).or_configuration(format!("cannot remove the old backup {path}"))?;
        }
        Ok(())
    }

    /// Puts a backup in the ledger's place and says where the replaced file is kept.
    ///
    /// # Errors
    /// 78 where `from` is no whole ledger; 75 where somebody holds the ledger.
    pub fn restore(&self, from: &Utf8Path, now: Timestamp) -> Result<Option<Utf8PathBuf>> {
        let state_dir = self.file.parent().unwrap_or(&self.file);
        let mut candidate = tempfile::Builder::new()
            .prefix(".ledger.restore.")
            .tempfile_in(state_dir)
            .or_configuration(format!("cannot write into {state_dir}"))?;
        let mut source = fs::File::open(from).or_configuration(format!("cannot read {from}"))?;
        copy_with_holes(&mut source, candidate.as_file_mut())
            .or_configuration(format!("cannot copy {from}"))?;
        candidate.as_file().sync_all().or_configuration(format!("cannot flush the copy of {from}"))?;
        let candidate_file = Utf8PathBuf::try_from(candidate.path().to_owned()).map_err(Error::bug)?;
        let sound = Self {
            file: candidate_file,
            backup_dir: self.backup_dir.clone(),
            sound: std::sync::Mutex::new(None),
        };
        super::open::read(&sound, super::Snapshot::check_all).map_err(|failure| {
            Error::configuration(format!("{from} is not put in place: {failure}"))
                .hint("the ledger was left as it is; name another backup")
        })?;
        // Held until the new file is in place, so that nobody writes to the one that goes.
        let (_present, replaced) = self.keep_replaced(now)?;
        candidate.persist(&self.file).or_configuration(format!("cannot put {from} in place"))?;
        self.explain(sync_folder_of(&self.file))?;
        Ok(replaced)
    }

    /// Links the present file, damaged or not, into the backup folder; returns it locked.
    fn keep_replaced(&self, now: Timestamp) -> Result<(Option<fs::File>, Option<Utf8PathBuf>)> {
        if !self.exists() {
            return Ok((None, None));
        }
        let present = fs::File::open(&self.file).or_configuration(format!("cannot open {}", self.file))?;
        self.explain(super::open::lock_file(self, &present))?;
        fs::create_dir_all(&self.backup_dir)
            .or_configuration(format!("cannot make the folder {}", self.backup_dir))?;
        let to = free_name(&self.backup_dir, &format!("replaced-{}", now.strftime(STAMP)));
        fs::hard_link(&self.file, &to).or_configuration(format!("cannot keep the present ledger as {to}"))?;
        Ok((Some(present), Some(to)))
    }

    /// Makes the file as small as it can be; says its size before and after, in bytes.
    ///
    /// # Errors
    /// As [`Ledger::write`].
    pub fn compact(&self) -> Result<(u64, u64)> {
        self.check()?;
        let size = || fs::metadata(&self.file).map(|meta| meta.len()).or_configuration(&self.file);
        let before = size()?;
        let compacted = || -> Result<(), Failure> {
            let mut db = open_for_writing(self, true)?;
            db.compact()?;
            db.close()?;
            Ok(())
        };
        self.explain(compacted())?;
        self.check()?;
        Ok((before, size()?))
    }
}

/// Copies a file. Where it has nothing but zeros the copy has a hole: a ledger's file grows by as much as it has, and
/// what of that was never written to takes no room on a disk.
pub(super) fn copy_with_holes(from: &mut impl Read, to: &mut fs::File) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut bytes = 0;
    loop {
        let count = match from.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read?,
        };
        if count == 0 {
            return to.set_len(bytes);
        }
        bytes += count as u64;
        if buffer[..count].iter().all(|&byte| byte == 0) {
            to.seek(SeekFrom::Start(bytes))?;
        } else {
            to.write_all(&buffer[..count])?;
        }
    }
}

/// A name that nothing in the folder has: `STEM.redb`, or with a number.
fn free_name(folder: &Utf8Path, stem: &str) -> Utf8PathBuf {
    let named = |number: u32| match number {
        1 => folder.join(format!("{stem}{SUFFIX}")),
        _ => folder.join(format!("{stem}-{number}{SUFFIX}")),
    };
    (1..).map(named).find(|path| path.symlink_metadata().is_err()).unwrap_or_else(|| named(1))
}

/// When a backup was made, by the time in its name.
fn made_at(path: &Utf8Path) -> Option<Timestamp> {
    let stem = path.file_name()?.strip_suffix(SUFFIX)?;
    let stamp = stem.strip_prefix(PREFIX).or_else(|| stem.strip_prefix("by-hand-"))?;
    let civil = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", stamp.get(..16)?).ok()?;
    jiff::tz::TimeZone::UTC.to_timestamp(civil).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_same_bytes_and_the_holes_of_what_was_copied() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let mut file = fs::File::create(&from).unwrap();
        file.write_all(b"first").unwrap();
        file.seek(SeekFrom::Start(8 << 20)).unwrap();
        file.write_all(b"middle").unwrap();
        // It ends with a hole that is no whole buffer.
        file.set_len((16 << 20) + 5).unwrap();
        copy_with_holes(&mut fs::File::open(&from).unwrap(), &mut fs::File::create(&to).unwrap()).unwrap();
        assert!(fs::read(&from).unwrap() == fs::read(&to).unwrap());
        let on_disk = fs::metadata(&to).unwrap().blocks() * 512;
        assert!(on_disk <= 1 << 20, "{on_disk} bytes of the disk");
    }
}
