//! `list`: copies, as a table, JSON or CSV.
//!
//! Invariant: the ledger is never open while something is printed: a reader that stops reading must not keep
//! a pass waiting.

use std::ops::ControlFlow;

use crate::cli::{Format, List};
use crate::error::{Exit, Result};
use crate::ledger::Look as _;
use crate::model::{Copy, CopyId};
use crate::pass::Context;
use crate::render::{self, Row};

/// Rows that are read and printed at once.
const CHUNK: usize = 10_000;

pub(super) fn execute(context: &Context, words: &List) -> Result<Exit> {
    let (mut after, mut printed) = (CopyId(0), 0);
    if words.format == Format::Json {
        context.ui.print("[")?;
    }
    loop {
        let left =
            words.limit.map_or(CHUNK, |limit| usize::try_from(limit - printed).unwrap_or(CHUNK).min(CHUNK));
        let (rows, last) = chunk(context, words, after, left)?;
        if !rows.is_empty() || printed == 0 {
            print(context, words.format, &rows, printed == 0)?;
        }
        printed += rows.len() as u64;
        match last {
            Some(last) if words.limit != Some(printed) => after = last,
            _ => break,
        }
    }
    if words.format == Format::Json {
        context.ui.print(if printed == 0 { "]\n" } else { "\n]\n" })?;
    }
    Ok(Exit::Done)
}

/// The next rows behind a copy, and the copy to go on behind, if there may be more.
fn chunk(context: &Context, words: &List, after: CopyId, most: usize) -> Result<(Vec<Row>, Option<CopyId>)> {
    super::read_if_any(context, |ledger| {
        let (mut rows, mut last) = (Vec::new(), None);
        if let Some(id) = words.id {
            if let Some(copy) = ledger.copy(id)?.filter(|copy| is_wanted(words, copy)) {
                rows.push(Row::of(&copy, ledger)?);
            }
            return Ok((rows, None));
        }
        ledger.each_copy_behind(after, |copy| {
            if rows.len() == most {
                return Ok(ControlFlow::Break(()));
            }
            if is_wanted(words, &copy) {
                rows.push(Row::of(&copy, ledger)?);
            }
            last = Some(copy.id);
            Ok(ControlFlow::Continue(()))
        })?;
        let is_complete = rows.len() < most;
        Ok((rows, if is_complete { None } else { last }))
    })
}

fn is_wanted(words: &List, copy: &Copy) -> bool {
    words.host.as_ref().is_none_or(|host| *host == copy.host)
        && words.group.as_ref().is_none_or(|group| *group == copy.group)
        && words.state.is_none_or(|state| state == copy.state_word())
        && (!words.pending || copy.is_new())
        && (!words.faulted || copy.fault().is_some())
}

fn print(context: &Context, format: Format, rows: &[Row], is_first: bool) -> Result<()> {
    let text = match format {
        Format::Json => render::json(rows, is_first)?,
        Format::Csv => render::csv(rows, is_first)?,
        Format::Table => {
            let text = render::table(rows);
            if is_first {
                text
            } else {
                text.split_once('\n').map_or_else(String::new, |(_, rows)| rows.to_owned())
            }
        }
    };
    context.ui.print(&text)
}
