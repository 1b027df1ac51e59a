//! Making what a database has ready for a ledger that knows nothing yet: minidvodbs, and the copies that rows become.
//!
//! Invariant: the ledger is not touched, so that a thread of its own can do this. Ids, numbers and hosts are what
//! the ledger would give as it was in the beginning; whoever writes looks whether that is so still.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use jiff::Timestamp;
use smol_str::SmolStr;

use super::Machines;
use crate::ledger::{ADOPTED_AT_ONCE, Adopted, Change, Failure, Look as _, NewMinidvodbs, Snapshot};
use crate::model::{Content, CopyId, Group, Host, Minidvodb, MinidvodbId, Name, Stray, TableRow};
use crate::plan::merge::{self, Place, Step};

/// Rows that are ready to be written down.
pub(super) struct Ready {
    /// They themselves, as they came: for the usual way, where this one is closed.
    pub(super) rows: Vec<TableRow>,
    /// The id of the first copy.
    first: CopyId,
    pub(super) adopted: Vec<Adopted>,
    /// The hosts of the copies, each once.
    pub(super) hosts: Vec<Met>,
    /// The minidvodbs of which rows can't be taken, and those rows.
    pub(super) left: Vec<(u64, Vec<Stray>)>,
    /// The ledger's doubts in the beginning.
    doubts: u64,
}

impl Ready {
    /// Whether the ledger is still as it was taken to be; then the ids of the copies are given out.
    pub(super) fn claim(&self, change: &mut Change<'_>) -> Result<bool, Failure> {
        let Some(minidvodbs) = self.minidvodbs() else { return Ok(true) };
        let machines = Machines::of(change)?;
        // Of a minidvodb that somebody has imported meanwhile, the group or the folder's name may be another one.
        Ok(change.doubts()? == self.doubts
            && change.has_no_copies_of(minidvodbs)?
            && self.hosts.iter().all(|host| host.is_still(&machines))
            && change.give_copy_ids(self.first, self.count()))
    }

    /// The minidvodbs from the first row's to the last one's.
    fn minidvodbs(&self) -> Option<RangeInclusive<u64>> {
        let (first, last) = self.rows.first().zip(self.rows.last())?;
        Some(first.minidvodb_id.0..=last.minidvodb_id.0)
    }

    /// How many copies there are.
    pub(super) fn count(&self) -> u64 {
        self.adopted.iter().map(|adopted| adopted.len() as u64).sum()
    }
}

/// A host as rows name it, and the place that the last of them led to.
pub(super) struct Met {
    host: SmolStr,
    pub(super) place: Place,
}

impl Met {
    /// Whether the name still leads to the same host and machine.
    fn is_still(&self, machines: &Machines) -> bool {
        let host = machines.spelled(&self.host).map_or(self.host.trim_end_matches(' '), Host::as_str);
        host == self.place.host.as_str() && machines.get(&self.place.host) == self.place.machine
    }
}

/// What is known of the minidvodbs and hosts while rows become copies.
pub(super) struct Preparing {
    machines: Machines,
    doubts: u64,
    now: Timestamp,
    /// The copy's id, and the number of an eligible minidvodb, that were given last.
    last: (CopyId, u64),
    groups: Vec<Group>,
    /// The minidvodbs that were taken, by id: the place of the group, and the folder's name.
    taken: Vec<(u64, usize, Name)>,
    /// Where among them the last one was found: the next one mostly comes behind it.
    found: usize,
    /// Why others were not.
    not_taken: HashMap<u64, String>,
}

impl Preparing {
    pub(super) fn begin(ledger: &Snapshot, now: Timestamp) -> Result<Self, Failure> {
        let (machines, doubts, last) = (Machines::of(ledger)?, ledger.doubts()?, ledger.last_given()?);
        let (groups, taken, not_taken) = (Vec::new(), Vec::new(), HashMap::new());
        Ok(Self { machines, doubts, now, last, groups, taken, found: 0, not_taken })
    }

    /// Minidvodbs; in the order of their ids they are taken in faster.
    pub(super) fn minidvodbs(&mut self, minidvodbs: &[Minidvodb]) -> Result<NewMinidvodbs, Failure> {
        let before = self.taken.len();
        for minidvodb in minidvodbs {
            let place = self.groups.iter().position(|group| *group == minidvodb.group);
            let place = place.unwrap_or_else(|| {
                self.groups.push(minidvodb.group.clone());
                self.groups.len() - 1
            });
            self.taken.push((minidvodb.id.0, place, minidvodb.folder_name()?));
        }
        // Some come behind the others.
        let new = self.taken.get(before.saturating_sub(1)..).unwrap_or_default();
        if !new.is_sorted_by_key(|(id, ..)| id) {
            self.taken.sort_unstable_by_key(|(id, ..)| *id);
        }
        let new = NewMinidvodbs::of(minidvodbs, self.last.1)?;
        self.last.1 = new.last_number();
        Ok(new)
    }

