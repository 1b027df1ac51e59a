//! A copy: one minidvodb to one destination host, a row of minidvodbCopy.
//!
//! Invariant: `full` carries how it came to be believed; a retry or a rename is open only of a copy that is to
//! be made: a `new` one, or a `full` one that an operator has asked to be sent again.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;

use super::audit::Audit;
use super::minidvodb::MinidvodbId;
use super::names::{AbsolutePath, Group, Host, Machine, Name, Refused};
use crate::faults::{Class, Fault, Scope};

/// The id of a copy in this ledger: `minidvodbcopy_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CopyId(pub u64);

impl CopyId {
    /// Reads an id: a whole number from 1.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        match text.parse::<i64>() {
            Ok(id) if id >= 1 => Ok(Self(id.unsigned_abs())),
            _ => Err(Refused::new("the copy's id", text, "is not a whole number from 1")),
        }
    }
}

impl fmt::Display for CopyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a full copy came to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    /// Every file's checksum was compared.
    Checksum,
    /// Sizes and times were compared.
    Quick,
    /// Taken over from the database or the predecessor.
    Adopted,
    /// Said so by an operator.
    ByHand,
}

impl Verified {
    /// The word in tables and exports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Checksum => "checksum",
            Self::Quick => "quick",
            Self::Adopted => "adopted",
            Self::ByHand => "by hand",
        }
    }
}

/// The fault that a copy shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultState {
    /// What is wrong.
    pub fault: Fault,
    /// Whether it heals by itself; decided when it was met, since attempts run out.
    pub class: Class,
    /// When it is tried again; none: it waits for a person, or for its host or target.
    pub next_try: Option<Timestamp>,
}

/// A verified staging folder about to be renamed: what identifies it afterwards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Publishing {
    /// `st_dev` of the staging folder at the destination.
    pub device: u64,
    /// `st_ino` of the staging folder, which a rename keeps.
    pub inode: u64,
    /// How it had been verified.
    pub verified: Verified,
    /// How long the attempt that verified it took up to then, in seconds.
    pub dtime_s: f32,
}

/// A full copy that is to be sent again.
#[derive(Clone, Debug, PartialEq)]
pub struct Recopy {
    /// Why, in the operator's words.
    pub reason: String,
    /// What went wrong last with sending it again.
    pub fault: Option<FaultState>,
    /// The new folder, once it may have been exchanged with the old one.
    pub exchanging: Option<Publishing>,
}

/// What an attempt does where something has the final name that this ledger did not put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It leaves it alone: a fault.
    Refuse,
    /// It completes it, deleting and overwriting nothing, and believes it when every checksum agrees.
    Adopt,
}

/// The state of a copy with what belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub enum CopyState {
    /// Still to be made.
    New {
        /// What went wrong last.
        fault: Option<FaultState>,
        /// A rename that may or may not have happened.
        publishing: Option<Publishing>,
        /// What to do where the final name is taken.
        taken: Taken,
    },
    /// There, whole and verified.
    Full {
        /// How it came to be believed.
        verified: Verified,
        /// The folder at the destination that this ledger published.
        published: Option<Publishing>,
        /// What was found wrong with it since.
        fault: Option<FaultState>,
        /// That it is to be sent again.
        recopy: Option<Recopy>,
        /// Its last audit.
        audit: Option<Audit>,
    },
}

impl CopyState {
    /// Still to be made, with nothing known against it.
    pub fn new() -> Self {
        Self::New { fault: None, publishing: None, taken: Taken::Refuse }
    }

    /// There, with nothing known against it.
    pub fn full(verified: Verified, published: Option<Publishing>) -> Self {
        Self::Full { verified, published, fault: None, recopy: None, audit: None }
    }
}

/// One minidvodb to one destination host.
#[derive(Clone, Debug, PartialEq)]
pub struct Copy {
    /// Its id in this ledger.
    pub id: CopyId,
    /// What is copied.
    pub minidvodb_id: MinidvodbId,
    /// The group when it was queued: which target serves it.
    pub group: Group,
    /// Where to: the ssh name.
    pub host: Host,
    /// Where to: the machine.
    pub machine: Machine,
    /// `minidvodb_rsync_path`: the folder that it goes into.
    pub path: AbsolutePath,
    /// The folder's name there.
    pub name: Name,
    /// How far it is.
    pub state: CopyState,
    /// When the row was last changed (UTC, whole seconds); none where a database left it empty.
    pub epoch: Option<Timestamp>,
    /// Seconds that the last attempt took; none where a database left it empty.
    pub dtime_s: Option<f32>,
    /// How many attempts count: those that met a fault of their host or target do not.
    pub attempts: u32,
    /// The number of the last attempt, counted or not.
    pub last_attempt: u32,
    /// Attempts in a row that faulted and moved nothing.
    pub tries: u32,
    /// Attempts in a row that met the same fault.
    pub same_fault: u32,
    /// Attempts in a row that were cut off and moved nothing.
    pub interruptions: u32,
    /// Whether what is staged may differ from the source without showing it by size and time.
    pub is_suspicious: bool,
    /// What the last attempt found still to be sent, in bytes.
    pub to_send_bytes: Option<u64>,
    /// Size of the minidvodb, in bytes, when it was last sized.
    pub bytes: Option<u64>,
    /// Number of its files, when it was last sized.
    pub files: Option<u64>,
}

