//! Copies as statements for the stock `mysql` client, which bring a live minidvodbCopy to their state.
//!
//! Invariants: rows are met by (minidvodb_id, destination_host), and no id of a row is named as a value; of a
//! pair, one row is changed or made, and no row of another pair; loaded again, nothing changes. The text is
//! plain ASCII, and means the same under any sql_mode and character set of server and client. No name gets out
//! of its literal. It knows nothing of ledgers and files.
//!
//! *Which row.* A pair should have one row; where the predecessor left several, a full one is meant, else the
//! oldest. That order alone would not stand a second load: an UPDATE that makes a full row new would have the
//! next one choose another. So a row that is already in the wanted state (path, fault, state and epoch) comes
//! before all: after a load there is such a row, the next load chooses it or one equal to it, and the UPDATE
//! changes nothing. dtime is no part of the comparison, since a FLOAT seldom equals its own decimal text.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::model::Copy;
use crate::ui;

/// What stands behind the last statement. A text cut off before it changes nothing when it is loaded.
pub const TAIL: &str = "COMMIT;\n";

/// The last second of a TIMESTAMP, 2038-01-19 03:14:07 UTC; the first is 1, since 0 stands for no time.
const LAST_SECOND: i64 = i32::MAX as i64;

/// What stands in front of the statements of so many copies.
pub fn head(copies: u64, now: Timestamp) -> String {
    format!(
        "\
-- minidvodbcopy {version}, {now} UTC: {copies} for the table minidvodbCopy.
-- Load it with the stock client: mysql NAME < FILE
-- Each pair (minidvodb_id, destination_host) gets the state that it has here, in its row or in a new one. No
-- other row is touched. Loaded again, it changes nothing. A statement that fails ends the client, and nothing
-- of it is kept.
SET NAMES utf8mb4;
SET time_zone = '+00:00';
-- What does not fit a column is refused, never cut.
SET sql_mode = 'STRICT_ALL_TABLES';
START TRANSACTION;
",
        version = env!("CARGO_PKG_VERSION"),
        now = ui::time(now),
        copies = ui::count(copies, "copy", "copies"),
    )
}

/// The two statements of a copy, a line each.
///
/// # Errors
/// 2 where a column can't hold a value; it names the copy and the column.
pub fn statements(copy: &Copy) -> Result<String> {
    let id = i64::try_from(copy.minidvodb_id.0)
        .map_err(|_| unfit(copy, "minidvodb_id", copy.minidvodb_id, "has more than 63 bits"))?;
    let epoch = copy.epoch.map(|epoch| time(copy, epoch)).transpose()?;
    let dtime = copy.dtime_s.map_or_else(|| Ok("NULL".to_owned()), |dtime_s| float(copy, dtime_s))?;
    let (path, fault, state) = (text(copy.path.as_str()), copy.fault_code(), copy.state_word());
    let host = text(copy.host.as_str());

    let pair = format!("minidvodb_id = {id} AND destination_host = {host}");
    let (set_epoch, has_epoch) = epoch.as_ref().map_or_else(
        || (String::new(), String::new()),
        |epoch| (format!(", epoch = {epoch}"), format!(" AND epoch <=> {epoch}")),
    );
    let mut lines = String::new();
    if epoch.is_none() {
        lines.push_str(
            "-- The next has no epoch. The one that is there stays, and a new row gets the present time, because \
             NULL in a TIMESTAMP may be refused or become the time of each load.\n",
        );
    }
    let _ = writeln!(
        lines,
        "UPDATE minidvodbCopy \
         SET minidvodb_rsync_path = {path}, fault = {fault}, state = '{state}'{set_epoch}, dtime = {dtime} \
         WHERE {pair} \
         ORDER BY (minidvodb_rsync_path <=> {path} AND fault <=> {fault} AND state <=> '{state}'{has_epoch}) DESC, \
         state <=> 'full' DESC, minidvodbcopy_id LIMIT 1;"
    );
    let epoch = epoch.as_deref().unwrap_or("UTC_TIMESTAMP()");
    let _ = writeln!(
        lines,
        "INSERT INTO minidvodbCopy \
         (minidvodb_id, minidvodb_rsync_path, destination_host, fault, state, epoch, dtime) \
         SELECT {id}, {path}, {host}, {fault}, '{state}', {epoch}, {dtime} FROM DUAL \
         WHERE NOT EXISTS (SELECT 1 FROM minidvodbCopy WHERE {pair});"
    );
    Ok(lines)
}

fn unfit(copy: &Copy, column: &str, value: impl std::fmt::Display, why: &str) -> Error {
    Error::usage(format!(
        "copy {} (minidvodb {} to {}) does not fit minidvodbCopy: its {column}, {value}, {why}",
        copy.id, copy.minidvodb_id, copy.host
    ))
    .hint("nothing was exported; the formats csv and json hold any value")
}

/// A string. Where every character means itself in any mode and character set it is quoted, else its bytes are
/// given in hexadecimal, out of which nothing can break.
fn text(value: &str) -> String {
    let is_plain = |c: char| matches!(c, ' '..='~') && c != '\'' && c != '\\';
    if value.chars().all(is_plain) {
        return format!("'{value}'");
    }
    let mut hexadecimal = String::with_capacity(2 * value.len());
    value.bytes().for_each(|byte| {
        let _ = write!(hexadecimal, "{byte:02X}");
    });
    format!("_utf8mb4 X'{hexadecimal}'")
}

/// A time within what a TIMESTAMP holds.
fn time(copy: &Copy, at: Timestamp) -> Result<String> {
    if !(1..=LAST_SECOND).contains(&at.as_second()) {
        let why = "is not from 1970-01-01 00:00:01 to 2038-01-19 03:14:07 (UTC)";
        return Err(unfit(copy, "epoch", ui::time(at), why));
    }
    Ok(format!("'{}'", ui::time(at)))
}

/// A number that a FLOAT takes as the very same 32 bits. With its exponent it is a DOUBLE to the server, which
/// becomes a FLOAT by the rounding of the hardware: where that proves not to give the same bits, the exact
/// value is written.
fn float(copy: &Copy, value: f32) -> Result<String> {
    if !value.is_finite() {
        return Err(unfit(copy, "dtime", value, "is not a finite number"));
    }
    let short = format!("{value:e}");
    // A DOUBLE that is larger than any FLOAT is refused, also where it would be rounded down to one.
    let is_same = short.parse::<f64>().is_ok_and(|double| {
        double.abs() <= f64::from(f32::MAX) && {
            #[allow(clippy::cast_possible_truncation)] // what the server does
            let float = double as f32;
            float.to_bits() == value.to_bits()
        }
    });
    Ok(if is_same { short } else { format!("{:e}", f64::from(value)) })
}

#[cfg(test)]
mod tests;