    /// A minidvodb that can't be taken, and why.
    pub(super) fn refuse(&mut self, minidvodb: u64, why: String) {
        self.not_taken.insert(minidvodb, why);
    }

    /// Rows, in the order of their minidvodbs.
    pub(super) fn copies(&mut self, rows: Vec<TableRow>) -> Result<Ready, Failure> {
        let mut becoming = Becoming::new(self, rows.len());
        let mut rows = rows.into_iter().peekable();
        while let Some(row) = rows.next() {
            let id = row.minidvodb_id;
            if rows.peek().is_none_or(|next| next.minidvodb_id != id) {
                becoming.alone(row)?;
                continue;
            }
            let mut of_one = vec![row];
            while let Some(more) = rows.next_if(|row| row.minidvodb_id == id) {
                of_one.push(more);
            }
            becoming.together(of_one)?;
        }
        let mut ready = becoming.ready;
        ready.adopted.iter_mut().for_each(Adopted::finish);
        // From the next rows on they are known.
        ready.hosts.iter().for_each(|met| self.machines.meet(&met.place.host));
        Ok(ready)
    }

    fn minidvodb(&mut self, id: MinidvodbId) -> Option<(MinidvodbId, &Group, &Name)> {
        let is_at = |at: usize| self.taken.get(at).is_some_and(|(taken, ..)| *taken == id.0);
        let near = [self.found, self.found + 1].into_iter().find(|&at| is_at(at));
        let at = near.or_else(|| self.taken.binary_search_by_key(&id.0, |(id, ..)| *id).ok())?;
        self.found = at;
        let (_, group, name) = self.taken.get(at)?;
        Some((id, self.groups.get(*group)?, name))
    }
}

/// Rows becoming copies.
struct Becoming<'p> {
    preparing: &'p mut Preparing,
    ready: Ready,
    /// Where the last row led to: most rows lead there.
    last: Option<Led>,
}

/// Where a row led to.
struct Led {
    /// Its host and its path.
    from: (SmolStr, String),
    /// The host as it is written down.
    host: SmolStr,
    place: Place,
}

impl Led {
    /// Whether another row leads there, too.
    fn is_where(&self, content: &Content) -> bool {
        (&self.from.0, &self.from.1) == (&content.host, &content.path)
            && matches!(content.state.as_str(), "new" | "full")
    }
}

impl<'p> Becoming<'p> {
    fn new(preparing: &'p mut Preparing, rows: usize) -> Self {
        let first = CopyId(preparing.last.0.0 + 1);
        let (rows, doubts) = (Vec::with_capacity(rows), preparing.doubts);
        let ready = Ready { rows, first, adopted: Vec::new(), hosts: Vec::new(), left: Vec::new(), doubts };
        Self { preparing, ready, last: None }
    }

    /// The only row of its minidvodb.
    fn alone(&mut self, mut row: TableRow) -> Result<(), Failure> {
        let is_refused = self.preparing.not_taken.contains_key(&row.minidvodb_id.0);
        // It is put back at once: the place cannot be lent while all of this is changed.
        let Some(last) = self.last.take_if(|last| !is_refused && last.is_where(&row.content)) else {
            return self.together(vec![row]);
        };
        row.content.host.clone_from(&last.host);
        self.adopt(&row, &last.place)?;
        self.last = Some(last);
        self.ready.rows.push(row);
        Ok(())
    }

    /// The rows of one minidvodb. One that is neither taken nor refused is of no interest here.
    fn together(&mut self, rows: Vec<TableRow>) -> Result<(), Failure> {
        let Some(id) = rows.first().map(|row| row.minidvodb_id) else { return Ok(()) };
        let is_taken = self.preparing.minidvodb(id).is_some();
        let not_taken = self.preparing.not_taken.get(&id.0).map(String::as_str);
        let mut spelled = rows.clone();
        self.preparing.machines.spell(&mut spelled);
        self.ready.rows.extend(rows);
        let mut left = Vec::new();
        let machines = &self.preparing.machines;
        let steps = match is_taken || not_taken.is_some() {
            true => merge::merge(spelled, &[], not_taken, |host| machines.get(host)),
            false => Vec::new(),
        };
        for step in steps {
            match step {
                Step::Adopt(row) => {
                    match merge::place(&row, None, |host| self.preparing.machines.get(host)) {
                        Ok(place) => self.meet(row, place)?,
                        Err(why) => left.push(Stray::of(&row, why)),
                    }
                }
                Step::Leave(stray) => left.push(stray),
                _ => {}
            }
        }
        if !left.is_empty() {
            self.ready.left.push((id.0, left));
        }
        Ok(())
    }

