//! Reading the ledger, inside a read or a write transaction.
//!
//! Invariant: what an index points to is read and compared with the index; where they differ, the ledger is
//! damaged, and nothing is returned.

use std::ops::{Bound, ControlFlow};

use std::collections::BTreeSet;

use redb::{ReadableTable, ReadableTableMetadata as _, TableHandle};
use serde::{Deserialize, Serialize};

use super::bulk::KeptCopies;
use super::records::{
    AttemptRecord, CopyRecord, DatabaseRecordRecord, HostRecordRecord, KeptMinidvodb, LogRecord,
    MinidvodbRecord, Place, Record as _, StagesRecord, StrayRecord, TableRowRecord, TargetRecord,
    TombstoneRecord, decode, decode_value,
};
use super::tables::{self, Digests, Tables};
use super::{Failure, Snapshot, tally};
use crate::model::{
    AbsolutePath, Attempt, Buckets, Candidate, Copy, CopyId, DatabaseRecord, Day, Group, Host, HostRecord,
    LogEntry, Machine, Minidvodb, MinidvodbId, RoomSeen, Stages, Stray, TableRow, Tally, Target, Tombstone,
    final_path,
};

/// Keys of the meta table.
pub(super) mod meta {
    pub(in crate::ledger) const SCHEMA: &str = "schema";
    pub(in crate::ledger) const LEDGER_ID: &str = "ledger_id";
    pub(in crate::ledger) const COUNTERS: &str = "counters";
    pub(in crate::ledger) const STAGES: &str = "stages";
    pub(in crate::ledger) const DATABASE: &str = "database";
    pub(in crate::ledger) const SOURCE_ROOTS: &str = "source_roots";
    pub(in crate::ledger) const SCANNED: &str = "scanned";
    pub(in crate::ledger) use super::tables::DIGESTS;
}

/// The numbers given last.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Counters {
    pub(super) copy_id: u64,
    pub(super) eligible_number: u64,
    /// Raised by whatever changes what the rows of a database mean here.
    #[serde(default)]
    pub(super) doubts: u64,
}

/// A stretch of the minidvodbs that may be queued for a target.
#[derive(Debug)]
pub struct Candidates {
    /// They themselves, in the order in which they became eligible.
    pub candidates: Vec<Candidate>,
    /// The number of the last of them.
    pub through: u64,
    /// Whether there are more behind it.
    pub has_more: bool,
}

/// Access to the tables for the methods of [`Look`]; not to be used outside the ledger.
#[allow(private_interfaces)]
pub(super) trait HasTables {
    type Tables: Tables;
    fn tables(&self) -> &Self::Tables;
}

impl HasTables for Snapshot {
    type Tables = tables::ReadTables;
    fn tables(&self) -> &Self::Tables {
        &self.tables
    }
}

/// Everything that can be asked of a ledger.
#[allow(private_bounds)]
pub trait Look: HasTables {
    /// The id made with the ledger: 16 hexadecimal digits.
    fn ledger_id(&self) -> Result<String, Failure> {
        self.meta_record(meta::LEDGER_ID)?.ok_or_else(|| Failure::Damaged("it has no ledger id".to_owned()))
    }

    /// The three switches.
    fn stages(&self) -> Result<Stages, Failure> {
        let record = self.meta_record::<StagesRecord>(meta::STAGES)?;
        record
            .ok_or_else(|| Failure::Damaged("it has no stages".to_owned()))?
            .into_value()
            .map_err(Failure::Damaged)
    }

    /// A record of the meta table.
    #[doc(hidden)]
    fn meta_record<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Failure> {
        let bytes = self.tables().meta().get(key)?;
        bytes.map(|bytes| decode(&Place::new(tables::META.name(), key), bytes.value())).transpose()
    }

    /// The numbers given last.
    #[doc(hidden)]
    fn counters(&self) -> Result<Counters, Failure> {
        self.meta_record(meta::COUNTERS)?.ok_or_else(|| Failure::Damaged("it has no counters".to_owned()))
    }

    /// The id of the copy, and the number of the eligible minidvodb, that were given last.
    fn last_given(&self) -> Result<(CopyId, u64), Failure> {
        let Counters { copy_id, eligible_number, .. } = self.counters()?;
        Ok((CopyId(copy_id), eligible_number))
    }

