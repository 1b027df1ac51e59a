//! The first meeting of a ledger that knows nothing yet with a database: everything is read once, and taken in
//! while more of it is read.
//!
//! Invariant: only what nothing is known of is taken in this way; where another process has been quicker, its
//! rows go the way of all others.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;

use super::everything::{Rows, all_read, read};
use super::{Looking, Read, Stopped, by_minidvodb, of_nothing, take_minidvodbs, why_refused};
use crate::database::Database;
use crate::ledger::{Failure, Look as _, NewMinidvodbs, Series, Snapshot};
use crate::model::{Buckets, Minidvodb};
use crate::sync::ready::{Preparing, Ready};
use crate::sync::settle;

/// Whether a ledger has neither minidvodbs nor copies nor strays.
pub(super) fn knows_nothing(ledger: &Snapshot) -> Result<bool, Failure> {
    Ok(ledger.count_minidvodbs()? == 0 && ledger.has_no_copies()? && ledger.strays()?.is_empty())
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
    pub(super) fn for_the_first_time(&mut self, database: &mut Database) -> Result<Read, Stopped> {
        let groups = self.groups;
        let now = self.context.now();
        let preparing = self.context.ledger.read(|ledger| Preparing::begin(ledger, now))?;
        let mut series = self.context.ledger.series();
        let sums = thread::scope(|scope| {
            let (sender, rows) = sync_channel(1);
            let reader = scope.spawn(move || read(database, groups, &sender));
            let (sender, made) = sync_channel(1);
            scope.spawn(move || make(preparing, rows, &sender));
            let taken = self.take_all(&made, &mut series);
            // The others end when nobody receives any more.
            drop(made);
            // Whatever ends it, others get the ledger back before the server is waited for.
            let taken = series.finish().map_err(Stopped::from).and(taken);
            let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            taken.and_then(|()| Ok(read?.unwrap_or_default()))
        })?;
        Ok(all_read(sums, &Buckets::new()))
    }

    fn take_all(
        &mut self,
        made: &Receiver<Result<Made, Failure>>,
        series: &mut Series<'_>,
    ) -> Result<(), Stopped> {
        loop {
            let next = match series.patience() {
                Some(patience) => made.recv_timeout(patience),
                None => made.recv().map_err(RecvTimeoutError::from),
            };
            match next {
                Ok(made) => self.take_in(made, series)?,
                // The server takes its time.
                Err(RecvTimeoutError::Timeout) => series.finish()?,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn take_in(&mut self, made: Result<Made, Failure>, series: &mut Series<'_>) -> Result<(), Stopped> {
        let context = self.context;
        context.check_stop()?;
        match made {
            Ok(Made::Minidvodbs(minidvodbs, new)) => {
                if series.write(|change| change.import_new(&new))? {
                    self.report.minidvodbs += minidvodbs.len() as u64;
                    return Ok(());
                }
                series.finish()?;
                Ok(take_minidvodbs(context, &minidvodbs, &mut self.report)?)
            }
            Ok(Made::Copies(ready)) => {
                if settle::take_ready(context, series, &ready, &mut self.report)? {
                    return Ok(());
                }
                series.finish()?;
                self.compare(by_minidvodb(ready.rows))
            }
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
            Err(failure) => {
                series.finish()?;
                Ok(context.ledger.read(|_| Err(failure))?)
            }
        }
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
            // What comes later comes by itself.
            Rows::Copies(rows, _) => preparing.copies(rows).map(Made::Copies),
            Rows::WithoutMinidvodb(rows) => Ok(Made::WithoutMinidvodb(rows)),
        };
        let is_last = made.is_err();
        // Whoever takes no more says why.
        if sender.send(made).is_err() || is_last {
            return;
        }
    }
}
