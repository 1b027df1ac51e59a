//! `log`: what the operators and the program wrote down.

use crate::cli::{LogCommand, LogVerb};
use crate::error::{Error, Exit, Result};
use crate::ledger::Look as _;
use crate::model::LogEntry;
use crate::pass::Context;
use crate::ui::{self, escape_all};

/// An entry has at most so many bytes.
const TEXT_MAX_BYTES: usize = 4000;

pub(super) fn execute(context: &Context, command: LogCommand) -> Result<Exit> {
    match command.verb {
        LogVerb::Add(words) => add(context, words.text)?,
        LogVerb::Show(words) => show(context, words.last)?,
    }
    Ok(Exit::Done)
}

fn add(context: &Context, text: String) -> Result<()> {
    if text.trim().is_empty() || text.len() > TEXT_MAX_BYTES {
        return Err(Error::usage(format!("a log entry has 1 to {TEXT_MAX_BYTES} bytes")));
    }
    crate::state::prepare(&context.state_dir)?;
    let entry = LogEntry { at: context.now(), who: context.user.clone(), copy: None, text };
    context.ledger.write(|change| change.add_log(&entry))
}

fn show(context: &Context, last: u64) -> Result<()> {
    let most = usize::try_from(last).unwrap_or(usize::MAX);
    let entries = super::read_if_any(context, |ledger| ledger.log(most))?;
    for LogEntry { at, who, text, .. } in entries {
        context.ui.print(&format!("{} UTC  {}  {}\n", ui::time(at), escape_all(&who), escape_all(&text)))?;
    }
    Ok(())
}
