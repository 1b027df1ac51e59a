//! Numbers that are kept while things change, so that nobody has to count a million copies to know them.
//!
//! Invariant: a tally is what counting the copies would give; the days are what counting all attempts that ever
//! ended would give, also those that are forgotten.

use jiff::Timestamp;

use super::attempt::Outcome;
use super::copy::{Copy, CopyState};
use super::names::{Group, Host};
use super::room::Room;
use super::target::{FileSystem, Target};
use crate::faults::Class;

/// What a copy counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// There; a fault that it has was found by an audit, or came from a database.
    Full,
    /// There, and to be sent again.
    Recopy,
    /// There, to be sent again, and that waits for a person.
    RecopyPerson,
    /// To be made, with nothing known against it.
    New,
    /// To be made, and tried again by itself.
    Retry,
    /// To be made, and waiting for a person.
    Person,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::Full, Self::Recopy, Self::RecopyPerson, Self::New, Self::Retry, Self::Person];

    /// What a copy counts as.
    pub fn of(copy: &Copy) -> Self {
        let class = copy.fault_of_making().map(|fault| fault.class);
        match (&copy.state, class) {
            (CopyState::Full { recopy: None, .. }, _) => Self::Full,
            (CopyState::Full { .. }, None | Some(Class::Retry)) => Self::Recopy,
            (CopyState::Full { .. }, Some(_)) => Self::RecopyPerson,
            (CopyState::New { .. }, None) => Self::New,
            (CopyState::New { .. }, Some(Class::Retry)) => Self::Retry,
            (CopyState::New { .. }, Some(_)) => Self::Person,
        }
    }

    /// The word in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Recopy => "recopy",
            Self::RecopyPerson => "recopy person",
            Self::New => "new",
            Self::Retry => "retry",
            Self::Person => "person",
        }
    }

    /// The kind of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// The copies of a host and group that count as the same and show the same fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Where to.
    pub host: Host,
    /// Of which group.
    pub group: Group,
    /// What they count as.
    pub kind: Kind,
    /// The code of the fault that they show; 0 is none.
    pub fault_code: i16,
    /// How many they are.
    pub copies: u64,
    /// Their size together, as far as they have ever been sized.
    pub bytes: u64,
    /// How many of them have been sized.
    pub sized: u64,
}

/// The attempts at a host that ended on one day (UTC) in the same way.
#[derive(Clone, Debug, PartialEq)]
pub struct Day {
    /// Days since 1970-01-01.
    pub day: i32,
    /// Where to.
    pub host: Host,
    /// How they ended; never open.
    pub outcome: Outcome,
    /// How many they were.
    pub attempts: u64,
    /// Bytes of files that they sent.
    pub sent_bytes: u64,
    /// Milliseconds that they took together.
    pub milliseconds: u64,
}

/// The room on a file system of a host, as it was last seen on one day (UTC).
#[derive(Clone, Debug, PartialEq)]
pub struct RoomSeen {
    /// On which host.
    pub host: Host,
    /// On which file system there.
    pub file_system: FileSystem,
    /// When.
    pub at: Timestamp,
    /// How much.
    pub room: Room,
}

impl Tally {
    /// Whether the copies are those of a target.
    pub fn is_of(&self, target: &Target) -> bool {
        self.host == target.host && self.group == target.group
    }
}

impl RoomSeen {
    /// The day on which it was seen.
    pub fn day(&self) -> i32 {
        day_of(self.at)
    }

    /// Whether a target lies on that file system.
    pub fn is_of(&self, target: &Target) -> bool {
        let mount_point = target.file_system.as_ref().map(|known| &known.mount_point);
        self.host == target.host && mount_point == Some(&self.file_system.mount_point)
    }
}

/// The day (UTC) of a moment, in days since 1970-01-01.
pub fn day_of(at: Timestamp) -> i32 {
    i32::try_from(at.as_second().div_euclid(86_400)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight_utc() {
        let day = |second| day_of(Timestamp::from_second(second).unwrap());
        assert_eq!([day(-1), day(0), day(86_399), day(86_400)], [-1, 0, 0, 1]);
    }

    #[test]
    fn every_kind_has_a_word_of_its_own() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        }
    }
}
