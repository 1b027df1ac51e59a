//! Reading what has changed in the database since both sides were the same, and finding where they differ.
//!
//! The server sums up its tables in buckets of minidvodb_ids; only buckets whose sums are not the ones
//! remembered are read, and once a day all of them. Invariant: the sum of a bucket is remembered only when its
//! rows, as they were in the moment it was taken, are what the ledger has.

mod everything;
mod first;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use jiff::Timestamp;

use super::settle::{self, ABSENT};
use super::{Machines, Manner, Met, Report, Stopped, groups_of};
use crate::database::{Database, RunRow, Trouble};
use crate::error::Result;
use crate::ledger::{Failure, Imported, Look, Snapshot};
use crate::model::{
    AbsolutePath, BUCKET_IDS, BucketKey, BucketSum, Buckets, COPY_TABLE, DatabaseRecord, EMPTY_SUM, Group,
    Minidvodb, MinidvodbId, MinidvodbState, NO_BUCKET, Stray, TableRow, UNKNOWN_SUM, is_same_text,
};
use crate::pass::Context;
use crate::plan::merge::{self, Known, Step};

/// So many rows are read, and written down, at once, from at most so many ranges of ids.
const ROWS_AT_ONCE: usize = 20_000;
const RANGES_AT_ONCE: usize = 100;
/// So many minidvodbs are asked for by their ids at once.
const IDS_AT_ONCE: usize = 1000;
/// So many differences are named.
const NAMED: usize = 20;
/// Where none of at least so many rows is there any more, it is not believed that all were deleted.
const ALL_GONE_MIN: u64 = 3;
/// Once a day everything is compared row by row: a sum may be the same by chance.
const COMPARED_EVERY_S: i64 = 24 * 3600;
/// The tables of the buckets.
const RUN: u64 = 0;
const PROCESSED: u64 = 1;
const COPY: u64 = COPY_TABLE;

/// What was found.
pub(super) struct Survey {
    pub(super) met: Met,
    /// Minidvodbs that are new here, or have changed.
    pub(super) minidvodbs: Vec<Minidvodb>,
    /// Minidvodbs that minidvodbRun has had, and has no more.
    pub(super) lost: Vec<Minidvodb>,
    /// What is new of the rows that no copy here stands for, and those that are none any more.
    pub(super) strays: Strays,
    /// The minidvodbs whose copies differ.
    pub(super) differing: BTreeSet<u64>,
    /// Those among them of which rows are gone, and the guard believes it.
    pub(super) to_bury: BTreeSet<u64>,
    pub(super) report: Report,
}

/// Rows of minidvodbRun that can't be taken, and rows of minidvodbCopy that belong to no minidvodb.
#[derive(Default)]
pub(super) struct Strays {
    new: Vec<Stray>,
    gone: Vec<Stray>,
}

/// Reads what has changed in the database, and applies the guard. A ledger that has not met this database before
/// has nothing that the guard could keep: then what comes is taken while it is read.
pub(super) fn survey(
    context: &Context,
    database: &mut Database,
    record: &DatabaseRecord,
    manner: Manner,
) -> Result<Survey, Stopped> {
    let identity = database.identity()?;
    database.begin_reading()?;
    let (groups, mut known, synced, doubts, ahead, knows_nothing) = context.ledger.read(|ledger| {
        let (groups, ahead, knows_nothing) =
            (groups_of(ledger)?, ledger.minidvodbs_ahead()?, first::knows_nothing(ledger)?);
        Ok((groups, ledger.buckets()?, ledger.count_synced()?, ledger.doubts()?, ahead, knows_nothing))
    })?;
    let names: Vec<String> = groups.iter().map(ToString::to_string).collect();
    let is_old = |at: Timestamp| context.now().as_second() - at.as_second() >= COMPARED_EVERY_S;
    let is_whole = record.groups != names || record.compared_at.is_none_or(is_old);
    if is_whole || manner.accepts_deletions {
        known.values_mut().for_each(|sum| *sum = UNKNOWN_SUM);
    }
    let takes_at_once = (synced == 0 || manner.accepts_deletions) && !manner.is_dry;
    let mut look = Looking {
        context,
        groups: &groups,
        is_dry: manner.is_dry,
        takes_at_once,
        news: BTreeSet::new(),
        minidvodbs: BTreeMap::new(),
        not_taken: HashMap::new(),
        strays: Strays::default(),
        differing: BTreeSet::new(),
        gone: BTreeSet::new(),
        lost: Vec::new(),
        report: Report::default(),
    };
    let none = BTreeSet::new();
    let to_settle = if synced == 0 && takes_at_once { &ahead } else { &none };
    let (sums, runs, copies) = if knows_nothing && takes_at_once {
        look.for_the_first_time(database)?
    } else if is_whole || manner.accepts_deletions {
        look.at_everything(database, &known, to_settle)?
    } else {
        look.at_what_differs(database, &known, to_settle)?
    };
    look.at_copies_ahead(database, &ahead)?;
    database.end_reading()?;
    let gone = look.count_gone(database)?;
    guard(context, database, record, &identity, gone, manner)?;
    guard_lost(context, database, look.lost.len() as u64, manner)?;
    let buckets = look.settled_buckets(&runs, &copies, &sums);
    let Looking { minidvodbs, lost, strays, differing, gone: to_bury, mut report, .. } = look;
    if manner.is_dry {
        report.differences.extend(strays.new.iter().map(ToString::to_string));
    }
    Ok(Survey {
        met: Met { identity, groups: names, is_whole, doubts, buckets },
        minidvodbs: minidvodbs.into_values().collect(),
        lost,
        strays,
        differing,
        to_bury,
        report,
    })
}

