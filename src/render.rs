//! Copies as rows: for people as a table, for programs as JSON and CSV.
//!
//! Invariant: the columns and keys stand as documented; times in exports are UTC; what is not known is null.

pub mod mdc;
pub mod metrics;
mod printf;
pub mod sql;

use std::ops::Range;

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::faults::Scope;
use crate::ledger::{Failure, Look, Snapshot};
use crate::model::{Copy, CopyState};
use crate::ui;

/// A copy with what belongs to it, as exports show it.
#[derive(Debug, Serialize)]
pub struct Row {
    minidvodbcopy_id: u64,
    minidvodb_id: u64,
    minidvodb_rsync_path: String,
    destination_host: String,
    fault: i16,
    state: &'static str,
    epoch: Option<String>,
    dtime: Option<f32>,
    minidvodb_name: Option<String>,
    minidvodb_group: String,
    minidvodb_path: Option<String>,
    machine: String,
    fault_name: Option<&'static str>,
    fault_class: Option<&'static str>,
    verified: Option<&'static str>,
    parked: bool,
    attempts: u32,
    next_try: Option<String>,
    bytes: Option<u64>,
    files: Option<u64>,
    #[serde(skip)]
    folder: String,
    #[serde(skip)]
    is_to_be_sent_again: bool,
    #[serde(skip)]
    epoch_at: Option<jiff::Timestamp>,
}

/// The columns of minidvodbCopy, in the table's order.
const COLUMNS: [&str; 8] = [
    "minidvodbcopy_id",
    "minidvodb_id",
    "minidvodb_rsync_path",
    "destination_host",
    "fault",
    "state",
    "epoch",
    "dtime",
];

impl Row {
    /// The row of a copy.
    ///
    /// # Errors
    /// Damage.
    pub fn of(copy: &Copy, ledger: &Snapshot) -> Result<Self, Failure> {
        let minidvodb = ledger.minidvodb(copy.minidvodb_id)?;
        let target = ledger.target(&copy.host, &copy.group)?;
        let fault = copy.fault();
        let next_try = match fault.map(|state| (state.fault.scope(), state.next_try)) {
            None => None,
            Some((Scope::Copy, next_try)) => next_try,
            Some((Scope::Host, _)) => ledger
                .host(&copy.host)?
                .and_then(|host| host.standing)
                .and_then(|standing| standing.next_probe),
            Some((Scope::Target, _)) => target
                .as_ref()
                .and_then(|target| target.standing.as_ref())
                .and_then(|standing| standing.next_probe),
        };
        Ok(Self {
            minidvodbcopy_id: copy.id.0,
            minidvodb_id: copy.minidvodb_id.0,
            minidvodb_rsync_path: copy.path.to_string(),
            destination_host: copy.host.to_string(),
            fault: copy.fault_code(),
            state: copy.state_word(),
            epoch: copy.epoch.map(ui::rfc3339),
            dtime: copy.dtime_s,
            minidvodb_name: minidvodb.as_ref().and_then(|minidvodb| minidvodb.minidvodb_name.clone()),
            minidvodb_group: copy.group.to_string(),
            minidvodb_path: minidvodb.map(|minidvodb| minidvodb.path.to_string()),
            machine: copy.machine.to_string(),
            fault_name: fault.map(|state| state.fault.name()),
            fault_class: fault.map(|state| state.class.as_str()),
            verified: match copy.state {
                CopyState::Full { verified, .. } => Some(verified.as_str()),
                CopyState::New { .. } => None,
            },
            parked: copy.is_new() && target.is_none(),
            attempts: copy.attempts,
            next_try: next_try.map(ui::rfc3339),
            bytes: copy.bytes,
            files: copy.files,
            folder: copy.name.to_string(),
            is_to_be_sent_again: copy.recopy().is_some(),
            epoch_at: copy.epoch,
        })
    }

    fn csv(&self) -> [String; 8] {
        [
            self.minidvodbcopy_id.to_string(),
            self.minidvodb_id.to_string(),
            self.minidvodb_rsync_path.clone(),
            self.destination_host.clone(),
            self.fault.to_string(),
            self.state.to_owned(),
            self.epoch_at.map(ui::time).unwrap_or_default(),
            self.dtime.map(|dtime| dtime.to_string()).unwrap_or_default(),
        ]
    }
}

