//! Rows in the texts that their sums are made of: one value for each row, which costs the server and this program
//! much less than the row's columns and its sum do.
//!
//! Invariant: a text is taken only where it can stand for nothing else: with as many lines as there are columns. What
//! weighs it here is what the server makes of it: plain ASCII is the same in every character set that these tables
//! have, and of other texts only the server knows the weight.

use jiff::Timestamp;

use super::RunRow;
use crate::model::{Content, MinidvodbId, TableRow};

/// What stands for NULL.
const NULL: &str = "~";

/// What a row weighs in the sum of its bucket, by its text and that of the column that weighs it.
pub(super) fn weight(text: &str, id: &str) -> u64 {
    u64::from(crc32fast::hash(text.as_bytes())) * u64::from(crc32fast::hash(id.as_bytes()) | 1)
}

/// The same, where it can be known here.
fn known_weight(text: &str, id: &str) -> Option<u64> {
    text.is_ascii().then(|| weight(text, id))
}

/// The lines of a text, if they are just so many.
fn lines<const N: usize>(text: &[u8]) -> Option<(&str, [&str; N])> {
    let text = str::from_utf8(text).ok()?;
    let (mut lines, mut start) = ([""; N], 0);
    let mut ends = memchr::memchr_iter(b'\n', text.as_bytes());
    let (last, others) = lines.split_last_mut()?;
    for line in others {
        let end = ends.next()?;
        *line = text.get(start..end)?;
        start = end + 1;
    }
    *last = text.get(start..)?;
    ends.next().is_none().then_some((text, lines))
}

/// The number in the first line, which no other character can stand in.
pub(super) fn first_number(text: &[u8]) -> Option<i64> {
    number_in(text.split(|&byte| byte == b'\n').next()?)
}

/// The number in the second line of a text whose first one is a number, too.
pub(super) fn second_number(text: &[u8]) -> Option<i64> {
    number_in(text.split(|&byte| byte == b'\n').nth(1)?)
}

fn number_in(line: &[u8]) -> Option<i64> {
    str::from_utf8(line).ok()?.parse().ok()
}

/// The row of minidvodbRun in a text, without its fault, and what it weighs, if that is known.
pub(super) fn run_in(text: &[u8], is_nameless: bool) -> Option<(RunRow<'_>, Option<u64>)> {
    let (text, [id, name, group, path, state]) = lines(text)?;
    let weight = known_weight(text, id);
    let (id, name) = (id.parse().ok()?, (!is_nameless).then_some(name));
    Some((RunRow { id, name, group, path, state, fault: None }, weight))
}

/// A row of minidvodbCopy; or its minidvodbcopy_id and host, where it is of no minidvodb.
pub(super) type CopyRow = Result<TableRow, (u64, String)>;

/// The row of minidvodbCopy in a text, and what it weighs, if that is known.
pub(super) fn copy_in(text: &[u8]) -> Option<(CopyRow, Option<u64>)> {
    let (text, [id, minidvodb_id, path, host, fault, state, epoch, dtime]) = lines(text)?;
    let weight = known_weight(text, id);
    let id: i64 = id.parse().ok()?;
    let minidvodb_id: Option<i64> = or_null(minidvodb_id)?;
    let Some(minidvodb_id) = minidvodb_id.and_then(|id| u64::try_from(id).ok()).filter(|&id| id > 0) else {
        return Some((Err((u64::try_from(id).unwrap_or_default(), host.to_owned())), weight));
    };
    let content = Content {
        path: path.to_owned(),
        host: host.into(),
        fault: fault.parse().ok()?,
        state: state.into(),
        epoch: epoch_in(epoch)?,
        dtime_s: seconds_in(dtime)?,
    };
    let id = u64::try_from(id).ok().filter(|&id| id > 0)?;
    Some((Ok(TableRow { id, minidvodb_id: MinidvodbId(minidvodb_id), content }), weight))
}

/// A value that may be NULL.
fn or_null<T: std::str::FromStr>(line: &str) -> Option<Option<T>> {
    if line == NULL { Some(None) } else { line.parse().ok().map(Some) }
}

