//! `list`: copies, as a table, JSON, CSV or minidvodbtool's METADATA.

use super::copies::{self, Choice, WithoutLedger, each_chunk, row_of};
use crate::cli::{Format, List};
use crate::error::{Exit, Result};
use crate::model::Copy;
use crate::pass::Context;
use crate::render;
use crate::render::mdc::Form;

pub(super) fn execute(context: &Context, words: &List) -> Result<Exit> {
    let choice = Choice {
        id: words.id,
        limit: words.limit,
        is_wanted: &|copy| is_wanted(words, copy),
        without_ledger: WithoutLedger::Empty,
    };
    let mut put = |text: &str| context.ui.print(text);
    match words.format {
        Format::Table => print_table(context, &choice)?,
        Format::Json => drop(copies::write_json(context, &choice, &mut put)?),
        Format::Csv => drop(copies::write_csv(context, &choice, &mut put)?),
        Format::Mdc => drop(copies::write_listing(context, &choice, Form::Metadata, &mut put)?),
    }
    Ok(Exit::Done)
}

/// The copies are gone through twice where they are many: once for the columns' widths.
fn print_table(context: &Context, choice: &Choice<'_>) -> Result<()> {
    let mut columns = render::columns_of_copies();
    let (mut kept, mut chunks) = (Vec::new(), 0);
    each_chunk(context, choice, &row_of, |rows| {
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
    each_chunk(context, choice, &row_of, |rows| {
        let cells: Vec<_> = rows.iter().map(render::cells_of).collect();
        context.ui.print(&columns.rows(&cells))
    })?;
    Ok(())
}

fn is_wanted(words: &List, copy: &Copy) -> bool {
    words.host.as_ref().is_none_or(|host| *host == copy.host)
        && words.group.as_ref().is_none_or(|group| *group == copy.group)
        && words.state.is_none_or(|state| state == copy.state_word())
        && (!words.pending || copy.is_to_be_made())
        && (!words.faulted || copy.fault().is_some())
}
