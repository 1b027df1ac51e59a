//! Taking in very many minidvodbs and copies at once.
//!
//! Invariant: what is written here was not there before, table by table and in the order of each one's keys: that
//! is what makes it several times faster than one by one. It is made ready without the ledger, by another thread
//! where there is one, so that a transaction has only to write it. What is known already is left to [`Change`]'s
//! other ways.

use std::ops::RangeInclusive;

use redb::{ReadableTable as _, TableHandle as _};

use super::Failure;
use super::change::{Change, PairTaken, twice};
use super::look::{Look as _, decode_copy};
use super::records::{CopyRecord, MinidvodbRecord, Place, RECORD_BYTES, TableRowRecord, append, checksum_in};
use super::tables::{self, entry_hash};
use super::tally::Gathered;
use crate::model::{BUCKET_IDS, Copy, CopyId, Group, Host, Machine, Minidvodb, TableRow};

/// So many copies are worth being written at once.
pub const ADOPTED_AT_ONCE: usize = 4000;

/// Records one behind the other, with their keys, and where each ends.
#[derive(Default)]
struct Packed {
    bytes: Vec<u8>,
    ends: Vec<(u64, usize)>,
}

impl Packed {
    fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|&(_, end)| end));
        starts.zip(&self.ends).map(|(start, &(key, end))| (key, &self.bytes[start..end]))
    }
}

/// Records to be written, with the hashes of their entries.
#[derive(Default)]
struct Records {
    packed: Packed,
    hashes: Vec<u64>,
}

impl Records {
    /// With room for so many.
    fn with_room_for(count: usize) -> Self {
        let packed =
            Packed { bytes: Vec::with_capacity(count * RECORD_BYTES), ends: Vec::with_capacity(count) };
        Self { packed, hashes: Vec::with_capacity(count) }
    }

    fn add(&mut self, table: &str, key: u64, record: &impl serde::Serialize) -> Result<(), Failure> {
        let Packed { bytes, ends } = &mut self.packed;
        let start = bytes.len();
        append(&Place::new(table, key), record, bytes)?;
        self.hashes.push(entry_hash::<u64, &[u8]>(table, &key, &&bytes[start..]));
        ends.push((key, bytes.len()));
        Ok(())
    }

    fn iter(&self) -> impl Iterator<Item = (u64, &[u8], u64)> {
        self.packed.iter().zip(&self.hashes).map(|((key, record), &hash)| (key, record, hash))
    }
}

/// Copies as they lie in the ledger.
#[derive(Default)]
pub struct KeptCopies(Packed);

impl KeptCopies {
    pub(super) fn add(&mut self, id: u64, record: &[u8]) {
        self.0.bytes.extend_from_slice(record);
        self.0.ends.push((id, self.0.bytes.len()));
    }

    /// They themselves, each with the mark of its record.
    pub(super) fn read(&self) -> Result<Vec<(Copy, Mark)>, Failure> {
        self.0.iter().map(|(id, record)| Ok((decode_copy(id, record)?, Mark::of(record)))).collect()
    }
}

/// What tells whether a copy is still as it was when it was read: the checksum of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(Option<[u8; 8]>);

impl Mark {
    /// Of a copy that must be looked at again.
    pub const NONE: Self = Self(None);

    fn of(record: &[u8]) -> Self {
        Self(checksum_in(record))
    }

    fn is_of(self, record: &[u8]) -> bool {
        self.0.is_some() && self == Self::of(record)
    }
}

/// What the rows of copies hold, ready to be noted.
#[derive(Default)]
pub struct Noted(Vec<(CopyId, TableRow, Mark)>);

impl Noted {
    /// Makes rows ready, with the marks of the copies that they are just like.
    pub fn of(mut rows: Vec<(CopyId, TableRow, Mark)>) -> Self {
        rows.sort_unstable_by_key(|(id, ..)| *id);
        Self(rows)
    }
}

/// Minidvodbs ready to be taken in.
pub struct NewMinidvodbs {
    ids: Option<RangeInclusive<u64>>,
    are_in_order: bool,
    /// The number of the last one that was eligible before, and then.
    numbers: (u64, u64),
    records: Records,
    /// By group: the number, the id and the hash of the entry.
    eligible: Vec<(Group, u64, u64, u64)>,
    buckets: Vec<u64>,
}

