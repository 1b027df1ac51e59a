//! Opening the ledger for a moment: waiting for others, noticing a kill, refusing damage.
//!
//! Invariant: a file is opened for writing only after it was opened for reading and found sound, so that a
//! damaged one is left as it is. A panic inside redb, which only damage can cause, becomes an error.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::panic::{self, AssertUnwindSafe};
use std::time::{Duration, Instant};

use fs2::FileExt as _;
use redb::backends::InMemoryBackend;
use redb::{
    Builder, Database, DatabaseError, Durability, ReadOnlyDatabase, ReadableDatabase, StorageBackend as _,
};

use super::backup::copy_with_holes;
use super::change::Change;
use super::look;
use super::tables::{self, ReadTables};
use super::{Failure, Ledger, Snapshot, migrations};
use crate::error::{Error, IoContext};
use crate::holders;

/// How long to wait for whoever holds the ledger.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to sleep between two looks at a held ledger.
pub(super) const NAP: Duration = Duration::from_millis(5);
/// A file of at most this size is checked in full at every opening.
pub(super) const SMALL_BYTES: u64 = 16 * 1024 * 1024;
/// redb's cache; 16 MiB served a million rows.
const CACHE_BYTES: usize = 16 * 1024 * 1024;
/// What a transaction writes is best kept until its end, where it is very much: else it is read again then.
pub(super) const LARGE_CACHE_BYTES: usize = 96 * 1024 * 1024;

