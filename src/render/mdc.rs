//! Copies as minidvodbtool prints them: its METADATA format, and its simple one.
//!
//! Invariant: byte for byte what the predecessor's scripts parse; nothing at all for no rows. Blanks that pad a
//! value are counted in characters, as printf counted the bytes of the table's latin1.
//!
//! *What is not known.* An epoch or a path is `NULL`, a dtime is `nan`: so the predecessor prints a NULL of
//! these columns.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::printf;
use crate::model::{AbsolutePath, Copy};

/// How rows are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A line for each field, between `METADATA` and `END`.
    Metadata,
    /// A line for each row.
    Simple,
}

impl Form {
    /// The row of a copy, and the path of its minidvodb where that is known.
    pub fn row(self, copy: &Copy, minidvodb_path: Option<&AbsolutePath>) -> String {
        let fields = fields(copy, minidvodb_path);
        match self {
            Self::Metadata => metadata(&fields),
            Self::Simple => simple(&fields),
        }
    }
}

/// A listing in the making.
#[derive(Debug)]
pub struct Listing {
    form: Form,
    has_rows: bool,
}

impl Listing {
    /// One without rows yet.
    pub fn new(form: Form) -> Self {
        Self { form, has_rows: false }
    }

    /// The text of further rows, with what stands before the first one.
    pub fn add(&mut self, rows: &[String]) -> String {
        let is_first = !self.has_rows && !rows.is_empty();
        self.has_rows |= is_first;
        let head = if is_first && self.form == Form::Metadata { "minidvodbCopy MULTI\n" } else { "" };
        [head, &rows.concat()].concat()
    }

    /// What stands behind the last row.
    pub fn end(&self) -> &'static str {
        if self.has_rows && self.form == Form::Metadata { "\n" } else { "" }
    }
}

/// A value with its type.
enum Value<'a> {
    S64(u64),
    Str(Option<&'a str>),
    S16(i16),
    Tai(Option<Timestamp>),
    F32(Option<f32>),
}

type Fields<'a> = [(&'static str, Value<'a>); 9];

/// The eight columns in the table's order, then the minidvodb's path.
fn fields<'a>(copy: &'a Copy, minidvodb_path: Option<&'a AbsolutePath>) -> Fields<'a> {
    [
        ("minidvodbcopy_id", Value::S64(copy.id.0)),
        ("minidvodb_id", Value::S64(copy.minidvodb_id.0)),
        ("minidvodb_rsync_path", Value::Str(Some(copy.path.as_str()))),
        ("destination_host", Value::Str(Some(copy.host.as_str()))),
        ("fault", Value::S16(copy.fault_code())),
        ("state", Value::Str(Some(copy.state_word()))),
        ("epoch", Value::Tai(copy.epoch)),
        ("dtime", Value::F32(copy.dtime_s)),
        ("minidvodb_path", Value::Str(minidvodb_path.map(AbsolutePath::as_str))),
    ]
}

fn metadata(fields: &Fields<'_>) -> String {
    let mut text = "\nminidvodbCopy  METADATA  \n".to_owned();
    for (name, value) in fields {
        let (kind, shown) = match value {
            Value::S64(number) => ("S64", number.to_string()),
            Value::Str(text) => ("STR", text.unwrap_or(NULL).to_owned()),
            Value::S16(number) => ("S16", number.to_string()),
            Value::Tai(at) => ("TAI", time(*at)),
            Value::F32(number) => ("F32", printf::general(double(*number))),
        };
        let end = if matches!(value, Value::Str(_)) { " " } else { "" };
        let _ = writeln!(text, "   {name:<15}  {kind:<8}  {shown:<15}{end}");
    }
    text.push_str("END\n");
    text
}

