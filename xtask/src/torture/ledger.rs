//! The ledger's file, read without a line of the program's own code.
//!
//! A record is a byte, eight bytes of checksum, and an array of MessagePack, of which the first fields are known here
//! by their names. The file is copied first, so that reading it after a kill repairs nothing of the original.

use anyhow::{Context as _, ensure};
use camino::Utf8Path;
use redb::{ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableDefinition};
use serde_json::Value;

const COPIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("copies.1");
const ATTEMPTS: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("attempts.1");
const PENDING: TableDefinition<'_, (&str, &str, u64), u64> = TableDefinition::new("pending.1");
const OPEN_ATTEMPTS: TableDefinition<'_, (&str, &str, u64), u32> = TableDefinition::new("open_attempts.1");
const LEFTOVERS: TableDefinition<'_, (&str, &str, &str), u64> = TableDefinition::new("leftovers.1");
const FRAME_BYTES: usize = 9;
/// The fields of a copy, of its sending again, and of an attempt.
const COPY: [&str; 18] = [
    "id",
    "minidvodb_id",
    "group",
    "host",
    "machine",
    "path",
    "name",
    "state",
    "fault",
    "publishing",
    "verified",
    "adopts",
    "recopy",
    "audit",
    "epoch_s",
    "dtime_s",
    "attempts",
    "last_attempt",
];
const RECOPY: [&str; 3] = ["reason", "fault", "exchanging"];
const ATTEMPT: [&str; 7] = ["copy_id", "number", "began_us", "ended_us", "phase", "outcome", "fault"];

/// What a ledger holds.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The copies' records.
    pub(super) copies: Vec<Value>,
    /// The attempts' records.
    pub(super) attempts: Vec<Value>,
    /// Copies that are still to be made.
    pub(super) pending: u64,
    /// Attempts without an end.
    pub(super) open: u64,
    /// Folders at destinations that are still to be removed.
    pub(super) leftovers: u64,
}

impl Ledger {
    /// Reads the file as it is at this moment; nothing of it where there is none.
    pub(super) fn read(file: &Utf8Path) -> anyhow::Result<Self> {
        if !file.exists() {
            return Ok(Self::default());
        }
        let aside = tempfile::Builder::new().prefix("ledger-read.").tempdir()?;
        let copied = aside.path().join("ledger.redb");
        std::fs::copy(file, &copied).with_context(|| format!("{file}: cannot be copied"))?;
        let store = redb::Database::open(&copied).with_context(|| format!("{file}: does not open"))?;
        let reading = store.begin_read()?;
        let copies = reading.open_table(COPIES)?;
        let mut copies = records(copies.iter()?.map(|entry| entry.map(|(_, value)| value)), &COPY)?;
        for copy in copies.iter_mut().filter(|copy| !copy["recopy"].is_null()) {
            copy["recopy"] = named(copy["recopy"].take(), &RECOPY)?;
        }
        let attempts = reading.open_table(ATTEMPTS)?;
        Ok(Self {
            copies,
            attempts: records(attempts.iter()?.map(|entry| entry.map(|(_, value)| value)), &ATTEMPT)?,
            pending: reading.open_table(PENDING)?.len()?,
            open: reading.open_table(OPEN_ATTEMPTS)?.len()?,
            leftovers: reading.open_table(LEFTOVERS)?.len()?,
        })
    }

    /// The copy of a minidvodb.
    pub(super) fn copy_of(&self, minidvodb: u64) -> Option<&Value> {
        self.copies.iter().find(|copy| copy["minidvodb_id"] == minidvodb)
    }

    /// Whether a minidvodb is called full.
    pub(super) fn is_full(&self, minidvodb: u64) -> bool {
        self.copy_of(minidvodb).is_some_and(|copy| copy["state"] == "full")
    }

    /// Whether nothing is left to do.
    pub(super) fn is_at_rest(&self, minidvodbs: u64) -> bool {
        self.copies.len() as u64 == minidvodbs && self.pending == 0 && self.open == 0 && self.leftovers == 0
    }

    /// Fails unless rows and attempts fit together.
    pub(super) fn expect_consistent(&self) -> anyhow::Result<()> {
        let mut pairs = std::collections::BTreeSet::new();
        for copy in &self.copies {
            let pair = (copy["minidvodb_id"].to_string(), copy["machine"].to_string());
            ensure!(pairs.insert(pair), "two rows for minidvodb {} on one machine", copy["minidvodb_id"]);
            let attempts: Vec<&Value> =
                self.attempts.iter().filter(|attempt| attempt["copy_id"] == copy["id"]).collect();
            let last = copy["last_attempt"].as_u64().unwrap_or_default();
            ensure!(
                attempts.len() as u64 == last,
                "copy {} counts {last} attempts and {} are there",
                copy["id"],
                attempts.len()
            );
            for (attempt, number) in attempts.iter().zip(1u64..) {
                ensure!(attempt["number"] == number, "attempt {number} of copy {} is missing", copy["id"]);
                ensure!(
                    attempt["outcome"] != "open" || number == last,
                    "attempt {number} of copy {} has no end, and a later one was begun",
                    copy["id"]
                );
            }
            ensure!(
                copy["state"] == "new"
                    || attempts.last().is_some_and(|attempt| attempt["outcome"] == "full")
                    || !copy["recopy"].is_null(),
                "copy {} is full after an attempt that was not: {:?}",
                copy["id"],
                attempts.last()
            );
        }
        Ok(())
    }
}

fn records<'a>(
    entries: impl Iterator<Item = Result<redb::AccessGuard<'a, &'static [u8]>, redb::StorageError>>,
    names: &[&str],
) -> anyhow::Result<Vec<Value>> {
    entries
        .map(|entry| {
            let entry = entry?;
            let payload = entry.value().get(FRAME_BYTES..).context("a record is too short")?;
            named(rmp_serde::from_slice(payload)?, names)
        })
        .collect()
}

/// The first fields of a record by their names.
fn named(record: Value, names: &[&str]) -> anyhow::Result<Value> {
    let Value::Array(fields) = record else { anyhow::bail!("a record is no array") };
    ensure!(fields.len() >= names.len(), "a record has {} fields, not {}", fields.len(), names.len());
    Ok(names.iter().map(|name| (*name).to_owned()).zip(fields).collect())
}
