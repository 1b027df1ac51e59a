//! The IPP database: where it is, and rows of minidvodbCopy as they lie there.
//!
//! Invariant: a password is never part of any of these values. Text in the database compares without case and
//! trailing blanks; [`is_same_text`] is the one place that knows it.

use std::fmt;

use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use smol_str::SmolStr;
use url::Url;

use super::copy::{Copy, CopyId};
use super::minidvodb::MinidvodbId;
use super::names::Refused;

/// The port of MySQL and MariaDB, where none is named.
const PORT: u16 = 3306;

/// Whether the connection is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// In the clear.
    #[default]
    Off,
    /// Encrypted, with whoever answers.
    Required,
    /// Encrypted, and the server's certificate is verified.
    Verify,
}

/// Where the database is, and as whom to enter it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The user there.
    pub user: String,
    /// The host, by name or address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The name of the database.
    pub name: String,
    /// A Unix socket on this machine, instead of host and port.
    pub socket: Option<String>,
    /// Whether the connection is encrypted.
    pub tls: Tls,
    /// The file with the certificates of the authorities to trust.
    pub ca: Option<String>,
}

impl Address {
    /// Reads `mysql://USER@HOST[:PORT]/NAME[?socket=/path][&tls=required|verify][&ca=/path]`.
    ///
    /// # Errors
    /// Anything else, a password in it among that, which everybody on the machine could read.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        // Whatever is wrong with it, a password in it is not repeated.
        let shown = without_password(text);
        let refused = |why: &str| Refused::new("the database", &shown, why);
        // With a socket, people leave the host out.
        let whole =
            if text.contains("socket=") { text.replacen("@/", "@localhost/", 1) } else { text.to_owned() };
        let url = Url::parse(&whole).map_err(|error| refused(&format!("is not a URL: {error}")))?;
        if text.find('?').is_some_and(|options| text.find('@').is_some_and(|at| options < at)) {
            return Err(refused("has a ? in front of its @, which must be written as %3F"));
        }
        if url.scheme() != "mysql" {
            return Err(refused("must look like mysql://USER@HOST[:PORT]/NAME"));
        }
        if url.password().is_some() {
            return Err(refused(
                "must not have a password in it, which everybody on the machine could read: give --password-file FILE, or set MYSQL_PWD",
            ));
        }
        let plain = |part: &str, what: &str| {
            let decoded = percent_decode_str(part)
                .decode_utf8()
                .map_err(|_| refused(&format!("has a {what} that is not UTF-8")))?;
            if decoded.chars().any(char::is_control) {
                return Err(refused(&format!("has a control character in its {what}")));
            }
            Ok(decoded.into_owned())
        };
        let mut address = Self {
            user: plain(url.username(), "user")?,
            host: plain(url.host_str().unwrap_or_default(), "host")?.trim_matches(['[', ']']).to_owned(),
            port: url.port().unwrap_or(PORT),
            name: plain(url.path().trim_start_matches('/'), "name")?,
            socket: None,
            tls: Tls::Off,
            ca: None,
        };
        for (key, value) in url.query_pairs() {
            match (&*key, &*value) {
                ("socket", path) if path.starts_with('/') => address.socket = Some(path.to_owned()),
                ("ca", path) if path.starts_with('/') => address.ca = Some(path.to_owned()),
                ("socket" | "ca", _) => {
                    return Err(refused(&format!("needs an absolute path behind {key}=")));
                }
                ("tls", "required") => address.tls = Tls::Required,
                ("tls", "verify") => address.tls = Tls::Verify,
                ("tls", _) => return Err(refused("knows tls=required and tls=verify only")),
                (other, _) => {
                    // What is no word may be a part of a password.
                    let is_word = other.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                    let named = if is_word { format!(" '{other}'") } else { String::new() };
                    return Err(refused(&format!(
                        "has the unknown option{named}: socket, tls and ca are known"
                    )));
                }
            }
        }
        address.check().map_err(refused)?;
        Ok(address)
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.user.is_empty() {
            return Err("names no user: mysql://USER@HOST[:PORT]/NAME");
        }
        if self.name.is_empty() || self.name.contains('/') {
            return Err("names no database: mysql://USER@HOST[:PORT]/NAME");
        }
        if self.host.is_empty() {
            return Err("names no host: mysql://USER@HOST[:PORT]/NAME");
        }
        if self.socket.is_some() && self.tls != Tls::Off {
            return Err("has both a socket and tls: what goes through a socket does not leave the machine");
        }
        if self.ca.is_some() && self.tls != Tls::Verify {
            return Err("names a ca, which is only used with tls=verify");
        }
        Ok(())
    }
}

