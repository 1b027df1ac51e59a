//! Keeping the ledger and the IPP database in step.
//!
//! A sync reads first: the minidvodbs of the groups that matter here, then every row of their copies, and finds
//! where both sides differ (`survey`). Only then, and only if the guard against a database that lost its rows
//! agrees, the differing ones are settled, some minidvodbs at a time (`settle`): their rows are read again and
//! locked, the ledger takes what is newer there, and the rows get what is newer here.
//!
//! Invariants: killed at any statement, the next sync ends in the same state, because nothing is remembered as
//! the same on both sides before both sides have it; a row is inserted only in the transaction that has seen
//! that there is none. The database being away is never an error of a pass.

mod partner;
mod ready;
mod settle;
mod survey;

use std::collections::HashMap;

pub use partner::{Hold, Partner};

use crate::database::{Database, Secret, Trouble};
use crate::error::{Error, Result};
use crate::ledger::{Failure, Look, Snapshot};
use crate::model::{BucketKey, BucketSum, CopyId, DatabaseRecord, Group, Host, LogEntry, Machine, TableRow};
use crate::pass::Context;
use crate::ui;

/// While nothing changes, the time of the last sync is written down so often.
const NOTED_EVERY_S: i64 = 24 * 3600;

/// What a sync did.
#[derive(Debug, Default)]
pub struct Report {
    /// Minidvodbs that are new here, or have changed.
    pub minidvodbs: u64,
    /// Rows taken in as copies.
    pub came: u64,
    /// Copies that became what their rows are.
    pub changed: u64,
    /// Rows written.
    pub went: u64,
    /// Copies whose rows are gone.
    pub buried: u64,
    /// Copies whose rows are gone, though nobody has decided yet whether to believe that.
    pub missing: Vec<CopyId>,
    /// Copies that had changed on both sides.
    pub conflicts: u64,
    /// What people should know, each said once.
    pub notes: Vec<String>,
    /// Rows that the database, or a column of it, refused: said until that is mended.
    pub refused: Vec<String>,
    /// What a dry run found, a line each.
    pub differences: Vec<String>,
}

impl Report {
    fn add(&mut self, other: Self) {
        self.minidvodbs += other.minidvodbs;
        self.came += other.came;
        self.changed += other.changed;
        self.went += other.went;
        self.buried += other.buried;
        self.missing.extend(other.missing);
        self.conflicts += other.conflicts;
        self.notes.extend(other.notes);
        self.refused.extend(other.refused);
        self.differences.extend(other.differences);
    }

    /// One line; none where nothing was done.
    pub fn line(&self, name: &str) -> Option<String> {
        let Self { minidvodbs, came, changed, went, buried, conflicts, .. } = self;
        if minidvodbs + came + changed + went + buried + conflicts == 0 {
            return None;
        }
        let minidvodbs = ui::count(*minidvodbs, "minidvodb", "minidvodbs");
        let copies = ui::count(*came, "copy", "copies");
        Some(format!(
            "sync with {name}: {minidvodbs} and {copies} came, {changed} changed here, {went} went, {buried} gone there, {conflicts} conflicted"
        ))
    }
}

/// Why a sync ended early.
#[derive(Debug)]
pub enum Stopped {
    /// The database.
    Trouble(Trouble),
    /// The guard: what must be typed to go on all the same.
    Guard(String),
    /// The password can't be read.
    Secret(Error),
    /// Anything else, the ledger for one.
    Error(Error),
}

impl From<Trouble> for Stopped {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Stopped {
    /// The error that it ends `sync` with.
    pub fn into_error(self, name: &str) -> Error {
        match self {
            Self::Trouble(trouble) => trouble.into_error(name),
            Self::Guard(why) => Error::configuration(why)
                .hint("nothing was changed on either side")
                .hint("if the deletions are meant: `minidvodbcopy sync --accept-deletions`")
                .hint("if it is a new database, to be filled from here: `minidvodbcopy database del`, then `database set` again"),
            Self::Secret(error) | Self::Error(error) => error,
        }
    }
}

/// How to sync.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// Change nothing on either side.
    pub is_dry: bool,
    /// Believe the database, however many rows are gone.
    pub accepts_deletions: bool,
}

