//! What people and scripts get to see.
//!
//! Invariant: results go to standard output, all else to standard error; nothing that came from outside
//! reaches a terminal or a log with its control characters; a reader that goes away is no error.

use std::io::{IsTerminal as _, Write as _};

use crate::error::{Error, Result};

/// How much to say.
#[derive(Clone, Copy, Debug)]
pub struct Ui {
    is_verbose: bool,
    is_quiet: bool,
    is_watched: bool,
}

impl Ui {
    /// By the options, and by whether a terminal is attached.
    pub fn new(is_verbose: bool, is_quiet: bool) -> Self {
        let is_watched = std::io::stdout().is_terminal() || std::io::stderr().is_terminal();
        Self { is_verbose, is_quiet, is_watched }
    }

    /// A result: to standard output.
    ///
    /// # Errors
    /// 78 where it can't be written; none where the reader went away.
    pub fn print(&self, text: &str) -> Result<()> {
        let mut out = std::io::stdout().lock();
        written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
    }

    /// What a pass does, for whoever watches it: on a terminal, or with `-v`.
    pub fn tell(&self, text: &str) {
        if self.is_heard() {
            self.line(text);
        }
    }

    /// Whether [`Self::tell`] says anything.
    pub fn is_heard(&self) -> bool {
        self.is_verbose || (self.is_watched && !self.is_quiet)
    }

    /// Something that must be said, watched or not.
    pub fn notice(&self, text: &str) {
        self.line(text);
    }

    fn line(&self, text: &str) {
        // With standard error gone there is nobody left to tell.
        let _ = writeln!(std::io::stderr().lock(), "minidvodbcopy: {}", escape_lines(text));
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

/// A word of a command that is shown to be typed: as it is where no shell makes anything else of it.
pub fn shell_word(text: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:,+@%".contains(&b);
    if !text.is_empty() && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The first line of a message, shortened for a table.
pub fn first_line(text: &str) -> String {
    escape_all(text.lines().next().unwrap_or_default())
}

/// A size for people.
pub fn size(bytes: u64) -> String {
    humansize::format_size(bytes, humansize::BINARY)
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
    fn a_word_to_be_typed_is_quoted_where_a_shell_would_read_it_otherwise() {
        assert_eq!(shell_word("/data/ipp022.0/x"), "/data/ipp022.0/x");
        assert_eq!(shell_word("it's $(id)"), r"'it'\''s $(id)'");
        assert_eq!(shell_word(""), "''");
    }
}
