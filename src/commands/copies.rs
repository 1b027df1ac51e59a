//! Copies on their way out of the ledger, for `list`, `export` and `minidvodbtool`: read in chunks, written as
//! JSON, CSV or in minidvodbtool's formats.
//!
//! Invariant: the ledger is never open while something is written: a reader that stops reading must not keep
//! a pass waiting; and no more than a chunk is held in memory.

use std::ops::ControlFlow;

use crate::error::{Error, Result};
use crate::ledger::{Failure, Look, Snapshot};
use crate::model::{Copy, CopyId, Kind, Tally};
use crate::pass::Context;
use crate::render::mdc::{Form, Listing};
use crate::render::{self, Row};

/// Copies that are read and written at once.
const CHUNK: usize = 2_000;

/// Which copies are meant.
pub(super) struct Choice<'a> {
    /// This one alone.
    pub(super) id: Option<CopyId>,
    /// Where they are looked for.
    pub(super) among: Among,
    /// At most so many.
    pub(super) limit: Option<u64>,
    /// Those for which it says yes.
    pub(super) is_wanted: &'a dyn Fn(&Copy) -> bool,
    /// What holds where there is no ledger.
    pub(super) without_ledger: WithoutLedger,
}

/// Where copies are looked for: of a million, few are to be made, and these are in an index of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Among {
    /// All of them.
    All,
    /// Those that are to be made, and so all that are new.
    ToBeMade,
    /// All that show a fault.
    Faulted,
}

impl Among {
    /// Where those are looked for that must be to be made, or show a fault, or need neither.
    pub(super) fn of(are_to_be_made: bool, are_faulted: bool) -> Self {
        match (are_to_be_made, are_faulted) {
            (true, _) => Self::ToBeMade,
            (false, true) => Self::Faulted,
            (false, false) => Self::All,
        }
    }

    /// The ids of a set that has them all, in their order; none where all there are must be gone through.
    pub(super) fn ids(self, ledger: &impl Look) -> Result<Option<Vec<CopyId>>, Failure> {
        let is_indexed = match self {
            Self::All => false,
            Self::ToBeMade => true,
            // What an audit has found is shown by copies that are not to be made.
            Self::Faulted => {
                let is_of_audit = |tally: &Tally| tally.kind == Kind::Full && tally.fault_code != 0;
                !ledger.tallies()?.iter().any(|tally| is_of_audit(tally) && tally.copies > 0)
            }
        };
        if is_indexed { ledger.to_be_made() } else { Ok(None) }
    }

    /// Shows each of them, and maybe others, to `see`, by id.
    pub(super) fn each(self, ledger: &impl Look, mut see: impl FnMut(Copy)) -> Result<(), Failure> {
        let Some(ids) = self.ids(ledger)? else {
            return ledger.each_copy(|copy| {
                see(copy);
                Ok(true)
            });
        };
        for id in ids {
            ledger.copy(id)?.into_iter().for_each(&mut see);
        }
        Ok(())
    }
}

/// What a ledger that is not there stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum WithoutLedger {
    /// No copies, and a word on standard error: for people.
    Empty,
    /// An error: for what a program may go on with.
    Refused,
}

/// Where a text goes.
pub(super) type Put<'a> = dyn FnMut(&str) -> Result<()> + 'a;

/// Writes the chosen copies as a JSON array; says how many there were.
pub(super) fn write_json(context: &Context, choice: &Choice<'_>, put: &mut Put<'_>) -> Result<u64> {
    put("[")?;
    let mut is_first = true;
    let count = each_chunk(context, choice, &row_of, |rows| {
        put(&render::json(&rows, is_first)?)?;
        is_first &= rows.is_empty();
        Ok(())
    })?;
    put(if is_first { "]\n" } else { "\n]\n" })?;
    Ok(count)
}

/// Writes the chosen copies as CSV with a header; says how many there were.
pub(super) fn write_csv(context: &Context, choice: &Choice<'_>, put: &mut Put<'_>) -> Result<u64> {
    put(&render::csv(&[], true)?)?;
    each_chunk(context, choice, &row_of, |rows| put(&render::csv(&rows, false)?))
}

