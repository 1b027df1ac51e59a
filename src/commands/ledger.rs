//! `ledger`: the file itself: check, backup, restore, compact.

use std::fs::File;

use camino::Utf8Path;

use super::target::let_it_end;
use crate::cli::{LedgerCommand, LedgerVerb};
use crate::error::{Error, Exit, Result};
use crate::pass::Context;
use crate::{lock, state, ui};

pub(super) fn execute(context: &Context, command: LedgerCommand) -> Result<Exit> {
    match command.verb {
        LedgerVerb::Check(_) => check(context)?,
        LedgerVerb::Backup(words) => backup(context, words.file.as_deref())?,
        LedgerVerb::Restore(words) => restore(context, &words.file)?,
        LedgerVerb::Compact(_) => compact(context)?,
    }
    Ok(Exit::Done)
}

fn check(context: &Context) -> Result<()> {
    super::need_ledger(context)?;
    let census = context.ledger.check()?;
    context.ui.print(&format!(
        "{} is whole: {}, {}, {}, {}, {}\n",
        ui::escape_all(context.ledger.file().as_str()),
        ui::count(census.minidvodbs, "minidvodb", "minidvodbs"),
        ui::count(census.targets, "target", "targets"),
        ui::count(census.hosts, "host", "hosts"),
        ui::count(census.copies, "copy", "copies"),
        ui::count(census.attempts, "attempt", "attempts"),
    ))
}

fn backup(context: &Context, file: Option<&str>) -> Result<()> {
    super::need_ledger(context)?;
    state::prepare(&context.state_dir)?;
    let to = match file {
        Some(file) => file.into(),
        None => context.ledger.backup_name(context.now()),
    };
    context.ledger.back_up_to(&to)?;
    context.ui.print(&format!("{}\n", ui::escape_all(to.as_str())))
}

fn restore(context: &Context, file: &str) -> Result<()> {
    // A mistyped name makes no state folder.
    if let Err(error) = File::open(file) {
        let error = Error::configuration(format!("cannot read {file}: {error}"))
            .hint(format!("name a backup: the daily ones are in {}", context.state_dir.join("backup")));
        let has_ledger = context.ledger.exists();
        return Err(if has_ledger { error } else { error.hint(super::first_step(context)) });
    }
    state::prepare(&context.state_dir)?;
    if let Some((path, holder)) = lock::held(&context.state_dir).into_iter().next() {
        return Err(Error::try_again(format!("a pass is under way: {path} is held by {holder}"))
            .hint(format!("restore when no pass runs; {}", let_it_end(context))));
    }
    let replaced = context.ledger.restore(Utf8Path::new(file), context.now())?;
    context.ui.print(&format!("{} is the ledger now\n", ui::escape_all(file)))?;
    match replaced {
        Some(kept) => {
            context.ui.print(&format!("what it replaced is kept as {}\n", ui::escape_all(kept.as_str())))
        }
        None => Ok(()),
    }
}

fn compact(context: &Context) -> Result<()> {
    super::need_ledger(context)?;
    let (before, after) = context.ledger.compact()?;
    context.ui.print(&format!("{} before, {} after\n", ui::size(before), ui::size(after)))
}
