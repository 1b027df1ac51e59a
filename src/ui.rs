//! What people and scripts get to see.
//!
//! Invariant: results go to standard output, all else to standard error; nothing that came from outside
//! reaches a terminal or a log with its control characters; a reader that goes away is no error. What is said
//! is an event too, of the target [`SAID`], so that the file log has it: where that is kept is not known here.

pub mod screen;

use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;

use self::screen::Looks;
use crate::error::{Error, Result};

/// The target of events that people have been told in so many words.
pub const SAID: &str = "minidvodbcopy::said";

/// How much to say.
#[derive(Clone, Copy, Debug)]
pub struct Ui {
    is_verbose: bool,
    is_quiet: bool,
    is_watched: bool,
    /// What standard error can show while a pass goes on.
    pub looks: Looks,
}

impl Ui {
    /// By the options, and by whether a terminal is attached.
    pub fn new(is_verbose: bool, is_quiet: bool) -> Self {
        let is_watched = std::io::stdout().is_terminal() || std::io::stderr().is_terminal();
        Self { is_verbose, is_quiet, is_watched, looks: Looks::Lines }
    }

    /// The same, with what the environment says of the terminal.
    pub fn on(self, environment: impl Fn(&str) -> Option<OsString>) -> Self {
        let is_watched = std::io::stderr().is_terminal() && !self.is_quiet;
        Self { looks: Looks::of(is_watched, environment), ..self }
    }

    /// How wide the terminal is that results go to, if they go to one.
    pub fn width(&self) -> Option<u16> {
        let (_, columns) = console::Term::stdout().size_checked()?;
        (columns >= screen::COLUMNS_MIN).then_some(columns)
    }

    /// A result: to standard output.
    ///
    /// # Errors
    /// 78 where it can't be written; none where the reader went away.
    pub fn print(&self, text: &str) -> Result<()> {
        screen::aside(|| {
            let mut out = std::io::stdout().lock();
            written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
        })
    }

    /// What a pass does, for whoever watches it: on a terminal, or with `-v`.
    pub fn tell(&self, text: &str) {
        tracing::info!(target: SAID, "{text}");
        self.tell_only(text);
    }

    /// The same, and not for the file log.
    pub fn tell_only(&self, text: &str) {
        if self.is_heard() {
            self.line(text);
        }
    }

    /// For the file log alone, where people have it in another form.
    pub fn record(&self, text: &str) {
        tracing::info!(target: SAID, "{text}");
    }

    /// What a pass does in detail: with `-v`.
    pub fn detail(&self, text: &str) {
        if self.is_verbose {
            self.line(text);
        }
    }

    /// Whether [`Self::tell`] says anything.
    pub fn is_heard(&self) -> bool {
        self.is_verbose || (self.is_watched && !self.is_quiet)
    }

    /// Something that must be said, watched or not.
    pub fn notice(&self, text: &str) {
        tracing::warn!(target: SAID, "{text}");
        self.line(text);
    }

    /// How a word of the wiki page is used: the line alone, as pantasks printed it.
    pub fn usage_line(&self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{}", escape_lines(text));
    }

    fn line(&self, text: &str) {
        // With standard error gone there is nobody left to tell.
        screen::aside(|| {
            let _ = writeln!(std::io::stderr().lock(), "minidvodbcopy: {}", escape_lines(text));
        });
    }
}

/// The end of a write; a reader that went away is none.
pub fn written(result: std::io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::configuration(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// A text with every control character but the newline escaped.
pub fn escape_lines(text: &str) -> String {
    escape(text, |c| c == '\n')
}

/// A text with every control character escaped.
pub fn escape_all(text: &str) -> String {
    escape(text, |_| false)
}

fn escape(text: &str, is_kept: impl Fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && !is_kept(c) || is_invisible(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Marks that change the order or the look of other characters.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Stands for a blank that no line is broken at.
pub const TIE: char = '\u{a0}';

/// A line in pieces of at most so many columns, broken at blanks; a single word may be wider.
pub fn wrapped(line: &str, width: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for word in line.split(' ') {
        let word = word.replace(TIE, " ");
        let last = pieces.last().map_or(0, |piece| piece.chars().count());
        if last > 0 && last + 1 + word.chars().count() > width {
            pieces.push(String::new());
        }
        if let Some(piece) = pieces.last_mut() {
            if !piece.is_empty() {
                piece.push(' ');
            }
            piece.push_str(&word);
        }
    }
    pieces
}

/// A command line as one could type it into a shell. Words with control characters, or with bytes that are no
/// UTF-8, are written as `$'...'`, which bash, ksh and zsh know.
pub fn command_line<'a>(words: impl IntoIterator<Item = &'a OsStr>) -> String {
    let words: Vec<String> = words.into_iter().map(shell_word).collect();
    words.join(" ")
}

/// One word of a command line.
pub fn shell_word(word: impl AsRef<OsStr>) -> String {
    let word = word.as_ref();
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&b);
    match word.to_str() {
        Some(text) if !text.is_empty() && text.bytes().all(is_plain) => text.to_owned(),
        Some(text) if !text.chars().any(|c| c.is_control() || is_invisible(c)) => {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
        _ => escaped_word(word.as_bytes()),
    }
}

/// `$'a\nb'`.
fn escaped_word(word: &[u8]) -> String {
    let mut escaped = String::from("$'");
    for chunk in word.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' | '\'' => escaped.extend(['\\', c]),
                '\n' => escaped.push_str("\\n"),
                '\t' => escaped.push_str("\\t"),
                '\r' => escaped.push_str("\\r"),
                c if c.is_control() || is_invisible(c) => push_octal(&mut escaped, c.to_string().as_bytes()),
                c => escaped.push(c),
            }
        }
        push_octal(&mut escaped, chunk.invalid());
    }
    escaped.push('\'');
    escaped
}