/// The buckets of a table whose rows are not as they were when both sides were the same.
fn differing_buckets(table: u64, sums: &Buckets, known: &Buckets) -> BTreeSet<u64> {
    let all = (table, 0)..=(table, u64::MAX);
    let there = sums.range(all.clone()).filter(|(key, sum)| known.get(*key) != Some(*sum));
    let gone = known.range(all).filter(|(key, sum)| !sums.contains_key(*key) && **sum != EMPTY_SUM);
    there.chain(gone).map(|((_, bucket), _)| *bucket).collect()
}

/// The ranges of ids that some buckets are, in parts with about so many rows.
fn parts(buckets: &BTreeSet<u64>, table: u64, sums: &Buckets) -> Vec<Vec<Range<u64>>> {
    let mut parts: Vec<Vec<Range<u64>>> = Vec::new();
    let mut rows = u64::MAX;
    for &bucket in buckets.iter().filter(|&&bucket| bucket != NO_BUCKET) {
        let range = bucket * BUCKET_IDS..(bucket + 1) * BUCKET_IDS;
        let count = sums.get(&(table, bucket)).map_or(0, |(count, _)| *count);
        let is_full = parts.last().is_none_or(|part| part.len() >= RANGES_AT_ONCE);
        if is_full || rows.saturating_add(count) > ROWS_AT_ONCE as u64 {
            parts.push(Vec::new());
            rows = 0;
        }
        rows += count;
        let Some(part) = parts.last_mut() else { continue };
        match part.last_mut().filter(|last| last.end == range.start) {
            Some(last) => last.end = range.end,
            None => part.push(range),
        }
    }
    parts
}

/// Refuses to believe that so many rows are gone, or that this is the database that was met before.
fn guard(
    context: &Context,
    database: &mut Database,
    record: &DatabaseRecord,
    identity: &str,
    gone: u64,
    manner: Manner,
) -> Result<(), Stopped> {
    let synced = context.ledger.read(|ledger| ledger.count_synced())?;
    if manner.accepts_deletions || synced == 0 || gone == 0 {
        return Ok(());
    }
    let name = &database.name;
    if record.identity.as_deref().is_some_and(|known| known != identity) {
        return Err(Stopped::Guard(format!(
            "another database answers as {name}, or its table was made anew: {gone} of the {synced} rows that were there at the last sync are gone"
        )));
    }
    if gone == synced && gone >= ALL_GONE_MIN {
        return Err(Stopped::Guard(format!(
            "none of the {synced} rows that {name} had at the last sync is there any more"
        )));
    }
    if merge::is_mass_deletion(gone, synced) {
        return Err(Stopped::Guard(format!(
            "{gone} of the {synced} rows that {name} had at the last sync are gone, more than can be believed"
        )));
    }
    if database.is_empty()? {
        return Err(Stopped::Guard(format!(
            "minidvodbCopy of {} is empty, and had {synced} rows at the last sync",
            database.name
        )));
    }
    Ok(())
}

/// Refuses to believe that so many minidvodbs are gone.
fn guard_lost(context: &Context, database: &Database, lost: u64, manner: Manner) -> Result<(), Stopped> {
    let all = context.ledger.read(|ledger| ledger.count_minidvodbs())?;
    if manner.accepts_deletions || !merge::is_mass_deletion(lost, all) {
        return Ok(());
    }
    Err(Stopped::Guard(format!(
        "minidvodbRun of {} has {lost} of the {all} minidvodbs no more that are known here, more than can be believed",
        database.name
    )))
}

