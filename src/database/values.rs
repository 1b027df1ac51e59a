//! Values of the tables as they come from the server, and as they go there.
//!
//! Invariant: what a column cannot hold is refused before it is sent, with its column; nothing is cut.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mysql::{Row, Value};

use super::Trouble;
use crate::model::{Content, MinidvodbId};

/// The first and the last second of a TIMESTAMP ("Date and Time Data Types" of the MySQL manual).
const EPOCH_MIN_S: i64 = 1;
const EPOCH_MAX_S: i64 = 2_147_483_647;
/// The characters of the columns for path and host, and for the state.
const TEXT_MAX: usize = 255;
const STATE_MAX: usize = 64;

/// A row being read, column by column.
pub(super) struct Columns {
    row: Row,
    at: usize,
}

impl Columns {
    pub(super) fn of(row: Row) -> Self {
        Self { row, at: 0 }
    }

    fn next(&mut self) -> Value {
        self.at += 1;
        self.row.take(self.at - 1).unwrap_or(Value::NULL)
    }

    /// A whole number; none for NULL.
    pub(super) fn number(&mut self) -> Result<Option<i64>, Trouble> {
        number_of(self.next())
    }

    /// A whole number that is not negative, however large; 0 for NULL.
    pub(super) fn natural(&mut self) -> Result<u64, Trouble> {
        match self.next() {
            Value::UInt(number) => Ok(number),
            other => Ok(number_of(other)?.and_then(|number| u64::try_from(number).ok()).unwrap_or_default()),
        }
    }

    /// A text; none for NULL.
    pub(super) fn text(&mut self) -> Result<Option<String>, Trouble> {
        match self.next() {
            Value::NULL => Ok(None),
            Value::Bytes(text) => Ok(Some(text_of(text))),
            other => Err(unexpected(&format!("{other:?}"))),
        }
    }

    /// The bytes of a text; none of them for NULL.
    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, Trouble> {
        match self.next() {
            Value::NULL => Ok(Vec::new()),
            Value::Bytes(text) => Ok(text),
            other => Err(unexpected(&format!("{other:?}"))),
        }
    }

    /// A FLOAT in seconds; none for NULL.
    pub(super) fn seconds(&mut self) -> Result<Option<f32>, Trouble> {
        match self.next() {
            Value::NULL => Ok(None),
            Value::Float(seconds) => Ok(Some(seconds)),
            #[allow(clippy::cast_possible_truncation)] // a site's DOUBLE is compared as 32-bit, too
            Value::Double(seconds) => Ok(Some(seconds as f32)),
            other => Err(unexpected(&format!("{other:?}"))),
        }
    }

    /// A TIMESTAMP in UTC; none for NULL and for the zero date.
    pub(super) fn time(&mut self) -> Result<Option<Timestamp>, Trouble> {
        match self.next() {
            Value::NULL | Value::Date(0, 0, 0, ..) => Ok(None),
            Value::Date(year, month, day, hour, minute, second, _) => {
                let small = |value: u8| i8::try_from(value).ok();
                let civil = || {
                    let (year, month, day) = (i16::try_from(year).ok()?, small(month)?, small(day)?);
                    jiff::civil::DateTime::new(
                        year,
                        month,
                        day,
                        small(hour)?,
                        small(minute)?,
                        small(second)?,
                        0,
                    )
                    .ok()
                };
                let time = civil().and_then(|civil| TimeZone::UTC.to_timestamp(civil).ok());
                time.map(Some).ok_or_else(|| unexpected("a time that is none"))
            }
            other => Err(unexpected(&format!("{other:?}"))),
        }
    }
}

fn number_of(value: Value) -> Result<Option<i64>, Trouble> {
    match value {
        Value::NULL => Ok(None),
        Value::Int(number) => Ok(Some(number)),
        Value::UInt(number) => i64::try_from(number).map(Some).map_err(|_| unexpected("a huge number")),
        Value::Bytes(text) => {
            let text = text_of(text);
            text.parse().map(Some).map_err(|_| unexpected(&format!("'{}'", text.escape_debug())))
        }
        other => Err(unexpected(&format!("{other:?}"))),
    }
}

fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn unexpected(what: &str) -> Trouble {
    Trouble::Refused(format!("a column holds {what}, which is not of its type"))
}

/// A value on its way to a column.
pub(super) type Cell = Value;

/// The values of minidvodb_rsync_path, destination_host, fault, state, epoch, dtime.
///
/// # Errors
/// The column that cannot hold its value, and why.
pub(super) fn cells_of(content: &Content) -> Result<[Cell; 6], String> {
    expect_to_fit(content)?;
    let Content { path, host, fault, state, epoch, dtime_s } = content;
    Ok([
        Value::Bytes(path.clone().into_bytes()),
        Value::Bytes(host.as_bytes().to_vec()),
        Value::Int(i64::from(*fault)),
        Value::Bytes(state.as_bytes().to_vec()),
        epoch.map_or(Ok(Value::NULL), |epoch| date(epoch.as_second()))?,
        dtime_s.map_or(Value::NULL, Value::Float),
    ])
}

