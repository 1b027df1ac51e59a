//! `list`: copies, as a table, JSON, CSV or minidvodbtool's METADATA.

use super::copies::{self, Among, Choice, WithoutLedger, each_chunk, row_of};
use crate::cli::{Format, List};
use crate::error::{Exit, Result};
use crate::ledger::Look as _;
use crate::model::Copy;
use crate::pass::Context;
use crate::render;
use crate::render::mdc::Form;

pub(super) fn execute(context: &Context, words: &List) -> Result<Exit> {
    let choice = Choice {
        id: words.id,
        among: Among::of(words.pending || words.state == Some("new"), words.faulted),
        limit: words.limit,
        is_wanted: &|copy| is_wanted(words, copy),
        without_ledger: WithoutLedger::Empty,
    };
    let mut put = |text: &str| context.ui.print(text);
    let count = match words.format {
        Format::Table => print_table(context, &choice)?,
        Format::Json => copies::write_json(context, &choice, &mut put)?,
        Format::Csv => copies::write_csv(context, &choice, &mut put)?,
        Format::Mdc => copies::write_listing(context, &choice, Form::Metadata, &mut put)?,
    };
    if count == 0 && context.ui.is_heard() && context.ledger.exists() {
        say_why_none(context)?;
    }
    Ok(Exit::Done)
}

/// A ledger without a copy is more likely a first step forgotten than a wish.
fn say_why_none(context: &Context) -> Result<()> {
    if context.ledger.read(|ledger| ledger.tallies())?.iter().all(|tally| tally.copies == 0) {
        let check = context.own_command(&["check"]);
        context.ui.tell(&format!("there is no copy yet: `{check}` says what is missing"));
    }
    Ok(())
}

/// The copies are gone through twice where they are many: once for the columns' widths.
fn print_table(context: &Context, choice: &Choice<'_>) -> Result<u64> {
    let mut columns = render::columns_of_copies().within(context.ui.width());
    let (mut kept, mut chunks) = (Vec::new(), 0);
    let count = each_chunk(context, choice, &row_of, |rows| {
        let cells: Vec<_> = rows.iter().map(render::cells_of).collect();
        cells.iter().for_each(|row| columns.fit(row));
        chunks += 1;
        kept = if chunks == 1 { cells } else { Vec::new() };
        Ok(())
    })?;
    context.ui.print(&columns.header())?;
    if chunks <= 1 {
        context.ui.print(&columns.rows(&kept))?;
        return Ok(count);
    }
    each_chunk(context, choice, &row_of, |rows| {
        let cells: Vec<_> = rows.iter().map(render::cells_of).collect();
        context.ui.print(&columns.rows(&cells))
    })
}

fn is_wanted(words: &List, copy: &Copy) -> bool {
    words.host.as_ref().is_none_or(|host| *host == copy.host)
        && words.group.as_ref().is_none_or(|group| *group == copy.group)
        && words.state.is_none_or(|state| state == copy.state_word())
        && (!words.pending || copy.is_to_be_made())
        && (!words.faulted || copy.fault().is_some())
}
