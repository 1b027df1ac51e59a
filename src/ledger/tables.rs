//! The tables of the ledger, all in one place, and the digest kept over each.
//!
//! Invariant: every change of a table goes through [`Tracked`], so that the number of its entries and the
//! sum of their hashes, kept in the meta table, tell of an entry that was lost, changed or doubled.
//! Records are `&[u8]` framed by `records`; indexes hold plain keys.

use redb::{CursorError, Key, ReadableTable, Table, TableDefinition, TableHandle, Value, WriteTransaction};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Bound;

use super::Failure;
use super::hash::hash_of;

/// What belongs to the whole ledger: schema version, ledger id, counters, stages, digests.
pub(super) const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta.1");
/// The key of the digests in the meta table.
pub(super) const DIGESTS: &str = "digests";
/// minidvodb_id: a minidvodb.
pub(super) const MINIDVODBS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("minidvodbs.1");
/// (group, number in the order of becoming eligible): minidvodb_id.
pub(super) const ELIGIBLE: TableDefinition<'static, (&str, u64), u64> = TableDefinition::new("eligible.1");
/// (host, group): a target.
pub(super) const TARGETS: TableDefinition<'static, (&str, &str), &[u8]> = TableDefinition::new("targets.1");
/// host: what is known of it.
pub(super) const HOSTS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("hosts.1");
/// minidvodbcopy_id: a copy.
pub(super) const COPIES: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("copies.1");
/// The unique index: (minidvodb_id, machine): minidvodbcopy_id.
pub(super) const PAIRS: TableDefinition<'static, (u64, &str), u64> = TableDefinition::new("pairs.1");
/// The copies still to be made: (host, group, minidvodbcopy_id).
pub(super) const PENDING: TableDefinition<'static, (&str, &str, u64), u64> =
    TableDefinition::new("pending.1");
/// The owner of a final path: (machine, final path): minidvodbcopy_id.
pub(super) const FINAL_PATHS: TableDefinition<'static, (&str, &str), u64> =
    TableDefinition::new("final_paths.1");
/// (minidvodbcopy_id, number): an attempt.
pub(super) const ATTEMPTS: TableDefinition<'static, (u64, u32), &[u8]> = TableDefinition::new("attempts.1");
/// The attempts without an end: (host, group, minidvodbcopy_id): number.
pub(super) const OPEN_ATTEMPTS: TableDefinition<'static, (&str, &str, u64), u32> =
    TableDefinition::new("open_attempts.1");
/// Staging folders to be removed at the next visit: (host, group, path): minidvodbcopy_id.
pub(super) const LEFTOVERS: TableDefinition<'static, (&str, &str, &str), u64> =
    TableDefinition::new("leftovers.1");

/// minidvodbcopy_id here: the minidvodbcopy_id there, of copies that are just as their row was when both sides were
/// last the same.
pub(super) const LEVEL: TableDefinition<'static, u64, u64> = TableDefinition::new("level.1");
/// minidvodbcopy_id here: what its row held then, of copies that are ahead of it now.
pub(super) const SYNCED: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("synced.1");
/// The copies that the database does not have as they are here, which are all that are not level:
/// minidvodbcopy_id: minidvodb_id.
pub(super) const AHEAD: TableDefinition<'static, u64, u64> = TableDefinition::new("ahead.1");
/// (table of the database, bucket of minidvodb_ids): number and sum of its rows when both sides were the same.
pub(super) const BUCKETS: TableDefinition<'static, (u64, u64), (u64, u64)> =
    TableDefinition::new("buckets.1");
/// (minidvodb_id or 0, minidvodbcopy_id there or 0): a row of the database that no copy here stands for.
pub(super) const STRAYS: TableDefinition<'static, (u64, u64), &[u8]> = TableDefinition::new("strays.1");
/// minidvodbcopy_id: a copy whose row is gone from the database.
pub(super) const TOMBSTONES: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("tombstones.1");
/// number: an entry of the operators' log.
pub(super) const LOG: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("log.1");

/// The key of a tally.
pub(super) type TallyKey = (&'static str, &'static str, &'static str, i16);
/// Three numbers that belong together.
pub(super) type Numbers = (u64, u64, u64);

/// (host, group, what copies count as, the code of the fault that they show): how many, their bytes as far as
/// they have been sized, how many have been.
pub(super) const TALLIES: TableDefinition<'static, TallyKey, Numbers> = TableDefinition::new("tallies.1");
/// (days since 1970, host, fault; 0 full, -1 interrupted): attempts that ended, bytes sent, milliseconds.
pub(super) const DAYS: TableDefinition<'static, (i32, &str, i16), Numbers> = TableDefinition::new("days.1");
/// (host, mount point there, days since 1970): the room last seen on that day.
pub(super) const ROOMS: TableDefinition<'static, (&str, &str, i32), &[u8]> = TableDefinition::new("rooms.1");

/// The number of entries of a table and the wrapping sum of their hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Digest {
    pub(super) entries: u64,
    pub(super) sum: u64,
}