/// The database that is set, if one is.
///
/// # Errors
/// As every reading of the ledger.
pub fn database_of(context: &Context) -> Result<Option<DatabaseRecord>> {
    if !context.ledger.exists() {
        return Ok(None);
    }
    context.ledger.read(|ledger| ledger.database())
}

/// Connects to a database.
///
/// # Errors
/// The trouble, or a password file that can't be used.
pub fn connect(context: &Context, record: &DatabaseRecord) -> Result<Database, Stopped> {
    let secret = Secret { file: record.password_file.clone(), environment: context.mysql_password.clone() };
    let password = secret.read().map_err(Stopped::Secret)?;
    Ok(Database::connect(&record.address, password)?)
}

/// Brings both sides in step.
///
/// # Errors
/// What stopped it; what was settled before stays settled.
pub fn sync(
    context: &Context,
    database: &mut Database,
    record: &DatabaseRecord,
    manner: Manner,
) -> Result<Report, Stopped> {
    let survey = survey::survey(context, database, record, manner)?;
    let mut report = survey.report;
    if manner.is_dry {
        return Ok(report);
    }
    survey::take_minidvodbs(context, &survey.minidvodbs, &mut report)?;
    survey::take_minidvodbs(context, &survey.lost, &mut report)?;
    survey::take_strays(context, &survey.strays, &mut report)?;
    let differing: Vec<u64> = survey.differing.iter().copied().collect();
    settle::settle_all(context, database, &differing, &survey.to_bury, &mut report)?;
    note_synced(context, record, &survey.met, &report)?;
    Ok(report)
}

/// What is to be remembered of a database that was met.
struct Met {
    identity: String,
    groups: Vec<String>,
    /// Whether everything was compared row by row.
    is_whole: bool,
    /// The ledger's doubts when the reading began.
    doubts: u64,
    /// The buckets that were read, with their sums where both sides were the same.
    buckets: Vec<(BucketKey, BucketSum)>,
}

/// Writes down that both sides are in step, where that is news.
fn note_synced(context: &Context, record: &DatabaseRecord, met: &Met, report: &Report) -> Result<()> {
    let has_changed = report.line("").is_some();
    let now = context.now();
    let is_old = record.synced_at.is_none_or(|at| now.as_second() - at.as_second() >= NOTED_EVERY_S);
    let is_known = record.identity.as_ref() == Some(&met.identity)
        && record.groups == met.groups
        && record.away_since.is_none();
    if is_known && !is_old && !has_changed && !met.is_whole && met.buckets.is_empty() {
        return Ok(());
    }
    context.ledger.write(|change| {
        let Some(mut record) = change.database()? else { return Ok(()) };
        // What was imported meanwhile may have made another thing of rows that were read before.
        if change.doubts()? == met.doubts {
            for (bucket, sum) in &met.buckets {
                change.put_bucket(*bucket, *sum)?;
            }
        }
        if report.came > 0 {
            let copies = ui::count(report.came, "copy", "copies");
            let text = format!("took {copies} in from the database {}", record.address.name);
            change.add_log(&LogEntry::of_program(now, None, text))?;
        }
        record.identity = Some(met.identity.clone());
        record.groups.clone_from(&met.groups);
        if met.is_whole {
            record.compared_at = Some(now);
        }
        record.synced_at = Some(now);
        record.away_since = None;
        record.away_because.clear();
        change.put_database(Some(&record))
    })?;
    if let Some(since) = record.away_since {
        let name = &record.address.name;
        context.ui.notice(&format!("the database {name} is back (away since {} UTC)", ui::time(since)));
    }
    Ok(())
}

