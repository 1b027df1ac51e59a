//! Reading minidvodbRun, minidvodbProcessed and minidvodbCopy.

use std::ops::Range;

use mysql::prelude::Queryable as _;
use mysql::{Params, Value};

use super::values::Columns;
use super::{Database, Trouble};
use crate::model::{BUCKET_IDS, Buckets, Content, MinidvodbId, NO_BUCKET, TableRow};

/// A row of minidvodbRun with its fault of minidvodbProcessed, as it lies there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunRow<'t> {
    /// minidvodb_id.
    pub id: i64,
    /// minidvodb_name.
    pub name: Option<&'t str>,
    /// minidvodb_group.
    pub group: &'t str,
    /// minidvodb_path.
    pub path: &'t str,
    /// state.
    pub state: &'t str,
    /// fault of minidvodbProcessed; none where it has no row there.
    pub fault: Option<i64>,
}

impl RunRow<'_> {
    /// Its id; none where that is none, and names nothing that could be copied.
    pub fn natural_id(&self) -> Option<u64> {
        u64::try_from(self.id).ok().filter(|&id| id > 0)
    }
}

const RUN: &str = "SELECT r.minidvodb_id, r.minidvodb_name, r.minidvodb_group, r.minidvodb_path, r.state, p.fault \
                   FROM minidvodbRun r LEFT JOIN minidvodbProcessed p ON p.minidvodb_id = r.minidvodb_id";
const COPY: &str = "SELECT c.minidvodbcopy_id, c.minidvodb_id, c.minidvodb_rsync_path, c.destination_host, c.fault, \
                    c.state, c.epoch, c.dtime FROM minidvodbCopy c";

/// Sums are taken modulo this prime, the largest below 2^63.
const PRIME: u64 = 9_223_372_036_854_775_783;

/// A sum as it is kept.
pub(super) fn reduced(sum: u128) -> u64 {
    u64::try_from(sum % u128::from(PRIME)).unwrap_or_default()
}

/// The number of rows, and their sum as it is kept.
pub(super) fn count_and_sum(id: &str, columns: &str) -> String {
    format!("COUNT(*), CAST(MOD(SUM({}), {PRIME}) AS UNSIGNED)", weighed(id, columns))
}

/// What a row weighs is made of this.
pub(super) fn text_of(columns: &str) -> String {
    format!("CONCAT_WS('\n', {columns})")
}

/// The part of a row in the sum of its bucket.
pub(super) fn weighed(id: &str, columns: &str) -> String {
    format!("CRC32({}) * (CRC32({id}) | 1)", text_of(columns))
}

/// The three tables; the column whose hash weighs a row, so that rows that are edited alike do not make up for
/// each other (a CRC is linear); and the columns that are read, each as a text that tells every two values apart:
/// a float as a double, because as a text it has six digits only.
pub(super) const SUMMED: [(&str, &str, &str); 3] = [
    (
        "minidvodbRun",
        "minidvodb_id",
        "minidvodb_id, IFNULL(minidvodb_name, '~'), minidvodb_group, minidvodb_path, state",
    ),
    ("minidvodbProcessed", "minidvodb_id", "minidvodb_id, fault"),
    (
        "minidvodbCopy",
        "minidvodbcopy_id",
        "minidvodbcopy_id, IFNULL(minidvodb_id, '~'), minidvodb_rsync_path, destination_host, fault, state, \
         IFNULL(UNIX_TIMESTAMP(epoch), '~'), IFNULL(CAST(dtime AS DOUBLE), '~')",
    ),
];

