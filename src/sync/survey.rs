//! Reading the database, and finding where both sides differ; changes nothing.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Machines, Manner, Report, Stopped, groups_of};
use crate::database::{Database, RunRow};
use crate::error::Result;
use crate::ledger::{Failure, Imported, Look, Snapshot};
use crate::model::{
    AbsolutePath, DatabaseRecord, Group, Minidvodb, MinidvodbId, MinidvodbState, Stray, TableRow,
    is_same_text,
};
use crate::pass::Context;
use crate::plan::merge::{self, Known, Step};

/// So many rows are read at once.
const ROWS_AT_ONCE: u64 = 20_000;
/// So many minidvodbs are asked for by their ids, or written down, at once.
const IDS_AT_ONCE: usize = 1000;
/// So many differences are named.
const NAMED: usize = 20;

/// What was found.
pub(super) struct Survey {
    /// What told the server apart from others.
    pub(super) identity: String,
    /// Minidvodbs that are new here, or have changed.
    pub(super) minidvodbs: Vec<Minidvodb>,
    /// Rows of minidvodbRun that can't be taken, and rows of minidvodbCopy that belong to no minidvodb.
    pub(super) strays: Vec<Stray>,
    /// The minidvodbs whose copies differ.
    pub(super) differing: Vec<u64>,
    pub(super) report: Report,
}

