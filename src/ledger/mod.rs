//! The ledger: everything this program knows, in one redb file.
//!
//! Invariants: the file is open only for a transaction's moment, or for some seconds of a series of them, so that
//! passes and readers work at the same time; every record carries a checksum and every table a digest, so that
//! damage is an error and never a wrong row; the unique index on (machine, minidvodb) cannot be got around, because
//! all changes go through [`Change`]. Only this part imports redb. It knows the model, and nothing of passes, locks
//! or transfers.

mod backup;
mod bulk;
mod change;
mod check;
#[cfg(test)]
mod damage;
#[cfg(test)]
#[path = "../../tests/fuzz/ledger.rs"]
mod fuzz;
mod hash;
mod look;
mod migrations;
mod open;
#[cfg(test)]
mod power_loss;
mod records;
mod series;
mod tables;
mod tally;
#[cfg(test)]
mod tests;

use camino::{Utf8Path, Utf8PathBuf};
use std::fmt;
use std::sync::Mutex;

pub use bulk::{ADOPTED_AT_ONCE, Adopted, KeptCopies, Mark, NewMinidvodbs, Noted};
pub use change::{Change, Imported};
pub use check::Census;
pub use look::Look;
pub use open::is_guarded;
pub use series::Series;

use crate::error::{Error, Exit};
use crate::model::Copy;
use tables::ReadTables;

/// The ledger file of a state folder.
#[derive(Debug)]
pub struct Ledger {
    file: Utf8PathBuf,
    backup_dir: Utf8PathBuf,
    sound: Mutex<Option<open::Stamp>>,
}

/// Why a transaction did not come about.
#[derive(Debug)]
pub enum Failure {
    /// The file is not what was written.
    Damaged(String),
    /// The file cannot be read or written at all.
    Unusable(String),
    /// The command failed for a reason of its own.
    Command(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Command(error)
    }
}

impl From<crate::model::Refused> for Failure {
    fn from(refused: crate::model::Refused) -> Self {
        Self::Command(refused.into())
    }
}

macro_rules! from_redb {
    ($($error:ty),*) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                match redb::Error::from(error) {
                    redb::Error::Io(io) => Self::from_io(&io),
                    other => Self::Damaged(other.to_string()),
                }
            }
        })*
    };
}
from_redb!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::DatabaseError,
    redb::CompactionError,
    redb::SetDurabilityError
);

impl Failure {
    fn from_io(error: &std::io::Error) -> Self {
        match error.kind() {
            // redb reports a file that is not one of its own, or is cut off, this way.
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => {
                Self::Damaged(format!("it is not a whole redb file: {error}"))
            }
            _ => Self::Unusable(error.to_string()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(why) => write!(f, "damaged: {why}"),
            Self::Unusable(why) => f.write_str(why),
            Self::Command(error) => error.fmt(f),
        }
    }
}

/// The ledger as it was at one moment.
pub struct Snapshot {
    tables: ReadTables,
}

impl Ledger {
    /// The ledger of a state folder; nothing is opened yet.
    pub fn new(state_dir: &Utf8Path) -> Self {
        Self {
            file: state_dir.join("ledger.redb"),
            backup_dir: state_dir.join("backup"),
            sound: Mutex::new(None),
        }
    }

    /// The file.
    pub fn file(&self) -> &Utf8Path {
        &self.file
    }

    /// Whether the file is there, whatever is in it.
    pub fn exists(&self) -> bool {
        self.file.symlink_metadata().is_ok()
    }

    /// Reads: `look` sees the ledger as it is at one moment.
    ///
    /// # Errors
    /// 75 where somebody holds the ledger for longer than 30 s; 78 where it is damaged, newer than this
    /// program, or can't be read; whatever `look` returns.
    pub fn read<T>(&self, look: impl FnOnce(&Snapshot) -> Result<T, Failure>) -> Result<T, Error> {
        self.explain(open::read(self, look))
    }

    /// Writes: makes the ledger where there is none, lets `change` work on it, and commits what it changed.
    /// Where it changed nothing, or fails, nothing is committed.
    ///
    /// # Errors
    /// As [`Self::read`], and 78 where the disk is full.
    pub fn write<T>(&self, change: impl FnOnce(&mut Change<'_>) -> Result<T, Failure>) -> Result<T, Error> {
        self.explain(open::write(self, change))
    }

    /// The same for a change of tens of thousands of records, which it keeps in memory until the end.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_much<T>(
        &self,
        change: impl FnOnce(&mut Change<'_>) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        self.explain(open::write_with_cache(self, open::LARGE_CACHE_BYTES, change))
    }

    /// Several changes of that size, one behind the other.
    pub fn series(&self) -> Series<'_> {
        Series::of(self)
    }

    /// The copies that a look has found, without the ledger being held meanwhile.
    ///
    /// # Errors
    /// 78 where one is damaged.
    pub fn read_copies(&self, kept: &KeptCopies) -> Result<Vec<(Copy, Mark)>, Error> {
        self.explain(kept.read())
    }

    /// Turns a failure into an error that names the file and the newest backup.
    fn explain<T>(&self, result: Result<T, Failure>) -> Result<T, Error> {
        result.map_err(|failure| match failure {
            Failure::Command(error) => error,
            Failure::Unusable(why) => {
                Error::configuration(format!("the ledger {} cannot be used: {why}", self.file))
            }
            Failure::Damaged(why) => self.damaged(&why),
        })
    }

    fn damaged(&self, why: &str) -> Error {
        let error = Error::new(Exit::Configuration, format!("the ledger {} is damaged: {why}", self.file))
            .hint("it was left untouched");
        match self.newest_backup() {
            Some(backup) => error.hint(format!(
                "the newest backup is {backup}: `minidvodbcopy ledger restore {backup}` puts it in place and keeps the damaged file"
            )),
            None => error.hint(format!(
                "there is no backup in {}; move the file away to begin a new ledger, which will not know what is where",
                self.backup_dir
            )),
        }
    }
}