impl Copy {
    /// A copy as it is queued.
    #[allow(clippy::too_many_arguments)] // one for each column that identifies it
    pub fn queued(
        id: CopyId,
        minidvodb_id: MinidvodbId,
        group: Group,
        host: Host,
        machine: Machine,
        path: AbsolutePath,
        name: Name,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            minidvodb_id,
            group,
            host,
            machine,
            path,
            name,
            state: CopyState::new(),
            epoch: Some(now),
            dtime_s: Some(0.0),
            attempts: 0,
            last_attempt: 0,
            tries: 0,
            same_fault: 0,
            interruptions: 0,
            is_suspicious: false,
            to_send_bytes: None,
            bytes: None,
            files: None,
        }
    }

    /// The word in the column `state`.
    pub fn state_word(&self) -> &'static str {
        match self.state {
            CopyState::New { .. } => "new",
            CopyState::Full { .. } => "full",
        }
    }

    /// The fault that it shows: what went wrong with sending it again comes before what is wrong with it.
    pub fn fault(&self) -> Option<&FaultState> {
        match &self.state {
            CopyState::New { fault, .. } => fault.as_ref(),
            CopyState::Full { fault, recopy, .. } => {
                recopy.as_ref().and_then(|recopy| recopy.fault.as_ref()).or(fault.as_ref())
            }
        }
    }

    /// What to do about the fault that it shows.
    pub fn advice(&self) -> Option<String> {
        let fault = self.fault()?.fault;
        let is_of_recopy = self.recopy().is_some_and(|recopy| recopy.fault.is_some());
        if fault.is_of_audit() && !is_of_recopy && !self.is_new() {
            return Some(self.advice_after_audit());
        }
        if !is_of_recopy || fault.scope() != Scope::Copy {
            return Some(fault.advice().to_owned());
        }
        // What the table says of reverting is for copies that are still new.
        let id = self.id;
        Some(format!(
            "mend the cause, then `minidvodbcopy recopy {id}` tries again; `minidvodbcopy recopy {id} --cancel` leaves the copy as it is"
        ))
    }

    /// Only what this ledger published is replaced by a recopy.
    fn advice_after_audit(&self) -> String {
        let id = self.id;
        let again = match self.published() {
            Some(_) => format!("`minidvodbcopy recopy {id}` sends it again"),
            None => format!(
                "this ledger did not publish it and replaces nothing else: with {} moved away at {}, `minidvodbcopy update --id {id} --set-state new --set-fault 0` lets the next pass send it",
                self.final_path(),
                self.host
            ),
        };
        format!("find out who did it; a clean audit takes the fault away, and {again}")
    }

    /// What went wrong last with making it; where it is not to be made, nothing.
    pub fn fault_of_making(&self) -> Option<&FaultState> {
        match &self.state {
            CopyState::New { fault, .. } => fault.as_ref(),
            CopyState::Full { recopy, .. } => recopy.as_ref().and_then(|recopy| recopy.fault.as_ref()),
        }
    }

    /// Notes what went wrong with making it, or that nothing is wrong any more.
    pub fn set_fault_of_making(&mut self, state: Option<FaultState>) {
        match &mut self.state {
            CopyState::New { fault, .. } => *fault = state,
            CopyState::Full { recopy, .. } => {
                if let Some(recopy) = recopy {
                    recopy.fault = state;
                }
            }
        }
    }

    /// Notes what an audit found wrong with a full copy, or that nothing is wrong any more: for a person to mend.
    pub fn set_fault_of_audit(&mut self, found: Option<Fault>) {
        if let CopyState::Full { fault, .. } = &mut self.state {
            *fault = found.map(|fault| FaultState { fault, class: Class::Person, next_try: None });
        }
    }

    /// The number in the column `fault`; 0 is none.
    pub fn fault_code(&self) -> i16 {
        self.fault().map_or(0, |state| state.fault.code())
    }

    /// Whether its state is `new`.
    pub fn is_new(&self) -> bool {
        matches!(self.state, CopyState::New { .. })
    }

    /// Whether a pass has something to make of it: it is new, or to be sent again.
    pub fn is_to_be_made(&self) -> bool {
        self.is_new() || self.recopy().is_some()
    }

    /// That it is full and to be sent again.
    pub fn recopy(&self) -> Option<&Recopy> {
        match &self.state {
            CopyState::New { .. } => None,
            CopyState::Full { recopy, .. } => recopy.as_ref(),
        }
    }

    /// Its last audit, of a full copy.
    pub fn audit(&self) -> Option<&Audit> {
        match &self.state {
            CopyState::New { .. } => None,
            CopyState::Full { audit, .. } => audit.as_ref(),
        }
    }

    /// The folder at the destination that this ledger published, of a full copy.
    pub fn published(&self) -> Option<Publishing> {
        match self.state {
            CopyState::New { .. } => None,
            CopyState::Full { published, .. } => published,
        }
    }

    /// A folder that may or may not have got its final name.
    pub fn publishing(&self) -> Option<Publishing> {
        match &self.state {
            CopyState::New { publishing, .. } => *publishing,
            CopyState::Full { recopy, .. } => recopy.as_ref().and_then(|recopy| recopy.exchanging),
        }
    }

    /// Notes that a folder is about to get the final name, or that it has not got it.
    pub fn set_publishing(&mut self, folder: Option<Publishing>) {
        match &mut self.state {
            CopyState::New { publishing, .. } => *publishing = folder,
            CopyState::Full { recopy, .. } => {
                if let Some(recopy) = recopy {
                    recopy.exchanging = folder;
                }
            }
        }
    }

    /// Whether an attempt may complete what has its final name, though this ledger did not put it there.
    pub fn adopts(&self) -> bool {
        matches!(self.state, CopyState::New { taken: Taken::Adopt, .. })
    }

    /// The final path at the destination, without doubled slashes: what must be there once only.
    pub fn final_path(&self) -> String {
        final_path(&self.path, &self.name)
    }

    /// Takes the fault of a copy that is still new away, and what was counted towards it; says what the next
    /// attempt does where the final name is taken.
    pub fn revert(&mut self, when_taken: Taken, now: Timestamp) {
        if let CopyState::New { fault, taken, .. } = &mut self.state {
            *fault = None;
            *taken = when_taken;
        }
        self.forget_tries();
        self.touch(now);
    }

    /// Counts attempts in a row anew.
    pub fn forget_tries(&mut self) {
        self.tries = 0;
        self.same_fault = 0;
        self.interruptions = 0;
    }

    /// The row's time of change, in the table's whole seconds.
    pub fn touch(&mut self, now: Timestamp) {
        self.epoch = Timestamp::from_second(now.as_second()).ok();
    }
}

