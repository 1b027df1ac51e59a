//! The first meeting of a ledger that knows nothing yet with a database: everything is read once, and taken in
//! while more of it is read.
//!
//! Invariant: only what nothing is known of is taken in this way; where another process has been quicker, its
//! rows go the way of all others.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use super::{
    COPY, Looking, PROCESSED, RUN, Read, Stopped, TableRow, by_minidvodb, minidvodb_of, of_nothing,
    take_minidvodbs,
};
use crate::database::{Database, Seen, Trouble};
use crate::ledger::{Failure, Look as _, Snapshot};
use crate::model::{Buckets, Group, Minidvodb, MinidvodbId, Name};
use crate::sync::settle;

/// So many rows are written down at once.
const ROWS_AT_ONCE: usize = 50_000;

/// Whether a ledger has neither minidvodbs nor copies nor strays.
pub(super) fn knows_nothing(ledger: &Snapshot) -> Result<bool, Failure> {
    Ok(ledger.count_minidvodbs()? == 0 && ledger.has_no_copies()? && ledger.strays()?.is_empty())
}

/// Rows that were read one after the other.
enum Rows {
    Runs(Vec<Run>),
    Copies(Vec<TableRow>),
    WithoutMinidvodb(Vec<(u64, String)>),
}

/// A minidvodb; or the id of one that can't be taken, and why.
type Run = Result<Minidvodb, (u64, String)>;

/// Gathers what is read until it is worth a transaction.
struct Gathering<'g> {
    groups: &'g [Group],
    runs: Vec<Run>,
    copies: Vec<TableRow>,
    of_nothing: Vec<(u64, String)>,
}

impl Gathering<'_> {
    /// Takes something that was read; false where nobody takes any more.
    fn see(&mut self, seen: Seen, sender: &SyncSender<Rows>) -> bool {
        match seen {
            Seen::Run(run) => {
                let Some(id) = run.natural_id() else { return true };
                self.runs.push(minidvodb_of(&run, self.groups).map_err(|why| (id, why)));
                self.runs.len() < ROWS_AT_ONCE || self.send_runs(sender)
            }
            Seen::RowOfNothing(id, host) => {
                self.of_nothing.push((id, host));
                true
            }
            Seen::Copy(row) => {
                // The rows of one minidvodb stay together.
                let is_next = self.copies.last().is_none_or(|last| last.minidvodb_id != row.minidvodb_id);
                let is_full = is_next && self.copies.len() >= ROWS_AT_ONCE;
                let goes_on = (self.runs.is_empty() || self.send_runs(sender))
                    && (!is_full || sender.send(Rows::Copies(std::mem::take(&mut self.copies))).is_ok());
                self.copies.push(row);
                goes_on
            }
        }
    }

    fn send_runs(&mut self, sender: &SyncSender<Rows>) -> bool {
        sender.send(Rows::Runs(std::mem::take(&mut self.runs))).is_ok()
    }

    /// Sends what is left.
    fn finish(self, sender: &SyncSender<Rows>) {
        let Self { runs, copies, of_nothing, .. } = self;
        // Whoever takes no more says why.
        let _ = [Rows::Runs(runs), Rows::Copies(copies), Rows::WithoutMinidvodb(of_nothing)]
            .into_iter()
            .try_for_each(|rows| sender.send(rows));
    }
}

/// The minidvodbs that were taken, as their copies need them.
#[derive(Default)]
struct TakenIn {
    groups: Vec<Group>,
    /// By id: the place of the group, and the folder's name.
    minidvodbs: Vec<(u64, usize, Name)>,
}

impl TakenIn {
    fn add(&mut self, minidvodb: &Minidvodb) -> Result<(), Failure> {
        let place = self.groups.iter().position(|group| *group == minidvodb.group);
        let place = place.unwrap_or_else(|| {
            self.groups.push(minidvodb.group.clone());
            self.groups.len() - 1
        });
        self.minidvodbs.push((minidvodb.id.0, place, minidvodb.folder_name()?));
        Ok(())
    }

    fn get(&self, id: MinidvodbId) -> Option<(&Group, &Name)> {
        let at = self.minidvodbs.binary_search_by_key(&id.0, |(id, ..)| *id).ok()?;
        let (_, group, name) = self.minidvodbs.get(at)?;
        Some((self.groups.get(*group)?, name))
    }
}

impl Looking<'_> {
    /// Reads everything, and takes it in.
    pub(super) fn at_everything(&mut self, database: &mut Database) -> Result<Read, Stopped> {
        let groups = self.groups;
        let sums = thread::scope(|scope| {
            let (sender, receiver) = sync_channel(1);
            let reader = scope.spawn(move || read(database, groups, &sender));
            let mut taken_in = TakenIn::default();
            // The reader ends when nobody receives any more.
            let taken = receiver.into_iter().try_for_each(|rows| self.take_in(rows, &mut taken_in));
            let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            taken.and_then(|()| Ok(read?.unwrap_or_default()))
        })?;
        let of = |tables: &[u64]| {
            sums.keys().filter(|(table, _)| tables.contains(table)).map(|(_, bucket)| *bucket).collect()
        };
        let (runs, copies) = (of(&[RUN, PROCESSED]), of(&[COPY]));
        Ok((sums, runs, copies))
    }

    fn take_in(&mut self, rows: Rows, taken_in: &mut TakenIn) -> Result<(), Stopped> {
        self.context.check_stop()?;
        match rows {
            Rows::Runs(runs) => self.take_first_runs(runs, taken_in),
            Rows::Copies(rows) => {
                let of = |id| taken_in.get(id);
                match settle::take_first(self.context, rows, of, &self.not_taken, &mut self.report)? {
                    None => Ok(()),
                    Some(rows) => self.compare(by_minidvodb(rows)),
                }
            }
            Rows::WithoutMinidvodb(rows) => {
                self.strays.new.extend(rows.into_iter().map(|(id, host)| of_nothing(id, host)));
                Ok(())
            }
        }
    }

    fn take_first_runs(&mut self, runs: Vec<Run>, taken_in: &mut TakenIn) -> Result<(), Stopped> {
        let mut minidvodbs = Vec::with_capacity(runs.len());
        for run in runs {
            match run {
                Ok(minidvodb) => minidvodbs.push(minidvodb),
                Err((id, why)) => {
                    let stray = self.refuse(id, &why);
                    self.strays.new.push(stray);
                }
            }
        }
        let context = self.context;
        let are_new = context.ledger.write(|change| {
            minidvodbs.iter().try_for_each(|minidvodb| taken_in.add(minidvodb))?;
            change.import_new(&minidvodbs)
        })?;
        if !are_new {
            return Ok(take_minidvodbs(context, &minidvodbs, &mut self.report)?);
        }
        self.report.minidvodbs += minidvodbs.len() as u64;
        Ok(())
    }
}

/// Reads everything in a thread of its own; the sums of all buckets, unless nobody takes the rows any more.
fn read(
    database: &mut Database,
    groups: &[Group],
    sender: &SyncSender<Rows>,
) -> Result<Option<Buckets>, Trouble> {
    let mut gathering = Gathering { groups, runs: Vec::new(), copies: Vec::new(), of_nothing: Vec::new() };
    let names: Vec<&str> = groups.iter().map(Group::as_str).collect();
    let sums = database.everything(&names, |seen| gathering.see(seen, sender))?;
    gathering.finish(sender);
    Ok(sums)
}
