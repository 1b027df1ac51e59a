//! The database during a pass: read before queueing, locked while a target is served, told of every copy.
//!
//! Invariant: whatever becomes of the database, the pass goes on by the ledger; it is tried once at the start,
//! and a connection that is lost later is made again once before the next copy.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use xxhash_rust::xxh3::xxh3_128;

use super::{Manner, Report, Stopped, connect, database_of, note_away, settle, survey, sync};
use crate::database::{Database, Trouble};
use crate::error::Result;
use crate::ledger::Look as _;
use crate::model::{Copy, CopyId, DatabaseRecord, Group, Machine};
use crate::pass::Context;

/// Whether a target may be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Nobody else copies this group to this machine; or the database is away, and cannot say.
    Free,
    /// Another ledger does.
    Taken,
    /// The copy's row is gone: the next sync decides what that means.
    Missing,
}

/// The database of a pass; by default there is none.
#[derive(Default)]
pub struct Partner {
    record: Option<DatabaseRecord>,
    /// The connection that rows are read and written on.
    rows: Option<Database>,
    /// The connection that holds the lock, kept alive while rsync runs.
    holder: Option<Database>,
    lock: Option<String>,
    /// The connection that held the lock last: lost without a word, it may hold it still.
    held_by: Option<u32>,
    /// Of the jobs of a pass, one writes at a time: they would lock each other's rows, of one minidvodb for two hosts.
    turn: Arc<Mutex<()>>,
}

impl Partner {
    /// Meets the database, if one is set, and syncs with it.
    ///
    /// # Errors
    /// The ledger's, and a signal; never the database's.
    pub fn meet(context: &Context) -> Result<Self> {
        let mut partner = Self { record: database_of(context)?, ..Self::default() };
        let Some(record) = partner.record.clone() else { return Ok(partner) };
        let met = connect(context, &record).and_then(|mut database| {
            let report = sync(context, &mut database, &record, Manner::default())?;
            Ok((database, report))
        });
        match met {
            Ok((database, report)) => {
                partner.say(context, &report);
                if let Some(line) = report.line(&database.name) {
                    context.ui.tell(&line);
                }
                partner.rows = Some(database);
            }
            Err(stopped) => {
                note_away(context, stopped)?;
                partner.record = None;
            }
        }
        Ok(partner)
    }

    /// The same database for another job, which makes its own connections when it needs them.
    pub fn another(&self) -> Self {
        Self { record: self.record.clone(), turn: Arc::clone(&self.turn), ..Self::default() }
    }

    /// Takes the lock for a machine and group, if nobody has it.
    ///
    /// # Errors
    /// As [`Self::meet`].
    pub fn hold(&mut self, context: &Context, machine: &Machine, group: &Group) -> Result<Hold> {
        self.let_go();
        let Some(record) = self.record.clone() else { return Ok(Hold::Free) };
        self.lock = Some(lock_name(&record.address.name, machine, group));
        self.retake(context)
    }

    /// Makes sure that the lock is held still; a lost connection is made again.
    fn retake(&mut self, context: &Context) -> Result<Hold> {
        let (Some(record), Some(lock)) = (self.record.clone(), self.lock.clone()) else {
            return Ok(Hold::Free);
        };
        if let Some(holder) = &mut self.holder
            && let Ok(true) = holder.holds(&lock)
        {
            return Ok(Hold::Free);
        }
        self.holder = None;
        let taken = connect(context, &record).and_then(|mut holder| {
            let is_taken = match (holder.try_lock(&lock)?, self.held_by) {
                (false, Some(lost)) => holder.take_over(&lock, lost)?,
                (is_taken, _) => is_taken,
            };
            Ok((holder, is_taken))
        });
        match taken {
            Ok((holder, true)) => {
                self.held_by = Some(holder.id());
                self.holder = Some(holder);
                Ok(Hold::Free)
            }
            Ok((_, false)) => Ok(Hold::Taken),
            Err(stopped) => {
                self.lose(context, stopped)?;
                Ok(Hold::Free)
            }
        }
    }

    /// Gives the lock back.
    pub fn let_go(&mut self) {
        if let (Some(holder), Some(lock)) = (&mut self.holder, &self.lock) {
            // A connection that is gone has given it back already.
            let _ = holder.unlock(lock);
        }
        self.holder = None;
        self.lock = None;
        self.held_by = None;
    }

