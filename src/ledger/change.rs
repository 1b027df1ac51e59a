//! Changing the ledger, inside a write transaction.
//!
//! Invariant: records and their indexes change together. A second copy of a minidvodb on a machine cannot be
//! written; a final path belongs to at most one copy of a machine.

use redb::{ReadableTable, TableHandle, WriteTransaction};

use super::Failure;
use super::look::{Counters, HasTables, Look, attempt_place, meta, stray_place, target_place};
use super::records::{
    AttemptRecord, CopyRecord, DatabaseRecordRecord, HostRecordRecord, LogRecord, MinidvodbRecord, Place,
    Record as _, StagesRecord, StrayRecord, TableRowRecord, TargetRecord, TombstoneRecord, decode,
    decode_value, encode, encode_value,
};
use super::tables::{self, Digests, WriteTables};
use super::tally::{self, Gathered};
use crate::error::Error;
use crate::faults::Fault;
use crate::model::{
    AbsolutePath, Attempt, BUCKET_IDS, BucketKey, BucketSum, COPY_TABLE, Copy, CopyId, DatabaseRecord,
    EMPTY_SUM, Group, Host, HostRecord, LogEntry, Machine, Minidvodb, Outcome, RoomSeen, SUMMED_TABLES,
    Stages, Stray, TableRow, Target, Tombstone, UNKNOWN_SUM, old_path, staging_path,
};

/// So many attempts of a copy are kept, the first one always among them.
const ATTEMPTS_KEPT: u32 = 64;

/// So many entries of the log are kept.
const LOG_KEPT: u64 = 10_000;

/// A write transaction.
pub struct Change<'t> {
    pub(super) tables: WriteTables<'t>,
    pub(super) counters: Counters,
    pub(super) gathered: Gathered,
    /// The last bucket that was doubted in all tables, in this transaction.
    doubted: Option<u64>,
    pub(super) is_dirty: bool,
}

impl<'t> HasTables for Change<'t> {
    type Tables = WriteTables<'t>;
    fn tables(&self) -> &Self::Tables {
        &self.tables
    }
}

/// The ledger's refusal of a second copy of a minidvodb on a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairTaken {
    /// The copy that was to be written.
    pub copy: CopyId,
    /// The copy that is there.
    pub by: CopyId,
}

/// What an import did with a minidvodb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imported {
    /// It was not known.
    Added,
    /// It was known, and something of it has changed.
    Changed,
    /// It was known as it is.
    Unchanged,
}

impl<'t> Change<'t> {
    pub(super) fn begin(txn: &'t WriteTransaction) -> Result<Self, Failure> {
        let digests: Digests = {
            let meta = txn.open_table(tables::META)?;
            let bytes =
                meta.get(meta::DIGESTS)?.ok_or_else(|| Failure::Damaged("it has no digests".to_owned()))?;
            decode(&Place::new(tables::META.name(), meta::DIGESTS), bytes.value())?
        };
        let mut change = Self {
            tables: WriteTables::open(txn, &digests)?,
            counters: Counters::default(),
            gathered: Gathered::default(),
            doubted: None,
            is_dirty: false,
        };
        change.counters = change.counters()?;
        Ok(change)
    }

    pub(super) fn begin_new(txn: &'t WriteTransaction) -> Result<Self, Failure> {
        let tables = WriteTables::open(txn, &Digests::new())?;
        let (counters, gathered) = (Counters::default(), Gathered::default());
        Ok(Self { tables, counters, gathered, doubted: None, is_dirty: true })
    }

    /// Writes what makes a new file a ledger.
    pub(super) fn found(&mut self, schema: u32, ledger_id: &str) -> Result<(), Failure> {
        self.put_meta(meta::SCHEMA, &schema)?;
        self.put_meta(meta::LEDGER_ID, &ledger_id)?;
        self.put_meta(meta::STAGES, &StagesRecord::from_value(&Stages::default()))
    }

    pub(super) fn migrate(&mut self, steps: &[super::migrations::Step], to: u32) -> Result<(), Failure> {
        steps.iter().try_for_each(|step| step(&mut self.tables))?;
        self.put_meta(meta::SCHEMA, &to)
    }