impl Digest {
    fn add(&mut self, hash: u64) {
        self.entries = self.entries.wrapping_add(1);
        self.sum = self.sum.wrapping_add(hash);
    }

    fn subtract(&mut self, hash: u64) {
        self.entries = self.entries.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(hash);
    }
}

/// The digests of all tables, by name.
pub(crate) type Digests = BTreeMap<String, Digest>;

/// The hash of one entry, its table's name included.
pub(super) fn entry_hash<K: Key, V: Value>(
    table: &str,
    key: &K::SelfType<'_>,
    value: &V::SelfType<'_>,
) -> u64 {
    hash_of([table.as_bytes(), K::as_bytes(key).as_ref(), V::as_bytes(value).as_ref()])
}

/// The digest of a table as it is, by reading all of it.
pub(super) fn digest_of<K: Key + 'static, V: Value + 'static>(
    name: &str,
    table: &impl ReadableTable<K, V>,
) -> Result<Digest, Failure> {
    let mut digest = Digest::default();
    for entry in table.iter()? {
        let (key, value) = entry?;
        digest.add(entry_hash::<K, V>(name, &key.value(), &value.value()));
    }
    Ok(digest)
}

/// The digest of the meta table without the record that holds the digests.
pub(super) fn digest_of_meta(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<Digest, Failure> {
    let mut digest = Digest::default();
    for entry in meta.iter()? {
        let (key, value) = entry?;
        if key.value() != DIGESTS {
            digest.add(entry_hash::<&str, &[u8]>(META.name(), &key.value(), &value.value()));
        }
    }
    Ok(digest)
}

/// A table open for writing, with its digest.
pub(super) struct Tracked<'t, K: Key + 'static, V: Value + 'static> {
    pub(super) table: Table<'t, K, V>,
    name: &'static str,
    digest: Digest,
}

impl<'t, K: Key + 'static, V: Value + 'static> Tracked<'t, K, V> {
    fn open(
        txn: &'t WriteTransaction,
        (name, definition): (&'static str, TableDefinition<'static, K, V>),
        digests: &Digests,
    ) -> Result<Self, Failure> {
        let digest = digests.get(name).copied().unwrap_or_default();
        Ok(Self { table: txn.open_table(definition)?, name, digest })
    }

    /// Writes an entry, replacing the one under the same key.
    pub(super) fn put(&mut self, key: &K::SelfType<'_>, value: &V::SelfType<'_>) -> Result<(), Failure> {
        let name = self.name;
        let new = entry_hash::<K, V>(name, key, value);
        let old = self.table.insert(key, value)?.map(|old| entry_hash::<K, V>(name, key, &old.value()));
        if let Some(old) = old {
            self.digest.subtract(old);
        }
        self.digest.add(new);
        Ok(())
    }

    /// Writes entries in the order of their keys, each with its hash, which may have been made elsewhere; those
    /// whose key has an entry are left out, and their places among the entries returned. The run between two
    /// entries of the table is written in one go, which is several times faster than one by one.
    pub(super) fn put_new<'e>(
        &mut self,
        entries: impl IntoIterator<Item = (K::SelfType<'e>, V::SelfType<'e>, u64)>,
    ) -> Result<Vec<usize>, Failure> {
        let Self { table, digest, .. } = self;
        let mut taken = Vec::new();
        let mut entries = entries.into_iter().enumerate().peekable();
        while let Some((at, (key, ..))) = entries.peek() {
            if table.get(key)?.is_some() {
                taken.push(*at);
                entries.next();
                continue;
            }
            let mut gap = table.lower_bound_mut(Bound::Included(key))?;
            while let Some((_, (key, value, hash))) = entries.peek() {
                match gap.insert_before(key, value) {
                    Ok(()) => digest.add(*hash),
                    Err(CursorError::UnorderedKey) => break,
                    Err(CursorError::Storage(error)) => return Err(error.into()),
                    Err(other) => return Err(Failure::Damaged(redb::Error::from(other).to_string())),
                }
                entries.next();
            }
            gap.close()?;
        }
        Ok(taken)
    }

    /// Removes the entry under a key; false when there was none.
    pub(super) fn remove(&mut self, key: &K::SelfType<'_>) -> Result<bool, Failure> {
        let name = self.name;
        let old = self.table.remove(key)?.map(|old| entry_hash::<K, V>(name, key, &old.value()));
        if let Some(old) = old {
            self.digest.subtract(old);
        }
        Ok(old.is_some())
    }

    fn record_digest(&self, digests: &mut Digests) {
        digests.insert(self.name.to_owned(), self.digest);
    }
}

impl Tracked<'_, u64, u64> {
    /// Removes the entries under some keys, which are in order.
    pub(super) fn remove_all(&mut self, keys: &[u64]) -> Result<(), Failure> {
        let (Some(&first), Some(&last)) = (keys.first(), keys.last()) else { return Ok(()) };
        let Self { table, name, digest } = self;
        table.retain_in(first..=last, |key, value| {
            let is_kept = keys.binary_search(&key).is_err();
            if !is_kept {
                digest.subtract(entry_hash::<u64, u64>(name, &key, &value));
            }
            is_kept
        })?;
        Ok(())
    }
}