    /// The digests as they were kept, to be compared with the tables.
    #[doc(hidden)]
    fn kept_digests(&self) -> Result<Digests, Failure> {
        self.meta_record(meta::DIGESTS)?.ok_or_else(|| Failure::Damaged("it has no digests".to_owned()))
    }

    /// The IPP database, if one is set.
    fn database(&self) -> Result<Option<DatabaseRecord>, Failure> {
        let record = self.meta_record::<DatabaseRecordRecord>(meta::DATABASE)?;
        record.map(|record| record.into_value().map_err(Failure::Damaged)).transpose()
    }

    /// The IPP database, if one is set, and how many copies it does not have as they are here.
    fn database_behind(&self) -> Result<Option<(DatabaseRecord, u64)>, Failure> {
        self.database()?.map(|record| Ok((record, self.count_ahead()?))).transpose()
    }

    /// The folders that minidvodbs may be copied from; while there is none, all.
    fn source_roots(&self) -> Result<Vec<AbsolutePath>, Failure> {
        let roots = self.meta_record::<Vec<String>>(meta::SOURCE_ROOTS)?.unwrap_or_default();
        roots
            .iter()
            .map(|root| AbsolutePath::parse(root).map_err(|refused| Failure::Damaged(refused.to_string())))
            .collect()
    }

    /// Whether ids were ever given here, which are not those of a database.
    fn has_scanned(&self) -> Result<bool, Failure> {
        Ok(self.meta_record::<bool>(meta::SCANNED)?.unwrap_or_default())
    }

    /// The largest minidvodb_id of a minidvodb or a copy, buried ones among them; 0 where there is none.
    fn last_minidvodb_id(&self) -> Result<u64, Failure> {
        let known = self.tables().minidvodbs().last()?.map_or(0, |(id, _)| id.value());
        let copied = self.tables().pairs().last()?.map_or(0, |(key, _)| key.value().0);
        let mut last = known.max(copied);
        for entry in self.tables().tombstones().iter()? {
            let (key, value) = entry?;
            let place = Place::new(tables::TOMBSTONES.name(), key.value());
            let tombstone = decode_value::<TombstoneRecord>(&place, value.value())?;
            last = last.max(tombstone.copy.minidvodb_id.0);
        }
        Ok(last)
    }

    /// A host, if anything is known of it.
    fn host(&self, host: &Host) -> Result<Option<HostRecord>, Failure> {
        let bytes = self.tables().hosts().get(host.as_str())?;
        bytes.map(|bytes| decode_host(host.as_str(), bytes.value())).transpose()
    }

    /// A host, known or not.
    fn host_or_unknown(&self, host: &Host) -> Result<HostRecord, Failure> {
        Ok(self.host(host)?.unwrap_or_else(|| HostRecord::unknown(host.clone())))
    }

    /// All hosts, by name.
    fn hosts(&self) -> Result<Vec<HostRecord>, Failure> {
        self.tables()
            .hosts()
            .iter()?
            .map(|entry| {
                let (key, value) = entry?;
                decode_host(key.value(), value.value())
            })
            .collect()
    }

    /// A target.
    fn target(&self, host: &Host, group: &Group) -> Result<Option<Target>, Failure> {
        let key = (host.as_str(), group.as_str());
        self.tables().targets().get(key)?.map(|bytes| decode_target(key, bytes.value())).transpose()
    }

    /// All targets, by host and group.
    fn targets(&self) -> Result<Vec<Target>, Failure> {
        self.tables()
            .targets()
            .iter()?
            .map(|entry| {
                let (key, value) = entry?;
                decode_target(key.value(), value.value())
            })
            .collect()
    }

    /// A minidvodb.
    fn minidvodb(&self, id: MinidvodbId) -> Result<Option<Minidvodb>, Failure> {
        Ok(self.minidvodb_numbered(id)?.map(|(minidvodb, _)| minidvodb))
    }

    /// A minidvodb with its number in the order of becoming eligible.
    #[doc(hidden)]
    fn minidvodb_numbered(&self, id: MinidvodbId) -> Result<Option<(Minidvodb, u64)>, Failure> {
        let bytes = self.tables().minidvodbs().get(id.0)?;
        bytes.map(|bytes| decode_minidvodb(id.0, bytes.value())).transpose()
    }