    /// Before a copy: is the lock held still, and what does the database say of this minidvodb now?
    ///
    /// # Errors
    /// As [`Self::meet`].
    pub fn before_copy(&mut self, context: &Context, copy: &Copy) -> Result<Hold> {
        if self.retake(context)? == Hold::Taken {
            return Ok(Hold::Taken);
        }
        let missing = self.settle(context, &[copy.minidvodb_id.0])?;
        Ok(if missing.contains(&copy.id) { Hold::Missing } else { Hold::Free })
    }

    /// After a copy: its row is written.
    ///
    /// # Errors
    /// As [`Self::meet`].
    pub fn after_copy(&mut self, context: &Context, copy: &Copy) -> Result<()> {
        self.settle(context, &[copy.minidvodb_id.0]).map(drop)
    }

    /// Writes whatever the database does not have yet: what was queued, or healed.
    ///
    /// # Errors
    /// As [`Self::meet`].
    pub fn catch_up(&mut self, context: &Context) -> Result<()> {
        if self.record.is_none() {
            return Ok(());
        }
        let ahead: Vec<u64> = context.ledger.read(|ledger| {
            let absent = survey::absent(ledger)?;
            Ok(ledger.minidvodbs_ahead()?.into_iter().filter(|id| !absent.contains(id)).collect())
        })?;
        for some in ahead.chunks(settle::AT_ONCE) {
            context.check_stop()?;
            self.settle(context, some)?;
        }
        Ok(())
    }

    /// Settles some minidvodbs; says which of their copies miss their rows.
    fn settle(&mut self, context: &Context, minidvodbs: &[u64]) -> Result<Vec<CopyId>> {
        let Some(record) = self.record.clone() else { return Ok(Vec::new()) };
        let turn = Arc::clone(&self.turn);
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        let first =
            self.rows.as_mut().map(|rows| settle::settle(context, rows, minidvodbs, &BTreeSet::new()));
        let settled = match first {
            // It may have been lost while rsync ran.
            None | Some(Err(Stopped::Trouble(Trouble::Away(_)))) => {
                self.rows = None;
                connect(context, &record).and_then(|mut rows| {
                    let report = settle::settle(context, &mut rows, minidvodbs, &BTreeSet::new())?;
                    self.rows = Some(rows);
                    Ok(report)
                })
            }
            Some(settled) => settled,
        };
        match settled {
            Ok(report) => {
                self.say(context, &report);
                Ok(report.missing)
            }
            Err(stopped) => self.lose(context, stopped).map(|()| Vec::new()),
        }
    }

    fn say(&self, context: &Context, report: &Report) {
        report.notes.iter().for_each(|note| context.ui.notice(note));
        // `sync` says these until they are mended; a pass, to whoever watches.
        report.refused.iter().for_each(|refused| context.ui.tell(refused));
    }

    /// The rest of the pass goes on without the database.
    fn lose(&mut self, context: &Context, stopped: Stopped) -> Result<()> {
        self.record = None;
        self.rows = None;
        self.holder = None;
        note_away(context, stopped)
    }
}

/// The lock's name: it is server-wide, and has at most 64 characters.
fn lock_name(database: &str, machine: &Machine, group: &Group) -> String {
    // No two of these have a line feed, so that they cannot run into each other.
    let of = format!("{}\n{machine}\n{}", database.to_lowercase(), group.as_str().trim_end().to_lowercase());
    format!("minidvodbcopy {:032x}", xxh3_128(of.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_a_short_name_of_its_own_for_each_machine_and_group() {
        let machine = |name| Machine::parse(name).unwrap();
        let group = |name: &str| Group::parse(name).unwrap();
        let name = lock_name("gpc1", &machine("ipp022"), &group(&"x".repeat(64)));
        assert!(name.len() <= 64, "{name}");
        assert_ne!(
            lock_name("gpc1", &machine("ipp022"), &group("a")),
            lock_name("gpc1", &machine("ipp022"), &group("b"))
        );
        assert_ne!(
            lock_name("gpc1", &machine("ipp022"), &group("a")),
            lock_name("gpc2", &machine("ipp022"), &group("a"))
        );
        assert_eq!(
            lock_name("gpc1", &machine("ipp022"), &group("SAS")),
            lock_name("GPC1", &machine("ipp022"), &group("sas"))
        );
    }
}
