//! Reading all of the three tables in one go, each once, with the sums of their buckets.
//!
//! Invariant: the sums are those of just the rows that were shown, and the same as [`Database::buckets`] gives
//! for them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::ControlFlow;

use mysql::Params;
use mysql::prelude::Queryable as _;

use super::connect::REST_MAX_S;
use super::read::{OwnedRun, SUMMED, copy_of, listed, reduced, text_of, texts, weighed};
use super::text::{copy_in, first_number, run_in, second_number, weight};
use super::values::Columns;
use super::{Database, RunRow, Trouble};
use crate::model::{BUCKET_IDS, BucketKey, Buckets, MinidvodbId, NO_BUCKET, TableRow};

/// Whoever looks at the rows may write them down between two of them: the server waits for so long. Copies may have to
/// wait for all minidvodbs.
const WRITE_MAX_S: u32 = 600;
const COPIES_WRITE_MAX_S: u32 = REST_MAX_S;
/// So many rows that cannot be read from their texts are asked for at once.
const ROWS_AT_ONCE: usize = 1000;
/// The places of the tables among those that are summed.
const RUN: usize = 0;
const PROCESSED: usize = 1;
const COPY: usize = 2;

/// Something that is read of minidvodbCopy.
#[derive(Debug)]
pub enum Seen {
    /// A row of a minidvodb, by its id; those of one minidvodb come one behind the other.
    Copy(TableRow),
    /// The rows of this minidvodb need more than one look, and come behind all others.
    Later(u64),
    /// A row of no minidvodb: its minidvodbcopy_id and its host.
    RowOfNothing(u64, String),
}

/// Rows of a bucket, and what they weigh together.
#[derive(Default)]
struct Sum {
    count: u64,
    weight: u128,
}

impl Sum {
    fn add(&mut self, count: u64, weight: u128) {
        self.count += count;
        self.weight += weight;
    }
}

/// Sums of buckets being made.
#[derive(Default)]
struct Sums {
    all: BTreeMap<BucketKey, Sum>,
    /// The bucket of the last rows, and what of it is not among all yet: mostly the next row is of the same.
    last: (BucketKey, Sum),
}

impl Sums {
    /// Counts a row with what it weighs.
    fn add(&mut self, table: usize, minidvodb_id: Option<u64>, weight: u64) {
        let bucket = minidvodb_id.filter(|&id| id > 0).map_or(NO_BUCKET, |id| id / BUCKET_IDS);
        let key = (table as u64, bucket);
        if self.last.0 != key {
            self.gather();
            self.last.0 = key;
        }
        self.last.1.add(1, u128::from(weight));
    }

    /// Brings the last rows among all.
    fn gather(&mut self) {
        let (key, Sum { count, weight }) = std::mem::take(&mut self.last);
        if count > 0 {
            self.all.entry(key).or_default().add(count, weight);
        }
    }

    fn into_buckets(mut self) -> Buckets {
        self.gather();
        self.all.into_iter().map(|(key, sum)| (key, (sum.count, reduced(sum.weight)))).collect()
    }
}

/// Rows being shown to somebody, who may have seen enough.
struct Showing<'d, S> {
    database: &'d mut Database,
    see: S,
    sums: Sums,
}

/// Whether more is wanted.
type More = ControlFlow<()>;

impl Database {
    /// Shows all minidvodbs of some groups by their ids, but for those that need more than one look, which come
    /// behind the others, until `see` has seen enough; the sums of all buckets of their two tables, where it has not.
    ///
    /// # Errors
    /// Away or refused.
    pub fn every_minidvodb(
        &mut self,
        groups: &[&str],
        see: impl FnMut(RunRow<'_>) -> More,
    ) -> Result<Option<Buckets>, Trouble> {
        let mut showing = Showing::begin(self, see, WRITE_MAX_S)?;
        let faults = showing.faults()?;
        let seen = showing.runs(groups, &faults)?;
        Ok(showing.end(seen))
    }

    /// Shows all rows of minidvodbCopy, in the same way.
    ///
    /// # Errors
    /// Away or refused.
    pub fn every_copy(&mut self, see: impl FnMut(Seen) -> More) -> Result<Option<Buckets>, Trouble> {
        let mut showing = Showing::begin(self, see, COPIES_WRITE_MAX_S)?;
        let seen = showing.copies()?;
        Ok(showing.end(seen))
    }
}

impl<'d, S> Showing<'d, S> {
    fn begin(database: &'d mut Database, see: S, write_max_s: u32) -> Result<Self, Trouble> {
        database.conn.query_drop(format!("SET SESSION net_write_timeout = {write_max_s}"))?;
        Ok(Self { database, see, sums: Sums::default() })
    }

    fn end(self, seen: More) -> Option<Buckets> {
        seen.is_continue().then(|| self.sums.into_buckets())
    }

