//! What a pass writes into the operators' log: the unusual.
//!
//! Invariant: of faults of copies, the first of a kind at a target and the recovery from it, not each; of hosts
//! and targets, the beginning and the end; so a bad night is some lines and not thousands.

use crate::faults::{Fault, Met};
use crate::ledger::{Change, Failure, Look as _};
use crate::model::{Attempt, Copy, LogEntry, Outcome};
use jiff::Timestamp;

use super::attempt::title;

/// A copy has met a fault of its own.
pub fn met_fault(change: &mut Change<'_>, copy: &Copy, met: &Met, now: Timestamp) -> Result<(), Failure> {
    let Some(mut target) = change.target(&copy.host, &copy.group)? else { return Ok(()) };
    if !target.logged_faults.insert(met.fault.code()) {
        return Ok(());
    }
    change.put_target(&target)?;
    let first = met.message.lines().next().unwrap_or_default();
    let text =
        format!("first fault {} of {} to {}: {}: {first}", met.fault, copy.group, copy.host, title(copy));
    change.add_log(&LogEntry::of_program(now, Some(copy.id), text))
}

/// A copy has recovered from a fault of its own.
pub fn recovered(change: &mut Change<'_>, copy: &Copy, fault: Fault, now: Timestamp) -> Result<(), Failure> {
    if !change.forget_logged_fault(&copy.host, &copy.group, fault)? {
        return Ok(());
    }
    let text = format!("{} has recovered from fault {fault}", title(copy));
    change.add_log(&LogEntry::of_program(now, Some(copy.id), text))
}

/// A copy has become what was there already.
pub(super) fn adopted(change: &mut Change<'_>, copy: &Copy, now: Timestamp) -> Result<(), Failure> {
    let text =
        format!("{} is what was at {} already, completed and verified", title(copy), copy.final_path());
    change.add_log(&LogEntry::of_program(now, Some(copy.id), text))
}

/// A folder that this ledger published was replaced.
pub(super) fn replaced(change: &mut Change<'_>, copy: &Copy, now: Timestamp) -> Result<(), Failure> {
    let text = format!("{} was sent again, and {} is the new one", title(copy), copy.final_path());
    change.add_log(&LogEntry::of_program(now, Some(copy.id), text))
}

/// An attempt was found without an end.
pub(super) fn interrupted(
    change: &mut Change<'_>,
    copy: &Copy,
    attempt: &Attempt,
    now: Timestamp,
) -> Result<(), Failure> {
    let became = if attempt.outcome == Outcome::Interrupted { "" } else { ", once too often" };
    let text = format!(
        "attempt {} of {} was cut off while {}{became}: {}",
        attempt.number,
        title(copy),
        attempt.phase.as_str(),
        attempt.said
    );
    change.add_log(&LogEntry::of_program(now, Some(copy.id), text))
}