/// The URL as it may be shown: a password is left out, however broken the rest is, and so are options.
fn without_password(text: &str) -> String {
    let plain = |text: &str| text.split_once('?').map_or(text, |(plain, _)| plain).to_owned();
    let Some((front, host)) = text.rsplit_once('@') else {
        // A colon may stand before a password.
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        return if rest.contains(':') { format!("{scheme}://…") } else { plain(text) };
    };
    let host = plain(host);
    let Some((scheme, user)) = front.split_once("://") else { return format!("…@{host}") };
    let user = user.split_once(':').map_or(user, |(user, _)| user);
    format!("{scheme}://{user}@{host}")
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
        const PLAIN: &percent_encoding::AsciiSet =
            &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'/').remove(b':');
        let encode = |text| utf8_percent_encode(text, PLAIN);
        write!(f, "mysql://{}@", encode(&self.user))?;
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            write!(f, "{}", encode(&self.host))?;
        }
        if self.port != PORT {
            write!(f, ":{}", self.port)?;
        }
        write!(f, "/{}", encode(&self.name))?;
        let options = [
            self.socket.as_ref().map(|path| format!("socket={}", encode(path))),
            match self.tls {
                Tls::Off => None,
                Tls::Required => Some("tls=required".to_owned()),
                Tls::Verify => Some("tls=verify".to_owned()),
            },
            self.ca.as_ref().map(|path| format!("ca={}", encode(path))),
        ];
        for (number, option) in options.into_iter().flatten().enumerate() {
            write!(f, "{}{option}", if number == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

/// What the ledger knows of its database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseRecord {
    /// Where it is.
    pub address: Address,
    /// The file that the password is read from at each connection.
    pub password_file: Option<String>,
    /// What told the server and the table apart from others at the last sync.
    pub identity: Option<String>,
    /// The groups that were read at the last sync: with others, all must be read again.
    pub groups: Vec<String>,
    /// When everything was last compared row by row, whatever the sums said.
    pub compared_at: Option<Timestamp>,
    /// When both sides were last found to hold the same; written down once a day, or when something changed.
    pub synced_at: Option<Timestamp>,
    /// Since when it is away, or refuses.
    pub away_since: Option<Timestamp>,
    /// What it said then.
    pub away_because: String,
}

/// A table of the database, by its number, and a bucket of it: the rows of [`BUCKET_IDS`] minidvodb_ids that
/// follow each other; [`NO_BUCKET`] those without one.
pub type BucketKey = (u64, u64);
/// The number of the rows in a bucket, and a sum over their values.
pub type BucketSum = (u64, u64);
/// Sums by bucket.
pub type Buckets = std::collections::BTreeMap<BucketKey, BucketSum>;
/// So many minidvodb_ids make a bucket.
pub const BUCKET_IDS: u64 = 64;
/// The sum of a bucket without rows.
pub const EMPTY_SUM: BucketSum = (0, 0);
/// The sum of a bucket whose rows must be read.
pub const UNKNOWN_SUM: BucketSum = (u64::MAX, u64::MAX);
/// The tables that are summed up in buckets: minidvodbRun, minidvodbProcessed, minidvodbCopy.
pub const SUMMED_TABLES: std::ops::Range<u64> = 0..3;
/// The number of minidvodbCopy among them.
pub const COPY_TABLE: u64 = 2;
/// The bucket of the rows whose minidvodb_id is NULL.
pub const NO_BUCKET: u64 = u64::MAX;

/// The columns of minidvodbCopy that both sides may change.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    /// minidvodb_rsync_path.
    pub path: String,
    /// destination_host.
    pub host: SmolStr,
    /// fault.
    pub fault: i16,
    /// state.
    pub state: SmolStr,
    /// epoch, in whole seconds; none for NULL and for the zero date.
    pub epoch: Option<Timestamp>,
    /// dtime, in seconds.
    pub dtime_s: Option<f32>,
}

impl Content {
    /// What a copy's row should hold.
    pub fn of(copy: &Copy) -> Self {
        Self {
            path: copy.path.to_string(),
            host: copy.host.as_str().into(),
            fault: copy.fault_code(),
            state: copy.state_word().into(),
            epoch: copy.epoch,
            dtime_s: copy.dtime_s,
        }
    }

    /// Whether a copy's row should hold just this.
    pub fn is_of(&self, copy: &Copy) -> bool {
        (self.path.as_str(), self.host.as_str(), self.fault, self.state.as_str())
            == (copy.path.as_str(), copy.host.as_str(), copy.fault_code(), copy.state_word())
            && (self.epoch, self.dtime_s) == (copy.epoch, copy.dtime_s)
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let epoch =
            self.epoch.map_or_else(|| "NULL".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string());
        let dtime = self.dtime_s.map_or_else(|| "NULL".to_owned(), |dtime_s| dtime_s.to_string());
        let Self { path, host, fault, state, .. } = self;
        write!(f, "{state}, fault {fault}, {host}:{path}, epoch {epoch}, dtime {dtime}")
    }
}

