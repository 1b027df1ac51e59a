//! Making the copies and the rows of some minidvodbs the same.
//!
//! Invariant: the rows are locked from before the decision until they are written; what was written is
//! remembered only after the server has kept it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use smol_str::SmolStr;

use super::ready::Ready;
use super::survey::{by_minidvodb, known_of, why_not_taken};
use super::{Machines, Report, Stopped};
use crate::database::{Database, Lines, Trouble};
use crate::error::Result;
use crate::ledger::{Adopted, Change, Failure, Ledger, Look as _, Mark, Noted, Series};
use crate::model::{
    Content, Copy, CopyId, Host, HostRecord, LogEntry, Minidvodb, MinidvodbId, Stray, TableRow,
};
use crate::pass::Context;
use crate::plan::merge::{self, Step, Winner};

/// So many minidvodbs are settled in one transaction.
pub(super) const AT_ONCE: usize = 10_000;
/// What was written of so many such parts is noted together.
const NOTED_TOGETHER: usize = 4;
/// So many rows are inserted by one statement.
const ROWS_AT_ONCE: usize = 1000;
/// Why the copies of a minidvodb stay here.
pub(super) const ABSENT: &str = "minidvodbRun does not have it, so copies of it stay here";
/// A transaction that met another one is tried so often.
const TRIES: usize = 4;

/// A row to be written.
pub(super) struct Write {
    copy: CopyId,
    minidvodb: MinidvodbId,
    /// The row to change; none for a new one.
    row: Option<u64>,
    content: Content,
    /// What tells whether the copy has changed since.
    mark: Mark,
}

impl Write {
    fn of(copy: &Copy, row: Option<u64>) -> Self {
        let content = Content::of(copy);
        Self { copy: copy.id, minidvodb: copy.minidvodb_id, row, content, mark: Mark::NONE }
    }
}

/// New rows to be written.
struct Inserts {
    writes: Vec<Write>,
    /// The same as lines, where they can go like that.
    lines: Option<Lines>,
}

impl Inserts {
    fn of(writes: Vec<Write>) -> Self {
        let lines = Lines::of(&rows_of(&writes));
        Self { writes, lines }
    }
}

/// Settles minidvodbs, which are in order; where rows are gone, their copies are taken away only of those in
/// `to_bury`, which the guard has agreed to. While the server writes some, what it has kept of those before is noted,
/// and those behind are looked at.
pub(super) fn settle_all(
    context: &Context,
    database: &mut Database,
    minidvodbs: &[u64],
    to_bury: &BTreeSet<u64>,
    report: &mut Report,
) -> Result<(), Stopped> {
    thread::scope(|scope| {
        let ledger = &context.ledger;
        let (sender, to_note) = sync_channel(NOTED_TOGETHER);
        let noting = scope.spawn(move || note_all(ledger, &to_note));
        let (foreseer, foreseen) = sync_channel(1);
        scope.spawn(move || foresee(ledger, minidvodbs, &foreseer));
        let mut settle_next = |minidvodbs: &[u64]| -> Result<bool, Stopped> {
            context.check_stop()?;
            let foreseen = foreseen.recv().unwrap_or(Ok(None))?;
            let (more, written) = settle_there(context, database, minidvodbs, to_bury, foreseen)?;
            report.add(more);
            // Whoever notes no more says why.
            Ok(sender.send(written).is_ok())
        };
        let mut parts = minidvodbs.chunks(AT_ONCE);
        let settled = loop {
            match parts.next().map(&mut settle_next) {
                Some(Ok(true)) => {}
                None | Some(Ok(false)) => break Ok(()),
                Some(Err(stopped)) => break Err(stopped),
            }
        };
        drop(sender);
        drop(foreseen);
        let noted: Result<Vec<String>> =
            noting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        settled?;
        report.notes.extend(noted?);
        Ok(())
    })
}