/// Writes the chosen copies as minidvodbtool prints them; says how many there were.
pub(super) fn write_listing(
    context: &Context,
    choice: &Choice<'_>,
    form: Form,
    put: &mut Put<'_>,
) -> Result<u64> {
    let mut listing = Listing::new(form);
    let row = |copy: &Copy, ledger: &Snapshot| listing_row(form, copy, ledger);
    let count = each_chunk(context, choice, &row, |rows| put(&listing.add(&rows)))?;
    put(listing.end())?;
    Ok(count)
}

/// A copy as minidvodbtool prints it.
pub(super) fn listing_row(form: Form, copy: &Copy, ledger: &Snapshot) -> Result<String, Failure> {
    let minidvodb = ledger.minidvodb(copy.minidvodb_id)?;
    Ok(form.row(copy, minidvodb.as_ref().map(|minidvodb| &minidvodb.path)))
}

/// What JSON, CSV and the table show of a copy.
pub(super) fn row_of(copy: &Copy, ledger: &Snapshot) -> Result<Row, Failure> {
    Row::of(copy, ledger)
}

/// Looks at the chosen copies with `view`, in order of id, and gives what it makes of them to `take`, in chunks
/// with the ledger closed in between; says how many there were.
///
/// # Errors
/// As reading the ledger; 130 or 143 where a signal came between two chunks; whatever `view` and `take` return.
pub(super) fn each_chunk<T>(
    context: &Context,
    choice: &Choice<'_>,
    view: &dyn Fn(&Copy, &Snapshot) -> Result<T, Failure>,
    mut take: impl FnMut(Vec<T>) -> Result<()>,
) -> Result<u64> {
    let (mut place, mut given) = (Reading { last: CopyId(0), ids: None }, 0);
    loop {
        let left =
            choice.limit.map_or(CHUNK, |limit| usize::try_from(limit - given).unwrap_or(CHUNK).min(CHUNK));
        let seen =
            read(context, choice.without_ledger, |ledger| chunk(ledger, choice, &mut place, left, view))?;
        let count = seen.len();
        given += count as u64;
        take(seen)?;
        // A full one may have others behind it.
        if choice.id.is_some() || count < left || choice.limit == Some(given) {
            return Ok(given);
        }
        if let Some(exit) = context.stop.requested() {
            return Err(Error::new(exit, "stopped by a signal, before all copies were read"));
        }
    }
}

/// How far the copies have been read.
struct Reading {
    /// The last copy that was looked at; 0: none was.
    last: CopyId,
    /// The only ids to look at, once they are known.
    ids: Option<Vec<CopyId>>,
}

fn read<T: Default>(
    context: &Context,
    without_ledger: WithoutLedger,
    look: impl FnOnce(&Snapshot) -> Result<T, Failure>,
) -> Result<T> {
    match without_ledger {
        WithoutLedger::Empty => super::read_if_any(context, look),
        WithoutLedger::Refused => {
            super::need_ledger(context)?;
            context.ledger.read(look)
        }
    }
}

/// The next `most` of the chosen copies.
fn chunk<T>(
    ledger: &Snapshot,
    choice: &Choice<'_>,
    place: &mut Reading,
    most: usize,
    view: &dyn Fn(&Copy, &Snapshot) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    let mut seen = Vec::new();
    if let Some(id) = choice.id {
        if let Some(copy) = ledger.copy(id)?.filter(|copy| most > 0 && (choice.is_wanted)(copy)) {
            seen.push(view(&copy, ledger)?);
        }
        return Ok(seen);
    }
    if place.last == CopyId(0) {
        place.ids = choice.among.ids(ledger)?;
    }
    let (after, last) = (place.last, &mut place.last);
    let mut see = |copy: Copy| {
        if seen.len() == most {
            return Ok(ControlFlow::Break(()));
        }
        *last = copy.id;
        if (choice.is_wanted)(&copy) {
            seen.push(view(&copy, ledger)?);
        }
        Ok(ControlFlow::Continue(()))
    };
    match &place.ids {
        None => ledger.each_copy_behind(after, see)?,
        Some(ids) => {
            for &id in &ids[ids.partition_point(|id| *id <= after)..] {
                // One that is gone since is passed over.
                if let Some(copy) = ledger.copy(id)?
                    && see(copy)?.is_break()
                {
                    break;
                }
            }
        }
    }
    Ok(seen)
}