/// Appends the same values and a minidvodb_id, as a line of a file that a server loads: separated by tabs, with
/// what would end a value or a line behind a backslash.
///
/// # Errors
/// The same.
pub(super) fn line_of(minidvodb: MinidvodbId, content: &Content, lines: &mut Vec<u8>) -> Result<(), String> {
    expect_to_fit(content)?;
    let Content { path, host, fault, state, epoch, dtime_s } = content;
    escape(path, lines);
    lines.push(b'\t');
    escape(host, lines);
    lines.push(b'\t');
    append(lines, fault);
    lines.push(b'\t');
    escape(state, lines);
    lines.push(b'\t');
    match epoch {
        Some(epoch) => append(lines, epoch.strftime("%Y-%m-%d %H:%M:%S")),
        // What NULL makes of a TIMESTAMP is told in too many ways.
        None => return Err("column epoch would be NULL".to_owned()),
    }
    lines.push(b'\t');
    match dtime_s {
        // Of the digits of a 32-bit number, a server makes a 64-bit one first, and then perhaps another one.
        Some(seconds) => append(lines, f64::from(*seconds)),
        None => lines.extend(b"\\N"),
    }
    lines.push(b'\t');
    append(lines, minidvodb);
    lines.push(b'\n');
    Ok(())
}

fn append(lines: &mut Vec<u8>, value: impl std::fmt::Display) {
    use std::io::Write as _;
    // Writing into memory cannot fail.
    let _ = write!(lines, "{value}");
}

fn escape(text: &str, lines: &mut Vec<u8>) {
    for &byte in text.as_bytes() {
        match byte {
            b'\\' | b'\t' | b'\n' => lines.extend([b'\\', byte]),
            0 => lines.extend(b"\\0"),
            _ => lines.push(byte),
        }
    }
}

/// Looks whether every column holds its value as it is.
fn expect_to_fit(content: &Content) -> Result<(), String> {
    let Content { path, host, state, epoch, dtime_s, .. } = content;
    for (column, text, max) in [
        ("minidvodb_rsync_path", path.as_str(), TEXT_MAX),
        ("destination_host", host.as_str(), TEXT_MAX),
        ("state", state.as_str(), STATE_MAX),
    ] {
        if text.chars().count() > max {
            return Err(format!(
                "column {column} holds {max} characters, and '{}' has more",
                text.escape_debug()
            ));
        }
    }
    if let Some(epoch) = epoch
        && !(EPOCH_MIN_S..=EPOCH_MAX_S).contains(&epoch.as_second())
    {
        return Err(format!("column epoch holds times from 1970 to 2038, and not {epoch}"));
    }
    match dtime_s {
        Some(seconds) if !seconds.is_finite() => Err(format!("column dtime cannot hold {seconds}")),
        _ => Ok(()),
    }
}

fn date(second: i64) -> Result<Value, String> {
    let time = Timestamp::from_second(second).map_err(|error| error.to_string())?;
    let civil = TimeZone::UTC.to_datetime(time);
    let part = |value: i8| u8::try_from(value).unwrap_or_default();
    Ok(Value::Date(
        u16::try_from(civil.year()).unwrap_or_default(),
        part(civil.month()),
        part(civil.day()),
        part(civil.hour()),
        part(civil.minute()),
        part(civil.second()),
        0,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content() -> Content {
        Content {
            path: "/data/é€".to_owned(),
            host: "ipp022".into(),
            fault: 0,
            state: "new".into(),
            epoch: Timestamp::from_second(1_304_305_445).ok(),
            dtime_s: Some(0.1),
        }
    }

    #[test]
    fn what_fits_is_sent_as_it_is() {
        let cells = cells_of(&content()).unwrap();
        assert_eq!(cells[4], Value::Date(2011, 5, 2, 3, 4, 5, 0));
        assert_eq!(cells[5], Value::Float(0.1));
        assert!(cells_of(&Content { path: format!("/{}", "é".repeat(254)), ..content() }).is_ok());
    }

    #[test]
    fn a_line_holds_the_same_and_nothing_in_it_ends_a_value_too_early() {
        let line = |content: Content| {
            let mut line = Vec::new();
            line_of(MinidvodbId(7), &content, &mut line).map(|()| String::from_utf8(line).unwrap())
        };
        assert_eq!(
            line(content()).unwrap(),
            "/data/é€\tipp022\t0\tnew\t2011-05-02 03:04:05\t0.10000000149011612\t7\n"
        );
        let odd = Content { path: "/a\tb\\N\nc\0d'\"".to_owned(), fault: -3, dtime_s: None, ..content() };
        assert_eq!(
            line(odd).unwrap(),
            "/a\\\tb\\\\N\\\nc\\0d'\"\tipp022\t-3\tnew\t2011-05-02 03:04:05\t\\N\t7\n"
        );
        assert!(line(Content { epoch: None, ..content() }).is_err());
        assert!(
            line(Content { state: "x".repeat(65).into(), ..content() }).unwrap_err().contains("column state")
        );
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_column() {
        let refused = |content: Content| cells_of(&content).unwrap_err();
        assert!(refused(Content { path: "x".repeat(256), ..content() }).contains("minidvodb_rsync_path"));
        assert!(refused(Content { epoch: Timestamp::from_second(0).ok(), ..content() }).contains("epoch"));
        assert!(
            refused(Content { epoch: Timestamp::from_second(1 << 31).ok(), ..content() }).contains("epoch")
        );
        assert!(refused(Content { dtime_s: Some(f32::NAN), ..content() }).contains("dtime"));
    }
}