/// Rows as JSON objects, to stand between `[` and `]`; `is_first` tells whether a comma goes in front.
///
/// # Errors
/// A bug.
pub fn json(rows: &[Row], mut is_first: bool) -> Result<String> {
    let mut text = String::new();
    for row in rows {
        text.push_str(if is_first { "\n  " } else { ",\n  " });
        is_first = false;
        text.push_str(&serde_json::to_string(row).map_err(Error::bug)?);
    }
    Ok(text)
}

/// Rows as CSV; `has_header` puts the names of the columns in front.
///
/// # Errors
/// A bug.
pub fn csv(rows: &[Row], has_header: bool) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    if has_header {
        writer.write_record(COLUMNS).map_err(Error::bug)?;
    }
    for row in rows {
        writer.write_record(row.csv()).map_err(Error::bug)?;
    }
    let bytes = writer.into_inner().map_err(|error| Error::bug(error.to_string()))?;
    String::from_utf8(bytes).map_err(Error::bug)
}

/// The table of copies, without a row yet.
pub fn columns_of_copies() -> Columns<11> {
    let header = [
        "id",
        "minidvodb",
        "group",
        "host",
        "path",
        "state",
        "fault",
        "size",
        "time (s)",
        "epoch (UTC)",
        "notes",
    ];
    Columns::new(&header, &[0, 7, 8])
}

/// A row's cells in the table of copies.
pub fn cells_of(row: &Row) -> [String; 11] {
    [
        row.minidvodbcopy_id.to_string(),
        row.folder.clone(),
        row.minidvodb_group.clone(),
        row.destination_host.clone(),
        row.minidvodb_rsync_path.clone(),
        row.state.to_owned(),
        row.fault_name.map_or_else(|| "-".to_owned(), |name| format!("{} {name}", row.fault)),
        row.bytes.map_or_else(|| "-".to_owned(), ui::size),
        row.dtime.map_or_else(|| "-".to_owned(), |dtime| format!("{dtime:.2}")),
        row.epoch_at.map_or_else(|| "-".to_owned(), ui::time),
        notes(row),
    ]
}

fn notes(row: &Row) -> String {
    let mut notes = Vec::new();
    if row.parked {
        notes.push("parked: no target".to_owned());
    }
    if let Some(verified) = row.verified {
        notes.push(format!("verified: {verified}"));
    }
    if row.is_to_be_sent_again {
        notes.push("to be sent again".to_owned());
    }
    if let Some(class) = row.fault_class {
        let attempts = ui::count(u64::from(row.attempts), "attempt", "attempts");
        let next = row.next_try.as_ref().map_or_else(String::new, |at| format!(", next try {at}"));
        notes.push(format!("{class}, {attempts}{next}"));
    }
    notes.join("; ")
}

/// A table that is printed in pieces, whose columns are as wide in each.
pub struct Columns<const N: usize> {
    header: [String; N],
    right: Vec<usize>,
    widths: [u16; N],
    /// No line is wider, unless one column alone is.
    width: u16,
}

impl<const N: usize> Columns<N> {
    /// Columns with titles; those in `right` hold numbers, which stand under each other.
    pub fn new(header: &[&str; N], right: &[usize]) -> Self {
        let header = header.map(str::to_uppercase);
        let right = right.to_vec();
        let mut columns = Self { widths: [0; N], right, header: header.clone(), width: u16::MAX };
        columns.fit(&header);
        columns
    }

    /// The same for a terminal of this width, if there is one: where the columns do not fit beside each other, a
    /// row goes on in further lines, as its titles do.
    #[must_use]
    pub fn within(mut self, width: Option<u16>) -> Self {
        self.width = width.unwrap_or(u16::MAX);
        self
    }

    /// Makes the columns wide enough for a row.
    pub fn fit(&mut self, row: &[String; N]) {
        for (width, text) in self.widths.iter_mut().zip(row) {
            let needed = u16::try_from(ui::escape_all(text).chars().count()).unwrap_or(u16::MAX);
            *width = needed.max(*width);
        }
    }

    /// The line of titles.
    pub fn header(&self) -> String {
        self.rows(std::slice::from_ref(&self.header))
    }

    /// Rows, which should have been fitted.
    pub fn rows(&self, rows: &[[String; N]]) -> String {
        if rows.is_empty() {
            return String::new();
        }
        let parts: Vec<String> = self.parts().into_iter().map(|part| self.part(rows, part)).collect();
        let mut lines: Vec<_> = parts.iter().map(|part| part.lines()).collect();
        let mut text = String::new();
        for _ in rows {
            for (number, line) in lines.iter_mut().filter_map(Iterator::next).enumerate() {
                let indent = if number == 0 { 0 } else { usize::from(INDENT) };
                if indent == 0 || !line.is_empty() {
                    text.push_str(&format!("{:indent$}{line}\n", ""));
                }
            }
        }
        text
    }

