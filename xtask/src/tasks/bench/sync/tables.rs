//! The statements: what the tables are filled with, and the yardsticks that are queries.
//!
//! Invariant: the same size gives the same rows.

use anyhow::ensure;

/// The minidvodbs are spread over so many groups of the same size.
pub(super) const GROUPS: u64 = 20;
pub(super) const HOST: &str = "ipp0222";
pub(super) const NAMES: [&str; 3] = ["minidvodbRun", "minidvodbProcessed", "minidvodbCopy"];
/// So many rows are changed at once by hand.
pub(super) const CHANGED: u64 = 100;

/// What a copy's row says besides its minidvodbcopy_id.
const CONTENT: &str = "minidvodb_id, minidvodb_rsync_path, destination_host, fault, state, epoch, dtime";

/// How many rows each table has.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) rows: u64,
}

impl Size {
    pub(super) fn new(rows: u64) -> anyhow::Result<Size> {
        let unit = GROUPS * CHANGED;
        ensure!(
            rows > 0 && rows.is_multiple_of(unit),
            "--rows {rows}: give a multiple of {unit}, for {GROUPS} groups and {CHANGED} changed rows"
        );
        Ok(Size { rows })
    }

    pub(super) fn of_group(self) -> u64 {
        self.rows / GROUPS
    }
}

pub(super) fn group(number: u64) -> String {
    format!("Bench{number:02}")
}

pub(super) fn destination(group_number: u64) -> String {
    format!("/data/ipp022.0/gpc1/mini-catdirs/{}", group(group_number))
}

/// The same as [`group`], of a minidvodb with the number `seq`.
fn group_of_seq(size: Size) -> String {
    format!("CONCAT('Bench', LPAD((seq - 1) DIV {} + 1, 2, '0'))", size.of_group())
}

pub(super) fn fill_runs(size: Size) -> String {
    let (rows, group) = (size.rows, group_of_seq(size));
    format!(
        "INSERT INTO minidvodbRun
             (minidvodb_id, minidvodb_name, minidvodb_group, minidvodb_path, state, creation_date)
         SELECT seq, CONCAT({group}, '.', seq), {group},
             CONCAT('/data/ipp', LPAD(seq % 60, 3, '0'), '.0/minidvodbs/', {group}, '.', seq), 'merged',
             TIMESTAMP('2011-05-02 03:04:05') + INTERVAL seq SECOND
         FROM seq_1_to_{rows}"
    )
}

pub(super) fn fill_processed(size: Size) -> String {
    let rows = size.rows;
    format!(
        "INSERT INTO minidvodbProcessed (minidvodb_id, dtime_resort, dtime_relphot, dtime_script, epoch, fault)
         SELECT seq, seq % 700 / 8, seq % 900 / 8, seq % 5000 / 8,
             TIMESTAMP('2011-06-02 03:04:05') + INTERVAL seq SECOND, 0
         FROM seq_1_to_{rows}"
    )
}

pub(super) fn fill_copies(size: Size, groups: u64) -> String {
    let (rows, group) = (size.of_group() * groups, group_of_seq(size));
    format!(
        "INSERT INTO minidvodbCopy ({CONTENT})
         SELECT seq, CONCAT('/data/ipp022.0/gpc1/mini-catdirs/', {group}), '{HOST}', 0, 'full',
             TIMESTAMP('2011-07-02 03:04:05') + INTERVAL seq SECOND, seq % 9000 / 8
         FROM seq_1_to_{rows}"
    )
}

/// Writes minidvodbCopy into a file that is not there yet.
pub(super) fn write_copies(file: &str) -> String {
    format!("SELECT {CONTENT} INTO OUTFILE '{file}' FROM minidvodbCopy ORDER BY minidvodbcopy_id")
}

pub(super) fn load_copies(file: &str) -> String {
    format!("LOAD DATA LOCAL INFILE '{file}' INTO TABLE minidvodbCopy CHARACTER SET latin1 ({CONTENT})")
}

/// The number and the sum of all copies, whatever their minidvodbcopy_id.
pub(super) fn sum_of_copies() -> String {
    format!("SELECT COUNT(*), SUM(CRC32(CONCAT_WS(',', {CONTENT}))) FROM minidvodbCopy")
}

/// Reads every column of every row on the server, and sends three sums.
pub(super) fn scan() -> String {
    let sum = |table: &str, columns: &str| {
        format!("SELECT COUNT(*), SUM(CRC32(CONCAT_WS(',', {columns}))) FROM {table};\n")
    };
    sum("minidvodbRun", "minidvodb_id, minidvodb_name, minidvodb_group, minidvodb_path, state, creation_date")
        + &sum("minidvodbProcessed", "minidvodb_id, dtime_resort, dtime_relphot, dtime_script, epoch, fault")
        + &sum("minidvodbCopy", &format!("minidvodbcopy_id, {CONTENT}"))
}

/// What the predecessor asks before it queues a group: which of its minidvodbs this host has no copy of.
pub(super) fn uncopied(group: &str) -> String {
    format!(
        "SELECT r.minidvodb_id, r.minidvodb_name, r.minidvodb_group, r.minidvodb_path
         FROM minidvodbRun r JOIN minidvodbProcessed p ON p.minidvodb_id = r.minidvodb_id
         WHERE r.state = 'merged' AND p.fault = 0 AND r.minidvodb_group = '{group}' AND r.minidvodb_id NOT IN
             (SELECT c.minidvodb_id FROM minidvodbCopy c
              WHERE c.destination_host = '{HOST}' AND c.minidvodb_id IS NOT NULL)"
    )
}

/// Changes state and epoch of rows that are spread over the table.
pub(super) fn change_some(size: Size) -> String {
    let step = size.rows / CHANGED;
    format!(
        "UPDATE minidvodbCopy SET state = IF(state = 'full', 'new', 'full'), epoch = epoch + INTERVAL 1 DAY
         WHERE minidvodb_id % {step} = 1"
    )
}

/// Deletes a row, and edits another one without telling its epoch.
pub(super) fn change_by_hand(deleted: u64, edited: u64, path: &str) -> String {
    format!(
        "DELETE FROM minidvodbCopy WHERE minidvodb_id = {deleted};
         UPDATE minidvodbCopy SET minidvodb_rsync_path = '{path}', epoch = epoch WHERE minidvodb_id = {edited}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_divide_into_groups_and_into_changed_ones() {
        assert_eq!(Size::new(1_000_000).unwrap().of_group(), 50_000);
        assert_eq!(Size::new(20_000).unwrap().of_group(), 1_000);
        for rows in [0, 19_000, 20_001] {
            assert!(Size::new(rows).is_err(), "{rows}");
        }
    }
}
