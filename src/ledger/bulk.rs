//! Taking in very many minidvodbs and copies at once.
//!
//! Invariant: what is written here was not there before, table by table and in the order of each one's keys: that
//! is what makes it several times faster than one by one. What is known already is left to [`Change`]'s other
//! ways.

use std::ops::RangeInclusive;

use redb::{ReadableTable as _, TableHandle as _};

use super::Failure;
use super::change::{Change, PairTaken, pending_key, twice};
use super::records::{CopyRecord, MinidvodbRecord, Place, TableRowRecord, append};
use super::tables;
use crate::model::{BUCKET_IDS, Copy, CopyId, Minidvodb, TableRow};

/// Records one behind the other, and where each ends.
#[derive(Default)]
struct Records {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Records {
    fn add(&mut self, place: &Place<'_>, record: &impl serde::Serialize) -> Result<(), Failure> {
        append(place, record, &mut self.bytes)?;
        self.ends.push(self.bytes.len());
        Ok(())
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

impl Change<'_> {
    /// Takes minidvodbs in; false, and nothing is done, where they are not in the order of their ids, or one with an
    /// id between the first and the last one's is known already.
    pub fn import_new(&mut self, minidvodbs: &[Minidvodb]) -> Result<bool, Failure> {
        let (Some(first), Some(last)) = (minidvodbs.first(), minidvodbs.last()) else { return Ok(true) };
        let are_in_order = minidvodbs.is_sorted_by(|one, next| one.id < next.id);
        if !are_in_order || self.tables.minidvodbs.table.range(first.id.0..=last.id.0)?.next().is_some() {
            return Ok(false);
        }
        let (mut records, mut eligible) = (Records::default(), Vec::new());
        for minidvodb in minidvodbs {
            let mut number = 0;
            if minidvodb.is_eligible() {
                self.counters.eligible_number += 1;
                number = self.counters.eligible_number;
                eligible.push(((minidvodb.group.as_str(), number), minidvodb.id.0));
            }
            let place = Place::new(tables::MINIDVODBS.name(), minidvodb.id);
            records.add(&place, &MinidvodbRecord::<&str>::of(minidvodb, number))?;
            // What its rows are to this ledger may be another thing now.
            self.doubt_bucket(minidvodb.id.0 / BUCKET_IDS)?;
        }
        eligible.sort_unstable();
        let ids = minidvodbs.iter().map(|minidvodb| minidvodb.id.0);
        let taken = self.tables.minidvodbs.put_new(ids.zip(records.iter()))?;
        let numbered = self.tables.eligible.put_new(eligible)?;
        self.is_dirty = true;
        if taken.is_empty() && numbered.is_empty() {
            return Ok(true);
        }
        Err(Failure::Damaged("an id, or a number of a group, is given already".to_owned()))
    }

    /// Whether nothing is known of any copy of minidvodbs with these ids.
    pub fn has_no_copies_of(&self, ids: RangeInclusive<u64>) -> Result<bool, Failure> {
        let (first, last) = ids.into_inner();
        let mut pairs = self.tables.pairs.table.range((first, "")..(last + 1, ""))?;
        let mut strays = self.tables.strays.table.range((first, 0)..=(last, u64::MAX))?;
        Ok(pairs.next().is_none() && strays.next().is_none())
    }

    /// Writes copies that rows of the database have become, under ids that were given a moment ago and rise; both
    /// sides are the same.
    ///
    /// # Errors
    /// Damaged, where a machine has a copy of a minidvodb all the same.
    pub fn put_adopted(&mut self, adopted: &[(Copy, TableRow)]) -> Result<(), Failure> {
        if adopted.is_empty() {
            return Ok(());
        }
        self.is_dirty = true;
        let ids = || adopted.iter().map(|(copy, _)| copy.id.0);
        let mut records = Records::default();
        for (copy, _) in adopted {
            records.add(&Place::new(tables::COPIES.name(), copy.id), &CopyRecord::<&str>::of(copy))?;
            self.gathered.copy(None, Some(copy));
            if copy.is_to_be_made() {
                self.tables.pending.put(&pending_key(copy), &copy.id.0)?;
            }
        }
        let taken = self.tables.copies.put_new(ids().zip(records.iter()))?;
        records.clear();
        for (copy, row) in adopted {
            records.add(&Place::new(tables::SYNCED.name(), copy.id), &TableRowRecord::<&str>::of(row))?;
            if !row.content.is_of(copy) {
                self.tables.ahead.put(&copy.id.0, &copy.minidvodb_id.0)?;
            }
        }
        let met = self.tables.synced.put_new(ids().zip(records.iter()))?;
        if !taken.is_empty() || !met.is_empty() {
            return Err(Failure::Damaged("an id of a copy is given already".to_owned()));
        }
        self.put_pairs(adopted)?;
        self.claim_final_paths(adopted)?;
        let mut buckets: Vec<u64> = adopted.iter().map(|(copy, _)| copy.minidvodb_id.0 / BUCKET_IDS).collect();
        buckets.sort_unstable();
        buckets.dedup();
        buckets.into_iter().try_for_each(|bucket| self.expect_rows(bucket))
    }

    /// Puts copies into the unique index.
    fn put_pairs(&mut self, adopted: &[(Copy, TableRow)]) -> Result<(), Failure> {
        let mut pairs: Vec<((u64, &str), u64)> = adopted
            .iter()
            .map(|(copy, _)| ((copy.minidvodb_id.0, copy.machine.as_str()), copy.id.0))
            .collect();
        pairs.sort_unstable();
        let taken = self.tables.pairs.put_new(pairs.iter().copied())?;
        let Some((pair, copy)) = taken.first().map(|&at| pairs[at]) else { return Ok(()) };
        let by = self.tables.pairs.table.get(pair)?.map_or(0, |by| by.value());
        Err(twice(&PairTaken { copy: CopyId(copy), by: CopyId(by) }))
    }

    /// Gives copies their final paths, as far as nobody has them.
    fn claim_final_paths(&mut self, adopted: &[(Copy, TableRow)]) -> Result<(), Failure> {
        let mut paths: Vec<(&str, String, u64)> = adopted
            .iter()
            .map(|(copy, _)| (copy.machine.as_str(), copy.final_path(), copy.id.0))
            .collect();
        paths.sort_unstable();
        let entries = paths.iter().map(|(machine, path, id)| ((*machine, path.as_str()), *id));
        self.tables.final_paths.put_new(entries).map(drop)
    }
}
