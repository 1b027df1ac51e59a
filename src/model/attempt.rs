//! One try at a copy.
//!
//! Invariant: an attempt is open until its outcome is known; at most one attempt of a copy is open.

use jiff::Timestamp;

use super::copy::CopyId;
use crate::faults::Fault;

/// What an attempt was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Making the connection and looking at the destination.
    Connecting,
    /// Reading the source folder's list of files.
    Sizing,
    /// Judging the room at the destination.
    Space,
    /// rsync sends.
    Sending,
    /// The destination writes to its disk.
    Flushing,
    /// Source and staging folder are compared.
    Verifying,
    /// The staging folder gets its final name.
    Publishing,
    /// The ledger is told.
    Recording,
}

impl Phase {
    /// All phases, in order.
    pub const ALL: [Self; 8] = [
        Self::Connecting,
        Self::Sizing,
        Self::Space,
        Self::Sending,
        Self::Flushing,
        Self::Verifying,
        Self::Publishing,
        Self::Recording,
    ];

    /// The word in tables and in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Sizing => "sizing",
            Self::Space => "space",
            Self::Sending => "sending",
            Self::Flushing => "flushing",
            Self::Verifying => "verifying",
            Self::Publishing => "publishing",
            Self::Recording => "recording",
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not ended, or ended by a kill that nobody has noticed yet.
    Open,
    /// The copy is full.
    Full,
    /// It met a fault.
    Faulted(Fault),
    /// Cut off by a signal, a crash or a reboot.
    Interrupted,
}

/// One try at a copy.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Of which copy.
    pub copy_id: CopyId,
    /// Its number for that copy, from 1.
    pub number: u32,
    /// When it began.
    pub began: Timestamp,
    /// When it ended; for an interrupted one, when that was noticed.
    pub ended: Option<Timestamp>,
    /// The last phase it is known to have reached.
    pub phase: Phase,
    /// How it ended.
    pub outcome: Outcome,
    /// Bytes of files that rsync sent.
    pub sent_bytes: u64,
    /// Files of the source.
    pub files: u64,
    /// Seconds that it took.
    pub seconds: f64,
    /// The last lines of what rsync, ssh or the program said.
    pub said: String,
}
