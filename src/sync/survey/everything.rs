//! Reading everything there is, in a thread of its own, and looking at it in parts while more of it is read.
//!
//! Invariant: a part has all of what lies in its range of ids, but for what is said to come later.

use std::collections::{BTreeSet, HashSet};
use std::ops::{ControlFlow, Range};
use std::slice::from_ref;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use super::{COPY, Looking, PROCESSED, ROWS_AT_ONCE, RUN, Read, Run, Stopped, TableRow, id_of, taken};
use crate::database::{Database, RunRow, Seen, Trouble};
use crate::model::{Buckets, Group};

/// Rows that were read one after the other.
pub(super) enum Rows {
    /// By id, but for the last ones.
    Runs(Vec<Run>),
    /// By minidvodb_id, but for the last ones; and more minidvodbs of which they are still to come.
    Copies(Vec<TableRow>, Vec<u64>),
    WithoutMinidvodb(Vec<(u64, String)>),
}

/// Minidvodbs gathered until they are worth a transaction.
struct Runs<'g> {
    groups: &'g [Group],
    runs: Vec<Run>,
}

impl Runs<'_> {
    /// Takes one that was read; breaks where nobody takes any more.
    fn see(&mut self, run: &RunRow<'_>, sender: &SyncSender<Rows>) -> ControlFlow<()> {
        let Some(run) = taken(run, self.groups) else { return ControlFlow::Continue(()) };
        // What comes late is not of the range of those before it.
        let is_late = self.runs.last().is_some_and(|last| id_of(last) > id_of(&run));
        if is_late || self.runs.len() >= ROWS_AT_ONCE {
            self.send(sender)?;
        }
        self.runs.push(run);
        ControlFlow::Continue(())
    }

    fn send(&mut self, sender: &SyncSender<Rows>) -> ControlFlow<()> {
        if self.runs.is_empty() {
            return ControlFlow::Continue(());
        }
        send(sender, Rows::Runs(std::mem::take(&mut self.runs)))
    }
}

/// Rows of minidvodbCopy gathered in the same way.
#[derive(Default)]
struct Copies {
    copies: Vec<TableRow>,
    later: Vec<u64>,
    of_nothing: Vec<(u64, String)>,
}

impl Copies {
    fn see(&mut self, seen: Seen, sender: &SyncSender<Rows>) -> ControlFlow<()> {
        match seen {
            Seen::Copy(row) => {
                // The rows of one minidvodb stay together.
                let last = self.copies.last().map(|last| last.minidvodb_id);
                let is_full = self.copies.len() >= ROWS_AT_ONCE && last != Some(row.minidvodb_id);
                if is_full || last.is_some_and(|last| last > row.minidvodb_id) {
                    self.send(sender)?;
                }
                self.copies.push(row);
            }
            Seen::Later(id) => self.later.push(id),
            Seen::RowOfNothing(id, host) => self.of_nothing.push((id, host)),
        }
        ControlFlow::Continue(())
    }

    fn send(&mut self, sender: &SyncSender<Rows>) -> ControlFlow<()> {
        send(sender, Rows::Copies(std::mem::take(&mut self.copies), std::mem::take(&mut self.later)))
    }

    /// Sends what is left.
    fn finish(mut self, sender: &SyncSender<Rows>) -> ControlFlow<()> {
        self.send(sender)?;
        send(sender, Rows::WithoutMinidvodb(self.of_nothing))
    }
}

fn send(sender: &SyncSender<Rows>, rows: Rows) -> ControlFlow<()> {
    // Whoever takes no more says why.
    sender.send(rows).map_or(ControlFlow::Break(()), ControlFlow::Continue)
}

/// Reads everything in parts, first the minidvodbs; the sums of all buckets, unless nobody takes the rows any more.
/// Meanwhile the server sorts the copies for a connection of their own, if it grants one more.
pub(super) fn read(
    database: &mut Database,
    groups: &[Group],
    sender: &SyncSender<Rows>,
) -> Result<Option<Buckets>, Trouble> {
    // It looks at what is there later than the other one, so that it knows the minidvodbs of all copies.
    let other = database.another().and_then(|mut other| other.begin_reading().map(|()| other));
    let Ok(mut other) = other else {
        let Some(sums) = read_runs(database, groups, sender)? else { return Ok(None) };
        return Ok(read_copies(database, sender)?.map(|more| sums.into_iter().chain(more).collect()));
    };
    thread::scope(|scope| {
        let (copies_sender, copies) = sync_channel(1);
        let reader = scope.spawn(move || read_copies(database, &copies_sender));
        let sums = read_runs(&mut other, groups, sender);
        let sent = match sums {
            Ok(Some(_)) => copies.iter().try_for_each(|rows| send(sender, rows)),
            _ => ControlFlow::Break(()),
        };
        // Whoever still reads ends where nobody receives any more, once the server has sorted and sent what it began.
        drop(copies);
        let more = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let (Some(sums), Some(more)) = (sums?, more?) else { return Ok(None) };
        Ok(sent.is_continue().then(|| sums.into_iter().chain(more).collect()))
    })
}

