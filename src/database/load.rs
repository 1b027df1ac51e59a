//! Writing very many new rows at once: the server takes them as the lines of a file, which costs it less than
//! statements with values do.
//!
//! Invariant: the server takes lines as they are or not at all. It would cut a value, or pass over a line, with no
//! more than a warning, whatever its mode: where there is one, everything is undone, and the rows go as values.
//! Lines that are plain ASCII, which is the same in latin1, go as latin1: the server reads that with less effort.

use std::io::Write as _;

use mysql::LocalInfileHandler;
use mysql::prelude::Queryable as _;

use super::read::{count_and_sum, reduced};
use super::text::weight;
use super::values::{Columns, line_of};
use super::{Database, Trouble};
use crate::model::{Content, MinidvodbId};

/// Fewer rows are not worth the statements around them.
const ROWS_MIN: usize = 500;

/// The statement for lines in a character set.
fn load_in(characters: &str) -> String {
    format!(
        "LOAD DATA LOCAL INFILE 'rows' INTO TABLE minidvodbCopy CHARACTER SET {characters} \
         FIELDS TERMINATED BY '\\t' ENCLOSED BY '' ESCAPED BY '\\\\' LINES TERMINATED BY '\\n' \
         (minidvodb_rsync_path, destination_host, fault, state, epoch, dtime, minidvodb_id)"
    )
}

/// `YES` where the table's engine can undo what was written.
const TRANSACTIONS: &str = "SELECT CAST(e.TRANSACTIONS AS CHAR) FROM information_schema.TABLES t \
                            JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE \
                            WHERE t.TABLE_SCHEMA = DATABASE() AND t.TABLE_NAME = 'minidvodbCopy'";

/// What tells whose number a row has.
const NUMBERED: &str = "minidvodbcopy_id, minidvodb_id, destination_host";

/// What a row with this minidvodbcopy_id weighs by those columns. A host is plain ASCII.
fn weight_of(id: u64, (minidvodb, content): &(MinidvodbId, &Content)) -> u64 {
    let id = id.to_string();
    weight(&format!("{id}\n{minidvodb}\n{}", content.host), &id)
}

/// What the server made of some lines.
enum Loaded {
    /// Each became a row; the minidvodbcopy_id of the first.
    All(u64),
    /// Nothing may stay of them.
    NotAsTheyAre,
}

/// New rows as the lines of a file, which can be made while the server is busy with others.
pub struct Lines {
    bytes: Vec<u8>,
    count: usize,
}

impl Lines {
    /// Some rows as lines; none where they must go as values: because there are few, or one cannot go like that.
    pub fn of(rows: &[(MinidvodbId, &Content)]) -> Option<Self> {
        if rows.len() < ROWS_MIN {
            return None;
        }
        let mut bytes = Vec::new();
        for (minidvodb, content) in rows {
            // Why one is refused is said where it goes as values.
            line_of(*minidvodb, content, &mut bytes).ok()?;
        }
        Some(Self { bytes, count: rows.len() })
    }
}

impl Database {
    /// Writes new rows, all or none; says the minidvodbcopy_id of the first of them. None where they must go as
    /// values: because the server takes no lines, or does not take these as they are.
    ///
    /// # Errors
    /// Away, busy or refused.
    pub fn load_all(&mut self, lines: Lines) -> Result<Option<u64>, Trouble> {
        if !self.takes_lines()? {
            return Ok(None);
        }
        self.conn.query_drop("SAVEPOINT before_lines")?;
        match self.load(lines) {
            Ok(Loaded::All(first)) => return Ok(Some(first)),
            Ok(Loaded::NotAsTheyAre) | Err(Trouble::Refused(_) | Trouble::Row(_) | Trouble::NoMinidvodb) => {}
            Err(trouble) => return Err(trouble),
        }
        // Another try would most likely end in the same way.
        self.takes_lines = Some(false);
        self.conn.query_drop("ROLLBACK TO SAVEPOINT before_lines")?;
        Ok(None)
    }

    /// Whether what went wrong could be undone: not in a table whose engine has no transactions.
    fn takes_lines(&mut self) -> Result<bool, Trouble> {
        if let Some(takes_lines) = self.takes_lines {
            return Ok(takes_lines);
        }
        let transactions: Option<Option<String>> = self.conn.query_first(TRANSACTIONS)?;
        let takes_lines = transactions.flatten().as_deref() == Some("YES");
        self.takes_lines = Some(takes_lines);
        Ok(takes_lines)
    }

    fn load(&mut self, Lines { bytes, count }: Lines) -> Result<Loaded, Trouble> {
        let load = load_in(if bytes.is_ascii() { "latin1" } else { "utf8mb4" });
        // It gives these lines, whatever file a server asks for, and to no other statement.
        self.conn
            .set_local_infile_handler(Some(LocalInfileHandler::new(move |_, file| file.write_all(&bytes))));
        let outcome = self.conn.query_drop(load);
        self.conn.set_local_infile_handler(None);
        outcome?;
        if self.conn.warnings() != 0 || self.conn.affected_rows() != count as u64 {
            return Ok(Loaded::NotAsTheyAre);
        }
        let first: Option<u64> = self.conn.query_first("SELECT LAST_INSERT_ID()")?;
        Ok(first.filter(|&first| first != 0).map_or(Loaded::NotAsTheyAre, Loaded::All))
    }

    /// Whether new rows are known to have the minidvodbcopy_ids that follow each other from the first one's on. The
    /// server has to say no more than a sum.
    ///
    /// # Errors
    /// Away or refused.
    pub fn are_numbered_from(
        &mut self,
        first: u64,
        rows: &[(MinidvodbId, &Content)],
    ) -> Result<bool, Trouble> {
        let end = first.saturating_add(rows.len() as u64);
        let here = (first..end).zip(rows).map(|(id, row)| u128::from(weight_of(id, row))).sum();
        let query = format!(
            "SELECT {} FROM minidvodbCopy WHERE minidvodbcopy_id >= ? AND minidvodbcopy_id < ?",
            count_and_sum("minidvodbcopy_id", NUMBERED)
        );
        let Some(there) = self.conn.exec_first(query, (first, end))? else { return Ok(false) };
        let mut there = Columns::of(there);
        Ok((there.natural()?, there.natural()?) == (rows.len() as u64, reduced(here)))
    }
}