    /// The columns that stand in each line of a row.
    fn parts(&self) -> Vec<Range<usize>> {
        let (mut parts, mut first, mut used) = (Vec::new(), 0, 0_u16);
        for (number, &width) in self.widths.iter().enumerate() {
            let needed = used.saturating_add(width);
            if number > first && needed > self.width {
                parts.push(first..number);
                (first, used) = (number, INDENT.saturating_add(width));
            } else {
                used = needed;
            }
            used = used.saturating_add(GAP);
        }
        parts.push(first..N);
        parts
    }

    /// A line for each row, with some of the columns.
    fn part(&self, rows: &[[String; N]], part: Range<usize>) -> String {
        let mut table = bare_table();
        for row in rows {
            table.add_row(row[part.clone()].iter().map(|text| Cell::new(ui::escape_all(text))));
        }
        for (column, number) in table.column_iter_mut().zip(part) {
            column.set_padding((0, GAP));
            let whole = self.widths[number].saturating_add(GAP);
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(whole)));
            if self.right.contains(&number) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        finish(&table)
    }
}

/// The blanks between two columns.
const GAP: u16 = 2;
/// The blanks in front of the lines that a row goes on in.
const INDENT: u16 = 4;
/// The columns of an old terminal.
const NARROW: u16 = 80;

fn bare_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

/// A table with a header, in the one style of this program.
pub fn new_table(header: &[&str]) -> Table {
    let mut table = bare_table();
    table.set_header(header.iter().map(|title| Cell::new(title.to_uppercase())));
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, GAP));
    });
    table
}

/// A table that is no wider than an old terminal: what does not fit goes on in the next line of its cell. The
/// columns in `right` hold numbers. Without titles it has none.
pub fn narrow_table<const N: usize>(
    header: Option<&[&str; N]>,
    right: &[usize],
    rows: &[[String; N]],
) -> String {
    let mut table = header.map_or_else(bare_table, |header| new_table(header));
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(NARROW);
    for row in rows {
        table.add_row(row.iter().map(|text| Cell::new(ui::escape_all(text))));
    }
    for (number, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if number + 1 == N { 0 } else { GAP }));
        if right.contains(&number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    finish(&table)
}

/// Cells, with what came from outside escaped.
pub fn cells(texts: &[&str]) -> Vec<Cell> {
    texts.iter().map(|text| Cell::new(ui::escape_all(text))).collect()
}

/// The table as lines without blanks at their ends.
pub fn finish(table: &Table) -> String {
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn table(width: Option<u16>) -> String {
        let rows = [
            ["1", "ThreePi.1", "/data/ipp022.0/ThreePi", "full", "182.81 KiB", "verified: checksum"],
            ["12", "ThreePi.12", "/data/ipp031.0/ThreePi", "new", "-", ""],
        ]
        .map(|row| row.map(str::to_owned));
        let header = ["id", "minidvodb", "path", "state", "size", "notes"];
        let mut columns = Columns::new(&header, &[0, 4]).within(width);
        rows.iter().for_each(|row| columns.fit(row));
        columns.header() + &columns.rows(&rows)
    }

    #[test]
    fn a_row_that_a_terminal_does_not_hold_goes_on_in_further_lines() {
        assert_eq!(table(Some(80)), table(None));
        expect![[r#"
            ID  MINIDVODB   PATH                    STATE        SIZE  NOTES
             1  ThreePi.1   /data/ipp022.0/ThreePi  full   182.81 KiB  verified: checksum
            12  ThreePi.12  /data/ipp031.0/ThreePi  new             -
        "#]]
        .assert_eq(&table(None));
        expect![[r#"
            ID  MINIDVODB   PATH
                STATE        SIZE
                NOTES
             1  ThreePi.1   /data/ipp022.0/ThreePi
                full   182.81 KiB
                verified: checksum
            12  ThreePi.12  /data/ipp031.0/ThreePi
                new             -
        "#]]
        .assert_eq(&table(Some(40)));
        for width in 1..90 {
            let narrow = table(Some(width));
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(words(&narrow).len(), words(&table(None)).len(), "{width}");
            let longest = narrow.lines().map(|line| line.chars().count()).max();
            assert!(longest <= Some(usize::from(width.max(26))), "{width}: {narrow}");
        }
    }
}