/// Three digits for each byte: what follows can then not be taken for more of it.
fn push_octal(text: &mut String, bytes: &[u8]) {
    bytes.iter().for_each(|byte| text.push_str(&format!("\\{byte:03o}")));
}

/// A text of at most `max_bytes`, and a few words where something was left out: its beginning and its end.
pub fn clip_middle(text: &str, max_bytes: usize) -> String {
    if text.len() <= max_bytes {
        return text.to_owned();
    }
    let (head, tail) = (text.floor_char_boundary(max_bytes / 2), text.len() - max_bytes / 2);
    let tail = text.ceil_char_boundary(tail);
    format!("{} [... {} bytes ...] {}", &text[..head], tail - head, &text[tail..])
}

/// The first line of a message, shortened for a table.
pub fn first_line(text: &str) -> String {
    escape_all(text.lines().next().unwrap_or_default())
}

/// A size for people.
pub fn size(bytes: u64) -> String {
    humansize::format_size(bytes, humansize::BINARY)
}

/// A length of time for people: its two largest units.
pub fn span(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let two = |(large, one): (u64, &str), (small, two): (u64, &str)| match small {
        0 => format!("{large} {one}"),
        _ => format!("{large} {one} {small} {two}"),
    };
    match seconds {
        0..MINUTE => format!("{seconds} s"),
        MINUTE..HOUR => two((seconds / MINUTE, "min"), (seconds % MINUTE, "s")),
        HOUR..DAY => two((seconds / HOUR, "h"), (seconds % HOUR / MINUTE, "min")),
        _ if seconds < 100 * DAY => {
            let days = seconds / DAY;
            two((days, if days == 1 { "day" } else { "days" }), (seconds % DAY / HOUR, "h"))
        }
        _ if seconds < 730 * DAY => format!("{} days", seconds / DAY),
        _ => format!("{} years", seconds / (365 * DAY)),
    }
}

/// A time for people: UTC, to the second.
pub fn time(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A time for programs: RFC 3339 in UTC, to the second.
pub fn rfc3339(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `1 copy`, `2 copies`.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_a_cursor_gets_through() {
        assert_eq!(escape_lines("a\u{1b}[31mb\rc\nd"), "a\\u{1b}[31mb\\rc\nd");
        assert_eq!(escape_all("a\nb\u{202e}c\u{9b}"), "a\\nb\\u{202e}c\\u{9b}");
    }

    #[test]
    fn a_command_line_is_read_by_a_shell_as_the_words_it_was_made_of() {
        let words: [&[u8]; 12] = [
            b"plain-1.0/x:y=z",
            b"",
            b"a b",
            b"it's",
            b"$(id) `id` ;|&<>*?[]{}~#!\\",
            b"\"",
            b"a\nb\tc\rd'e\\f",
            b"\x1b[2J1",
            "\u{202e}gpj\u{9b}".as_bytes(),
            b"caf\xe9 7",
            "caf\u{e9}".as_bytes(),
            b"~",
        ];
        let line = command_line(words.iter().map(|word| OsStr::from_bytes(word)));
        assert_eq!(escape_all(&line), line, "nothing is left to be escaped");
        let script = format!("printf '%s\\0' {line}");
        let output = std::process::Command::new("bash").arg("-c").arg(script).output().unwrap();
        let read: Vec<&[u8]> =
            output.stdout.split_inclusive(|&b| b == 0).map(|w| &w[..w.len() - 1]).collect();
        assert_eq!(read, words);
    }

    #[test]
    fn a_length_of_time_has_its_two_largest_units() {
        let spans = [0, 59, 60, 61, 3_599, 3_600, 7_260, 86_399, 86_400, 90_000, 2 * 86_400, 200 * 86_400];
        let said = [
            "0 s",
            "59 s",
            "1 min",
            "1 min 1 s",
            "59 min 59 s",
            "1 h",
            "2 h 1 min",
            "23 h 59 min",
            "1 day",
            "1 day 1 h",
            "2 days",
            "200 days",
        ];
        assert_eq!(spans.map(span), said);
        assert_eq!(span(10 * 365 * 86_400), "10 years");
        assert!(!span(u64::MAX).is_empty());
    }

    #[test]
    fn of_a_long_text_both_ends_are_kept() {
        assert_eq!(clip_middle("short", 5), "short");
        assert_eq!(clip_middle("\u{e9}23456789\u{e9}", 6), "\u{e9}2 [... 6 bytes ...] 9\u{e9}");
    }

    #[test]
    fn a_word_to_be_typed_is_quoted_where_a_shell_would_read_it_otherwise() {
        assert_eq!(shell_word("/data/ipp022.0/x"), "/data/ipp022.0/x");
        assert_eq!(shell_word("it's $(id)"), r"'it'\''s $(id)'");
        assert_eq!(shell_word(""), "''");
    }
}
