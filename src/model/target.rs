//! What to copy where: targets, hosts, stage switches, and the faults that belong to a host or a target.
//!
//! Invariant: a fault of host or target scope is kept here, never in the queue.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::names::{AbsolutePath, Group, Host, Machine};
use crate::faults::Fault;

/// How a copy is compared with its source before it is called full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Every file's checksum, source against staging.
    #[default]
    Checksum,
    /// Sizes and times only.
    Quick,
}

impl Verify {
    /// The word of the command line and of the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Checksum => "checksum",
            Self::Quick => "quick",
        }
    }
}

/// The identity of a file system, as far as it survives a reboot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Where it is mounted, as `df` says.
    pub mount_point: String,
    /// The device or export, as `df` says.
    pub source: String,
    /// The kind, as `stat -f %T` says.
    pub kind: String,
    /// The file system id, as `stat -f %i` says in hexadecimal; zeros where it has none.
    pub id: String,
}

impl FileSystem {
    /// Whether both describe one file system: the ids decide where both have one, because device names
    /// move between boots; else device and mount point do.
    pub fn is_same(&self, other: &Self) -> bool {
        let has_id = |fs: &Self| fs.id.bytes().any(|digit| digit != b'0');
        if has_id(self) && has_id(other) {
            return self.id == other.id && self.kind == other.kind;
        }
        self.source == other.source && self.mount_point == other.mount_point
    }
}

impl std::fmt::Display for FileSystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}) on {}", self.source, self.kind, self.mount_point)
    }
}

/// A fault of a host or a target: since when, what was said, and when it is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What is wrong.
    pub fault: Fault,
    /// When it was met first.
    pub since: Timestamp,
    /// When it was met last.
    pub last_seen: Timestamp,
    /// How often in a row.
    pub probes: u32,
    /// When to look again; none: it waits for an operator.
    pub next_probe: Option<Timestamp>,
    /// When the operators were last told.
    pub said_at: Option<Timestamp>,
    /// Whether only sending shows it: then a look that finds nothing wrong does not end it, a full copy does.
    pub shows_in_sending: bool,
    /// What ssh, rsync or the program said.
    pub message: String,
}

/// A (group, host) pair with the path that its minidvodbs go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The group to copy.
    pub group: Group,
    /// The host to copy to.
    pub host: Host,
    /// The folder there, which must exist.
    pub path: AbsolutePath,
    /// Refuse when more than this is used, in percent as `df` prints it.
    pub max_used_percent: u8,
    /// How copies are verified.
    pub verify: Verify,
    /// The most that one attempt may take, in seconds.
    pub deadline_s: u32,
    /// rsync's `--bwlimit`, as given.
    pub bwlimit: Option<String>,
    /// By how many streams a minidvodb is sent at most, each over a connection of its own.
    pub streams: u8,
    /// The file system that the path was first seen on.
    pub file_system: Option<FileSystem>,
    /// A fault of this target, kept until its cause is gone.
    pub standing: Option<Standing>,
    /// The eligible minidvodbs up to this number in the group's sequence have been looked at.
    pub queued_through: u64,
    /// When copies that wait for a person were last pointed out.
    pub reminded_at: Option<Timestamp>,
    /// When the faults that audits have found in its full copies were last said.
    pub audit_said_at: Option<Timestamp>,
    /// The codes of its copies' faults whose first one is in the log, and no recovery since.
    pub logged_faults: BTreeSet<i16>,
}

impl Target {
    /// The predecessor's limit: 97 % or less used.
    pub const MAX_USED_PERCENT: u8 = 97;
    /// The predecessor's time for one copy, in seconds.
    pub const DEADLINE_S: u32 = 17_280;
    /// Four streams fill a link that is fast and far away; nearer ones lose nothing by them.
    pub const STREAMS: u8 = 4;
    /// An ssh server begins to refuse connections when ten of them have not logged in yet.
    pub const STREAMS_MAX: u8 = 8;

    /// A target with the default settings.
    pub fn new(group: Group, host: Host, path: AbsolutePath) -> Self {
        Self {
            group,
            host,
            path,
            max_used_percent: Self::MAX_USED_PERCENT,
            verify: Verify::default(),
            deadline_s: Self::DEADLINE_S,
            bwlimit: None,
            streams: Self::STREAMS,
            logged_faults: BTreeSet::new(),
            file_system: None,
            standing: None,
            queued_through: 0,
            reminded_at: None,
            audit_said_at: None,
        }
    }
}

/// What is known of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRecord {
    /// Its name.
    pub host: Host,
    /// The machine that it is a name of.
    pub machine: Machine,
    /// Whether `run` serves it.
    pub is_on: bool,
    /// A fault of this host, kept until its cause is gone.
    pub standing: Option<Standing>,
}

impl HostRecord {
    /// A host as it is before anyone said anything of it: off, a machine of its own.
    pub fn unknown(host: Host) -> Self {
        Self { machine: host.default_machine(), host, is_on: false, standing: None }
    }
}

/// The three switches of the pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stages {
    /// Put eligible minidvodbs into the queue.
    pub queue: bool,
    /// Load the pending copies.
    pub load: bool,
    /// Run rsync.
    pub run: bool,
}

impl Stages {
    /// The names of those that are off.
    pub fn off(self) -> Vec<&'static str> {
        let switches = [("queue", self.queue), ("load", self.load), ("run", self.run)];
        switches.into_iter().filter(|(_, is_on)| !is_on).map(|(name, _)| name).collect()
    }
}

impl Default for Stages {
    fn default() -> Self {
        Self { queue: true, load: true, run: true }
    }
}
