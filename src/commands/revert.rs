//! `revert`: clears the fault of copies that are still new, so that the next pass tries them again.

use crate::cli::Revert;
use crate::error::{Error, Exit, Result};
use crate::faults::{Class, Scope};
use crate::ledger::Look as _;
use crate::model::Copy;
use crate::pass::Context;

pub(super) fn execute(context: &Context, words: &Revert) -> Result<Exit> {
    let is_bounded =
        words.id.is_some() || words.minidvodb_id.is_some() || words.host.is_some() || words.fault.is_some();
    if is_bounded == words.all {
        return Err(Error::usage("revert takes --id, --minidvodb-id, --host or --fault, or else --all")
            .hint("`minidvodbcopy list --faulted` lists what could be reverted"));
    }
    let meant = super::read_if_any(context, |ledger| {
        let mut meant = Vec::new();
        ledger.each_copy(|copy| {
            if is_meant(words, &copy) {
                meant.push(copy);
            }
            Ok(true)
        })?;
        Ok(meant)
    })?;
    if meant.is_empty() {
        context.ui.notice("no new copy with a fault is meant; nothing was cleared");
        return Ok(Exit::Done);
    }
    if !words.dry_run {
        let now = context.now();
        context.ledger.write(|change| {
            for copy in &meant {
                // As it is now: a pass may have gone on meanwhile.
                if let Some(mut copy) = change.copy(copy.id)?.filter(|copy| is_meant(words, copy)) {
                    copy.revert(now);
                    change.put_known_copy(&copy)?;
                }
            }
            Ok(())
        })?;
    }
    for copy in &meant {
        context.ui.print(&line(copy, words.dry_run))?;
    }
    Ok(Exit::Done)
}

fn is_meant(words: &Revert, copy: &Copy) -> bool {
    copy.is_new()
        && copy.fault().is_some_and(|state| words.fault.is_none_or(|fault| fault == state.fault))
        && words.id.is_none_or(|id| id == copy.id)
        && words.minidvodb_id.is_none_or(|id| id == copy.minidvodb_id)
        && words.host.as_ref().is_none_or(|host| *host == copy.host)
}

fn line(copy: &Copy, is_dry: bool) -> String {
    let Some(state) = copy.fault() else { return String::new() };
    let verb = if is_dry { "would clear" } else { "cleared" };
    let advice = match (state.class, state.fault.scope()) {
        (Class::Retry, _) => String::new(),
        (_, Scope::Copy) => format!("\n  advice was: {}", state.fault.advice()),
        _ => format!("\n  its {} keeps the fault until the cause is gone", state.fault.scope().as_str()),
    };
    format!("{verb} {} of copy {}: {} to {}{advice}\n", state.fault, copy.id, copy.name, copy.host)
}
