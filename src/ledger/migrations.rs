//! The schema's version, and the numbered steps that lead from an older one to this program's.
//!
//! Invariant: a ledger newer than this program is refused by its number and is not written to. A step, once
//! released, is never changed; a new schema is a new step.

use redb::ReadableTable as _;

use super::Failure;
use super::look::{decode_copy, decode_row};
use super::tables::WriteTables;
use super::tally;
use crate::error::Error;
use crate::model::{NO_BUCKET, UNKNOWN_SUM};

/// A step from one version to the next.
pub(super) type Step = fn(&mut WriteTables<'_>) -> Result<(), Failure>;

/// `STEPS[n]` leads from version n+1 to version n+2.
pub(super) const STEPS: &[Step] = &[
    // 2: the tables for the IPP database and the log, which opening them for writing has made; no copy has
    // been in a database yet.
    |tables| {
        let mut copies = Vec::new();
        for entry in tables.pairs.table.iter()? {
            let (key, copy) = entry?;
            copies.push((copy.value(), key.value().0));
        }
        copies.iter().try_for_each(|(copy, minidvodb)| tables.ahead.put(copy, minidvodb))
    },
    // 3: full copies may be in the queue, to be sent again, and new ones may adopt what is there: fields that
    // are left out where they say no. A program that does not know them must not write this ledger.
    |_| Ok(()),
    // 4: numbers are kept beside the records, and full copies remember their audits. A bucket is a quarter of
    // what it was: of each nothing is known, but that it may have rows.
    |tables| {
        tally::count_all(tables)?;
        let mut old = Vec::new();
        for entry in tables.buckets.table.iter()? {
            old.push(entry?.0.value());
        }
        for &key in &old {
            tables.buckets.remove(&key)?;
        }
        for (table, bucket) in old {
            let quarters = if bucket == NO_BUCKET { bucket..=bucket } else { bucket * 4..=bucket * 4 + 3 };
            for quarter in quarters {
                tables.buckets.put(&(table, quarter), &UNKNOWN_SUM)?;
            }
        }
        Ok(())
    },
    // 5: records are written in another form, which older programs do not know; each that is there is read in its
    // own one. Rows that copies are just like are not kept a second time.
    |tables| {
        let (mut level, mut ahead, mut of_none) = (Vec::new(), Vec::new(), Vec::new());
        for entry in tables.synced.table.iter()? {
            let (id, row) = entry?;
            let (id, row) = (id.value(), decode_row(id.value(), row.value())?);
            match tables.copies.table.get(id)?.map(|copy| decode_copy(id, copy.value())).transpose()? {
                Some(copy) if row.is_of(&copy) => level.push((id, row.id)),
                Some(copy) => ahead.push((id, copy.minidvodb_id.0)),
                None => of_none.push(id),
            }
        }
        for (id, row) in level {
            tables.synced.remove(&id)?;
            tables.ahead.remove(&id)?;
            tables.level.put(&id, &row)?;
        }
        ahead.iter().try_for_each(|(id, minidvodb)| tables.ahead.put(id, minidvodb))?;
        of_none.iter().try_for_each(|id| tables.synced.remove(id).map(drop))
    },
];

/// The version that all steps lead to.
pub(super) const CURRENT: u32 = 1 + STEPS.len() as u32;

/// What is to be done with a ledger of a version.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// Nothing.
    Current,
    /// Take the steps from this index on.
    Older { first_step: usize },
}

/// Judges a ledger's version.
///
/// # Errors
/// 78 where it is newer than `current`; damaged where it is 0, which no ledger ever was.
pub(super) fn judge(version: u32, current: u32) -> Result<Fit, Failure> {
    match version {
        0 => Err(Failure::Damaged("its schema has version 0".to_owned())),
        v if v == current => Ok(Fit::Current),
        v if v < current => Ok(Fit::Older { first_step: v as usize - 1 }),
        v => Err(Error::configuration(format!(
            "the ledger has schema {v}, and this minidvodbcopy {} knows {current} at most",
            env!("CARGO_PKG_VERSION")
        ))
        .hint("use the newer minidvodbcopy that wrote it; it was left untouched")
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_ledger_is_refused_by_its_number() {
        let failure = judge(7, 3).unwrap_err();
        assert!(failure.to_string().contains("has schema 7"), "{failure}");
    }

    #[test]
    fn an_older_ledger_takes_the_steps_from_its_version_on() {
        assert_eq!(judge(1, 3).unwrap(), Fit::Older { first_step: 0 });
        assert_eq!(judge(2, 3).unwrap(), Fit::Older { first_step: 1 });
        assert_eq!(judge(3, 3).unwrap(), Fit::Current);
        assert!(judge(0, 3).is_err());
    }
}