/// The final path of `name` below a target's path, without doubled slashes.
pub fn final_path(path: &AbsolutePath, name: &Name) -> String {
    [&*base(path), "/", name.as_str()].concat()
}

/// A path as what is below it begins: tidy, and nothing for `/`.
fn base(path: &AbsolutePath) -> Cow<'_, str> {
    let path = path.tidy();
    if path == "/" { Cow::Borrowed("") } else { path }
}

/// Where the folder that a recopy replaces is kept until the new one is recorded.
pub fn old_path(path: &AbsolutePath, ledger_id: &str, copy: CopyId) -> String {
    format!("{}/{}/{ledger_id}/{}", base(path), super::names::STAGING, old_name(copy))
}

/// How the names of the folders begin that recopies replace, beside the staging folders.
const OLD: &str = "old.";
/// How the names of the staging folders of minidvodbs begin that are called like that.
const NOT_OLD: &str = "old..";

/// The name of the folder that a recopy replaces, beside the staging folders.
pub fn old_name(copy: CopyId) -> String {
    format!("{OLD}{copy}")
}

/// The name of the staging folder of a minidvodb: its own, or one that no folder replaced by a recopy has.
pub fn staging_name(name: &Name) -> String {
    match name.as_str().strip_prefix(OLD) {
        Some(rest) => format!("{NOT_OLD}{rest}"),
        None => name.to_string(),
    }
}

/// The name of the minidvodb that a folder beside the staging folders is for; none for a replaced one.
pub fn staged_name(folder: &str) -> Option<String> {
    match (folder.strip_prefix(NOT_OLD), folder.strip_prefix(OLD)) {
        (Some(rest), _) => Some(format!("{OLD}{rest}")),
        (None, Some(_)) => None,
        (None, None) => Some(folder.to_owned()),
    }
}

/// The staging folder of `name` below a target's path, for the ledger with this id.
pub fn staging_path(path: &AbsolutePath, ledger_id: &str, name: &Name) -> String {
    format!("{}/{}/{ledger_id}/{}", base(path), super::names::STAGING, staging_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_minidvodb_is_staged_where_a_replaced_folder_is_kept() {
        for text in ["ThreePi.1", "old.1", "old..1", "old.", "old", "older.1", "OLD.1"] {
            let folder = staging_name(&Name::parse(text).unwrap());
            assert_ne!(folder, old_name(CopyId(1)));
            assert_eq!(staged_name(&folder).as_deref(), Some(text));
        }
        assert_eq!(staged_name(&old_name(CopyId(1))), None);
    }
}