    /// Counts a copy that is not there.
    #[cfg(test)]
    pub(super) fn miscount(&mut self, copy: &Copy) {
        self.gathered.copy(None, Some(copy));
    }

    /// Writes counters and digests; says whether there is anything to commit.
    pub(super) fn finish(mut self) -> Result<bool, Failure> {
        if !self.gathered.is_empty() {
            std::mem::take(&mut self.gathered).write(&mut self.tables)?;
            self.is_dirty = true;
        }
        if self.is_dirty {
            let counters = self.counters;
            self.put_meta(meta::COUNTERS, &counters)?;
            let digests = self.tables.digests()?;
            self.put_meta(meta::DIGESTS, &digests)?;
        }
        Ok(self.is_dirty)
    }

    fn put_meta(&mut self, key: &'static str, record: &impl serde::Serialize) -> Result<(), Failure> {
        let bytes = encode(&Place::new(tables::META.name(), key), record)?;
        self.tables.meta.insert(key, bytes.as_slice())?;
        self.is_dirty = true;
        Ok(())
    }

    /// Sets the three switches.
    pub fn set_stages(&mut self, stages: Stages) -> Result<(), Failure> {
        if self.stages()? == stages {
            return Ok(());
        }
        self.put_meta(meta::STAGES, &StagesRecord::from_value(&stages))
    }

    /// Notes the room seen on a file system of a host; of each day, the last is kept.
    pub fn put_room(&mut self, seen: &RoomSeen) -> Result<(), Failure> {
        self.is_dirty |= tally::put_room(&mut self.tables, seen)?;
        Ok(())
    }

    /// Sets the folders that minidvodbs may be copied from.
    pub fn put_source_roots(&mut self, roots: &[AbsolutePath]) -> Result<(), Failure> {
        if self.source_roots()? == roots {
            return Ok(());
        }
        let roots: Vec<&str> = roots.iter().map(AbsolutePath::as_str).collect();
        self.put_meta(meta::SOURCE_ROOTS, &roots)
    }

    /// Notes that ids were given here.
    pub fn note_scan(&mut self) -> Result<(), Failure> {
        if self.has_scanned()? { Ok(()) } else { self.put_meta(meta::SCANNED, &true) }
    }

    /// Writes what is known of a host, but not another machine: see [`Self::rekey_host`].
    pub fn put_host(&mut self, record: &HostRecord) -> Result<(), Failure> {
        if self.host(&record.host)?.as_ref() == Some(record) {
            return Ok(());
        }
        let key = record.host.as_str();
        let bytes = encode_value::<HostRecordRecord>(&Place::new(tables::HOSTS.name(), key), record)?;
        self.tables.hosts.put(&key, &bytes.as_slice())?;
        self.is_dirty = true;
        Ok(())
    }

    /// Gives a host, and all its copies, to another machine; says how many copies there were.
    ///
    /// # Errors
    /// The inner error names two copies of one minidvodb that would meet; nothing may be committed then.
    pub fn rekey_host(&mut self, host: &Host, machine: &Machine) -> Result<Result<u64, PairTaken>, Failure> {
        let mut record = self.host_or_unknown(host)?;
        let before = record.machine.clone();
        if record.machine != *machine || self.host(host)?.is_none() {
            record.machine = machine.clone();
            self.put_host(&record)?;
        }
        let mut moving = Vec::new();
        self.each_copy(|copy| {
            if copy.host == *host && copy.machine != *machine {
                moving.push(copy);
            }
            Ok(true)
        })?;
        let count = moving.len() as u64;
        for mut copy in moving {
            copy.machine = machine.clone();
            if let Err(taken) = self.put_copy(&copy)? {
                return Ok(Err(taken));
            }
        }
        if before != *machine {
            // Rows that were another machine's may be this one's now.
            self.doubt_buckets()?;
            // Either machine may lack a copy that it seemed to have.
            self.look_again(&[&before, machine])?;
        }
        Ok(Ok(count))
    }

