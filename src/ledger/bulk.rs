//! Taking in very many minidvodbs and copies at once.
//!
//! Invariant: what is written here was not there before, table by table and in the order of each one's keys: that
//! is what makes it several times faster than one by one. What is known already is left to [`Change`]'s other
//! ways.

use std::ops::RangeInclusive;

use redb::{ReadableTable as _, TableHandle as _};

use super::Failure;
use super::change::{Change, PairTaken, pending_key, twice};
use super::look::Look as _;
use super::records::{CopyRecord, MinidvodbRecord, Place, TableRowRecord, append};
use super::tables;
use crate::model::{BUCKET_IDS, Copy, CopyId, Minidvodb, TableRow};

/// So many minidvodbs are written at once: few enough to stay in the processor's caches.
const MINIDVODBS_AT_ONCE: usize = 4000;

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
        minidvodbs.chunks(MINIDVODBS_AT_ONCE).try_for_each(|some| self.put_minidvodbs(some))?;
        Ok(true)
    }

    fn put_minidvodbs(&mut self, minidvodbs: &[Minidvodb]) -> Result<(), Failure> {
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
            return Ok(());
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
        self.expect_rows_in(adopted.iter().map(|(copy, _)| copy.minidvodb_id.0 / BUCKET_IDS).collect())
    }

    /// Notes what the rows of copies hold, now that both sides are the same.
    pub fn put_all_synced(&mut self, mut rows: Vec<(CopyId, TableRow)>) -> Result<(), Failure> {
        rows.sort_unstable_by_key(|(id, _)| *id);
        let (mut records, mut level, mut buckets) = (Records::default(), Vec::new(), Vec::new());
        for (id, row) in rows {
            let Some(copy) = self.copy(id)? else { continue };
            // A copy that has changed since stays ahead.
            if self.tables.synced.table.get(id.0)?.is_some() || !row.content.is_of(&copy) {
                self.put_synced(&copy, &row)?;
                continue;
            }
            records.add(&Place::new(tables::SYNCED.name(), id), &TableRowRecord::<&str>::of(&row))?;
            level.push(id.0);
            buckets.push(row.minidvodb_id.0 / BUCKET_IDS);
        }
        let taken = self.tables.synced.put_new(level.iter().copied().zip(records.iter()))?;
        if !taken.is_empty() {
            return Err(Failure::Damaged("a row of a copy is known and not known".to_owned()));
        }
        self.is_dirty |= !level.is_empty();
        self.tables.ahead.remove_all(&level)?;
        self.expect_rows_in(buckets)
    }

    fn expect_rows_in(&mut self, mut buckets: Vec<u64>) -> Result<(), Failure> {
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
        let mut paths: Vec<(&str, String, u64)> =
            adopted.iter().map(|(copy, _)| (copy.machine.as_str(), copy.final_path(), copy.id.0)).collect();
        paths.sort_unstable();
        let entries = paths.iter().map(|(machine, path, id)| ((*machine, path.as_str()), *id));
        self.tables.final_paths.put_new(entries).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Desk, copy, desk, minidvodb};
    use super::*;
    use crate::model::{Content, Machine};

    fn minidvodbs(ids: impl IntoIterator<Item = u64>) -> Vec<Minidvodb> {
        ids.into_iter().map(|id| minidvodb(id, &format!("/data/ThreePi.{id}"))).collect()
    }

    fn row_of(copy: &Copy) -> TableRow {
        TableRow { id: 1000 + copy.id.0, minidvodb_id: copy.minidvodb_id, content: Content::of(copy) }
    }

    /// Copies of minidvodbs to ipp022, the first with this id, with their rows.
    fn adopted(first: u64, minidvodbs: &[Minidvodb]) -> Vec<(Copy, TableRow)> {
        let one = |(id, minidvodb)| copy(id, minidvodb, "ipp022", "ipp022");
        (first..).zip(minidvodbs).map(one).map(|copy| (copy.clone(), row_of(&copy))).collect()
    }

    fn everything(desk: &Desk) -> (Vec<Minidvodb>, Vec<Copy>, Vec<TableRow>, u64) {
        desk.ledger.check().unwrap();
        desk.ledger
            .read(|ledger| {
                let (mut minidvodbs, mut copies) = (Vec::new(), Vec::new());
                ledger.each_minidvodb(|minidvodb| {
                    minidvodbs.push(minidvodb);
                    Ok(true)
                })?;
                ledger.each_copy(|copy| {
                    copies.push(copy);
                    Ok(true)
                })?;
                let rows: Vec<TableRow> = copies
                    .iter()
                    .filter_map(|copy| ledger.synced(copy).transpose())
                    .collect::<Result<_, _>>()?;
                Ok((minidvodbs, copies, rows, ledger.count_ahead()?))
            })
            .unwrap()
    }

    #[test]
    fn what_is_taken_in_at_once_is_the_same_as_one_by_one() {
        let (at_once, one_by_one) = (desk(), desk());
        // The second part lies between and around those of the first, in every table.
        for ids in [vec![1, 5, 10, 100, 101], vec![2, 3, 6, 11, 50, 102, 1000]] {
            let minidvodbs = minidvodbs(ids);
            let adopted = adopted(minidvodbs[0].id.0 * 1000, &minidvodbs);
            at_once
                .ledger
                .write(|change| {
                    for minidvodb in minidvodbs.chunk_by(|one, next| one.id.0 + 1 == next.id.0) {
                        assert!(change.import_new(minidvodb)?);
                    }
                    change.put_adopted(&adopted)
                })
                .unwrap();
            one_by_one
                .ledger
                .write(|change| {
                    for (minidvodb, (copy, row)) in minidvodbs.iter().zip(&adopted) {
                        change.import_minidvodb(minidvodb)?;
                        change.put_known_copy(copy)?;
                        change.put_synced(copy, row)?;
                    }
                    Ok(())
                })
                .unwrap();
        }
        assert_eq!(everything(&at_once), everything(&one_by_one));
        assert_eq!(everything(&at_once).2.len(), 12);
        let look =
            |desk: &Desk| desk.ledger.read(|ledger| Ok((ledger.buckets()?, ledger.tallies()?))).unwrap();
        assert_eq!(look(&at_once), look(&one_by_one));
    }

    #[test]
    fn minidvodbs_among_which_one_is_known_are_not_taken_in_at_once() {
        let desk = desk();
        desk.ledger.write(|change| change.import_minidvodb(&minidvodbs([5])[0])).unwrap();
        for ids in [vec![4, 6], vec![5], vec![8, 7], vec![7, 7]] {
            assert!(
                !desk.ledger.write(|change| change.import_new(&minidvodbs(ids.clone()))).unwrap(),
                "{ids:?}"
            );
        }
        assert_eq!(everything(&desk).0.len(), 1);
        assert!(desk.ledger.write(|change| change.import_new(&minidvodbs([6, 8]))).unwrap());
        assert_eq!(everything(&desk).0.len(), 3);
    }

    #[test]
    fn a_pair_that_is_taken_stops_the_others() {
        let desk = desk();
        let three = minidvodbs([1, 2, 3]);
        desk.ledger.write(|change| change.put_adopted(&adopted(7, &three[1..2]))).unwrap();
        let refused = desk.ledger.write(|change| change.put_adopted(&adopted(8, &three)));
        assert!(refused.unwrap_err().to_string().contains("copies 9 and 7"));
        assert_eq!(everything(&desk).1.len(), 1);
        let is_free = |ids| desk.ledger.write(|change| change.has_no_copies_of(ids)).unwrap();
        assert!(is_free(3..=9) && is_free(1..=1) && !is_free(1..=3) && !is_free(2..=2));
    }

    #[test]
    fn a_final_path_stays_with_its_owner() {
        let desk = desk();
        let mut twins = minidvodbs([1, 2]);
        twins[1].path = twins[0].path.clone();
        let adopted = adopted(1, &twins);
        desk.ledger.write(|change| change.put_adopted(&adopted)).unwrap();
        let machine = Machine::parse("ipp022").unwrap();
        let owner = desk.ledger.read(|ledger| ledger.owner_of(&machine, &adopted[0].0.final_path())).unwrap();
        assert_eq!(owner, Some(CopyId(1)));
        desk.ledger.check().unwrap();
    }

    #[test]
    fn rows_are_noted_of_copies_that_are_as_they_were() {
        let desk = desk();
        let four = minidvodbs([1, 2, 3, 4]);
        let mut written = adopted(1, &four);
        desk.ledger
            .write(|change| {
                written.iter().try_for_each(|(copy, _)| change.put_known_copy(copy))?;
                // One has changed since it was written, and of one a row was known.
                let mut changed = written[1].0.clone();
                changed.dtime_s = Some(9.0);
                change.put_known_copy(&changed)?;
                change.put_synced(&written[2].0, &TableRow { id: 5, ..row_of(&written[2].0) })
            })
            .unwrap();
        written.reverse();
        let rows = written.into_iter().map(|(copy, row)| (copy.id, row)).collect();
        desk.ledger.write(|change| change.put_all_synced(rows)).unwrap();
        let (_, copies, rows, ahead) = everything(&desk);
        assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [1001, 1002, 1003, 1004]);
        assert_eq!(ahead, 1);
        let is_level = |at: usize| {
            desk.ledger.read(|ledger| ledger.is_level(copies[at].minidvodb_id.0, &rows[at..=at])).unwrap()
        };
        assert_eq!([is_level(0), is_level(1), is_level(2)], [true, false, true]);
        let none =
            desk.ledger.read(|ledger| Ok((ledger.is_level(1, &[])?, ledger.is_level(9, &[])?))).unwrap();
        assert_eq!(none, (false, true));
    }
}