/// Notes what the server has kept, as it comes: what waits already, together.
fn note_all(ledger: &Ledger, to_note: &Receiver<Written>) -> Result<Vec<String>> {
    let mut news = Vec::new();
    while let Ok(mut written) = to_note.recv() {
        for more in to_note.try_iter().take(NOTED_TOGETHER) {
            written.rows.extend(more.rows);
            written.absent.extend(more.absent);
        }
        news.extend(note(ledger, written)?);
    }
    Ok(news)
}

/// Makes ready what there is to write of minidvodbs whose copies have met no row yet, if there is no row there, either:
/// that costs more than all else which is done while their rows are locked. A copy that changes meanwhile stays one
/// that the database does not have as it is here.
fn foresee(ledger: &Ledger, minidvodbs: &[u64], sender: &SyncSender<Result<Option<Inserts>>>) {
    for some in minidvodbs.chunks(AT_ONCE) {
        let kept = ledger.read(|ledger| ledger.copies_without_rows(some));
        let copies = kept.and_then(|kept| kept.map(|kept| ledger.read_copies(&kept)).transpose());
        let inserts = copies.map(|copies| first_writes(&copies?).map(Inserts::of));
        // Whoever settles no more says why.
        if sender.send(inserts).is_err() {
            return;
        }
    }
}

/// The rows of copies that have met none; none where one lacks its epoch, which the ledger must know first.
fn first_writes(copies: &[(Copy, Mark)]) -> Option<Vec<Write>> {
    let write = |(copy, mark): &(Copy, Mark)| {
        copy.epoch.is_some().then(|| Write { mark: *mark, ..Write::of(copy, None) })
    };
    copies.iter().map(write).collect()
}

/// The same for some minidvodbs, in one transaction of the database.
pub(super) fn settle(
    context: &Context,
    database: &mut Database,
    minidvodbs: &[u64],
    to_bury: &BTreeSet<u64>,
) -> Result<Report, Stopped> {
    let (mut report, written) = settle_there(context, database, minidvodbs, to_bury, None)?;
    report.notes.extend(note(&context.ledger, written)?);
    Ok(report)
}

/// Settles some minidvodbs up to what the server has kept, which is still to be noted here.
fn settle_there(
    context: &Context,
    database: &mut Database,
    minidvodbs: &[u64],
    to_bury: &BTreeSet<u64>,
    mut foreseen: Option<Inserts>,
) -> Result<(Report, Written), Stopped> {
    let mut report = Report::default();
    for _ in 1..TRIES {
        match settle_once(context, database, minidvodbs, to_bury, foreseen.take(), &mut report) {
            Err(Stopped::Trouble(Trouble::Busy(_))) => database.roll_back()?,
            Err(Stopped::Error(error)) => {
                let _ = database.roll_back();
                return Err(error.into());
            }
            other => return other.map(|written| (report, written)),
        }
    }
    let written = settle_once(context, database, minidvodbs, to_bury, None, &mut report)?;
    Ok((report, written))
}

fn settle_once(
    context: &Context,
    database: &mut Database,
    minidvodbs: &[u64],
    to_bury: &BTreeSet<u64>,
    foreseen: Option<Inserts>,
    report: &mut Report,
) -> Result<Written, Stopped> {
    database.begin_writing()?;
    let mut rows = by_minidvodb(database.copies_of(minidvodbs, true)?);
    let (updates, inserts) = match foreseen.filter(|_| rows.is_empty()) {
        Some(inserts) => (Vec::new(), inserts),
        None => {
            for &id in minidvodbs {
                rows.entry(id).or_default();
            }
            let writes = take(context, rows, to_bury, report)?.into_iter();
            let (updates, inserts) = writes.partition(|write| write.row.is_some());
            (updates, Inserts::of(inserts))
        }
    };
    let written = write(database, updates, inserts, report)?;
    database.commit()?;
    Ok(written)
}

