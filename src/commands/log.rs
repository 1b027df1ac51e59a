//! `log`: what the operators and the program wrote down.

use serde::Serialize;

use crate::cli::{LogCommand, LogShow, LogVerb};
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
        LogVerb::Show(words) => show(context, &words)?,
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

/// An entry as `log show --json` prints it.
#[derive(Serialize)]
struct Shown {
    at: String,
    who: String,
    minidvodbcopy_id: Option<u64>,
    text: String,
}

fn show(context: &Context, words: &LogShow) -> Result<()> {
    let most = usize::try_from(words.last).unwrap_or(usize::MAX);
    let entries = super::read_if_any(context, |ledger| ledger.log(most))?;
    if entries.is_empty() && words.last > 0 && context.ledger.exists() {
        let check = context.own_command(&["check"]);
        context.ui.tell(&format!("the log has no entry yet: `{check}` says what is missing"));
    }
    if words.json {
        let shown = entries.into_iter().map(|LogEntry { at, who, copy, text }| Shown {
            at: ui::rfc3339(at),
            who,
            minidvodbcopy_id: copy.map(|copy| copy.0),
            text,
        });
        let json = serde_json::to_string_pretty(&shown.collect::<Vec<_>>()).map_err(Error::bug)?;
        return context.ui.print(&format!("{json}\n"));
    }
    for LogEntry { at, who, text, .. } in entries {
        context.ui.print(&format!("{} UTC  {}  {}\n", ui::time(at), escape_all(&who), escape_all(&text)))?;
    }
    Ok(())
}
