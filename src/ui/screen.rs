//! What a terminal shows of a pass while it goes on: the pass, the copy under way, the file; of several copies at
//! once, a line each.
//!
//! Invariants: bars are drawn only where standard error is a terminal that can move its cursor; anywhere else
//! nothing is printed here, not one control character. Whatever else is said meanwhile goes through [`aside`],
//! so that neither tears the other. The cursor is never hidden and nothing of the terminal's setting is changed,
//! so that there is nothing to be restored, however the process ends; a terminal that goes away is no error. This
//! is told numbers and words, and knows no pass, no ledger and no lock.

use std::ffi::OsString;
use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use super::{escape_all, size, span};

/// So often a second the bars are drawn at most.
const DRAWN_HZ: u8 = 10;
/// So often the seconds of a phase without numbers go on.
const TICK: Duration = Duration::from_millis(250);
/// A terminal that says that it is narrower is not believed: nothing fits into it.
pub(super) const COLUMNS_MIN: u16 = 20;

/// The bars that are on the terminal: there is one terminal in a process, and all that write to it must know.
static SHOWN: Mutex<Option<MultiProgress>> = Mutex::new(None);

fn shown() -> MutexGuard<'static, Option<MultiProgress>> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes to a terminal beside the bars, if there are any: they make way, and come back below.
pub fn aside<T>(write: impl FnOnce() -> T) -> T {
    let bars = shown().clone();
    match bars {
        Some(bars) => bars.suspend(write),
        None => write(),
    }
}

/// What standard error can show beside lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Looks {
    /// Nothing: no terminal, or one that cannot move its cursor, or nobody wants to watch.
    #[default]
    Lines,
    /// Bars that are drawn again and again.
    Bars {
        /// Whether they may be coloured.
        has_colours: bool,
    },
}

impl Looks {
    /// By what the environment says of the terminal, if there is one that somebody watches.
    pub fn of(is_watched: bool, environment: impl Fn(&str) -> Option<OsString>) -> Self {
        let is_set = |name| environment(name).is_some_and(|value| !value.is_empty());
        let is_dumb = environment("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        if !is_watched || is_dumb {
            return Self::Lines;
        }
        Self::Bars { has_colours: !is_set("NO_COLOR") }
    }
}

/// The bars of a pass; without a terminal, none. They come with the first copy, and go with this.
#[derive(Debug)]
pub struct Screen {
    looks: Looks,
    /// Whether copies are made at once: then each has one line only, lest there be more than a terminal has.
    has_many: bool,
    bars: Mutex<Option<Bars>>,
}

/// The line of the pass, and all of them.
#[derive(Debug)]
struct Bars {
    all: MultiProgress,
    pass: ProgressBar,
}

impl Screen {
    /// For so many copies at once. Nothing is shown yet.
    pub fn new(looks: Looks, copies: usize) -> Self {
        Self { looks, has_many: copies > 1, bars: Mutex::new(None) }
    }

    /// Whether anything is ever shown: only then is it worth while to find out what.
    pub fn is_watched(&self) -> bool {
        self.looks != Looks::Lines
    }

    /// Lines for one copy after the other.
    pub fn lines(&self) -> Option<Lines> {
        let Looks::Bars { has_colours } = self.looks else { return None };
        let mut bars = self.bars();
        let bars = bars.get_or_insert_with(|| Bars::new(has_colours));
        Some(Lines::new(&bars.all, has_colours, self.has_many))
    }

    /// How far the pass is.
    pub fn show_pass(&self, done: u64, expected: u64, text: String) {
        let bars = self.bars();
        let Some(bars) = bars.as_ref() else { return };
        bars.pass.set_length(expected);
        bars.pass.set_position(done);
        bars.pass.set_message(text);
    }

    fn bars(&self) -> MutexGuard<'_, Option<Bars>> {
        self.bars.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bars {
    fn new(has_colours: bool) -> Self {
        console::set_colors_enabled(has_colours);
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::term_like_with_hz(
            Box::new(Terminal::default()),
            DRAWN_HZ,
        ));
        let pass = add(&all, &format!("pass [{}] {{wide_msg}}", bar(has_colours)));
        *shown() = Some(all.clone());
        Self { all, pass }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        *shown() = None;
        self.pass.finish_and_clear();
        let _ = self.all.clear();
    }
}

/// The lines of the copy under way of one of those who make copies. They go with this.
#[derive(Debug)]
pub struct Lines {
    has_colours: bool,
    all: MultiProgress,
    copy: ProgressBar,
    /// None where the copy has one line only.
    file: Option<ProgressBar>,
    title: String,
    phase: &'static str,
}

impl Lines {
    fn new(all: &MultiProgress, has_colours: bool, has_many: bool) -> Self {
        let copy = add(all, WAITING);
        let file = (!has_many).then(|| add(all, "     {wide_msg}"));
        copy.enable_steady_tick(TICK);
        Self { has_colours, all: all.clone(), copy, file, title: String::new(), phase: "" }
    }

    /// A copy begins.
    pub fn begin(&mut self, title: &str) {
        self.title = escape_all(title);
        self.show_file(None);
    }