    /// Lets the targets of these machines go through their whole groups again at the next queueing.
    fn look_again(&mut self, machines: &[&Machine]) -> Result<(), Failure> {
        for mut target in self.targets()? {
            let machine = self.host_or_unknown(&target.host)?.machine;
            if machines.contains(&&machine) && target.queued_through != 0 {
                target.queued_through = 0;
                self.put_target(&target)?;
            }
        }
        Ok(())
    }

    /// Writes a target.
    pub fn put_target(&mut self, target: &Target) -> Result<(), Failure> {
        if self.target(&target.host, &target.group)?.as_ref() == Some(target) {
            return Ok(());
        }
        let key = (target.host.as_str(), target.group.as_str());
        let bytes = encode_value::<TargetRecord>(&target_place(key), target)?;
        self.tables.targets.put(&key, &bytes.as_slice())?;
        self.is_dirty = true;
        Ok(())
    }

    /// Lets the next fault of this kind at a target be the first one again; false where none was.
    pub fn forget_logged_fault(&mut self, host: &Host, group: &Group, fault: Fault) -> Result<bool, Failure> {
        let Some(mut target) = self.target(host, group)? else { return Ok(false) };
        let was_logged = target.logged_faults.remove(&fault.code());
        self.put_target(&target)?;
        Ok(was_logged)
    }

    /// Forgets a target; its copies stay. False where there is none.
    pub fn remove_target(&mut self, host: &Host, group: &Group) -> Result<bool, Failure> {
        let was_there = self.tables.targets.remove(&(host.as_str(), group.as_str()))?;
        self.is_dirty |= was_there;
        Ok(was_there)
    }

    /// Takes a minidvodb into the list, or what has changed of it. Its copies that are still new follow it
    /// to another group or folder name.
    pub fn import_minidvodb(&mut self, minidvodb: &Minidvodb) -> Result<Imported, Failure> {
        let before = self.minidvodb_numbered(minidvodb.id)?;
        // What the database has had stays known as that, whoever imports it again.
        let is_from_database = before.as_ref().is_some_and(|(before, _)| before.is_from_database);
        let minidvodb = &Minidvodb {
            is_from_database: is_from_database || minidvodb.is_from_database,
            ..minidvodb.clone()
        };
        if before.as_ref().is_some_and(|(before, _)| before == minidvodb) {
            return Ok(Imported::Unchanged);
        }
        let mut number = 0;
        if let Some((before, old_number)) = &before {
            let keeps_place = before.group == minidvodb.group && minidvodb.is_eligible();
            if *old_number != 0 && keeps_place {
                number = *old_number;
            } else if *old_number != 0 {
                self.tables.eligible.remove(&(before.group.as_str(), *old_number))?;
            }
        }
        if number == 0 && minidvodb.is_eligible() {
            self.counters.eligible_number += 1;
            number = self.counters.eligible_number;
            self.tables.eligible.put(&(minidvodb.group.as_str(), number), &minidvodb.id.0)?;
        }
        let record = MinidvodbRecord::<&str>::of(minidvodb, number);
        let bytes = encode(&Place::new(tables::MINIDVODBS.name(), minidvodb.id), &record)?;
        self.tables.minidvodbs.put(&minidvodb.id.0, &bytes.as_slice())?;
        self.is_dirty = true;
        // What its rows are to this ledger may be another thing now.
        self.doubt_bucket(minidvodb.id.0 / BUCKET_IDS)?;
        if before.is_none() {
            return Ok(Imported::Added);
        }
        self.copies_follow(minidvodb)?;
        Ok(Imported::Changed)
    }

