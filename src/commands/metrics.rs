//! `metrics`: numbers for Prometheus's textfile collector.
//!
//! Invariant: it costs the same for ten copies as for a million: everything is read from numbers that are kept
//! while things change. A file is replaced whole, so that the collector never reads half of one.

use camino::Utf8Path;
use jiff::Timestamp;

use crate::cli::Metrics;
use crate::error::{Error, Exit, Result};
use crate::ledger::{Failure, Look as _, Snapshot};
use crate::model::{CopyId, Group, Host, Kind, Tally, Target};
use crate::output::NewFile;
use crate::pass::Context;
use crate::plan::forecast::shown_kind;
use crate::render::metrics::{self, LedgerNumbers, Numbers};
use crate::{last_pass, lock};

/// Copies that are to be sent again or wait for a person stand in the queue too; behind so many nobody looks for
/// another.
const PASSED_OVER_MAX: u64 = 1_000;

pub(super) fn execute(context: &Context, _: &Metrics) -> Result<Exit> {
    let (ledger, result) = match read_if_any(context) {
        Ok(ledger) => (ledger, Ok(Exit::Done)),
        Err(error) => (None, Err(error)),
    };
    context.ui.print(&metrics::text(&numbers(context, ledger))?)?;
    result
}

/// A dry run changes nothing, and there is nothing new to be told.
pub(super) fn refuse_dry(is_dry: bool) -> Result<()> {
    if is_dry {
        return Err(Error::usage("--dry-run makes no pass that --metrics could tell of")
            .hint("leave one of the two away"));
    }
    Ok(())
}

/// Writes the metrics for a pass that has ended: its own result, with that of the file where there is one.
///
/// # Errors
/// The pass's own; 78 where the pass ended well and the file can't be written.
pub(super) fn after_pass(context: &Context, file: Option<&Utf8Path>, result: Result<Exit>) -> Result<Exit> {
    let Some(file) = file else { return result };
    match (write(context, file), result) {
        (Ok(()), result) => result,
        (Err(error), Ok(_)) => Err(error.with_exit(Exit::Configuration)),
        (Err(error), Err(of_pass)) => {
            context.ui.notice(&error.to_string());
            Err(of_pass)
        }
    }
}

/// A ledger that can't be read is a number too: the pass itself says what is wrong with it.
fn write(context: &Context, file: &Utf8Path) -> Result<()> {
    let ledger = read_if_any(context).unwrap_or_default();
    let mut new = NewFile::begin(file, &context.state_dir)?.for_all_to_read()?;
    new.write(&metrics::text(&numbers(context, ledger))?)?;
    new.put_in_place()
}

fn numbers(context: &Context, ledger: Option<LedgerNumbers>) -> Numbers {
    Numbers {
        last_pass: last_pass::last(&context.state_dir),
        last_success: last_pass::last_success(&context.state_dir),
        served_targets: lock::running(&context.state_dir).len(),
        ledger,
    }
}

fn read_if_any(context: &Context) -> Result<Option<LedgerNumbers>> {
    if context.ledger.exists() { context.ledger.read(read).map(Some) } else { Ok(None) }
}

fn read(ledger: &Snapshot) -> Result<LedgerNumbers, Failure> {
    let (targets, tallies) = (ledger.targets()?, ledger.tallies()?);
    let mut oldest_pending = Vec::new();
    for target in &targets {
        let is_of_it = |tally: &Tally| tally.is_of(target) && goes_on(tally.kind, tally.fault_code);
        if tallies.iter().any(is_of_it)
            && let Some(since) = oldest_pending_since(ledger, target)?
        {
            oldest_pending.push((target.host.clone(), target.group.clone(), since));
        }
    }
    Ok(LedgerNumbers {
        tallies,
        days: ledger.days(i32::MIN)?,
        rooms: ledger.last_rooms()?,
        hosts: ledger.hosts()?,
        stages: ledger.stages()?,
        minidvodbs: ledger.count_minidvodbs()?,
        database: ledger.database_behind()?,
        oldest_pending,
        targets,
    })
}

/// Whether a copy that counts as this is new, and waits for no person.
fn goes_on(kind: Kind, fault_code: i16) -> bool {
    matches!(shown_kind(kind, fault_code), Kind::New | Kind::Retry)
}

/// Since when the oldest new copy of a target waits with which passes go on by themselves. Its row's time moves
/// with every attempt, so that the first attempt, where there was one, knows better.
fn oldest_pending_since(ledger: &Snapshot, target: &Target) -> Result<Option<Timestamp>, Failure> {
    let (host, group): (&Host, &Group) = (&target.host, &target.group);
    let (mut oldest, mut passed_over) = (None, 0);
    ledger.pending_until(host, group, CopyId(0), |copy| {
        if goes_on(Kind::of(&copy), copy.fault_code()) {
            oldest = Some(copy);
        } else {
            passed_over += 1;
        }
        Ok(oldest.is_none() && passed_over < PASSED_OVER_MAX)
    })?;
    let Some(copy) = oldest else { return Ok(None) };
    let first = ledger.attempts(copy.id)?.into_iter().next().map(|attempt| attempt.began);
    Ok(copy.epoch.into_iter().chain(first).min())
}