    /// It has reached a phase, which deals with so many bytes, or with none.
    pub fn show_phase(&mut self, phase: &'static str, total_bytes: u64) {
        self.phase = phase;
        self.copy.set_style(match total_bytes {
            0 => style(WAITING),
            _ => style(&format!("copy [{}] {{wide_msg}}", bar(self.has_colours))),
        });
        self.copy.reset();
        self.copy.set_length(total_bytes);
        self.say(phase.to_owned());
        self.show_file(None);
    }

    /// The phase has dealt with so many bytes, and is at a file, if it is at one: that is only asked for where there
    /// is a line for it.
    pub fn show_bytes(&self, bytes: u64, file: impl FnOnce() -> Option<Vec<u8>>) {
        // Between two files the last one stands.
        if self.file.is_some()
            && let Some(file) = file()
        {
            self.show_file(Some(&file));
        }
        let Some(total) = self.copy.length().filter(|&total| total > 0) else { return };
        let bytes = bytes.min(total);
        self.copy.set_position(bytes);
        let mut text = format!("{} {} of {}", self.phase, size(bytes), size(total));
        let rate = self.copy.per_sec();
        if rate >= 1.0 {
            text.push_str(&format!(", {}/s", size(rate as u64)));
            // Of what has hardly begun nothing is foretold.
            if bytes < total && bytes >= total / 100 {
                text.push_str(&format!(", {} left", span(self.copy.eta().as_secs())));
            }
        }
        self.say(text);
    }

    /// What the copy is at; where it has one line only, which one it is stands before it.
    fn say(&self, text: String) {
        self.copy.set_message(match self.file {
            Some(_) => text,
            None => format!("{}: {text}", self.title),
        });
    }

    fn show_file(&self, file: Option<&[u8]>) {
        let Some(line) = &self.file else { return };
        line.set_message(match file {
            Some(file) => format!("{}: {}", self.title, escape_all(&String::from_utf8_lossy(file))),
            None => self.title.clone(),
        });
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        for bar in std::iter::once(&self.copy).chain(&self.file) {
            bar.finish_and_clear();
            self.all.remove(bar);
        }
    }
}

fn add(all: &MultiProgress, template: &str) -> ProgressBar {
    let bar = all.add(ProgressBar::new(0));
    bar.set_style(style(template));
    bar
}

/// A phase that deals with no bytes.
const WAITING: &str = "copy {spinner} {msg}, {elapsed}";

fn bar(has_colours: bool) -> &'static str {
    if has_colours { "{bar:20.cyan}" } else { "{bar:20}" }
}

fn style(template: &str) -> ProgressStyle {
    // A template that cannot be read is a bug, and its bar is not worth a panic.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
        .tick_chars("|/-\\ ")
}

/// Standard error as the bars know it. What a control character from the keyboard echoes (`^C`) must not push
/// the bars up by a line, so the cursor waits at the beginning of their last one.
#[derive(Debug, Default)]
struct Terminal {
    unwritten: Mutex<String>,
}

impl Terminal {
    fn push(&self, text: &str) -> std::io::Result<()> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner).push_str(text);
        Ok(())
    }

    fn push_move(&self, lines: usize, direction: char) -> std::io::Result<()> {
        if lines == 0 { Ok(()) } else { self.push(&format!("\u{1b}[{lines}{direction}")) }
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        console::Term::stderr().size().1.max(COLUMNS_MIN)
    }

    fn height(&self) -> u16 {
        console::Term::stderr().size().0
    }

    fn move_cursor_up(&self, n: usize) -> std::io::Result<()> {
        self.push_move(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> std::io::Result<()> {
        self.push_move(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> std::io::Result<()> {
        self.push_move(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> std::io::Result<()> {
        self.push_move(n, 'D')
    }

    fn write_line(&self, s: &str) -> std::io::Result<()> {
        self.push(s)?;
        self.push("\n")
    }

    fn write_str(&self, s: &str) -> std::io::Result<()> {
        self.push(s)
    }

    fn clear_line(&self) -> std::io::Result<()> {
        self.push("\r\u{1b}[2K")
    }

    fn flush(&self) -> std::io::Result<()> {
        let mut text = std::mem::take(&mut *self.unwritten.lock().unwrap_or_else(PoisonError::into_inner));
        text.push('\r');
        // With the terminal gone there is nobody left to show it to.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(is_watched: bool, environment: &[(&str, &str)]) -> Looks {
        Looks::of(is_watched, |name| {
            environment.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn bars_need_a_terminal_that_can_move_its_cursor() {
        let xterm = ("TERM", "xterm");
        assert_eq!(looks(true, &[xterm]), Looks::Bars { has_colours: true });
        assert_eq!(looks(true, &[xterm, ("NO_COLOR", "1")]), Looks::Bars { has_colours: false });
        assert_eq!(looks(true, &[xterm, ("NO_COLOR", "")]), Looks::Bars { has_colours: true });
        assert_eq!(looks(false, &[xterm]), Looks::Lines);
        assert_eq!(looks(true, &[("TERM", "dumb")]), Looks::Lines);
        assert_eq!(looks(true, &[]), Looks::Lines);
    }

    #[test]
    fn every_template_can_be_read() {
        for template in
            ["pass [{bar:20.cyan}] {wide_msg}", "copy [{bar:20}] {wide_msg}", WAITING, "     {wide_msg}"]
        {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