/// A survey under way.
struct Looking<'c> {
    context: &'c Context,
    groups: &'c [Group],
    is_dry: bool,
    takes_at_once: bool,
    /// The ids of new or changed minidvodbs.
    news: BTreeSet<u64>,
    /// They themselves, by id, until they may be taken.
    minidvodbs: BTreeMap<u64, Minidvodb>,
    /// Why some minidvodbs can't be taken.
    not_taken: HashMap<u64, String>,
    strays: Strays,
    differing: BTreeSet<u64>,
    /// The minidvodbs of which rows are gone.
    gone: BTreeSet<u64>,
    /// The minidvodbs that minidvodbRun has had, and has no more.
    lost: Vec<Minidvodb>,
    report: Report,
}

/// The sums of all buckets; those of minidvodbRun and minidvodbProcessed that were read, and of minidvodbCopy.
type Read = (Buckets, BTreeSet<u64>, BTreeSet<u64>);

impl Looking<'_> {
    /// Reads the buckets that are not as they were when both sides were the same. The minidvodbs in `to_settle`,
    /// which have never met a row, are settled whatever is found, so where there is no row nothing need be compared.
    fn at_what_differs(
        &mut self,
        database: &mut Database,
        known: &Buckets,
        to_settle: &BTreeSet<u64>,
    ) -> Result<Read, Stopped> {
        let sums = database.buckets()?;
        let of = |table: u64| differing_buckets(table, &sums, known);
        let mut runs = of(RUN);
        runs.append(&mut of(PROCESSED));
        self.at_minidvodbs(database, &runs, &sums)?;
        let mut copies = of(COPY);
        copies.extend(self.news.iter().chain(self.not_taken.keys()).map(|id| id / BUCKET_IDS));
        self.at_copies(database, &copies, &sums, to_settle)?;
        Ok((sums, runs, copies))
    }

    /// The minidvodbs of the groups in some buckets; and those that this ledger has in these groups there,
    /// whichever group they are in now.
    fn at_minidvodbs(
        &mut self,
        database: &mut Database,
        buckets: &BTreeSet<u64>,
        sums: &Buckets,
    ) -> Result<(), Stopped> {
        let parts = parts(buckets, RUN, sums);
        let ranges = parts.concat();
        let mut missing = self.missing_in(&ranges)?;
        // While some are looked at, the next ones are read.
        thread::scope(|scope| {
            let (sender, receiver) = sync_channel(1);
            let (groups, parts, database) = (self.groups, &parts, &mut *database);
            let reader = scope.spawn(move || read_runs(database, groups, parts, &sender));
            let looked = receiver.into_iter().zip(parts).try_for_each(|(runs, ranges)| {
                self.context.check_stop()?;
                self.at_runs(runs, ranges, &mut missing)
            });
            let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            looked.and_then(|()| Ok(read?))
        })?;
        self.at_missing(database, missing, &ranges)
    }

    /// The minidvodbs that minidvodbRun was found not to have, in some ranges.
    fn missing_in(&self, ranges: &[Range<u64>]) -> Result<Missing, Stopped> {
        let mut absent = self.context.ledger.read(absent)?;
        absent.retain(|id| ranges.iter().any(|range| range.contains(id)));
        Ok(Missing { absent, ..Missing::default() })
    }

    /// All minidvodbs of the groups in some ranges, or some that come later; keeps what is new or has changed.
    fn at_runs(
        &mut self,
        mut runs: Vec<Run>,
        ranges: &[Range<u64>],
        missing: &mut Missing,
    ) -> Result<(), Stopped> {
        runs.sort_unstable_by_key(id_of);
        missing.find(runs.iter().map(id_of));
        let (groups, mut runs, mut news) = (self.groups, runs.into_iter().peekable(), Vec::new());
        let context = self.context;
        let changed = context.ledger.read(|ledger| {
            for range in ranges {
                ledger.each_minidvodb_in(range.clone(), |known| {
                    let id = known.id();
                    news.extend(std::iter::from_fn(|| runs.next_if(|run| id_of(run) < id)));
                    match runs.next_if(|run| id_of(run) == id) {
                        Some(Ok(run)) if known.is(&run) => {}
                        Some(run) => news.push(run),
                        None if !groups.iter().any(|group| group.as_str() == known.group()) => {}
                        None => {
                            missing.unseen.insert(id);
                        }
                    }
                })?;
            }
            news.extend(runs);
            let mut changed = Vec::new();
            for run in news {
                changed.extend(self.take_run(run, ledger)?);
            }
            Ok(changed)
        })?;
        self.keep(changed)
    }

    /// What was not among the minidvodbs of the groups, and what was found again.
    fn at_missing(
        &mut self,
        database: &mut Database,
        mut missing: Missing,
        ranges: &[Range<u64>],
    ) -> Result<(), Stopped> {
        let groups = self.groups;
        let unseen: Vec<u64> = std::mem::take(&mut missing.unseen).into_iter().collect();
        for ids in unseen.chunks(IDS_AT_ONCE) {
            let mut runs = Vec::new();
            database.each_run_of(ids, |run| runs.extend(taken(run, groups)))?;
            let seen: HashSet<u64> = runs.iter().map(id_of).collect();
            self.at_runs(runs, &[], &mut missing)?;
            let gone: Vec<u64> = ids.iter().filter(|id| !seen.contains(id)).copied().collect();
            self.leave_absent(&gone)?;
        }
        let absent: Vec<u64> = missing.absent.iter().copied().collect();
        for ids in absent.chunks(IDS_AT_ONCE) {
            database.each_run_of(ids, |run| missing.find(run.natural_id()))?;
        }
        self.drop_old_strays(ranges, &missing.found)
    }

    /// Minidvodbs that minidvodbRun does not have. One that it has had, and which therefore has no row in
    /// minidvodbProcessed any more either, is not eligible; one of a list that was imported is the operator's.
    fn leave_absent(&mut self, ids: &[u64]) -> Result<(), Stopped> {
        let (context, mut changed) = (self.context, Vec::new());
        context.ledger.read(|ledger| {
            for &id in ids {
                let stray =
                    Stray { minidvodb_id: id, row_id: 0, host: String::new(), why: ABSENT.to_owned() };
                if !ledger.strays_of(id)?.contains(&stray) {
                    self.strays.new.push(stray);
                }
                let minidvodb = ledger.minidvodb(MinidvodbId(id))?;
                let is_news = |m: &Minidvodb| m.is_from_database && m.processed_fault.is_some();
                changed.extend(minidvodb.filter(is_news));
            }
            Ok(())
        })?;
        changed.iter_mut().for_each(|minidvodb| minidvodb.processed_fault = None);
        self.lost.extend(changed);
        Ok(())
    }

    /// Strays of minidvodbRun whose rows can be taken now, or are gone; of those that were absent, only the ones that
    /// were `found`: another process may have missed more of them meanwhile.
    fn drop_old_strays(&mut self, ranges: &[Range<u64>], found: &HashSet<u64>) -> Result<(), Stopped> {
        let strays = self.context.ledger.read(|ledger| ledger.strays())?;
        for stray in strays.into_iter().filter(|stray| stray.row_id == 0) {
            let id = stray.minidvodb_id;
            let is_read = ranges.iter().any(|range| range.contains(&id));
            let stays = self.not_taken.contains_key(&id) || (stray.why == ABSENT && !found.contains(&id));
            if is_read && !stays {
                self.strays.gone.push(stray);
            }
        }
        Ok(())
    }

    /// Keeps minidvodbs that are new or have changed, until the guard has agreed.
    fn keep(&mut self, changed: Vec<Minidvodb>) -> Result<(), Stopped> {
        self.news.extend(changed.iter().map(|minidvodb| minidvodb.id.0));
        if self.takes_at_once {
            return Ok(take_minidvodbs(self.context, &changed, &mut self.report)?);
        }
        self.minidvodbs.extend(changed.into_iter().map(|minidvodb| (minidvodb.id.0, minidvodb)));
        Ok(())
    }

    /// The minidvodb of a row, if it is news.
    fn take_run(&mut self, run: Run, ledger: &Snapshot) -> Result<Option<Minidvodb>, Failure> {
        match run {
            Ok(minidvodb) if ledger.minidvodb(minidvodb.id)?.as_ref() == Some(&minidvodb) => Ok(None),
            Ok(minidvodb) => {
                if self.is_dry {
                    let state = minidvodb.state.as_str();
                    let line = format!("minidvodb {} ({}, {state}) would come", minidvodb.id, minidvodb.path);
                    self.report.differences.push(line);
                }
                Ok(Some(minidvodb))
            }
            Err((id, why)) => {
                let stray = self.refuse(id, &why);
                if !ledger.strays_of(id)?.contains(&stray) {
                    self.strays.new.push(stray);
                }
                Ok(None)
            }
        }
    }

    /// Notes why a minidvodb can't be taken.
    fn refuse(&mut self, id: u64, why: &str) -> Stray {
        self.not_taken.insert(id, why_refused(id, why));
        let why = format!("its row of minidvodbRun is not taken: {why}");
        Stray { minidvodb_id: id, row_id: 0, host: String::new(), why }
    }

    /// Every row of minidvodbCopy in some buckets.
    fn at_copies(
        &mut self,
        database: &mut Database,
        buckets: &BTreeSet<u64>,
        sums: &Buckets,
        to_settle: &BTreeSet<u64>,
    ) -> Result<(), Stopped> {
        for ranges in parts(buckets, COPY, sums) {
            self.context.check_stop()?;
            self.at_rows(database.copies_in(&ranges)?, &ranges, to_settle, |_| false)?;
        }
        if buckets.contains(&NO_BUCKET) {
            self.at_rows_of_nothing(database.rows_of_nothing()?)?;
        }
        Ok(())
    }

    /// Every row of minidvodbCopy in some ranges, which are in order, and what this ledger has there; `is_postponed`
    /// tells the minidvodbs there whose rows come later.
    fn at_rows(
        &mut self,
        rows: Vec<TableRow>,
        ranges: &[Range<u64>],
        to_settle: &BTreeSet<u64>,
        is_postponed: impl Fn(u64) -> bool,
    ) -> Result<(), Stopped> {
        let mut rows = by_minidvodb(rows);
        // The copies and strays here that have no row there.
        let mut alone = self.context.ledger.read(|ledger| {
            let mut alone = BTreeSet::new();
            for range in ranges {
                ledger.each_copied_id(range.clone(), |id| {
                    if !rows.contains_key(&id) && !to_settle.contains(&id) {
                        alone.insert(id);
                    }
                })?;
            }
            let strays = ledger.strays()?.into_iter();
            let strays = strays.filter(|stray| stray.row_id != 0 && stray.minidvodb_id != 0);
            // The ranges are in order, and there may be very many of both.
            let is_here = |id: &u64| {
                let at = ranges.partition_point(|range| range.end <= *id);
                ranges.get(at).is_some_and(|range| range.contains(id))
            };
            alone.extend(strays.map(|stray| stray.minidvodb_id).filter(is_here));
            alone.retain(|id| !is_postponed(*id));
            Ok(alone)
        })?;
        loop {
            for _ in rows.len()..ROWS_AT_ONCE {
                let Some(id) = alone.pop_first() else { break };
                rows.entry(id).or_default();
            }
            if rows.is_empty() {
                return Ok(());
            }
            self.compare(std::mem::take(&mut rows))?;
        }
    }

    /// The minidvodbs whose copies have changed here. One that minidvodbRun is known not to have is passed over.
    fn at_copies_ahead(&mut self, database: &mut Database, ahead: &BTreeSet<u64>) -> Result<(), Stopped> {
        let mut absent = self.context.ledger.read(absent)?;
        for gone in self.strays.gone.iter().filter(|stray| stray.row_id == 0) {
            absent.remove(&gone.minidvodb_id);
        }
        let rest = ahead.difference(&self.differing).filter(|id| !absent.contains(id));
        let rest: Vec<u64> = rest.copied().collect();
        if !self.is_dry {
            // Their rows are read when they are settled.
            self.differing.extend(rest);
            return Ok(());
        }
        for ids in rest.chunks(IDS_AT_ONCE) {
            let mut rows = by_minidvodb(database.copies_of(ids, false)?);
            for &id in ids {
                rows.entry(id).or_default();
            }
            self.compare(rows)?;
        }
        Ok(())
    }

    fn at_rows_of_nothing(&mut self, rows: Vec<(u64, String)>) -> Result<(), Stopped> {
        let known = self.context.ledger.read(|ledger| ledger.strays_of(0))?;
        let found: Vec<Stray> = rows.into_iter().map(|(id, host)| of_nothing(id, host)).collect();
        let is_in = |stray: &Stray, all: &[Stray]| all.iter().any(|other| other.row_id == stray.row_id);
        self.strays.gone.extend(known.iter().filter(|stray| !is_in(stray, &found)).cloned());
        self.strays.new.extend(found.into_iter().filter(|stray| !known.contains(stray)));
        Ok(())
    }

    /// Finds the minidvodbs among these whose copies and rows differ; where nothing can be lost by it, takes at
    /// once what the ledger can take without a word to the database.
    fn compare(&mut self, mut rows: BTreeMap<u64, Vec<TableRow>>) -> Result<(), Stopped> {
        let context = self.context;
        if self.takes_at_once {
            context.ledger.read(|ledger| {
                let mut others = Vec::new();
                for &id in rows.keys() {
                    if !self.is_of_interest(ledger, id)? {
                        others.push(id);
                    }
                }
                others.iter().for_each(|id| drop(rows.remove(id)));
                Ok(())
            })?;
            for (id, is_gone) in settle::take_alone(context, rows, &self.not_taken, &mut self.report)? {
                self.differing.insert(id);
                if is_gone {
                    self.gone.insert(id);
                }
            }
            return Ok(());
        }
        context
            .ledger
            .read(|ledger| {
                let machines = Machines::of(ledger)?;
                while let Some((id, mut rows)) = rows.pop_first() {
                    if ledger.is_level(id, &rows)? || !self.is_of_interest(ledger, id)? {
                        continue;
                    }
                    machines.spell(&mut rows);
                    let known = known_of(ledger, id)?;
                    let is_taken = self.news.contains(&id) || ledger.minidvodb(MinidvodbId(id))?.is_some();
                    let not_taken = match is_taken {
                        true => None,
                        false => Some(why_not_taken(ledger, id, self.not_taken.get(&id))?),
                    };
                    let steps =
                        merge::merge(rows.clone(), &known, not_taken.as_deref(), |host| machines.get(host));
                    if !is_difference(ledger, id, &steps)? {
                        continue;
                    }
                    if self.is_dry {
                        let lines = steps.iter().map(|step| told(step, id, &known, &rows));
                        self.report.differences.extend(lines);
                    }
                    if steps.iter().any(|step| matches!(step, Step::Bury(_))) {
                        self.gone.insert(id);
                    }
                    self.differing.insert(id);
                }
                Ok(())
            })
            .map_err(Stopped::from)
    }

    /// How many rows are gone at this moment, and not only in the one that was read: another process may have
    /// written them since.
    fn count_gone(&mut self, database: &mut Database) -> Result<u64, Stopped> {
        let (ids, mut gone) = (self.gone.iter().copied().collect::<Vec<_>>(), 0);
        self.gone.clear();
        for ids in ids.chunks(IDS_AT_ONCE) {
            let mut rows = by_minidvodb(database.copies_of(ids, false)?);
            self.context.ledger.read(|ledger| {
                let machines = Machines::of(ledger)?;
                for &id in ids {
                    let mut rows = rows.remove(&id).unwrap_or_default();
                    machines.spell(&mut rows);
                    let known = known_of(ledger, id)?;
                    let steps = merge::merge(rows, &known, None, |host| machines.get(host));
                    let here = steps.iter().filter(|step| matches!(step, Step::Bury(_))).count() as u64;
                    if here > 0 {
                        self.gone.insert(id);
                        gone += here;
                    }
                }
                Ok(())
            })?;
        }
        Ok(gone)
    }

    /// Whether a minidvodb is of a group that is read, or has a copy or a stray here.
    fn is_of_interest(&self, ledger: &Snapshot, id: u64) -> Result<bool, Failure> {
        if self.news.contains(&id) || self.not_taken.contains_key(&id) {
            return Ok(true);
        }
        let minidvodb = ledger.minidvodb(MinidvodbId(id))?;
        Ok(minidvodb.is_some_and(|minidvodb| self.groups.contains(&minidvodb.group))
            || !ledger.copies_of(MinidvodbId(id))?.is_empty()
            || !ledger.strays_of(id)?.is_empty())
    }

    /// The buckets that were read, with their sums where both sides are the same now.
    fn settled_buckets(
        &self,
        runs: &BTreeSet<u64>,
        copies: &BTreeSet<u64>,
        sums: &Buckets,
    ) -> Vec<(BucketKey, BucketSum)> {
        let differing: HashSet<u64> = self.differing.iter().map(|id| id / BUCKET_IDS).collect();
        let keys = runs.iter().flat_map(|&bucket| [(RUN, bucket), (PROCESSED, bucket)]);
        let sum = |key: BucketKey| (key, sums.get(&key).copied().unwrap_or(EMPTY_SUM));
        let copies = copies.iter().map(|&bucket| match differing.contains(&bucket) {
            true => ((COPY, bucket), UNKNOWN_SUM),
            false => sum((COPY, bucket)),
        });
        keys.map(sum).chain(copies).collect()
    }
}

