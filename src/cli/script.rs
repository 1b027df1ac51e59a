//! Scripts: lines as pantasks' input files have them, a word of the wiki page on each.
//!
//! Pure. Invariant: a script is read whole or refused with the number of its first bad line, and no bytes
//! whatever make it panic. Quotes work as in a shell, and nothing else does: `$( )`, `;` and `&` are text.

use super::words::{self, Word};

/// No script is longer.
pub const MAX_BYTES: usize = 1024 * 1024;

/// A word, and the line that it stands on, from 1.
#[derive(Debug)]
pub struct Line {
    pub number: usize,
    pub word: Word,
}

/// The first line that is bad, and why.
#[derive(Debug, PartialEq, Eq)]
pub struct Bad {
    pub number: usize,
    pub why: String,
}

/// Reads a script.
///
/// # Errors
/// Its first bad line.
pub fn parse(script: &[u8]) -> Result<Vec<Line>, Bad> {
    // Some editors put this mark in front of UTF-8.
    let script = script.strip_prefix("\u{feff}".as_bytes()).unwrap_or(script);
    let mut lines = Vec::new();
    for (bytes, number) in script.split(|&b| b == b'\n').zip(1..) {
        if let Some(word) = line(bytes).map_err(|why| Bad { number, why })? {
            lines.push(Line { number, word });
        }
    }
    Ok(lines)
}

/// The word of a line; none where it is empty or a comment.
fn line(bytes: &[u8]) -> Result<Option<Word>, String> {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    if bytes.contains(&0) {
        return Err("it has a NUL byte: is this a text file?".to_owned());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let mut typed =
        shlex::split(text).ok_or_else(|| "a quote is not closed, or a backslash ends the line".to_owned())?;
    // Lines are also pasted from a shell.
    if typed.first().is_some_and(|first| first == "minidvodbcopy") {
        typed.remove(0);
    }
    if typed.is_empty() {
        return Ok(None);
    }
    words::parse(&typed).map(Some).map_err(words::Refused::into_sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(script: &str) -> Vec<(usize, String)> {
        let lines = parse(script.as_bytes()).unwrap();
        lines.into_iter().map(|line| (line.number, format!("{:?}", line.word))).collect()
    }

    fn bad(script: impl AsRef<[u8]>) -> (usize, String) {
        let bad = parse(script.as_ref()).unwrap_err();
        (bad.number, bad.why)
    }

    #[test]
    fn comments_blanks_tabs_line_ends_and_marks_mean_nothing() {
        let script = "\u{feff}# ThreePi to ipp022\r\n\r\n \t \nserver module minidvodbcopy.pro # built in\r\n\
                      \tadd.minidvodb.host\t ipp0222 \t# on\r\nminidvodbcopy show.minidvodb.host";
        let lines = read(script);
        assert_eq!(lines.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [4, 5, 6]);
        assert!(lines[1].1.contains("Host(\"ipp0222\")"), "{lines:?}");
        assert_eq!(read(""), []);
        assert_eq!(read("minidvodbcopy\n\u{feff}".trim_end_matches('\u{feff}')), []);
    }

    #[test]
    fn quotes_hold_blanks_together_and_nothing_is_expanded() {
        for (written, meant) in [
            ("'/data/three pi'", "/data/three pi"),
            ("\"/data/a;b\"", "/data/a;b"),
            ("/data/three\\ pi", "/data/three pi"),
            ("'/data/$(id)'", "/data/$(id)"),
            ("/data/$HOME;x", "/data/$HOME;x"),
            ("/data/x#1", "/data/x#1"),
            ("\"/data/it's #2\"", "/data/it's #2"),
        ] {
            let lines = parse(format!("add.minidvodb.copy G h {written}").as_bytes()).unwrap();
            let Some(Line { word: Word::AddCopy(add), .. }) = lines.first() else { panic!("{lines:?}") };
            assert_eq!(add.path.as_str(), meant);
        }
    }

    #[test]
    fn the_first_bad_line_is_named() {
        let good = "add.minidvodb.host h\n";
        let usage = "USAGE: add.minidvodb.copy (minidvodb_group) (host) (minidvodbcopy_path)";
        assert_eq!(bad(format!("{good}{good}add.minidvodb.copy G\nx\n")), (3, usage.to_owned()));
        assert_eq!(
            bad("add.minidvodb.copy G h /p '").1,
            "a quote is not closed, or a backslash ends the line"
        );
        assert_eq!(bad("show.minidvodb.host \\").1, "a quote is not closed, or a backslash ends the line");
        assert_eq!(bad(b"\n\xff\n"), (2, "it is not UTF-8".to_owned()));
        assert_eq!(bad(b"\n\n# \0"), (3, "it has a NUL byte: is this a text file?".to_owned()));
        assert_eq!(bad("run").1, "'run' is no word of the wiki page");
        assert_eq!(bad("add.minidvodb.copy G h data").1, "the path 'data' must be absolute");
        // A carriage return inside a line is a character of a name, and refused as one.
        assert!(bad("add.minidvodb.host h\rx").1.starts_with("the host 'h\\rx' is not a host"));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let pieces: [&[u8]; 12] = [
            b"add.minidvodb.copy",
            b" ",
            b"'",
            b"\"",
            b"\\",
            b"#",
            b"\n",
            b"\r",
            b"\0",
            b"\xff",
            b"server",
            b"--",
        ];
        // Every sequence of four pieces: twenty thousand small scripts.
        for number in 0..pieces.len().pow(4) {
            let mut script = Vec::new();
            let mut rest = number;
            for _ in 0..4 {
                script.extend_from_slice(pieces[rest % pieces.len()]);
                rest /= pieces.len();
            }
            let _ = parse(&script);
        }
    }
}