/// Reads everything, and applies the guard.
pub(super) fn survey(
    context: &Context,
    database: &mut Database,
    record: &DatabaseRecord,
    manner: Manner,
) -> Result<Survey, Stopped> {
    let identity = database.identity()?;
    database.begin_reading()?;
    let groups = context.ledger.read(groups_of)?;
    let mut look = Looking::new(context, manner.is_dry);
    look.at_minidvodbs(database, &groups)?;
    look.at_copies(database, &groups)?;
    look.at_what_was_not_seen(database)?;
    look.at_rows_of_nothing(database)?;
    guard(context, database, record, &identity, look.gone, manner)?;
    database.end_reading()?;
    let Looking { minidvodbs, strays, differing, mut report, .. } = look;
    if manner.is_dry {
        report.differences.extend(strays.iter().map(ToString::to_string));
    }
    Ok(Survey { identity, minidvodbs: minidvodbs.into_values().collect(), strays, differing, report })
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
    if manner.accepts_deletions || synced == 0 {
        return Ok(());
    }
    let name = &database.name;
    if record.identity.as_deref().is_some_and(|known| known != identity) && gone > 0 {
        return Err(Stopped::Guard(format!(
            "another database answers as {name}, or its table was made anew: {gone} of the {synced} rows that were there at the last sync are gone"
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

/// A survey under way.
struct Looking<'c> {
    context: &'c Context,
    is_dry: bool,
    /// New or changed minidvodbs, by id.
    minidvodbs: BTreeMap<u64, Minidvodb>,
    strays: Vec<Stray>,
    /// Why some minidvodbs can't be taken.
    not_taken: HashMap<u64, String>,
    /// Minidvodbs whose rows of minidvodbRun were seen, and those whose rows of minidvodbCopy were.
    seen_runs: HashSet<u64>,
    seen_copies: HashSet<u64>,
    /// Minidvodbs of this ledger that minidvodbRun does not have.
    absent: HashSet<u64>,
    differing: Vec<u64>,
    gone: u64,
    report: Report,
}

impl<'c> Looking<'c> {
    fn new(context: &'c Context, is_dry: bool) -> Self {
        Self {
            context,
            is_dry,
            minidvodbs: BTreeMap::new(),
            strays: Vec::new(),
            not_taken: HashMap::new(),
            seen_runs: HashSet::new(),
            seen_copies: HashSet::new(),
            absent: HashSet::new(),
            differing: Vec::new(),
            gone: 0,
            report: Report::default(),
        }
    }

    /// The minidvodbs of the groups; and those that this ledger has in these groups, wherever they are now.
    fn at_minidvodbs(&mut self, database: &mut Database, groups: &[Group]) -> Result<(), Stopped> {
        let names: Vec<&str> = groups.iter().map(Group::as_str).collect();
        let mut runs = Vec::new();
        database.each_run(&names, |run| runs.push(run))?;
        self.take_runs(&runs, groups)?;
        let mut unseen = Vec::new();
        self.context.ledger.read(|ledger| {
            ledger.each_minidvodb(|minidvodb| {
                if groups.contains(&minidvodb.group) && !self.seen_runs.contains(&minidvodb.id.0) {
                    unseen.push(minidvodb.id.0);
                }
                Ok(true)
            })
        })?;
        for ids in unseen.chunks(IDS_AT_ONCE) {
            let mut runs = Vec::new();
            database.each_run_of(ids, |run| runs.push(run))?;
            self.take_runs(&runs, groups)?;
        }
        self.absent.extend(unseen.into_iter().filter(|id| !self.seen_runs.contains(id)));
        Ok(())
    }

    /// Keeps what is new or has changed.
    fn take_runs(&mut self, runs: &[RunRow], groups: &[Group]) -> Result<(), Stopped> {
        for runs in runs.chunks(ROWS_AT_ONCE as usize) {
            self.context.ledger.read(|ledger| {
                for run in runs {
                    self.take_run(run, groups, ledger)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn take_run(&mut self, run: &RunRow, groups: &[Group], ledger: &Snapshot) -> Result<(), Failure> {
        let id = u64::try_from(run.id).unwrap_or_default();
        self.seen_runs.insert(id);
        match minidvodb_of(run, groups) {
            Ok(minidvodb) => {
                if ledger.minidvodb(minidvodb.id)?.as_ref() != Some(&minidvodb) {
                    if self.is_dry {
                        let state = minidvodb.state.as_str();
                        let line =
                            format!("minidvodb {} ({}, {state}) would come", minidvodb.id, minidvodb.path);
                        self.report.differences.push(line);
                    }
                    self.minidvodbs.insert(id, minidvodb);
                }
            }
            Err(why) => {
                self.not_taken.insert(id, format!("its minidvodb {id} is not taken: {why}"));
                self.leave_minidvodb(id, format!("its row of minidvodbRun is not taken: {why}"));
            }
        }
        Ok(())
    }

    fn leave_minidvodb(&mut self, minidvodb_id: u64, why: String) {
        self.strays.push(Stray { minidvodb_id, row_id: 0, host: String::new(), why });
    }

    /// Every row of the groups' copies.
    fn at_copies(&mut self, database: &mut Database, groups: &[Group]) -> Result<(), Stopped> {
        let names: Vec<&str> = groups.iter().map(Group::as_str).collect();
        let mut after = 0;
        while !names.is_empty() {
            self.context.check_stop()?;
            let rows = database.copies_behind(&names, after, ROWS_AT_ONCE)?;
            let Some(last) = rows.last() else { break };
            after = last.minidvodb_id.0;
            self.compare(by_minidvodb(rows))?;
        }
        Ok(())
    }

    /// The copies here, and the strays, of minidvodbs that no row was seen of: their rows are gone, or were
    /// never there, or their minidvodb belongs to another group there.
    fn at_what_was_not_seen(&mut self, database: &mut Database) -> Result<(), Stopped> {
        let mut unseen = HashSet::new();
        self.context.ledger.read(|ledger| {
            ledger.each_copy(|copy| {
                if !self.seen_copies.contains(&copy.minidvodb_id.0) {
                    unseen.insert(copy.minidvodb_id.0);
                }
                Ok(true)
            })?;
            for stray in ledger.strays()?.iter().filter(|stray| stray.row_id != 0 && stray.minidvodb_id != 0)
            {
                if !self.seen_copies.contains(&stray.minidvodb_id) {
                    unseen.insert(stray.minidvodb_id);
                }
            }
            Ok(())
        })?;
        let mut unseen: Vec<u64> = unseen.into_iter().collect();
        unseen.sort_unstable();
        for ids in unseen.chunks(IDS_AT_ONCE) {
            self.context.check_stop()?;
            let mut rows = by_minidvodb(database.copies_of(ids, false)?);
            for &id in ids {
                rows.entry(id).or_default();
            }
            self.compare(rows)?;
        }
        Ok(())
    }

    fn at_rows_of_nothing(&mut self, database: &mut Database) -> Result<(), Stopped> {
        for (row_id, host) in database.rows_of_nothing()? {
            let why = "its minidvodb_id is NULL, or no id".to_owned();
            self.strays.push(Stray { minidvodb_id: 0, row_id, host, why });
        }
        Ok(())
    }

    /// Finds the minidvodbs among these whose copies and rows differ.
    fn compare(&mut self, rows: BTreeMap<u64, Vec<TableRow>>) -> Result<(), Stopped> {
        self.seen_copies.extend(rows.keys());
        self.context.ledger.read(|ledger| {
            let machines = Machines::of(ledger)?;
            for (id, rows) in rows {
                let shown = if self.is_dry { rows.clone() } else { Vec::new() };
                let known = known_of(ledger, id)?;
                let not_taken = match self.minidvodbs.contains_key(&id) {
                    true => None,
                    false => why_not_taken(ledger, id, self.not_taken.get(&id))?,
                };
                let mut steps = merge::merge(rows, &known, not_taken.as_deref(), |host| machines.get(host));
                if self.absent.contains(&id) && steps.iter().any(|step| matches!(step, Step::Insert(_))) {
                    // No row can name a minidvodb that is not there.
                    steps.retain(|step| !matches!(step, Step::Insert(_)));
                    self.leave_minidvodb(
                        id,
                        "minidvodbRun does not have it; its copies stay here".to_owned(),
                    );
                }
                if !is_difference(ledger, id, &steps)? {
                    continue;
                }
                self.gone += steps.iter().filter(|step| matches!(step, Step::Bury(_))).count() as u64;
                self.differing.push(id);
                if self.is_dry {
                    let lines = steps.iter().map(|step| told(step, id, &known, &shown));
                    self.report.differences.extend(lines);
                }
            }
            Ok(())
        })?;
        Ok(())
    }
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
        let synced = ledger.synced(&copy)?;
        let is_under_way =
            ledger.open_attempts(&copy.host, &copy.group)?.iter().any(|(open, _)| *open == copy.id);
        known.push(Known { copy, synced, is_under_way });
    }
    Ok(known)
}

/// Why the ledger does not have a minidvodb; none where it does.
pub(super) fn why_not_taken(
    ledger: &impl Look,
    minidvodb: u64,
    found: Option<&String>,
) -> Result<Option<String>, Failure> {
    if ledger.minidvodb(MinidvodbId(minidvodb))?.is_some() {
        return Ok(None);
    }
    if let Some(why) = found {
        return Ok(Some(why.clone()));
    }
    let stray = ledger.strays_of(minidvodb)?.into_iter().find(|stray| stray.row_id == 0);
    Ok(Some(stray.map_or_else(
        || format!("its minidvodb {minidvodb} is not known here"),
        |stray| format!("its minidvodb {minidvodb} is not taken: {}", stray.why),
    )))
}

pub(super) fn by_minidvodb(rows: Vec<TableRow>) -> BTreeMap<u64, Vec<TableRow>> {
    let mut by_id: BTreeMap<u64, Vec<TableRow>> = BTreeMap::new();
    for row in rows {
        by_id.entry(row.minidvodb_id.0).or_default().push(row);
    }
    by_id
}

/// A minidvodb as its row has it.
fn minidvodb_of(run: &RunRow, groups: &[Group]) -> Result<Minidvodb, String> {
    let text = |refused: crate::model::Refused| refused.to_string();
    // A group that the database takes for one of ours is ours.
    let is_ours = |group: &&Group| is_same_text(group.as_str(), &run.group);
    let group = match groups.iter().find(|group| group.as_str() == run.group) {
        Some(group) => group.clone(),
        None => match groups.iter().find(is_ours) {
            Some(group) => group.clone(),
            None => Group::parse(run.group.trim_end_matches(' ')).map_err(text)?,
        },
    };
    let state = if is_same_text(&run.state, "merged") { "merged" } else { run.state.trim_end_matches(' ') };
    let path = AbsolutePath::parse(&run.path).map_err(text)?;
    path.name().map_err(text)?;
    Ok(Minidvodb {
        id: MinidvodbId::parse(&run.id.to_string()).map_err(text)?,
        minidvodb_name: run.name.clone(),
        group,
        path,
        state: MinidvodbState::parse(state).map_err(text)?,
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
    }
}

/// Writes down what is new of minidvodbs.
pub(super) fn take_minidvodbs(
    context: &Context,
    minidvodbs: &[Minidvodb],
    report: &mut Report,
) -> Result<()> {
    for some in minidvodbs.chunks(IDS_AT_ONCE) {
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
pub(super) fn take_strays(context: &Context, strays: &[Stray], report: &mut Report) -> Result<()> {
    let is_ours = |stray: &Stray| stray.row_id == 0 || stray.minidvodb_id == 0;
    let known = context.ledger.read(|ledger| ledger.strays())?;
    let known: Vec<Stray> = known.into_iter().filter(|stray| is_ours(stray)).collect();
    let new: Vec<&Stray> = strays.iter().filter(|stray| !known.contains(stray)).collect();
    let gone: Vec<&Stray> = known
        .iter()
        .filter(|known| {
            !strays.iter().any(|s| (s.minidvodb_id, s.row_id) == (known.minidvodb_id, known.row_id))
        })
        .collect();
    if new.is_empty() && gone.is_empty() {
        return Ok(());
    }
    context.ledger.write(|change| {
        for stray in &gone {
            change.remove_stray(stray)?;
        }
        for stray in &new {
            change.put_stray(stray)?;
        }
        Ok(())
    })?;
    let more = new.len().saturating_sub(NAMED);
    report.notes.extend(new.iter().take(NAMED).map(ToString::to_string));
    if more > 0 {
        report.notes.push(format!("and {more} more; `minidvodbcopy database show` names all"));
    }
    Ok(())
}