    fn copies_follow(&mut self, minidvodb: &Minidvodb) -> Result<(), Failure> {
        let name = minidvodb.folder_name()?;
        let ids: Vec<u64> = self
            .tables
            .pairs
            .table
            .range((minidvodb.id.0, "")..(minidvodb.id.0 + 1, ""))?
            .map(|entry| Ok(entry?.1.value()))
            .collect::<Result<_, Failure>>()?;
        for id in ids {
            let mut copy = self.indexed_copy(id, tables::PAIRS.name())?;
            let is_settled = !copy.is_new() || copy.publishing().is_some();
            if is_settled || (copy.name == name && copy.group == minidvodb.group) {
                continue;
            }
            let moved_to = self.target(&copy.host, &minidvodb.group)?.map(|target| target.path);
            let path = moved_to.unwrap_or_else(|| copy.path.clone());
            self.leave_staging(&copy)?;
            let open = self.tables.open_attempts.table.get(&pending_key(&copy))?.map(|number| number.value());
            self.tables.open_attempts.remove(&pending_key(&copy))?;
            copy.name = name.clone();
            copy.group = minidvodb.group.clone();
            if let Some(number) = open {
                self.tables.open_attempts.put(&pending_key(&copy), &number)?;
            }
            copy.path = path;
            copy.to_send_bytes = None;
            self.put_known_copy(&copy)?;
        }
        Ok(())
    }

    /// Notes the staging folder of a copy that has been begun, to be removed at the next visit to its host.
    pub fn leave_staging(&mut self, copy: &Copy) -> Result<bool, Failure> {
        if copy.last_attempt == 0 {
            return Ok(false);
        }
        let path = staging_path(&copy.path, &self.ledger_id()?, &copy.name);
        self.tables.leftovers.put(&(copy.host.as_str(), copy.group.as_str(), &path), &copy.id.0)?;
        self.is_dirty = true;
        Ok(true)
    }

    /// Notes the folder that a recopy has replaced, to be removed.
    pub fn leave_old(&mut self, copy: &Copy) -> Result<(), Failure> {
        let path = old_path(&copy.path, &self.ledger_id()?, copy.id);
        self.tables.leftovers.put(&(copy.host.as_str(), copy.group.as_str(), &path), &copy.id.0)?;
        self.is_dirty = true;
        Ok(())
    }

    /// Sets the IPP database, or what is known of it; with none, forgets it.
    pub fn put_database(&mut self, record: Option<&DatabaseRecord>) -> Result<(), Failure> {
        if self.database()?.as_ref() == record {
            return Ok(());
        }
        match record {
            Some(record) => self.put_meta(meta::DATABASE, &DatabaseRecordRecord::from_value(record)),
            None => {
                self.tables.meta.remove(meta::DATABASE)?;
                self.is_dirty = true;
                Ok(())
            }
        }
    }

    /// Forgets what the rows of a database held, and which of them are strays: another one is to be met.
    pub fn forget_rows(&mut self) -> Result<(), Failure> {
        for id in keys(&self.tables.level.table)? {
            self.tables.level.remove(&id)?;
            if let Some(copy) = self.copy(CopyId(id))? {
                self.tables.ahead.put(&id, &copy.minidvodb_id.0)?;
            }
            self.is_dirty = true;
        }
        for id in keys(&self.tables.synced.table)? {
            self.is_dirty |= self.tables.synced.remove(&id)?;
        }
        self.doubted = None;
        for bucket in self.buckets()?.into_keys() {
            self.is_dirty |= self.tables.buckets.remove(&bucket)?;
        }
        for stray in self.strays()? {
            self.remove_stray(&stray)?;
        }
        Ok(())
    }

    /// Tells a sync under way that what it has seen may mean another thing now.
    pub fn raise_doubts(&mut self) {
        self.counters.doubts += 1;
        self.is_dirty = true;
    }

    /// Lets everything be compared row by row at the next sync.
    pub fn doubt_buckets(&mut self) -> Result<(), Failure> {
        self.raise_doubts();
        self.buckets()?.into_keys().try_for_each(|bucket| self.put_bucket(bucket, UNKNOWN_SUM))
    }

    /// Lets a bucket of ids be compared row by row at the next sync, in every table.
    pub(super) fn doubt_bucket(&mut self, bucket: u64) -> Result<(), Failure> {
        if self.doubted == Some(bucket) {
            return Ok(());
        }
        SUMMED_TABLES.into_iter().try_for_each(|table| self.put_bucket((table, bucket), UNKNOWN_SUM))?;
        self.doubted = Some(bucket);
        Ok(())
    }