/// Writes down that the database is away, refuses, or is not believed; says it if it is news.
fn note_away(context: &Context, stopped: Stopped) -> Result<()> {
    let (what, why) = match stopped {
        Stopped::Trouble(Trouble::Away(why) | Trouble::Busy(why)) => ("is away", why),
        Stopped::Trouble(trouble) => ("refuses", trouble.text().to_owned()),
        Stopped::Guard(why) => (
            "is not believed",
            format!(
                "{why}; nothing was applied: look there, and type `minidvodbcopy sync --accept-deletions` if it is meant"
            ),
        ),
        Stopped::Secret(error) => ("cannot be entered", error.to_string()),
        Stopped::Error(error) => return Err(error),
    };
    let now = context.now();
    // It is news also where it was away for another reason.
    let because = format!("it {what}: {why}");
    let is_news = |record: &DatabaseRecord| {
        record.away_since.is_none() || !record.away_because.starts_with(&format!("it {what}:"))
    };
    let news = context
        .ledger
        .read(|ledger| Ok(ledger.database()?.filter(is_news).map(|record| record.address.name)))?;
    let Some(name) = news else {
        context.ui.tell(&format!("the database still {what}: {why}"));
        return Ok(());
    };
    let is_first = context.ledger.write(|change| {
        // Another job, or another pass, may have met it at the same time.
        let Some(mut record) = change.database()?.filter(is_news) else { return Ok(false) };
        record.away_since.get_or_insert(now);
        record.away_because = because;
        change.put_database(Some(&record))?;
        let text = format!("the database {name} {what}: {why}");
        change.add_log(&LogEntry::of_program(now, None, text))?;
        Ok(true)
    })?;
    let text = format!("the database {name} {what}, and passes go on by the ledger: {why}");
    if is_first {
        context.ui.notice(&text);
    } else {
        context.ui.tell(&text);
    }
    Ok(())
}

/// The hosts that are known, and their machines; a host that is not is a machine of its own.
struct Machines {
    by_host: HashMap<Host, Machine>,
    /// Of the hosts that the database takes for one, the first by name.
    by_text: HashMap<String, Host>,
}

impl Machines {
    fn of(ledger: &impl Look) -> Result<Self, Failure> {
        let (mut by_host, mut by_text) = (HashMap::new(), HashMap::new());
        for record in ledger.hosts()? {
            by_text.entry(record.host.as_str().to_lowercase()).or_insert_with(|| record.host.clone());
            by_host.insert(record.host, record.machine);
        }
        Ok(Self { by_host, by_text })
    }

    /// Gives the rows the spelling of the hosts that are known: the database takes the others for the same.
    fn spell(&self, rows: &mut [TableRow]) {
        for row in rows {
            if let Some(host) = self.spelled(&row.content.host) {
                row.content.host = host.as_str().into();
            }
        }
    }

    /// The host that is known in another spelling, if this is one.
    fn spelled(&self, text: &str) -> Option<&Host> {
        let text = text.trim_end_matches(' ');
        let is_known = Host::parse(text).is_ok_and(|host| self.by_host.contains_key(&host));
        self.by_text.get(&text.to_lowercase()).filter(|_| !is_known)
    }

    /// Notes a host that only the database knows.
    fn meet(&mut self, host: &Host) {
        self.by_text.entry(host.as_str().to_lowercase()).or_insert_with(|| host.clone());
        self.by_host.entry(host.clone()).or_insert_with(|| host.default_machine());
    }

    fn get(&self, host: &Host) -> Machine {
        self.by_host.get(host).cloned().unwrap_or_else(|| host.default_machine())
    }
}

/// The groups that have targets.
fn groups_of(ledger: &Snapshot) -> Result<Vec<Group>, Failure> {
    let mut groups: Vec<Group> = ledger.targets()?.into_iter().map(|target| target.group).collect();
    groups.sort_unstable();
    groups.dedup();
    Ok(groups)
}
