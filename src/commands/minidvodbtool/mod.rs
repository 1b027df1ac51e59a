//! `minidvodbtool`: the predecessor's tool of that name, on the ledger.
//!
//! Invariant: standard output is the predecessor's, byte for byte; whatever else is to be said goes to standard
//! error. A mode that changed something ends with a sync where a database is set, which cannot fail it; a mode
//! that only reads does not sync.
//!
//! *Exit codes* are the predecessor's, which ends with 0 to 4: see [`exit_code`].

mod define;
mod list;
mod revert;
mod update;

use crate::cli::minidvodbtool::{Minidvodbtool, Mode};
use crate::error::{Error, Exit, Result};
use crate::ledger::Look as _;
use crate::pass::Context;
use crate::sync::Partner;

/// The predecessor's code for how it went: 1 unknown, 2 system, 3 configuration, 4 program. A wrong option was
/// 3 there. What the ledger's rules refuse, and a row that could only be queued with its fault, was a failed
/// query there, which is 1. After a signal it is what a shell shows of a program that the signal ended.
pub fn exit_code(exit: Exit) -> u8 {
    match exit {
        Exit::Done => 0,
        Exit::Faulted => 1,
        Exit::TryAgain => 2,
        Exit::Usage | Exit::Configuration => 3,
        Exit::Bug => 4,
        Exit::Interrupted | Exit::Terminated => exit as u8,
    }
}

pub(super) fn execute(context: &Context, words: &Minidvodbtool) -> Result<Exit> {
    super::need_ledger(context)?;
    check_name(context, words.dbname.as_deref())
        .and_then(|()| match &words.mode {
            Mode::Define(words) => define::execute(context, words),
            Mode::List(words) => list::execute(context, words),
            Mode::Revert(words) => revert::execute(context, words),
            Mode::Update(words) => update::execute(context, words),
        })
        .map_err(|mut error| {
            // From here on it is the ledger's or the output's, and no setting: "system" to whoever called.
            if error.exit == Exit::Configuration {
                error.exit = Exit::TryAgain;
            }
            error
        })
}

/// Brings the database in step with what was changed. One that is away is no error: it is said once, and the next
/// sync catches up.
fn keep_in_step(context: &Context) -> Result<()> {
    Partner::meet(context).map(drop)
}

/// Whoever names a database must not change what belongs to another one.
fn check_name(context: &Context, dbname: Option<&str>) -> Result<()> {
    let Some(dbname) = dbname else { return Ok(()) };
    let set = context.ledger.read(|ledger| ledger.database())?.map(|record| record.address.name);
    let shown = dbname.escape_debug();
    match set {
        Some(set) if set == dbname => Ok(()),
        Some(set) => Err(Error::usage(format!(
            "-dbname is '{shown}', and the database that is set is {set}"
        ))
        .hint(format!(
            "`{}` shows it; is this the right state folder?",
            context.own_command(&["database", "show"])
        ))),
        None => Err(Error::usage(format!("-dbname is '{shown}', and no database is set")).hint(format!(
            "`{}` sets one; without -dbname the ledger alone is meant",
            context.own_command(&["database", "set", "URL"])
        ))),
    }
}