/// Notes what the server has kept; returns what is news of it.
fn note(ledger: &Ledger, Written { rows, absent }: Written) -> Result<Vec<String>> {
    if rows.is_empty() && absent.is_empty() {
        return Ok(Vec::new());
    }
    let noted = Noted::of(rows);
    ledger.write_much(|change| {
        let mut news = Vec::new();
        for &minidvodb_id in &absent {
            let stray = Stray { minidvodb_id, row_id: 0, host: String::new(), why: ABSENT.to_owned() };
            if change.put_stray(&stray)? {
                news.push(stray.to_string());
            }
        }
        change.put_all_synced(&noted)?;
        Ok(news)
    })
}

/// The ledger's side, in one transaction; returns what is to be written on the other.
fn take(
    context: &Context,
    rows: BTreeMap<u64, Vec<TableRow>>,
    to_bury: &BTreeSet<u64>,
    report: &mut Report,
) -> Result<Vec<Write>, Stopped> {
    Ok(context.ledger.write(|change| {
        let mut taking = Taking::begin(change, context.now(), Some(to_bury))?;
        taking.all(rows, &HashMap::new())?;
        report.add(taking.report);
        Ok(taking.writes)
    })?)
}

/// What the ledger can take without a word to the database, in one transaction; returns the minidvodbs for which
/// it cannot, and whether rows of them are gone. Of some it is known why their minidvodb is not taken.
pub(super) fn take_alone(
    context: &Context,
    rows: BTreeMap<u64, Vec<TableRow>>,
    not_taken: &HashMap<u64, String>,
    report: &mut Report,
) -> Result<Vec<(u64, bool)>, Stopped> {
    Ok(context.ledger.write(|change| {
        let mut taking = Taking::begin(change, context.now(), None)?;
        taking.all(rows, not_taken)?;
        report.add(taking.report);
        Ok(taking.waiting)
    })?)
}

/// Writes down copies that rows have become, which were made ready without the ledger; false, and nothing is done,
/// where that is not the ledger's state any more: another process has been here.
pub(super) fn take_ready(
    context: &Context,
    series: &mut Series<'_>,
    ready: &Ready,
    report: &mut Report,
) -> Result<bool, Stopped> {
    if ready.rows.is_empty() {
        return Ok(true);
    }
    Ok(series.write(|change| {
        if !ready.claim(change)? {
            return Ok(false);
        }
        ready.adopted.iter().try_for_each(|adopted| change.put_adopted(adopted))?;
        let mut taking = Taking::begin(change, context.now(), None)?;
        ready.hosts.iter().try_for_each(|host| taking.meet_host(&host.place.host))?;
        ready.left.iter().try_for_each(|(id, left)| taking.leave(*id, left))?;
        report.add(taking.report);
        report.came += ready.count();
        Ok(true)
    })?)
}

/// Whether a step must wait until the rows have been read again and locked: because it writes to the database,
/// or decides against it, or would take away what another process has written there a moment ago.
fn needs_database(step: &Step) -> bool {
    matches!(step, Step::Push(..) | Step::Insert(_) | Step::Conflict(..) | Step::Bury(_) | Step::Wait(_))
}

/// A transaction of the ledger under way.
struct Taking<'a, 't> {
    change: &'a mut Change<'t>,
    machines: Machines,
    /// The hosts that are known to be known.
    met: HashSet<Host>,
    now: jiff::Timestamp,
    /// None while nothing may be decided that concerns the database.
    to_bury: Option<&'a BTreeSet<u64>>,
    report: Report,
    writes: Vec<Write>,
    /// The minidvodbs that the database is needed for, and whether rows of them are gone.
    waiting: Vec<(u64, bool)>,
}

impl<'a, 't> Taking<'a, 't> {
    fn begin(
        change: &'a mut Change<'t>,
        now: jiff::Timestamp,
        to_bury: Option<&'a BTreeSet<u64>>,
    ) -> Result<Self, Failure> {
        let machines = Machines::of(change)?;
        let (met, report) = (HashSet::new(), Report::default());
        Ok(Self { change, machines, met, now, to_bury, report, writes: Vec::new(), waiting: Vec::new() })
    }

