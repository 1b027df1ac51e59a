//! The numbers that are kept beside the records: copies by what they count as, attempts by day, room by day.
//!
//! Invariant: what changes a copy or ends an attempt says so here, in the same transaction; the changes of one
//! transaction are gathered and written at its end, so that a million copies cost one entry of each kind.

use std::collections::BTreeMap;

use redb::{ReadableTable, TableHandle as _};

use super::Failure;
use super::look::{decode_attempt, decode_copy};
use super::records::{Place, RoomRecord, decode_value, encode_value};
use super::tables::{self, WriteTables};
use crate::faults::Fault;
use crate::model::{Attempt, Copy, Day, Group, Host, Kind, Outcome, RoomSeen, Tally, day_of};

/// The room seen on a file system is kept for so many days.
const ROOM_DAYS: i32 = 800;
/// The fault column of the days, for attempts that were interrupted.
const INTERRUPTED: i16 = -1;

type TallyKey = (Host, Group, &'static str, i16);
type DayKey = (i32, String, i16);

/// What a transaction has changed of the numbers.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    tallies: BTreeMap<TallyKey, [i64; 3]>,
    days: BTreeMap<DayKey, [u64; 3]>,
}

impl Gathered {
    /// A copy that was as `before` is as `after` now.
    pub(super) fn copy(&mut self, before: Option<&Copy>, after: Option<&Copy>) {
        for (copy, sign) in before.map(|copy| (copy, -1)).into_iter().chain(after.map(|copy| (copy, 1))) {
            let key = (copy.host.clone(), copy.group.clone(), Kind::of(copy).as_str(), copy.fault_code());
            let numbers = self.tallies.entry(key).or_default();
            numbers[0] += sign;
            numbers[1] =
                numbers[1].wrapping_add(sign.wrapping_mul(copy.bytes.unwrap_or_default().cast_signed()));
            numbers[2] += sign * i64::from(copy.bytes.is_some());
        }
    }

    /// What another one has gathered of copies counts here, too.
    pub(super) fn copies_of(&mut self, other: &Self) {
        for (key, more) in &other.tallies {
            let numbers = self.tallies.entry(key.clone()).or_default();
            numbers.iter_mut().zip(more).for_each(|(number, more)| *number = number.wrapping_add(*more));
        }
    }

    /// An attempt at a host has ended.
    pub(super) fn ended(&mut self, host: &Host, attempt: &Attempt) {
        let fault = match attempt.outcome {
            Outcome::Open => return,
            Outcome::Full => 0,
            Outcome::Interrupted => INTERRUPTED,
            Outcome::Faulted(fault) => fault.code(),
        };
        let day = day_of(attempt.ended.unwrap_or(attempt.began));
        let numbers = self.days.entry((day, host.to_string(), fault)).or_default();
        let milliseconds = (attempt.seconds * 1e3).round() as u64;
        for (number, more) in numbers.iter_mut().zip([1, attempt.sent_bytes, milliseconds]) {
            *number = number.saturating_add(more);
        }
    }

    /// Writes what was gathered.
    pub(super) fn write(self, tables: &mut WriteTables<'_>) -> Result<(), Failure> {
        for ((host, group, kind, fault), more) in self.tallies {
            if more == [0; 3] {
                continue;
            }
            let key = (host.as_str(), group.as_str(), kind, fault);
            let known = tables.tallies.table.get(&key)?.map(|known| known.value()).unwrap_or_default();
            let sum = [known.0, known.1, known.2];
            let sum: Vec<u64> =
                sum.iter().zip(more).map(|(&known, more)| known.wrapping_add(more.cast_unsigned())).collect();
            if sum[0] == 0 {
                tables.tallies.remove(&key)?;
            } else {
                tables.tallies.put(&key, &(sum[0], sum[1], sum[2]))?;
            }
        }
        for ((day, host, fault), more) in self.days {
            let key = (day, host.as_str(), fault);
            let known = tables.days.table.get(&key)?.map(|known| known.value()).unwrap_or_default();
            let sum = (
                known.0.saturating_add(more[0]),
                known.1.saturating_add(more[1]),
                known.2.saturating_add(more[2]),
            );
            tables.days.put(&key, &sum)?;
        }
        Ok(())
    }