fn read_runs(
    database: &mut Database,
    groups: &[Group],
    sender: &SyncSender<Rows>,
) -> Result<Option<Buckets>, Trouble> {
    let mut runs = Runs { groups, runs: Vec::new() };
    let names: Vec<&str> = groups.iter().map(Group::as_str).collect();
    let sums = database.every_minidvodb(&names, |run| runs.see(&run, sender))?;
    Ok(sums.filter(|_| runs.send(sender).is_continue()))
}

fn read_copies(database: &mut Database, sender: &SyncSender<Rows>) -> Result<Option<Buckets>, Trouble> {
    let mut copies = Copies::default();
    let sums = database.every_copy(|seen| copies.see(seen, sender))?;
    Ok(sums.filter(|_| copies.finish(sender).is_continue()))
}

/// What was read where everything was, and the buckets that are there no more.
pub(super) fn all_read(sums: Buckets, known: &Buckets) -> Read {
    let of = |tables: &[u64]| -> BTreeSet<u64> {
        let keys = sums.keys().chain(known.keys());
        keys.filter(|(table, _)| tables.contains(table)).map(|(_, bucket)| *bucket).collect()
    };
    let (runs, copies) = (of(&[RUN, PROCESSED]), of(&[COPY]));
    (sums, runs, copies)
}

impl Looking<'_> {
    /// Looks at everything, whatever the sums are; at the minidvodbs in `to_settle`, which have never met a row, only
    /// where there are rows.
    pub(super) fn at_everything(
        &mut self,
        database: &mut Database,
        known: &Buckets,
        to_settle: &BTreeSet<u64>,
    ) -> Result<Read, Stopped> {
        let all = 0..u64::MAX;
        let mut missing = self.missing_in(from_ref(&all))?;
        let (mut next_run, mut next_copy) = (0, 0);
        // The minidvodbs whose rows are compared at the end, and rows of them.
        let (mut postponed, mut held) = (HashSet::new(), Vec::new());
        let sums = thread::scope(|scope| {
            let (sender, rows) = sync_channel(1);
            let (groups, database) = (self.groups, &mut *database);
            let reader = scope.spawn(move || read(database, groups, &sender));
            let looked = rows.into_iter().try_for_each(|rows| {
                self.context.check_stop()?;
                match rows {
                    Rows::Runs(runs) => {
                        let range = range_to(&mut next_run, runs.last().map(id_of));
                        self.at_runs(runs, from_ref(&range), &mut missing)
                    }
                    Rows::Copies(mut rows, later) => {
                        // All minidvodbs have been seen: of those that were not, it is not known yet what they are.
                        self.at_runs(Vec::new(), from_ref(&(next_run..all.end)), &mut missing)?;
                        next_run = all.end;
                        let range = range_to(&mut next_copy, rows.last().map(|row| row.minidvodb_id.0));
                        held.extend(rows.extract_if(.., |row| missing.unseen.contains(&row.minidvodb_id.0)));
                        postponed.extend(later);
                        for row in &rows {
                            postponed.remove(&row.minidvodb_id.0);
                        }
                        let is_postponed = |id| postponed.contains(&id) || missing.unseen.contains(&id);
                        self.at_rows(rows, from_ref(&range), to_settle, is_postponed)
                    }
                    Rows::WithoutMinidvodb(rows) => self.at_rows_of_nothing(rows),
                }
            });
            let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            looked.and_then(|()| Ok(read?.unwrap_or_default()))
        })?;
        postponed.extend(&missing.unseen);
        // As it is now, which is not before the minidvodbs were read: what is gone by then is not found again.
        database.begin_reading()?;
        self.at_missing(database, missing, from_ref(&all))?;
        // Behind the last ones, and those that had to wait.
        self.at_rows(Vec::new(), from_ref(&(next_copy..all.end)), to_settle, |id| postponed.contains(&id))?;
        let ranges: Vec<_> = BTreeSet::from_iter(postponed).into_iter().map(|id| id..id + 1).collect();
        self.at_rows(held, &ranges, to_settle, |_| false)?;
        Ok(all_read(sums, known))
    }
}

/// The ids from the next one to the last one of some; none where they are late.
fn range_to(next: &mut u64, last: Option<u64>) -> Range<u64> {
    let start = *next;
    *next = last.map_or(start, |last| start.max(last + 1));
    start..*next
}
