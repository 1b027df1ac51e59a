//! `-listminidvodbcopy`: copies, in the predecessor's formats.
//!
//! Invariant: a copy with a fault is hidden unless it is asked for, as ever; but it is said how many are.

use std::cell::Cell;

use super::super::copies::{self, Among, Choice, WithoutLedger};
use crate::cli::minidvodbtool::List;
use crate::error::{Exit, Result};
use crate::model::Copy;
use crate::pass::Context;
use crate::ui;

pub(super) fn execute(context: &Context, words: &List) -> Result<Exit> {
    let (hidden, given) = (Cell::new(0), Cell::new(0));
    let is_wanted = |copy: &Copy| {
        if !is_sought(words, copy) {
            return false;
        }
        let has_fault = copy.fault_code() != 0;
        if has_fault && !words.is_faulted {
            hidden.set(hidden.get() + 1);
        }
        let is_given = has_fault == words.is_faulted && words.limit.is_none_or(|limit| given.get() < limit);
        given.set(given.get() + u64::from(is_given));
        is_given
    };
    // The limit is kept here: those behind it are still looked at, for what is hidden.
    let choice = Choice {
        id: words.copy_id,
        among: Among::of(words.is_pending, words.is_faulted),
        limit: None,
        is_wanted: &is_wanted,
        without_ledger: WithoutLedger::Refused,
    };
    copies::write_listing(context, &choice, words.form, &mut |text| context.ui.print(text))?;
    if hidden.get() > 0 {
        let rows = ui::count(hidden.get(), "row with a fault is hidden", "rows with a fault are hidden");
        context.ui.notice(&format!("{rows}: -faulted lists them"));
    }
    Ok(Exit::Done)
}

fn is_sought(words: &List, copy: &Copy) -> bool {
    words.minidvodb_id.is_none_or(|id| id == copy.minidvodb_id)
        && words.group.as_ref().is_none_or(|group| *group == copy.group)
        && words.host.as_ref().is_none_or(|host| *host == copy.host)
        && (!words.is_pending || copy.is_new())
}