impl NewMinidvodbs {
    /// Makes minidvodbs ready, for a ledger whose last eligible one has this number.
    pub fn of(minidvodbs: &[Minidvodb], last_number: u64) -> Result<Self, Failure> {
        let count = minidvodbs.len();
        let (mut records, mut eligible) = (Records::with_room_for(count), Vec::with_capacity(count));
        let mut buckets = Vec::new();
        let mut number = last_number;
        for minidvodb in minidvodbs {
            let mut own_number = 0;
            if minidvodb.is_eligible() {
                number += 1;
                own_number = number;
                let (group, id) = (&minidvodb.group, minidvodb.id.0);
                let key = (group.as_str(), number);
                let hash = entry_hash::<(&str, u64), u64>(tables::ELIGIBLE.name(), &key, &id);
                eligible.push((group.clone(), number, id, hash));
            }
            let record = MinidvodbRecord::<&str>::of(minidvodb, own_number);
            records.add(tables::MINIDVODBS.name(), minidvodb.id.0, &record)?;
            push_new(&mut buckets, minidvodb.id.0 / BUCKET_IDS);
        }
        eligible.sort_unstable();
        let ids = minidvodbs.first().zip(minidvodbs.last()).map(|(first, last)| first.id.0..=last.id.0);
        let are_in_order = minidvodbs.is_sorted_by(|one, next| one.id < next.id);
        Ok(Self { ids, are_in_order, numbers: (last_number, number), records, eligible, buckets })
    }

    /// The number of the last eligible one, once they are taken in.
    pub fn last_number(&self) -> u64 {
        self.numbers.1
    }
}

/// Copies that rows of the database have become, ready to be written; both sides are the same.
#[derive(Default)]
pub struct Adopted {
    copies: Records,
    /// The ids of the copies that are just like their rows, and those of the rows.
    level: Vec<(u64, u64)>,
    /// The others, by id: their minidvodbs.
    ahead: Vec<(u64, u64)>,
    /// What their rows hold.
    synced: Records,
    pending: Vec<(Host, Group, u64)>,
    /// By minidvodb and machine: the copy, and the hash of the entry.
    pairs: Vec<(u64, Machine, u64, u64)>,
    /// By machine and final path: the copy, and the hash of the entry.
    final_paths: Vec<(Machine, String, u64, u64)>,
    gathered: Gathered,
    buckets: Vec<u64>,
}

impl Adopted {
    /// Makes copies ready, whose ids rise.
    pub fn of(adopted: &[(Copy, TableRow)]) -> Result<Self, Failure> {
        let mut all = Self::with_room_for(adopted.len());
        adopted.iter().try_for_each(|(copy, row)| all.add(copy, row))?;
        all.finish();
        Ok(all)
    }

    /// None yet, with room for so many that are just like their rows.
    pub fn with_room_for(count: usize) -> Self {
        Self {
            copies: Records::with_room_for(count),
            level: Vec::with_capacity(count),
            pairs: Vec::with_capacity(count),
            final_paths: Vec::with_capacity(count),
            ..Self::default()
        }
    }

    /// Makes one more ready, whose id is above those before it.
    pub fn add(&mut self, copy: &Copy, row: &TableRow) -> Result<(), Failure> {
        let (id, minidvodb) = (copy.id.0, copy.minidvodb_id.0);
        self.copies.add(tables::COPIES.name(), id, &CopyRecord::<&str>::of(copy))?;
        self.gathered.copy(None, Some(copy));
        if copy.is_to_be_made() {
            self.pending.push((copy.host.clone(), copy.group.clone(), id));
        }
        if row.is_of(copy) {
            self.level.push((id, row.id));
        } else {
            self.ahead.push((id, minidvodb));
            self.synced.add(tables::SYNCED.name(), id, &TableRowRecord::<&str>::of(row))?;
        }
        let (machine, path) = (copy.machine.as_str(), copy.final_path());
        let hash = entry_hash::<(u64, &str), u64>(tables::PAIRS.name(), &(minidvodb, machine), &id);
        self.pairs.push((minidvodb, copy.machine.clone(), id, hash));
        let hash = entry_hash::<(&str, &str), u64>(tables::FINAL_PATHS.name(), &(machine, &path), &id);
        self.final_paths.push((copy.machine.clone(), path, id, hash));
        push_new(&mut self.buckets, minidvodb / BUCKET_IDS);
        Ok(())
    }

