//! Making the copies and the rows of some minidvodbs the same.
//!
//! Invariant: the rows are locked from before the decision until they are written; what was written is
//! remembered only after the server has kept it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::mpsc::sync_channel;
use std::thread;

use super::survey::{by_minidvodb, known_of, why_not_taken};
use super::{Machines, Report, Stopped};
use crate::database::{Database, Trouble};
use crate::error::Result;
use crate::ledger::{Change, Failure, Ledger, Look as _};
use crate::model::{
    AbsolutePath, Content, Copy, CopyId, Group, Host, HostRecord, LogEntry, MinidvodbId, Name, Stray,
    TableRow,
};
use crate::pass::Context;
use crate::plan::merge::{self, Step, Winner};

/// So many minidvodbs are settled in one transaction.
pub(super) const AT_ONCE: usize = 5000;
/// So many rows are inserted by one statement.
const ROWS_AT_ONCE: usize = 1000;
/// So many rows become copies at once: few enough to stay in the processor's caches.
const ADOPTED_AT_ONCE: usize = 4000;
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
}

impl Write {
    fn of(copy: &Copy, row: Option<u64>) -> Self {
        Self { copy: copy.id, minidvodb: copy.minidvodb_id, row, content: Content::of(copy) }
    }
}

/// Settles minidvodbs, which are in order; where rows are gone, their copies are taken away only of those in
/// `to_bury`, which the guard has agreed to. What the server has kept of some is noted while it writes the next.
pub(super) fn settle_all(
    context: &Context,
    database: &mut Database,
    minidvodbs: &[u64],
    to_bury: &BTreeSet<u64>,
    report: &mut Report,
) -> Result<(), Stopped> {
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(1);
        let ledger = &context.ledger;
        let noting = scope.spawn(move || {
            let mut news = Vec::new();
            for written in receiver {
                news.extend(note(ledger, written)?);
            }
            Ok(news)
        });
        let mut settle_next = |minidvodbs: &[u64]| -> Result<bool, Stopped> {
            context.check_stop()?;
            let (more, written) = settle_there(context, database, minidvodbs, to_bury)?;
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
        let noted: Result<Vec<String>> =
            noting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        settled?;
        report.notes.extend(noted?);
        Ok(())
    })
}

/// The same for some minidvodbs, in one transaction of the database.
pub(super) fn settle(
    context: &Context,
    database: &mut Database,
    minidvodbs: &[u64],
    to_bury: &BTreeSet<u64>,
) -> Result<Report, Stopped> {
    let (mut report, written) = settle_there(context, database, minidvodbs, to_bury)?;
    report.notes.extend(note(&context.ledger, written)?);
    Ok(report)
}

/// Settles some minidvodbs up to what the server has kept, which is still to be noted here.
fn settle_there(
    context: &Context,
    database: &mut Database,
    minidvodbs: &[u64],
    to_bury: &BTreeSet<u64>,
) -> Result<(Report, Written), Stopped> {
    let mut report = Report::default();
    for _ in 1..TRIES {
        match settle_once(context, database, minidvodbs, to_bury, &mut report) {
            Err(Stopped::Trouble(Trouble::Busy(_))) => database.roll_back()?,
            Err(Stopped::Error(error)) => {
                let _ = database.roll_back();
                return Err(error.into());
            }
            other => return other.map(|written| (report, written)),
        }
    }
    let written = settle_once(context, database, minidvodbs, to_bury, &mut report)?;
    Ok((report, written))
}

fn settle_once(
    context: &Context,
    database: &mut Database,
    minidvodbs: &[u64],
    to_bury: &BTreeSet<u64>,
    report: &mut Report,
) -> Result<Written, Stopped> {
    database.begin_writing()?;
    let mut rows = by_minidvodb(database.copies_of(minidvodbs, true)?);
    for &id in minidvodbs {
        rows.entry(id).or_default();
    }
    let writes = take(context, rows, to_bury, report)?;
    let written = write(database, writes, report)?;
    database.commit()?;
    Ok(written)
}

