//! `sync`: brings the ledger and the IPP database in step, and says in one line what that took.

use crate::cli::Sync;
use crate::error::{Error, Exit, Result};
use crate::ledger::Look as _;
use crate::pass::Context;
use crate::sync::{self, Manner};
use crate::ui::{self, escape_all};

pub(super) fn execute(context: &Context, words: &Sync) -> Result<Exit> {
    let record = sync::database_of(context)?.ok_or_else(|| {
        Error::configuration("no database is set")
            .hint(format!("`{}` sets one", context.own_command(&["database", "set", "URL"])))
    })?;
    let name = record.address.name.clone();
    let manner = Manner { is_dry: words.dry_run, accepts_deletions: words.accept_deletions };
    let report = sync::connect(context, &record)
        .and_then(|mut database| sync::sync(context, &mut database, &record, manner))
        .map_err(|stopped| stopped.into_error(&name));
    let report = match report {
        Err(error) if error.exit == Exit::TryAgain => {
            let ahead = context.ledger.read(|ledger| ledger.count_ahead())?;
            let copies = ui::count(ahead, "copy is", "copies are");
            return Err(error.hint(format!("it is behind: {copies} not there as they are here")));
        }
        other => other?,
    };
    for difference in &report.differences {
        context.ui.print(&format!("{}\n", escape_all(difference)))?;
    }
    if let Some(line) = report.line(&name) {
        context.ui.record(&line);
        context.ui.print(&format!("{line}\n"))?;
    }
    for text in report.notes.iter().chain(&report.refused) {
        context.ui.notice(text);
    }
    Ok(if report.refused.is_empty() { Exit::Done } else { Exit::Faulted })
}