/// Reads the minidvodbs of some groups in one part of the ids after the other, until nobody wants more.
fn read_runs(
    database: &mut Database,
    groups: &[Group],
    parts: &[Vec<Range<u64>>],
    sender: &SyncSender<Vec<Run>>,
) -> Result<(), Trouble> {
    let names: Vec<&str> = groups.iter().map(Group::as_str).collect();
    for ranges in parts {
        let mut runs = Vec::new();
        database.each_run(&names, ranges, |run| runs.extend(taken(run, groups)))?;
        if sender.send(runs).is_err() {
            break;
        }
    }
    Ok(())
}

/// A row of minidvodbRun: a minidvodb; or the id of one that can't be taken, and why.
type Run = Result<Minidvodb, (u64, String)>;

/// What a row of minidvodbRun stands for; none where its id is none.
fn taken(run: &RunRow<'_>, groups: &[Group]) -> Option<Run> {
    let id = run.natural_id()?;
    Some(minidvodb_of(MinidvodbId(id), run, groups).map_err(|why| (id, why)))
}

fn id_of(run: &Run) -> u64 {
    match run {
        Ok(minidvodb) => minidvodb.id.0,
        Err((id, _)) => *id,
    }
}

/// What is not among the minidvodbs of the groups.
#[derive(Default)]
struct Missing {
    /// Those that this ledger has in these groups.
    unseen: BTreeSet<u64>,
    /// Those that minidvodbRun was found not to have, and those of them that it has now.
    absent: HashSet<u64>,
    found: HashSet<u64>,
}