    /// Counts rows, by the ids of their table, that were shown already.
    fn weigh(&mut self, table: usize, ids: &[i64]) -> Result<(), Trouble> {
        let (_, id, _) = SUMMED[table];
        for ids in ids.chunks(ROWS_AT_ONCE) {
            let query = weighed_rows(table, "minidvodb_id", "", &one_of(id, ids));
            for row in self.database.conn.exec_iter(query, ())? {
                let mut columns = Columns::of(row?);
                let minidvodb_id = columns.number()?.and_then(|id| u64::try_from(id).ok());
                self.sums.add(table, minidvodb_id, columns.natural()?);
            }
        }
        Ok(())
    }
}

impl<S: FnMut(RunRow<'_>) -> More> Showing<'_, S> {
    fn faults(&mut self) -> Result<Faults, Trouble> {
        let (mut faults, mut text) = (Vec::new(), String::new());
        for row in self.database.conn.exec_iter("SELECT minidvodb_id, fault FROM minidvodbProcessed", ())? {
            let mut columns = Columns::of(row?);
            let (id, fault) = (columns.number()?, columns.number()?);
            // As the server makes a text of them, and of none. Writing into memory cannot fail.
            text.clear();
            let _ = id.map_or(Ok(()), |id| write!(text, "{id}"));
            let id_end = text.len();
            let _ = fault.map_or(Ok(()), |fault| write!(text, "\n{fault}"));
            let weight = id.map_or(0, |_| weight(&text, &text[..id_end]));
            let id = id.and_then(|id| u64::try_from(id).ok());
            self.sums.add(PROCESSED, id, weight);
            faults.extend(id.zip(fault));
        }
        faults.sort_unstable();
        Ok(Faults(faults))
    }

    fn runs(&mut self, groups: &[&str], faults: &Faults) -> Result<More, Trouble> {
        let places = vec!["?"; groups.len()].join(", ");
        // Which groups are the same is the database's to say.
        let is_wanted =
            if groups.is_empty() { "0".to_owned() } else { format!("minidvodb_group IN ({places})") };
        let params = || if groups.is_empty() { Params::Empty } else { texts(groups) };
        let (mut later, mut unweighed) = (Vec::new(), Vec::new());
        let (name, _, summed) = SUMMED[RUN];
        let text = text_of(summed);
        let lacks_one = any_null(&["minidvodb_group", "minidvodb_path", "state"]);
        // One number for all that is to be known of a row beside its text.
        let query = format!(
            "SELECT {text}, ({lacks_one}) * 4 + (minidvodb_name IS NULL) * 2 + IFNULL({is_wanted}, 0)
             FROM {name} ORDER BY minidvodb_id"
        );
        for row in self.database.conn.exec_iter(query, params())? {
            let mut columns = Columns::of(row?);
            let (text, known) = (columns.bytes()?, columns.natural()?);
            let (lacks_one, is_nameless, is_wanted) = (known & 4 != 0, known & 2 != 0, known & 1 != 0);
            let Some((mut run, weight)) = run_in(&text, is_nameless).filter(|_| !lacks_one) else {
                later.push(first_number(&text).ok_or_else(|| without_id(name))?);
                continue;
            };
            match weight {
                Some(weight) => self.sums.add(RUN, run.natural_id(), weight),
                None => unweighed.push(run.id),
            }
            run.fault = faults.of(&run);
            if is_wanted && (self.see)(run).is_break() {
                return Ok(More::Break(()));
            }
        }
        self.weigh(RUN, &unweighed)?;
        let columns = "minidvodb_id, minidvodb_name, minidvodb_group, minidvodb_path, state";
        for ids in later.chunks(ROWS_AT_ONCE) {
            let query = weighed_rows(RUN, columns, &format!(", {is_wanted}"), &one_of("minidvodb_id", ids));
            for row in self.database.conn.exec_iter(query, params())? {
                let mut columns = Columns::of(row?);
                let owned = OwnedRun::of(&mut columns)?;
                let (weight, is_wanted) = (columns.natural()?, columns.natural()? != 0);
                let mut run = owned.with_fault(None);
                self.sums.add(RUN, run.natural_id(), weight);
                run.fault = faults.of(&run);
                if is_wanted && (self.see)(run).is_break() {
                    return Ok(More::Break(()));
                }
            }
        }
        Ok(More::Continue(()))
    }
}

impl<S: FnMut(Seen) -> More> Showing<'_, S> {
    fn copies(&mut self) -> Result<More, Trouble> {
        let (name, _, summed) = SUMMED[COPY];
        let lacks_one = any_null(&["minidvodb_rsync_path", "destination_host", "fault", "state"]);
        let query = format!("SELECT {}, {lacks_one} FROM {name} ORDER BY minidvodb_id", text_of(summed));
        let (mut alike, mut later, mut later_of_nothing) = (Alike::default(), Vec::new(), Vec::new());
        let mut unweighed = Vec::new();
        for row in self.database.conn.exec_iter(query, ())? {
            let mut columns = Columns::of(row?);
            let (text, lacks_one) = (columns.bytes()?, columns.natural()? != 0);
            let copy = copy_in(&text).filter(|_| !lacks_one);
            let minidvodb_id = match &copy {
                Some((Ok(row), _)) => Some(row.minidvodb_id.0),
                Some((Err(_), _)) => None,
                None => second_number(&text).and_then(|id| u64::try_from(id).ok()).filter(|&id| id > 0),
            };
            if alike.minidvodb_id != minidvodb_id {
                if alike.show(&mut self.see, &mut self.sums, &mut later, &mut unweighed).is_break() {
                    return Ok(More::Break(()));
                }
                alike.minidvodb_id = minidvodb_id;
            }
            match (copy, minidvodb_id) {
                (Some((Ok(row), weight)), _) => alike.rows.push((row, weight)),
                (Some((Err((id, host)), weight)), _) => {
                    match weight {
                        Some(weight) => self.sums.add(COPY, None, weight),
                        None => unweighed.extend(first_number(&text)),
                    }
                    if (self.see)(Seen::RowOfNothing(id, host)).is_break() {
                        return Ok(More::Break(()));
                    }
                }
                (None, Some(_)) => alike.need_another_look = true,
                (None, None) => {
                    later_of_nothing.push(first_number(&text).ok_or_else(|| without_id(name))?);
                }
            }
        }
        if alike.show(&mut self.see, &mut self.sums, &mut later, &mut unweighed).is_break() {
            return Ok(More::Break(()));
        }
        self.weigh(COPY, &unweighed)?;
        for ids in later.chunks(ROWS_AT_ONCE) {
            if self.copies_again(&one_of("minidvodb_id", ids))?.is_break() {
                return Ok(More::Break(()));
            }
        }
        for ids in later_of_nothing.chunks(ROWS_AT_ONCE) {
            if self.copies_again(&one_of("minidvodbcopy_id", ids))?.is_break() {
                return Ok(More::Break(()));
            }
        }
        Ok(More::Continue(()))
    }

    /// Shows rows of minidvodbCopy by all of their columns.
    fn copies_again(&mut self, condition: &str) -> Result<More, Trouble> {
        let columns = "minidvodbcopy_id, minidvodb_id, minidvodb_rsync_path, destination_host, fault, state, \
                       epoch, dtime";
        for row in self.database.conn.exec_iter(weighed_rows(COPY, columns, "", condition), ())? {
            let mut columns = Columns::of(row?);
            let (id, minidvodb_id, content) = copy_of(&mut columns)?;
            self.sums.add(COPY, minidvodb_id, columns.natural()?);
            let seen = match (id, minidvodb_id.filter(|&id| id > 0)) {
                (None, Some(_)) => continue,
                (id, None) => Seen::RowOfNothing(id.unwrap_or_default(), content.host.into()),
                (Some(id), Some(minidvodb_id)) => {
                    Seen::Copy(TableRow { id, minidvodb_id: MinidvodbId(minidvodb_id), content })
                }
            };
            if (self.see)(seen).is_break() {
                return Ok(More::Break(()));
            }
        }
        Ok(More::Continue(()))
    }
}

/// The faults of minidvodbProcessed, by minidvodb_id.
struct Faults(Vec<(u64, i64)>);

impl Faults {
    fn of(&self, run: &RunRow<'_>) -> Option<i64> {
        let id = run.natural_id()?;
        let at = self.0.partition_point(|(of, _)| *of < id);
        self.0.get(at).filter(|(of, _)| *of == id).map(|(_, fault)| *fault)
    }
}

/// The rows of one minidvodb, with what each weighs, if that is known.
#[derive(Default)]
struct Alike {
    minidvodb_id: Option<u64>,
    rows: Vec<(TableRow, Option<u64>)>,
    /// One of them cannot be read from its text.
    need_another_look: bool,
}

impl Alike {
    /// Shows them, or keeps their minidvodb for later.
    fn show(
        &mut self,
        see: &mut impl FnMut(Seen) -> More,
        sums: &mut Sums,
        later: &mut Vec<u64>,
        unweighed: &mut Vec<i64>,
    ) -> More {
        if std::mem::take(&mut self.need_another_look) {
            self.rows.clear();
            later.extend(self.minidvodb_id);
            return self.minidvodb_id.map_or(More::Continue(()), |id| see(Seen::Later(id)));
        }
        self.rows.drain(..).try_for_each(|(row, weight)| {
            match weight {
                Some(weight) => sums.add(COPY, Some(row.minidvodb_id.0), weight),
                None => unweighed.extend(i64::try_from(row.id)),
            }
            see(Seen::Copy(row))
        })
    }
}

/// Some rows of a table in the order of their minidvodb_ids: some columns, what each weighs, and more.
fn weighed_rows(table: usize, columns: &str, more: &str, condition: &str) -> String {
    let (name, id, summed) = SUMMED[table];
    let weight = weighed(id, summed);
    format!("SELECT {columns}, {weight}{more} FROM {name} WHERE {condition} ORDER BY minidvodb_id")
}

/// Whether a row has NULL where it should have none: its text lacks a line then.
fn any_null(columns: &[&str]) -> String {
    let each: Vec<String> = columns.iter().map(|column| format!("{column} IS NULL")).collect();
    each.join(" OR ")
}

fn without_id(table: &str) -> Trouble {
    Trouble::Refused(format!("{table} has a row whose id is none"))
}

fn one_of<T: ToString>(column: &str, ids: &[T]) -> String {
    format!("{column} IN ({})", listed(ids))
}
