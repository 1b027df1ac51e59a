//! What was found, written down with the copy.
//!
//! Invariant: a copy is written to only as it was when it was looked at; what has changed since is left to the
//! next audit. The state stays `full`; the fault of an audit comes and goes with what the audits find.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::Auditor;
use crate::error::Result;
use crate::faults::Met;
use crate::ledger::{Change, Failure, Look as _};
use crate::model::{Audit, Copy, CopyState};
use crate::pass::diary;
use crate::plan::notice;

/// Results without a fault are written down together: so many at once,
const WRITTEN_AT_ONCE: usize = 64;
/// or after so long.
const WRITTEN_AFTER: Duration = Duration::from_secs(5);

/// What was found of a copy.
pub(super) struct Checked {
    /// The copy as it was when it was looked at.
    pub(super) copy: Copy,
    /// What is wrong with it.
    pub(super) met: Option<Met>,
    pub(super) audit: Audit,
    /// Whether its content should have been compared, and was not.
    pub(super) is_not_compared: bool,
}

impl Auditor<'_> {
    /// Takes what was found of a copy; what people must know is written down at once.
    pub(super) fn take(&mut self, checked: Checked) -> Result<()> {
        let is_news = checked.met.is_some() || checked.copy.fault().is_some();
        self.first_checked.get_or_insert_with(Instant::now);
        self.checked.push(checked);
        let is_due = self.first_checked.is_some_and(|first| first.elapsed() >= WRITTEN_AFTER);
        if is_news || is_due || self.checked.len() >= WRITTEN_AT_ONCE {
            return self.write_down();
        }
        Ok(())
    }

    /// Writes down what was found since the last time, and says it.
    pub(super) fn write_down(&mut self) -> Result<()> {
        self.first_checked = None;
        let checked = std::mem::take(&mut self.checked);
        if checked.is_empty() {
            return Ok(());
        }
        let mut written = Vec::new();
        self.context.ledger.write(|change| {
            written.clear();
            for checked in &checked {
                written.push(write_one(change, checked)?);
            }
            Ok(())
        })?;
        for (checked, is_written) in checked.iter().zip(written) {
            match is_written {
                true => self.teller.note_audited(checked),
                false => self.teller.note_left_out(),
            }
        }
        Ok(())
    }
}

/// Writes one result; false where the copy has changed meanwhile.
fn write_one(change: &mut Change<'_>, checked: &Checked) -> Result<bool, Failure> {
    let Checked { copy: before, met, audit, .. } = checked;
    if change.copy(before.id)?.as_ref() != Some(before) {
        return Ok(false);
    }
    let mut after = before.clone();
    let CopyState::Full { fault, audit: last, .. } = &mut after.state else { return Ok(false) };
    *last = Some(audit.clone());
    let known = fault.as_ref().map(|state| state.fault);
    let found = met.as_ref().map(|met| met.fault);
    // A fault that no audit has met is not an audit's to take away.
    let recovered_from = known.filter(|known| known.is_of_audit() && found != Some(*known));
    if known != found && (found.is_some() || recovered_from.is_some()) {
        after.set_fault_of_audit(found);
        after.touch(audit.at);
    }
    change.put_known_copy(&after)?;
    match recovered_from {
        Some(was) if found.is_none() => diary::recovered(change, &after, was, audit.at)?,
        Some(was) => drop(change.forget_logged_fault(&after.host, &after.group, was)?),
        None => {}
    }
    if let Some(met) = met.as_ref().filter(|met| known != Some(met.fault)) {
        diary::met_fault(change, &after, met, audit.at)?;
        note_said(change, &after, audit.at)?;
    }
    Ok(true)
}

/// A new fault is said now: passes repeat it from tomorrow on.
fn note_said(change: &mut Change<'_>, copy: &Copy, now: Timestamp) -> Result<(), Failure> {
    let Some(mut target) = change.target(&copy.host, &copy.group)? else { return Ok(()) };
    if notice::is_reminder_due(target.audit_said_at, now) {
        target.audit_said_at = Some(now);
        change.put_target(&target)?;
    }
    Ok(())
}