/// Notes what the server has kept; returns what is news of it.
fn note(ledger: &Ledger, Written { rows, absent }: Written) -> Result<Vec<String>> {
    if rows.is_empty() && absent.is_empty() {
        return Ok(Vec::new());
    }
    ledger.write(|change| {
        let mut news = Vec::new();
        for &minidvodb_id in &absent {
            let stray = Stray { minidvodb_id, row_id: 0, host: String::new(), why: ABSENT.to_owned() };
            if change.put_stray(&stray)? {
                news.push(stray.to_string());
            }
        }
        change.put_all_synced(rows)?;
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

/// Takes in the rows of minidvodbs that no copy is known of, which are in the order of the minidvodbs. Gives the
/// rows back where something is known of one in between: another process has been here.
pub(super) fn take_first<'m>(
    context: &Context,
    rows: Vec<TableRow>,
    minidvodb_of: impl Fn(MinidvodbId) -> Option<(&'m Group, &'m Name)>,
    not_taken: &HashMap<u64, String>,
    report: &mut Report,
) -> Result<Option<Vec<TableRow>>, Stopped> {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(None) };
    let ids = first.minidvodb_id.0..=last.minidvodb_id.0;
    Ok(context.ledger.write(|change| {
        if !change.has_no_copies_of(ids)? {
            return Ok(Some(rows));
        }
        let mut taking = Taking::begin(change, context.now(), None)?;
        taking.first(rows, minidvodb_of, not_taken)?;
        report.add(taking.report);
        Ok(None)
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
                    let (id, name) = (minidvodb.id, minidvodb.folder_name()?);
                    if let Some(copy) = self.adopted(id, (&minidvodb.group, &name), &row, &mut left)? {
                        self.change.put_adopted(&[(copy, row)])?;
                    }
                }
                Step::Remember(id, row) => {
                    if let Some(copy) = self.change.copy(id)? {
                        self.change.put_synced(&copy, &row)?;
                    }
                }
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

    /// The rows of minidvodbs that no copy is known of become copies, all at once.
    fn first<'m>(
        &mut self,
        rows: Vec<TableRow>,
        minidvodb_of: impl Fn(MinidvodbId) -> Option<(&'m Group, &'m Name)>,
        not_taken: &HashMap<u64, String>,
    ) -> Result<(), Failure> {
        let mut adopted = Vec::with_capacity(ADOPTED_AT_ONCE + 1);
        let mut rows = rows.into_iter().peekable();
        while let Some(row) = rows.next() {
            let id = row.minidvodb_id;
            let mut of_one = vec![row];
            while let Some(more) = rows.next_if(|row| row.minidvodb_id == id) {
                of_one.push(more);
            }
            let (minidvodb, not_taken) = (minidvodb_of(id), not_taken.get(&id.0).map(String::as_str));
            if minidvodb.is_none() && not_taken.is_none() {
                continue;
            }
            self.machines.spell(&mut of_one);
            let mut left = Vec::new();
            for step in merge::merge(of_one, &[], not_taken, |host| self.machines.get(host)) {
                match (step, minidvodb) {
                    (Step::Adopt(row), Some(minidvodb)) => {
                        let copy = self.adopted(id, minidvodb, &row, &mut left)?;
                        adopted.extend(copy.map(|copy| (copy, row)));
                    }
                    (Step::Leave(stray), _) => left.push(stray),
                    _ => {}
                }
            }
            if !left.is_empty() {
                self.leave(id.0, &left)?;
            }
            if adopted.len() >= ADOPTED_AT_ONCE {
                self.change.put_adopted(&adopted)?;
                adopted.clear();
            }
        }
        self.change.put_adopted(&adopted)
    }

    /// The copy that a row becomes, if it can be one.
    fn adopted(
        &mut self,
        minidvodb: MinidvodbId,
        (group, name): (&Group, &Name),
        row: &TableRow,
        left: &mut Vec<Stray>,
    ) -> Result<Option<Copy>, Failure> {
        let legal = Host::parse(&row.content.host)
            .and_then(|host| Ok((host, AbsolutePath::parse(&row.content.path)?)));
        let (host, path) = match legal {
            Ok(legal) => legal,
            Err(refused) => {
                left.push(Stray::of(row, refused.to_string()));
                return Ok(None);
            }
        };
        let machine = self.machines.get(&host);
        let id = self.change.next_copy_id();
        let queued = Copy::queued(id, minidvodb, group.clone(), host, machine, path, name.clone(), self.now);
        match merge::take(&queued, row, |host| self.machines.get(host), self.now) {
            Ok(copy) => {
                self.meet_host(&copy)?;
                self.report.came += 1;
                Ok(Some(copy))
            }
            Err(why) => {
                left.push(Stray::of(row, why));
                Ok(None)
            }
        }
    }

    /// A host that only the database knows is named once, and then known, and off.
    fn meet_host(&mut self, copy: &Copy) -> Result<(), Failure> {
        if self.met.contains(&copy.host) {
            return Ok(());
        }
        self.met.insert(copy.host.clone());
        if self.change.host(&copy.host)?.is_some() {
            return Ok(());
        }
        let record = HostRecord::unknown(copy.host.clone());
        self.report.notes.push(format!(
            "host {} of the database is new here, and taken for machine {}: if that machine has another name, type `minidvodbcopy host add {} --machine NAME`, then `host del {}` if it is not to be served",
            copy.host, record.machine, copy.host, copy.host
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
        self.meet_host(&after)?;
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
        self.change.put_synced(&after, row)?;
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
    rows: Vec<(CopyId, TableRow)>,
    absent: Vec<u64>,
}

/// The database's side. A row that the database refuses hinders no other.
fn write(database: &mut Database, writes: Vec<Write>, report: &mut Report) -> Result<Written, Stopped> {
    let mut written = Written::default();
    let (updates, inserts): (Vec<Write>, Vec<Write>) =
        writes.into_iter().partition(|write| write.row.is_some());
    for write in updates {
        one(database, write, &mut written, report)?;
    }
    let mut inserts = inserts.into_iter();
    loop {
        let some: Vec<Write> = inserts.by_ref().take(ROWS_AT_ONCE).collect();
        if some.is_empty() {
            break;
        }
        match database.insert_all(some.iter().map(|write| (write.minidvodb, &write.content))) {
            Ok(first) => written.rows.extend(ids_of(database, first, some)?),
            // One of them is refused: which one, and why, shows when each is sent alone.
            Err(Trouble::Row(_) | Trouble::NoMinidvodb) => {
                for write in some {
                    one(database, write, &mut written, report)?;
                }
            }
            Err(trouble) => return Err(trouble.into()),
        }
    }
    report.went += written.rows.len() as u64;
    Ok(written)
}

/// Writes one row.
fn one(
    database: &mut Database,
    write: Write,
    written: &mut Written,
    report: &mut Report,
) -> Result<(), Stopped> {
    let Write { copy, minidvodb, row, content } = write;
    let outcome = match row {
        Some(id) => database.update(id, &content).map(|()| id),
        None => database.insert(minidvodb, &content),
    };
    match outcome {
        Ok(id) => written.rows.push((copy, TableRow { id, minidvodb_id: minidvodb, content })),
        Err(Trouble::NoMinidvodb) => written.absent.push(minidvodb.0),
        Err(Trouble::Row(why)) => {
            let what = row.map_or_else(|| "a row for it".to_owned(), |id| format!("row {id}"));
            report.refused.push(format!("copy {copy} of minidvodb {minidvodb}: {what} is refused: {why}"));
        }
        Err(trouble) => return Err(trouble.into()),
    }
    Ok(())
}

/// The ids that the database gave to rows that were just inserted, which are read: how it counts is its own affair.
/// `first` is the first of them.
fn ids_of(
    database: &mut Database,
    first: u64,
    writes: Vec<Write>,
) -> Result<Vec<(CopyId, TableRow)>, Stopped> {
    let mut ids: HashMap<(u64, String), u64> = HashMap::with_capacity(writes.len());
    for (row, minidvodb, host) in database.pairs_from(first)? {
        // The newest of a pair: an older one would have been seen before.
        let id = ids.entry((minidvodb, host)).or_default();
        *id = row.max(*id);
    }
    let rows = writes.into_iter().filter_map(|Write { copy, minidvodb, content, .. }| {
        let pair = (minidvodb.0, content.host);
        let id = *ids.get(&pair)?;
        let content = Content { host: pair.1, ..content };
        Some((copy, TableRow { id, minidvodb_id: minidvodb, content }))
    });
    Ok(rows.collect())
}