    /// Brings what has keys of its own into their order.
    pub fn finish(&mut self) {
        self.pairs.sort_unstable();
        self.final_paths.sort_unstable();
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

/// Appends what is not the last one already.
fn push_new(buckets: &mut Vec<u64>, bucket: u64) {
    if buckets.last() != Some(&bucket) {
        buckets.push(bucket);
    }
}

impl Change<'_> {
    /// Takes minidvodbs in; false, and nothing is done, where they are not in the order of their ids, or one with an
    /// id between the first and the last one's is known already, or their numbers are given to others.
    pub fn import_new(&mut self, new: &NewMinidvodbs) -> Result<bool, Failure> {
        let Some(ids) = new.ids.clone() else { return Ok(true) };
        if !new.are_in_order
            || new.numbers.0 != self.counters.eligible_number
            || self.tables.minidvodbs.table.range(ids)?.next().is_some()
        {
            return Ok(false);
        }
        self.counters.eligible_number = new.numbers.1;
        // What their rows are to this ledger may be another thing now.
        new.buckets.iter().try_for_each(|&bucket| self.doubt_bucket(bucket))?;
        let taken = self.tables.minidvodbs.put_new(new.records.iter())?;
        let eligible =
            new.eligible.iter().map(|(group, number, id, hash)| ((group.as_str(), *number), *id, *hash));
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

    /// Gives out so many ids for copies; false where the first of them is not this one.
    pub fn give_copy_ids(&mut self, first: CopyId, count: u64) -> bool {
        let is_next = self.counters.copy_id + 1 == first.0;
        if is_next {
            self.counters.copy_id += count;
        }
        is_next
    }

    /// Writes copies that rows of the database have become, under ids that were given a moment ago.
    ///
    /// # Errors
    /// Damaged, where a machine has a copy of a minidvodb all the same.
    pub fn put_adopted(&mut self, adopted: &Adopted) -> Result<(), Failure> {
        if adopted.is_empty() {
            return Ok(());
        }
        self.is_dirty = true;
        self.gathered.copies_of(&adopted.gathered);
        for (host, group, id) in &adopted.pending {
            self.tables.pending.put(&(host.as_str(), group.as_str(), *id), id)?;
        }
        for (id, minidvodb) in &adopted.ahead {
            self.tables.ahead.put(id, minidvodb)?;
        }
        let mut taken = self.tables.copies.put_new(adopted.copies.iter())?;
        taken.extend(self.tables.synced.put_new(adopted.synced.iter())?);
        taken.extend(self.put_level(&adopted.level)?);
        if !taken.is_empty() {
            return Err(Failure::Damaged("an id of a copy is given already".to_owned()));
        }
        self.put_pairs(&adopted.pairs)?;
        self.claim_final_paths(&adopted.final_paths)?;
        self.expect_rows_in(adopted.buckets.clone())
    }

    /// Notes what the rows of copies hold, now that both sides are the same.
    pub fn put_all_synced(&mut self, noted: &Noted) -> Result<(), Failure> {
        let (mut level, mut buckets) = (Vec::with_capacity(noted.0.len()), Vec::new());
        for (id, row, mark) in &noted.0 {
            if self.is_first_row(*id, row, *mark)? {
                level.push((id.0, row.id));
                push_new(&mut buckets, row.minidvodb_id.0 / BUCKET_IDS);
            } else {
                // A copy that has changed since stays ahead.
                self.put_synced(*id, row)?;
            }
        }
        if !self.put_level(&level)?.is_empty() {
            return Err(Failure::Damaged("a row of a copy is known and not known".to_owned()));
        }
        self.is_dirty |= !level.is_empty();
        let level: Vec<u64> = level.into_iter().map(|(id, _)| id).collect();
        self.tables.ahead.remove_all(&level)?;
        self.expect_rows_in(buckets)
    }

    /// Notes of copies that they are just like these rows; those of which a row is known are returned.
    fn put_level(&mut self, level: &[(u64, u64)]) -> Result<Vec<usize>, Failure> {
        let hash = |id, row| entry_hash::<u64, u64>(tables::LEVEL.name(), &id, &row);
        self.tables.level.put_new(level.iter().map(|&(id, row)| (id, row, hash(id, row))))
    }

    /// Whether a row is the first one of a copy, and the copy is just like it.
    fn is_first_row(&self, id: CopyId, row: &TableRow, mark: Mark) -> Result<bool, Failure> {
        if self.has_met(id.0)? {
            return Ok(false);
        }
        let Some(record) = self.tables.copies.table.get(id.0)? else { return Ok(false) };
        Ok(mark.is_of(record.value()) || row.is_of(&decode_copy(id.0, record.value())?))
    }

    fn expect_rows_in(&mut self, mut buckets: Vec<u64>) -> Result<(), Failure> {
        buckets.sort_unstable();
        buckets.dedup();
        buckets.into_iter().try_for_each(|bucket| self.expect_rows(bucket))
    }

    /// Puts copies into the unique index.
    fn put_pairs(&mut self, pairs: &[(u64, Machine, u64, u64)]) -> Result<(), Failure> {
        let entries = pairs
            .iter()
            .map(|(minidvodb, machine, copy, hash)| ((*minidvodb, machine.as_str()), *copy, *hash));
        let taken = self.tables.pairs.put_new(entries)?;
        let Some((minidvodb, machine, copy, _)) = taken.first().map(|&at| &pairs[at]) else { return Ok(()) };
        let by = self.tables.pairs.table.get((*minidvodb, machine.as_str()))?.map_or(0, |by| by.value());
        Err(twice(&PairTaken { copy: CopyId(*copy), by: CopyId(by) }))
    }

    /// Gives copies their final paths, as far as nobody has them.
    fn claim_final_paths(&mut self, paths: &[(Machine, String, u64, u64)]) -> Result<(), Failure> {
        let entries =
            paths.iter().map(|(machine, path, copy, hash)| ((machine.as_str(), path.as_str()), *copy, *hash));
        self.tables.final_paths.put_new(entries).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Desk, copy, desk, minidvodb};
    use super::*;
    use crate::model::Machine;

    fn minidvodbs(ids: impl IntoIterator<Item = u64>) -> Vec<Minidvodb> {
        ids.into_iter().map(|id| minidvodb(id, &format!("/data/ThreePi.{id}"))).collect()
    }

    fn row_of(copy: &Copy) -> TableRow {
        TableRow::of(1000 + copy.id.0, copy)
    }

    /// Copies of minidvodbs to ipp022, the first with this id, with their rows.
    fn adopted(first: u64, minidvodbs: &[Minidvodb]) -> Vec<(Copy, TableRow)> {
        let one = |(id, minidvodb)| copy(id, minidvodb, "ipp022", "ipp022");
        (first..).zip(minidvodbs).map(one).map(|copy| (copy.clone(), row_of(&copy))).collect()
    }

    fn import(change: &mut Change<'_>, minidvodbs: &[Minidvodb]) -> Result<bool, Failure> {
        let last = change.counters.eligible_number;
        change.import_new(&NewMinidvodbs::of(minidvodbs, last)?)
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
                    .filter_map(|copy| ledger.synced(copy.id).transpose())
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
                        assert!(import(change, minidvodb)?);
                    }
                    change.put_adopted(&Adopted::of(&adopted)?)
                })
                .unwrap();
            one_by_one
                .ledger
                .write(|change| {
                    for (minidvodb, (copy, row)) in minidvodbs.iter().zip(&adopted) {
                        change.import_minidvodb(minidvodb)?;
                        change.put_known_copy(copy)?;
                        change.put_synced(copy.id, row)?;
                    }
                    Ok(())
                })
                .unwrap();
        }
        assert_eq!(everything(&at_once), everything(&one_by_one));
        assert_eq!(everything(&at_once).2.len(), 12);
        let look = |desk: &Desk| {
            desk.ledger
                .read(|ledger| {
                    let mut digests = ledger.kept_digests()?;
                    // It has the id of the ledger.
                    digests.remove(tables::META.name());
                    Ok((digests, ledger.buckets()?, ledger.tallies()?, ledger.last_given()?))
                })
                .unwrap()
        };
        assert_eq!(look(&at_once), look(&one_by_one));
    }

    #[test]
    fn minidvodbs_among_which_one_is_known_are_not_taken_in_at_once() {
        let desk = desk();
        desk.ledger.write(|change| change.import_minidvodb(&minidvodbs([5])[0])).unwrap();
        for ids in [vec![4, 6], vec![5], vec![8, 7], vec![7, 7]] {
            assert!(
                !desk.ledger.write(|change| import(change, &minidvodbs(ids.clone()))).unwrap(),
                "{ids:?}"
            );
        }
        assert_eq!(everything(&desk).0.len(), 1);
        assert!(desk.ledger.write(|change| import(change, &minidvodbs([6, 8]))).unwrap());
        assert_eq!(everything(&desk).0.len(), 3);
    }

    #[test]
    fn a_pair_that_is_taken_stops_the_others() {
        let desk = desk();
        let three = minidvodbs([1, 2, 3]);
        desk.ledger.write(|change| change.put_adopted(&Adopted::of(&adopted(7, &three[1..2]))?)).unwrap();
        let refused = desk.ledger.write(|change| change.put_adopted(&Adopted::of(&adopted(8, &three))?));
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
        desk.ledger.write(|change| change.put_adopted(&Adopted::of(&adopted)?)).unwrap();
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
                change.put_synced(written[2].0.id, &TableRow { id: 5, ..row_of(&written[2].0) })
            })
            .unwrap();
        written.reverse();
        let rows = written.into_iter().map(|(copy, row)| (copy.id, row, Mark::NONE)).collect();
        desk.ledger.write(|change| change.put_all_synced(&Noted::of(rows))).unwrap();
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

    #[test]
    fn ids_and_numbers_that_others_have_taken_meanwhile_are_not_given_again() {
        let desk = desk();
        let new = NewMinidvodbs::of(&minidvodbs([1, 2]), 0).unwrap();
        desk.ledger.write(|change| change.import_minidvodb(&minidvodbs([9])[0])).unwrap();
        assert!(!desk.ledger.write(|change| change.import_new(&new)).unwrap());
        let gives = |first, count| {
            desk.ledger.write(|change| Ok(change.give_copy_ids(CopyId(first), count))).unwrap()
        };
        assert!(!gives(2, 1));
        desk.ledger
            .write(|change| {
                assert!(change.give_copy_ids(CopyId(1), 3));
                change.put_adopted(&Adopted::of(&adopted(1, &minidvodbs([1, 2, 3])))?)
            })
            .unwrap();
        assert!(!gives(1, 1) && !gives(3, 1) && gives(4, 1));
    }

    #[test]
    fn a_mark_tells_that_a_copy_has_changed() {
        let desk = desk();
        let written = adopted(1, &minidvodbs([1, 2]));
        let kept = desk.ledger.write(|change| {
            written.iter().try_for_each(|(copy, _)| change.put_known_copy(copy))?;
            change.copies_without_rows(&[1, 2])
        });
        let read = desk.ledger.read_copies(&kept.unwrap().unwrap()).unwrap();
        assert_eq!(read.iter().map(|(copy, _)| copy).collect::<Vec<_>>(), [&written[0].0, &written[1].0]);
        let changed = Copy { dtime_s: Some(9.0), ..written[1].0.clone() };
        let noted: Vec<_> =
            written.iter().zip(read).map(|((copy, row), (_, mark))| (copy.id, row.clone(), mark)).collect();
        desk.ledger
            .write(|change| {
                change.put_known_copy(&changed)?;
                change.put_all_synced(&Noted::of(noted))
            })
            .unwrap();
        let (_, copies, rows, ahead) = everything(&desk);
        assert_eq!((copies.len(), rows.len(), ahead), (2, 2, 1));
        let none = desk.ledger.read(|ledger| Ok(ledger.copies_without_rows(&[1, 2])?.is_none())).unwrap();
        assert!(none, "they have met their rows");
    }
}
