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
    match words.format {
        Format::Table => print_table(context, words)?,
        Format::Json => {
            context.ui.print("[")?;
            let mut is_first = true;
            each_chunk(context, words, |rows| {
                context.ui.print(&render::json(&rows, is_first)?)?;
                is_first &= rows.is_empty();
                Ok(())
            })?;
            context.ui.print(if is_first { "]\n" } else { "\n]\n" })?;
        }
        Format::Csv => {
            context.ui.print(&render::csv(&[], true)?)?;
            each_chunk(context, words, |rows| context.ui.print(&render::csv(&rows, false)?))?;
        }
    }
    Ok(Exit::Done)
}

/// The copies are gone through twice where they are many: once for the columns' widths.
fn print_table(context: &Context, words: &List) -> Result<()> {
    let mut columns = render::columns_of_copies();
    let (mut kept, mut chunks) = (Vec::new(), 0);
    each_chunk(context, words, |rows| {
        let cells: Vec<_> = rows.iter().map(render::cells_of).collect();
        cells.iter().for_each(|row| columns.fit(row));
        chunks += 1;
        kept = if chunks == 1 { cells } else { Vec::new() };
        Ok(())
    })?;
    context.ui.print(&columns.header())?;
    if chunks <= 1 {
        return context.ui.print(&columns.rows(&kept));
    }
    each_chunk(context, words, |rows| {
        let cells: Vec<_> = rows.iter().map(render::cells_of).collect();
        context.ui.print(&columns.rows(&cells))
    })
}

/// Gives the wanted rows in chunks, with the ledger closed in between.
fn each_chunk(context: &Context, words: &List, mut take: impl FnMut(Vec<Row>) -> Result<()>) -> Result<()> {
    let (mut after, mut given) = (CopyId(0), 0);
    loop {
        let left =
            words.limit.map_or(CHUNK, |limit| usize::try_from(limit - given).unwrap_or(CHUNK).min(CHUNK));
        let (rows, last) = chunk(context, words, after, left)?;
        given += rows.len() as u64;
        take(rows)?;
        match last {
            Some(last) if words.limit != Some(given) => after = last,
            _ => return Ok(()),
        }
    }
}

/// The next rows behind a copy, and the copy to go on behind, if there may be more.
fn chunk(context: &Context, words: &List, after: CopyId, most: usize) -> Result<(Vec<Row>, Option<CopyId>)> {
    super::read_if_any(context, |ledger| {
        let (mut rows, mut last) = (Vec::new(), None);
        if let Some(id) = words.id {
            if let Some(copy) = ledger.copy(id)?.filter(|copy| most > 0 && is_wanted(words, copy)) {
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