/// A row of minidvodbCopy.
#[derive(Clone, Debug, PartialEq)]
pub struct TableRow {
    /// minidvodbcopy_id there.
    pub id: u64,
    /// What is copied.
    pub minidvodb_id: MinidvodbId,
    /// The rest of it.
    pub content: Content,
}

impl TableRow {
    /// The row with this id that a copy is just like.
    pub fn of(id: u64, copy: &Copy) -> Self {
        Self { id, minidvodb_id: copy.minidvodb_id, content: Content::of(copy) }
    }

    /// Whether a copy is just like it.
    pub fn is_of(&self, copy: &Copy) -> bool {
        self.minidvodb_id == copy.minidvodb_id && self.content.is_of(copy)
    }
}

/// A row that stays in the database as it is, because no copy here can stand for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// minidvodb_id; 0 where it is NULL there.
    pub minidvodb_id: u64,
    /// minidvodbcopy_id there; 0: the row of minidvodbRun itself.
    pub row_id: u64,
    /// destination_host.
    pub host: String,
    /// Why it stays.
    pub why: String,
}

impl Stray {
    /// A row of minidvodbCopy as a stray.
    pub fn of(row: &TableRow, why: String) -> Self {
        Self { minidvodb_id: row.minidvodb_id.0, row_id: row.id, host: row.content.host.to_string(), why }
    }
}

impl fmt::Display for Stray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row_id {
            0 => write!(f, "minidvodb {}: {}", self.minidvodb_id, self.why),
            id => write!(f, "row {id} of minidvodbCopy is left as it is: {}", self.why),
        }
    }
}

/// A copy whose row is gone from the database.
#[derive(Clone, Debug, PartialEq)]
pub struct Tombstone {
    /// The copy as it was.
    pub copy: Copy,
    /// When that was noticed.
    pub at: Timestamp,
}

/// An entry of the operators' log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// When.
    pub at: Timestamp,
    /// Who: a user's name, or `minidvodbcopy` for the program itself.
    pub who: String,
    /// About which copy, where it is about one.
    pub copy: Option<CopyId>,
    /// What.
    pub text: String,
}

impl LogEntry {
    /// The name under which the program writes.
    pub const PROGRAM: &'static str = "minidvodbcopy";

    /// An entry of the program itself.
    pub fn of_program(at: Timestamp, copy: Option<CopyId>, text: String) -> Self {
        Self { at, who: Self::PROGRAM.to_owned(), copy, text }
    }
}

/// Whether the database takes two texts for the same.
pub fn is_same_text(a: &str, b: &str) -> bool {
    a == b || a.trim_end_matches(' ').to_lowercase() == b.trim_end_matches(' ').to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_as_they_came() {
        for text in [
            "mysql://ipp@ippdb01/gpc1",
            "mysql://ipp@ippdb01:3307/gpc1",
            "mysql://ipp@[::1]:3307/gpc1",
            "mysql://ipp@localhost/gpc1?socket=/run/mysqld/mysqld.sock",
            "mysql://ipp@ippdb01/gpc1?tls=required",
            "mysql://ipp@ippdb01/gpc1?tls=verify&ca=/etc/ca.pem",
            "mysql://i%40p@ippdb01/gpc%201",
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_no_password_is_repeated() {
        for text in [
            "",
            "gpc1",
            "postgres://ipp@h/gpc1",
            "mysql://ippdb01/gpc1",
            "mysql://ipp@ippdb01",
            "mysql://ipp@ippdb01/",
            "mysql://ipp@/gpc1",
            "mysql://ipp@ippdb01/gpc1?tls=no",
            "mysql://ipp@ippdb01/gpc1?sslmode=x",
            "mysql://ipp@ippdb01/gpc1?socket=run.sock",
            "mysql://ipp@ippdb01/gpc1?ca=/x",
            "mysql://ipp@ippdb01:99999/gpc1",
            "mysql://ipp@ippdb01/gpc1%00",
            "mysql://ipp@ippdb01/a/b",
        ] {
            assert!(Address::parse(text).is_err(), "{text:?}");
        }
        for text in [
            "mysql://ipp:secret@ippdb01/gpc1",
            "mysql://ipp:secret@ippdb01:99999/x",
            "x://a:secret@b@c",
            "mysql:ipp:secret@h/gpc1",
        ] {
            let refused = Address::parse(text).unwrap_err().to_string();
            assert!(!refused.contains("secret"), "{refused}");
        }
    }

    #[test]
    fn the_database_compares_without_case_and_trailing_blanks() {
        assert!(is_same_text("IPP0222 ", "ipp0222"));
        assert!(!is_same_text(" ipp0222", "ipp0222"));
    }
}