    /// Shows every minidvodb to `see`, by id, until it says false.
    fn each_minidvodb(&self, mut see: impl FnMut(Minidvodb) -> Result<bool, Failure>) -> Result<(), Failure>
    where
        Self: Sized,
    {
        for entry in self.tables().minidvodbs().iter()? {
            let (key, value) = entry?;
            if !see(decode_minidvodb(key.value(), value.value())?.0)? {
                break;
            }
        }
        Ok(())
    }

    /// The next `most` minidvodbs behind one that are wanted, by id; from the first one on where none is named.
    fn minidvodbs_behind(
        &self,
        after: Option<MinidvodbId>,
        most: usize,
        is_wanted: impl Fn(&Minidvodb) -> bool,
    ) -> Result<Vec<Minidvodb>, Failure>
    where
        Self: Sized,
    {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.0));
        let mut found = Vec::new();
        for entry in self.tables().minidvodbs().range((from, Bound::Unbounded))? {
            let (key, value) = entry?;
            let (minidvodb, _) = decode_minidvodb(key.value(), value.value())?;
            if is_wanted(&minidvodb) {
                found.push(minidvodb);
                if found.len() == most {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// A copy.
    fn copy(&self, id: CopyId) -> Result<Option<Copy>, Failure> {
        self.tables().copies().get(id.0)?.map(|bytes| decode_copy(id.0, bytes.value())).transpose()
    }

    /// A copy that an index points to.
    #[doc(hidden)]
    fn indexed_copy(&self, id: u64, index: &str) -> Result<Copy, Failure> {
        self.copy(CopyId(id))?
            .ok_or_else(|| Failure::Damaged(format!("index {index} points to copy {id}, which is not there")))
    }

    /// All copies of a minidvodb, whichever machine they are on.
    fn copies_of(&self, minidvodb: MinidvodbId) -> Result<Vec<Copy>, Failure> {
        let range = (minidvodb.0, "")..(minidvodb.0 + 1, "");
        self.tables()
            .pairs()
            .range(range)?
            .map(|entry| self.indexed_copy(entry?.1.value(), tables::PAIRS.name()))
            .collect()
    }

    /// The copies of some minidvodbs, which are in order, where all of them wait for their first rows and nothing
    /// else: none has met one, and no row is known that no copy stands for. As they lie there, so that the ledger is
    /// not held while they are read.
    fn copies_without_rows(&self, minidvodbs: &[u64]) -> Result<Option<KeptCopies>, Failure> {
        let (Some(&first), Some(&last)) = (minidvodbs.first(), minidvodbs.last()) else { return Ok(None) };
        let tables = self.tables();
        if tables.strays().range((first, 0)..=(last, u64::MAX))?.next().is_some() {
            return Ok(None);
        }
        let mut kept = KeptCopies::default();
        for entry in tables.pairs().range((first, "")..(last + 1, ""))? {
            let (key, id) = entry?;
            let id = id.value();
            if minidvodbs.binary_search(&key.value().0).is_err() {
                continue;
            }
            match tables.copies().get(id)? {
                Some(copy) if !self.has_met(id)? => kept.add(id, copy.value()),
                // Whoever settles it in the usual way says what is wrong.
                _ => return Ok(None),
            }
        }
        Ok(Some(kept))
    }

    /// The row of a copy as both sides held it at the last sync.
    fn synced(&self, copy: CopyId) -> Result<Option<TableRow>, Failure> {
        self.copy(copy)?.map_or(Ok(None), |copy| self.met_by(&copy))
    }

    /// The same of a copy that is as it is kept.
    fn met_by(&self, copy: &Copy) -> Result<Option<TableRow>, Failure> {
        let id = copy.id.0;
        if let Some(row) = self.tables().level().get(id)? {
            return Ok(Some(TableRow::of(row.value(), copy)));
        }
        let bytes = self.tables().synced().get(id)?;
        bytes.map(|bytes| decode_row(id, bytes.value())).transpose()
    }

    /// Whether a copy has ever met its row.
    fn has_met(&self, copy: u64) -> Result<bool, Failure> {
        Ok(self.tables().level().get(copy)?.is_some() || self.tables().synced().get(copy)?.is_some())
    }

    /// Whether these rows are, to the letter, what the copies of a minidvodb held at the last sync, and all of them, and
    /// no copy has changed since: then there is nothing to settle.
    fn is_level(&self, minidvodb: u64, rows: &[TableRow]) -> Result<bool, Failure> {
        let mut left = rows.len();
        for entry in self.tables().pairs().range((minidvodb, "")..(minidvodb + 1, ""))? {
            let id = entry?.1.value();
            let Some(row) = self.tables().level().get(id)? else { return Ok(false) };
            let Some(row) = rows.iter().find(|read| read.id == row.value()) else { return Ok(false) };
            if left == 0 || !row.is_of(&self.indexed_copy(id, tables::PAIRS.name())?) {
                return Ok(false);
            }
            left -= 1;
        }
        Ok(left == 0 && self.strays_of(minidvodb)?.is_empty())
    }

    /// A number that is raised by whatever changes what the rows of the database mean here.
    fn doubts(&self) -> Result<u64, Failure> {
        Ok(self.counters()?.doubts)
    }

    /// How many minidvodbs are known.
    fn count_minidvodbs(&self) -> Result<u64, Failure> {
        Ok(self.tables().minidvodbs().len()?)
    }

    /// Whether there is no copy.
    fn has_no_copies(&self) -> Result<bool, Failure> {
        Ok(self.tables().copies().is_empty()?)
    }

    /// How many copies have ever met their row.
    fn count_synced(&self) -> Result<u64, Failure> {
        Ok(self.tables().level().len()? + self.tables().synced().len()?)
    }

    /// How many copies the database does not have as they are here.
    fn count_ahead(&self) -> Result<u64, Failure> {
        Ok(self.tables().ahead().len()?)
    }

    /// The minidvodbs whose copies the database does not have as they are here, by id.
    fn minidvodbs_ahead(&self) -> Result<BTreeSet<u64>, Failure> {
        self.tables().ahead().iter()?.map(|entry| Ok(entry?.1.value())).collect()
    }

    /// The buckets of the database's tables as they were when both sides were the same.
    fn buckets(&self) -> Result<Buckets, Failure> {
        let mut buckets = Buckets::new();
        for entry in self.tables().buckets().iter()? {
            let (key, sum) = entry?;
            buckets.insert(key.value(), sum.value());
        }
        Ok(buckets)
    }

    /// Shows the minidvodbs with an id in a range that are known here, by id.
    fn each_minidvodb_in(
        &self,
        range: std::ops::Range<u64>,
        mut see: impl FnMut(&KeptMinidvodb<'_>),
    ) -> Result<(), Failure> {
        for entry in self.tables().minidvodbs().range(range)? {
            let (id, bytes) = entry?;
            see(&KeptMinidvodb::at(&minidvodb_place(id.value()), bytes.value())?);
        }
        Ok(())
    }

    /// Shows the minidvodbs with an id in a range that have copies here, by id, each as often as it has some.
    fn each_copied_id(&self, range: std::ops::Range<u64>, mut see: impl FnMut(u64)) -> Result<(), Failure> {
        for entry in self.tables().pairs().range((range.start, "")..(range.end, ""))? {
            see(entry?.0.value().0);
        }
        Ok(())
    }

    /// The rows of the database that name a minidvodb and that no copy stands for; 0: those that name none.
    fn strays_of(&self, minidvodb_id: u64) -> Result<Vec<Stray>, Failure> {
        self.tables()
            .strays()
            .range((minidvodb_id, 0)..=(minidvodb_id, u64::MAX))?
            .map(|entry| {
                let (key, value) = entry?;
                decode_value::<StrayRecord>(&stray_place(key.value()), value.value())
            })
            .collect()
    }

    /// All rows of the database that no copy stands for.
    fn strays(&self) -> Result<Vec<Stray>, Failure> {
        self.tables()
            .strays()
            .iter()?
            .map(|entry| {
                let (key, value) = entry?;
                decode_value::<StrayRecord>(&stray_place(key.value()), value.value())
            })
            .collect()
    }

    /// Whether the database has a row that says that a machine has a minidvodb, or will have it, though no copy
    /// here stands for it.
    fn has_stray_on(&self, minidvodb: MinidvodbId, machine: &Machine) -> Result<bool, Failure> {
        for stray in self.strays_of(minidvodb.0)?.into_iter().filter(|stray| stray.row_id != 0) {
            let is_there = match Host::parse(stray.host.trim_end()) {
                Ok(host) => self.host_or_unknown(&host)?.machine == *machine,
                Err(_) => stray.host.trim_end().eq_ignore_ascii_case(machine.as_str()),
            };
            if is_there {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A copy whose row is gone from the database.
    fn tombstone(&self, id: CopyId) -> Result<Option<Tombstone>, Failure> {
        let place = Place::new(tables::TOMBSTONES.name(), id);
        let bytes = self.tables().tombstones().get(id.0)?;
        bytes.map(|bytes| decode_value::<TombstoneRecord>(&place, bytes.value())).transpose()
    }

    /// The last `most` entries of the log, oldest first.
    fn log(&self, most: usize) -> Result<Vec<LogEntry>, Failure> {
        let mut entries = Vec::new();
        for entry in self.tables().log().iter()?.rev().take(most) {
            let (key, value) = entry?;
            let place = Place::new(tables::LOG.name(), key.value());
            entries.push(decode_value::<LogRecord>(&place, value.value())?);
        }
        entries.reverse();
        Ok(entries)
    }

    /// How many copies count as what, by host and group; as of the last commit, also inside a change.
    fn tallies(&self) -> Result<Vec<Tally>, Failure> {
        let entries = self.tables().tallies().iter()?;
        entries
            .map(|entry| {
                let (key, numbers) = entry?;
                tally::tally(key.value(), numbers.value())
            })
            .collect()
    }

    /// The attempts that have ended since a day (UTC, in days since 1970), by day and host.
    fn days(&self, since: i32) -> Result<Vec<Day>, Failure> {
        let entries = self.tables().days().range((since, "", i16::MIN)..)?;
        entries
            .map(|entry| {
                let (key, numbers) = entry?;
                tally::day(key.value(), numbers.value())
            })
            .collect()
    }

    /// The room seen since a day (UTC, in days since 1970), by host, file system and day.
    fn rooms(&self, since: i32) -> Result<Vec<RoomSeen>, Failure> {
        let mut rooms = Vec::new();
        for entry in self.tables().rooms().iter()? {
            let (key, value) = entry?;
            if key.value().2 >= since {
                rooms.push(tally::room(key.value(), value.value())?);
            }
        }
        Ok(rooms)
    }

    /// The room of each file system as it was seen last, by host.
    fn last_rooms(&self) -> Result<Vec<RoomSeen>, Failure> {
        let mut rooms: Vec<RoomSeen> = Vec::new();
        for entry in self.tables().rooms().iter()?.rev() {
            let (key, value) = entry?;
            let (host, mount_point, _) = key.value();
            let is_older = rooms.last().is_some_and(|last| {
                last.host.as_str() == host && last.file_system.mount_point == mount_point
            });
            if !is_older {
                rooms.push(tally::room(key.value(), value.value())?);
            }
        }
        rooms.reverse();
        Ok(rooms)
    }

    /// Shows every copy to `see`, by id, until it says false.
    fn each_copy(&self, mut see: impl FnMut(Copy) -> Result<bool, Failure>) -> Result<(), Failure>
    where
        Self: Sized,
    {
        self.each_copy_behind(CopyId(0), |copy| {
            Ok(if see(copy)? { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })
    }

    /// Shows every copy behind `after` to `see`, by id, until it breaks off.
    fn each_copy_behind(
        &self,
        after: CopyId,
        mut see: impl FnMut(Copy) -> Result<ControlFlow<()>, Failure>,
    ) -> Result<(), Failure>
    where
        Self: Sized,
    {
        for entry in self.tables().copies().range(after.0.saturating_add(1)..)? {
            let (key, value) = entry?;
            if see(decode_copy(key.value(), value.value())?)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The copy of a minidvodb on a machine.
    fn copy_on(&self, minidvodb: MinidvodbId, machine: &Machine) -> Result<Option<CopyId>, Failure> {
        Ok(self.tables().pairs().get((minidvodb.0, machine.as_str()))?.map(|id| CopyId(id.value())))
    }

    /// The copy that a final path on a machine belongs to.
    fn owner_of(&self, machine: &Machine, final_path: &str) -> Result<Option<CopyId>, Failure> {
        Ok(self.tables().final_paths().get((machine.as_str(), final_path))?.map(|id| CopyId(id.value())))
    }

    /// Shows the pending copies of a host and group behind `after` to `see`, oldest first, until it says false.
    fn pending_until(
        &self,
        host: &Host,
        group: &Group,
        after: CopyId,
        mut see: impl FnMut(Copy) -> Result<bool, Failure>,
    ) -> Result<(), Failure>
    where
        Self: Sized,
    {
        let (host, group) = (host.as_str(), group.as_str());
        let range = (host, group, after.0.saturating_add(1))..=(host, group, u64::MAX);
        for entry in self.tables().pending().range(range)? {
            let copy = self.indexed_copy(entry?.0.value().2, tables::PENDING.name())?;
            if !copy.is_to_be_made() || copy.host.as_str() != host || copy.group.as_str() != group {
                return Err(Failure::Damaged(format!(
                    "copy {} stands in the wrong place of the queue",
                    copy.id
                )));
            }
            if !see(copy)? {
                break;
            }
        }
        Ok(())
    }

    /// The copies that are to be made, wherever they go, by id; none where they are so many of all that it is quicker,
    /// and takes less memory, to go through all.
    fn to_be_made(&self) -> Result<Option<Vec<CopyId>>, Failure> {
        if self.tables().pending().len()? > self.tables().copies().len()? / 4 {
            return Ok(None);
        }
        let entries = self.tables().pending().iter()?;
        let mut ids =
            entries.map(|entry| Ok(CopyId(entry?.0.value().2))).collect::<Result<Vec<_>, Failure>>()?;
        ids.sort_unstable();
        Ok(Some(ids))
    }

    /// How many copies of a host and group are pending.
    fn count_pending(&self, host: &Host, group: &Group) -> Result<u64, Failure> {
        let (host, group) = (host.as_str(), group.as_str());
        let range = self.tables().pending().range((host, group, 0)..=(host, group, u64::MAX))?;
        range.map(|entry| entry.map(|_| 1).map_err(Failure::from)).sum()
    }

    /// Shows the pending copies of a host and group to `see`, oldest first.
    fn each_pending(
        &self,
        host: &Host,
        group: &Group,
        mut see: impl FnMut(Copy) -> Result<(), Failure>,
    ) -> Result<(), Failure>
    where
        Self: Sized,
    {
        self.pending_until(host, group, CopyId(0), |copy| see(copy).map(|()| true))
    }

    /// All attempts of a copy, oldest first.
    fn attempts(&self, copy: CopyId) -> Result<Vec<Attempt>, Failure> {
        self.tables()
            .attempts()
            .range((copy.0, 0)..=(copy.0, u32::MAX))?
            .map(|entry| {
                let (key, value) = entry?;
                decode_attempt(key.value(), value.value())
            })
            .collect()
    }

    /// One attempt.
    fn attempt(&self, copy: CopyId, number: u32) -> Result<Option<Attempt>, Failure> {
        let key = (copy.0, number);
        self.tables().attempts().get(key)?.map(|bytes| decode_attempt(key, bytes.value())).transpose()
    }

    /// The attempts of a host and group that have no end.
    fn open_attempts(&self, host: &Host, group: &Group) -> Result<Vec<(CopyId, u32)>, Failure> {
        let (host, group) = (host.as_str(), group.as_str());
        self.tables()
            .open_attempts()
            .range((host, group, 0)..=(host, group, u64::MAX))?
            .map(|entry| {
                let (key, number) = entry?;
                Ok((CopyId(key.value().2), number.value()))
            })
            .collect()
    }

    /// The staging folders of a host and group that are to be removed, with the copy that they were for.
    fn leftovers(&self, host: &Host, group: &Group) -> Result<Vec<(String, CopyId)>, Failure> {
        let (host, group) = (host.as_str(), group.as_str());
        let mut leftovers = Vec::new();
        for entry in self.tables().leftovers().range((host, group, "")..)? {
            let (key, copy) = entry?;
            let (of_host, of_group, path) = key.value();
            if (of_host, of_group) != (host, group) {
                break;
            }
            leftovers.push((path.to_owned(), CopyId(copy.value())));
        }
        Ok(leftovers)
    }

    /// Whether a group has eligible minidvodbs that this target has not been asked about.
    fn has_candidates(&self, target: &Target) -> Result<bool, Failure> {
        let group = target.group.as_str();
        let range = (group, target.queued_through.saturating_add(1))..=(group, u64::MAX);
        Ok(self.tables().eligible().range(range)?.next().transpose()?.is_some())
    }

    /// What decides whether a minidvodb is queued for a target.
    fn candidate(
        &self,
        minidvodb: Minidvodb,
        target: &Target,
        machine: &Machine,
    ) -> Result<Candidate, Failure> {
        let (id, name) = (minidvodb.id, minidvodb.folder_name()?);
        Ok(Candidate {
            has_copy: self.copy_on(id, machine)?.is_some() || self.has_stray_on(id, machine)?,
            path_is_taken: self.owner_of(machine, &final_path(&target.path, &name))?.is_some(),
            minidvodb,
            name,
        })
    }

    /// The next `most` eligible minidvodbs that a target has not been asked about.
    fn candidates(&self, target: &Target, machine: &Machine, most: usize) -> Result<Candidates, Failure> {
        let group = target.group.as_str();
        let range = (group, target.queued_through.saturating_add(1))..=(group, u64::MAX);
        let mut found =
            Candidates { candidates: Vec::new(), through: target.queued_through, has_more: false };
        for entry in self.tables().eligible().range(range)? {
            if found.candidates.len() == most {
                found.has_more = true;
                break;
            }
            let (key, id) = entry?;
            let (id, number) = (MinidvodbId(id.value()), key.value().1);
            let Some((minidvodb, its_number)) = self.minidvodb_numbered(id)? else {
                return Err(Failure::Damaged(format!("minidvodb {id} is eligible and not there")));
            };
            if its_number != number || minidvodb.group != target.group {
                return Err(Failure::Damaged(format!(
                    "minidvodb {id} stands in the wrong place of its group"
                )));
            }
            found.candidates.push(self.candidate(minidvodb, target, machine)?);
            found.through = number;
        }
        Ok(found)
    }
}

impl<T: HasTables> Look for T {}

pub(super) fn decode_host(key: &str, bytes: &[u8]) -> Result<HostRecord, Failure> {
    decode_value::<HostRecordRecord>(&Place::new(tables::HOSTS.name(), key), bytes)
}

pub(super) fn decode_target(key: (&str, &str), bytes: &[u8]) -> Result<Target, Failure> {
    decode_value::<TargetRecord>(&target_place(key), bytes)
}

pub(super) fn target_place((host, group): (&str, &str)) -> Place<'static> {
    Place::new("targets.1", format_args!("{host} {group}"))
}

pub(super) fn attempt_place((copy, number): (u64, u32)) -> Place<'static> {
    Place::new("attempts.1", format_args!("{copy} {number}"))
}

fn minidvodb_place(key: u64) -> Place<'static> {
    Place::new(tables::MINIDVODBS.name(), key)
}

pub(super) fn decode_minidvodb(key: u64, bytes: &[u8]) -> Result<(Minidvodb, u64), Failure> {
    let record: MinidvodbRecord = decode(&minidvodb_place(key), bytes)?;
    let number = record.eligible_number;
    let minidvodb = record.into_value().map_err(Failure::Damaged)?;
    Ok((minidvodb, number))
}

pub(super) fn decode_copy(key: u64, bytes: &[u8]) -> Result<Copy, Failure> {
    decode_value::<CopyRecord>(&Place::new("copies.1", key), bytes)
}

pub(super) fn decode_row(copy: u64, bytes: &[u8]) -> Result<TableRow, Failure> {
    decode_value::<TableRowRecord>(&Place::new(tables::SYNCED.name(), copy), bytes)
}

pub(super) fn decode_attempt(key: (u64, u32), bytes: &[u8]) -> Result<Attempt, Failure> {
    decode_value::<AttemptRecord>(&attempt_place(key), bytes)
}

/// The schema's version.
pub(super) fn schema_version(meta: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<u32, Failure> {
    let bytes = meta.get(meta::SCHEMA)?;
    let bytes = bytes.ok_or_else(|| Failure::Damaged("it has no schema version".to_owned()))?;
    decode(&Place::new(tables::META.name(), meta::SCHEMA), bytes.value())
}

/// The digests as they were kept, which every schema keeps in the same place.
pub(super) fn kept_digests(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<Digests, Failure> {
    let bytes = meta.get(meta::DIGESTS)?;
    let bytes = bytes.ok_or_else(|| Failure::Damaged("it has no digests".to_owned()))?;
    decode(&Place::new(tables::META.name(), meta::DIGESTS), bytes.value())
}

pub(super) fn stray_place((minidvodb_id, row_id): (u64, u64)) -> Place<'static> {
    Place::new(tables::STRAYS.name(), format!("{minidvodb_id}/{row_id}"))
}
