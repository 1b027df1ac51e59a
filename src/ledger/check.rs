//! Is the ledger whole?
//!
//! Invariant: a ledger that passes [`Snapshot::check_all`] has every record and every index entry that was
//! written, each as it was written, and they agree with each other.

use redb::{ReadableTable, ReadableTableMetadata as _};

use super::look::{
    Look, decode_attempt, decode_copy, decode_host, decode_minidvodb, decode_row, decode_target,
};
use super::tables::Tables;
use super::{Failure, Snapshot, tally};
use crate::model::{CopyId, Outcome};

/// How many of each there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Minidvodbs.
    pub minidvodbs: u64,
    /// Targets.
    pub targets: u64,
    /// Hosts.
    pub hosts: u64,
    /// Copies.
    pub copies: u64,
    /// Attempts.
    pub attempts: u64,
}

impl Snapshot {
    /// Compares every table with its digest: an entry lost, changed or doubled is damage.
    pub(super) fn check_digests(&self) -> Result<(), Failure> {
        let kept = self.kept_digests()?;
        let found = self.tables.digests();
        match found {
            Ok(found) if found == kept => Ok(()),
            Ok(found) => {
                self.check_records()?;
                let tables: Vec<&str> = found
                    .iter()
                    .filter(|(name, digest)| kept.get(*name) != Some(digest))
                    .map(|(name, _)| name.as_str())
                    .collect();
                Err(Failure::Damaged(format!("entries of table {} were lost or changed", tables.join(", "))))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Reads every record: one that is not as it was written is damage, and is named.
    fn check_records(&self) -> Result<Census, Failure> {
        let mut census = Census::default();
        for entry in self.tables.minidvodbs().iter()? {
            let (key, value) = entry?;
            decode_minidvodb(key.value(), value.value())?;
            census.minidvodbs += 1;
        }
        for entry in self.tables.targets().iter()? {
            let (key, value) = entry?;
            decode_target(key.value(), value.value())?;
            census.targets += 1;
        }
        for entry in self.tables.hosts().iter()? {
            let (key, value) = entry?;
            decode_host(key.value(), value.value())?;
            census.hosts += 1;
        }
        for entry in self.tables.copies().iter()? {
            let (key, value) = entry?;
            decode_copy(key.value(), value.value())?;
            census.copies += 1;
        }
        for entry in self.tables.attempts().iter()? {
            let (key, value) = entry?;
            decode_attempt(key.value(), value.value())?;
            census.attempts += 1;
        }
        self.strays()?;
        self.days(i32::MIN)?;
        self.rooms(i32::MIN)?;
        self.log(usize::MAX)?;
        self.check_rows()?;
        for entry in self.tables.tombstones().iter()? {
            self.tombstone(CopyId(entry?.0.value()))?;
        }
        self.database()?;
        self.stages()?;
        self.source_roots()?;
        self.ledger_id()?;
        self.counters()?;
        Ok(census)
    }

    /// Whether each copy is either just like its row or ahead of it.
    fn check_rows(&self) -> Result<(), Failure> {
        let (mut level, mut ahead, mut met) = (0, 0, 0);
        self.each_copy(|copy| {
            let id = copy.id.0;
            let is_level = self.tables.level().get(id)?.is_some();
            let is_ahead = self.tables.ahead().get(id)?.is_some();
            let row = self.tables.synced().get(id)?;
            let row = row.map(|bytes| decode_row(id, bytes.value())).transpose()?;
            if is_level == is_ahead || row.as_ref().is_some_and(|row| is_level || row.is_of(&copy)) {
                return Err(Failure::Damaged(format!(
                    "copy {} and the list of what the database does not have do not agree",
                    copy.id
                )));
            }
            level += u64::from(is_level);
            ahead += u64::from(is_ahead);
            met += u64::from(row.is_some());
            Ok(true)
        })?;
        let tables = &self.tables;
        if (tables.level().len()?, tables.ahead().len()?, tables.synced().len()?) == (level, ahead, met) {
            return Ok(());
        }
        Err(Failure::Damaged("the list of what the database does not have is too long".to_owned()))
    }

    /// Everything: digests, records, and whether indexes and records agree.
    pub fn check_all(&self) -> Result<Census, Failure> {
        self.check_digests()?;
        let census = self.check_records()?;
        self.check_copies()?;
        self.check_minidvodbs()?;
        Ok(census)
    }

    fn check_copies(&self) -> Result<(), Failure> {
        let mut pending = 0;
        let mut counted = tally::Gathered::default();
        self.each_copy(|copy| {
            counted.copy(None, Some(&copy));
            if self.copy_on(copy.minidvodb_id, &copy.machine)? != Some(copy.id) {
                return Err(Failure::Damaged(format!("copy {} is not in the index of pairs", copy.id)));
            }
            let key = (copy.host.as_str(), copy.group.as_str(), copy.id.0);
            if self.tables.pending().get(key)?.is_some() != copy.is_to_be_made() {
                return Err(Failure::Damaged(format!("copy {} and the queue do not agree", copy.id)));
            }
            pending += u64::from(copy.is_to_be_made());
            if self.owner_of(&copy.machine, &copy.final_path())?.is_none() {
                return Err(Failure::Damaged(format!("the final path of copy {} has no owner", copy.id)));
            }
            Ok(true)
        })?;
        let tables = &self.tables;
        let counted = counted.copies();
        for tally in self.tallies()? {
            let key = (tally.host, tally.group, tally.kind.as_str(), tally.fault_code);
            if counted.get(&key) != Some(&[tally.copies, tally.bytes, tally.sized]) {
                return Err(Failure::Damaged(format!("the copies of {} are miscounted", key.0)));
            }
        }
        if tables.tallies().len()? != counted.len() as u64 {
            return Err(Failure::Damaged("some copies are not counted".to_owned()));
        }
        if tables.pairs().len()? != tables.copies().len()? || tables.pending().len()? != pending {
            return Err(Failure::Damaged("the indexes have entries without a copy".to_owned()));
        }
        for entry in tables.open_attempts().iter()? {
            let (key, number) = entry?;
            let (copy, number) = (CopyId(key.value().2), number.value());
            if self.attempt(copy, number)?.is_none_or(|attempt| attempt.outcome != Outcome::Open) {
                return Err(Failure::Damaged(format!("attempt {number} of copy {copy} is not open")));
            }
        }
        Ok(())
    }

    fn check_minidvodbs(&self) -> Result<(), Failure> {
        let mut eligible = 0;
        for entry in self.tables.minidvodbs().iter()? {
            let (key, value) = entry?;
            let (minidvodb, number) = decode_minidvodb(key.value(), value.value())?;
            if minidvodb.is_eligible() != (number != 0) {
                return Err(Failure::Damaged(format!("minidvodb {} has a wrong number", minidvodb.id)));
            }
            if number != 0 {
                eligible += 1;
                let indexed = self.tables.eligible().get((minidvodb.group.as_str(), number))?;
                if indexed.map(|id| id.value()) != Some(minidvodb.id.0) {
                    return Err(Failure::Damaged(format!("minidvodb {} is not in its index", minidvodb.id)));
                }
            }
        }
        if self.tables.eligible().len()? != eligible {
            return Err(Failure::Damaged("an index has entries without a minidvodb".to_owned()));
        }
        Ok(())
    }
}
