//! The commands: one file for each.
//!
//! Invariant: a command reads, decides by the parts, writes in one transaction where it can, and says what it
//! did. Commands print through `ui` only.

mod by_hand;
mod copies;
mod copy;
mod database;
mod export;
mod faults;
mod host;
mod ledger;
mod list;
mod log;
mod minidvodb;
pub mod minidvodbtool;
mod recopy;
mod revert;
mod run;
mod show;
mod source;
mod stage;
mod sync;
mod target;
mod update;

use crate::cli::Command;
use crate::error::{Error, Exit, Result};
use crate::ledger::{Failure, Snapshot};
use crate::pass::Context;
use crate::state;

/// Carries out a command.
///
/// # Errors
/// Whatever ends it early.
pub fn execute(context: &Context, command: Command) -> Result<Exit> {
    if let Command::Faults(faults) = command {
        return faults::execute(context, &faults);
    }
    state::check(&context.state_dir)?;
    match command {
        Command::Run(run) => run::execute(context, run),
        Command::Copy(copy) => copy::execute(context, copy),
        Command::Target(target) => target::execute(context, target),
        Command::Host(host) => host::execute(context, host),
        Command::Stage(stage) => stage::execute(context, stage),
        Command::Minidvodb(minidvodb) => minidvodb::execute(context, minidvodb),
        Command::List(list) => list::execute(context, &list),
        Command::Show(show) => show::execute(context, &show),
        Command::Revert(revert) => revert::execute(context, &revert),
        Command::Update(update) => update::execute(context, &update),
        Command::Recopy(recopy) => recopy::execute(context, &recopy),
        Command::Faults(faults) => faults::execute(context, &faults),
        Command::Export(export) => export::execute(context, &export),
        Command::Ledger(ledger) => ledger::execute(context, ledger),
        Command::Database(database) => database::execute(context, database),
        Command::Sync(sync) => sync::execute(context, &sync),
        Command::Log(log) => log::execute(context, log),
        Command::Source(source) => source::execute(context, source),
        Command::Minidvodbtool(words) => minidvodbtool::execute(context, &words),
    }
}

/// Reads the ledger; where there is none yet, says so on standard error and gives nothing.
fn read_if_any<T: Default>(
    context: &Context,
    look: impl FnOnce(&Snapshot) -> Result<T, Failure>,
) -> Result<T> {
    if context.ledger.exists() {
        return context.ledger.read(look);
    }
    context.ui.notice(&format!("there is no ledger in {} yet", context.state_dir));
    Ok(T::default())
}

/// Refuses to go on where there is no ledger.
fn need_ledger(context: &Context) -> Result<()> {
    if context.ledger.exists() {
        return Ok(());
    }
    Err(Error::configuration(format!("there is no ledger in {}", context.state_dir))
        .hint("is this the right --state-dir?"))
}
