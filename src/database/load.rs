//! Writing very many new rows at once: the server takes them as the lines of a file, which costs it less than
//! statements with values do.
//!
//! Invariant: the server takes lines as they are or not at all. It would cut a value, or pass over a line, with no
//! more than a warning, whatever its mode: where there is one, everything is undone, and the rows go as values.

use std::io::Write as _;

use mysql::LocalInfileHandler;
use mysql::prelude::Queryable as _;

use super::values::line_of;
use super::{Database, Trouble};
use crate::model::{Content, MinidvodbId};

/// Fewer rows are not worth the statements around them.
const ROWS_MIN: usize = 500;

const LOAD: &str = "LOAD DATA LOCAL INFILE 'rows' INTO TABLE minidvodbCopy CHARACTER SET utf8mb4 \
                    FIELDS TERMINATED BY '\\t' ENCLOSED BY '' ESCAPED BY '\\\\' LINES TERMINATED BY '\\n' \
                    (minidvodb_rsync_path, destination_host, fault, state, epoch, dtime, minidvodb_id)";

/// `YES` where the table's engine can undo what was written.
const TRANSACTIONS: &str = "SELECT CAST(e.TRANSACTIONS AS CHAR) FROM information_schema.TABLES t \
                            JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE \
                            WHERE t.TABLE_SCHEMA = DATABASE() AND t.TABLE_NAME = 'minidvodbCopy'";

/// What the server made of some lines.
enum Loaded {
    /// Each became a row; the minidvodbcopy_id of the first.
    All(u64),
    /// Nothing may stay of them.
    NotAsTheyAre,
}

impl Database {
    /// Writes new rows as lines of a file, all or none; says the minidvodbcopy_id of the first of them. None where
    /// they must go as values: because there are few, or one cannot go like that, or the server takes no lines, or
    /// does not take these as they are.
    ///
    /// # Errors
    /// Away, busy or refused.
    pub fn load_all(&mut self, rows: &[(MinidvodbId, &Content)]) -> Result<Option<u64>, Trouble> {
        if rows.len() < ROWS_MIN || !self.takes_lines()? {
            return Ok(None);
        }
        let mut lines = Vec::new();
        for (minidvodb, content) in rows {
            // Why one is refused is said where it goes as values.
            let Ok(()) = line_of(*minidvodb, content, &mut lines) else { return Ok(None) };
        }
        self.conn.query_drop("SAVEPOINT before_lines")?;
        match self.load(lines, rows.len() as u64) {
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

    fn load(&mut self, lines: Vec<u8>, count: u64) -> Result<Loaded, Trouble> {
        // It gives these lines, whatever file a server asks for, and to no other statement.
        self.conn
            .set_local_infile_handler(Some(LocalInfileHandler::new(move |_, file| file.write_all(&lines))));
        let outcome = self.conn.query_drop(LOAD);
        self.conn.set_local_infile_handler(None);
        outcome?;
        if self.conn.warnings() != 0 || self.conn.affected_rows() != count {
            return Ok(Loaded::NotAsTheyAre);
        }
        let first: Option<u64> = self.conn.query_first("SELECT LAST_INSERT_ID()")?;
        Ok(first.filter(|&first| first != 0).map_or(Loaded::NotAsTheyAre, Loaded::All))
    }
}
