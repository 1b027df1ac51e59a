//! The IPP's MySQL database: connecting, reading the three tables, writing minidvodbCopy, holding a lock there.
//!
//! Invariants: columns are named, never `*`; every session speaks UTC and is strict, whatever the server's
//! mode; values travel by the binary protocol, so that a float comes back as it is; a password is read where it
//! lies, used, and kept nowhere. Only this part imports the MySQL client; it knows the model, and nothing of
//! the ledger.

mod connect;
mod inspect;
mod load;
mod read;
mod text;
mod values;
mod whole;
mod write;

pub use connect::{Database, Secret};
pub use load::Lines;
pub use read::RunRow;
pub use whole::Seen;

use crate::error::{Error, Exit};

/// Why the database did not do what was asked.
#[derive(Debug)]
pub enum Trouble {
    /// It can't be reached, or went away: try again later.
    Away(String),
    /// Somebody else holds the rows: the transaction was undone, and may be tried at once.
    Busy(String),
    /// It refuses us, or is not the IPP's database: somebody must mend something.
    Refused(String),
    /// minidvodbRun does not have the minidvodb of a row.
    NoMinidvodb,
    /// It refuses one row, and goes on.
    Row(String),
}

impl Trouble {
    /// What happened, in words.
    pub fn text(&self) -> &str {
        match self {
            Self::Away(text) | Self::Busy(text) | Self::Refused(text) | Self::Row(text) => text,
            Self::NoMinidvodb => "minidvodbRun does not have a row's minidvodb",
        }
    }

    /// The error that it ends a command with.
    pub fn into_error(self, name: &str) -> Error {
        match self {
            Self::Away(text) | Self::Busy(text) => {
                Error::new(Exit::TryAgain, format!("the database {name} is away: {text}"))
                    .hint("nothing is lost: the next sync catches up")
            }
            trouble @ (Self::Refused(_) | Self::Row(_) | Self::NoMinidvodb) => {
                let text = trouble.text();
                Error::configuration(format!("the database {name} refuses: {text}"))
            }
        }
    }
}

/// Codes of MySQL and MariaDB ("Server Error Message Reference" of the MySQL manual).
mod code {
    /// Lock wait timeout; deadlock; record changed since last read.
    pub(super) const BUSY: [u16; 3] = [1205, 1213, 1020];
    /// Shutting down, killed, too many connections, blocked host, out of resources, read-only.
    pub(super) const AWAY: [u16; 11] = [1040, 1053, 1077, 1078, 1079, 1080, 1129, 1203, 1317, 1927, 1290];
    /// Foreign key.
    pub(super) const NO_PARENT: u16 = 1452;
    /// Too long, out of range, bad text, bad time, cut, NULL, no default, duplicate, check.
    pub(super) const ROW: [u16; 11] = [1406, 1264, 1366, 1292, 1265, 1048, 1364, 1062, 4025, 1690, 1367];
}

impl From<mysql::Error> for Trouble {
    fn from(error: mysql::Error) -> Self {
        match error {
            mysql::Error::MySqlError(error) => {
                let text = format!("{} (error {})", error.message.trim(), error.code);
                match error.code {
                    code if code::BUSY.contains(&code) => Self::Busy(text),
                    code if code::AWAY.contains(&code) => Self::Away(text),
                    code::NO_PARENT => Self::NoMinidvodb,
                    code if code::ROW.contains(&code) => Self::Row(text),
                    _ => Self::Refused(text),
                }
            }
            mysql::Error::TlsError(error) => Self::Refused(format!("no secure connection: {error}")),
            mysql::Error::DriverError(mysql::DriverError::TlsNotSupported) => {
                Self::Refused("the server does not offer TLS".to_owned())
            }
            mysql::Error::DriverError(error) => Self::Away(error.to_string()),
            mysql::Error::IoError(error) => Self::of_io(&error),
            other => Self::Away(other.to_string()),
        }
    }
}

impl Trouble {
    fn of_io(error: &std::io::Error) -> Self {
        let text = error.to_string();
        // rustls speaks through io errors: a certificate does not get better by waiting.
        if error.kind() == std::io::ErrorKind::InvalidData || text.contains("certificate") {
            return Self::Refused(format!("no secure connection: {text}"));
        }
        Self::Away(text)
    }
}