impl Missing {
    fn find(&mut self, ids: impl IntoIterator<Item = u64>) {
        if !self.absent.is_empty() {
            self.found.extend(ids.into_iter().filter(|id| self.absent.remove(id)));
        }
    }
}

/// Why the rows of a minidvodb that can't be taken can't be, either.
fn why_refused(minidvodb: u64, why: &str) -> String {
    format!("its minidvodb {minidvodb} is not taken: {why}")
}

/// A row that belongs to no minidvodb.
fn of_nothing(row_id: u64, host: String) -> Stray {
    Stray { minidvodb_id: 0, row_id, host, why: "its minidvodb_id is NULL, or no id".to_owned() }
}

/// The minidvodbs that minidvodbRun is known not to have.
pub(super) fn absent(ledger: &Snapshot) -> Result<HashSet<u64>, Failure> {
    let strays = ledger.strays()?.into_iter();
    Ok(strays
        .filter(|stray| stray.row_id == 0 && stray.why == ABSENT)
        .map(|stray| stray.minidvodb_id)
        .collect())
}

/// Whether there is anything to do: a step, or strays that are not the ones known.
fn is_difference(ledger: &impl Look, minidvodb: u64, steps: &[Step]) -> Result<bool, Failure> {
    let mut left: Vec<&Stray> = Vec::new();
    for step in steps {
        match step {
            Step::Leave(stray) => left.push(stray),
            _ => return Ok(true),
        }
    }
    let strays = ledger.strays_of(minidvodb)?;
    let mut known: Vec<&Stray> = strays.iter().filter(|stray| stray.row_id != 0).collect();
    left.sort_unstable_by_key(|stray| stray.row_id);
    known.sort_unstable_by_key(|stray| stray.row_id);
    Ok(left != known)
}

