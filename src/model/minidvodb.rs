//! A minidvodb as the IPP knows it.
//!
//! Invariant: its path ends in a NAME that can stand at a destination.

use std::fmt;

use super::names::{AbsolutePath, Group, Name, Refused};

/// The id of a minidvodb: `minidvodb_id` of minidvodbRun, a positive BIGINT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MinidvodbId(pub u64);

impl MinidvodbId {
    /// Reads an id: a whole number from 1 to 2^63-1.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        match text.parse::<i64>() {
            Ok(id) if id >= 1 => Ok(Self(id.unsigned_abs())),
            _ => Err(Refused::new("the minidvodb_id", text, "is not a whole number from 1 to 2^63-1")),
        }
    }
}

impl fmt::Display for MinidvodbId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The state of a minidvodb in minidvodbRun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MinidvodbState {
    /// Merged: may be copied, unless its processing faulted.
    Merged,
    /// Any other state, kept as it came: `new`, `active`, `waiting`, `to_be_merged`, ...
    Other(String),
}

impl MinidvodbState {
    /// The states before `merged` that the IPP is known to use.
    const KNOWN: [&str; 4] = ["new", "active", "waiting", "to_be_merged"];

    /// Reads a state: 1 to 64 characters of the table's character set.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let refused = |why: &str| Refused::new("the state", text, why);
        if text.is_empty() || text.len() > 64 {
            return Err(refused("must have 1 to 64 bytes"));
        }
        super::names::check_characters(text).map_err(|why| refused(&why))?;
        Ok(if text == "merged" { Self::Merged } else { Self::Other(text.to_owned()) })
    }

    /// The word in the table.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Merged => "merged",
            Self::Other(word) => word,
        }
    }

    /// Whether the IPP is known to use this word; an unknown one may be a typing error.
    pub fn is_known(&self) -> bool {
        *self == Self::Merged || Self::KNOWN.contains(&self.as_str())
    }
}

/// One small DVO database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minidvodb {
    /// Its id.
    pub id: MinidvodbId,
    /// `minidvodb_name`, which may be missing (NULL); not the folder's name.
    pub minidvodb_name: Option<String>,
    /// The group it belongs to.
    pub group: Group,
    /// The folder that holds it.
    pub path: AbsolutePath,
    /// Its state.
    pub state: MinidvodbState,
    /// The fault of minidvodbProcessed, 0 for none; nothing where it has no row there yet.
    pub processed_fault: Option<i16>,
    /// Whether the database has had it, and not only a list that was imported.
    pub is_from_database: bool,
}

impl Minidvodb {
    /// Whether it may be copied: merged, and processed without a fault.
    pub fn is_eligible(&self) -> bool {
        self.state == MinidvodbState::Merged && self.processed_fault == Some(0)
    }

    /// The folder's name at a destination.
    pub fn folder_name(&self) -> Result<Name, Refused> {
        self.path.name()
    }
}

/// What the ledger knows of a minidvodb that may be queued.
#[derive(Debug)]
pub struct Candidate {
    /// The minidvodb.
    pub minidvodb: Minidvodb,
    /// The folder's name at the destination.
    pub name: Name,
    /// Whether the machine has a copy of it already, in any state.
    pub has_copy: bool,
    /// Whether another copy on that machine has its final path.
    pub path_is_taken: bool,
}