impl Database {
    /// Begins to read everything as it is at this moment.
    ///
    /// # Errors
    /// Away or refused.
    pub fn begin_reading(&mut self) -> Result<(), Trouble> {
        Ok(self.conn.query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT")?)
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Away or refused.
    pub fn end_reading(&mut self) -> Result<(), Trouble> {
        Ok(self.conn.query_drop("COMMIT")?)
    }

    /// What tells this server and its table apart from others: the server's name for itself, and when the table
    /// was made.
    ///
    /// # Errors
    /// Away or refused.
    pub fn identity(&mut self) -> Result<String, Trouble> {
        let identity: Option<(Option<String>, Option<String>)> = self.conn.exec_first(
            "SELECT @@hostname, (SELECT CAST(CREATE_TIME AS CHAR) FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'minidvodbCopy')",
            (),
        )?;
        let (server, made) = identity.unwrap_or_default();
        Ok(format!("{} {}", server.unwrap_or_default(), made.unwrap_or_default()))
    }

    /// Whether minidvodbCopy has no row at all.
    ///
    /// # Errors
    /// Away or refused.
    pub fn is_empty(&mut self) -> Result<bool, Trouble> {
        let row: Option<i64> = self.conn.query_first("SELECT minidvodbcopy_id FROM minidvodbCopy LIMIT 1")?;
        Ok(row.is_none())
    }

    /// Number and sum of the rows in each bucket of the three tables: minidvodbRun, minidvodbProcessed,
    /// minidvodbCopy. It costs the server a scan of each, and the network next to nothing.
    ///
    /// # Errors
    /// Away or refused.
    pub fn buckets(&mut self) -> Result<Buckets, Trouble> {
        let mut buckets = Buckets::new();
        for (table, (name, id, columns)) in (0..).zip(SUMMED) {
            let query = format!(
                "SELECT IF(minidvodb_id < 1, NULL, minidvodb_id DIV {BUCKET_IDS}), {} \
                 FROM {name} GROUP BY 1 ORDER BY NULL",
                count_and_sum(id, columns)
            );
            for row in self.conn.exec_iter(query, ())? {
                let mut columns = Columns::of(row?);
                let bucket =
                    columns.number()?.and_then(|bucket| u64::try_from(bucket).ok()).unwrap_or(NO_BUCKET);
                let count = columns.natural()?;
                let sum = columns.natural()?;
                let all = buckets.entry((table, bucket)).or_insert((0, 0));
                *all = (all.0.wrapping_add(count), all.1.wrapping_add(sum));
            }
        }
        Ok(buckets)
    }

    /// Shows the minidvodbs of some groups in some ranges of ids.
    ///
    /// # Errors
    /// Away or refused.
    pub fn each_run(
        &mut self,
        groups: &[&str],
        ranges: &[Range<u64>],
        see: impl FnMut(&RunRow<'_>),
    ) -> Result<(), Trouble> {
        if groups.is_empty() || ranges.is_empty() {
            return Ok(());
        }
        let places = vec!["?"; groups.len()].join(", ");
        let query = format!("{RUN} WHERE r.minidvodb_group IN ({places}) AND ({})", within("r", ranges));
        self.see_runs(&query, texts(groups), see)
    }

    /// Shows some minidvodbs by their ids, those that are there.
    ///
    /// # Errors
    /// Away or refused.
    pub fn each_run_of(&mut self, ids: &[u64], see: impl FnMut(&RunRow<'_>)) -> Result<(), Trouble> {
        if ids.is_empty() {
            return Ok(());
        }
        self.see_runs(&format!("{RUN} WHERE r.minidvodb_id IN ({})", listed(ids)), Params::Empty, see)
    }

    fn see_runs(
        &mut self,
        query: &str,
        params: Params,
        mut see: impl FnMut(&RunRow<'_>),
    ) -> Result<(), Trouble> {
        for row in self.conn.exec_iter(query, params)? {
            let mut columns = Columns::of(row?);
            let run = OwnedRun::of(&mut columns)?;
            see(&run.with_fault(columns.number()?));
        }
        Ok(())
    }

    /// The rows of minidvodbCopy in some ranges of minidvodb_ids.
    ///
    /// # Errors
    /// Away or refused.
    pub fn copies_in(&mut self, ranges: &[Range<u64>]) -> Result<Vec<TableRow>, Trouble> {
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        self.rows(&format!("{COPY} WHERE {}", within("c", ranges)), Params::Empty)
    }

    /// The rows of some minidvodbs; where `to_write`, nobody else changes them until the end of the transaction.
    ///
    /// # Errors
    /// Away, busy or refused.
    pub fn copies_of(&mut self, minidvodbs: &[u64], to_write: bool) -> Result<Vec<TableRow>, Trouble> {
        if minidvodbs.is_empty() {
            return Ok(Vec::new());
        }
        let lock = if to_write { " FOR UPDATE" } else { "" };
        self.rows(&format!("{COPY} WHERE {}{lock}", one_of("c", minidvodbs)), Params::Empty)
    }

    /// The rows with a minidvodbcopy_id from this one on: it, minidvodb_id and destination_host.
    ///
    /// # Errors
    /// Away or refused.
    pub fn pairs_from(&mut self, first: u64) -> Result<Vec<(u64, u64, String)>, Trouble> {
        let query = "SELECT c.minidvodbcopy_id, c.minidvodb_id, c.destination_host FROM minidvodbCopy c \
                     WHERE c.minidvodbcopy_id >= ?";
        let mut found = Vec::new();
        for row in self.conn.exec_iter(query, (first,))? {
            let mut columns = Columns::of(row?);
            found.push((columns.natural()?, columns.natural()?, columns.text()?.unwrap_or_default()));
        }
        Ok(found)
    }

    /// The rows whose minidvodb_id is NULL or negative, which belong to no minidvodb: their ids and hosts.
    ///
    /// # Errors
    /// Away or refused.
    pub fn rows_of_nothing(&mut self) -> Result<Vec<(u64, String)>, Trouble> {
        let query = "SELECT c.minidvodbcopy_id, c.destination_host FROM minidvodbCopy c \
                     WHERE c.minidvodb_id IS NULL OR c.minidvodb_id < 1";
        let mut found = Vec::new();
        for row in self.conn.exec_iter(query, ())? {
            let mut columns = Columns::of(row?);
            let id = columns.number()?.and_then(|id| u64::try_from(id).ok()).unwrap_or_default();
            found.push((id, columns.text()?.unwrap_or_default()));
        }
        Ok(found)
    }

    /// The rows of minidvodbCopy (`c`) for which a condition holds.
    pub(super) fn copies_where(&mut self, condition: &str, params: Params) -> Result<Vec<TableRow>, Trouble> {
        self.rows(&format!("{COPY} WHERE {condition}"), params)
    }

    fn rows(&mut self, query: &str, params: Params) -> Result<Vec<TableRow>, Trouble> {
        let mut rows = Vec::new();
        for row in self.conn.exec_iter(query, params)? {
            let (id, minidvodb_id, content) = copy_of(&mut Columns::of(row?))?;
            if let (Some(id), Some(minidvodb_id)) = (id, minidvodb_id) {
                rows.push(TableRow { id, minidvodb_id: MinidvodbId(minidvodb_id), content });
            }
        }
        Ok(rows)
    }
}

/// The texts of a row of minidvodbRun, in columns of their own.
pub(super) struct OwnedRun {
    id: i64,
    name: Option<String>,
    group: String,
    path: String,
    state: String,
}

impl OwnedRun {
    pub(super) fn of(columns: &mut Columns) -> Result<Self, Trouble> {
        Ok(Self {
            id: columns.number()?.unwrap_or_default(),
            name: columns.text()?,
            group: columns.text()?.unwrap_or_default(),
            path: columns.text()?.unwrap_or_default(),
            state: columns.text()?.unwrap_or_default(),
        })
    }

    pub(super) fn with_fault(&self, fault: Option<i64>) -> RunRow<'_> {
        let Self { id, name, group, path, state } = self;
        RunRow { id: *id, name: name.as_deref(), group, path, state, fault }
    }
}

/// The row of minidvodbCopy in some columns: its two ids, where they are some, and the rest.
pub(super) fn copy_of(columns: &mut Columns) -> Result<(Option<u64>, Option<u64>, Content), Trouble> {
    let id = columns.number()?.and_then(|id| u64::try_from(id).ok()).filter(|&id| id > 0);
    let minidvodb_id = columns.number()?.and_then(|id| u64::try_from(id).ok());
    let content = Content {
        path: columns.text()?.unwrap_or_default(),
        host: columns.text()?.unwrap_or_default().into(),
        fault: columns.number()?.and_then(|fault| i16::try_from(fault).ok()).unwrap_or_default(),
        state: columns.text()?.unwrap_or_default().into(),
        epoch: columns.time()?,
        dtime_s: columns.seconds()?,
    };
    Ok((id, minidvodb_id, content))
}

/// A condition that an id lies in one of some ranges.
fn within(table: &str, ranges: &[Range<u64>]) -> String {
    // The server's ids are signed.
    let max = i64::MAX.unsigned_abs();
    let one = |range: &Range<u64>| {
        let last = range.end.saturating_sub(1).min(max);
        format!("{table}.minidvodb_id BETWEEN {} AND {last}", range.start.clamp(1, max))
    };
    let all: Vec<String> = ranges.iter().map(one).collect();
    all.join(" OR ")
}

pub(super) fn texts(texts: &[&str]) -> Params {
    Params::Positional(texts.iter().map(|text| Value::Bytes(text.as_bytes().to_vec())).collect())
}

/// A condition that an id is one of some, which are in order: what follows each other is one range, which costs
/// the server much less than its ids one by one.
fn one_of(table: &str, ids: &[u64]) -> String {
    let (mut ranges, mut alone) = (Vec::new(), Vec::new());
    for run in ids.chunk_by(|one, next| one + 1 == *next) {
        match run {
            [id] => alone.push(*id),
            [first, .., last] => ranges.push(*first..last + 1),
            [] => {}
        }
    }
    if ranges.is_empty() {
        return format!("{table}.minidvodb_id IN ({})", listed(&alone));
    }
    let ranges = within(table, &ranges);
    if alone.is_empty() {
        ranges
    } else {
        format!("({ranges} OR {table}.minidvodb_id IN ({}))", listed(&alone))
    }
}

pub(super) fn listed<T: ToString>(ids: &[T]) -> String {
    let ids: Vec<String> = ids.iter().map(T::to_string).collect();
    ids.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_follow_each_other_are_asked_for_as_a_range() {
        assert_eq!(one_of("c", &[7]), "c.minidvodb_id IN (7)");
        assert_eq!(one_of("c", &[7, 9]), "c.minidvodb_id IN (7, 9)");
        assert_eq!(one_of("c", &[7, 8, 9]), "c.minidvodb_id BETWEEN 7 AND 9");
        assert_eq!(
            one_of("c", &[1, 3, 4, 6, 8, 9]),
            "(c.minidvodb_id BETWEEN 3 AND 4 OR c.minidvodb_id BETWEEN 8 AND 9 OR c.minidvodb_id IN (1, 6))"
        );
    }
}