    /// Notes the sum of a bucket in which both sides are the same.
    pub fn put_bucket(&mut self, bucket: BucketKey, sum: BucketSum) -> Result<(), Failure> {
        self.doubted = None;
        if self.tables.buckets.table.get(&bucket)?.map(|known| known.value()) != Some(sum) {
            self.tables.buckets.put(&bucket, &sum)?;
            self.is_dirty = true;
        }
        Ok(())
    }

    /// Keeps the row that a copy has met: its id alone where the copy is just like it, else all of it, and that the
    /// copy is ahead of it.
    fn put_met(&mut self, copy: &Copy, row: Option<&TableRow>) -> Result<(), Failure> {
        let id = copy.id.0;
        if let Some(row) = row.filter(|row| row.is_of(copy)) {
            if self.tables.level.table.get(id)?.map(|known| known.value()) != Some(row.id) {
                self.tables.level.put(&id, &row.id)?;
                self.tables.synced.remove(&id)?;
                self.tables.ahead.remove(&id)?;
                self.is_dirty = true;
            }
            return Ok(());
        }
        self.is_dirty |= self.tables.level.remove(&id)?;
        if self.tables.ahead.table.get(id)?.is_none() {
            self.tables.ahead.put(&id, &copy.minidvodb_id.0)?;
            self.is_dirty = true;
        }
        let Some(row) = row else { return Ok(()) };
        let bytes = encode(&Place::new(tables::SYNCED.name(), id), &TableRowRecord::<&str>::of(row))?;
        if self.tables.synced.table.get(id)?.is_none_or(|known| known.value() != bytes) {
            self.tables.synced.put(&id, &bytes.as_slice())?;
            self.is_dirty = true;
        }
        Ok(())
    }

    /// Notes what the row of a copy holds, now that both sides are the same; of a copy that is gone, nothing.
    pub fn put_synced(&mut self, copy: CopyId, row: &TableRow) -> Result<(), Failure> {
        let Some(copy) = self.copy(copy)? else { return Ok(()) };
        self.expect_rows(copy.minidvodb_id.0 / BUCKET_IDS)?;
        self.put_met(&copy, Some(row))
    }

    /// A bucket whose rows are all gone has no sum there: that it had rows must be known here.
    pub(super) fn expect_rows(&mut self, bucket: u64) -> Result<(), Failure> {
        let bucket = (COPY_TABLE, bucket);
        let known = self.tables.buckets.table.get(&bucket)?.map(|known| known.value());
        if known.is_none_or(|known| known == EMPTY_SUM) {
            self.put_bucket(bucket, UNKNOWN_SUM)?;
        }
        Ok(())
    }

    /// Notes a row that no copy stands for; false where it is known as it is.
    pub fn put_stray(&mut self, stray: &Stray) -> Result<bool, Failure> {
        let key = (stray.minidvodb_id, stray.row_id);
        let place = stray_place(key);
        // Its bytes may be those of an older program.
        let known = self.tables.strays.table.get(&key)?;
        let known = known.map(|bytes| decode_value::<StrayRecord>(&place, bytes.value())).transpose()?;
        if known.as_ref() == Some(stray) {
            return Ok(false);
        }
        let bytes = encode_value::<StrayRecord>(&place, stray)?;
        self.tables.strays.put(&key, &bytes.as_slice())?;
        self.is_dirty = true;
        Ok(true)
    }

    /// Forgets a row that is gone, or that a copy stands for now. Its machine may lack a copy that it seemed to
    /// have, so its group is gone through again.
    pub fn remove_stray(&mut self, stray: &Stray) -> Result<(), Failure> {
        self.is_dirty |= self.tables.strays.remove(&(stray.minidvodb_id, stray.row_id))?;
        for mut target in self.targets()? {
            if target.queued_through != 0 {
                target.queued_through = 0;
                self.put_target(&target)?;
            }
        }
        Ok(())
    }