/// What tells whether a file was touched: a ctime cannot be put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    bytes: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Ledger {
    fn stamp(&self) -> Option<Stamp> {
        let meta = fs::metadata(&self.file).ok()?;
        Some(Stamp {
            inode: meta.ino(),
            bytes: meta.len(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            ctime: (meta.ctime(), meta.ctime_nsec()),
        })
    }

    /// Whether this opening checks the whole file: it is small, and somebody else has touched it since this
    /// process checked it, or wrote to it after a check.
    fn is_check_due(&self) -> bool {
        let now = self.stamp();
        now.is_some_and(|stamp| stamp.bytes <= SMALL_BYTES) && *self.sound() != now
    }

    pub(super) fn note_sound(&self) {
        let now = self.stamp();
        *self.sound() = now;
    }

    fn sound(&self) -> std::sync::MutexGuard<'_, Option<Stamp>> {
        self.sound.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// One read transaction.
pub(super) fn read<T>(
    ledger: &Ledger,
    look: impl FnOnce(&Snapshot) -> Result<T, Failure>,
) -> Result<T, Failure> {
    guarded(|| {
        let mut db = match open_to_look(ledger)? {
            Opened::File(db) => db,
            Opened::Recovered(db, _) if fit_of(&db)? == migrations::Fit::Current => {
                return look(&snapshot(&db)?);
            }
            Opened::Recovered(_, why) => return Err(why),
        };
        if let migrations::Fit::Older { first_step } = fit_of(&db)? {
            drop(db);
            bring_up_to_date(ledger, first_step)?;
            db = open_for_reading(ledger)?;
        }
        let snapshot = snapshot(&db)?;
        // Nobody can write while it is open.
        if ledger.is_check_due() {
            snapshot.check_digests()?;
            ledger.note_sound();
        }
        look(&snapshot)
    })
}

/// One write transaction.
pub(super) fn write<T>(
    ledger: &Ledger,
    change: impl FnOnce(&mut Change<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    write_with_cache(ledger, CACHE_BYTES, change)
}

/// The same with a cache of another size.
pub(super) fn write_with_cache<T>(
    ledger: &Ledger,
    cache_bytes: usize,
    change: impl FnOnce(&mut Change<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    if !ledger.exists() {
        create(ledger)?;
    }
    guarded(|| {
        let db = open_to_write(ledger, cache_bytes)?;
        let result = transaction(&db, Durability::Immediate, change)?;
        db.close()?;
        ledger.note_sound();
        Ok(result)
    })
}

/// Opens a ledger that is there for changes, once it is of this program's schema.
pub(super) fn open_to_write(ledger: &Ledger, cache_bytes: usize) -> Result<Database, Failure> {
    let is_checked = ledger.is_check_due();
    let fit = {
        let db = open_for_reading(ledger)?;
        let fit = fit_of(&db)?;
        if is_checked && fit == migrations::Fit::Current {
            snapshot(&db)?.check_digests()?;
        }
        fit
    };
    if let migrations::Fit::Older { first_step } = fit {
        bring_up_to_date(ledger, first_step)?;
    }
    open_with_cache(ledger, is_checked, cache_bytes)
}

/// Takes the steps from an older schema to this program's, after a check and a backup: a damaged ledger is left
/// as it is, whatever its schema.
fn bring_up_to_date(ledger: &Ledger, first_step: usize) -> Result<(), Failure> {
    let db = open_for_reading(ledger)?;
    if fit_of(&db)? != migrations::Fit::Current {
        check_older(&db)?;
    }
    drop(db);
    ledger.back_up(&format!("before-schema-{}", migrations::CURRENT))?;
    let db = open_for_writing(ledger, true)?;
    // Another process may have been quicker.
    if fit_of(&db)? == (migrations::Fit::Older { first_step }) {
        migrate(&db, &migrations::STEPS[first_step..], migrations::CURRENT)?;
    }
    db.close()?;
    Ok(())
}

/// Lets `change` work in one transaction, and commits if it changed something.
pub(super) fn transaction<T>(
    db: &Database,
    durability: Durability,
    change: impl FnOnce(&mut Change<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut txn = db.begin_write()?;
    txn.set_durability(durability)?;
    txn.set_quick_repair(matches!(durability, Durability::Immediate));
    let mut changes = Change::begin(&txn)?;
    let result = change(&mut changes)?;
    if changes.finish()? {
        txn.commit()?;
    } else {
        txn.abort()?;
    }
    Ok(result)
}

/// Takes steps and writes down where they lead to, in one transaction.
pub(super) fn migrate(db: &Database, steps: &[migrations::Step], to: u32) -> Result<(), Failure> {
    let mut txn = db.begin_write()?;
    txn.set_quick_repair(true);
    {
        let mut change = Change::begin(&txn)?;
        change.migrate(steps, to)?;
        change.finish()?;
    }
    txn.commit()?;
    Ok(())
}

/// A snapshot of a ledger of this program's schema.
fn snapshot(db: &impl ReadableDatabase) -> Result<Snapshot, Failure> {
    let tables = ReadTables::open(&db.begin_read()?).map_err(no_ledger)?;
    Ok(Snapshot { tables })
}

/// Compares the tables of an older schema with their digests.
fn check_older(db: &impl ReadableDatabase) -> Result<(), Failure> {
    let txn = db.begin_read()?;
    let kept = look::kept_digests(&txn.open_table(tables::META)?)?;
    let found = ReadTables::digests_there(&txn)?;
    let is_lost = |name: &&String| found.get(*name) != kept.get(*name);
    match kept.keys().chain(found.keys()).find(is_lost) {
        None => Ok(()),
        Some(table) => Err(Failure::Damaged(format!("entries of table {table} were lost or changed"))),
    }
}

/// Whether the ledger is of this program's schema, whose version every schema keeps in the same place.
fn fit_of(db: &impl ReadableDatabase) -> Result<migrations::Fit, Failure> {
    let meta = db.begin_read()?.open_table(tables::META).map_err(|error| no_ledger(error.into()))?;
    migrations::judge(look::schema_version(&meta).map_err(no_ledger)?, migrations::CURRENT)
}

fn no_ledger(failure: Failure) -> Failure {
    match failure {
        Failure::Damaged(why) => Failure::Damaged(format!("it is not a ledger of minidvodbcopy: {why}")),
        other => other,
    }
}

/// A ledger open for reading.
enum Opened {
    /// Its file.
    File(ReadOnlyDatabase),
    /// A sound copy in memory, where its file has to be recovered and can't be, for a full disk for one; and why.
    Recovered(Database, Failure),
}

/// Opens for reading; after a kill, lets redb recover first.
pub(super) fn open_for_reading(ledger: &Ledger) -> Result<ReadOnlyDatabase, Failure> {
    match open_to_look(ledger)? {
        Opened::File(db) => Ok(db),
        Opened::Recovered(_, why) => Err(why),
    }
}

fn open_to_look(ledger: &Ledger) -> Result<Opened, Failure> {
    match wait_for(ledger, || builder(false).open_read_only(&ledger.file)) {
        Err(Wait::Redb(DatabaseError::RepairAborted)) => {
            let rehearsed = rehearse_recovery(ledger)?;
            match (open_for_writing(ledger, true), rehearsed) {
                (Err(why @ Failure::Unusable(_)), Some(db)) => return Ok(Opened::Recovered(db, why)),
                (recovered, _) => drop(recovered?),
            }
            Ok(Opened::File(wait_for(ledger, || builder(false).open_read_only(&ledger.file))?))
        }
        other => Ok(Opened::File(other?)),
    }
}

/// Lets redb recover a copy of a file that a killed process left, and looks whether it is a ledger then: a
/// file that is not, or is damaged, is left untouched. Gives the copy where it is small enough for memory.
fn rehearse_recovery(ledger: &Ledger) -> Result<Option<Database>, Failure> {
    let mut file = fs::File::open(&ledger.file).or_configuration(format!("cannot open {}", ledger.file))?;
    let began = Instant::now();
    while file.try_lock_shared().is_err() && began.elapsed() < PATIENCE {
        std::thread::sleep(NAP);
    }
    let meta = file.metadata().or_configuration(format!("cannot look at {}", ledger.file))?;
    if meta.len() <= SMALL_BYTES {
        let db = recovered_in_memory(file).map_err(|failure| match failure {
            Failure::Unusable(why) => Failure::Unusable(format!("cannot copy {}: {why}", ledger.file)),
            other => other,
        })?;
        expect_sound(&db)?;
        return Ok(Some(db));
    }
    let folder = ledger.file.parent().unwrap_or(&ledger.file);
    let mut copy = tempfile::Builder::new()
        .prefix(".ledger.copy.")
        .tempfile_in(folder)
        .or_configuration(format!("cannot write into {folder}"))?;
    copy_with_holes(&mut file, copy.as_file_mut())
        .or_configuration(format!("cannot copy {}", ledger.file))?;
    drop(file);
    builder(true).open(copy.path())?.close()?;
    expect_sound(&builder(false).open_read_only(copy.path())?)?;
    Ok(None)
}

/// A copy of the file in memory, recovered: that needs no room on a disk.
fn recovered_in_memory(mut file: fs::File) -> Result<Database, Failure> {
    use std::io::Read as _;
    let unusable = |error: &dyn std::fmt::Display| Failure::Unusable(error.to_string());
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|error| unusable(&error))?;
    drop(file);
    let memory = InMemoryBackend::new();
    let filled = memory.set_len(bytes.len() as u64).and_then(|()| memory.write(0, &bytes));
    filled.map_err(|error| unusable(&error))?;
    Ok(builder(true).create_with_backend(memory)?)
}

/// Compares the tables of a recovered copy with their digests, whatever its schema.
fn expect_sound(db: &impl ReadableDatabase) -> Result<(), Failure> {
    match fit_of(db)? {
        migrations::Fit::Current => snapshot(db)?.check_digests(),
        migrations::Fit::Older { .. } => check_older(db),
    }
}

/// Opens for writing, with redb's check of the whole file or without.
pub(super) fn open_for_writing(ledger: &Ledger, is_checked: bool) -> Result<Database, Failure> {
    open_with_cache(ledger, is_checked, CACHE_BYTES)
}

fn open_with_cache(ledger: &Ledger, is_checked: bool, cache_bytes: usize) -> Result<Database, Failure> {
    Ok(wait_for(ledger, || builder(is_checked).set_cache_size(cache_bytes).open(&ledger.file))?)
}

fn builder(is_checked: bool) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(is_checked);
    builder
}

enum Wait {
    Redb(DatabaseError),
    TooLong(Error),
}

impl From<Wait> for Failure {
    fn from(wait: Wait) -> Self {
        match wait {
            Wait::Redb(error) => error.into(),
            Wait::TooLong(error) => error.into(),
        }
    }
}

/// Tries until nobody else holds the file, at most 30 s.
fn wait_for<T>(ledger: &Ledger, open: impl Fn() -> Result<T, DatabaseError>) -> Result<T, Wait> {
    let began = Instant::now();
    loop {
        match open() {
            Err(DatabaseError::DatabaseAlreadyOpen) if began.elapsed() < PATIENCE => std::thread::sleep(NAP),
            Err(DatabaseError::DatabaseAlreadyOpen) => return Err(Wait::TooLong(held_too_long(ledger))),
            other => return other.map_err(Wait::Redb),
        }
    }
}

/// Locks the file against everybody, waiting at most 30 s.
pub(super) fn lock_file(ledger: &Ledger, file: &fs::File) -> Result<(), Failure> {
    let began = Instant::now();
    while file.try_lock_exclusive().is_err() {
        if began.elapsed() >= PATIENCE {
            return Err(held_too_long(ledger).into());
        }
        std::thread::sleep(NAP);
    }
    Ok(())
}

fn held_too_long(ledger: &Ledger) -> Error {
    let holder = holders::holder_of(&ledger.file);
    Error::try_again(format!(
        "the ledger {} has been held for {} s by {holder}",
        ledger.file,
        PATIENCE.as_secs()
    ))
    .hint("try again; if that process is stuck, end it")
}

/// Makes a new ledger beside its final name and links it into place, so that a kill leaves no half one.
fn create(ledger: &Ledger) -> Result<(), Failure> {
    let new = tempfile::Builder::new()
        .prefix(".ledger.new.")
        .tempfile_in(ledger.file.parent().unwrap_or(&ledger.file))
        .or_configuration(format!("cannot make the ledger {}", ledger.file))?;
    {
        let db = Builder::new().set_cache_size(CACHE_BYTES).create(new.path())?;
        let mut txn = db.begin_write()?;
        txn.set_quick_repair(true);
        let mut change = Change::begin_new(&txn)?;
        change.found(migrations::CURRENT, &new_ledger_id()?)?;
        change.finish()?;
        txn.commit()?;
        db.close()?;
    }
    match new.persist_noclobber(&ledger.file) {
        Ok(file) => {
            file.sync_all().or_configuration(format!("cannot flush the ledger {}", ledger.file))?;
            sync_folder_of(&ledger.file)
        }
        // Somebody else was quicker: theirs is the ledger.
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Failure::Unusable(format!("it cannot be put in place: {}", error.error))),
    }
}

/// Flushes a folder, so that a name made or changed in it lasts.
pub(super) fn sync_folder_of(file: &camino::Utf8Path) -> Result<(), Failure> {
    let folder = file.parent().unwrap_or(file);
    fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .or_configuration(format!("cannot flush the folder {folder}"))?;
    Ok(())
}

/// A random id, so that two ledgers never share a staging folder.
fn new_ledger_id() -> Result<String, Failure> {
    use std::io::Read as _;
    let mut bytes = [0u8; 8];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .or_configuration("cannot read /dev/urandom")?;
    Ok(format!("{:016x}", u64::from_le_bytes(bytes)))
}

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside the ledger, where a panic becomes an error and is not printed.
pub fn is_guarded() -> bool {
    IS_GUARDED.get()
}

/// Runs `work`; a panic in it, which only a damaged file causes, is an error.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let outer = IS_GUARDED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    IS_GUARDED.set(outer);
    result.unwrap_or_else(|panic| {
        let why = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(Failure::Damaged(format!("redb could not go on: {why}")))
    })
}