fn simple(fields: &Fields<'_>) -> String {
    let words = fields.each_ref().map(|(_, value)| match value {
        Value::S64(number) => number.to_string(),
        Value::Str(text) => text.unwrap_or(NULL).replace(' ', "_"),
        Value::S16(number) => number.to_string(),
        Value::Tai(at) => time(*at),
        Value::F32(number) => printf::fixed(double(*number)),
    });
    words.join(" ") + "\n"
}

const NULL: &str = "NULL";

fn time(at: Option<Timestamp>) -> String {
    // The table has whole seconds.
    at.map_or_else(|| NULL.to_owned(), |at| at.strftime("%Y-%m-%dT%H:%M:%S.000000").to_string())
}

/// As C hands a float to printf.
fn double(number: Option<f32>) -> f64 {
    f64::from(number.unwrap_or(f32::NAN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CopyId, Group, Host, MinidvodbId};
    use expect_test::{expect, expect_file};

    fn copy() -> (Copy, AbsolutePath) {
        let (path, host) =
            (AbsolutePath::parse("/data/ipp004.0/ThreePi.123").unwrap(), Host::parse("ipp0222").unwrap());
        let copy = Copy::queued(
            CopyId(7),
            MinidvodbId(123),
            Group::parse("ThreePi").unwrap(),
            host.clone(),
            host.default_machine(),
            AbsolutePath::parse("/data/ipp022.0/x").unwrap(),
            path.name().unwrap(),
            "2011-05-02T03:04:05Z".parse().unwrap(),
        );
        (copy, path)
    }

    fn listing(form: Form, rows: &[(&Copy, Option<&AbsolutePath>)]) -> String {
        let mut listing = Listing::new(form);
        let mut text = String::new();
        for (copy, path) in rows {
            text += &listing.add(&[form.row(copy, *path)]);
        }
        text + &listing.add(&[]) + listing.end()
    }

    #[test]
    fn the_example_of_the_description_is_met_byte_for_byte() {
        let (copy, path) = copy();
        expect_file!["../../testdata/minidvodbtool/one-row.txt"]
            .assert_eq(&listing(Form::Metadata, &[(&copy, Some(&path))]));
    }

    #[test]
    fn no_rows_are_nothing_at_all() {
        assert_eq!(listing(Form::Metadata, &[]), "");
        assert_eq!(listing(Form::Simple, &[]), "");
    }

    #[test]
    fn what_is_not_known_is_null_and_a_time_that_is_not_known_is_no_number() {
        let (mut copy, _) = copy();
        (copy.epoch, copy.dtime_s) = (None, None);
        let text = listing(Form::Metadata, &[(&copy, None)]);
        let tail: Vec<&str> = text.lines().skip(9).map(|line| line.trim_start_matches(' ')).collect();
        assert_eq!(
            tail,
            [
                "epoch            TAI       NULL           ",
                "dtime            F32       nan            ",
                "minidvodb_path   STR       NULL            ",
                "END",
                ""
            ]
        );
    }

    #[test]
    fn a_simple_row_is_one_line_without_blanks_in_its_values() {
        let (mut copy, _) = copy();
        copy.path = AbsolutePath::parse("/data/a  b").unwrap();
        copy.dtime_s = Some(12.34);
        let path = AbsolutePath::parse("/data/Three Pi.123").unwrap();
        expect![[r"
            7 123 /data/a__b ipp0222 0 new 2011-05-02T03:04:05.000000 12.340000 /data/Three_Pi.123
            7 123 /data/a__b ipp0222 0 new 2011-05-02T03:04:05.000000 12.340000 NULL
        "]]
        .assert_eq(&listing(Form::Simple, &[(&copy, Some(&path)), (&copy, None)]));
    }

    #[test]
    fn a_character_is_one_column_wide_as_a_byte_was() {
        let (mut copy, path) = copy();
        copy.path = AbsolutePath::parse("/é").unwrap();
        let text = listing(Form::Metadata, &[(&copy, Some(&path))]);
        assert!(text.contains("   minidvodb_rsync_path  STR       /é              \n"), "{text}");
    }
}