    /// Takes a copy whose row is gone out of the queue and the indexes, and keeps it, with its attempts, as a
    /// tombstone: its minidvodb may be queued again.
    pub fn bury(&mut self, copy: &Copy, at: jiff::Timestamp) -> Result<(), Failure> {
        if copy.is_to_be_made() {
            self.leave_staging(copy)?;
        }
        let place = Place::new(tables::TOMBSTONES.name(), copy.id);
        let tombstone = Tombstone { copy: copy.clone(), at };
        let bytes = encode_value::<TombstoneRecord>(&place, &tombstone)?;
        self.tables.tombstones.put(&copy.id.0, &bytes.as_slice())?;
        self.gathered.copy(self.copy(copy.id)?.as_ref(), None);
        self.tables.copies.remove(&copy.id.0)?;
        self.tables.level.remove(&copy.id.0)?;
        self.tables.synced.remove(&copy.id.0)?;
        self.tables.ahead.remove(&copy.id.0)?;
        self.tables.pairs.remove(&(copy.minidvodb_id.0, copy.machine.as_str()))?;
        self.tables.pending.remove(&pending_key(copy))?;
        let path = copy.final_path();
        if self.owner_of(&copy.machine, &path)? == Some(copy.id) {
            self.tables.final_paths.remove(&(copy.machine.as_str(), &path))?;
        }
        self.is_dirty = true;
        self.look_again(&[&copy.machine])
    }

    /// Adds an entry to the log; the oldest ones go.
    pub fn add_log(&mut self, entry: &LogEntry) -> Result<(), Failure> {
        let last = self.tables.log.table.last()?.map_or(0, |(number, _)| number.value());
        let number = last + 1;
        let bytes = encode_value::<LogRecord>(&Place::new(tables::LOG.name(), number), entry)?;
        self.tables.log.put(&number, &bytes.as_slice())?;
        if let Some(oldest) = number.checked_sub(LOG_KEPT) {
            self.tables.log.remove(&oldest)?;
        }
        self.is_dirty = true;
        Ok(())
    }

    /// Forgets a staging folder that has been removed.
    pub fn remove_leftover(&mut self, host: &Host, group: &Group, path: &str) -> Result<(), Failure> {
        self.is_dirty |= self.tables.leftovers.remove(&(host.as_str(), group.as_str(), path))?;
        Ok(())
    }

    /// The id for the next copy.
    pub fn next_copy_id(&mut self) -> CopyId {
        self.counters.copy_id += 1;
        CopyId(self.counters.copy_id)
    }

    /// Writes a copy, new or changed, and all its indexes.
    ///
    /// # Errors
    /// The inner error: the machine has a copy of that minidvodb already. Nothing was written then.
    pub fn put_copy(&mut self, copy: &Copy) -> Result<Result<(), PairTaken>, Failure> {
        let before = self.copy(copy.id)?;
        if before.as_ref() == Some(copy) {
            return Ok(Ok(()));
        }
        if let Some(by) = self.copy_on(copy.minidvodb_id, &copy.machine)?
            && by != copy.id
        {
            return Ok(Err(PairTaken { copy: copy.id, by }));
        }
        // Of a copy that is level, it is the copy as it was.
        let met = before.as_ref().map_or(Ok(None), |before| self.met_by(before))?;
        if let Some(before) = &before {
            self.remove_indexes(before, copy)?;
        }
        self.put_indexed(before.as_ref(), copy)?;
        self.put_met(copy, met.as_ref())?;
        if let Some(before) = before.filter(|before| before.machine != copy.machine) {
            // The machine that it leaves may lack it now.
            self.look_again(&[&before.machine])?;
        }
        Ok(Ok(()))
    }

    /// Writes a copy and its indexes; those of `before` that it will not have are gone already.
    fn put_indexed(&mut self, before: Option<&Copy>, copy: &Copy) -> Result<(), Failure> {
        let bytes = encode(&Place::new(tables::COPIES.name(), copy.id), &CopyRecord::<&str>::of(copy))?;
        self.tables.copies.put(&copy.id.0, &bytes.as_slice())?;
        self.gathered.copy(before, Some(copy));
        self.tables.pairs.put(&(copy.minidvodb_id.0, copy.machine.as_str()), &copy.id.0)?;
        if copy.is_to_be_made() {
            self.tables.pending.put(&pending_key(copy), &copy.id.0)?;
        }
        self.is_dirty = true;
        self.claim_final_path(copy).map(drop)
    }