    /// A row becomes a copy that leads to this place, perhaps as the first one.
    fn meet(&mut self, row: TableRow, place: Place) -> Result<(), Failure> {
        self.adopt(&row, &place)?;
        let came = self.ready.rows.iter().rev().find(|came| came.id == row.id).unwrap_or(&row);
        let from = (came.content.host.clone(), came.content.path.clone());
        if !self.ready.hosts.iter().any(|met| met.host == from.0) {
            self.ready.hosts.push(Met { host: from.0.clone(), place: place.clone() });
        }
        self.last = Some(Led { from, host: row.content.host, place });
        Ok(())
    }

    fn adopt(&mut self, row: &TableRow, place: &Place) -> Result<(), Failure> {
        let id = CopyId(self.preparing.last.0.0 + 1);
        let now = self.preparing.now;
        let Some(of) = self.preparing.minidvodb(row.minidvodb_id) else { return Ok(()) };
        let copy = merge::adopt(id, of, place, &row.content, now);
        if self.ready.adopted.last().is_none_or(|last| last.len() >= ADOPTED_AT_ONCE) {
            let room = self.ready.rows.capacity().min(ADOPTED_AT_ONCE);
            self.ready.adopted.push(Adopted::with_room_for(room));
        }
        if let Some(adopted) = self.ready.adopted.last_mut() {
            adopted.add(&copy, row)?;
        }
        self.preparing.last.0 = id;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;
    use crate::model::{AbsolutePath, MinidvodbState};

    fn minidvodb(id: u64) -> Minidvodb {
        Minidvodb {
            id: MinidvodbId(id),
            minidvodb_name: None,
            group: Group::parse("ThreePi").unwrap(),
            path: AbsolutePath::parse(&format!("/data/ThreePi.{id}")).unwrap(),
            state: MinidvodbState::Merged,
            processed_fault: Some(0),
            is_from_database: true,
        }
    }

    fn row(minidvodb: u64) -> TableRow {
        let content = Content {
            path: "/there".to_owned(),
            host: "ipp022".into(),
            fault: 0,
            state: "full".into(),
            epoch: Some(Timestamp::UNIX_EPOCH),
            dtime_s: None,
        };
        TableRow { id: 100 + minidvodb, minidvodb_id: MinidvodbId(minidvodb), content }
    }

    /// Whether copies that were made ready may be written after the ledger has changed.
    fn may_be_written(meanwhile: impl FnOnce(&mut Change<'_>) -> Result<(), Failure>) -> bool {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(dir.path().try_into().unwrap());
        ledger.write(|change| change.import_minidvodb(&minidvodb(9))).unwrap();
        let mut preparing = ledger.read(|ledger| Preparing::begin(ledger, Timestamp::UNIX_EPOCH)).unwrap();
        let new = preparing.minidvodbs(&[minidvodb(1), minidvodb(2)]).unwrap();
        let ready = preparing.copies(vec![row(1), row(2)]).unwrap();
        assert_eq!((ready.count(), ready.left.len()), (2, 0));
        assert!(ledger.write(|change| change.import_new(&new)).unwrap());
        ledger.write(meanwhile).unwrap();
        ledger.write(|change| ready.claim(change)).unwrap()
    }

    #[test]
    fn copies_made_ready_are_written_only_if_nobody_has_changed_what_they_were_made_of() {
        assert!(may_be_written(|_| Ok(())));
        let moved = Minidvodb { path: AbsolutePath::parse("/data/moved").unwrap(), ..minidvodb(1) };
        assert!(!may_be_written(|change| {
            change.raise_doubts();
            change.import_minidvodb(&moved).map(drop)
        }));
    }

    #[test]
    fn each_row_of_a_minidvodb_that_is_not_taken_is_left_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(dir.path().try_into().unwrap());
        ledger.write(|change| change.import_minidvodb(&minidvodb(9))).unwrap();
        let mut preparing = ledger.read(|ledger| Preparing::begin(ledger, Timestamp::UNIX_EPOCH)).unwrap();
        preparing.minidvodbs(&[minidvodb(1), minidvodb(3)]).unwrap();
        preparing.refuse(2, "its path is bad".to_owned());
        let ready = preparing.copies(vec![row(1), row(2), row(3), row(4)]).unwrap();
        assert_eq!((ready.rows.len(), ready.count()), (4, 2));
        let left: Vec<u64> = ready.left.iter().map(|(id, _)| *id).collect();
        assert_eq!(left, [2], "of one that is in no group here nothing is said");
    }
}
