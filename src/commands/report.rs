//! `report`: one HTML page of what is where.
//!
//! Invariant: the ledger is never open while the page is made or written, and what is held of the copies is
//! bounded, however many there are.

use std::collections::BTreeMap;

use super::copies::{Among, Choice, WithoutLedger, each_chunk};
use crate::cli;
use crate::error::{Exit, Result};
use crate::ledger::{Failure, Look as _, Snapshot};
use crate::model::{Copy, CopyState, Group, Kind, MinidvodbId};
use crate::output::NewFile;
use crate::pass::Context;
use crate::report::{self, Facts, GRID_COPIES, Grid, GridRow, SLOWEST, Slow};

pub(super) fn execute(context: &Context, words: &cli::Report) -> Result<Exit> {
    let mut new = NewFile::begin(&words.output, &context.state_dir)?.with_permissions_of_the_old_one()?;
    let own_command = context.own_command(&[]);
    let mut facts = Facts::new(context.now(), context.state_dir.to_string(), own_command);
    if context.ledger.exists() {
        context.ledger.read(|ledger| read(ledger, &mut facts))?;
        look_at_copies(context, &mut facts)?;
    }
    new.write(&report::page(&facts)?)?;
    new.put_in_place()?;
    context.ui.tell(&format!("the report is in {}", words.output));
    Ok(Exit::Done)
}

fn read(ledger: &Snapshot, facts: &mut Facts) -> Result<(), Failure> {
    facts.minidvodbs = ledger.count_minidvodbs()?;
    facts.tallies = ledger.tallies()?;
    facts.days = ledger.days(i32::MIN)?;
    facts.rooms = ledger.rooms(i32::MIN)?;
    facts.hosts = ledger.hosts()?;
    facts.targets = ledger.targets()?;
    facts.database = ledger.database_behind()?;
    Ok(())
}

/// What is kept of one copy while all are looked at.
struct Seen {
    cell: Option<(Group, MinidvodbId, crate::model::Host, Kind, i16, String)>,
    slow: Option<Slow>,
}

/// Goes through all copies once, for the grid and for those that took longest.
fn look_at_copies(context: &Context, facts: &mut Facts) -> Result<()> {
    let has_grid = facts.count(|_| true) <= GRID_COPIES;
    let choice = Choice {
        id: None,
        among: Among::All,
        limit: None,
        is_wanted: &|copy| has_grid || seconds_of(copy).is_some(),
        without_ledger: WithoutLedger::Empty,
    };
    let mut rows: BTreeMap<(Group, MinidvodbId), GridRow> = BTreeMap::new();
    let view = |copy: &Copy, _: &Snapshot| Ok(seen(copy, has_grid));
    each_chunk(context, &choice, &view, |chunk| {
        for seen in chunk {
            if let Some((group, id, host, kind, fault, name)) = seen.cell {
                let row = GridRow { group: group.clone(), id, name, copies: BTreeMap::new() };
                rows.entry((group, id)).or_insert(row).copies.insert(host, (kind, fault));
            }
            facts.slowest.extend(seen.slow);
        }
        keep_slowest(&mut facts.slowest);
        Ok(())
    })?;
    facts.grid = if has_grid { Grid::Each(rows.into_values().collect()) } else { Grid::TooMany };
    Ok(())
}

fn seen(copy: &Copy, has_grid: bool) -> Seen {
    let cell = has_grid.then(|| {
        let (kind, fault) = (Kind::of(copy), copy.fault_code());
        (copy.group.clone(), copy.minidvodb_id, copy.host.clone(), kind, fault, copy.name.to_string())
    });
    let slow = seconds_of(copy).map(|seconds| Slow {
        id: copy.id,
        name: copy.name.to_string(),
        host: copy.host.clone(),
        seconds,
        bytes: copy.bytes,
    });
    Seen { cell, slow }
}

/// How long a full copy took; of one that was taken over, that is not ours to show.
fn seconds_of(copy: &Copy) -> Option<f32> {
    let is_ours = matches!(copy.state, CopyState::Full { .. }) && copy.attempts > 0;
    copy.dtime_s.filter(|seconds| is_ours && seconds.is_finite() && *seconds > 0.0)
}

fn keep_slowest(slowest: &mut Vec<Slow>) {
    slowest.sort_by(|a, b| b.seconds.total_cmp(&a.seconds).then(a.id.cmp(&b.id)));
    slowest.truncate(SLOWEST);
}
