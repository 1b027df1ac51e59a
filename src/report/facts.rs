//! What the report is made of, as the ledger had it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::model::{
    CopyId, DatabaseRecord, Day, Group, Host, HostRecord, Kind, MinidvodbId, RoomSeen, Tally, Target,
};

/// With more copies than these the grid has a row for each group, not for each minidvodb.
pub const GRID_COPIES: u64 = 5_000;
/// The slowest copies that are listed.
pub const SLOWEST: usize = 20;

/// What the report is made of.
#[derive(Debug)]
pub struct Facts {
    /// When it was so.
    pub now: Timestamp,
    /// Whose ledger it is.
    pub state_dir: String,
    /// What a command for it begins with.
    pub own_command: String,
    /// How many minidvodbs are known.
    pub minidvodbs: u64,
    /// The copies, counted.
    pub tallies: Vec<Tally>,
    /// All attempts that ever ended, by day.
    pub days: Vec<Day>,
    /// The room seen by day.
    pub rooms: Vec<RoomSeen>,
    /// The hosts.
    pub hosts: Vec<HostRecord>,
    /// The targets.
    pub targets: Vec<Target>,
    /// The database, and how many copies it does not have as they are here.
    pub database: Option<(DatabaseRecord, u64)>,
    /// The minidvodbs by host.
    pub grid: Grid,
    /// The copies that took longest, the longest first.
    pub slowest: Vec<Slow>,
}

/// The minidvodbs that have a copy, by host.
#[derive(Debug)]
pub enum Grid {
    /// Each of them, by group and id.
    Each(Vec<GridRow>),
    /// They are too many for a page.
    TooMany,
}

/// A minidvodb and its copies.
#[derive(Debug)]
pub struct GridRow {
    /// Its group, as of its copies.
    pub group: Group,
    /// Its id.
    pub id: MinidvodbId,
    /// Its folder's name.
    pub name: String,
    /// What its copy to a host counts as, and the fault that it shows.
    pub copies: BTreeMap<Host, (Kind, i16)>,
}

/// A full copy and how long it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Slow {
    /// Its id.
    pub id: CopyId,
    /// Its folder's name.
    pub name: String,
    /// Where it went.
    pub host: Host,
    /// How long that took, in seconds.
    pub seconds: f32,
    /// Its size.
    pub bytes: Option<u64>,
}

impl Facts {
    /// Nothing yet.
    pub fn new(now: Timestamp, state_dir: String, own_command: String) -> Self {
        Self {
            now,
            state_dir,
            own_command,
            minidvodbs: 0,
            tallies: Vec::new(),
            days: Vec::new(),
            rooms: Vec::new(),
            hosts: Vec::new(),
            targets: Vec::new(),
            database: None,
            grid: Grid::Each(Vec::new()),
            slowest: Vec::new(),
        }
    }

    /// Whether there is no copy to be shown.
    pub fn is_empty(&self) -> bool {
        self.tallies.is_empty()
    }

    /// The targets on a file system.
    pub fn targets_on<'a>(&'a self, seen: &'a RoomSeen) -> impl Iterator<Item = &'a Target> {
        self.targets.iter().filter(|target| seen.is_of(target))
    }

    /// How many copies count as something.
    pub fn count(&self, is_meant: impl Fn(&Tally) -> bool) -> u64 {
        self.tallies
            .iter()
            .filter(|tally| is_meant(tally))
            .fold(0, |sum, tally| sum.saturating_add(tally.copies))
    }
}