    /// The copies, as tallies: only of use where none was taken away.
    pub(super) fn copies(self) -> BTreeMap<TallyKey, [u64; 3]> {
        self.tallies.into_iter().map(|(key, sum)| (key, sum.map(i64::cast_unsigned))).collect()
    }

    /// Whether there is anything to write.
    pub(super) fn is_empty(&self) -> bool {
        self.tallies.is_empty() && self.days.is_empty()
    }
}

/// Counts what an older program's ledger holds; for the schema's step.
pub(super) fn count_all(tables: &mut WriteTables<'_>) -> Result<(), Failure> {
    let mut gathered = Gathered::default();
    for entry in tables.copies.table.iter()? {
        let (key, value) = entry?;
        gathered.copy(None, Some(&decode_copy(key.value(), value.value())?));
    }
    for entry in tables.attempts.table.iter()? {
        let (key, value) = entry?;
        let attempt = decode_attempt(key.value(), value.value())?;
        // A copy that is gone has no host to count for.
        if let Some(copy) = tables.copies.table.get(attempt.copy_id.0)? {
            gathered.ended(&decode_copy(attempt.copy_id.0, copy.value())?.host, &attempt);
        }
    }
    gathered.write(tables)
}

pub(super) fn tally(
    (host, group, kind, fault_code): (&str, &str, &str, i16),
    (copies, bytes, sized): (u64, u64, u64),
) -> Result<Tally, Failure> {
    Ok(Tally {
        host: Host::parse(host)?,
        group: Group::parse(group)?,
        kind: Kind::parse(kind).ok_or_else(|| Failure::Damaged(format!("a copy counts as '{kind}'")))?,
        fault_code,
        copies,
        bytes,
        sized,
    })
}

pub(super) fn day(
    (day, host, fault): (i32, &str, i16),
    (attempts, sent_bytes, milliseconds): (u64, u64, u64),
) -> Result<Day, Failure> {
    let outcome = match fault {
        INTERRUPTED => Outcome::Interrupted,
        code => Fault::from_code(code).map_or(Outcome::Full, Outcome::Faulted),
    };
    Ok(Day { day, host: Host::parse(host)?, outcome, attempts, sent_bytes, milliseconds })
}

fn room_place((host, mount_point, day): (&str, &str, i32)) -> Place<'static> {
    Place::new(tables::ROOMS.name(), format!("{host} {mount_point} {day}"))
}

pub(super) fn room(key: (&str, &str, i32), bytes: &[u8]) -> Result<RoomSeen, Failure> {
    decode_value::<RoomRecord>(&room_place(key), bytes)
}

/// Notes the room seen on a file system, where that is news; the oldest days go.
pub(super) fn put_room(tables: &mut WriteTables<'_>, seen: &RoomSeen) -> Result<bool, Failure> {
    let key = (seen.host.as_str(), seen.file_system.mount_point.as_str(), seen.day());
    let known = tables.rooms.table.get(&key)?.map(|known| room(key, known.value())).transpose()?;
    // Another pass may have looked later, and have written it down before.
    if known.is_some_and(|known| known.at >= seen.at) {
        return Ok(false);
    }
    let bytes = encode_value::<RoomRecord>(&room_place(key), seen)?;
    tables.rooms.put(&key, &bytes.as_slice())?;
    let past: Vec<i32> = tables
        .rooms
        .table
        .range((key.0, key.1, i32::MIN)..(key.0, key.1, seen.day().saturating_sub(ROOM_DAYS)))?
        .map(|entry| Ok(entry?.0.value().2))
        .collect::<Result<_, Failure>>()?;
    past.into_iter().try_for_each(|day| tables.rooms.remove(&(key.0, key.1, day)).map(drop))?;
    Ok(true)
}