macro_rules! tables {
    ($($field:ident: $definition:ident, $key:ty, $value:ty;)*) => {
        /// All tables but the meta table, open for writing.
        pub(super) struct WriteTables<'t> {
            pub(super) meta: Table<'t, &'static str, &'static [u8]>,
            $(pub(super) $field: Tracked<'t, $key, $value>,)*
        }

        impl<'t> WriteTables<'t> {
            /// Opens every table, making those that are not there.
            pub(super) fn open(txn: &'t WriteTransaction, digests: &Digests) -> Result<Self, Failure> {
                Ok(Self {
                    meta: txn.open_table(META)?,
                    $($field: Tracked::open(txn, ($definition.name(), $definition), digests)?,)*
                })
            }

            /// The digests after all changes.
            pub(super) fn digests(&self) -> Result<Digests, Failure> {
                let mut digests = Digests::new();
                $(self.$field.record_digest(&mut digests);)*
                digests.insert(META.name().to_owned(), digest_of_meta(&self.meta)?);
                Ok(digests)
            }
        }

        /// All tables, open for reading.
        pub(super) struct ReadTables {
            pub(super) meta: redb::ReadOnlyTable<&'static str, &'static [u8]>,
            $(pub(super) $field: redb::ReadOnlyTable<$key, $value>,)*
        }

        impl ReadTables {
            /// Opens every table.
            pub(super) fn open(txn: &redb::ReadTransaction) -> Result<Self, Failure> {
                Ok(Self { meta: txn.open_table(META)?, $($field: txn.open_table($definition)?,)* })
            }

            /// The digests of the tables that an older program knew, by reading all that are there.
            pub(super) fn digests_there(txn: &redb::ReadTransaction) -> Result<Digests, Failure> {
                let mut digests = Digests::new();
                $(match txn.open_table($definition) {
                    Ok(table) => {
                        digests.insert($definition.name().to_owned(), digest_of($definition.name(), &table)?);
                    }
                    Err(redb::TableError::TableDoesNotExist(_)) => {}
                    Err(error) => return Err(error.into()),
                })*
                digests.insert(META.name().to_owned(), digest_of_meta(&txn.open_table(META)?)?);
                Ok(digests)
            }

            /// The digests as the tables are, by reading all of them.
            pub(super) fn digests(&self) -> Result<Digests, Failure> {
                let mut digests = Digests::new();
                $(digests.insert($definition.name().to_owned(), digest_of($definition.name(), &self.$field)?);)*
                digests.insert(META.name().to_owned(), digest_of_meta(&self.meta)?);
                Ok(digests)
            }
        }

        /// The tables, whether open for reading or for writing.
        pub(super) trait Tables {
            fn meta(&self) -> &impl ReadableTable<&'static str, &'static [u8]>;
            $(fn $field(&self) -> &impl ReadableTable<$key, $value>;)*
        }

        impl Tables for ReadTables {
            fn meta(&self) -> &impl ReadableTable<&'static str, &'static [u8]> { &self.meta }
            $(fn $field(&self) -> &impl ReadableTable<$key, $value> { &self.$field })*
        }

        impl Tables for WriteTables<'_> {
            fn meta(&self) -> &impl ReadableTable<&'static str, &'static [u8]> { &self.meta }
            $(fn $field(&self) -> &impl ReadableTable<$key, $value> { &self.$field.table })*
        }
    };
}

tables! {
    minidvodbs: MINIDVODBS, u64, &'static [u8];
    eligible: ELIGIBLE, (&'static str, u64), u64;
    targets: TARGETS, (&'static str, &'static str), &'static [u8];
    hosts: HOSTS, &'static str, &'static [u8];
    copies: COPIES, u64, &'static [u8];
    pairs: PAIRS, (u64, &'static str), u64;
    pending: PENDING, (&'static str, &'static str, u64), u64;
    final_paths: FINAL_PATHS, (&'static str, &'static str), u64;
    attempts: ATTEMPTS, (u64, u32), &'static [u8];
    open_attempts: OPEN_ATTEMPTS, (&'static str, &'static str, u64), u32;
    leftovers: LEFTOVERS, (&'static str, &'static str, &'static str), u64;
    level: LEVEL, u64, u64;
    synced: SYNCED, u64, &'static [u8];
    ahead: AHEAD, u64, u64;
    buckets: BUCKETS, (u64, u64), (u64, u64);
    strays: STRAYS, (u64, u64), &'static [u8];
    tombstones: TOMBSTONES, u64, &'static [u8];
    log: LOG, u64, &'static [u8];
    tallies: TALLIES, TallyKey, Numbers;
    days: DAYS, (i32, &'static str, i16), Numbers;
    rooms: ROOMS, (&'static str, &'static str, i32), &'static [u8];
}