/// The copies of a minidvodb, with their rows at the last sync.
pub(super) fn known_of(ledger: &impl Look, minidvodb: u64) -> Result<Vec<Known>, Failure> {
    let mut known = Vec::new();
    for copy in ledger.copies_of(MinidvodbId(minidvodb))? {
        let synced = ledger.synced(copy.id)?;
        // A folder that is being exchanged is settled by a pass, whatever the row says meanwhile.
        let is_exchanging = copy.recopy().is_some_and(|recopy| recopy.exchanging.is_some());
        let is_under_way = is_exchanging
            || ledger.open_attempts(&copy.host, &copy.group)?.iter().any(|(open, _)| *open == copy.id);
        known.push(Known { copy, synced, is_under_way });
    }
    Ok(known)
}

/// Why the ledger does not have a minidvodb.
pub(super) fn why_not_taken(
    ledger: &impl Look,
    minidvodb: u64,
    found: Option<&String>,
) -> Result<String, Failure> {
    if let Some(why) = found {
        return Ok(why.clone());
    }
    let stray = ledger.strays_of(minidvodb)?.into_iter().find(|stray| stray.row_id == 0);
    Ok(stray.map_or_else(
        || format!("its minidvodb {minidvodb} is not known here"),
        |stray| format!("its minidvodb {minidvodb} is not taken: {}", stray.why),
    ))
}