/// Seconds since 1970, perhaps with a fraction; none for NULL and for the zero date, whose second is 0.
fn epoch_in(line: &str) -> Option<Option<Timestamp>> {
    let second: Option<i64> = or_null(line.split_once('.').map_or(line, |(second, _)| second))?;
    second.filter(|&second| second != 0).map(Timestamp::from_second).transpose().ok()
}

/// A 32-bit number, written as a 64-bit one.
fn seconds_in(line: &str) -> Option<Option<f32>> {
    let seconds: Option<f64> = or_null(line)?;
    #[allow(clippy::cast_possible_truncation)] // a site's DOUBLE is compared as 32-bit, too
    Some(seconds.map(|seconds| seconds as f32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_minidvodb_run_is_read_from_its_text() {
        let (run, weight) = run_in(b"7\nThreePi.7\nThreePi\n/data/ThreePi.7\nmerged", false).unwrap();
        let expected = RunRow {
            id: 7,
            name: Some("ThreePi.7"),
            group: "ThreePi",
            path: "/data/ThreePi.7",
            state: "merged",
            fault: None,
        };
        assert_eq!(run, expected);
        // SELECT CRC32('7\nThreePi.7\nThreePi\n/data/ThreePi.7\nmerged') * (CRC32('7') | 1)
        assert_eq!(weight, Some(2514813859789982725));
        let (western, weight) = run_in("7\nn\nThreePi\n/data/é\nmerged".as_bytes(), false).unwrap();
        assert_eq!((western.path, weight), ("/data/é", None));
        assert_eq!(run_in(b"7\n~\ng\n/p\ns", true).unwrap().0.name, None);
        assert_eq!(run_in(b"7\n~\ng\n/p\ns", false).unwrap().0.name, Some("~"));
    }

    #[test]
    fn a_row_of_minidvodb_copy_is_read_from_its_text() {
        let row = |text: &str| copy_in(text.as_bytes()).unwrap().0;
        let content = Content {
            path: "/there".to_owned(),
            host: "ipp022".into(),
            fault: -3,
            state: "full".into(),
            epoch: Timestamp::from_second(1_304_305_445).ok(),
            dtime_s: Some(0.1),
        };
        let expected = TableRow { id: 5, minidvodb_id: MinidvodbId(7), content };
        assert_eq!(
            row("5\n7\n/there\nipp022\n-3\nfull\n1304305445\n0.10000000149011612"),
            Ok(expected.clone())
        );
        assert_eq!(
            row("5\n7\n/there\nipp022\n-3\nfull\n1304305445.250000\n0.10000000149011612"),
            Ok(expected)
        );
        let bare = row("5\n7\n/there\nipp022\n0\nnew\n~\n~").unwrap().content;
        assert_eq!((bare.epoch, bare.dtime_s), (None, None));
        assert_eq!(row("5\n7\n/there\nipp022\n0\nnew\n0\n1.5e-7").unwrap().content.epoch, None);
        for of_nothing in ["~", "0", "-7"] {
            let text = format!("5\n{of_nothing}\n/there\nipp022\n0\nnew\n0\n1");
            assert_eq!(row(&text), Err((5, "ipp022".to_owned())));
        }
    }

    #[test]
    fn what_could_be_something_else_is_not_taken() {
        for odd in [
            &b"7\nThree\nPi.7\nThreePi\n/data\nmerged"[..],
            b"7\nThreePi\n/data\nmerged",
            b"7\nn\nThreePi\n/data/\xe9\nmerged",
            b"",
        ] {
            assert_eq!(run_in(odd, false), None);
        }
        for odd in
            ["5\n7\n/th\nere\nh\n0\nnew\n1\n1", "5\n7\n/there\nh\nx\nnew\n1\n1", "-5\n7\n/\nh\n0\nnew\n1\n1"]
        {
            assert_eq!(copy_in(odd.as_bytes()), None, "{odd:?}");
        }
        assert_eq!(first_number(b"5\n7\n/data/\xe9\n"), Some(5));
        assert_eq!(second_number(b"5\n7\n/data/\xe9\n"), Some(7));
        assert_eq!(second_number(b"5\n~\n/data/\xe9\n"), None);
    }
}