    fn all(
        &mut self,
        rows: BTreeMap<u64, Vec<TableRow>>,
        not_taken: &HashMap<u64, String>,
    ) -> Result<(), Failure> {
        for (id, mut rows) in rows {
            self.machines.spell(&mut rows);
            self.minidvodb(id, rows, not_taken.get(&id))?;
        }
        Ok(())
    }

    fn minidvodb(&mut self, id: u64, rows: Vec<TableRow>, not_taken: Option<&String>) -> Result<(), Failure> {
        let known = known_of(self.change, id)?;
        // Only rows ask for their minidvodb.
        let minidvodb = if rows.is_empty() { None } else { self.change.minidvodb(MinidvodbId(id))? };
        let not_taken = match minidvodb {
            None if !rows.is_empty() => Some(why_not_taken(self.change, id, not_taken)?),
            _ => None,
        };
        let steps = merge::merge(rows, &known, not_taken.as_deref(), |host| self.machines.get(host));
        if self.to_bury.is_none() && steps.iter().any(needs_database) {
            self.waiting.push((id, steps.iter().any(|step| matches!(step, Step::Bury(_)))));
            return Ok(());
        }
        let mut left = Vec::new();
        for step in steps {
            match step {
                Step::Adopt(row) => {
                    let Some(minidvodb) = &minidvodb else { continue };
                    self.adopt(minidvodb, row, &mut left)?;
                }
                Step::Remember(id, row) => self.change.put_synced(id, &row)?,
                Step::Take(id, row) => {
                    if self.become_like(id, &row, &mut left)? {
                        self.report.changed += 1;
                    }
                }
                Step::Push(id, row) => self.write(id, Some(&row))?,
                Step::Insert(copy) => match known.iter().find(|known| known.copy.id == copy) {
                    Some(known) if known.copy.epoch.is_some() => {
                        self.writes.push(Write::of(&known.copy, None));
                    }
                    _ => self.write(copy, None)?,
                },
                Step::Conflict(id, row, winner) => self.conflict(id, &row, winner, &mut left)?,
                Step::Bury(copy) if self.to_bury.is_some_and(|ids| ids.contains(&id)) => self.bury(copy)?,
                Step::Bury(copy) => self.report.missing.push(copy),
                Step::Wait(_) => {}
                Step::Leave(stray) => left.push(stray),
            }
        }
        self.leave(id, &left)
    }

    /// A row becomes a copy, if it can be one.
    fn adopt(&mut self, minidvodb: &Minidvodb, row: TableRow, left: &mut Vec<Stray>) -> Result<(), Failure> {
        let place = match merge::place(&row, None, |host| self.machines.get(host)) {
            Ok(place) => place,
            Err(why) => {
                left.push(Stray::of(&row, why));
                return Ok(());
            }
        };
        let (id, name) = (self.change.next_copy_id(), minidvodb.folder_name()?);
        let of = (minidvodb.id, &minidvodb.group, &name);
        let copy = merge::adopt(id, of, &place, &row.content, self.now);
        self.meet_host(&copy.host)?;
        self.report.came += 1;
        self.change.put_adopted(&Adopted::of(&[(copy, row)])?)
    }

    /// A host that only the database knows is named once, and then known, and off.
    fn meet_host(&mut self, host: &Host) -> Result<(), Failure> {
        if self.met.contains(host) {
            return Ok(());
        }
        self.met.insert(host.clone());
        if self.change.host(host)?.is_some() {
            return Ok(());
        }
        let record = HostRecord::unknown(host.clone());
        self.report.notes.push(format!(
            "host {} of the database is new here, and taken for machine {}: if that machine has another name, type `minidvodbcopy host add {} --machine NAME`, then `host del {}` if it is not to be served",
            host, record.machine, host, host
        ));
        self.change.put_host(&record)
    }

