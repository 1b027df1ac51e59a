//! The first meeting of a ledger that knows nothing yet with a database: everything is read once, and taken in
//! while more of it is read.
//!
//! Invariant: only what nothing is known of is taken in this way; where another process has been quicker, its
//! rows go the way of all others.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::{
    COPY, Looking, PROCESSED, RUN, Read, Stopped, TableRow, by_minidvodb, minidvodb_of, of_nothing,
    take_minidvodbs, why_refused,
};
use crate::database::{Database, Seen, Trouble};
use crate::ledger::{Failure, Look as _, NewMinidvodbs, Snapshot};
use crate::model::{Buckets, Group, Minidvodb};
use crate::sync::ready::{Preparing, Ready};
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

/// What was read, ready to be written down.
enum Made {
    Minidvodbs(Vec<Minidvodb>, NewMinidvodbs),
    Copies(Ready),
    WithoutMinidvodb(Vec<(u64, String)>),
    /// Minidvodbs that can't be taken, and why.
    Refused(Vec<(u64, String)>),
}

impl Looking<'_> {
    /// Reads everything in one thread, makes it ready in another one, and takes it in.
    pub(super) fn at_everything(&mut self, database: &mut Database) -> Result<Read, Stopped> {
        let groups = self.groups;
        let now = self.context.now();
        let preparing = self.context.ledger.read(|ledger| Preparing::begin(ledger, now))?;
        let sums = thread::scope(|scope| {
            let (sender, rows) = sync_channel(1);
            let reader = scope.spawn(move || read(database, groups, &sender));
            let (sender, made) = sync_channel(1);
            scope.spawn(move || make(preparing, rows, &sender));
            // The others end when nobody receives any more.
            let taken = made.into_iter().try_for_each(|made| self.take_in(made));
            let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            taken.and_then(|()| Ok(read?.unwrap_or_default()))
        })?;
        let of = |tables: &[u64]| {
            sums.keys().filter(|(table, _)| tables.contains(table)).map(|(_, bucket)| *bucket).collect()
        };
        let (runs, copies) = (of(&[RUN, PROCESSED]), of(&[COPY]));
        Ok((sums, runs, copies))
    }

    fn take_in(&mut self, made: Result<Made, Failure>) -> Result<(), Stopped> {
        self.context.check_stop()?;
        match made {
            Ok(Made::Minidvodbs(minidvodbs, new)) => self.take_first_minidvodbs(&minidvodbs, &new),
            Ok(Made::Copies(ready)) => match settle::take_ready(self.context, &ready, &mut self.report)? {
                true => Ok(()),
                false => self.compare(by_minidvodb(ready.rows)),
            },
            Ok(Made::Refused(refused)) => {
                for (id, why) in refused {
                    let stray = self.refuse(id, &why);
                    self.strays.new.push(stray);
                }
                Ok(())
            }
            Ok(Made::WithoutMinidvodb(rows)) => {
                self.strays.new.extend(rows.into_iter().map(|(id, host)| of_nothing(id, host)));
                Ok(())
            }
            Err(failure) => Ok(self.context.ledger.read(|_| Err(failure))?),
        }
    }

    fn take_first_minidvodbs(
        &mut self,
        minidvodbs: &[Minidvodb],
        new: &NewMinidvodbs,
    ) -> Result<(), Stopped> {
        let context = self.context;
        if !context.ledger.write_much(|change| change.import_new(new))? {
            return Ok(take_minidvodbs(context, minidvodbs, &mut self.report)?);
        }
        self.report.minidvodbs += minidvodbs.len() as u64;
        Ok(())
    }
}

/// Makes rows ready as they come, in a thread of its own.
fn make(mut preparing: Preparing, rows: Receiver<Rows>, sender: &SyncSender<Result<Made, Failure>>) {
    for rows in rows {
        let made = match rows {
            Rows::Runs(runs) => {
                let (mut minidvodbs, mut refused) = (Vec::with_capacity(runs.len()), Vec::new());
                for run in runs {
                    match run {
                        Ok(minidvodb) => minidvodbs.push(minidvodb),
                        Err(of_row) => refused.push(of_row),
                    }
                }
                refused.iter().for_each(|(id, why)| preparing.refuse(*id, why_refused(*id, why)));
                if !refused.is_empty() && sender.send(Ok(Made::Refused(refused))).is_err() {
                    return;
                }
                preparing.minidvodbs(&minidvodbs).map(|new| Made::Minidvodbs(minidvodbs, new))
            }
            Rows::Copies(rows) => preparing.copies(rows).map(Made::Copies),
            Rows::WithoutMinidvodb(rows) => Ok(Made::WithoutMinidvodb(rows)),
        };
        let is_last = made.is_err();
        // Whoever takes no more says why.
        if sender.send(made).is_err() || is_last {
            return;
        }
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
