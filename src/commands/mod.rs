//! The commands: one file for each.
//!
//! Invariant: a command reads, decides by the parts, writes in one transaction where it can, and says what it
//! did. Commands print through `ui` only.

mod audit;
mod by_hand;
mod check;
mod completions;
mod copies;
mod copy;
mod crontab;
mod database;
mod export;
mod faults;
#[cfg(test)]
#[path = "../../tests/fuzz/commands.rs"]
mod fuzz;
mod host;
mod ledger;
mod list;
mod log;
mod metrics;
mod minidvodb;
pub mod minidvodbtool;
mod recopy;
mod report;
mod revert;
mod run;
mod script;
mod show;
mod source;
mod stage;
mod status;
mod sync;
mod target;
mod update;
mod words;

use crate::cli::Command;
use crate::cli::words::Word;
use crate::error::{Error, Exit, Result};
use crate::filelog::{self, Keeping, Teller};
use crate::ledger::{Failure, Snapshot};
use crate::pass::Context;
use crate::state;

/// Carries out a command, and writes down what it did where it is one that works.
///
/// # Errors
/// Whatever ends it early.
pub fn execute(context: &Context, command: Command) -> Result<Exit> {
    match &command {
        // What they print is the same whatever is there.
        Command::Faults(_) | Command::Crontab(_) | Command::Completions(_) => {
            return carry_out(context, command);
        }
        // The check itself says what is wrong with it, and goes on.
        Command::Check(_) => {}
        _ => state::check(&context.state_dir)?,
    }
    let log = filelog::begin(
        keeping(&command),
        &Teller {
            state_dir: &context.state_dir,
            ui: context.ui,
            clock: context.clock,
            user: &context.user,
            command_line: &context.command_line,
        },
    );
    let result = carry_out(context, command);
    log.end(&result);
    result
}

/// The commands that touch a destination or the database are written down; dry runs change nothing.
fn keeping(command: &Command) -> Keeping {
    let kept = |is_dry: bool| if is_dry { Keeping::Shown } else { Keeping::Kept };
    match command {
        Command::Run(run) => kept(run.dry_run),
        Command::Copy(copy) => kept(copy.dry_run),
        Command::Sync(sync) => kept(sync.dry_run),
        Command::Recopy(recopy) if !recopy.cancel => Keeping::Kept,
        Command::Audit(_) => Keeping::Kept,
        Command::Check(_) => Keeping::Shown,
        _ => Keeping::Nothing,
    }
}

fn carry_out(context: &Context, command: Command) -> Result<Exit> {
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
        Command::Status(status) => status::execute(context, &status),
        Command::Export(export) => export::execute(context, &export),
        Command::Ledger(ledger) => ledger::execute(context, ledger),
        Command::Database(database) => database::execute(context, database),
        Command::Sync(sync) => sync::execute(context, &sync),
        Command::Log(log) => log::execute(context, log),
        Command::Source(source) => source::execute(context, source),
        Command::Script(script) => script::execute(context, &script),
        Command::Audit(audit) => audit::execute(context, audit),
        Command::Check(check) => check::execute(context, &check),
        Command::Crontab(crontab) => crontab::execute(context, &crontab),
        Command::Completions(completions) => completions::execute(context, &completions),
        Command::Report(report) => report::execute(context, &report),
        Command::Metrics(metrics) => metrics::execute(context, &metrics),
        Command::Minidvodbtool(words) => minidvodbtool::execute(context, &words),
    }
}

/// Carries out a word of the wiki page.
///
/// # Errors
/// Whatever ends it early.
pub fn execute_word(context: &Context, word: Word) -> Result<Exit> {
    state::check(&context.state_dir)?;
    words::execute(context, &[words::Step { word, place: None }])
}

/// Where whoever is new to it may begin.
fn first_step(context: &Context) -> String {
    format!("`{}` says what to do first", context.own_command(&["check"]))
}

/// Reads the ledger; where there is none yet, says so on standard error and gives nothing.
fn read_if_any<T: Default>(
    context: &Context,
    look: impl FnOnce(&Snapshot) -> Result<T, Failure>,
) -> Result<T> {
    if context.ledger.exists() {
        return context.ledger.read(look);
    }
    context.ui.notice(&format!("there is no ledger in {} yet: {}", context.state_dir, first_step(context)));
    Ok(T::default())
}

/// Refuses to go on where there is no ledger.
fn need_ledger(context: &Context) -> Result<()> {
    if context.ledger.exists() {
        return Ok(());
    }
    Err(Error::configuration(format!("there is no ledger in {}", context.state_dir))
        .hint("is this the right --state-dir?")
        .hint(first_step(context)))
}
