//! Looking at the database without a sync: its version, the columns that are needed, what we may do there, and
//! what others have written lately.
//!
//! Invariant: nothing is written; statements that would write are only prepared, for which a server asks for the
//! same privileges.

use jiff::Timestamp;
use mysql::prelude::Queryable as _;
use mysql::{Params, Value};

use super::{Database, Trouble};
use crate::model::TableRow;

const NUMBER: &[&str] = &["bigint", "int", "mediumint", "smallint", "tinyint"];
const TEXT: &[&str] = &["varchar", "char", "text", "tinytext", "mediumtext", "longtext", "enum"];
const MOMENT: &[&str] = &["timestamp", "datetime"];
const REAL: &[&str] = &["float", "double"];

/// The columns that are read and written, with the types that each may have.
const COLUMNS: [(&str, &str, &[&str]); 15] = [
    ("minidvodbRun", "minidvodb_id", NUMBER),
    ("minidvodbRun", "minidvodb_name", TEXT),
    ("minidvodbRun", "minidvodb_group", TEXT),
    ("minidvodbRun", "minidvodb_path", TEXT),
    ("minidvodbRun", "state", TEXT),
    ("minidvodbProcessed", "minidvodb_id", NUMBER),
    ("minidvodbProcessed", "fault", NUMBER),
    ("minidvodbCopy", "minidvodbcopy_id", NUMBER),
    ("minidvodbCopy", "minidvodb_id", NUMBER),
    ("minidvodbCopy", "minidvodb_rsync_path", TEXT),
    ("minidvodbCopy", "destination_host", TEXT),
    ("minidvodbCopy", "fault", NUMBER),
    ("minidvodbCopy", "state", TEXT),
    ("minidvodbCopy", "epoch", MOMENT),
    ("minidvodbCopy", "dtime", REAL),
];

/// The columns of minidvodbCopy, as the IPP has made them, but for the id.
const DEFINITIONS: [(&str, &str); 7] = [
    ("minidvodb_id", "BIGINT"),
    ("minidvodb_rsync_path", "VARCHAR(255) NOT NULL"),
    ("destination_host", "VARCHAR(255) NOT NULL"),
    ("fault", "SMALLINT NOT NULL"),
    ("state", "VARCHAR(64) NOT NULL"),
    ("epoch", "TIMESTAMP NULL"),
    ("dtime", "FLOAT"),
];

/// What is done there, as a server is asked whether it may be.
const STATEMENTS: [(&str, &str, &str); 5] = [
    (
        "SELECT",
        "minidvodbRun",
        "SELECT minidvodb_id, minidvodb_name, minidvodb_group, minidvodb_path, state FROM minidvodbRun LIMIT 0",
    ),
    ("SELECT", "minidvodbProcessed", "SELECT minidvodb_id, fault FROM minidvodbProcessed LIMIT 0"),
    (
        "SELECT",
        "minidvodbCopy",
        "SELECT minidvodbcopy_id, minidvodb_id, minidvodb_rsync_path, destination_host, fault, state, epoch, dtime \
         FROM minidvodbCopy LIMIT 0",
    ),
    (
        "INSERT",
        "minidvodbCopy",
        "INSERT INTO minidvodbCopy (minidvodb_rsync_path, destination_host, fault, state, epoch, dtime, minidvodb_id) \
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    ),
    (
        "UPDATE",
        "minidvodbCopy",
        "UPDATE minidvodbCopy SET minidvodb_rsync_path = ?, destination_host = ?, fault = ?, state = ?, epoch = ?, \
         dtime = ? WHERE minidvodbcopy_id = ?",
    ),
];

/// At most so many rows of others are read.
const RECENT_MAX: usize = 10_000;

/// A statement that the server does not let us make.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// `INSERT`.
    pub verb: &'static str,
    /// `minidvodbCopy`.
    pub table: &'static str,
    /// What the server said.
    pub why: String,
}

/// A table or column that is not as it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What is wrong with it.
    pub what: String,
    /// The statement that makes it as the IPP has it, where that is a column of minidvodbCopy.
    pub statement: Option<String>,
}

impl Database {
    /// What the server calls itself, and as whom it takes us: `user@host`.
    ///
    /// # Errors
    /// Away or refused.
    pub fn introduction(&mut self) -> Result<(String, String), Trouble> {
        let row: Option<(String, String)> = self.conn.query_first("SELECT VERSION(), CURRENT_USER()")?;
        Ok(row.unwrap_or_default())
    }

    /// What is wrong with the tables: columns that are missing, or of a type that cannot hold what goes in.
    ///
    /// # Errors
    /// Away or refused.
    pub fn wrong_columns(&mut self) -> Result<Vec<Wrong>, Trouble> {
        let found: Vec<(String, String, String)> = self.conn.query(
            "SELECT TABLE_NAME, COLUMN_NAME, CAST(DATA_TYPE AS CHAR) FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME IN ('minidvodbRun', 'minidvodbProcessed', 'minidvodbCopy')",
        )?;
        let mut wrong = Vec::new();
        for (table, column, types) in COLUMNS {
            let has_table = found.iter().any(|(of, ..)| of == table);
            let kind = found.iter().find(|(of, name, _)| of == table && name.eq_ignore_ascii_case(column));
            let (what, verb) = match kind {
                None if !has_table => (format!("the table {table} is not there"), None),
                None => (format!("{table} has no column {column}"), Some("ADD")),
                Some((.., kind)) if !types.contains(&kind.to_lowercase().as_str()) => (
                    format!("{table}.{column} is of type {kind}, not {}", types.join(" or ")),
                    Some("MODIFY"),
                ),
                Some(_) => continue,
            };
            let definition = DEFINITIONS.iter().find(|(name, _)| table == "minidvodbCopy" && *name == column);
            let statement = verb
                .zip(definition)
                .map(|(verb, (name, kind))| format!("ALTER TABLE {table} {verb} COLUMN {name} {kind}"));
            wrong.push(Wrong { what, statement });
        }
        wrong.dedup();
        Ok(wrong)
    }

    /// The statements of a sync that the server does not let us make.
    ///
    /// # Errors
    /// Away.
    pub fn refusals(&mut self) -> Result<Vec<Refusal>, Trouble> {
        let mut refusals = Vec::new();
        for (verb, table, statement) in STATEMENTS {
            match self.conn.prep(statement).map_err(Trouble::from) {
                Ok(prepared) => self.conn.close(prepared)?,
                Err(trouble @ (Trouble::Away(_) | Trouble::Busy(_))) => return Err(trouble),
                Err(trouble) => refusals.push(Refusal { verb, table, why: trouble.text().to_owned() }),
            }
        }
        Ok(refusals)
    }

    /// The rows of some hosts whose epoch is not before `since`, not more than can be looked at.
    ///
    /// # Errors
    /// Away or refused.
    pub fn copies_since(&mut self, hosts: &[&str], since: Timestamp) -> Result<Vec<TableRow>, Trouble> {
        if hosts.is_empty() {
            return Ok(Vec::new());
        }
        let places = vec!["?"; hosts.len()].join(", ");
        let mut values = vec![Value::Bytes(since.strftime("%Y-%m-%d %H:%M:%S").to_string().into_bytes())];
        values.extend(hosts.iter().map(|host| Value::Bytes(host.as_bytes().to_vec())));
        self.copies_where(
            &format!(
                "c.epoch >= ? AND c.destination_host IN ({places}) ORDER BY c.epoch DESC LIMIT {RECENT_MAX}"
            ),
            Params::Positional(values),
        )
    }
}
