//! `status`: at a glance, what is on, what is queued, what is under way, what is wrong, and what is to come.
//!
//! Invariant: it looks and disturbs nothing: it takes no lock for longer than a moment, which no pass gives way to,
//! asks no host and no database, and counts no copies, because the ledger keeps the numbers.

mod report;
mod text;

use crate::cli::Status;
use crate::error::{Error, Exit, Result};
use crate::ledger::{Failure, Look as _, Snapshot};
use crate::lock;
use crate::model::{Copy, CopyId, DatabaseRecord, Day, HostRecord, RoomSeen, Stages, Tally, Target, day_of};
use crate::pass::Context;
use report::Report;

/// The days that the rates are of.
const DAYS: i32 = 30;

pub(super) fn execute(context: &Context, words: &Status) -> Result<Exit> {
    let now = context.now();
    let report = if context.ledger.exists() {
        let running = lock::running(&context.state_dir);
        let facts = context.ledger.read(|ledger| facts(ledger, running, now))?;
        Report::of(context, Some(&facts), now)
    } else {
        Report::of(context, None, now)
    };
    if words.json {
        let json = serde_json::to_string_pretty(&report).map_err(Error::bug)?;
        context.ui.print(&format!("{json}\n"))?;
    } else {
        context.ui.print(&text::of(&report))?;
    }
    Ok(Exit::Done)
}

/// What the ledger knows, and what the passes under way say of themselves.
struct Facts {
    stages: Stages,
    hosts: Vec<HostRecord>,
    targets: Vec<Target>,
    tallies: Vec<Tally>,
    days: Vec<Day>,
    rooms: Vec<RoomSeen>,
    minidvodbs: u64,
    /// The database, and how many copies it does not have as they are here.
    database: Option<(DatabaseRecord, u64)>,
    running: Vec<(lock::Running, Option<Copy>)>,
}

fn facts(ledger: &Snapshot, running: Vec<lock::Running>, now: jiff::Timestamp) -> Result<Facts, Failure> {
    let targets = ledger.targets()?;
    let tallies = ledger.tallies()?;
    let mut hosts = ledger.hosts()?;
    for host in targets.iter().map(|target| &target.host).chain(tallies.iter().map(|tally| &tally.host)) {
        if !hosts.iter().any(|known| known.host == *host) {
            hosts.push(HostRecord::unknown(host.clone()));
        }
    }
    hosts.sort_by(|a, b| a.host.cmp(&b.host));
    let with_copy = |running: lock::Running| {
        let id = running.progress.as_ref().map_or(0, |progress| progress.copy);
        let copy = if id == 0 { None } else { ledger.copy(CopyId(id))? };
        Ok((running, copy))
    };
    Ok(Facts {
        stages: ledger.stages()?,
        hosts,
        targets,
        tallies,
        days: ledger.days(day_of(now) - DAYS)?,
        rooms: ledger.last_rooms()?,
        minidvodbs: ledger.count_minidvodbs()?,
        database: ledger.database_behind()?,
        running: running.into_iter().map(with_copy).collect::<Result<_, Failure>>()?,
    })
}