pub(super) fn by_minidvodb(rows: Vec<TableRow>) -> BTreeMap<u64, Vec<TableRow>> {
    let mut by_id: BTreeMap<u64, Vec<TableRow>> = BTreeMap::new();
    for row in rows {
        by_id.entry(row.minidvodb_id.0).or_default().push(row);
    }
    by_id
}

/// A minidvodb as its row has it.
fn minidvodb_of(id: MinidvodbId, run: &RunRow<'_>, groups: &[Group]) -> Result<Minidvodb, String> {
    let text = |refused: crate::model::Refused| refused.to_string();
    // A group that the database takes for one of ours is ours.
    let is_ours = |group: &&Group| is_same_text(group.as_str(), run.group);
    let group = match groups.iter().find(|group| group.as_str() == run.group) {
        Some(group) => group.clone(),
        None => match groups.iter().find(is_ours) {
            Some(group) => group.clone(),
            None => Group::parse(run.group.trim_end_matches(' ')).map_err(text)?,
        },
    };
    let state = if is_same_text(run.state, "merged") { "merged" } else { run.state.trim_end_matches(' ') };
    let path = AbsolutePath::parse(run.path).map_err(text)?;
    path.expect_name().map_err(text)?;
    Ok(Minidvodb {
        id,
        minidvodb_name: run.name.map(str::to_owned),
        group,
        path,
        state: MinidvodbState::parse(state).map_err(text)?,
        is_from_database: true,
        processed_fault: match run.fault {
            None => None,
            Some(fault) => {
                Some(i16::try_from(fault).map_err(|_| format!("its fault {fault} is no smallint"))?)
            }
        },
    })
}