    /// Writes a copy whose pair has not changed.
    ///
    /// # Errors
    /// Damaged, where the unique index has another copy in that place all the same.
    pub fn put_known_copy(&mut self, copy: &Copy) -> Result<(), Failure> {
        self.put_copy(copy)?.map_err(|taken| twice(&taken))
    }

    /// Takes the index entries of `before` away that `after` will not have.
    fn remove_indexes(&mut self, before: &Copy, after: &Copy) -> Result<(), Failure> {
        if (before.minidvodb_id, &before.machine) != (after.minidvodb_id, &after.machine) {
            self.tables.pairs.remove(&(before.minidvodb_id.0, before.machine.as_str()))?;
        }
        if before.is_to_be_made() && (!after.is_to_be_made() || pending_key(before) != pending_key(after)) {
            self.tables.pending.remove(&pending_key(before))?;
        }
        let path = before.final_path();
        if (&path, &before.machine) != (&after.final_path(), &after.machine)
            && self.owner_of(&before.machine, &path)? == Some(before.id)
        {
            self.tables.final_paths.remove(&(before.machine.as_str(), &path))?;
        }
        Ok(())
    }

    /// Gives a copy its final path, if nobody has it; says whether the copy has it now.
    pub fn claim_final_path(&mut self, copy: &Copy) -> Result<bool, Failure> {
        let path = copy.final_path();
        match self.owner_of(&copy.machine, &path)? {
            Some(owner) => Ok(owner == copy.id),
            None => {
                self.tables.final_paths.put(&(copy.machine.as_str(), &path), &copy.id.0)?;
                self.is_dirty = true;
                Ok(true)
            }
        }
    }

    /// Takes a copy's attempt out of those without an end.
    pub fn close_attempt(&mut self, copy: &Copy) -> Result<(), Failure> {
        self.is_dirty |= self.tables.open_attempts.remove(&pending_key(copy))?;
        Ok(())
    }

    /// Writes an attempt; an open one is found by its host and group until it has an end.
    pub fn put_attempt(&mut self, copy: &Copy, attempt: &Attempt) -> Result<(), Failure> {
        if attempt.copy_id != copy.id {
            return Err(
                Error::bug(format!("attempt of copy {} given to copy {}", attempt.copy_id, copy.id)).into()
            );
        }
        let key = (attempt.copy_id.0, attempt.number);
        let before = self.attempt(attempt.copy_id, attempt.number)?;
        if before.is_none_or(|before| before.outcome == Outcome::Open) {
            self.gathered.ended(&copy.host, attempt);
        }
        let bytes = encode_value::<AttemptRecord>(&attempt_place(key), attempt)?;
        self.tables.attempts.put(&key, &bytes.as_slice())?;
        let open_key = pending_key(copy);
        if attempt.outcome == Outcome::Open {
            self.tables.open_attempts.put(&open_key, &attempt.number)?;
        } else {
            self.tables.open_attempts.remove(&open_key)?;
        }
        if attempt.number > ATTEMPTS_KEPT {
            self.tables.attempts.remove(&(copy.id.0, attempt.number - ATTEMPTS_KEPT + 1))?;
        }
        self.is_dirty = true;
        Ok(())
    }
}

fn keys<V: redb::Value + 'static>(table: &impl ReadableTable<u64, V>) -> Result<Vec<u64>, Failure> {
    table.iter()?.map(|entry| Ok(entry?.0.value())).collect()
}

pub(super) fn twice(taken: &PairTaken) -> Failure {
    Failure::Damaged(format!("copies {} and {} are of one minidvodb on one machine", taken.copy, taken.by))
}

pub(super) fn pending_key(copy: &Copy) -> (&str, &str, u64) {
    (copy.host.as_str(), copy.group.as_str(), copy.id.0)
}