    /// A copy becomes what its row is; false where that cannot be.
    fn become_like(&mut self, id: CopyId, row: &TableRow, left: &mut Vec<Stray>) -> Result<bool, Failure> {
        let Some(copy) = self.change.copy(id)? else { return Ok(false) };
        let after = match merge::take(&copy, row, |host| self.machines.get(host), self.now) {
            Ok(after) => after,
            Err(why) => {
                left.push(Stray::of(row, why));
                return Ok(false);
            }
        };
        self.meet_host(&after.host)?;
        let stays = (&after.host, &after.path) == (&copy.host, &copy.path)
            && after.is_to_be_made() == copy.is_to_be_made();
        if !stays && copy.is_to_be_made() {
            self.change.leave_staging(&copy)?;
        }
        if let Err(taken) = self.change.put_copy(&after)? {
            left.push(Stray::of(
                row,
                format!("copy {} has minidvodb {} on that machine", taken.by, copy.minidvodb_id),
            ));
            return Ok(false);
        }
        self.change.put_synced(id, row)?;
        Ok(true)
    }

    /// The row is to become what the copy is.
    fn write(&mut self, id: CopyId, row: Option<&TableRow>) -> Result<(), Failure> {
        let Some(mut copy) = self.change.copy(id)? else { return Ok(()) };
        if copy.epoch.is_none() {
            copy.touch(self.now);
            self.change.put_known_copy(&copy)?;
        }
        self.writes.push(Write::of(&copy, row.map(|row| row.id)));
        Ok(())
    }

    fn conflict(
        &mut self,
        id: CopyId,
        row: &TableRow,
        winner: Winner,
        left: &mut Vec<Stray>,
    ) -> Result<(), Failure> {
        let Some(copy) = self.change.copy(id)? else { return Ok(()) };
        let here = Content::of(&copy);
        let (is_done, who) = match winner {
            Winner::Ledger => (true, "the ledger"),
            Winner::Database => (self.become_like(id, row, left)?, "the database"),
        };
        if !is_done {
            return Ok(());
        }
        if winner == Winner::Ledger {
            self.write(id, Some(row))?;
        }
        self.report.conflicts += 1;
        let text = format!(
            "conflict: copy {id} of minidvodb {} and row {} had both changed, and {who} won: here {here}; there {}",
            copy.minidvodb_id, row.id, row.content
        );
        self.report.notes.push(text.clone());
        self.log(id, text)
    }

    fn bury(&mut self, id: CopyId) -> Result<(), Failure> {
        let Some(copy) = self.change.copy(id)? else { return Ok(()) };
        self.change.bury(&copy, self.now)?;
        self.report.buried += 1;
        let text = format!(
            "the row of copy {id} (minidvodb {} to {}) is gone from the database; the minidvodb may be queued again: {}",
            copy.minidvodb_id,
            copy.host,
            Content::of(&copy)
        );
        self.log(id, text)
    }

    fn log(&mut self, copy: CopyId, text: String) -> Result<(), Failure> {
        let entry = LogEntry::of_program(self.now, Some(copy), text);
        self.change.add_log(&entry)
    }

    /// Keeps the strays of a minidvodb as they are now; new ones are named.
    fn leave(&mut self, minidvodb: u64, left: &[Stray]) -> Result<(), Failure> {
        for known in self.change.strays_of(minidvodb)?.iter().filter(|stray| stray.row_id != 0) {
            if !left.iter().any(|stray| stray.row_id == known.row_id) {
                self.change.remove_stray(known)?;
            }
        }
        for stray in left {
            if self.change.put_stray(stray)? {
                self.report.notes.push(stray.to_string());
            }
        }
        Ok(())
    }
}

/// What the database has kept, and the minidvodbs that it does not know.
#[derive(Default)]
struct Written {
    rows: Vec<(CopyId, TableRow, Mark)>,
    absent: Vec<u64>,
}