/// A difference in words.
fn told(step: &Step, minidvodb: u64, known: &[Known], rows: &[TableRow]) -> String {
    let copy = |id| {
        known.iter().find(|known| known.copy.id == id).map(|known| crate::model::Content::of(&known.copy))
    };
    let here = |id| copy(id).map_or_else(String::new, |content| content.to_string());
    // As it lies there, not as it is understood.
    let there = |row: &TableRow| {
        rows.iter().find(|shown| shown.id == row.id).map_or_else(String::new, |row| row.content.to_string())
    };
    match step {
        Step::Adopt(row) => format!("minidvodb {minidvodb}: row {} would come: {}", row.id, there(row)),
        Step::Remember(id, row) => {
            format!("minidvodb {minidvodb}: copy {id} and row {} are the same", row.id)
        }
        Step::Take(id, row) => {
            format!("minidvodb {minidvodb}: copy {id} would change: here {}; there {}", here(*id), there(row))
        }
        Step::Push(id, row) => {
            format!(
                "minidvodb {minidvodb}: row {} would change: there {}; here {}",
                row.id,
                there(row),
                here(*id)
            )
        }
        Step::Insert(id) => format!("minidvodb {minidvodb}: copy {id} would go: {}", here(*id)),
        Step::Conflict(id, row, winner) => format!(
            "minidvodb {minidvodb}: copy {id} and row {} conflict: here {}; there {}; {} would win",
            row.id,
            here(*id),
            there(row),
            match winner {
                merge::Winner::Ledger => "the ledger",
                merge::Winner::Database => "the database",
            }
        ),
        Step::Bury(id) => format!("minidvodb {minidvodb}: the row of copy {id} is gone: {}", here(*id)),
        Step::Leave(stray) => stray.to_string(),
        Step::Wait(id) => format!("minidvodb {minidvodb}: copy {id} is under way, and is settled after that"),
    }
}

/// Writes down what is new of minidvodbs.
pub(super) fn take_minidvodbs(
    context: &Context,
    minidvodbs: &[Minidvodb],
    report: &mut Report,
) -> Result<()> {
    for some in minidvodbs.chunks(ROWS_AT_ONCE) {
        context.check_stop()?;
        report.minidvodbs += context.ledger.write(|change| {
            let mut count = 0;
            for minidvodb in some {
                count += u64::from(change.import_minidvodb(minidvodb)? != Imported::Unchanged);
            }
            Ok(count)
        })?;
    }
    Ok(())
}

/// Writes down the rows that belong to no minidvodb here, and forgets those that are gone; new ones are named.
pub(super) fn take_strays(context: &Context, strays: &Strays, report: &mut Report) -> Result<()> {
    let Strays { new, gone } = strays;
    if new.is_empty() && gone.is_empty() {
        return Ok(());
    }
    context.ledger.write(|change| {
        gone.iter().try_for_each(|stray| change.remove_stray(stray))?;
        new.iter().try_for_each(|stray| change.put_stray(stray).map(drop))
    })?;
    report.notes.extend(new.iter().take(NAMED).map(ToString::to_string));
    if let Some(more) = new.len().checked_sub(NAMED).filter(|&more| more > 0) {
        report.notes.push(format!("and {more} more; `minidvodbcopy database show` names all"));
    }
    Ok(())
}
