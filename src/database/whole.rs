//! Reading all of the three tables in one go, each once, with the sums of their buckets.
//!
//! Invariant: the sums are those of just the rows that were shown, and the same as [`Database::buckets`] gives
//! for them.

use std::collections::BTreeMap;

use mysql::Params;
use mysql::prelude::Queryable as _;

use super::read::{PRIME, SUMMED, copy_of, run_of, texts, weighed};
use super::values::Columns;
use super::{Database, RunRow, Trouble};
use crate::model::{BUCKET_IDS, BucketKey, Buckets, MinidvodbId, NO_BUCKET, TableRow};

/// Whoever looks at the rows may write them down between two of them: the server waits for so long.
const WRITE_MAX_S: u32 = 600;

/// Something that is read.
#[derive(Debug)]
pub enum Seen {
    /// A minidvodb of one of the groups, by id.
    Run(RunRow),
    /// A row of a minidvodb, by its id.
    Copy(TableRow),
    /// A row of no minidvodb: its minidvodbcopy_id and its host.
    RowOfNothing(u64, String),
}

/// Nobody wants to see more.
struct Enough;

/// Sums of buckets being made.
#[derive(Default)]
struct Sums(BTreeMap<BucketKey, (u64, u128)>);

impl Sums {
    /// Counts a row with what it weighs.
    fn add(&mut self, table: u64, minidvodb_id: Option<u64>, weight: u64) {
        let bucket = minidvodb_id.filter(|&id| id > 0).map_or(NO_BUCKET, |id| id / BUCKET_IDS);
        let (count, sum) = self.0.entry((table, bucket)).or_default();
        *count += 1;
        *sum += u128::from(weight);
    }

    fn into_buckets(self) -> Buckets {
        let small = |sum: u128| u64::try_from(sum % u128::from(PRIME)).unwrap_or_default();
        self.0.into_iter().map(|(key, (count, sum))| (key, (count, small(sum)))).collect()
    }
}

impl Database {
    /// Shows all minidvodbs of some groups, then all rows of minidvodbCopy, until `see` says that it is enough;
    /// the sums of all buckets, where it does not.
    ///
    /// # Errors
    /// Away or refused.
    pub fn everything(
        &mut self,
        groups: &[&str],
        mut see: impl FnMut(Seen) -> bool,
    ) -> Result<Option<Buckets>, Trouble> {
        self.conn.query_drop(format!("SET SESSION net_write_timeout = {WRITE_MAX_S}"))?;
        let mut sums = Sums::default();
        let faults = self.faults(&mut sums)?;
        let seen = match self.runs(groups, &faults, &mut sums, &mut see)? {
            Ok(()) => self.copies(&mut sums, &mut see)?,
            enough => enough,
        };
        Ok(seen.ok().map(|()| sums.into_buckets()))
    }

    /// The faults of minidvodbProcessed, by minidvodb_id.
    fn faults(&mut self, sums: &mut Sums) -> Result<Vec<(u64, i64)>, Trouble> {
        let mut faults = Vec::new();
        for row in self.conn.exec_iter(query(1, "minidvodb_id, fault", ""), ())? {
            let mut columns = Columns::of(row?);
            let (id, fault) = (columns.number()?, columns.number()?);
            let id = id.and_then(|id| u64::try_from(id).ok());
            sums.add(1, id, columns.natural()?);
            faults.extend(id.zip(fault));
        }
        Ok(faults)
    }

    fn runs(
        &mut self,
        groups: &[&str],
        faults: &[(u64, i64)],
        sums: &mut Sums,
        see: &mut impl FnMut(Seen) -> bool,
    ) -> Result<Result<(), Enough>, Trouble> {
        let places = vec!["?"; groups.len()].join(", ");
        // Which groups are the same is the database's to say.
        let is_wanted =
            if groups.is_empty() { "0".to_owned() } else { format!("minidvodb_group IN ({places})") };
        let columns = "minidvodb_id, minidvodb_name, minidvodb_group, minidvodb_path, state";
        let params = if groups.is_empty() { Params::Empty } else { texts(groups) };
        let mut faults = faults.iter().copied().peekable();
        for row in self.conn.exec_iter(query(0, columns, &format!(", {is_wanted}")), params)? {
            let mut columns = Columns::of(row?);
            let mut run = run_of(&mut columns)?;
            let id = run.natural_id().unwrap_or_default();
            sums.add(0, Some(id), columns.natural()?);
            let is_wanted = columns.natural()? != 0;
            while faults.next_if(|(of, _)| *of < id).is_some() {}
            run.fault = faults.peek().filter(|(of, _)| *of == id).map(|(_, fault)| *fault);
            if is_wanted && !see(Seen::Run(run)) {
                return Ok(Err(Enough));
            }
        }
        Ok(Ok(()))
    }

    fn copies(
        &mut self,
        sums: &mut Sums,
        see: &mut impl FnMut(Seen) -> bool,
    ) -> Result<Result<(), Enough>, Trouble> {
        let columns = "minidvodbcopy_id, minidvodb_id, minidvodb_rsync_path, destination_host, fault, state, \
                       epoch, dtime";
        for row in self.conn.exec_iter(query(2, columns, ""), ())? {
            let mut columns = Columns::of(row?);
            let (id, minidvodb_id, content) = copy_of(&mut columns)?;
            sums.add(2, minidvodb_id, columns.natural()?);
            let seen = match (id, minidvodb_id.filter(|&id| id > 0)) {
                (None, Some(_)) => continue,
                (id, None) => Seen::RowOfNothing(id.unwrap_or_default(), content.host),
                (Some(id), Some(minidvodb_id)) => {
                    Seen::Copy(TableRow { id, minidvodb_id: MinidvodbId(minidvodb_id), content })
                }
            };
            if !see(seen) {
                return Ok(Err(Enough));
            }
        }
        Ok(Ok(()))
    }
}

/// All rows of a table in the order of their minidvodb_ids: some columns, what each weighs, and more.
fn query(table: usize, columns: &str, more: &str) -> String {
    let (name, id, summed) = SUMMED[table];
    format!("SELECT {columns}, {}{more} FROM {name} ORDER BY minidvodb_id", weighed(id, summed))
}