/// The database's side. A row that the database refuses hinders no other.
fn write(
    database: &mut Database,
    updates: Vec<Write>,
    inserts: Inserts,
    report: &mut Report,
) -> Result<Written, Stopped> {
    let mut written = Written::default();
    for write in updates {
        one(database, write, &mut written, report)?;
    }
    insert(database, inserts, &mut written, report)?;
    report.went += written.rows.len() as u64;
    Ok(written)
}

/// Writes new rows.
fn insert(
    database: &mut Database,
    Inserts { writes, lines }: Inserts,
    written: &mut Written,
    report: &mut Report,
) -> Result<(), Stopped> {
    let first = match lines {
        Some(lines) => database.load_all(lines)?,
        None => None,
    };
    if let Some(first) = first {
        written.rows.extend(ids_of(database, first, writes)?);
        return Ok(());
    }
    let mut inserts = writes.into_iter();
    loop {
        let some: Vec<Write> = inserts.by_ref().take(ROWS_AT_ONCE).collect();
        if some.is_empty() {
            return Ok(());
        }
        match database.insert_all(&rows_of(&some)) {
            Ok(first) => written.rows.extend(ids_of(database, first, some)?),
            // One of them is refused: which one, and why, shows when each is sent alone.
            Err(Trouble::Row(_) | Trouble::NoMinidvodb) => {
                for write in some {
                    one(database, write, written, report)?;
                }
            }
            Err(trouble) => return Err(trouble.into()),
        }
    }
}

fn rows_of(writes: &[Write]) -> Vec<(MinidvodbId, &Content)> {
    writes.iter().map(|write| (write.minidvodb, &write.content)).collect()
}

/// Writes one row.
fn one(
    database: &mut Database,
    write: Write,
    written: &mut Written,
    report: &mut Report,
) -> Result<(), Stopped> {
    let Write { copy, minidvodb, row, content, mark } = write;
    let outcome = match row {
        Some(id) => database.update(id, &content).map(|()| id),
        None => database.insert(minidvodb, &content),
    };
    match outcome {
        Ok(id) => written.rows.push((copy, TableRow { id, minidvodb_id: minidvodb, content }, mark)),
        Err(Trouble::NoMinidvodb) => written.absent.push(minidvodb.0),
        Err(Trouble::Row(why)) => {
            let what = row.map_or_else(|| "a row for it".to_owned(), |id| format!("row {id}"));
            report.refused.push(format!("copy {copy} of minidvodb {minidvodb}: {what} is refused: {why}"));
        }
        Err(trouble) => return Err(trouble.into()),
    }
    Ok(())
}

/// Rows that were just inserted, with the ids that the database gave them. `first` is the first of them; how it counts
/// on is its own affair, so where it is not one by one, they are read.
fn ids_of(
    database: &mut Database,
    first: u64,
    writes: Vec<Write>,
) -> Result<Vec<(CopyId, TableRow, Mark)>, Stopped> {
    if database.are_numbered_from(first, &rows_of(&writes))? {
        let rows = (first..).zip(writes).map(|(id, Write { copy, minidvodb, content, mark, .. })| {
            (copy, TableRow { id, minidvodb_id: minidvodb, content }, mark)
        });
        return Ok(rows.collect());
    }
    let mut ids: HashMap<(u64, SmolStr), u64> = HashMap::with_capacity(writes.len());
    for (row, minidvodb, host) in database.pairs_from(first)? {
        // The newest of a pair: an older one would have been seen before.
        let id = ids.entry((minidvodb, host.into())).or_default();
        *id = row.max(*id);
    }
    let rows = writes.into_iter().filter_map(|Write { copy, minidvodb, content, mark, .. }| {
        let pair = (minidvodb.0, content.host);
        let id = *ids.get(&pair)?;
        let content = Content { host: pair.1, ..content };
        Some((copy, TableRow { id, minidvodb_id: minidvodb, content }, mark))
    });
    Ok(rows.collect())
}
