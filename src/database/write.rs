//! Writing minidvodbCopy.

use mysql::Params;
use mysql::prelude::Queryable as _;

use super::values::cells_of;
use super::{Database, Trouble};
use crate::model::{Content, MinidvodbId};

const INSERT: &str = "INSERT INTO minidvodbCopy (minidvodb_rsync_path, destination_host, fault, state, epoch, dtime, \
                      minidvodb_id) VALUES";

impl Database {
    /// Begins a transaction.
    ///
    /// # Errors
    /// Away or refused.
    pub fn begin_writing(&mut self) -> Result<(), Trouble> {
        Ok(self.conn.query_drop("START TRANSACTION")?)
    }

    /// Ends it, and keeps what was written.
    ///
    /// # Errors
    /// Away or refused: whether it was kept is then not known.
    pub fn commit(&mut self) -> Result<(), Trouble> {
        Ok(self.conn.query_drop("COMMIT")?)
    }

    /// Ends it, and keeps nothing.
    ///
    /// # Errors
    /// Away or refused.
    pub fn roll_back(&mut self) -> Result<(), Trouble> {
        Ok(self.conn.query_drop("ROLLBACK")?)
    }

    /// Writes a row anew.
    ///
    /// # Errors
    /// Also where the row cannot be like that.
    pub fn update(&mut self, id: u64, content: &Content) -> Result<(), Trouble> {
        let mut cells = cells_of(content).map_err(Trouble::Row)?.to_vec();
        cells.push(id.into());
        self.conn.exec_drop(
            "UPDATE minidvodbCopy SET minidvodb_rsync_path = ?, destination_host = ?, fault = ?, state = ?, \
             epoch = ?, dtime = ? WHERE minidvodbcopy_id = ?",
            Params::Positional(cells),
        )?;
        Ok(())
    }

    /// Writes new rows, all or none; says the minidvodbcopy_id of the first of them.
    ///
    /// # Errors
    /// Also where one of them cannot be like that, or its minidvodb is not in minidvodbRun.
    pub fn insert_all(&mut self, rows: &[(MinidvodbId, &Content)]) -> Result<u64, Trouble> {
        let mut values = Vec::with_capacity(rows.len() * 7);
        for (minidvodb, content) in rows {
            values.extend(cells_of(content).map_err(Trouble::Row)?);
            values.push(minidvodb.0.into());
        }
        let places = vec!["(?, ?, ?, ?, ?, ?, ?)"; values.len() / 7].join(", ");
        self.conn.exec_drop(format!("{INSERT} {places}"), Params::Positional(values))?;
        Ok(self.conn.last_insert_id())
    }

    /// Writes a new row; says its minidvodbcopy_id.
    ///
    /// # Errors
    /// Also where the row cannot be like that, or its minidvodb is not in minidvodbRun.
    pub fn insert(&mut self, minidvodb: MinidvodbId, content: &Content) -> Result<u64, Trouble> {
        let mut cells = cells_of(content).map_err(Trouble::Row)?.to_vec();
        cells.push(minidvodb.0.into());
        self.conn.exec_drop(format!("{INSERT} (?, ?, ?, ?, ?, ?, ?)"), Params::Positional(cells))?;
        Ok(self.conn.last_insert_id())
    }
}
